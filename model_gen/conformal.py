"""Half-widths by conformal prediction from what was estimated of layers without their case."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from crepes import ConformalRegressor

from model_gen.difficulty_fit import fit_difficulty
from model_gen.tables import inside_networks, table_times
from model_gen.validity_fit import RegionFit
from strata.intervals import LEVELS, Intervals, Widening, Widths, chosen_widths
from strata.traffic import Trees

# Half-widths of 95% are the second largest of 40 scores: fewer rows have no interval of their own.
FEWEST_ROWS = 40
# Rows of a bin of its own for short, middling and long layers of an operation.
_ROWS_OF_A_BIN = 120
_MOST_BINS = 6
# Layers of multi-layer benchmarks are measured as networks run them; so many of them are enough.
_ENOUGH_INSIDE = 100
_KERNEL_WEIGHT = 0.1
SPREAD = LEVELS.index(0.8)
SMALLEST = 1e-6  # a score of 0 would give a width of 0: nothing is known to a part in a million


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Rows of one operation with what was estimated of them without their case.

    `cases` (rows,) are their cases, `errors` log(measured / estimated), NaN where nothing was
    estimated; `inside` marks rows of multi-layer benchmarks; `apart` the distances of
    `RegionFit.held_out`, NaN without one; `difficulty` the sizes of errors that are expected of
    rows of other cases, and `trees` say them of any layer.
    """

    cases: np.ndarray
    estimated_s: np.ndarray
    errors: np.ndarray
    inside: np.ndarray
    apart: np.ndarray
    difficulty: np.ndarray
    trees: Trees | None = None


def held_out(
    table: pd.DataFrame, estimated_s: np.ndarray, region: RegionFit | None, seed: int
) -> HeldOut:
    """`estimated_s` (rows,) seconds are `LayerFit.held_out_s`."""
    inside = inside_networks(table)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.log(table_times(table) / estimated_s)
    errors = np.where(np.isfinite(errors), errors, np.nan)
    apart = np.full(len(table), np.nan) if region is None else region.held_out
    weights = np.where(inside, 1.0, _KERNEL_WEIGHT) if inside.any() else np.ones(len(table))
    trees, difficulty = fit_difficulty(table, errors, weights, seed)
    cases = table["case_id"].to_numpy()
    return HeldOut(cases, estimated_s, errors, inside, apart, difficulty, trees)


def conformal_half_widths(errors: np.ndarray, scales: np.ndarray) -> tuple[float, ...]:
    """Half-widths by level, in units of the scales: quantiles of |error| / scale.

    Split conformal regression: of n scores the one whose rank is ceil(level (n + 1)).
    """
    regressor = ConformalRegressor().fit(errors, sigmas=np.maximum(scales, SMALLEST))
    one = np.ones(1)
    ends = [regressor.predict_int(0 * one, sigmas=one, confidence=level) for level in LEVELS]
    return tuple(max(float(end[0, 1]), SMALLEST) for end in ends)


def fit_widths(rows: HeldOut, widening: Widening) -> tuple[Widths, ...]:
    """Half-widths of one operation's layers, by estimated time where there are rows enough.

    Empty for fewer than FEWEST_ROWS rows.
    """
    used = calibrating(rows)
    scales = rows.difficulty * widening_factors(rows, widening)
    return binned_widths(rows.errors[used], scales[used], rows.estimated_s[used], _ROWS_OF_A_BIN)


def binned_widths(
    errors: np.ndarray, scales: np.ndarray, values: np.ndarray, rows_of_a_bin: int
) -> tuple[Widths, ...]:
    """Half-widths in bins of equal size by value, as many as rows allow.

    Mondrian conformal prediction: every bin is covered for itself. Empty for fewer than
    FEWEST_ROWS rows.
    """
    if len(errors) < FEWEST_ROWS:
        return ()
    count = min(_MOST_BINS, max(1, len(errors) // rows_of_a_bin))
    edges = np.unique(np.quantile(values, np.arange(1, count) / count))
    bins = np.searchsorted(edges, values)
    if np.bincount(bins, minlength=len(edges) + 1).min() < FEWEST_ROWS:
        edges, bins = np.empty(0), np.zeros(len(values), dtype=int)  # equal values: no bins
    limits: list[float | None] = [*edges.tolist(), None]
    return tuple(
        Widths(limit, conformal_half_widths(errors[bins == i], scales[bins == i]))
        for i, limit in enumerate(limits)
    )


def calibrating(rows: HeldOut) -> np.ndarray:
    """(rows,) those that widths are taken from: inside networks where there are enough."""
    known = np.isfinite(rows.errors)
    inside = known & rows.inside
    return inside if inside.sum() >= _ENOUGH_INSIDE else known


def widening_factors(rows: HeldOut, widening: Widening) -> np.ndarray:
    """(rows,) factors by the distance from measured layers of other cases."""
    return widening.of(rows.apart, np.zeros(len(rows.apart), dtype=bool))


def bin_spreads(
    widths: Sequence[Widths], estimated_s: np.ndarray, difficulty: np.ndarray
) -> np.ndarray:
    """(rows,) the half-widths that stand for a layer's spread, before widening."""
    return chosen_widths(widths, estimated_s)[:, SPREAD] * difficulty


def held_out_spreads(key: str, rows: HeldOut, intervals: Intervals) -> np.ndarray:
    """(rows,) the half-widths that stand for the spreads of layers whose case was left out."""
    widths = intervals.half_widths(key, rows.estimated_s, rows.difficulty)[:, SPREAD]
    return widths * widening_factors(rows, intervals.widening)
