"""Which layers of an operation are estimated well and which badly: a forest of the errors' size.

Fitted to what was missed of layers whose case was held out; its own values for calibration are
those of cases that it had not seen either, else it would know the errors it is to be judged by.
"""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GroupKFold

from model_gen.forest_io import forest_from_random_forest
from model_gen.tables import table_matrix
from strata.execution import FEATURES
from strata.intervals import LEAST_DIFFICULTY
from strata.traffic import Trees

# Fewer rows say little more than how large errors are on average.
_FEWEST_ROWS = 200
_FOLDS = 4
_TREES, _LEAVES, _FEWEST_IN_A_LEAF = 16, 160, 15
# Errors beyond a factor of 7 count as that: one of them is no measure of its neighbours.
_LARGEST = 2.0


def fit_difficulty(
    table: pd.DataFrame, errors: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[Trees | None, np.ndarray]:
    """Forest of |error| by the features, and (rows,) its values for cases left out of it.

    `errors` (rows,) are NaN where unknown, `weights` (rows,) how much a row counts. No forest and
    ones for fewer than _FEWEST_ROWS known errors.
    """
    known = np.flatnonzero(np.isfinite(errors))
    folds = min(_FOLDS, table["case_id"].nunique())
    values = np.ones(len(table))
    if len(known) < _FEWEST_ROWS or folds < 2 or not np.abs(errors[known]).any():
        return None, values
    matrix = table_matrix(table)
    varying = np.flatnonzero(np.ptp(matrix, axis=0) > 0)
    if not varying.size:
        return None, values
    rows, sizes = matrix[:, varying].astype(np.float32), np.minimum(np.abs(errors), _LARGEST)

    def fitted(chosen: np.ndarray) -> RandomForestRegressor:
        used = chosen[np.isfinite(errors[chosen])]
        return _regressor(seed).fit(rows[used], sizes[used], sample_weight=weights[used])

    for train, test in GroupKFold(folds).split(table, groups=table["case_id"]):
        values[test] = np.maximum(fitted(train).predict(rows[test]), LEAST_DIFFICULTY)
    forest = forest_from_random_forest(fitted(known))
    return Trees(forest, tuple(FEATURES[column] for column in varying)), values


def _regressor(seed: int) -> RandomForestRegressor:
    return RandomForestRegressor(
        n_estimators=_TREES,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=_FEWEST_IN_A_LEAF,
        max_features=0.4,
        n_jobs=1,
        random_state=seed,
    )
