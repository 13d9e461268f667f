"""From end-to-end times to sums of layers: what nested graphs and networks say of a black box.

Where layers run is told by a compiler, if it tells (`benchmark.black_box_placement`). What executes
together is assumed (`Rules`): activations and normalisations with the layer they follow, views with
what they rename; which kinds of activation run apart after all, and which pairs of other layers
together, `benchmark.black_box_fusion` decides from the times. A follower's time is then part of its
group's, which is right wherever they always stand together.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.black_box_placement import (
    NOWHERE_ELSE,
    Placing,
    compiled,
    find_placing,
    placed,
)
from benchmark.black_box_plan import PAIR, is_chain_of, nest_id
from benchmark.matcher import Match, match
from benchmark.plan import purpose_of
from benchmark.shards import read_shard
from model_gen.black_box import Sums
from simulators.grouping import Candidate, Group, group_layers
from strata import operations as op
from strata.context import SIZES
from strata.edges import pair_key
from strata.errors import ArtefactError, MatchError
from strata.execution import FEATURES, OWN_FEATURES, ExecutedLayer, feature_matrix
from strata.graph import Graph, with_bits
from strata.link import leaving_bytes
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_from_dict

Build = Callable[[str, Mapping[str, Any]], Graph]

CHEAP = frozenset(("relu", "relu6", "leaky_relu"))  # comparisons: with the layer before, as stated
_STATED = op.Activation | op.BatchNormalization  # join what they follow
_QUANTILE = 0.5  # what modules take of their samples
_FEWEST_TRIPLES = 20
_ASSUMED_SPREAD = 0.005  # of two compilations, where no third graph tells it


@dataclass(frozen=True, slots=True)
class Rules:
    """What executes together, beside what is stated, and where.

    `joined` are keys of pairs, as "convolution->add", of which the second runs with the first where
    nothing else reads the tensor between them, and nothing but activations and normalisations has
    joined the first already: what was found of pairs says nothing of three. `apart` are kinds of
    activation that are layers of their own. What the host runs is no part of what the device does
    (`placing`).
    """

    joined: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    placing: Placing = NOWHERE_ELSE

    def joins(self, candidate: Candidate) -> bool:
        """Whether a layer runs with the group before it."""
        parameters = candidate.layer.parameters
        if not candidate.only_consumer:
            return False
        there, after = map(self.placing.on_host, (candidate.group, (candidate.layer,)))
        if there != after and not (there and self.placing.follows):
            return False
        if isinstance(parameters, op.Activation):
            return parameters.kind not in self.apart
        if isinstance(parameters, op.BatchNormalization):
            return True
        first, *others = candidate.group
        if not all(isinstance(each.parameters, _STATED) for each in others):
            return False
        return pair_key(first.operation, candidate.layer.operation) in self.joined


def learned_as(executed: ExecutedLayer) -> str:
    """What a layer is learned with: those of its table, but for two kinds.

    Comparisons alone are not learned with dearer activations; and the few bytes that a layer
    without products fetches (factors of a normalisation) make it no other layer.
    """
    parameters = executed.root.parameters
    cheap = isinstance(parameters, op.Activation) and parameters.kind in CHEAP
    if cheap and not executed.placement:
        return "comparison"
    if executed.placement == "streamed" and not executed.work.macs:
        return executed.operation
    return executed.model_key


@dataclass(frozen=True, slots=True)
class Timed:
    """A measured graph, of which the end-to-end time is known; seconds.

    `nest` names the graphs with the same kernels, empty for a network of several layers; `kernels`
    is their number. `found` are its layers as they are assumed to run, `rows` their features.
    """

    record: Mapping[str, Any]
    graph: Graph
    profile: Profile
    nest: str
    kernels: int
    sigma_s: float
    found: Match
    rows: np.ndarray

    @property
    def pair(self) -> str:
        """The pair's key of a graph of pairs, else empty."""
        case = self.record["case"]
        if case["benchmark"] != PAIR:
            return ""
        return pair_key(case["settings"]["producer"], case["settings"]["follower"])

    @property
    def filled(self) -> bool:
        """Whether a layer stands beside the kernels that takes an on-chip memory's room."""
        return bool(self.record["case"]["settings"].get("filled", 0))

    @property
    def names(self) -> list[str]:
        """Per layer, what it is learned as."""
        return [learned_as(layer.executed) for layer in self.found.layers]

    @property
    def keys(self) -> list[str]:
        """Per layer, what tells different ones apart: operation and features of its own."""
        own = self.rows[:, : len(OWN_FEATURES)]
        pairs = zip(self.names, own, strict=True)
        return [f"{name} {row.tobytes().hex()}" for name, row in pairs]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two nested graphs and the layers (by their place in `more`) that one has more per kernel."""

    less: Timed
    more: Timed
    places: tuple[int, ...]
    counts: tuple[float, ...]
    time_s: float
    sigma_s: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A graph's end-to-end time as a sum: its layers by their places, equal kernels as one."""

    one: Timed
    places: tuple[int, ...]
    counts: tuple[float, ...]


@dataclass(slots=True)
class Readings:
    """All graphs of a run that were timed, and the records of those that were not, by reason."""

    graphs: list[Timed] = field(default_factory=list)
    refused: list[tuple[Mapping[str, Any], str]] = field(default_factory=list)
    spread: float = 0.0

    @property
    def networks(self) -> list[Timed]:
        """Graphs of several layers."""
        return [graph for graph in self.graphs if not graph.nest]

    @property
    def kernels(self) -> "Readings":
        """What says how long layers take alone: neither networks nor pairs."""
        return replace(self, graphs=[one for one in self.graphs if one.nest and not one.pair])

    @property
    def bare(self) -> "Readings":
        """All but graphs with a filler."""
        return replace(self, graphs=[one for one in self.graphs if not one.filled])

    @property
    def pairs(self) -> "Readings":
        """Graphs of pairs."""
        return replace(self, graphs=[one for one in self.graphs if one.pair])

    def without_pairs(self, keys: Collection[str]) -> "Readings":
        """All but graphs of these pairs."""
        return replace(self, graphs=[one for one in self.graphs if one.pair not in keys])

    def without_chains(self, operations: Collection[str]) -> "Readings":
        """All but chains of these operations' layers alone."""
        kept = [
            one
            for one in self.graphs
            if not any(is_chain_of(one.record["case"], operation) for operation in operations)
        ]
        return replace(self, graphs=kept)

    @property
    def nests(self) -> dict[str, list[Timed]]:
        """Graphs of the same kernels, fewest kernels first."""
        found: dict[str, list[Timed]] = defaultdict(list)
        for graph in self.graphs:
            if graph.nest:
                found[graph.nest].append(graph)
        return {nest: sorted(graphs, key=lambda one: one.kernels) for nest, graphs in found.items()}


def standard_error_s(samples_s: Sequence[float]) -> float:
    """Of the median of samples, from their order alone (Woodruff, 1952); 0 below four."""
    if len(samples_s) < 4:
        return 0.0
    step = np.sqrt(_QUANTILE * (1 - _QUANTILE) / len(samples_s))
    low, high = np.quantile(samples_s, [max(_QUANTILE - step, 0.0), _QUANTILE + step])
    return float(high - low) / 2


def executed_as_assumed(graph: Graph, rules: Rules) -> Match:
    """The graph's layers as they are assumed to run; their times are not known yet (1 s each).

    MatchError for a graph that computes nothing.
    """
    groups = groups_of(graph, rules)
    nodes = tuple(
        ExecutedNode(
            layer.name,
            layer.operation,
            tuple(each.name for each in layer.layers),
            group.producers,
            layer.output_shape,
            1.0,
            placement=layer.placement,
        )
        for group, layer in zip(groups, placed(groups, rules.placing), strict=True)
    )
    return match(graph, Profile("black_box", nodes))


def groups_of(graph: Graph, rules: Rules) -> list[Group]:
    """Layers that are assumed to run together, without the graph's inputs."""
    return [
        group
        for group in group_layers(graph, rules.joins)
        if not isinstance(group.executed.root.parameters, op.Input)
    ]


def find_rules(readings: Readings) -> Rules:
    """Where layers run, from what a compiler tells of whole graphs; nothing without one."""
    told = [compiled(one.graph, one.profile, not one.nest) for one in readings.graphs]
    found = find_placing(told, lambda graph, placing: groups_of(graph, Rules(placing=placing)))
    return Rules(placing=found)


def _features(found: Match) -> np.ndarray:
    """(layers, len(FEATURES)) of a graph's layers, without how large the graph is.

    Kernels stand in small graphs and shares in large networks: trees would take what totals leave
    unexplained for what a network's size does.
    """
    rows = feature_matrix([layer.executed for layer in found.layers])
    rows[:, [FEATURES.index(name) for name in SIZES]] = 0.0
    return rows


def _timed(record: Mapping[str, Any], profile: Profile, build: Build) -> Timed:
    case = record["case"]
    graph = with_bits(build(case["benchmark"], case["settings"]), profile.bits)
    found = executed_as_assumed(graph, Rules())
    settings = case["settings"]
    nest = nest_id(case["benchmark"], settings) if "kernels" in settings else ""
    rows = _features(found)
    sigma_s = standard_error_s(profile.samples_s)
    kernels = int(settings.get("kernels", 0))
    return Timed(record, graph, profile, nest, kernels, sigma_s, found, rows)


def read_times(
    shards: Iterable[Path],
    build: Build,
    advance: Callable[[], None] = lambda: None,
    largest: int | None = None,
) -> Readings:
    """The end-to-end times of shards; times of layers in them, if there are any, are not read.

    A graph that stands in several shards counts once, as measured first; one that serves a
    purpose of its own (its mapping, its total) not at all. `largest` leaves out graphs of more
    kernels. ArtefactError names a file and line that is no record.
    """
    found, seen = Readings(), set()
    for shard in shards:
        for number, record in enumerate(read_shard(shard), 1):
            advance()
            where = f"{shard}, line {number}"
            try:
                case = record["case"]
                key, kernels = case["case_id"], case["settings"].get("kernels", 0)
                purpose = purpose_of(record)
                profile = profile_from_dict(record["profile"], where)
            except (KeyError, TypeError) as error:
                raise ArtefactError(f"{where}: no record of a measured case: {error!r}") from None
            if key in seen or purpose or (largest is not None and kernels > largest):
                continue
            seen.add(key)
            _read(found, record, profile, build)
    if not found.graphs:
        raise ArtefactError(f"no graph was timed in {', '.join(map(str, shards)) or 'no shards'}")
    found.spread = repeatability(found)
    noisy = [
        replace(graph, sigma_s=float(np.hypot(graph.sigma_s, found.spread * graph.profile.time_s)))
        for graph in found.graphs
    ]
    return replace(found, graphs=noisy)


def _read(found: Readings, record: Mapping[str, Any], profile: Profile, build: Build) -> None:
    reason = profile.refusal or profile.untimed
    if reason is None and not (np.isfinite(profile.time_s) and profile.time_s > 0):
        reason = f"the end-to-end time is {profile.time_s}; legal: above 0 s"
    if reason is None:
        try:
            hidden = replace(profile, nodes=())
            found.graphs.append(_timed(record, hidden, build))
        except MatchError as error:
            reason = str(error)
    if reason is not None:
        found.refused.append((record, reason))


def regrouped(readings: Readings, rules: Rules) -> Readings:
    """The same times with other layers running together."""
    graphs = []
    for one in readings.graphs:
        found = executed_as_assumed(one.graph, rules)
        rows = _features(found)
        graphs.append(replace(one, found=found, rows=rows))
    return replace(readings, graphs=graphs)


def repeatability(readings: Readings) -> float:
    """Relative standard deviation of a graph's time from one compilation to the next.

    Where three graphs of the same kernels are there, the one between lies off the line of the
    others by it. Else 0.5% is assumed, or nothing of a machine whose runs are all alike.
    """
    found = []
    for graphs in readings.nests.values():
        if len(graphs) < 3:
            continue
        low, middle, high = graphs[0], graphs[1], graphs[-1]
        weight = (middle.kernels - low.kernels) / (high.kernels - low.kernels)
        times_s = [one.profile.time_s for one in (low, middle, high)]
        parts = ((1 - weight) * times_s[0], weight * times_s[2])
        found.append(abs(times_s[1] - sum(parts)) / float(np.linalg.norm((times_s[1], *parts))))
    if len(found) >= _FEWEST_TRIPLES:
        return 1.48 * float(np.median(found))
    still = np.median([one.sigma_s / one.profile.time_s for one in readings.graphs]) < 1e-6
    return 0.0 if still else _ASSUMED_SPREAD


def difference(graphs: Sequence[Timed]) -> Difference | None:
    """What the largest of nested graphs has more than the smallest, per kernel.

    None for a single graph, and where the smaller one has layers that the larger one lacks.
    """
    less, more = graphs[0], graphs[-1]
    if more.kernels == less.kernels:
        return None
    keys = more.keys
    surplus = Counter(keys)
    surplus.subtract(Counter(less.keys))
    counts = {key: count for key, count in surplus.items() if count}
    if not counts or min(counts.values()) < 0:
        return None
    place = {key: number for number, key in enumerate(keys)}  # the last one of each
    kernels = more.kernels - less.kernels
    return Difference(
        less,
        more,
        tuple(place[key] for key in counts),
        tuple(count / kernels for count in counts.values()),
        (more.profile.time_s - less.profile.time_s) / kernels,
        float(np.hypot(more.sigma_s, less.sigma_s)) / kernels,
    )


def _beside(one: Timed) -> np.ndarray:
    """A run, bytes handed over, and bytes that come back (`strata.link`)."""
    executed = [layer.executed for layer in one.found.layers]
    return np.array([1.0, one.graph.input_bytes, leaving_bytes(one.graph, executed)])


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Sums in the order of `differences`, `smallest` (whole graphs of kernels) and `networks`."""

    sums: Sums
    differences: tuple[Difference, ...]
    smallest: tuple[Whole, ...]
    networks: tuple[Timed, ...]

    @property
    def is_network(self) -> np.ndarray:
        """(m,) whether a sum is a network's total."""
        kernels = len(self.differences) + len(self.smallest)
        return np.arange(len(self.sums.time_s)) >= kernels

    def terms(self, number: int) -> slice:
        """Where the terms of a sum stand."""
        first, last = np.searchsorted(self.sums.of, [number, number + 1])
        return slice(int(first), int(last))


def _whole(one: Timed) -> Whole:
    """Layers of a network all stand in another place; equal kernels of one graph do not."""
    if not one.nest:
        return Whole(one, tuple(range(len(one.rows))), (1.0,) * len(one.rows))
    keys = one.keys
    counts = Counter(keys)
    place = {key: number for number, key in enumerate(keys)}  # the last one of each
    return Whole(one, tuple(place[key] for key in counts), tuple(map(float, counts.values())))


def all_differences(readings: Readings) -> list[Difference]:
    """One per nest that has one."""
    found = map(difference, readings.nests.values())
    return [step for step in found if step is not None]


def make_sums(readings: Readings) -> Plan:
    """All differences, the smallest graph of nests without filler, networks' totals, as sums."""
    nests, steps = readings.nests, all_differences(readings)
    if not steps:
        raise ArtefactError(
            "no two nested graphs: a black box needs the same kernels in graphs of several sizes; "
            "make the plan with the platform's key 'black_box'"
        )
    # the one filler of many graphs would make a single group of all, and tell nothing else
    smallest = tuple(_whole(graphs[0]) for graphs in nests.values() if not graphs[0].filled)
    networks = tuple(readings.networks)
    wholes = (*smallest, *map(_whole, networks))
    parts = [(step.more, step.places, step.counts) for step in steps]
    parts += [(whole.one, whole.places, whole.counts) for whole in wholes]
    growth = [
        (_beside(step.more) - _beside(step.less)) / (step.more.kernels - step.less.kernels)
        for step in steps
    ]
    ends = [step.more.profile.time_s / step.more.kernels for step in steps]
    totals = [whole.one.profile.time_s for whole in wholes]
    sigmas = [step.sigma_s for step in steps] + [whole.one.sigma_s for whole in wholes]
    sums = Sums(
        np.array([step.time_s for step in steps] + totals),
        np.array(sigmas),
        np.array(ends + totals),
        np.array(growth + [_beside(whole.one) for whole in wholes], dtype=np.float64),
        np.repeat(np.arange(len(parts)), [len(places) for _, places, _ in parts]),
        np.concatenate([np.array(counts, dtype=np.float64) for _, _, counts in parts]),
        np.array([one.names[place] for one, places, _ in parts for place in places]),
        np.concatenate([one.rows[list(places)] for one, places, _ in parts]),
        np.array([name for one, places, _ in parts for name in _layer_names(one, places)]),
    )
    return Plan(sums, tuple(steps), smallest, networks)


def _layer_names(one: Timed, places: Sequence[int]) -> list[str]:
    """What tells layers apart: features around kernels, in a network the place that each has."""
    if one.nest:
        keys = one.keys
        return [keys[place] for place in places]
    return [f"{one.record['case']['case_id']} {place}" for place in places]
