"""Which layers the nodes of a profile hold and what they read, told by names and topology."""

from collections.abc import Mapping, Sequence

from strata import operations as op
from strata.graph import Graph


def producers(graph: Graph, held: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """What each node reads: other nodes, or inputs as "input:NAME"; `held` are the nodes' layers.

    Layers that no node holds ran inside another, and are looked through.
    """
    node_of = {layer: node for node, layers in held.items() for layer in layers}
    found: dict[str, tuple[str, ...]] = {}
    for node, layers in held.items():
        reads: dict[str, None] = {}
        seen = set(layers)
        pending = [name for layer in layers for name in graph[layer].inputs]
        while pending:
            producer = graph[pending.pop(0)]
            if producer.name in seen:
                continue
            seen.add(producer.name)
            if isinstance(producer.parameters, op.Input):
                reads[f"input:{producer.name}"] = None
            elif node_of.get(producer.name, node) != node:
                reads[node_of[producer.name]] = None
            else:
                pending[:0] = producer.inputs
        found[node] = tuple(reads)
    return found


def recover_root(
    layers: list[str], required: tuple[str, ...], graph: Graph, claimed: set[str]
) -> list[str]:
    """Put back a convolution (or dense layer) whose name was lost when batch normalisation was
    folded into it: go up from the first layer through layers that no node names.

    `required` are the operations of which the node must compute one; `claimed` grows.
    """
    if any(graph[layer].operation in required for layer in layers):
        return layers
    lost: list[str] = []
    name = layers[0]
    while graph[name].inputs and (name := graph[name].inputs[0]) not in claimed:
        lost.insert(0, name)
        if graph[name].operation in required:
            claimed.update(lost)
            return lost + layers
    return layers
