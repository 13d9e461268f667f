"""From the rows of a counters report to a profile's nodes; pure functions."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from hardware_modules.ncs2_plan import layer_of
from hardware_modules.ncs2_report import EXECUTED, EXTRA, CounterRow
from hardware_modules.node_layers import producers, recover_root
from strata import operations as op
from strata.errors import MatchError
from strata.graph import Graph
from strata.operations import Shape
from strata.profile import ExecutedNode

# A row of one of these types computes one of these operations, named or not.
_REQUIRED = {
    "Convolution": ("convolution", "depthwise_convolution"),
    "Deconvolution": ("transposed_convolution",),
    "FullyConnected": ("dense", "matmul"),
    "Gemm": ("dense", "matmul"),
}


def _layers_of_row(row: CounterRow, layers: Container[str]) -> list[str]:
    """Graph layers that a row names."""
    whole = layer_of(row.name, layers)
    found = [whole] if whole else [layer_of(part, layers) for part in row.name.split(",")]
    return [layer for layer in dict.fromkeys(found) if layer]


def _held(rows: Sequence[CounterRow], graph: Graph) -> dict[str, list[str]]:
    """Layers by row, in the graph's order, with those whose names were lost."""
    position = {layer.name: index for index, layer in enumerate(graph.layers)}
    held: dict[str, list[str]] = {}
    for row in rows:
        layers = sorted(_layers_of_row(row, position), key=position.__getitem__)
        held[row.name] = [layer for layer in layers if layer not in graph.inputs]
    claimed = {layer for layers in held.values() for layer in layers}
    for row in rows:
        required = _REQUIRED.get(row.layer_type)
        if required and held[row.name]:
            held[row.name] = recover_root(held[row.name], required, graph, claimed)
    _place_pads(held, graph)
    return held


def _place_pads(held: dict[str, list[str]], graph: Graph) -> None:
    """Give paddings that no row names to the node that reads them: a convolution pads itself."""
    node_of = {layer: node for node, layers in held.items() for layer in layers}
    successors = graph.successors
    for layer in graph.layers:
        readers = successors[layer.name]
        absent = isinstance(layer.parameters, op.Pad) and layer.name not in node_of
        if absent and len(readers) == 1 and readers[0] in node_of:
            held[node_of[readers[0]]].insert(0, layer.name)


def _place_free(held: dict[str, list[str]], graph: Graph) -> dict[str, Shape]:
    """Give views that cost nothing to the node that makes what they are a view of.

    A concatenation goes to its first operand that ends in it: operands are written side by side.
    One that only joins inputs or other concatenations is left to the matcher. Returns the shapes
    of those nodes' new ends.
    """
    claimed = {layer for layers in held.values() for layer in layers}
    free = [
        layer.name
        for layer in graph.layers
        if isinstance(layer.parameters, (op.Concat, op.Slice, op.Reshape, op.Flatten))
        and layer.name not in claimed
    ]
    successors = graph.successors
    shapes: dict[str, Shape] = {}
    joined: set[str] = set()
    for name in free:
        readable = _readable(graph, held)
        concat = isinstance(graph[name].parameters, op.Concat)
        for operand in graph[name].inputs:
            source = readable[operand][0] if len(readable[operand]) == 1 else ""
            alone = len(successors[operand]) == 1 and operand not in graph.outputs
            moved = isinstance(graph[operand].parameters, (op.Concat, op.Slice))
            side_by_side = alone and not moved and source not in joined
            if source in held and (not concat or side_by_side):
                held[source].append(name)
                shapes[source] = graph[name].output_shape
                joined.update([source] if concat else [])
                break
    return shapes


def _readable(graph: Graph, held: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The nodes or inputs that hold each layer's tensor."""
    node_of = {layer: node for node, layers in held.items() for layer in layers}
    found: dict[str, tuple[str, ...]] = {name: (f"input:{name}",) for name in graph.inputs}
    for layer in graph.layers:
        if layer.name in node_of:
            found[layer.name] = (node_of[layer.name],)
        elif layer.name not in found:
            sources = (source for name in layer.inputs for source in found[name])
            found[layer.name] = tuple(dict.fromkeys(sources))
    return found


def _inserted_nodes(
    row: CounterRow,
    inserted: Sequence[Mapping[str, Any]],
    readable: Mapping[str, tuple[str, ...]],
    graph: Graph,
) -> list[ExecutedNode]:
    """A node per inserted stage, which share the row's time by their weights.

    `readable` gives the node or input that holds a layer's tensor. One node of all inputs where
    the plan is not known.
    """
    if not inserted:
        sources = tuple(f"input:{name}" for name in graph.inputs)
        kind = row.execution_type
        return [ExecutedNode(EXTRA, kind, (), sources, None, row.time_s, (row.time_s,))]
    whole = sum(each["weight"] for each in inserted) or 1.0
    nodes = []
    for each in inserted:
        if each["converts"] not in readable:
            raise MatchError(
                f"stage '{each['name']}' converts '{each['converts']}', which is no layer of graph "
                f"'{graph.name}'"
            )
        time_s = row.time_s * each["weight"] / whole
        sources = readable[each["converts"]]
        nodes.append(ExecutedNode(each["name"], each["type"], (), sources, None, time_s, (time_s,)))
    return nodes


def _shapes(
    facts: Mapping[str, Any], readable: Mapping[str, tuple[str, ...]], graph: Graph
) -> dict[str, Shape]:
    """Output shapes by layer. None of a node before a layer that ran inside another one: the
    matcher takes that layer for the node's end."""
    shapes = {
        each["layer"]: tuple(each["output_shape"])
        for each in facts["layers"]
        if each["output_shape"]
    }
    for layer in facts["inside"]:
        for name in graph[layer].inputs if layer in graph else ():
            for node in readable[name]:
                shapes.pop(node, None)
    return shapes


def _first(shapes: Mapping[str, Shape], layers: Sequence[str]) -> Shape | None:
    return next((shapes[layer] for layer in layers if layer in shapes), None)


def executed_nodes(
    rows: Sequence[CounterRow], graph: Graph, facts: Mapping[str, Any] | None = None
) -> tuple[ExecutedNode, ...]:
    """Nodes of the rows that ran, in the report's order; `facts` are `plan_facts` if known.

    A layer's copies are its own time; the row of all added stages becomes one inserted node per
    stage. MatchError if nothing ran.
    """
    running = [row for row in rows if row.status == EXECUTED]
    if not running:
        raise MatchError(f"graph '{graph.name}': the report has no executed layer")
    facts = facts or {"layers": [], "inserted": [], "inside": []}
    layers = {row.name: row for row in running if row.layer_type != EXTRA}
    held = _held(list(layers.values()), graph)
    ends = _place_free(held, graph)
    reads = producers(graph, held)
    inputs = tuple(f"input:{name}" for name in graph.inputs)
    readable = _readable(graph, held)
    shapes = _shapes(facts, readable, graph) | ends
    nodes: list[ExecutedNode] = []
    for row in running:
        if row.layer_type == EXTRA:
            nodes += _inserted_nodes(row, facts["inserted"], readable, graph)
            continue
        nodes.append(
            ExecutedNode(
                row.name,
                row.execution_type,
                tuple(held[row.name]),
                reads[row.name] or inputs,
                _first(shapes, (row.name, *held[row.name])),
                row.time_s,
                (row.time_s,),
            )
        )
    return tuple(nodes)
