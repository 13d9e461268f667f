"""Where a black box runs layers: what a compiler tells of whole networks, and rules that follow.

A device without a profiler may come with a compiler that prints how many operations it leaves to
the host, and how many bytes of weights stay on the chip and are fetched in every run. None of it
names a layer. What a kind of layer has to do with the host is told by elimination: a graph that
leaves nothing to the host clears all that it holds, and what a graph holds beside cleared kinds
must run there. Whether what reads such a layer's result follows it, is told by the numbers of
operations. Which weights stay is a rule of the memory (`strata.placement.Memory`) whose kept and
fetched bytes are those told. Where nothing is told, every layer runs in the platform's own way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model_gen.memory_fit import ToldGraph, fit_told_memory
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.layer import Layer
from strata.placement import PLACEMENT_FEATURES, Memory, Surroundings
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
        begin = "activation "
        return frozenset(kind.removeprefix(begin) for kind in self.host if kind.startswith(begin))

    def on_host(self, layers: Sequence[Layer]) -> bool:
        """Whether layers that run together are of a kind that the host runs."""
        return any(kind_of(layer) in self.host for layer in layers)


NOWHERE_ELSE = Placing()
_ENOUGH_NETWORKS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """A layer as it is assumed to run, and the names of those that it reads."""

    executed: ExecutedLayer
    producers: tuple[str, ...]


StepsOf = Callable[[Graph, Placing], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph, and what the compiler tells of it: None where it does not say.

    `is_network` if it has several kinds of layers, as networks have.
    """

    graph: Graph
    on_host: int | None
    kept_bytes: int | None
    fetched_bytes: int | None
    is_network: bool


def kind_of(layer: Layer) -> str:
    """Operation and, where there is one, kind: what a compiler's list of operations knows."""
    kind = getattr(layer.parameters, "kind", "")
    return f"{layer.operation} {kind}".strip()


def compiled(graph: Graph, profile: Profile, is_network: bool) -> Compiled:
    """What a profile's toolchain tells of the graph as a whole."""

    def number(key: str) -> int | None:
        text = profile.toolchain.get(key, "")
        return int(text) if text.isdecimal() else None

    on_host, kept, fetched = map(number, (OPERATIONS_ON_HOST, CACHED_BYTES, STREAMED_BYTES))
    return Compiled(graph, on_host, kept, fetched, is_network)


def placed(steps: Sequence[Step], placing: Placing) -> list[ExecutedLayer]:
    """The layers with their placement."""
    if not placing.host and placing.memory is None:
        return [step.executed for step in steps]
    left: set[str] = set()
    found: list[ExecutedLayer] = []
    surroundings = Surroundings([step.executed for step in steps])
    rows = []
    for step in steps:
        follows = placing.follows and not left.isdisjoint(step.producers)
        if follows or placing.on_host(step.executed.layers):
            left.add(step.executed.name)
        where = "host" if step.executed.name in left else ""
        found.append(replace(step.executed, placement=where))
        rows.append(surroundings.row(found[-1]))
        surroundings.add(found[-1])
    if placing.memory is None:
        return found
    return list(surroundings.stream(found, rows, placing.memory))


def _left_to_host(graphs: Sequence[Compiled]) -> frozenset[str]:
    """Kinds of layers that run on the host, wherever they stand."""
    told = [(set(map(kind_of, each.graph.layers)), each.on_host) for each in graphs]
    cleared = set().union(*(held for held, on_host in told if on_host == 0))
    suspects = [held - cleared for held, on_host in told if on_host]
    return frozenset(kind for held in suspects if len(held) == 1 for kind in held)


def _on_host(layers: Iterable[ExecutedLayer]) -> int:
    return sum(layer.placement == "host" for layer in layers)


def find_placing(graphs: Sequence[Compiled], steps_of: StepsOf) -> Placing:
    """The rules that what was told of these graphs follows; none where nothing was told."""

    def missed(rule: Placing) -> int:
        """Operations by which the numbers on the host are missed, of all graphs."""
        return sum(
            abs(_on_host(placed(steps_of(each.graph, rule), rule)) - each.on_host)
            for each in graphs
            if each.on_host
        )

    host = _left_to_host(graphs)
    placing = min((Placing(host, follows) for follows in (False, True)), key=missed)
    return replace(placing, memory=_memory(graphs, placing, steps_of))


def _memory(graphs: Sequence[Compiled], placing: Placing, steps_of: StepsOf) -> Memory | None:
    """The memory's rule, from graphs that leave to the host what rules say, or nothing.

    Of networks, if enough of them fetch something: kernels' graphs have shapes that hardly any
    network has, and what small oddities of those decide is no rule of the others.
    """
    told, networks = [], []
    for graph in graphs:
        if graph.kept_bytes is None or graph.fetched_bytes is None:
            continue
        layers = placed(steps_of(graph.graph, placing), placing)
        if graph.on_host in (None, 0, _on_host(layers)):
            rows = placement_rows(layers)
            told.append(ToldGraph(rows, float(graph.kept_bytes), float(graph.fetched_bytes)))
            networks += told[-1:] if graph.is_network else []
    telling = sum(graph.fetched_bytes > 0 for graph in networks)
    return fit_told_memory(networks if telling >= _ENOUGH_NETWORKS else told)


def placement_rows(layers: Sequence[ExecutedLayer]) -> np.ndarray:
    """(layers on the device, len(PLACEMENT_FEATURES)) rows of layers in their order."""
    surroundings = Surroundings(layers)
    rows = []
    for layer in layers:
        row = surroundings.row(layer)
        surroundings.add(layer)
        if layer.placement != "host":
            rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, len(PLACEMENT_FEATURES))
