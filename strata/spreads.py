"""Intervals of an estimate: those of its layers, and from them that of the total.

Layer errors inside one network are not independent, so the total's interval is no sum of the
layers': `strata.intervals.NetworkSpread` says how they add up, and was learned from whole networks.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from strata.answers import Answer
from strata.intervals import (
    Interval,
    Intervals,
    NetworkSpread,
    chosen_widths,
    interval,
    network_terms,
)

if TYPE_CHECKING:
    from strata.platform_model import PlatformModel

Levels = dict[float, Interval]


def layer_half_widths(
    answers: Sequence[Answer], matrix: np.ndarray, intervals: Intervals
) -> np.ndarray:
    """(layers, levels) half-widths, widened where a layer lies apart from the measured ones.

    `matrix` is the layers' feature matrix. NaN where nothing is known: a layer without a time, or
    that takes none.
    """
    found = np.full((len(answers), len(intervals.levels)), np.nan)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, answer in enumerate(answers):
        if not answer.time_s:
            continue
        modelled = not answer.fell_back or answer.model_used == "roofline"
        if modelled and answer.outside is not None:
            rows_of[answer.key].append(row)
        elif intervals.unmeasured:
            found[row] = intervals.unmeasured
    for key, rows in rows_of.items():
        chosen = [answers[row] for row in rows]
        factors = intervals.widening.of(
            np.array([answer.distance for answer in chosen]),
            np.array([bool(answer.outside) for answer in chosen]),
        )
        times = np.array([answer.time_s for answer in chosen], dtype=np.float64)
        difficulty = intervals.difficulty_of(key, matrix[rows])
        found[rows] = intervals.half_widths(key, times, difficulty) * factors[:, None]
    return found


def total_half_widths(
    times_s: np.ndarray, spreads: np.ndarray, total_s: float, network: NetworkSpread
) -> np.ndarray:
    """(levels,) half-widths of a network's total.

    `times_s` and `spreads` (layers,) are the layers' times and their half-widths at the level
    that stands for a spread.
    """
    scale = network.scale(network_terms(times_s, spreads, total_s))
    return scale * chosen_widths(network.widths, np.array([scale]))[0]


def estimated_intervals(
    answers: Sequence[Answer],
    matrix: np.ndarray,
    total_s: float,
    model: "PlatformModel",
    kind: str,
) -> tuple[list[Levels], Levels]:
    """Per layer, and of the total, the interval by level in seconds.

    Empty where none is known: for another kind of model than the intervals were made for, and for
    the total where a layer's time or spread is not known.
    """
    intervals = model.intervals
    if intervals.kind != kind:
        return [{} for _ in answers], {}
    widths = layer_half_widths(answers, matrix, intervals)
    layers = [
        _by_level(answer.time_s or 0.0, row, intervals)
        for answer, row in zip(answers, widths, strict=True)
    ]
    timed = [row for row, answer in enumerate(answers) if answer.time_s]
    spreads = widths[timed, intervals.spread_column]
    untimed = any(answer.time_s is None for answer in answers)
    if intervals.network is None or not timed or untimed or np.isnan(spreads).any():
        return layers, {}
    times = np.array([answers[row].time_s for row in timed], dtype=np.float64)
    total = total_half_widths(times, spreads, total_s, intervals.network)
    return layers, _by_level(total_s, total, intervals)


def _by_level(time_s: float, widths: np.ndarray, intervals: Intervals) -> Levels:
    if not time_s or np.isnan(widths).any():
        return {}
    return {
        level: interval(time_s, width)
        for level, width in zip(intervals.levels, widths.tolist(), strict=True)
    }
