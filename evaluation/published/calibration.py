"""Fitting assumed constants to published times, and errors on networks that the fit did not see.

Residuals are logarithms of predicted over published time: a factor of two weighs the same on a
node of microseconds and on a network of seconds. Constants are fitted as logarithms too, which
keeps them positive, and drawn weakly towards the description's values: a constant of which the
measurements at hand say little stays where it was assumed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import least_squares

from evaluation.published.cases import Case
from evaluation.published.platforms import Bench, Times

_STEP = 1e-3  # of a logarithm, for derivatives
_RANGE = 30.0  # a constant may be so many times larger or smaller than described
_TOLERANCE = 1e-4
_NOISE = 0.1  # relative error of a prediction that counts as usual
_MOST_STEPS = 25
_ENOUGH = 100  # networks that settle a handful of constants
_SPREAD = np.log(3.0)  # how far a described constant may usually be off, as a logarithm
_START_S = 1e-6  # where a described start-up cost of zero begins to be fitted


@dataclass(frozen=True, slots=True)
class Constants:
    """Calibrated values: `common` of a data set, `set_ups` by set-up, in the description's units.

    A set-up that no fitted row had gets the geometric mean of the others.
    """

    common: Mapping[str, float] = field(default_factory=dict)
    set_ups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def of(self, set_up: str) -> dict[str, float]:
        """All constants for one set-up."""
        if set_up in self.set_ups or not self.set_ups:
            return {**self.common, **self.set_ups.get(set_up, {})}
        rows = list(self.set_ups.values())
        means = {
            name: float(np.exp(np.mean([np.log(row[name]) for row in rows]))) for name in rows[0]
        }
        return {**self.common, **means}


def predict(
    bench: Bench, cases: Sequence[Case], constants: Constants, *, stepwise: bool = False
) -> np.ndarray:
    """Predicted seconds of each case; a network is run once per set-up."""
    done: dict[tuple[int, str], Times] = {}
    seconds = []
    for case in cases:
        set_up = case.measurement.set_up
        key = id(case.executable), set_up
        if key not in done:
            hardware = bench.hardware(case.measurement.hardware, constants.of(set_up))
            done[key] = bench.times(case.executable, hardware, stepwise=stepwise)
        times = done[key]
        seconds.append(times.total_s if case.layer is None else times.layers_s[case.layer])
    return np.array(seconds, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which entry of the fitted vector is which constant."""

    common: tuple[str, ...]
    set_up: tuple[str, ...]
    set_ups: tuple[str, ...]

    def constants(self, vector: np.ndarray) -> Constants:
        values = np.exp(vector)
        common = dict(zip(self.common, map(float, values), strict=False))
        rest = values[len(self.common) :].reshape(len(self.set_ups), len(self.set_up))
        per = {
            name: dict(zip(self.set_up, map(float, row), strict=True))
            for name, row in zip(self.set_ups, rest, strict=True)
        }
        return Constants(common, per if self.set_up else {})

    def vector(self, constants: Constants) -> np.ndarray:
        values = [constants.common[name] for name in self.common]
        for set_up in self.set_ups:
            row = constants.of(set_up)
            values += [row[name] for name in self.set_up]
        return np.log(np.array(values, dtype=np.float64))


def described(
    bench: Bench, cases: Sequence[Case], common: Sequence[str], per_set_up: Sequence[str]
) -> Constants:
    """The description's own values as a start for the fit."""

    def value(name: str) -> float:
        return float(getattr(bench.base, name)) or _START_S

    set_ups = dict.fromkeys(case.measurement.set_up for case in cases)
    return Constants(
        {name: value(name) for name in common},
        {set_up: {name: value(name) for name in per_set_up} for set_up in set_ups}
        if per_set_up
        else {},
    )


def enough_cases(cases: Sequence[Case], limit: int = _ENOUGH) -> list[Case]:
    """All cases, or those of `limit` networks drawn with a fixed seed."""
    groups = sorted({case.measurement.group for case in cases})
    if len(groups) <= limit:
        return list(cases)
    drawn = np.random.default_rng(0).permutation(len(groups))[:limit]
    kept = {groups[place] for place in drawn}
    return [case for case in cases if case.measurement.group in kept]


def calibrate(
    bench: Bench,
    cases: Sequence[Case],
    common: Sequence[str],
    per_set_up: Sequence[str] = (),
) -> Constants:
    """Constants with which the analytical model fits the cases best, by robust least squares.

    `common` and `per_set_up` name fields of the hardware description, where the fit starts. Of
    large sets some networks are enough.
    """
    cases = enough_cases(cases)
    origin = described(bench, cases, common, per_set_up)
    layout = _Layout(tuple(common), tuple(per_set_up), tuple(origin.set_ups))
    middle = layout.vector(origin)
    if not len(middle):
        return origin
    problem = _Problem(bench, cases, layout, middle)
    found = least_squares(
        problem.residuals,
        middle,
        jac=problem.jacobian,
        bounds=(middle - np.log(_RANGE), middle + np.log(_RANGE)),
        ftol=_TOLERANCE,
        xtol=_TOLERANCE,
        loss="soft_l1",
        f_scale=_NOISE,
        max_nfev=_MOST_STEPS,
    )
    return layout.constants(found.x)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Residuals of a vector of logarithms: one per case, then one per constant."""

    bench: Bench
    cases: Sequence[Case]
    layout: _Layout
    middle: np.ndarray

    def _errors(self, vector: np.ndarray) -> np.ndarray:
        predicted_s = predict(self.bench, self.cases, self.layout.constants(vector))
        return np.log(predicted_s) - np.log([case.measurement.published_s for case in self.cases])

    def residuals(self, vector: np.ndarray) -> np.ndarray:
        """Shape (cases + constants)."""
        drawn = _NOISE / _SPREAD * (vector - self.middle)
        return np.concatenate([self._errors(vector), drawn])

    def jacobian(self, vector: np.ndarray) -> np.ndarray:
        """Forward differences, shape (cases + constants, constants).

        A constant of all set-ups is moved in one go: a case knows its own set-up.
        """
        layout = self.layout
        base = self._errors(vector)
        matrix = np.zeros((len(base), len(vector)))
        width, offset = len(layout.set_up), len(layout.common)
        for column in range(offset):
            moved = vector.copy()
            moved[column] += _STEP
            matrix[:, column] = (self._errors(moved) - base) / _STEP
        set_ups = np.array([case.measurement.set_up for case in self.cases])
        for position in range(width):
            moved = vector.copy()
            moved[offset + position :: width] += _STEP
            change = (self._errors(moved) - base) / _STEP
            for row, set_up in enumerate(layout.set_ups):
                mine = set_ups == set_up
                matrix[mine, offset + row * width + position] = change[mine]
        return np.vstack([matrix, _NOISE / _SPREAD * np.eye(len(vector))])


def fold_numbers(groups: Sequence[str], folds: int | None, seed: int = 0) -> np.ndarray:
    """Fold of each row: all rows of a group share one. One group per fold if `folds` is None."""
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    count = len(names) if folds is None else min(folds, len(names))
    fold_of = {names[place]: number % count for number, place in enumerate(order)}
    return np.array([fold_of[group] for group in groups])


@dataclass(frozen=True, slots=True)
class Unseen:
    """Predictions in seconds of rows whose network the fit did not see, by level; NaN if none."""

    analytical_s: np.ndarray
    simulated_s: np.ndarray
    folds: np.ndarray


def predict_unseen(
    bench: Bench,
    cases: Sequence[Case],
    common: Sequence[str],
    per_set_up: Sequence[str],
    folds: np.ndarray,
    tick: Callable[[], None] = lambda: None,
) -> Unseen:
    """Calibrate without each fold in turn and predict it, at both levels.

    With one fold alone nothing was seen: the description's own values predict it.
    """
    analytical, simulated = np.full(len(cases), np.nan), np.full(len(cases), np.nan)
    for fold in sorted(set(folds.tolist())):
        held = [case for case, number in zip(cases, folds, strict=True) if number == fold]
        seen = [case for case, number in zip(cases, folds, strict=True) if number != fold]
        constants = calibrate(bench, seen, common, per_set_up) if seen else Constants()
        analytical[folds == fold] = predict(bench, held, constants)
        simulated[folds == fold] = predict(bench, held, constants, stepwise=True)
        tick()
    return Unseen(analytical, simulated, folds)
