"""Where a black box runs layers: what a compiler tells of whole networks, and rules that follow.

A device without a profiler may come with a compiler that prints how many operations it leaves to
the host, and how many bytes of weights stay on the chip and are fetched in every run. None of it
names a layer. What a kind of layer has to do with the host is told by elimination: a graph that
leaves nothing to the host clears all that it holds, and the one kind that a graph holds beside
cleared ones is suspected, if the numbers of operations bear it out. Those numbers tell as well
whether what reads such a layer's result follows it. Which weights stay is a rule of the memory
(`strata.placement.Memory`) whose kept and fetched bytes are those told. Where nothing is told,
every layer runs in the platform's own way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_gen.memory_fit import ToldGraph, fit_told_memory
from simulators.grouping import Group
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.layer import Layer
from strata.operations import Activation
from strata.placement import PLACEMENT_FEATURES, Memory, placed_rows, stream
from strata.profile import CACHED_BYTES, OPERATIONS_ON_HOST, STREAMED_BYTES, Profile


@dataclass(frozen=True, slots=True)
class Placing:
    """Rules of placement.

    `host` are kinds of layers (`kind_of`) that run on the host, with `follows` also what reads
    their results, and so on; `memory` says which weights are fetched in every run.
    """

    host: frozenset[str] = frozenset()
    follows: bool = False
    memory: Memory | None = None

    @property
    def activations(self) -> frozenset[str]:
        """Kinds of activation among those that the host runs."""
        named = (kind.partition(" ") for kind in self.host)
        return frozenset(which for operation, _, which in named if operation == _ACTIVATION)

    def on_host(self, layers: Sequence[Layer]) -> bool:
        """Whether layers that run together are of a kind that the host runs."""
        return any(kind_of(layer) in self.host for layer in layers)


NOWHERE_ELSE = Placing()
_ACTIVATION = "activation"
_ENOUGH_NETWORKS = 20
_MOST_DIGITS = 15


GroupsOf = Callable[[Graph, Placing], Sequence[Group]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph, and what the compiler tells of it: None where it does not say.

    `is_network` if it is no graph of equal kernels.
    """

    graph: Graph
    on_host: int | None
    kept_bytes: int | None
    fetched_bytes: int | None
    is_network: bool


def kind_of(layer: Layer) -> str:
    """Operation, and of an activation which: what a compiler knows operations by."""
    if isinstance(layer.parameters, Activation):
        return f"{_ACTIVATION} {layer.parameters.kind}"
    return layer.operation


def compiled(graph: Graph, profile: Profile, is_network: bool) -> Compiled:
    """What a profile's toolchain tells of the graph as a whole."""

    def number(key: str) -> int | None:
        text = str(profile.toolchain.get(key, ""))
        is_count = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        return int(text) if is_count else None

    on_host, kept, fetched = map(number, (OPERATIONS_ON_HOST, CACHED_BYTES, STREAMED_BYTES))
    return Compiled(graph, on_host, kept, fetched, is_network)


def placed(groups: Sequence[Group], placing: Placing) -> tuple[ExecutedLayer, ...]:
    """The layers of groups, in their order, with their placement."""
    left: set[str] = set()
    found: list[ExecutedLayer] = []
    for group in groups:
        follows = placing.follows and not left.isdisjoint(group.producers)
        if follows or placing.on_host(group.executed.layers):
            left.add(group.executed.name)
        where = "host" if group.executed.name in left else ""
        found.append(replace(group.executed, placement=where))
    if placing.memory is None:
        return tuple(found)
    return stream(found, placed_rows(found), placing.memory)


def _suspects(told: Sequence[tuple[Compiled, set[str]]]) -> frozenset[str]:
    """Kinds of layers that alone are left to be what some graph has on the host.

    `told` are graphs and the kinds that each holds.
    """
    cleared = set().union(*(held for each, held in told if each.on_host == 0))
    suspects = [held - cleared for each, held in told if each.on_host]
    return frozenset(kind for held in suspects if len(held) == 1 for kind in held)


def _on_host(layers: Iterable[ExecutedLayer]) -> int:
    return sum(layer.placement == "host" for layer in layers)


def find_placing(graphs: Sequence[Compiled], groups_of: GroupsOf) -> Placing:
    """The rules that what was told of these graphs follows; none where nothing was told."""
    told = [(each, set(map(kind_of, each.graph.layers))) for each in graphs]

    def missed(rule: Placing, kind: str | None = None) -> int:
        """Operations by which the numbers on the host are missed, of all graphs with the kind."""
        return sum(
            abs(_on_host(placed(groups_of(each.graph, rule), rule)) - each.on_host)
            for each, held in told
            if each.on_host and (kind is None or kind in held)
        )

    suspects = _suspects(told)
    placing = min((Placing(suspects, follows) for follows in (False, True)), key=missed)
    host = frozenset(
        kind
        for kind in suspects
        if missed(placing, kind) < missed(replace(placing, host=suspects - {kind}), kind)
    )
    placing = Placing(host, placing.follows and bool(host))
    return replace(placing, memory=_memory(graphs, placing, groups_of))


def _memory(graphs: Sequence[Compiled], placing: Placing, groups_of: GroupsOf) -> Memory | None:
    """The memory's rule, from graphs that leave to the host what rules say, or nothing.

    Of networks, if enough of them fetch something: kernels' graphs have shapes that hardly any
    network has, and what small oddities of those decide is no rule of the others.
    """
    told, networks = [], []
    for graph in graphs:
        if graph.kept_bytes is None or graph.fetched_bytes is None:
            continue
        layers = placed(groups_of(graph.graph, placing), placing)
        if graph.on_host in (None, 0, _on_host(layers)):
            rows = placement_rows(layers)
            told.append(ToldGraph(rows, float(graph.kept_bytes), float(graph.fetched_bytes)))
            networks += told[-1:] if graph.is_network else []
    telling = sum(graph.fetched_bytes > 0 for graph in networks)
    return fit_told_memory(networks if telling >= _ENOUGH_NETWORKS else told)


def placement_rows(layers: Sequence[ExecutedLayer]) -> np.ndarray:
    """(layers on the device, len(PLACEMENT_FEATURES)) rows of layers in their order."""
    rows = zip(layers, placed_rows(layers), strict=True)
    held = [row for layer, row in rows if layer.placement != "host"]
    return np.array(held, dtype=np.float64).reshape(-1, len(PLACEMENT_FEATURES))
