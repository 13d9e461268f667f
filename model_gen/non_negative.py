"""Non-negative least squares of columns that differ by orders of magnitude."""

import numpy as np
from scipy.optimize import nnls

from strata.errors import FitError


def non_negative(design: np.ndarray, target: np.ndarray, what: str) -> np.ndarray:
    """Coefficients of at least 0, (columns,), of a (rows, columns) design for a (rows,) target.

    Columns are scaled to one length first: bytes are many, seconds few. FitError names `what`.
    """
    scale = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    try:
        found, _ = nnls(design / scale, target, maxiter=100 * design.shape[1])
    except RuntimeError as error:
        raise FitError(f"{what}: the linear rule cannot be fitted: {error}") from None
    return np.asarray(found / scale)
