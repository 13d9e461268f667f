"""Peaks: the largest rates of rows that the timer can resolve."""

import numpy as np
import pandas as pd
import pytest

from model_gen.peaks import fit_peaks
from strata.execution import FEATURES
from strata.layer_models import Unrolling


def table(ops, moved_bytes, time_s) -> pd.DataFrame:
    ones = pd.DataFrame({name: np.ones(len(time_s)) for name in FEATURES})
    return ones.assign(ops=ops, bytes=moved_bytes, time_s=time_s)


def test_each_peak_is_the_largest_rate():
    # ops per second: 1e10, 2e10; bytes per second: 4e9, 1e9
    peaks = fit_peaks(table([1e6, 4e6], [4e5, 2e5], [1e-4, 2e-4]))
    assert peaks.roofline.peak_ops_per_s == pytest.approx(2e10)
    assert peaks.roofline.peak_bytes_per_s == pytest.approx(4e9)
    assert peaks.roofline.floor_s == pytest.approx(1e-4)
    assert (peaks.rows, peaks.rows_used, peaks.fell_back) == (2, 2, False)


def test_rows_below_the_timers_resolution_set_no_peak():
    # 1e6 operations in 2 us would be 5e11; the row is too short, 1e10 of the other stands
    peaks = fit_peaks(table([1e6, 1e6], [1e5, 1e5], [2e-6, 1e-4]))
    assert peaks.roofline.peak_ops_per_s == pytest.approx(1e10)
    assert peaks.roofline.floor_s == pytest.approx(2e-6)
    assert peaks.rows_used == 1


def test_all_rows_are_used_if_none_is_long_enough():
    peaks = fit_peaks(table([1e5, 1e5], [1e5, 1e5], [2e-6, 1e-5]))
    assert peaks.roofline.peak_ops_per_s == pytest.approx(5e10)
    assert (peaks.rows_used, peaks.fell_back) == (2, True)


def test_operations_that_only_move_data_have_no_peak_performance():
    peaks = fit_peaks(table([0, 0], [1e5, 4e5], [1e-4, 1e-4]))
    assert peaks.roofline.peak_ops_per_s is None
    assert peaks.roofline.peak_bytes_per_s == pytest.approx(4e9)


def test_nothing_moved_at_all_leaves_the_floor():
    peaks = fit_peaks(table([0, 0], [0, 0], [3e-6, 2e-6]))
    assert peaks.roofline.peak_bytes_per_s is None
    assert peaks.roofline.floor_s == pytest.approx(2e-6)


def test_one_row_in_a_thousand_does_not_set_the_roof_but_stays_below_the_ceiling():
    time_s = np.full(1000, 1e-4)
    ops = np.full(1000, 1e6)
    ops[0] = 5e6  # padding counted as work: five times as fast as the machine can be
    peaks = fit_peaks(table(ops, np.full(1000, 1e5), time_s))
    assert peaks.roofline.peak_ops_per_s == pytest.approx(1e10)
    assert peaks.ceiling.peak_ops_per_s == pytest.approx(5e10)


def test_peak_performance_comes_from_aligned_rows():
    """17 filters on 16 elements take two passes: 32 rows at 16 attain 1e11, 30,000 at 17 a bit more
    than half of it, which would set the value that 99.5% stay below.
    """
    time_s = np.concatenate([np.full(32, 1e-4), np.full(30_000, 2e-4)])
    filters = np.concatenate([np.full(32, 16.0), np.full(30_000, 17.0)])
    wide = table(1e7 * filters / 16, np.full(30_032, 1e5), time_s).assign(filters=filters)
    array = (Unrolling("filters", 16, 0.0),)
    peaks = fit_peaks(wide, dimensions=array)
    assert peaks.roofline.peak_ops_per_s == pytest.approx(1e11)
    assert peaks.aligned_rows == 32
    assert fit_peaks(wide).roofline.peak_ops_per_s == pytest.approx(0.5 * 1e11 * 17 / 16)
    assert fit_peaks(wide).aligned_rows == 0
    # bandwidth has nothing to do with the array
    assert peaks.roofline.peak_bytes_per_s == fit_peaks(wide).roofline.peak_bytes_per_s


def test_too_few_aligned_rows_leave_all_of_them():
    filters = np.array([16.0, 17.0, 18.0])
    few = table(filters, np.full(3, 1e5), np.full(3, 1e-4)).assign(filters=filters)
    peaks = fit_peaks(few, dimensions=(Unrolling("filters", 16, 0.0),))
    assert peaks.aligned_rows == 0
    assert peaks.roofline.peak_ops_per_s == pytest.approx(18 / 1e-4)
