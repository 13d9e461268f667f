"""Peak performance and peak bandwidth from measurements (ANNETTE, section 5.1.1)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from model_gen.tables import table_matrix, table_times
from strata.layer_models import Refined, Roofline, Unrolling

# a profiler that counts whole microseconds is off by up to 5% below this
SHORTEST_S = 20e-6
_TYPICAL = 0.995
_FEWEST_ALIGNED = 30
_ANY = Roofline(1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Peaks:
    """A roofline and how it was found.

    `ceiling` holds the maxima of all rows, short ones too: no measured efficiency lies above.
    `rows_used` of `rows` were at least `shortest_s` long; `fell_back` if none was, so that all
    were used. P_peak comes from `aligned_rows` of them, or from all of these where it is 0.
    """

    roofline: Roofline
    ceiling: Roofline
    rows: int
    rows_used: int
    shortest_s: float
    fell_back: bool
    aligned_rows: int = 0


def fit_peaks(
    table: pd.DataFrame,
    shortest_s: float = SHORTEST_S,
    dimensions: tuple[Unrolling, ...] = (),
) -> Peaks:
    """P_peak and B_peak: the largest performance and throughput of any row long enough.

    The paper takes the maximum. Of hundreds of rows that is an outlier: a 3x3 convolution of
    dilation 6 on a 4x4 map skips nearly all of its counted operations as padding and seems to run
    at five times the processor's peak. So the roofline takes the value that 99.5% stay below (of
    up to 200 rows the maximum), and the maxima of all rows are kept as `ceiling`.

    With unrolled `dimensions`, P_peak of the roofline comes from rows of utilisation 1 (equation 4)
    where there are enough: the paper's aligned points. Others waste part of the array.

    Rows shorter than `shortest_s` are left out because the timer's rounding would set the
    maximum. If any row has no operations the operation only moves data: it gets no P_peak.
    Without a byte in any row it gets no B_peak either.
    """
    time_s, ops, moved_bytes = table_times(table), _column(table, "ops"), _column(table, "bytes")
    long_enough = time_s >= shortest_s
    # a peak needs a row with work of its sort: fall back together, so that both share their rows
    fell_back = not np.any(long_enough & (moved_bytes > 0))
    used = np.ones_like(long_enough) if fell_back else long_enough
    computes = bool(np.all(ops > 0))
    aligned = used & (Refined(_ANY, dimensions).efficiency(table_matrix(table)) > 1 - 1e-9)
    if not dimensions or aligned.sum() < _FEWEST_ALIGNED:
        aligned = np.zeros_like(used)

    def peaks(share: float, rows: np.ndarray, computing: np.ndarray) -> Roofline:
        throughput = _highest(moved_bytes / time_s, share, rows)
        performance = _highest(ops / time_s, share, computing) if computes else None
        return Roofline(performance, throughput or None, float(time_s.min()))

    rows_used = int(used.sum())
    everything = np.ones_like(used)
    return Peaks(
        roofline=peaks(_TYPICAL, used, aligned if aligned.any() else used),
        ceiling=peaks(1.0, everything, everything),
        rows=len(table),
        rows_used=rows_used,
        shortest_s=shortest_s,
        fell_back=fell_back,
        aligned_rows=int(aligned.sum()),
    )


def _highest(rates: np.ndarray, share: float, rows: np.ndarray) -> float:
    """The smallest rate of the rows that the share of them stays at or below."""
    return float(np.quantile(rates[rows], share, method="higher"))


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    return table[name].to_numpy(dtype=np.float64)
