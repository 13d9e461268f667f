"""Forests and boosted trees behind the learned layer models (ANNETTE, section 5.1.2, eqs. 5, 6).

The paper's random forest averages the rows near a layer; boosting adds up small corrections and
follows steps more closely where measurements hardly scatter. Either learns a logarithm, of u or of
the time over a roofline, since a layer's relative error is what counts and layers span orders of
magnitude; the paper's own learns u itself. docs/learners.md compares them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from threadpoolctl import threadpool_limits

from model_gen.forest_io import forest_from_boosting, forest_from_random_forest
from model_gen.learner import Learner
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_models import MINIMUM_UTILISATION, Refined, Roofline

FEWEST_ROWS = 30
# Two nodes of 18 bytes per leaf: 2.6 MB per forest at most, so that a bundle stays below 30 MB and
# loads in a fraction of a second. A third of it cost a point of network error on the CPU.
_MOST_LEAVES = 72_000
# Rows that a tree of a forest draws. Its few thousand leaves tell no more apart, and drawing all
# of 35,000 took twice as long as everything else that forests are for.
_MOST_DRAWN = 12_000

_BOOSTED_TREES = 400
_BOOSTED_LEAVES = 31
_BINS = 255  # as many as scikit-learn knows, beside that of missing values
_LEARNING_RATE = 0.06
# Of a few hundred rows, fine trees take what one network's memory left over for a rule.
_COARSE_TREES = 200
_COARSE_LEAVES = 15
_COARSE_ROWS = 20  # in a leaf
# A factor of two: layers that are farther off their base took another path, such as activations
# that spill, and what trees learn of them they would spread over the layers between.
_FARTHEST = float(np.log(2.0))

LEARNERS: tuple[Learner, ...] = get_args(Learner)
CANDIDATES: tuple[Learner, ...] = (
    "boosting",
    "boosting_absolute",
    "boosting_long",
    "boosting_coarse",
    "boosting_clipped",
)
# What physics demands of the time over the refined roofline: fixed costs weigh less the more work
# there is, and what is absorbed or skipped over does not make a layer faster.
_MONOTONE = {"ops": -1, "bytes": -1, "absorbed_count": 1, "absorbed_add": 1, "dilation": 1}


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How trees are fitted: a random forest (the paper's), or gradient boosting.

    Of a forest: trees, fewest rows in a leaf, share of features tried per split. Boosting has
    sizes of its own and takes the fewest rows in a leaf only; it minimises squares, or absolute
    errors (of which a few layers that a compiler serves otherwise spoil less), these also where a
    mixed model weighs long layers more ("long"), or with fewer and smaller trees whose leaves are
    well filled whatever is set ("coarse"), squares of what is clipped at a factor of two from the
    base, or squares under monotone constraints. "best" takes, of a layer type, the one of
    CANDIDATES with the smallest error on held-out cases (`model_gen.layer_fit`), elsewhere the
    first of them. Mixed models may find that layers are cut by a known rule only if `cut`.
    """

    trees: int = 24
    minimum_leaf: int = 2
    feature_share: float = 0.7
    learner: Learner = "best"
    cut: bool = True


DEFAULT_FOREST = ForestSettings()


@dataclass(frozen=True, slots=True)
class ForestFit:
    """A forest and the names of the columns it reads."""

    forest: Forest
    feature_names: tuple[str, ...]


def efficiency(matrix: np.ndarray, time_s: np.ndarray, refined: Refined) -> np.ndarray:
    """Measured u_stat = f / (P u_eff T), unclipped, (rows,).

    D / (B T) for an operation that only moves data. With a refined roofline without unrolling
    u_eff is 1: the target of equation 5; else that of equation 6.
    """
    peaks = refined.roofline
    if peaks.moves_only:
        return _over(matrix, "bytes", peaks.peak_bytes_per_s) / time_s
    attained = _over(matrix, "ops", peaks.peak_ops_per_s) / time_s
    return attained / refined.efficiency(matrix)


def has_target(matrix: np.ndarray, roofline: Roofline) -> np.ndarray:
    """(rows,) booleans: rows with work of the sort whose peak the efficiency scales."""
    return matrix[:, FEATURES.index("bytes" if roofline.moves_only else "ops")] > 0


def fit_forest(
    matrix: np.ndarray,
    utilisation: np.ndarray,
    seed: int,
    settings: ForestSettings = DEFAULT_FOREST,
    weights: np.ndarray | None = None,
) -> ForestFit:
    """Fit log(u) of (rows, len(FEATURES)) rows; features that never change are dropped."""
    target = np.log(np.maximum(utilisation, MINIMUM_UTILISATION))
    return fit_columns(matrix, FEATURES, target, seed, settings, weights)


def fit_columns(
    columns: np.ndarray,
    names: Sequence[str],
    target: np.ndarray,
    seed: int,
    settings: ForestSettings = DEFAULT_FOREST,
    weights: np.ndarray | None = None,
) -> ForestFit:
    """Fit a (rows,) target to (rows, len(names)) columns; those that never change are dropped."""
    varying = np.flatnonzero(np.ptp(columns, axis=0) > 0)
    # of rows that are all alike one column is enough for trees of a single leaf
    kept = varying if varying.size else np.array([0])
    kept_names = tuple(names[column] for column in kept)
    # rows as the forest will compare them: in single precision
    rows = columns[:, kept].astype(np.float32)
    regressor = make_regressor(settings, kept_names, seed, len(rows))
    if settings.learner == "boosting_clipped":
        target = np.clip(target, -_FARTHEST, _FARTHEST)
    if isinstance(regressor, RandomForestRegressor):
        regressor.fit(rows, target, sample_weight=weights)
        return ForestFit(forest_from_random_forest(regressor), kept_names)
    edges = [bin_edges(column) for column in rows.T]
    # tables are small: threads that wait for each other cost ten times what they save
    with threadpool_limits(1, user_api="openmp"):
        regressor.fit(binned(edges, rows), target, sample_weight=weights)
    return ForestFit(forest_from_boosting(regressor, edges), kept_names)


def bin_edges(column: np.ndarray) -> np.ndarray:
    """Upper edges of at most _BINS bins of (rows,) values, all but the last bin's.

    Between neighbours where there are few values, else quantiles: scikit-learn's own rule. Its own
    bins of weighted rows are quantiles by weight, each sought by itself, which takes longer than
    all trees together.
    """
    column = column.astype(np.float64)  # the middle of two neighbours lies between them
    values = np.unique(column)
    if len(values) <= _BINS:
        return (values[1:] + values[:-1]) / 2
    levels = np.linspace(0, 100, _BINS + 1)[1:-1]
    return np.unique(np.percentile(column, levels, method="averaged_inverted_cdf"))


def binned(edges: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(rows, columns) the bin of every value, by the columns' `bin_edges`."""
    columns = zip(edges, rows.T, strict=True)
    return np.column_stack([np.searchsorted(edge, column) for edge, column in columns])


def make_regressor(
    settings: ForestSettings, names: Sequence[str], seed: int, rows: int
) -> RandomForestRegressor | HistGradientBoostingRegressor:
    """scikit-learn's estimator of a learner, for so many rows of columns of these names."""
    if settings.learner == "forest":
        return RandomForestRegressor(
            n_estimators=settings.trees,
            min_samples_leaf=settings.minimum_leaf,
            max_features=settings.feature_share,
            max_leaf_nodes=max(2, _MOST_LEAVES // settings.trees),
            max_samples=min(rows, _MOST_DRAWN),
            random_state=seed,
        )
    coarse, monotone = settings.learner == "boosting_coarse", "monotone" in settings.learner
    absolute = coarse or settings.learner in ("boosting_absolute", "boosting_long")
    return HistGradientBoostingRegressor(
        loss="absolute_error" if absolute else "squared_error",
        max_iter=_COARSE_TREES if coarse else _BOOSTED_TREES,
        max_leaf_nodes=_COARSE_LEAVES if coarse else _BOOSTED_LEAVES,
        learning_rate=_LEARNING_RATE,
        min_samples_leaf=_COARSE_ROWS if coarse else settings.minimum_leaf,
        monotonic_cst=[_MONOTONE.get(name, 0) for name in names] if monotone else None,
        early_stopping=False,
        random_state=seed,
    )


def _over(matrix: np.ndarray, name: str, peak: float | None) -> np.ndarray:
    return matrix[:, FEATURES.index(name)] / (np.inf if peak is None else peak)
