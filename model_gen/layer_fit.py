"""From a layer table to the layer models of its operation, with cross-validated errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from model_gen.interval_fit import LayerErrors, layer_errors
from model_gen.learned import Fitted, fit_models
from model_gen.statistical import (
    CANDIDATES,
    DEFAULT_FOREST,
    FEWEST_ROWS,
    ForestSettings,
    has_target,
)
from model_gen.tables import check_table, hashed_share, inside_networks, table_matrix, table_times
from model_gen.unrolling import UnrollingFit, identified
from strata.layer_models import KINDS, LayerModel, Mixed, Refined, Roofline, Statistical, Unrolling

_FOLDS = 5
# Held out in turn, so many rows tell an error well enough; fitting five more times to tens of
# thousands would take most of the time.
_MOST_VALIDATED = 6_000
_FOLDS_OF_LARGE, _FOLDS_OF_LARGEST = 3, 2
# Rows up to which other learners are tried, and beyond which a fold more buys nothing.
_MOST_CHOSEN = 12_000
# Rows up to which coarse trees are tried: more rows bear fine ones.
_FEW = 1_000
# Mean error of held-out layers below which another learner is not tried.
_GOOD_ENOUGH = 0.02


@dataclass(frozen=True, slots=True)
class LayerFit:
    """Models by kind, JSON-ready metrics, and notes on whatever was left out and why.

    Metrics: `rows`, `peak_rows`, `above_one_share` by kind, `folds`, and by kind
    `mape_percent` (mean absolute error of a layer) and `sum_error_percent` (sum of absolute
    errors over sum of times), both on rows of cases held out. `held_out_s` (rows,) are the seconds
    that the mixed model (the roofline where there is no other) says of each row without its case;
    NaN where it was not asked.
    """

    models: dict[str, LayerModel]
    metrics: dict[str, Any]
    notes: list[str]
    held_out_s: np.ndarray


def fit_layer_models(
    table: pd.DataFrame,
    operation: str,
    unrolling: Sequence[UnrollingFit] = (),
    seed: int = 0,
    settings: ForestSettings = DEFAULT_FOREST,
    beside: pd.DataFrame | None = None,
) -> LayerFit:
    """Fit all kinds of layer models of one operation.

    `table` holds the columns of `model_gen.tables`; `unrolling` what sweeps said, of which the
    identified dimensions are used. Tables too small for a forest give a mixed model without
    trees, or the roofline only, and a note. FitError for a table nothing can be fitted to.
    """
    check_table(table, f"table of {operation}")
    dimensions = identified(unrolling)
    folds, predicted, settings = _validated(table, dimensions, seed, settings, beside)
    fitted = fit_models(table, dimensions, seed, settings, beside=beside)
    with_trees = Refined.kind in fitted.models
    if not with_trees and Mixed.kind not in predicted:
        fitted.models.pop(Mixed.kind, None)  # an engine that no layer held out could judge
    metrics = {
        "learner": settings.learner if with_trees else "none",
        "rows": len(table),
        "peak_rows": fitted.peaks.rows_used,
        "above_one_share": fitted.above_one_share,
        "folds": folds,
        **_errors(table, predicted),
    }
    notes = [f"{operation}: {note}" for note in _notes(table, unrolling, fitted, folds)]
    unknown = np.full(len(table), np.nan)
    roofline_s, mixed_s = (predicted.get(each.kind, unknown) for each in (Roofline, Mixed))
    # a fold may have too few rows for a forest where the whole table has enough
    held_out_s = np.where(np.isfinite(mixed_s), mixed_s, roofline_s)
    return LayerFit(fitted.models, metrics, notes, held_out_s)


def rows_beside(key: str, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Rows of the operation that ran on the same array in its ordinary way, for streamed ones."""
    operation, _, placement = key.partition("@")
    return tables.get(operation) if placement == "streamed" else None


def unrolling_of(
    key: str, unrolling: Mapping[str, Sequence[UnrollingFit]]
) -> Sequence[UnrollingFit]:
    """What sweeps said of the array that a table's layers ran on."""
    operation, _, placement = key.partition("@")
    return unrolling.get(operation if placement == "streamed" else key, ())


def refit_mixed(
    table: pd.DataFrame,
    unrolling: Sequence[UnrollingFit] = (),
    seed: int = 0,
    settings: ForestSettings = DEFAULT_FOREST,
    beside: pd.DataFrame | None = None,
) -> LayerModel | None:
    """The mixed model of some rows alone; None if they are too few."""
    fitted = fit_models(table, identified(unrolling), seed, settings, (Mixed.kind,), beside)
    return fitted.models.get(Mixed.kind)


def fit_layer(
    table: pd.DataFrame,
    operation: str,
    unrolling: Sequence[UnrollingFit],
    seed: int,
    settings: ForestSettings,
    beside: pd.DataFrame | None,
) -> tuple[LayerFit, LayerErrors]:
    """`fit_layer_models`, and the errors that intervals are made of."""
    fit = fit_layer_models(table, operation, unrolling, seed, settings, beside)
    # how errors grow with distance hardly depends on the learner, and a forest is fast
    forest = replace(settings, learner="forest")

    def refit(rows: pd.DataFrame) -> LayerModel | None:
        return refit_mixed(rows, unrolling, seed, forest, beside)

    return fit, layer_errors(table, fit.held_out_s, refit, seed)


def _validated(
    table: pd.DataFrame,
    dimensions: tuple[Unrolling, ...],
    seed: int,
    settings: ForestSettings,
    beside: pd.DataFrame | None,
) -> tuple[int, dict[str, np.ndarray], ForestSettings]:
    """Folds and seconds as `_cross_validate` gives them, and the settings with the best learner.

    Of learners that are equally good as far as anyone can tell (one standard error), it is the last
    of CANDIDATES: what is bounded cannot be thrown off by a few layers that run in another way.
    The choice has seen the errors that it is made by, which flatters them, and makes intervals a
    little too narrow: little, of a few candidates that mostly differ by far or hardly at all.
    """
    if settings.learner != "best":
        return *_cross_validate(table, dimensions, seed, settings, beside), settings
    few = len(table) <= _FEW
    learners = [each for each in CANDIDATES if few or each != "boosting_coarse"]
    first, *others = (replace(settings, learner=learner) for learner in learners)
    absolute = replace(settings, learner="boosting_absolute")
    folds, predicted = _cross_validate(table, dimensions, seed, first, beside)
    measured_s = table_times(table)

    def errors(times_s: np.ndarray) -> np.ndarray:
        return np.abs(times_s / measured_s - 1)

    known = _with_trees(predicted) and len(table) <= _MOST_CHOSEN
    if not known or np.nanmean(errors(predicted[Mixed.kind])) < _GOOD_ENOUGH:
        return folds, predicted, first
    tried = {first: predicted[Mixed.kind]}

    def mean_error(each: ForestSettings) -> float:
        return float(np.nanmean(errors(tried[each])))

    for other in others:
        # the same with other weights: not tried where it loses to squares
        if other.learner == "boosting_long" and mean_error(absolute) > mean_error(first):
            continue
        _, found = _cross_validate(table, dimensions, seed, other, beside, (Mixed.kind,))
        tried[other] = found[Mixed.kind]
    best = min(tried, key=mean_error)
    cases = table["case_id"].to_numpy()
    chosen = next(
        each
        for each in reversed(tried)
        if each == best or _as_good(errors(tried[each]) - errors(tried[best]), cases)
    )
    return folds, predicted | {Mixed.kind: tried[chosen]}, chosen


def _with_trees(predicted: Mapping[str, np.ndarray]) -> bool:
    """Whether every fold had enough rows for trees, where learners differ.

    Whoever has trees has a refined roofline, too.
    """
    refined_s, roofline_s = (predicted.get(each.kind, np.empty(0)) for each in (Refined, Roofline))
    return bool(np.isfinite(refined_s).sum() == np.isfinite(roofline_s).sum() > 0)


def _as_good(excess: np.ndarray, cases: np.ndarray) -> bool:
    """Whether (rows,) errors beyond the best learner's are within one standard error of none.

    Rows of one case miss together, so that cases are what is counted; NaN where nothing was asked.
    """
    known = np.isfinite(excess)
    mean = excess[known].mean()
    sums = pd.Series(excess[known] - mean).groupby(cases[known]).sum().to_numpy()
    return bool(mean * known.sum() <= np.sqrt(np.sum(sums**2)))


def _cross_validate(
    table: pd.DataFrame,
    dimensions: tuple[Unrolling, ...],
    seed: int,
    settings: ForestSettings,
    beside: pd.DataFrame | None,
    kinds: Sequence[str] = KINDS,
) -> tuple[int, dict[str, np.ndarray]]:
    """Number of folds, and (rows,) seconds by kind; a case is never on both sides.

    Of large tables some cases only, and of what is learned only the mixed model; the rest is NaN.
    """
    rows = np.flatnonzero(_judging(table))
    chosen = table.iloc[rows]
    large = len(table) > _MOST_VALIDATED
    most = _FOLDS_OF_LARGEST if len(table) > _MOST_CHOSEN else _FOLDS_OF_LARGE
    folds = min(most if large else _FOLDS, chosen["case_id"].nunique())
    kinds = (Mixed.kind,) if large else kinds
    if folds < 2:
        return 0, {}
    predicted: dict[str, np.ndarray] = {}
    for train, test in GroupKFold(folds).split(chosen, groups=chosen["case_id"]):
        rows_in = chosen.iloc[train]
        models = fit_models(rows_in, dimensions, seed, settings, kinds, beside).models
        for kind, model in models.items():
            times = predicted.setdefault(kind, np.full(len(table), np.nan))
            times[rows[test]] = model.time_s(table_matrix(chosen.iloc[test]))
    return folds, predicted


def _judging(table: pd.DataFrame) -> np.ndarray:
    """(rows,) booleans: about _MOST_VALIDATED rows, whole cases, the same whatever the operation.

    Networks come first, all of them if they are not too many: intervals of totals want every layer
    of a network.
    """
    inside = inside_networks(table)
    share_inside = min(_MOST_VALIDATED / max(inside.sum(), 1), 1.0)
    left = _MOST_VALIDATED - share_inside * inside.sum()
    share_alone = left / max((~inside).sum(), 1)
    numbers = {case: hashed_share(f"validated {case}") for case in table["case_id"].unique()}
    number = table["case_id"].map(numbers).to_numpy()
    return number <= np.where(inside, share_inside, share_alone)


def _errors(table: pd.DataFrame, predicted: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Errors by metric and kind."""
    measured = table_times(table)
    mape, total = {}, {}
    for kind, times in predicted.items():
        known = np.isfinite(times)
        error = np.abs(times[known] - measured[known])
        mape[kind] = float(100 * np.mean(error / measured[known]))
        total[kind] = float(100 * error.sum() / measured[known].sum())
    return {"mape_percent": mape, "sum_error_percent": total}


def _notes(
    table: pd.DataFrame, unrolling: Sequence[UnrollingFit], fitted: Fitted, folds: int
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
        what = "no trees" if Mixed.kind in fitted.models else "roofline only"
        notes.append(f"{what}: {with_target} usable rows, a forest needs {FEWEST_ROWS}")
    elif with_target < len(table):
        notes.append(f"{len(table) - with_target} rows without work were not used for the forest")
    if folds == 0:
        notes.append("one case only: no cross-validation")
    notes += [f"no unrolling of {f.feature}: {f.reason}" for f in unrolling if not f.identified]
    share = fitted.above_one_share.get(Mixed.kind, 0.0)
    if share > 0:
        notes.append(f"mixed: {100 * share:.1f}% of the rows are faster than the refined roofline")
    return notes
