"""Starts and rates of the simple engine under a mixed model (`strata.layer_models.Overlap`)."""

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from model_gen.tables import table_matrix, table_times
from strata.layer_models import SHORTEST_S, Overlap, Refined, overlap_terms, overlapped, split_terms

# Errors of the logarithm beyond this count by their size, not its square: layers that take
# another path through a toolchain are the learner's to explain.
_USUAL_ERROR = 0.1
# Keeps what the rows do not tell where it started, and weighs nothing beside what they tell.
_PULL = 1e-3
_FIRST_P = 2.5
_LARGEST_P = 64.0
_STEPS = 100
_SHORTEST = 0.05
_REACH = 40.0  # of logarithms: any machine
# A dozen numbers need no more rows; of larger tables some, evenly spread over their order.
_MOST_ROWS = 4_000


def fit_overlap(rows: pd.DataFrame, refined: Refined, weights: np.ndarray) -> Overlap:
    """Least squares of log(measured / estimated) over (rows,) `weights`, all parameters positive.

    It begins near the roofline: scales of 1, half of a short time as start, a hundredth of it
    per tile. A term that no row has gets 0.
    """
    some = np.unique(np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int))
    rows, weights = rows.iloc[some], weights[some]
    terms, measured = overlap_terms(table_matrix(rows), refined), table_times(rows)
    told = terms.max(axis=0) > 0
    tiles = len(refined.unrolling)
    # of all but a few: one time that is far too short must not take the start with it
    shortest = np.quantile(measured, _SHORTEST)
    first = np.concatenate(
        [[shortest / 2], np.full(tiles, shortest / 100), [1.0, 0.1, 1.0, 1.0, 1.0]]
    )
    begin = np.log(np.append(first[told], _FIRST_P - 1))
    emphasis, logs = np.sqrt(weights), np.log(measured)

    def coefficients(parameters: np.ndarray) -> np.ndarray:
        found = np.zeros(len(told))
        found[told] = np.exp(parameters[:-1])
        return found

    def residuals(parameters: np.ndarray) -> np.ndarray:
        starts, engine, moved = split_terms(terms * coefficients(parameters))
        time_s = starts + overlapped(engine, moved, 1 + np.exp(parameters[-1]))
        missed = np.log(np.maximum(time_s, SHORTEST_S)) - logs
        return np.concatenate([emphasis * missed, _PULL * (parameters - begin)])

    above = np.append(begin[:-1] + _REACH, np.log(_LARGEST_P - 1))
    found = least_squares(
        residuals,
        begin,
        bounds=(begin - _REACH, above),
        loss="soft_l1",
        f_scale=_USUAL_ERROR,
        max_nfev=_STEPS,
    )
    start, *others = coefficients(found.x).tolist()
    compute, absorbed, read, made, weights_moved = others[tiles:]
    p = float(1 + np.exp(found.x[-1]))
    starts = tuple(others[:tiles])
    return Overlap(refined, start, starts, compute, absorbed, read, made, weights_moved, p)
