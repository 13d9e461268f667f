"""Forests and boosted trees on utilisation efficiency (ANNETTE, section 5.1.2, eq. 5).

The paper's random forest averages the rows near a layer; boosting adds up small corrections and
follows steps more closely where measurements hardly scatter. Either learns log(u), since a
layer's relative error is what counts and layers span orders of magnitude. Equation 5 wants u in
(0, 1]; on a refined roofline it may exceed 1 where a layer escapes the unrolling, up to the
roofline below.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from threadpoolctl import threadpool_limits

from model_gen.forest_io import forest_from_boosting, forest_from_random_forest
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_models import MINIMUM_UTILISATION, Refined, Roofline

FEWEST_ROWS = 30
# Two nodes of 18 bytes per leaf: 2.6 MB per forest at most, so that a bundle stays below 30 MB and
# loads in a fraction of a second. A third of it cost a point of network error on the CPU.
_MOST_LEAVES = 72_000
# Rows times trees; starting a second thread costs more than it saves on fewer. Same trees.
_WORK_OF_TWO_THREADS = 20_000

_BOOSTED_TREES = 400
_BOOSTED_LEAVES = 31
_LEARNING_RATE = 0.06

Learner = Literal["forest", "boosting"]
LEARNERS: tuple[Learner, ...] = get_args(Learner)


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How trees are fitted: a random forest (the paper's), or gradient boosting.

    Of a forest: trees, fewest rows in a leaf, share of features tried per split. Boosting has
    sizes of its own and takes the fewest rows in a leaf only.
    """

    trees: int = 24
    minimum_leaf: int = 2
    feature_share: float = 0.7
    learner: Learner = "forest"


DEFAULT_FOREST = ForestSettings()


@dataclass(frozen=True, slots=True)
class ForestFit:
    """A forest of log(u), the features it reads, and the share of rows whose u is above 1."""

    forest: Forest
    feature_names: tuple[str, ...]
    above_one_share: float


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
    varying = np.flatnonzero(np.ptp(matrix, axis=0) > 0)
    # of rows that are all alike one column is enough for trees of a single leaf
    columns = varying if varying.size else np.array([FEATURES.index("ops")])
    target = np.log(np.maximum(utilisation, MINIMUM_UTILISATION))
    fit = _fit_boosting if settings.learner == "boosting" else _fit_random_forest
    return ForestFit(
        fit(matrix[:, columns], target, seed, settings, weights),
        tuple(FEATURES[column] for column in columns),
        float(np.mean(utilisation > 1.0)),
    )


def _fit_random_forest(
    matrix: np.ndarray,
    target: np.ndarray,
    seed: int,
    settings: ForestSettings,
    weights: np.ndarray | None,
) -> Forest:
    regressor = RandomForestRegressor(
        n_estimators=settings.trees,
        min_samples_leaf=settings.minimum_leaf,
        max_features=settings.feature_share,
        max_leaf_nodes=max(2, _MOST_LEAVES // settings.trees),
        n_jobs=2 if len(matrix) * settings.trees > _WORK_OF_TWO_THREADS else 1,
        random_state=seed,
    )
    return forest_from_random_forest(regressor.fit(matrix, target, sample_weight=weights))


def _fit_boosting(
    matrix: np.ndarray,
    target: np.ndarray,
    seed: int,
    settings: ForestSettings,
    weights: np.ndarray | None,
) -> Forest:
    regressor = HistGradientBoostingRegressor(
        max_iter=_BOOSTED_TREES,
        max_leaf_nodes=_BOOSTED_LEAVES,
        learning_rate=_LEARNING_RATE,
        min_samples_leaf=settings.minimum_leaf,
        early_stopping=False,
        random_state=seed,
    )
    # rows as the forest will compare them: in single precision
    rows = matrix.astype(np.float32)
    # tables are small: threads that wait for each other cost ten times what they save
    with threadpool_limits(1, user_api="openmp"):
        regressor.fit(rows, target, sample_weight=weights)
    return forest_from_boosting(regressor)


def _over(matrix: np.ndarray, name: str, peak: float | None) -> np.ndarray:
    return matrix[:, FEATURES.index(name)] / (np.inf if peak is None else peak)
