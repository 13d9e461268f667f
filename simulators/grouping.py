"""How a toolchain merges layers into nodes: one walk, the platform's rules as a function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from strata import operations as op
from strata.execution import ExecutedLayer, make_executed
from strata.graph import Graph
from strata.layer import Layer


def is_view(layer: Layer) -> bool:
    """Whether a layer only names the same elements in another way.

    Feature maps lie in memory with their channels last, whatever order a description writes.
    """
    match layer.parameters:
        case op.Transpose(permutation=permutation):
            return permutation in op.LAYOUT_PERMUTATIONS
    return isinstance(layer.parameters, op.VIEWS)


def no_work(graph: Graph) -> str | None:
    """One line on a graph of nothing but views; None if anything is to be done."""
    if all(map(is_view, graph.layers)):
        return f"layer '{graph.layers[-1].name}' and all others only name their input: no work"
    return None


@dataclass(frozen=True, slots=True)
class Group:
    """A node to be: its layers with the heaviest first, and the nodes or inputs it reads."""

    executed: ExecutedLayer
    producers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that could join the group which ends in one of its producers.

    `only_consumer` says whether nobody else reads the tensor between them, an output neither.
    """

    group: tuple[Layer, ...]
    producer: Layer
    layer: Layer
    only_consumer: bool


Joins = Callable[[Candidate], bool]


def group_layers(graph: Graph, joins: Joins) -> tuple[Group, ...]:
    """Groups of layers that run as one node, in topological order of their last layers.

    `joins` decides for each layer and each producer that ends its group, in the order of the
    layer's inputs. Views (`is_view`) stand for what they read and belong to no group; a layer
    behind a view does not join.
    """
    successors, outputs = graph.successors, set(graph.outputs)
    groups: dict[str, list[Layer]] = {}  # by the name of the group's last layer
    source_of: dict[str, str] = {}  # the layer or input a view stands for
    for layer in graph.layers:
        if is_view(layer):
            source_of[layer.name] = (
                source_of.get(layer.inputs[0], layer.inputs[0]) if layer.inputs else layer.name
            )
            continue
        for producer in dict.fromkeys(layer.inputs):
            group = groups.get(producer)
            if group is None:
                continue
            alone = len(successors[producer]) == 1 and producer not in outputs
            if joins(Candidate(tuple(group), graph[producer], layer, alone)):
                group.append(layer)
                groups[layer.name] = groups.pop(producer)
                break
        else:
            groups[layer.name] = [layer]
    return _with_producers(graph, list(groups.values()), source_of)


def _with_producers(
    graph: Graph, groups: list[list[Layer]], source_of: Mapping[str, str]
) -> tuple[Group, ...]:
    executed = [make_executed(group) for group in groups]
    owner = {layer.name: node.name for node in executed for layer in node.layers}

    def origin(name: str) -> str:
        name = source_of.get(name, name)
        return owner.get(name, f"input:{name}")

    position = {layer.name: place for place, layer in enumerate(graph.layers)}
    order = sorted(range(len(groups)), key=lambda i: position[groups[i][-1].name])
    found = []
    for i in order:
        inner = {layer.name for layer in groups[i]}
        reads = [
            origin(producer)
            for layer in groups[i]
            for producer in layer.inputs
            if source_of.get(producer, producer) not in inner
        ]
        found.append(Group(executed[i], tuple(dict.fromkeys(reads))))
    return tuple(found)
