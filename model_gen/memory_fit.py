"""Which rule an on-chip memory takes weights by, from what was fetched in every run and what not.

Trees that look at one layer cannot follow a memory that fills gaps: after a layer that does not
fit, a smaller one may. A rule of few numbers can. How layers are stored is a few whole numbers
(rounding, banks, order), tried in turn; the two sizes of each are searched on ever finer grids.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from strata.placement import PADDINGS, PLACEMENT_FEATURES, Memory

_MOST_CASES = 250
_CAPACITIES, _ACTIVATIONS, _REFINEMENTS = 21, 7, 4
# what else an array may round up or add, beside the filters it works on at once
_CHANNEL_PADDINGS, _BYTES_PER_FILTER, _BANKS = (1, 4, 16), (0, 8), (1, 4, 16)
_DEPTHWISE_BYTES = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class _Case:
    """A graph: its layers' rows, which were fetched, its largest working set in bytes."""

    rows: np.ndarray
    fetched: list[bool]
    working_set: float


@dataclass(frozen=True, slots=True)
class _Stored:
    """A graph as a rule stores it: bytes and pieces per layer."""

    sizes: list[float]
    pieces: list[float]
    case: _Case


def _cases(table: pd.DataFrame) -> list[_Case]:
    """Graphs in which something is fetched, or might be: their weights exceed the least such."""
    kept = table[(table["weight_bytes_1"] > 0) & (table["placement"] != "host")]
    if kept.empty:
        return []
    fetched = kept["placement"] == "streamed"
    totals = kept.groupby("case_id")["weight_bytes_1"].sum()
    concerned = set(kept.loc[fetched, "case_id"])
    least = totals[list(concerned)].min() if concerned else np.inf
    # those in which something was fetched say most; then those nearest to it
    order = totals[totals >= least].sort_values(ascending=False, kind="stable").index
    large = sorted(order, key=lambda case: case not in concerned)[:_MOST_CASES]
    return [
        _Case(
            rows[list(PLACEMENT_FEATURES)].to_numpy(np.float64),
            (rows["placement"] == "streamed").tolist(),
            float(rows["largest_working_set_bytes"].iloc[0]),
        )
        for _, rows in kept[kept["case_id"].isin(set(large))].groupby("case_id", sort=False)
    ]


def _stored(memory: Memory, cases: Sequence[_Case]) -> list[_Stored]:
    """The cases as the rule stores them, whatever its capacity."""
    found = []
    for case in cases:
        sizes, pieces = memory.stored(case.rows)
        found.append(_Stored(sizes.tolist(), pieces.tolist(), case))
    return found


def _mistakes(memory: Memory, stored: Sequence[_Stored]) -> int:
    """Layers that the rule places otherwise than they were."""
    return sum(
        guess != truth
        for each in stored
        for guess, truth in zip(
            memory.fetched(each.sizes, each.pieces, each.case.working_set),
            each.case.fetched,
            strict=True,
        )
    )


def _best(candidates: Iterable[Memory], stored: Sequence[_Stored]) -> tuple[int, Memory]:
    """The rule with the fewest mistakes, the first of equals."""
    return min(((_mistakes(memory, stored), memory) for memory in candidates), key=lambda x: x[0])


def _around(memory: Memory, wrong: int, step: float, stored: list[_Stored]) -> tuple[int, Memory]:
    """The best sizes near those of a rule, on grids of ever finer meshes."""
    reach = 0.1
    for _ in range(_REFINEMENTS):
        if wrong == 0:
            break
        around = memory.capacity_bytes * np.linspace(1 - reach, 1 + reach, 9)
        near = np.maximum(memory.activation_bytes + step * np.linspace(-1, 1, 9), 0.0)
        wrong, memory = _best([memory, *_rules(memory, around, near)], stored)
        step, reach = step / 3, reach / 3
    return wrong, memory


def _rules(shape: Memory, capacities: np.ndarray, sets: np.ndarray) -> list[Memory]:
    """Rules that store alike, of all pairs of a capacity and a working set, in bytes."""
    return [
        replace(shape, capacity_bytes=float(max(capacity, 0)), activation_bytes=float(working_set))
        for capacity, working_set in product(np.unique(capacities), np.unique(sets))
    ]


def _search(shape: Memory, cases: Sequence[_Case]) -> tuple[int, Memory]:
    """Capacity and working set of rules that store as `shape` does.

    Capacities are tried among the bytes that graphs kept on the chip, working sets among those
    that occurred.
    """
    stored = _stored(shape, cases)
    kept = [
        float(np.array(each.sizes)[~np.array(each.case.fetched)].sum())
        for each in stored
        if any(each.case.fetched)
    ]
    capacities = np.quantile(kept, np.linspace(0.4, 1, _CAPACITIES))
    sets = np.quantile([case.working_set for case in cases], np.linspace(0, 1, _ACTIVATIONS))
    wrong, best = _best(_rules(shape, capacities, sets), stored)
    return _around(best, wrong, 0.5 * float(np.ptp(sets)), stored)


def fit_memory(table: pd.DataFrame) -> Memory | None:
    """The rule with the fewest mistakes on a placement table; None if nothing was ever fetched.

    Order and rounding of filters are tried in all pairs; with the better two, all that else may
    be stored. Of equals the simplest rule is taken.
    """
    cases = _cases(table)
    if not any(any(case.fetched) for case in cases):
        return None
    shapes = [Memory(0.0, 0.0, padding, first) for padding in PADDINGS for first in (True, False)]
    found = sorted((_search(shape, cases) for shape in shapes), key=lambda x: x[0])
    others = product(_CHANNEL_PADDINGS, _BYTES_PER_FILTER, _BANKS)
    for depth, extra, banks in list(others)[1:]:  # the first is the simple rule itself
        if found[0][0] == 0:
            break
        for _, simple in found[:2]:
            rounded = replace(simple, channel_padding=depth, bytes_per_filter=extra, banks=banks)
            found.append(_search(rounded, cases))
    best = min(found, key=lambda x: x[0])
    for wider in _DEPTHWISE_BYTES:
        if best[0] == 0:
            break
        apart = _search(replace(best[1], depthwise_bytes=wider), cases)
        best = min(best, apart, key=lambda x: x[0])
    return best[1]
