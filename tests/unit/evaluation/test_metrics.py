"""Hand-worked metrics and what happens where they have no value."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from evaluation.metrics import Confusion, f1, mae, mape, mcc, rmspe, spearman
from strata.errors import StrataError

TIMES = st.floats(1e-6, 1e3)
PAIRS = st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=20)


def test_errors_by_hand():
    # errors 1, -1, 0 s: mean of 1, 1, 0 is 2/3; relative 1/2, 1/4, 0
    measured, estimated = [2.0, 4.0, 5.0], [3.0, 3.0, 5.0]
    assert mae(measured, estimated) == pytest.approx(2 / 3)
    # (50 + 25 + 0) / 3 = 25 %
    assert mape(measured, estimated) == pytest.approx(25)
    # sqrt((0.25 + 0.0625 + 0) / 3) = sqrt(0.3125 / 3)
    assert rmspe(measured, estimated) == pytest.approx(100 * sqrt(0.3125 / 3))


def test_spearman_by_hand():
    # ranks 1 2 3 4 and 2 1 3 4: sum d^2 = 2; 1 - 6 * 2 / (4 * 15) = 0.8
    assert spearman([1, 2, 3, 4], [5, 4, 6, 9]).value == pytest.approx(0.8)
    assert spearman([1, 2, 3], [9, 8, 7]).value == pytest.approx(-1)


@pytest.mark.parametrize(
    ("measured", "estimated", "reason"),
    [
        ([1.0], [2.0], "fewer than two"),
        ([1.0, 1.0], [2.0, 3.0], "all measured times are equal"),
        ([1.0, 2.0], [3.0, 3.0], "all estimated times are equal"),
    ],
)
def test_spearman_without_value_says_why(measured, estimated, reason):
    score = spearman(measured, estimated)
    assert isnan(score.value)
    assert reason in score.reason


@pytest.mark.parametrize("metric", [mae, mape, rmspe, spearman])
@pytest.mark.parametrize(
    ("measured", "estimated", "message"),
    [
        ([1.0, 0.0], [1.0, 1.0], "measured time at position 1 is 0.0"),
        ([nan, 1.0], [1.0, 1.0], "measured time at position 0 is nan"),
        ([-1.0, 1.0], [1.0, 1.0], "above 0"),
        ([1.0, 1.0], [1.0, nan], "estimated time at position 1"),
        ([1.0, 1.0], [1.0, float("inf")], "finite"),
        ([1.0, 1.0], [1.0, -2.0], "0 or more"),
        ([], [], "at least one"),
        ([1.0, 2.0], [1.0], "one length"),
    ],
)
def test_bad_times_are_refused(metric, measured, estimated, message):
    with pytest.raises(StrataError, match=message):
        metric(measured, estimated)


def test_f1_and_mcc_by_hand():
    # precision 6/8, recall 6/9: F1 = 12 / (12 + 2 + 3) = 12/17
    counts = Confusion(6, 2, 9, 3)
    assert f1(counts).value == pytest.approx(12 / 17)
    # (6*9 - 2*3) / sqrt(8 * 9 * 11 * 12) = 48 / sqrt(9504)
    assert mcc(counts).value == pytest.approx(48 / sqrt(9504))


def test_perfect_and_inverted_predictions():
    assert (f1(Confusion(3, 0, 4, 0)).value, mcc(Confusion(3, 0, 4, 0)).value) == (1, 1)
    assert (f1(Confusion(0, 4, 0, 3)).value, mcc(Confusion(0, 4, 0, 3)).value) == (0, -1)


@pytest.mark.parametrize(
    ("counts", "f1_value", "f1_reason", "mcc_reason"),
    [
        # nothing fused: neither score has a value, however many are rightly left alone
        ((0, 0, 90, 0), nan, "no fused pair in the samples", "no fused pair in the samples"),
        ((0, 5, 90, 0), nan, "no fused pair in the samples", "no fused pair in the samples"),
        # all fused and found: F1 is 1 by its formula, MCC is 0 / 0
        ((300, 0, 0, 0), 1.0, "", "every pair in the samples is fused"),
        # some fused, none found: F1 is 0 by its formula, MCC is 0 / 0
        ((0, 0, 90, 5), 0.0, "", "no pair predicted fused"),
        ((5, 9, 0, 0), 10 / 19, "", "every pair predicted fused"),
        ((0, 0, 0, 0), nan, "no samples", "no samples"),
    ],
)
def test_degenerate_confusions(counts, f1_value, f1_reason, mcc_reason):
    found = f1(Confusion(*counts))
    assert found.value == pytest.approx(f1_value, nan_ok=True)
    assert found.reason == f1_reason
    assert isnan(mcc(Confusion(*counts)).value)
    assert mcc_reason in mcc(Confusion(*counts)).reason


@pytest.mark.parametrize("bad", [-1, 0.5, nan])
def test_counts_must_be_whole(bad):
    with pytest.raises(StrataError, match="false_positive"):
        Confusion(1, bad, 1, 1)


@given(PAIRS, st.floats(1e-3, 1e3))
def test_errors_scale_as_they_should(pairs, factor):
    measured, estimated = (np.array(side) for side in zip(*pairs, strict=True))
    assert mae(measured * factor, estimated * factor) == pytest.approx(
        factor * mae(measured, estimated), abs=1e-9 * factor
    )
    assert mape(measured * factor, estimated * factor) == pytest.approx(
        mape(measured, estimated), rel=1e-6, abs=1e-6
    )


@given(PAIRS)
def test_rmspe_is_never_below_mape(pairs):
    measured, estimated = zip(*pairs, strict=True)
    assert rmspe(measured, estimated) >= mape(measured, estimated) * (1 - 1e-9)


@given(st.tuples(*[st.integers(1, 50)] * 4))
def test_scores_agree_with_an_independent_library(counts):
    tp, fp, tn, fn = counts
    truth = [1] * tp + [0] * fp + [0] * tn + [1] * fn
    guess = [1] * tp + [1] * fp + [0] * tn + [0] * fn
    assert f1(Confusion(*counts)).value == pytest.approx(f1_score(truth, guess))
    assert mcc(Confusion(*counts)).value == pytest.approx(matthews_corrcoef(truth, guess))
