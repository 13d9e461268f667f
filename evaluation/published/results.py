"""What comes out of one data set: predictions, errors, constants; the steps from file to result."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.metrics import Score, mape, spearman
from evaluation.published.calibration import (
    Constants,
    Unseen,
    calibrate,
    described,
    fold_numbers,
    predict,
    predict_unseen,
)
from evaluation.published.cases import Case, Refusal, make_cases
from evaluation.published.data_set import DataSet, read_measurements
from evaluation.published.platforms import Bench, Platform, find_platform
from strata.errors import SchemaError


@dataclass(frozen=True, slots=True)
class Result:
    """A data set after its evaluation; arrays are seconds in the order of `cases`.

    `unseen` was calibrated without the row's network, `seen_s` with all rows, `shipped_s` not at
    all: the hardware description as it is.
    """

    data_set: DataSet
    cases: tuple[Case, ...]
    refusals: tuple[Refusal, ...]
    unseen: Unseen
    seen_s: np.ndarray
    shipped_s: np.ndarray
    shipped: Constants
    constants: Constants

    @property
    def published_s(self) -> np.ndarray:
        """Published times."""
        return np.array([case.measurement.published_s for case in self.cases])

    @property
    def networks(self) -> int:
        """Networks that calibration kept apart."""
        return len({case.measurement.group for case in self.cases})

    def mape_percent(self, predicted_s: np.ndarray) -> float:
        """Mean absolute percentage error of predictions; NaN without cases."""
        return mape(self.published_s, predicted_s) if self.cases else float("nan")

    def spearman(self, predicted_s: np.ndarray) -> Score:
        """Rank correlation of predictions with the published times."""
        if not self.cases:
            return Score(float("nan"), "no cases")
        return spearman(self.published_s, predicted_s)

    @property
    def reached(self) -> bool | None:
        """Whether the step simulator reached the aim on unseen networks; None without an aim."""
        aim = self.data_set.aim
        if aim is None or not self.cases:
            return None
        ranked = self.spearman(self.unseen.simulated_s).value
        return self.mape_percent(self.unseen.simulated_s) <= aim.mape_percent and (
            aim.spearman is None or bool(ranked >= aim.spearman)
        )


def check_constants(data_set: DataSet, bench: Bench) -> None:
    """SchemaError where a set would calibrate what its hardware description does not assume."""
    assumed = bench.base.assumed
    for name in (*data_set.constants, *data_set.set_up_constants):
        if name not in assumed:
            raise SchemaError(
                f"data set '{data_set.name}' calibrates '{name}', which "
                f"'{bench.base.name}' does not mark as assumed"
            )


def evaluate_data_set(
    data_set: DataSet,
    folder: Path,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
    platform: Platform | None = None,
) -> Result:
    """Read, build, calibrate by folds and predict one data set. `tick` is called once per fold."""
    platform = platform or find_platform(data_set.platform)
    bench = Bench(platform, platform.load(data_set.hardware).changed(**data_set.changes))
    check_constants(data_set, bench)
    cases, refusals = make_cases(bench, read_measurements(data_set, folder))
    shipped = described(bench, cases, data_set.constants, data_set.set_up_constants)
    if not cases:
        nothing = np.array([])
        unseen = Unseen(nothing, nothing, nothing)
        return Result(data_set, (), tuple(refusals), unseen, nothing, nothing, shipped, shipped)
    constants = calibrate(bench, cases, data_set.constants, data_set.set_up_constants)
    folds = fold_numbers([case.measurement.group for case in cases], data_set.folds, seed)
    unseen = predict_unseen(
        bench, cases, data_set.constants, data_set.set_up_constants, folds, tick
    )
    return Result(
        data_set,
        tuple(cases),
        tuple(refusals),
        unseen,
        predict(bench, cases, constants, stepwise=True),
        predict(bench, cases, Constants(), stepwise=True),
        shipped,
        constants,
    )
