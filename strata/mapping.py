"""The mapping model: which layers a toolchain fuses, and where it inserts layout conversions.

ANNETTE, section 5.2: decision trees per pair of operations on the feature vectors of both layers.
Training (`benchmark.matcher`) and prediction walk the graph in the same way: layer by layer in
topological order, asking for each producer whose group ends there, "does this layer join?"
(`strata.edges.candidate_edges`, which says what ends a group).
Trees of an unseen pair fall back to the one of "*->consumer", then to "not fused".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

from strata import operations as op
from strata.edges import (
    EDGE_FEATURES,
    Context,
    Edge,
    boundary_edges,
    boundary_features,
    candidate_edges,
    edge_features,
    is_shared,
    pair_key,
)
from strata.errors import ArtefactError, legal
from strata.execution import ExecutedLayer, make_executed
from strata.forest import Forest, concatenate, tree_value
from strata.graph import Graph
from strata.layer import Layer, make_layer
from strata.placement import PLACEMENT_FEATURES, Memory, place
from strata.stride_moving import move_strides

# Which operand's group a layer joins where it could join several: the likeliest, or the first or
# the last, in the order of its operands, that is likely at all.
ORDERS = ("likeliest", "first", "last")


@dataclass(frozen=True, slots=True, eq=False)
class MappingModel:
    """Trees by "producer->consumer" with the probability of fusion, or of insertion, as value.

    `moves_strides` says whether the toolchain moves strides of 1x1 convolutions upstream,
    `placement` which layers run in another way than the rest (`strata.placement`), `memory` by
    which rule weights stay on the chip, if some do not, `operand_order` (of ORDERS) which operand a
    layer joins that could join several, `joins_shared` whether a layer may join a group whose
    result others read too, or the network's user.
    """

    fusion: dict[str, Forest] = field(default_factory=dict)
    insertion: dict[str, Forest] = field(default_factory=dict)
    moves_strides: bool = False
    placement: dict[str, Forest] = field(default_factory=dict)
    memory: Memory | None = None
    operand_order: str = ORDERS[0]
    joins_shared: bool = True


def _tree(trees: Mapping[str, Forest], key: str) -> Forest | None:
    """The pair's tree, else that of any producer with this consumer.

    Never so for inputs: a layer folded into an input is not executed at all.
    """
    producer, consumer = key.split("->")
    return trees.get(key) or (trees.get(pair_key("*", consumer)) if producer != "input" else None)


def _answer(
    tree: Forest, features: Callable[[Context, Edge], list[float]], context: Context, edge: Edge
) -> float:
    """The tree's value for an edge, whose features are asked for only by a tree that tests any."""
    tests = tree.feature[tree.roots[0]] >= 0
    return tree_value(tree, features(context, edge) if tests else ())


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
        for edge in _asked_edges(context, layer, groups, mapping):
            if chosen is not None and mapping.operand_order != ORDERS[0]:
                break
            tree = _tree(mapping.fusion, edge.key)
            if tree is None:
                continue
            probability = _answer(tree, edge_features, context, edge)
            if probability > best:
                best, chosen = probability, groups[edge.producer.name]
        if chosen is None:
            chosen = []
            order.append(chosen)
        chosen.append(layer)
        groups[layer.name] = chosen
    return order


def _asked_edges(
    context: Context, layer: Layer, groups: Mapping[str, Sequence[Layer]], mapping: MappingModel
) -> list[Edge]:
    """The edges over which a layer could join a group, in the order they are asked in."""
    edges = [
        edge
        for edge in candidate_edges(context, layer, groups)
        if mapping.joins_shared or not is_shared(context, edge.producer.name)
    ]
    return edges[::-1] if mapping.operand_order == "last" else edges


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
        if _answer(tree, boundary_features, context, edge) > 0.5:
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
        "operand_order": mapping.operand_order,
        "joins_shared": mapping.joins_shared,
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


def _columns(given: Any, ours: Sequence[str], what: str) -> np.ndarray:
    """Where the features that a file's trees read stand among ours; last, what no test reads (-1).

    ArtefactError for a feature that there is none of, or names that are no list of texts.
    """
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ArtefactError(f"the mapping model's {what} are no list of names: generate it anew")
    unknown = [name for name in given if name not in ours]
    if unknown:
        raise ArtefactError(
            f"the mapping model was made for other {what}, such as '{unknown[0]}': generate it anew"
        )
    return np.array([*(ours.index(name) for name in given), -1], dtype=np.int32)


def _renamed(joint: Forest, roles: Sequence[str], columns: Mapping[str, np.ndarray]) -> Forest:
    """The trees with their tests on our columns; ArtefactError for malformed trees.

    Trees lie end to end, each from its root up to the next.
    """
    joint.check(max(len(places) - 1 for places in columns.values()))
    ends = [*joint.roots[1:], len(joint.feature)]
    feature = joint.feature.copy()
    for role, root, end in zip(roles, joint.roots, ends, strict=True):
        places = columns["placement" if role == "placement" else "edge"]
        if end <= root or feature[root:end].max() >= len(places) - 1:
            raise ArtefactError(f"the mapping model has a {role} tree of other features")
        feature[root:end] = places[feature[root:end]]
    return replace(joint, feature=feature)


def mapping_from_parts(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> MappingModel:
    """The mapping model; ArtefactError if the trees are malformed or of unknown features.

    Features go by their names in `data`, so a model outlives features that were added later.
    """
    columns = {
        "edge": _columns(data["edge_features"], EDGE_FEATURES, "edge features"),
        "placement": _columns(data["placement_features"], PLACEMENT_FEATURES, "placement features"),
    }
    keys = [(role, key) for role in _ROLES for key in data[role]]
    if len(keys) != len(arrays["roots"]):
        raise ArtefactError(
            f"the mapping model names {len(keys)} trees and holds {len(arrays['roots'])}"
        )
    trees: dict[str, dict[str, Forest]] = {role: {} for role in _ROLES}
    if keys:
        joint = Forest(**{part: arrays[part] for part in _PARTS})
        joint = _renamed(joint, [role for role, _ in keys], columns)
        for i, (role, key) in enumerate(keys):
            trees[role][key] = replace(joint, roots=joint.roots[i : i + 1])
    if (order := data["operand_order"]) not in ORDERS:
        raise ArtefactError(
            f"the mapping model's operand order is {order!r}, legal: {legal(ORDERS)}"
        )
    return MappingModel(
        trees["fusion"],
        trees["insertion"],
        bool(data["moves_strides"]),
        trees["placement"],
        _memory(data["memory"]),
        order,
        bool(data.get("joins_shared", True)),  # what was fitted before did not ask
    )


def _memory(data: Any) -> Memory | None:
    """The rule; ArtefactError for one of other fields, a size below 0, an unknown padding."""
    if data is None:
        return None
    try:
        memory = Memory(**data)
        sizes = (memory.capacity_bytes, memory.activation_bytes)
        legal_sizes = all(isinstance(size, float) and 0 <= size < inf for size in sizes)
        counts = (memory.padding, memory.channel_padding, memory.banks, memory.depthwise_bytes)
        legal_counts = all(type(count) is int and count >= 1 for count in counts)
        flags = (memory.largest_first, memory.map_biases, memory.in_place)
        kinds = all(isinstance(flag, bool) for flag in flags) and (
            type(memory.bytes_per_filter) is int
        )
        if not (legal_sizes and legal_counts and kinds and memory.bytes_per_filter >= 0):
            raise ValueError(f"sizes {sizes}, counts of how weights lie {counts}")
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"the mapping model's memory is malformed: {error}") from None
    return memory
