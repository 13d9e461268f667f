"""How errors of layers grow with the distance from what was measured, on layers held out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.isotonic import IsotonicRegression

from model_gen.conformal import FEWEST_ROWS, SMALLEST, HeldOut, bin_spreads, calibrating, fit_widths
from model_gen.tables import table_matrix, table_times
from model_gen.validity_fit import beyond, fit_region
from strata.intervals import Widening
from strata.layer_models import LayerModel

Refit = Callable[[pd.DataFrame], LayerModel | None]

_FEWEST_FOR_REGIONS, _MOST_FOR_REGIONS, _REGIONS = 200, 1200, 5
_ROWS_OF_A_KEY = 500
_ROWS_OF_A_DISTANCE = 30


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """Held-out layers: distance in units, |error| in half-widths, and whether out of range."""

    distances: np.ndarray
    ratios: np.ndarray
    outside: np.ndarray


def learned_widening(
    rows: Mapping[str, HeldOut], apart: Mapping[str, Apart | None], seed: int
) -> Widening:
    """One for all operations, each of which counts by at most _ROWS_OF_A_KEY rows of a sort.

    `apart` are the `held_out_regions` of each.
    """
    generator = np.random.default_rng(seed)
    parts = []
    for key, each in rows.items():
        widths = fit_widths(each, Widening())
        known = np.flatnonzero(calibrating(each) & np.isfinite(each.apart))
        if not widths or not len(known):
            continue
        chosen = generator.choice(known, min(_ROWS_OF_A_KEY, len(known)), replace=False)
        ratios = np.abs(each.errors[chosen]) / bin_spreads(
            widths, each.estimated_s[chosen], each.difficulty[chosen]
        )
        parts.append(Apart(each.apart[chosen], ratios, np.zeros(len(chosen), dtype=bool)))
        far = apart[key]
        if far is not None:
            picked = generator.permutation(len(far.ratios))[:_ROWS_OF_A_KEY]
            parts.append(Apart(far.distances[picked], far.ratios[picked], far.outside[picked]))
    return fit_widening(joined(parts))


def held_out_regions(table: pd.DataFrame, rows: HeldOut, refit: Refit, seed: int) -> Apart | None:
    """Errors in parts of an operation's region that were left out of a fit as a whole.

    Cases held out at random lie among the others; what is far from all of them is seen only so.
    `rows` is what was held out of the rows of `table`; `refit` fits the operation's model to other
    rows, None where it cannot.
    """
    widths = fit_widths(rows, Widening())
    if len(table) < _FEWEST_FOR_REGIONS or not widths:
        return None
    difficulty = rows.difficulty
    if len(table) > _MOST_FOR_REGIONS:
        chosen = np.random.default_rng(seed).choice(len(table), _MOST_FOR_REGIONS, replace=False)
        table, difficulty = table.iloc[chosen], difficulty[chosen]
    whole = fit_region(table, seed)
    if whole is None:
        return None
    places = whole.region.coordinates(table_matrix(table))
    part = KMeans(_REGIONS, n_init=1, random_state=seed).fit_predict(places)
    found = []
    for number in range(_REGIONS):
        test, train = table[part == number], table[part != number]
        region = fit_region(train, seed)
        model = refit(train) if region is not None and len(test) else None
        if region is None or model is None:
            continue
        matrix = table_matrix(test)
        estimated_s = model.time_s(matrix)
        ratios = np.abs(np.log(table_times(test) / estimated_s)) / bin_spreads(
            widths, estimated_s, difficulty[part == number]
        )
        outside = beyond(matrix, table_matrix(train))
        found.append(Apart(region.region.distances(matrix), ratios, outside))
    return joined(found)


def joined(parts: Sequence[Apart]) -> Apart | None:
    """All of them; None of none."""
    if not parts:
        return None
    return Apart(
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.ratios for part in parts]),
        np.concatenate([part.outside for part in parts]),
    )


def fit_widening(found: Apart | None) -> Widening:
    """How the spread of errors grows with the distance, and beyond the range of a feature.

    80% quantiles of the ratios in bins of equal size, made to rise with the distance.
    """
    if found is None or len(found.distances) < FEWEST_ROWS:
        return Widening()
    within = ~found.outside
    if within.sum() < FEWEST_ROWS:
        return Widening()
    apart, ratios = found.distances[within], found.ratios[within]
    bins = _distance_bins(apart)
    distances = np.array([np.median(apart[each]) for each in bins])
    spreads = np.array([np.quantile(ratios[each], 0.8) for each in bins])
    rising = IsotonicRegression(out_of_bounds="clip").fit(distances, spreads).predict(distances)
    factors = np.maximum(rising / max(rising[0], SMALLEST), 1.0)
    widening = Widening(tuple(distances.tolist()), tuple(factors.tolist()))
    beside = found.outside
    if beside.sum() < FEWEST_ROWS:
        return widening
    plain = widening.of(found.distances, np.zeros(len(beside), dtype=bool))
    left = found.ratios / plain
    more = np.quantile(left[beside], 0.8) / max(np.quantile(left[within], 0.8), SMALLEST)
    return replace(widening, outside=max(float(more), 1.0))


def _distance_bins(distances: np.ndarray) -> list[np.ndarray]:
    """Rows by distance: the nearer half, and of the rest again and again the nearer half.

    Few layers lie far from all others, and the farther the more their errors differ.
    """
    left, bins = np.argsort(distances), []
    while len(left) >= 2 * _ROWS_OF_A_DISTANCE:
        half = len(left) // 2
        bins.append(left[:half])
        left = left[half:]
    return [*bins, left]
