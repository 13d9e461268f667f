"""From a layer table to the layer models of its operation, with cross-validated errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from model_gen.peaks import Peaks, fit_peaks
from model_gen.statistical import (
    DEFAULT_FOREST,
    FEWEST_ROWS,
    ForestFit,
    ForestSettings,
    efficiency,
    fit_forest,
    has_target,
)
from model_gen.tables import MULTI_LAYER, check_table, table_matrix, table_times
from model_gen.unrolling import UnrollingFit, identified
from strata.layer_models import LayerModel, Mixed, Refined, Roofline, Statistical, Unrolling

_FOLDS = 5
# Layers of multi-layer benchmarks stand as they do in networks: caches are used by others, layouts
# and neighbours vary. Kernels that run again and again alone fill the space between them.
_KERNEL_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class LayerFit:
    """Models by kind, JSON-ready metrics, and notes on whatever was left out and why.

    Metrics: `rows`, `peak_rows`, `above_one_share` by kind, `folds`, and by kind
    `mape_percent` (mean absolute error of a layer) and `sum_error_percent` (sum of absolute
    errors over sum of times), both on rows of cases held out.
    """

    models: dict[str, LayerModel]
    metrics: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Fitted:
    models: dict[str, LayerModel]
    peaks: Peaks
    above_one_share: dict[str, float]


def fit_layer_models(
    table: pd.DataFrame,
    operation: str,
    unrolling: Sequence[UnrollingFit] = (),
    seed: int = 0,
    settings: ForestSettings = DEFAULT_FOREST,
) -> LayerFit:
    """Fit all kinds of layer models of one operation.

    `table` holds the columns of `model_gen.tables`; `unrolling` what sweeps said, of which the
    identified dimensions are used. Tables too small for a forest give the roofline only, and a
    note. FitError for a table nothing can be fitted to.
    """
    check_table(table, f"table of {operation}")
    dimensions = identified(unrolling)
    fitted = _fit(table, dimensions, seed, settings)
    folds, errors = _cross_validate(table, dimensions, seed, settings)
    metrics = {
        "rows": len(table),
        "peak_rows": fitted.peaks.rows_used,
        "above_one_share": fitted.above_one_share,
        "folds": folds,
        **errors,
    }
    notes = [f"{operation}: {note}" for note in _notes(table, unrolling, fitted, folds)]
    return LayerFit(fitted.models, metrics, notes)


def _fit(
    table: pd.DataFrame, dimensions: tuple[Unrolling, ...], seed: int, settings: ForestSettings
) -> _Fitted:
    peaks = fit_peaks(table)
    roofline = peaks.roofline
    models: dict[str, LayerModel] = {Roofline.kind: roofline}
    matrix, time_s = table_matrix(table), table_times(table)
    rows = has_target(matrix, roofline)
    weights = row_weights(table)[rows]
    if rows.sum() < FEWEST_ROWS:
        return _Fitted(models, peaks, {})
    matrix, time_s = matrix[rows], time_s[rows]
    # efficiencies are shares of the true maxima, so that none of them is above 1
    plain, refined = Refined(peaks.ceiling), Refined(peaks.ceiling, dimensions)

    def forest_of(base: Refined) -> ForestFit:
        return fit_forest(matrix, efficiency(matrix, time_s, base), seed, settings, weights)

    statistical = forest_of(plain)
    # without unrolling both targets are the same numbers, so the forest is shared
    shared = roofline.moves_only or not dimensions
    mixed = statistical if shared else forest_of(refined)
    models[Refined.kind] = Refined(roofline, dimensions)
    models[Statistical.kind] = Statistical(
        peaks.ceiling, statistical.forest, statistical.feature_names
    )
    models[Mixed.kind] = Mixed(refined, mixed.forest, mixed.feature_names)
    above = {Statistical.kind: statistical.above_one_share, Mixed.kind: mixed.above_one_share}
    return _Fitted(models, peaks, above)


def row_weights(table: pd.DataFrame) -> np.ndarray:
    """(rows,) weights: those of isolated kernels are a tenth of those inside networks."""
    if "benchmark" not in table.columns:
        return np.ones(len(table))
    inside = table["benchmark"].isin(MULTI_LAYER).to_numpy()
    return np.where(inside, 1.0, _KERNEL_WEIGHT)


def _cross_validate(
    table: pd.DataFrame, dimensions: tuple[Unrolling, ...], seed: int, settings: ForestSettings
) -> tuple[int, dict[str, dict[str, float]]]:
    """Number of folds, and errors by metric and kind; a case is never on both sides."""
    folds = min(_FOLDS, table["case_id"].nunique())
    if folds < 2:
        return 0, {"mape_percent": {}, "sum_error_percent": {}}
    predicted: dict[str, np.ndarray] = {}
    for train, test in GroupKFold(folds).split(table, groups=table["case_id"]):
        models = _fit(table.iloc[train], dimensions, seed, settings).models
        for kind, model in models.items():
            times = predicted.setdefault(kind, np.full(len(table), np.nan))
            times[test] = model.time_s(table_matrix(table.iloc[test]))
    measured = table_times(table)
    mape, total = {}, {}
    for kind, times in predicted.items():
        known = np.isfinite(times)
        error = np.abs(times[known] - measured[known])
        mape[kind] = float(100 * np.mean(error / measured[known]))
        total[kind] = float(100 * error.sum() / measured[known].sum())
    return folds, {"mape_percent": mape, "sum_error_percent": total}


def _notes(
    table: pd.DataFrame, unrolling: Sequence[UnrollingFit], fitted: _Fitted, folds: int
) -> list[str]:
    peaks, notes = fitted.peaks, []
    if peaks.fell_back:
        notes.append(f"no row is {peaks.shortest_s:g} s long: peaks come from all rows")
    if peaks.roofline.moves_only:
        some = "some" if (table["ops"] > 0).any() else "all"
        notes.append(f"{some} rows have no operations: modelled by bandwidth alone")
    if peaks.roofline.peak_bytes_per_s is None:
        notes.append("no row moves a byte: every estimate is the smallest time seen")
    with_target = int(has_target(table_matrix(table), peaks.roofline).sum())
    if Statistical.kind not in fitted.models:
        notes.append(f"roofline only: {with_target} usable rows, a forest needs {FEWEST_ROWS}")
    elif with_target < len(table):
        notes.append(f"{len(table) - with_target} rows without work were not used for the forest")
    if folds == 0:
        notes.append("one case only: no cross-validation")
    notes += [f"no unrolling of {f.feature}: {f.reason}" for f in unrolling if not f.identified]
    share = fitted.above_one_share.get(Mixed.kind, 0.0)
    if share > 0:
        notes.append(f"mixed: {100 * share:.1f}% of the rows are faster than the refined roofline")
    return notes
