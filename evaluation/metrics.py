"""Error and agreement measures of the papers' tables, as pure functions.

ANNETTE, section 7: MAE, MAPE and RMSPE (tables 3, 5 and 6), F1 and Matthews correlation (table 4),
Spearman's rank correlation (table 6). A measure that has no value for the data at hand is a NaN
that carries its reason, never a 0 or a 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from scipy import stats

from strata.errors import StrataError

Times = Sequence[float] | np.ndarray


@dataclass(frozen=True, slots=True)
class Score:
    """A measure without unit, or NaN with the reason why it has no value."""

    value: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of a yes/no prediction; positive means the two layers were fused."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            count = getattr(self, name)
            if isnan(count) or count < 0 or count != int(count):
                raise StrataError(f"confusion counts: {name} is {count}, must be a whole number")

    @property
    def samples(self) -> int:
        """All pairs counted."""
        return sum(getattr(self, name) for name in self.__slots__)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def _checked(measured_s: Times, estimated_s: Times) -> tuple[np.ndarray, np.ndarray]:
    measured = np.asarray(measured_s, dtype=np.float64)
    estimated = np.asarray(estimated_s, dtype=np.float64)
    if measured.ndim != 1 or measured.shape != estimated.shape:
        raise StrataError(
            f"measured has shape {measured.shape} and estimated {estimated.shape}, "
            "must be two vectors of one length"
        )
    if not len(measured):
        raise StrataError("no measured times: an error measure needs at least one")
    for name, values, bad in (
        ("measured", measured, ~np.isfinite(measured) | (measured <= 0)),
        ("estimated", estimated, ~np.isfinite(estimated) | (estimated < 0)),
    ):
        if bad.any():
            place = int(np.argmax(bad))
            legal = "above 0" if name == "measured" else "0 or more"
            raise StrataError(
                f"{name} time at position {place} is {values[place]}, "
                f"must be finite and {legal} seconds"
            )
    return measured, estimated


def mae(measured_s: Times, estimated_s: Times) -> float:
    """Mean absolute error in seconds of n times in seconds.

    StrataError for no times, unequal lengths, a measured time that is NaN, zero or below.
    """
    measured, estimated = _checked(measured_s, estimated_s)
    return float(np.mean(np.abs(estimated - measured)))


def mape(measured_s: Times, estimated_s: Times) -> float:
    """Mean absolute percentage error in percent of the measured times; errors as `mae`."""
    measured, estimated = _checked(measured_s, estimated_s)
    return float(100 * np.mean(np.abs(estimated - measured) / measured))


def rmspe(measured_s: Times, estimated_s: Times) -> float:
    """Root mean square percentage error in percent, never below the MAPE; errors as `mae`."""
    measured, estimated = _checked(measured_s, estimated_s)
    return float(100 * np.sqrt(np.mean(((estimated - measured) / measured) ** 2)))


def spearman(measured_s: Times, estimated_s: Times) -> Score:
    """Spearman's rank correlation in [-1, 1], ties ranked by their mean; errors as `mae`.

    NaN with a reason for fewer than two times, or where all times of one side are equal.
    """
    measured, estimated = _checked(measured_s, estimated_s)
    if len(measured) < 2:
        return Score(nan, "fewer than two times to rank")
    for name, values in (("measured", measured), ("estimated", estimated)):
        if np.all(values == values[0]):
            return Score(nan, f"all {name} times are equal")
    return Score(float(stats.spearmanr(measured, estimated).statistic))


def f1(counts: Confusion) -> Score:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), in [0, 1].

    NaN with a reason without a single positive among the samples: nothing could be found.
    """
    positives = counts.true_positive + counts.false_negative
    if not positives:
        return Score(nan, "no samples" if not counts.samples else "no fused pair in the samples")
    hits = 2 * counts.true_positive
    return Score(hits / (hits + counts.false_positive + counts.false_negative))


def _one_sided(counts: Confusion) -> str:
    """Why the Matthews correlation is undefined: the empty margin of the counts, or nothing."""
    if not counts.samples:
        return "no samples"
    margins = {
        "no fused pair in the samples": counts.true_positive + counts.false_negative,
        "every pair in the samples is fused": counts.true_negative + counts.false_positive,
        "no pair predicted fused": counts.true_positive + counts.false_positive,
        "every pair predicted fused": counts.true_negative + counts.false_negative,
    }
    return "; ".join(reason for reason, count in margins.items() if not count)


def mcc(counts: Confusion) -> Score:
    """Matthews correlation coefficient in [-1, 1] (Chicco and Jurman, 2020).

    NaN with a reason where a row or column of the confusion matrix is empty (0 / 0).
    """
    if reason := _one_sided(counts):
        return Score(nan, reason)
    tp, fp = counts.true_positive, counts.false_positive
    tn, fn = counts.true_negative, counts.false_negative
    # whole numbers up to the root: no rounding takes a perfect score past 1
    margins = sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return Score((tp * tn - fp * fn) / margins)
