"""What a mapping model's trees look at: an edge between a group of layers and one that may join.

ANNETTE, section 5.2: the feature vectors of both layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from strata import operations as op
from strata.execution import (
    OWN_FEATURES,
    absorbed_window,
    alignment,
    count_absorbed,
    features,
    geometry,
    make_executed,
)
from strata.graph import Graph
from strata.layer import OPERATIONS, Layer

EDGE_FEATURES: tuple[str, ...] = (
    *(f"producer_{name}" for name in OWN_FEATURES),
    "consumer_kernel",
    "consumer_stride",
    "consumer_kind",
    "consumer_filters",
    "consumer_elements",
    "consumer_operands",
    "operand_elements",
    "operand_row_elements",
    "operand_index",
    "operand_is_latest",
    "tensor_consumers",
    "tensor_is_output",
    "other_operation",
    "other_elements",
    "other_consumers",
    "other_is_skip",
    "other_is_activated",
    "other_absorbed_add",
    "other_absorbed_count",
    "other_absorbed_kernel",
    "consumer_padding",
    "operand_height_alignment",
    "operand_width_alignment",
    "operand_channel_alignment",
    "operand_inputs",
    "earlier_candidates",
    "later_candidates",
)


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor between a group, complete up to `producer`, and a layer that reads it.

    `other` is the group, so far, of the consumer's other operand; empty without one. `earlier` and
    `later` count the consumer's operands before and after this one that it could as well join.
    """

    group: tuple[Layer, ...]
    producer: Layer
    consumer: Layer
    other: tuple[Layer, ...] = ()
    earlier: int = 0
    later: int = 0

    @property
    def key(self) -> str:
        """Key of the pair's tree."""
        return pair_key(make_executed(self.group).operation, self.consumer.operation)


def pair_key(producer: str, consumer: str) -> str:
    """The name of a pair of operations."""
    return f"{producer}->{consumer}"


class Context:
    """A graph with the look-ups that edge features need, made once per walk."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.successors = graph.successors
        self.outputs = frozenset(graph.outputs)
        self.position = {layer.name: i for i, layer in enumerate(graph.layers)}


def _kind_code(layer: Layer) -> int:
    match layer.parameters:
        case op.Activation(kind=kind):
            return 1 + op.ACTIVATIONS.index(kind)
        case op.Elementwise(constant_shape=shape) if shape is not None:
            # a constant per channel folds into weights, others do not
            return 2 if prod(shape) > 1 else 1
        case op.Transpose(permutation=permutation):
            return 1 if permutation in op.LAYOUT_PERMUTATIONS else 0
    return 0


def _consumer_features(layer: Layer, operand: Layer) -> list[float]:
    kernel, stride = 0, 0
    match layer.parameters:
        case op.Pooling(kernel=k, stride=s) | op.Convolution(kernel=k, stride=s):
            kernel, stride = max(k), max(s)
    return [
        kernel,
        stride,
        _kind_code(layer),
        geometry(layer.output_shape)[1],
        prod(layer.output_shape),
        len(layer.inputs),
        prod(operand.output_shape),
        _row_elements(operand),
    ]


def _alignments(layer: Layer) -> list[float]:
    """Alignments of a layer's output height, width and channels."""
    _, channels, height, width = geometry(layer.output_shape)
    return [alignment(size) for size in (height, width, channels)]


def _consumer_padding(layer: Layer) -> int:
    match layer.parameters:
        case op.Pooling(padding=padding) | op.Convolution(padding=padding):
            return max(padding)
    return 0


def _row_elements(layer: Layer) -> int:
    """Elements in a row of a layer's output: whether rows fit on chip decides many a fusion."""
    _, channels, _, width = geometry(layer.output_shape)
    return channels * width


def _other_operand(context: Context, edge: Edge) -> list[float]:
    name = other_operand(edge.consumer, edge.producer)
    if name is None:
        return [-1, 0, 0, 0, 0, 0, 0, 0]
    other = context.graph[name]
    group_inputs = {read for layer in edge.group for read in layer.inputs}
    root = make_executed(edge.other or (other,))
    return [
        OPERATIONS.index(root.operation),
        prod(other.output_shape),
        len(context.successors[name]),
        name in group_inputs,
        any(isinstance(layer.parameters, op.Activation) for layer in root.layers),
        count_absorbed(root, "add"),
        len(root.absorbed),
        absorbed_window(root)[1],
    ]


def other_operand(consumer: Layer, producer: Layer) -> str | None:
    """The first operand of `consumer` that `producer` does not make."""
    return next((name for name in consumer.inputs if name != producer.name), None)


def edge_features(context: Context, edge: Edge) -> list[float]:
    """Values in the order of EDGE_FEATURES."""
    position = context.position
    latest = max(edge.consumer.inputs, key=position.__getitem__)
    group = features(make_executed(edge.group))
    return [
        *group.values(),
        *_consumer_features(edge.consumer, edge.producer),
        edge.consumer.inputs.index(edge.producer.name),
        latest == edge.producer.name,
        len(context.successors[edge.producer.name]),
        edge.producer.name in context.outputs,
        *_other_operand(context, edge),
        _consumer_padding(edge.consumer),
        *_alignments(edge.producer),
        len(edge.producer.inputs),
        edge.earlier,
        edge.later,
    ]


def candidate_edges(
    context: Context, consumer: Layer, groups: Mapping[str, Sequence[Layer]]
) -> Iterator[Edge]:
    """Edges over which `consumer` could join a group: those whose producer ends its group.

    `groups` maps the name of each earlier layer to its group so far. An input's group is the
    input: what joins it is folded into how the input is read, and not executed. Slices of one
    tensor are views side by side: each, and what reads it, finds the group without the others.
    """
    found = {
        name: group
        for name in dict.fromkeys(consumer.inputs)
        if (group := _open_group(groups.get(name, ()), name, consumer))
    }
    free = [_is_free(context, name) for name in found]
    for place, (name, group) in enumerate(found.items()):
        producer = context.graph[name]
        other = groups.get(other_operand(consumer, producer) or "", ())
        earlier, later = sum(free[:place]), sum(free[place + 1 :])
        yield Edge(tuple(group), producer, consumer, tuple(other), earlier, later)


def _open_group(group: Sequence[Layer], name: str, consumer: Layer) -> Sequence[Layer]:
    """A group as `consumer` would join it behind the layer `name`; empty where it cannot."""
    if any(isinstance(layer.parameters, op.Slice) for layer in group):
        beside = _beside(group, name, consumer)
        group = [layer for layer in group if layer.name not in beside]
    return group if group and group[-1].name == name else ()


def _beside(group: Sequence[Layer], name: str, consumer: Layer) -> set[str]:
    """Other slices of what `consumer` reads a slice of, or is one of, and what joined behind them.

    In whichever order a graph lists them, slices of one tensor know nothing of each other.
    """
    layers = {layer.name: layer for layer in group}
    own = [name]  # from what is read up to the tensor that it is a slice of, of a slice of, ...
    while (layer := layers.get(own[-1])) and isinstance(layer.parameters, op.Slice):
        own.append(layer.inputs[0])
    cut = own if isinstance(consumer.parameters, op.Slice) else own[1:]
    found: set[str] = set()
    for layer in group:
        read = layers.keys() & set(layer.inputs)
        sliced = isinstance(layer.parameters, op.Slice) and layer.inputs[0] in cut
        if layer.name not in own and (sliced or (read and read <= found)):
            found.add(layer.name)
    return found


def is_shared(context: Context, name: str) -> bool:
    """Whether not one layer alone reads what another makes: then few toolchains merge both."""
    return len(context.successors[name]) > 1 or name in context.outputs


def _is_free(context: Context, name: str) -> bool:
    made = not isinstance(context.graph[name].parameters, op.Input)
    return made and not is_shared(context, name)


def boundary_edges(
    context: Context, groups: Sequence[Sequence[Layer]]
) -> Iterator[tuple[str, Edge]]:
    """Every tensor between two groups, from an input, or to an output, with its pair's key.

    The key's producer is "input" for a network input, its consumer "output" for a network output;
    an output's edge has the producer as its own consumer.
    """
    owner = {layer.name: group for group in groups for layer in group}
    roots = {id(group): make_executed(group).operation for group in groups}
    for layer in context.graph.layers:
        group = owner.get(layer.name)
        source = "input" if group is None else roots[id(group)]
        members: Sequence[Layer] = (layer,) if group is None else group
        for name in context.successors[layer.name]:
            target = owner.get(name)
            if target is not None and target is not group:
                consumer = context.graph[name]
                key = pair_key(source, roots[id(target)])
                other = owner.get(other_operand(consumer, layer) or "", ())
                yield key, Edge(tuple(members), layer, consumer, tuple(other))
        if layer.name in context.outputs and group is not None:
            yield pair_key(source, "output"), Edge(tuple(members), layer, layer)


def boundary_features(context: Context, edge: Edge) -> list[float]:
    """Values in the order of EDGE_FEATURES for an edge of `boundary_edges`."""
    if edge.consumer is not edge.producer:
        return edge_features(context, edge)
    group = features(make_executed(edge.group))
    producer = edge.producer
    tail = [prod(producer.output_shape), _row_elements(producer), 0, 1]
    consumers = len(context.successors[producer.name])
    other = [-1, 0, 0, 0, 0, 0, 0, 0]
    return [
        *group.values(),
        *(0, 0, 0, 0, 0, 0),
        *tail,
        *(consumers, 1),
        *other,
        0,
        *_alignments(producer),
        len(producer.inputs),
        *(0, 0),
    ]
