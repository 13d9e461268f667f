"""Which rule an on-chip memory takes weights by, from what was fetched in every run and what not.

Trees that look at one layer cannot follow a memory that fills gaps: after a layer that does not
fit, a smaller one may. A rule of few numbers can. How layers are stored is a few whole numbers
(rounding, banks, order), tried in turn; its two sizes are searched on ever finer grids. A toolchain
need not tell which layers are fetched: how many bytes are, of each graph, finds the rule as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from strata.placement import PADDINGS, PLACEMENT_FEATURES, Memory, Stored, taken

_MOST_CASES = 250
_MOST_TOLD = 200  # of them, with something fetched, where only bytes are told
_CAPACITIES, _ACTIVATIONS, _SETS = 21, 7, 21
# Grids around the best sizes so far reach as far as these shares of them. They end fine: whether a
# layer of many pieces fits turns on a few bytes, and with it what becomes of all after it.
_REACHES = (0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5)
_CAPACITY_MESH, _ACTIVATION_MESH = np.linspace(-1, 1, 7), np.linspace(-2, 2, 7)
# Compilers print hundredths of a MiB: what is kept and what is fetched are told to half of that.
_PRINTED_BYTES = 2**20 / 100
# A rule with so many times the mistakes of the best is given up before all graphs are seen.
_HOPELESS = 3
_MOST_ROUNDS = 4
# How weights may be stored, simplest first, by what only shows together: all rules of the first
# group are tried, then those of each group beside the best so far. What each stands for: `Memory`.
_FIRST = {"padding": PADDINGS, "banks": (1, 4, 16), "largest_first": (True, False)}
_GROUPS: tuple[dict[str, tuple[Any, ...]], ...] = (
    *({name: values} for name, values in _FIRST.items()),
    {"bytes_per_filter": (0, 4, 8), "map_biases": (False, True)},
    {"channel_padding": (1, 4, 16)},
    {"depthwise_bytes": (1, 2, 3, 4)},
    {"in_place": (False, True)},
)


@dataclass(frozen=True, slots=True)
class ToldGraph:
    """What a toolchain tells of a graph: bytes of weights that stay on the chip, and of those
    fetched in every run, as they are stored. `rows` (layers, len(PLACEMENT_FEATURES)) are its
    layers on the device, in their order."""

    rows: np.ndarray
    kept_bytes: float
    fetched_bytes: float

    def wrong(self, stored: Stored, kept: np.ndarray) -> np.ndarray:
        """Part of all bytes, at most 1, by which rules are off that keep these layers, (rules,)."""
        on_chip = kept @ stored.total_bytes
        elsewhere = stored.total_bytes.sum() - on_chip
        off = np.abs(on_chip - self.kept_bytes) + np.abs(elsewhere - self.fetched_bytes)
        told = max(self.kept_bytes + self.fetched_bytes, _PRINTED_BYTES)
        return np.clip((off - _PRINTED_BYTES) / told, 0.0, 1.0)

    def known_kept_bytes(self, _stored: Stored) -> float | None:
        """Bytes that a chip took, as many as round to what is printed: at least those it takes."""
        return self.kept_bytes + _PRINTED_BYTES / 2


@dataclass(frozen=True, slots=True)
class _Case:
    """A graph: the rows of its layers on the device, and which were fetched."""

    rows: np.ndarray
    fetched: np.ndarray

    def wrong(self, _stored: Stored, kept: np.ndarray) -> np.ndarray:
        """Layers that rules which keep these place otherwise than they were, (rules,)."""
        return np.asarray((kept == self.fetched).sum(axis=1))

    def known_kept_bytes(self, stored: Stored) -> float | None:
        """Bytes on a chip that could not take all; None of one that could."""
        return float(stored.total_bytes[~self.fetched].sum()) if self.fetched.any() else None


@dataclass(frozen=True, slots=True)
class _Sized:
    """A graph as a rule stores it, whatever its sizes."""

    stored: Stored
    working_set_bytes: float
    case: _Case | ToldGraph


def _cases(table: pd.DataFrame) -> list[_Case]:
    """Graphs in which something is fetched, or might be: their weights exceed the least such."""
    table = table[table["placement"] != "host"]
    kept = table[table["weight_bytes_1"] > 0]
    if kept.empty:
        return []
    totals = kept.groupby("case_id")["weight_bytes_1"].sum()
    concerned = set(kept.loc[kept["placement"] == "streamed", "case_id"])
    least = totals[list(concerned)].min() if concerned else np.inf
    # those in which something was fetched say most; then those nearest to it
    order = totals[totals >= least].sort_values(ascending=False, kind="stable").index
    large = sorted(order, key=lambda case: case not in concerned)[:_MOST_CASES]
    return [
        _Case(
            rows[list(PLACEMENT_FEATURES)].to_numpy(np.float64),
            (rows["placement"] == "streamed").to_numpy(),
        )
        for _, rows in table[table["case_id"].isin(set(large))].groupby("case_id", sort=False)
    ]


def _sized(shape: Memory, cases: Sequence[_Case | ToldGraph]) -> list[_Sized]:
    return [
        _Sized(shape.stored(case.rows), shape.working_set_bytes(case.rows), case) for case in cases
    ]


def _mistakes(
    rules: Sequence[Memory], graphs: Sequence[_Sized], fewest: float = np.inf
) -> np.ndarray:
    """What each rule has wrong (`wrong` of a case), (rules,). They differ in sizes only.

    Infinite for those given up: far more than `fewest`.
    """
    capacities = np.array([rule.capacity_bytes for rule in rules])
    activations = np.array([rule.activation_bytes for rule in rules])
    wrong = np.zeros(len(rules))
    for graph in graphs:
        hopeful = np.flatnonzero(wrong <= _HOPELESS * fewest)
        beyond = np.maximum(graph.working_set_bytes - activations[hopeful], 0.0)
        free = capacities[hopeful] - beyond
        kept = taken(graph.stored, free, rules[0].banks, rules[0].largest_first)
        wrong[hopeful] += graph.case.wrong(graph.stored, kept)
    return np.where(wrong <= _HOPELESS * fewest, wrong, np.inf)


def _best(rules: Sequence[Memory], graphs: Sequence[_Sized], fewest: float) -> tuple[float, Memory]:
    """Mistakes of the rule with the fewest, the first of equals, and the rule."""
    wrong = _mistakes(rules, graphs, fewest)
    return float(wrong.min()), rules[int(wrong.argmin())]


def _rules(shape: Memory, capacities: np.ndarray, sets: np.ndarray) -> list[Memory]:
    """Rules that store alike, of all pairs of a capacity and a working set, in bytes."""
    return [
        replace(shape, capacity_bytes=float(max(capacity, 0)), activation_bytes=float(working_set))
        for capacity, working_set in product(np.unique(capacities), np.unique(sets))
    ]


def _sets(graphs: Sequence[_Sized], count: int) -> np.ndarray:
    """Working sets among those that occurred, (count,) bytes."""
    return np.quantile([graph.working_set_bytes for graph in graphs], np.linspace(0, 1, count))


def _anywhere(shape: Memory, graphs: Sequence[_Sized]) -> list[Memory]:
    """Sizes among those that occurred: bytes that graphs kept on the chip, and working sets."""
    known = (graph.case.known_kept_bytes(graph.stored) for graph in graphs)
    kept = [each for each in known if each is not None]
    capacities = np.quantile(kept, np.linspace(0.4, 1, _CAPACITIES))
    return _rules(shape, capacities, _sets(graphs, _ACTIVATIONS))


def _search(shape: Memory, graphs: Sequence[_Sized], fewest: float) -> tuple[float, Memory]:
    """The best sizes for a shape, given up as `_mistakes` does.

    From its own, any that occurred, and other working sets with its own capacity (a rough rule may
    be far off in them, where activations seldom take room), on ever finer grids.
    """
    sets = _sets(graphs, _SETS)
    rules = [
        shape,
        *_anywhere(shape, graphs),
        *_rules(shape, np.array([shape.capacity_bytes]), sets),
    ]
    wrong, best = _best(rules, graphs, fewest)
    for reach in _REACHES:
        if wrong in (0, np.inf):
            break
        capacities = best.capacity_bytes * (1 + reach * _CAPACITY_MESH)
        near = np.maximum(best.activation_bytes + reach * np.ptp(sets) * _ACTIVATION_MESH, 0.0)
        rules = [best, *_rules(best, capacities, near)]
        wrong, best = _best(rules, graphs, min(wrong, fewest))
    return wrong, best


def _shapes(memory: Memory, choices: Mapping[str, Sequence[Any]]) -> list[Memory]:
    """A rule with every combination of choices but its own."""
    found = [
        replace(memory, **dict(zip(choices, values, strict=True)))
        for values in product(*choices.values())
    ]
    return [shape for shape in found if shape != memory]


def fit_memory(table: pd.DataFrame) -> Memory | None:
    """The rule with the fewest mistakes on a placement table; None if nothing was ever fetched.

    Order, rounding of filters and banks are tried in all combinations; then, from the best, all
    that says how weights are stored, until nothing helps. Of equals the simplest rule is taken.
    """
    cases = _cases(table)
    return _fitted(cases) if any(case.fetched.any() for case in cases) else None


def fit_told_memory(graphs: Sequence[ToldGraph]) -> Memory | None:
    """The rule that has most bytes of most graphs right; None if nothing was ever fetched.

    Found like `fit_memory`'s. Graphs of many layers say most of how those share the memory, and
    the largest of those that fit how much of it there is.
    """
    over = [graph for graph in graphs if graph.fetched_bytes > 0]
    if not over:
        return None
    over.sort(key=lambda graph: -len(graph.rows))
    fitting = sorted(
        (graph for graph in graphs if graph.fetched_bytes == 0), key=lambda graph: -graph.kept_bytes
    )
    return _fitted([*over[:_MOST_TOLD], *fitting[: _MOST_CASES - _MOST_TOLD]])


def _fitted(cases: Sequence[_Case | ToldGraph]) -> Memory:
    wrong, memory = np.inf, Memory(0.0, 0.0, 0, True)
    for shape in _shapes(memory, _FIRST):
        graphs = _sized(shape, cases)
        fewer, rule = _best(_anywhere(shape, graphs), graphs, wrong)
        if fewer < wrong:
            wrong, memory = fewer, rule
    wrong, memory = _search(memory, _sized(memory, cases), wrong)
    for _ in range(_MOST_ROUNDS):
        before = memory
        for shape in (shape for choices in _GROUPS for shape in _shapes(memory, choices)):
            if wrong == 0:
                break
            fewer, rule = _search(shape, _sized(shape, cases), wrong)
            if fewer < wrong:
                wrong, memory = fewer, rule
        if memory == before:
            break
    return memory
