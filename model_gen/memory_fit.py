"""Which rule an on-chip memory takes weights by, from what was fetched in every run and what not.

Trees that look at one layer cannot follow a memory that fills gaps: after a layer that does not
fit, a smaller one may. A rule of few numbers can, and is searched exhaustively.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from strata.placement import PADDINGS, Memory

_MOST_CASES = 600
_CAPACITIES, _ACTIVATIONS, _REFINEMENTS = 21, 7, 4


@dataclass(frozen=True, slots=True)
class _Case:
    """A graph: bytes of weights per padding and layer, which were fetched, largest working set."""

    sizes: dict[int, list[float]]
    fetched: list[bool]
    working_set: float


def _cases(table: pd.DataFrame) -> list[_Case]:
    """Graphs in which something is fetched, or might be: their weights exceed the least such."""
    kept = table[(table["weight_bytes_1"] > 0) & (table["placement"] != "host")]
    if kept.empty:
        return []
    fetched = kept["placement"] == "streamed"
    totals = kept.groupby("case_id")["weight_bytes_1"].sum()
    concerned = set(kept.loc[fetched, "case_id"])
    least = totals[list(concerned)].min() if concerned else np.inf
    large = totals[totals >= least].index[:_MOST_CASES]
    return [
        _Case(
            {padding: rows[f"weight_bytes_{padding}"].tolist() for padding in PADDINGS},
            (rows["placement"] == "streamed").tolist(),
            float(rows["largest_working_set_bytes"].iloc[0]),
        )
        for _, rows in kept[kept["case_id"].isin(set(large))].groupby("case_id", sort=False)
    ]


def mistakes(memory: Memory, cases: Sequence[_Case]) -> int:
    """Layers that the rule places otherwise than they were."""
    return sum(
        guess != truth
        for case in cases
        for guess, truth in zip(
            memory.fetched(case.sizes[memory.padding], case.working_set), case.fetched, strict=True
        )
    )


def _best(candidates: Iterable[Memory], cases: Sequence[_Case]) -> tuple[int, Memory]:
    """The rule with the fewest mistakes, the first of equals."""
    return min(((mistakes(memory, cases), memory) for memory in candidates), key=lambda x: x[0])


def _search(padding: int, largest_first: bool, cases: Sequence[_Case]) -> tuple[int, Memory]:
    """Capacity and working set for one order and padding: a coarse grid, then finer ones.

    Capacities are tried among the bytes that graphs kept on the chip, working sets among those
    that occurred.
    """
    kept = [
        sum(np.array(case.sizes[padding])[~np.array(case.fetched)].tolist())
        for case in cases
        if any(case.fetched)
    ]
    capacities = np.quantile(kept, np.linspace(0.4, 1, _CAPACITIES))
    sets = np.quantile([case.working_set for case in cases], np.linspace(0, 1, _ACTIVATIONS))

    def rules(capacities: np.ndarray, sets: np.ndarray) -> list[Memory]:
        return [
            Memory(float(max(capacity, 0)), float(max(working_set, 0)), padding, largest_first)
            for capacity, working_set in product(np.unique(capacities), np.unique(sets))
        ]

    wrong, best = _best(rules(capacities, sets), cases)
    step, reach = 0.5 * float(np.ptp(sets)), 0.1
    for _ in range(_REFINEMENTS):
        around = best.capacity_bytes * np.linspace(1 - reach, 1 + reach, 9)
        near = best.activation_bytes + step * np.linspace(-1, 1, 9)
        wrong, best = _best([best, *rules(around, near)], cases)
        step, reach = step / 3, reach / 3
    return wrong, best


def fit_memory(table: pd.DataFrame) -> Memory | None:
    """The rule with the fewest mistakes on a placement table; None if nothing was ever fetched."""
    cases = _cases(table)
    if not any(any(case.fetched) for case in cases):
        return None
    found = [_search(padding, first, cases) for padding, first in product(PADDINGS, (True, False))]
    return min(found, key=lambda x: x[0])[1]
