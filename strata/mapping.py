"""The mapping model: which layers a toolchain fuses, and where it inserts layout conversions.

ANNETTE, section 5.2: decision trees per pair of operations on the feature vectors of both layers.
Training (`benchmark.matcher`) and prediction walk the graph in the same way: layer by layer in
topological order, asking for each producer whose group ends there, "does this layer join?".
Trees of an unseen pair fall back to the one of "*->consumer", then to "not fused".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf, prod
from typing import Any

import numpy as np

from strata import operations as op
from strata.errors import ArtefactError
from strata.execution import FEATURES, ExecutedLayer, features, geometry, make_executed
from strata.forest import Forest, concatenate, tree_value
from strata.graph import Graph
from strata.layer import OPERATIONS, Layer, make_layer
from strata.placement import PADDINGS, PLACEMENT_FEATURES, Memory, place
from strata.stride_moving import move_strides

EDGE_FEATURES: tuple[str, ...] = (
    *(f"producer_{name}" for name in FEATURES),
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
)


@dataclass(frozen=True, slots=True, eq=False)
class MappingModel:
    """Trees by "producer->consumer" with the probability of fusion, or of insertion, as value.

    `moves_strides` says whether the toolchain moves strides of 1x1 convolutions upstream,
    `placement` which layers run in another way than the rest (`strata.placement`), `memory` by
    which rule weights stay on the chip, if some do not.
    """

    fusion: dict[str, Forest] = field(default_factory=dict)
    insertion: dict[str, Forest] = field(default_factory=dict)
    moves_strides: bool = False
    placement: dict[str, Forest] = field(default_factory=dict)
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor between a group, complete up to `producer`, and a layer that reads it.

    `other` is the group, so far, of the consumer's other operand; empty without one.
    """

    group: tuple[Layer, ...]
    producer: Layer
    consumer: Layer
    other: tuple[Layer, ...] = ()

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
    absorbed = features(root)
    return [
        OPERATIONS.index(root.operation),
        prod(other.output_shape),
        len(context.successors[name]),
        name in group_inputs,
        any(isinstance(layer.parameters, op.Activation) for layer in root.layers),
        absorbed["absorbed_add"],
        absorbed["absorbed_count"],
        absorbed["absorbed_kernel"],
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
    ]


def candidate_edges(
    context: Context, consumer: Layer, groups: Mapping[str, Sequence[Layer]]
) -> Iterator[Edge]:
    """Edges over which `consumer` could join a group: those whose producer ends its group.

    `groups` maps the name of each earlier layer to its group so far. An input's group is the
    input: what joins it is folded into how the input is read, and not executed.
    """
    for name in dict.fromkeys(consumer.inputs):
        group = groups.get(name)
        if group and group[-1].name == name:
            producer = context.graph[name]
            other = groups.get(other_operand(consumer, producer) or "", ())
            yield Edge(tuple(group), producer, consumer, tuple(other))


def _tree(trees: Mapping[str, Forest], key: str) -> Forest | None:
    """The pair's tree, else that of any producer with this consumer.

    Never so for inputs: a layer folded into an input is not executed at all.
    """
    producer, consumer = key.split("->")
    return trees.get(key) or (trees.get(pair_key("*", consumer)) if producer != "input" else None)


def fuse(graph: Graph, mapping: MappingModel) -> list[list[Layer]]:
    """Groups of layers that execute as one, in topological order of their first layers."""
    context = Context(graph)
    groups: dict[str, list[Layer]] = {}
    order: list[list[Layer]] = []
    for layer in graph.layers:
        if isinstance(layer.parameters, op.Input):
            groups[layer.name] = [layer]
            continue
        best, chosen = 0.5, None
        for edge in candidate_edges(context, layer, groups):
            tree = _tree(mapping.fusion, edge.key)
            if tree is None:
                continue
            probability = tree_value(tree, edge_features(context, edge))
            if probability > best:
                best, chosen = probability, groups[edge.producer.name]
        if chosen is None:
            chosen = []
            order.append(chosen)
        chosen.append(layer)
        groups[layer.name] = chosen
    return order


def inserted_layer(name: str, producer: Layer) -> ExecutedLayer:
    """A layout conversion of `producer`'s output as an executed layer."""
    layer = make_layer(
        name,
        op.Reorder(),
        (producer.name,),
        (producer.output_shape,),
        producer.activation_bits,
        producer.weight_bits,
    )
    return ExecutedLayer(layer)


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
    return [*group.values(), 0, 0, 0, 0, 0, 0, *tail, consumers, 1, -1, 0, 0, 0, 0, 0, 0, 0]


def insertions(
    graph: Graph, groups: Sequence[Sequence[Layer]], mapping: MappingModel
) -> dict[str, ExecutedLayer]:
    """Layout conversions the toolchain is expected to insert, by the tensor's producer."""
    context = Context(graph)
    found: dict[str, ExecutedLayer] = {}
    for key, edge in boundary_edges(context, groups):
        tree = _tree(mapping.insertion, key)
        if tree is None or edge.producer.name in found:
            continue
        if tree_value(tree, boundary_features(context, edge)) > 0.5:
            name = f"{edge.producer.name}/reorder"
            found[edge.producer.name] = inserted_layer(name, edge.producer)
    return found


def apply_mapping(graph: Graph, mapping: MappingModel) -> tuple[ExecutedLayer, ...]:
    """The predicted execution graph: groups in order, inserted conversions after their producer."""
    if mapping.moves_strides:
        graph = move_strides(graph)
    groups = fuse(graph, mapping)
    inserted = insertions(graph, groups, mapping)
    grouped = {layer.name for group in groups for layer in group}
    executed = [
        inserted[layer.name]
        for layer in graph.layers
        if layer.name in inserted and layer.name not in grouped  # inputs, and what is folded in
    ]
    for group in groups:
        executed.append(make_executed(group))
        executed.extend(inserted[layer.name] for layer in group if layer.name in inserted)
    return place(executed, mapping.placement, mapping.memory)


_ROLES = ("fusion", "insertion", "placement")
_PARTS = ("feature", "threshold", "left", "right", "value", "roots")


def mapping_to_parts(mapping: MappingModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A JSON-serialisable description and the arrays of all trees, laid end to end.

    The inverse of `mapping_from_parts`.
    """
    trees = [
        _compact(tree) for role in _ROLES for _, tree in sorted(getattr(mapping, role).items())
    ]
    data = {
        "moves_strides": mapping.moves_strides,
        "memory": asdict(mapping.memory) if mapping.memory else None,
        **{role: sorted(getattr(mapping, role)) for role in _ROLES},
        "edge_features": list(EDGE_FEATURES),
        "placement_features": list(PLACEMENT_FEATURES),
    }
    joint = concatenate(trees)
    arrays = {part: getattr(joint, part) for part in _PARTS}
    return data, arrays


def _compact(tree: Forest) -> Forest:
    """The first tree alone: loaded trees are views on the arrays of all of them."""
    kept = [int(tree.roots[0])]
    for node in kept:  # grows while it is walked: parents before children
        if tree.feature[node] >= 0:
            kept += [int(tree.left[node]), int(tree.right[node])]
    place = {node: i for i, node in enumerate(kept)}
    children = [
        np.array(
            [place.get(int(side[node]), -1) if tree.feature[node] >= 0 else -1 for node in kept]
        )
        for side in (tree.left, tree.right)
    ]
    rows = np.array(kept)
    return Forest(
        tree.feature[rows],
        tree.threshold[rows],
        children[0],
        children[1],
        tree.value[rows],
        np.zeros(1, dtype=np.int32),
    )


def _check_columns(joint: Forest, roles: Sequence[str]) -> None:
    """ArtefactError for trees that are malformed or ask for columns their role does not have.

    Trees lie end to end, each from its root up to the next.
    """
    joint.check(max(len(EDGE_FEATURES), len(PLACEMENT_FEATURES)))
    ends = [*joint.roots[1:], len(joint.feature)]
    for role, root, end in zip(roles, joint.roots, ends, strict=True):
        width = len(PLACEMENT_FEATURES if role == "placement" else EDGE_FEATURES)
        if end <= root or joint.feature[root:end].max() >= width:
            raise ArtefactError(f"the mapping model has a {role} tree of other features")


def mapping_from_parts(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> MappingModel:
    """The mapping model; ArtefactError if the trees are malformed or of other features.

    Features are added at the end, so trees made when there were fewer read the same columns.
    """
    for name, ours in (
        ("edge_features", EDGE_FEATURES),
        ("placement_features", PLACEMENT_FEATURES),
    ):
        given = list(data[name])
        if not given or given != list(ours[: len(given)]):
            what = name.replace("_", " ")
            raise ArtefactError(f"the mapping model was made for other {what}: generate it anew")
    keys = [(role, key) for role in _ROLES for key in data[role]]
    if len(keys) != len(arrays["roots"]):
        raise ArtefactError(
            f"the mapping model names {len(keys)} trees and holds {len(arrays['roots'])}"
        )
    trees: dict[str, dict[str, Forest]] = {role: {} for role in _ROLES}
    if keys:
        joint = Forest(**{part: arrays[part] for part in _PARTS})
        for i, (role, key) in enumerate(keys):
            trees[role][key] = replace(joint, roots=joint.roots[i : i + 1])
        _check_columns(joint, [role for role, _ in keys])
    moves = bool(data["moves_strides"])
    memory = _memory(data["memory"])
    return MappingModel(trees["fusion"], trees["insertion"], moves, trees["placement"], memory)


def _memory(data: Any) -> Memory | None:
    """The rule; ArtefactError for one of other fields, a size below 0, an unknown padding."""
    if data is None:
        return None
    try:
        memory = Memory(**data)
        sizes = (memory.capacity_bytes, memory.activation_bytes)
        legal_sizes = all(isinstance(size, float) and 0 <= size < inf for size in sizes)
        if not legal_sizes or memory.padding not in PADDINGS:
            raise ValueError(f"sizes {sizes}, padding {memory.padding}")
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"the mapping model's memory is malformed: {error}") from None
    return memory
