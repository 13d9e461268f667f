"""Spatial unrolling s and its efficiency alpha from sweeps (ANNETTE, section 5.1.1, eq. 4).

In a sweep one feature grows while all else stays. Its times are fitted with
T = a + c f (alpha + (1 - alpha) ceil(x/s) / (x/s)), one a and c per sweep (group), one s and
alpha for all: c is the peak under the other dimensions' utilisation, a >= 0 the constant part
that equation 3 neglects by the paper's own words (control, warm-up).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from model_gen.tables import check_table
from strata.atomic import replacing
from strata.errors import ArtefactError, FitError, StrataError
from strata.layer_models import Unrolling

_LARGEST_SIZE = 256
_FEWEST_POINTS = 6  # a sweep has three unknowns beside s
_ALPHAS = np.linspace(0.0, 1.0, 21)
_HUBER = 2.0  # residuals beyond twice the noise count linearly: one bad reading moves nothing
_LEAST_NOISE = 5e-3  # relative; no profiler repeats better, and 0 could not be divided by
_REFINED_SIZES = 6  # sizes whose alpha is refined before they are ranked
_LEAST_EVIDENCE = 10.0  # difference in BIC that counts as "very strong" (Kass and Raftery, 1995)
_LEAST_EFFECT = 0.1  # the residual must drop by a tenth: below, it is not worth a parameter


@dataclass(frozen=True, slots=True)
class UnrollingFit:
    """What the sweeps of one feature say.

    `residual` is the root mean square of the (robust) relative error in time at the best (size,
    alpha), `next_best_*` that of the runner-up size, `no_unrolling_residual` that of size 1.
    Without evidence `identified` is False, `reason` says why and the dimension is left out.
    """

    feature: str
    size: int
    alpha: float
    residual: float
    next_best_size: int
    next_best_residual: float
    no_unrolling_residual: float
    points: int
    groups: int
    identified: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Group:
    """One sweep: extents, operations and times, (points,) each, ascending extents."""

    name: str
    x: np.ndarray
    ops: np.ndarray
    time_s: np.ndarray


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """One sweep and its fit: extents, measured and fitted times in seconds, (points,) each."""

    group: str
    x: np.ndarray
    time_s: np.ndarray
    fitted_s: np.ndarray


def fit_unrolling(table: pd.DataFrame, dimensions: Sequence[str]) -> list[UnrollingFit]:
    """Fit each dimension (a name in FEATURES) from the rows whose `sweep` column names it.

    Rows of one sweep share a `sweep_group`; repeated points are merged by their median. One
    UnrollingFit per dimension, in order. FitError for a table without the columns.
    """
    check_table(table, "sweep table")
    for name in ("sweep", "sweep_group"):
        if name not in table.columns:
            raise FitError(f"sweep table: lacks column {name}")
    for name in dimensions:
        if name not in table.columns:
            raise FitError(f"sweep table: no feature {name!r} to fit unrolling for")
    return [_fit(name, _groups(table[table["sweep"] == name], name)) for name in dimensions]


def sweep_curves(table: pd.DataFrame, fit: UnrollingFit) -> list[SweepCurve]:
    """The sweeps behind a fit, each with a + c f (alpha + (1 - alpha) ceil(x/s) / (x/s)).

    With the fit's s and alpha where it is identified, without unrolling where not.
    """
    groups = _groups(table[table["sweep"] == fit.feature], fit.feature)
    size, alpha = (fit.size, fit.alpha) if fit.identified else (1, 1.0)
    if not groups:
        return []
    noise = _noise(groups)
    return [
        SweepCurve(each.name, each.x, each.time_s, _fitted_s(each, size, alpha, noise))
        for each in groups
    ]


def identified(fits: Iterable[UnrollingFit]) -> tuple[Unrolling, ...]:
    """The dimensions to use in equation 4."""
    return tuple(Unrolling(f.feature, f.size, f.alpha) for f in fits if f.identified)


def write_unrolling(fits: Mapping[str, Sequence[UnrollingFit]], path: str | Path) -> None:
    """Write {operation: [fit]} as JSON, whole or not at all."""
    data = {operation: [asdict(fit) for fit in each] for operation, each in fits.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False), encoding="utf-8")


def read_unrolling(path: str | Path) -> dict[str, list[UnrollingFit]]:
    """What `write_unrolling` wrote; ArtefactError for a file that is missing or anything else."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        fits = {name: [UnrollingFit(**each) for each in rows] for name, rows in data.items()}
        for each in fits.values():
            identified(each)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such unrolling file") from None
    except (StrataError, OSError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{path}: not an unrolling file: {error}") from None
    return fits


def _groups(rows: pd.DataFrame, feature: str) -> list[_Group]:
    found = []
    for name, group in rows[(rows["ops"] > 0) & (rows[feature] > 0)].groupby("sweep_group"):
        merged = group.groupby(feature, as_index=False)[["ops", "time_s"]].median()
        if len(merged) >= _FEWEST_POINTS:
            found.append(
                _Group(
                    str(name),
                    merged[feature].to_numpy(np.float64),
                    merged["ops"].to_numpy(np.float64),
                    merged["time_s"].to_numpy(np.float64),
                )
            )
    return found


def _fit(feature: str, groups: Sequence[_Group]) -> UnrollingFit:
    points = sum(len(group.x) for group in groups)
    if not groups:
        reason = f"no sweep of {feature} with at least {_FEWEST_POINTS} points"
        return UnrollingFit(feature, 1, 1.0, 0.0, 1, 0.0, 0.0, 0, 0, False, reason)
    # two full steps must lie inside some sweep, or a constant time would pass for a wide array
    largest = int(min(_LARGEST_SIZE, max(group.x.max() for group in groups) // 2))
    noise = _noise(groups)
    costs = {s: _costs(groups, s, _ALPHAS, noise).min() for s in range(1, max(2, largest) + 1)}
    # with a finer alpha the order of the best may change: 63 and 64 hide behind a grid of 0.05
    likely = sorted(costs, key=lambda s: (float(costs[s]), s))[:_REFINED_SIZES]
    costs |= {s: _best_alpha(groups, s, noise)[1] for s in likely}
    order = sorted(costs, key=lambda s: (round(float(costs[s]), 9), s))
    best, runner_up = order[0], order[1]
    alpha, cost = _best_alpha(groups, best, noise)
    none, residual = _residual(costs[1], points, noise), _residual(cost, points, noise)
    reason = _doubt(best, residual, none, points, largest)
    return UnrollingFit(
        feature=feature,
        size=best,
        alpha=alpha,
        residual=residual,
        next_best_size=runner_up,
        next_best_residual=_residual(costs[runner_up], points, noise),
        no_unrolling_residual=none,
        points=points,
        groups=len(groups),
        identified=not reason,
        reason=reason,
    )


def _doubt(size: int, residual: float, none: float, points: int, sizes: int) -> str:
    """Why the best size is no better than none, "" if it is.

    The Bayesian information criterion charges two parameters and the choice among the sizes.
    """
    if size == 1:
        return "no size explains the sweeps better than none"
    # a perfect fit counts as a tenth of the best repeatability, or its logarithm would explode
    residual, none = max(residual, _LEAST_NOISE / 10), max(none, _LEAST_NOISE / 10)
    evidence = 2 * points * np.log(none / residual) - 2 * np.log(points) - 2 * np.log(sizes)
    if evidence < _LEAST_EVIDENCE or residual > (1 - _LEAST_EFFECT) * none:
        return (
            f"size {size} leaves a residual of {residual:.4f}, no unrolling {none:.4f}: "
            "no significant improvement"
        )
    return ""


def _noise(groups: Sequence[_Group]) -> float:
    """Relative noise of the times: median absolute third difference of log T, scaled.

    Third differences cancel smooth trends; where steps are many they raise the result, which only
    keeps the loss quadratic for longer. 20 is the sum of their squared weights 1, 3, 3, 1.
    """
    changes = [np.diff(np.log(group.time_s), 3) for group in groups]
    spread = np.median(np.abs(np.concatenate(changes)))
    return max(float(spread) / np.sqrt(20) / 0.6745, _LEAST_NOISE)


def _best_alpha(groups: Sequence[_Group], size: int, noise: float) -> tuple[float, float]:
    costs = _costs(groups, size, _ALPHAS, noise)
    if size == 1:  # one element at a time loses nothing, whatever alpha
        return 1.0, float(costs[-1])
    around = int(costs.argmin())
    low, high = _ALPHAS[max(around - 1, 0)], _ALPHAS[min(around + 1, len(_ALPHAS) - 1)]
    found = minimize_scalar(
        lambda alpha: float(_costs(groups, size, np.array([alpha]), noise)[0]),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    if found.fun < costs[around]:
        return float(found.x), float(found.fun)
    return float(_ALPHAS[around]), float(costs[around])


def _costs(groups: Sequence[_Group], size: int, alphas: np.ndarray, noise: float) -> np.ndarray:
    """Sum of Huber losses in units of the noise, one per alpha."""
    return np.sum([_group_costs(group, size, alphas, noise) for group in groups], axis=0)


def _group_costs(group: _Group, size: int, alphas: np.ndarray, noise: float) -> np.ndarray:
    errors = np.abs(_robust_errors(group, size, alphas, noise)) / noise
    loss = np.where(errors <= _HUBER, errors**2, 2 * _HUBER * errors - _HUBER**2)
    return loss.sum(axis=1)


def _fitted_s(group: _Group, size: int, alpha: float, noise: float) -> np.ndarray:
    """The curve of a sweep at one size and alpha, (points,) seconds."""
    (errors,) = _robust_errors(group, size, np.array([alpha]), noise)
    return group.time_s * (1.0 + errors)


def _robust_errors(group: _Group, size: int, alphas: np.ndarray, noise: float) -> np.ndarray:
    """Relative errors, (alphas, points), of the fit that outliers hardly move."""
    steps = group.x / size
    slowdown = 1.0 + np.outer(1.0 - alphas, np.ceil(steps) / steps - 1.0)
    constant = 1.0 / group.time_s * group.time_s.mean()
    work = group.ops * slowdown / group.time_s
    work /= work.mean(axis=1, keepdims=True)
    weights = np.ones_like(work)
    for _ in range(3):
        errors = _relative_errors(constant, work, weights) / noise
        weights = np.minimum(1.0, _HUBER / np.maximum(np.abs(errors), 1e-12))
    return _relative_errors(constant, work, weights)


def _relative_errors(constant: np.ndarray, work: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Errors of 1 = a constant + c work with a, c >= 0 by weighted least squares, row by row."""
    cc = (weights * constant**2).sum(axis=1)
    cw = (weights * constant * work).sum(axis=1)
    ww = (weights * work**2).sum(axis=1)
    c1, w1 = (weights * constant).sum(axis=1), (weights * work).sum(axis=1)
    determinant = cc * ww - cw**2
    regular = determinant > 1e-9 * cc * ww
    safe = np.where(regular, determinant, 1.0)
    a = np.where(regular, (c1 * ww - w1 * cw) / safe, -1.0)
    c = np.where(regular, (w1 * cc - c1 * cw) / safe, 0.0)
    a, c = np.where(c < 0, c1 / cc, a), np.where(c < 0, 0.0, c)
    a, c = np.where(a < 0, 0.0, a), np.where(a < 0, w1 / ww, c)
    return a[:, None] * constant + c[:, None] * work - 1.0


def _residual(cost: float, points: int, noise: float) -> float:
    return float(np.sqrt(cost / points) * noise)
