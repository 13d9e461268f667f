"""ANNETTE's layer equations (section 5.1, eqs. 1 to 6) as pure functions on arrays.

Symbols of Table 1 and their names here: f_n `ops` (operations), D_n `moved_bytes`, P_peak
`peak_ops_per_s`, B_peak `peak_bytes_per_s`, x `x`, s `s`, alpha `alpha`, u_eff and u_stat.
Arguments broadcast as numpy does; times are seconds. For a fused group, ops and moved bytes are
those of the whole group (section 5.2). Every function raises SchemaError for an argument outside
its domain. An infinite peak switches its term off.
"""

import numpy as np
from numpy.typing import ArrayLike

from strata.errors import SchemaError


def _array(name: str, values: ArrayLike, legal: bool | np.bool_, rule: str) -> None:
    if not legal:
        raise SchemaError(f"{name} is {np.asarray(values)!s}: must be {rule}".replace("\n", " "))


def _work(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    _array(name, values, bool(np.all(np.isfinite(array) & (array >= 0))), "finite, at least 0")
    return array


def _positive(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    _array(name, values, bool(np.all(array > 0)), "greater than 0")
    return array


def _share(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    _array(name, values, bool(np.all((array > 0) & (array <= 1))), "in (0, 1]")
    return array


def roofline_time_s(
    ops: ArrayLike,
    moved_bytes: ArrayLike,
    peak_ops_per_s: ArrayLike,
    peak_bytes_per_s: ArrayLike,
) -> np.ndarray:
    """Equation 1: T_roof = max(f / P_peak, D / B_peak)."""
    return refined_time_s(ops, moved_bytes, peak_ops_per_s, peak_bytes_per_s, 1.0)


def refined_time_s(
    ops: ArrayLike,
    moved_bytes: ArrayLike,
    peak_ops_per_s: ArrayLike,
    peak_bytes_per_s: ArrayLike,
    u_eff: ArrayLike,
) -> np.ndarray:
    """Equation 2: T_ref = max(f / (P_peak u_eff), D / B_peak), u_eff in (0, 1]."""
    compute_s = compute_time_s(ops, peak_ops_per_s, u_eff)
    return np.maximum(compute_s, memory_time_s(moved_bytes, peak_bytes_per_s))


def utilisation(x: ArrayLike, s: ArrayLike) -> np.ndarray:
    """Equation 3: u_eff = product over i of (x_i / s_i) / ceil(x_i / s_i).

    `x` is (..., A), the extents mapped onto A dimensions of the compute array; `s` is (A,), the
    processing elements along each. Returns (...), in (0, 1].
    """
    return utilisation_refined(x, s, np.zeros(np.shape(s)))


def utilisation_refined(x: ArrayLike, s: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Equation 4: u_eff = product over i of (alpha_i + ceil(x_i/s_i)/(x_i/s_i) (1 - alpha_i))^-1.

    `x` is (..., A), `s` and `alpha` are (A,), alpha_i in [0, 1]: 0 is equation 3, 1 no loss at
    all. Returns (...), in (0, 1].
    """
    return np.prod(1.0 / unrolling_slowdown(x, s, alpha), axis=-1)


def unrolling_slowdown(x: ArrayLike, s: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """The factors of equation 4 before inversion, (..., A), each at least 1.

    Written as 1 + (ceil(x/s)/(x/s) - 1)(1 - alpha), which rounding cannot push below 1.
    """
    extent, size = _positive("x", x), _positive("s", s)
    share = np.asarray(alpha, dtype=np.float64)
    _array("s", s, bool(np.all(size == np.floor(size)) and np.all(np.isfinite(size))), "integers")
    _array("alpha", alpha, bool(np.all((share >= 0) & (share <= 1))), "in [0, 1]")
    steps = extent / size
    return 1.0 + (np.ceil(steps) / steps - 1.0) * (1.0 - share)


def statistical_time_s(
    ops: ArrayLike,
    moved_bytes: ArrayLike,
    peak_ops_per_s: ArrayLike,
    peak_bytes_per_s: ArrayLike,
    u_stat: ArrayLike,
) -> np.ndarray:
    """Equation 5: T_stat = max(f / (P_peak u_stat), D / B_peak), u_stat in (0, 1].

    The paper prints T_mix on its left side; its text says it is the statistical model's time.
    """
    return refined_time_s(ops, moved_bytes, peak_ops_per_s, peak_bytes_per_s, u_stat)


def mixed_time_s(
    ops: ArrayLike,
    moved_bytes: ArrayLike,
    peak_ops_per_s: ArrayLike,
    peak_bytes_per_s: ArrayLike,
    u_eff: ArrayLike,
    u_stat: ArrayLike,
) -> np.ndarray:
    """Equation 6: T_mix = max(f / (P_peak u_eff u_stat), D / B_peak), both u in (0, 1].

    The maximum with the memory roof is always taken, whatever bounds the plain roofline.
    """
    efficiency = _share("u_eff", u_eff) * _share("u_stat", u_stat)
    return refined_time_s(ops, moved_bytes, peak_ops_per_s, peak_bytes_per_s, efficiency)


def compute_time_s(ops: ArrayLike, peak_ops_per_s: ArrayLike, u: ArrayLike = 1.0) -> np.ndarray:
    """First term of equations 1, 2, 5 and 6: f / (P_peak u), u in (0, 1]."""
    effective = _positive("peak_ops_per_s", peak_ops_per_s) * _share("utilisation", u)
    return _work("ops", ops) / effective


def memory_time_s(
    moved_bytes: ArrayLike, peak_bytes_per_s: ArrayLike, u: ArrayLike = 1.0
) -> np.ndarray:
    """Second term of equations 1 to 6: D / B_peak.

    With `u` in (0, 1] it is D / (B_peak u): our counterpart of equation 5 for operations that only
    move data (concat, transpose), of which the paper says nothing.
    """
    effective = _positive("peak_bytes_per_s", peak_bytes_per_s) * _share("utilisation", u)
    return _work("moved_bytes", moved_bytes) / effective
