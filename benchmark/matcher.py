"""The graph matcher: executed nodes of a profile against the layers of the input graph.

ANNETTE, section 4. Gives executed layers with their times, and for every layer that could have
joined the group before it whether it did: NOT_FUSED, FUSED or POSSIBLY_FUSED.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from strata import operations as op
from strata.edges import (
    Context,
    Edge,
    boundary_edges,
    boundary_features,
    candidate_edges,
    edge_features,
)
from strata.errors import MatchError
from strata.execution import ExecutedLayer, make_executed
from strata.graph import Graph
from strata.layer import Layer
from strata.mapping import inserted_layer
from strata.profile import FUSED, NOT_FUSED, POSSIBLY_FUSED, ExecutedNode, Profile
from strata.stride_moving import move_strides
from strata.traffic import summed


@dataclass(frozen=True, slots=True)
class MatchedLayer:
    """An executed layer with what was measured of it; times in seconds.

    `traffic_bytes` per memory that all its nodes name. With `timed` False its time is not known.
    """

    executed: ExecutedLayer
    kind: str
    time_s: float
    readings_s: tuple[float, ...]
    following: tuple[tuple[str, str, str], ...] = ()
    traffic_bytes: Mapping[str, float] = field(default_factory=dict, hash=False)
    timed: bool = True


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """One decision of the toolchain: the pair's key, what it decided, the edge and its features."""

    key: str
    flag: str
    features: tuple[float, ...]
    edge: Edge | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Match:
    """A profile matched with its graph.

    `graph` is the graph as executed (strides moved if `strides_moved`); `odd_shapes` counts
    groups whose executed output shape is neither; `insertions` holds one row per boundary tensor.
    """

    graph: Graph
    layers: tuple[MatchedLayer, ...]
    fusions: tuple[EdgeRow, ...]
    insertions: tuple[EdgeRow, ...]
    strides_moved: bool | None
    odd_shapes: int = 0
    unmatched_s: float = 0.0


@dataclass(slots=True)
class _Group:
    """Layers found to execute together, and the nodes that execute them."""

    layers: list[Layer] = field(default_factory=list)
    nodes: list[ExecutedNode] = field(default_factory=list)


def _shape_mismatches(graph: Graph, nodes: Iterable[ExecutedNode]) -> int:
    """Nodes whose output has another shape than the last of their layers."""
    position = {layer.name: i for i, layer in enumerate(graph.layers)}
    count = 0
    for node in nodes:
        known = [name for name in node.layers if name in position]
        if known and node.output_shape is not None:
            tail = graph[max(known, key=position.__getitem__)]
            count += tail.output_shape != node.output_shape
    return count


def _as_executed(graph: Graph, nodes: Sequence[ExecutedNode]) -> tuple[Graph, bool | None]:
    """The graph whose shapes fit the executed ones; None where moving strides changes nothing."""
    moved = move_strides(graph)
    if moved is graph:
        return graph, None
    better = _shape_mismatches(moved, nodes) < _shape_mismatches(graph, nodes)
    return (moved, True) if better else (graph, False)


def _named_groups(graph: Graph, nodes: Sequence[ExecutedNode]) -> dict[str, _Group]:
    """Groups by layer name, from the names the profiler gives.

    Nodes that share a layer (an operation the toolchain decomposed) are one group.
    """
    owner: dict[str, _Group] = {}
    for node in nodes:
        names = [name for name in dict.fromkeys(node.layers) if name in graph]
        if not names:
            continue
        known = [owner[name] for name in names if name in owner]
        group = known[0] if known else _Group()
        for other in known[1:]:
            if other is not group:
                group.nodes += [n for n in other.nodes if n not in group.nodes]
                for name in [name for name, found in owner.items() if found is other]:
                    owner[name] = group
        group.nodes.append(node)
        owner.update((name, group) for name in names)
    return owner


def _place_added(
    graph: Graph, executed: Graph, nodes: Sequence[ExecutedNode], owner: dict[str, _Group]
) -> None:
    """Give the layers that moving strides added to the nameless nodes that execute them."""
    for layer in executed.layers:
        if layer.name in graph or layer.name in owner or layer.inputs[0] not in owner:
            continue
        sources = {node.name for node in owner[layer.inputs[0]].nodes}
        for node in nodes:
            nameless = not any(name in executed for name in node.layers)
            taken = any(node in group.nodes for group in owner.values())
            reads = sources.intersection(node.producers)
            if nameless and not taken and reads and node.output_shape == layer.output_shape:
                owner[layer.name] = _Group(nodes=[node])
                break


def _adopt_absent(graph: Graph, owner: dict[str, _Group]) -> dict[str, tuple[str, ...]]:
    """Place layers that no node names: into their producer's group if it can only be that one.

    Returns the layers that may have gone to several groups, with those producers' names.
    """
    undecided: dict[str, tuple[str, ...]] = {}
    for layer in graph.layers:
        if isinstance(layer.parameters, op.Input):
            owner[layer.name] = _Group()  # what joins it is folded into how the input is read
        if layer.name in owner:
            continue
        producers = [name for name in dict.fromkeys(layer.inputs) if name in owner]
        candidates = {id(owner[name]): name for name in producers}
        if len(candidates) == 1:
            owner[layer.name] = owner[producers[0]]
        else:
            undecided[layer.name] = tuple(candidates.values())
            # its own consumers need a place to stand on: the latest operand's group
            owner[layer.name] = owner[producers[-1]]
    return undecided


def _decisions(
    graph: Graph, owner: Mapping[str, _Group], undecided: Mapping[str, tuple[str, ...]]
) -> tuple[list[EdgeRow], dict[int, list[tuple[str, str, str]]]]:
    """One row per edge over which a layer could have joined, and the same by the group's id."""
    context = Context(graph)
    partial: dict[int, list[Layer]] = defaultdict(list)
    groups: dict[str, list[Layer]] = {}
    rows: list[EdgeRow] = []
    following: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for layer in graph.layers:
        mine = owner[layer.name]
        if isinstance(layer.parameters, op.Input):
            groups[layer.name] = partial[id(mine)] = [layer]
            continue
        for edge in candidate_edges(context, layer, groups):
            flag = FUSED if owner[edge.producer.name] is mine else NOT_FUSED
            if edge.producer.name in undecided.get(layer.name, ()):
                flag = POSSIBLY_FUSED
            rows.append(EdgeRow(edge.key, flag, tuple(edge_features(context, edge)), edge))
            group = id(owner[edge.producer.name])
            following[group].append((layer.name, layer.operation, flag))
        partial[id(mine)].append(layer)
        groups[layer.name] = partial[id(mine)]
    return rows, following


def _together(node: ExecutedNode, earlier: ExecutedNode) -> ExecutedNode:
    """A node with the time and the traffic of another added."""
    traffic = summed((node.traffic_bytes, earlier.traffic_bytes))
    return replace(
        node,
        time_s=node.time_s + earlier.time_s,
        traffic_bytes=traffic,
        timed=node.timed and earlier.timed,
    )


def _inserted_producers(
    graph: Graph, profile: Profile, owner: Mapping[str, _Group]
) -> dict[str, ExecutedNode]:
    """Inserted nodes by the layer whose output they convert."""
    tails: dict[str, str] = {}
    position = {layer.name: i for i, layer in enumerate(graph.layers)}
    for name, group in owner.items():
        for node in group.nodes:
            tail = tails.get(node.name)
            if tail is None or position[name] > position[tail]:
                tails[node.name] = name
    for name in graph.inputs:
        folded = [other for other, group in owner.items() if group is owner[name]]
        tails[f"input:{name}"] = max(folded, key=position.__getitem__)
    found: dict[str, ExecutedNode] = {}
    for node in profile.nodes:
        if any(node in group.nodes for group in owner.values()):
            continue
        producer = next((tails[name] for name in node.producers if name in tails), None)
        if producer is None:
            continue
        tails[node.name] = producer  # a conversion of a conversion belongs to the same tensor
        earlier = found.get(producer)
        found[producer] = node if earlier is None else _together(node, earlier)
    return found


def _insertion_rows(
    graph: Graph, groups: Sequence[Sequence[Layer]], inserted: Mapping[str, ExecutedNode]
) -> list[EdgeRow]:
    context = Context(graph)
    return [
        EdgeRow(
            key,
            FUSED if edge.producer.name in inserted else NOT_FUSED,
            tuple(boundary_features(context, edge)),
            edge,
        )
        for key, edge in boundary_edges(context, groups)
    ]


def _unique_groups(graph: Graph, owner: Mapping[str, _Group]) -> list[_Group]:
    """Groups in topological order of their first layers, their layers in topological order."""
    order: dict[int, _Group] = {}
    for layer in graph.layers:
        if layer.name in owner:
            group = order.setdefault(id(owner[layer.name]), owner[layer.name])
            group.layers.append(layer)
    return list(order.values())


def _matched(group: _Group, following: tuple[tuple[str, str, str], ...]) -> MatchedLayer:
    """A group's layers as one, with the sums over its nodes; a node without a time decides."""
    untimed = next((node for node in group.nodes if not node.timed), None)
    main = untimed or max(group.nodes, key=lambda node: node.time_s)
    return MatchedLayer(
        make_executed(group.layers, (untimed or group.nodes[-1]).placement),
        main.kind,
        sum(node.time_s for node in group.nodes),
        main.readings_s,
        following,
        summed(node.traffic_bytes for node in group.nodes),
        untimed is None,
    )


def _conversions(graph: Graph, inserted: Mapping[str, ExecutedNode]) -> dict[str, MatchedLayer]:
    """Inserted nodes as layers, by the layer whose output they convert."""
    return {
        name: MatchedLayer(
            inserted_layer(f"{name}/reorder", graph[name]),
            node.kind,
            node.time_s,
            node.readings_s,
            traffic_bytes=node.traffic_bytes,
            timed=node.timed,
        )
        for name, node in inserted.items()
    }


def _in_order(
    groups: Sequence[_Group],
    following: Mapping[int, Sequence[tuple[str, str, str]]],
    conversions: Mapping[str, MatchedLayer],
) -> tuple[list[MatchedLayer], int]:
    """Executed groups and conversions in order, and how many groups have an odd shape."""
    placed = {layer.name for group in groups for layer in group.layers}
    layers = [conversions[name] for name in conversions if name not in placed]
    odd = 0
    for group in groups:
        layers.append(_matched(group, tuple(following.get(id(group), ()))))
        shape = group.nodes[-1].output_shape
        # views (flatten, reshape) join their producer: only the number of elements must agree
        odd += shape is not None and prod(shape) != prod(layers[-1].executed.output_shape)
        layers += [conversions[each.name] for each in group.layers if each.name in conversions]
    return layers, odd


def match(graph: Graph, profile: Profile) -> Match:
    """Match a profile with the graph it was made of.

    Raises MatchError if the profile is a refusal or none of its nodes names a layer.
    """
    if profile.refusal is not None:
        raise MatchError(f"graph '{graph.name}': nothing was executed: {profile.refusal}")
    executed_graph, moved = _as_executed(graph, profile.nodes)
    owner = _named_groups(executed_graph, profile.nodes)
    if not owner:
        raise MatchError(
            f"graph '{graph.name}': none of the profile's {len(profile.nodes)} nodes names one of "
            "its layers; names must survive the toolchain"
        )
    _place_added(graph, executed_graph, profile.nodes, owner)
    undecided = _adopt_absent(executed_graph, owner)
    fusions, following = _decisions(executed_graph, owner, undecided)
    inserted = _inserted_producers(executed_graph, profile, owner)
    groups = [group for group in _unique_groups(executed_graph, owner) if group.nodes]
    layers, odd = _in_order(groups, following, _conversions(executed_graph, inserted))
    matched = sum(layer.time_s for layer in layers)
    total = sum(node.time_s for node in profile.nodes)
    members = [group.layers for group in groups]
    return Match(
        executed_graph,
        tuple(layers),
        tuple(fusions),
        tuple(_insertion_rows(executed_graph, members, inserted)),
        moved,
        odd,
        total - matched,
    )
