"""Which points to measure next: where models disagree, and where a step is suspected.

Pure functions on measured kernels of one benchmark. Everything random comes from a generator that
the caller names after (run seed, round), so a round can be planned again and gives the same plan.

An ensemble of boosted trees, each on its own part of the points, predicts how much longer a kernel
takes than its operations and bytes alone; where the members disagree, a point tells most. Points
are taken at random in proportion to the disagreement, not the largest ones, since a batch of
those would be alike (Kirsch et al. 2021, stochastic batch acquisition).

In one setting, times grow, and at most in proportion. Where two neighbours break that, a step lies
between them, and halving the distance finds it (as Blackthorn does, Lechner and Jantsch 2021).
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from benchmark.plan import BenchmarkCase
from graph_gen.benchmarks import build
from model_gen.tables import hashed_share
from strata.execution import OWN_FEATURES, features, make_executed
from strata.graph import Graph

Row = dict[str, Any]

FEWEST_POINTS = 30  # fewer train no ensemble
FEWEST_HELD_OUT = 5  # fewer judge nothing
_MEMBERS = 8
_MEMBER_SHARE = 0.7
_TREES, _LEAVES, _LEARNING_RATE = 120, 31, 0.1
# Estimates are short by the members' spread; a slow kernel's share of a network grows with it.
_TIME_POWER = 0.25
STEP_SETTINGS = ("height", "width", "channels", "filters")
# ln of a time beyond what the smooth rule allows; real machines scatter by several percent
STEP_TOLERANCE = 0.1
_PROBE_GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class Measured:
    """Kernels of one benchmark and their times in seconds, (cases,)."""

    cases: tuple[BenchmarkCase, ...]
    time_s: np.ndarray

    def where(self, chosen: np.ndarray) -> "Measured":
        """Those of a (cases,) mask."""
        return Measured(
            tuple(case for case, keep in zip(self.cases, chosen, strict=True) if keep),
            self.time_s[chosen],
        )


def is_held_out(case: BenchmarkCase, seed: int, share: float) -> bool:
    """Whether a case only judges: by a hash of the run's seed and the case, whatever the plan.

    Sweeps are never held out: their cases are neighbours of each other.
    """
    return not case.tags.get("sweep") and hashed_share(f"{seed} held out {case.case_id}") < share


def _kernel_features(graph: Graph) -> list[float]:
    group = [layer for layer in graph.layers if layer.name.split("/")[0] == "kernel_0"]
    return list(features(make_executed(group)).values())


def case_matrix(cases: Sequence[BenchmarkCase]) -> np.ndarray:
    """(cases, len(OWN_FEATURES)) features of each case's kernel with its activation, 32 bit.

    From settings, so that measured points and candidates are seen alike.
    """
    rows = [
        _kernel_features(build(case.benchmark, {**case.settings, "kernels": 1})) for case in cases
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(OWN_FEATURES))


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Members predict ln(time / base time); base: operations and bytes at the best rates seen."""

    members: tuple[HistGradientBoostingRegressor, ...]
    s_per_op: float
    s_per_byte: float

    def base_s(self, matrix: np.ndarray) -> np.ndarray:
        """Seconds of work alone, (rows,)."""
        ops, moved = (matrix[:, OWN_FEATURES.index(name)] for name in ("ops", "bytes"))
        return ops * self.s_per_op + moved * self.s_per_byte

    def log_ratios(self, matrix: np.ndarray) -> np.ndarray:
        """ln(time / base time) by every member, (members, rows)."""
        with threadpool_limits(1, user_api="openmp"):
            return np.stack([member.predict(matrix) for member in self.members])

    def time_s(self, matrix: np.ndarray) -> np.ndarray:
        """What the members say on average, seconds, (rows,)."""
        return self.base_s(matrix) * np.exp(self.log_ratios(matrix).mean(axis=0))


def fit_ensemble(
    matrix: np.ndarray, time_s: np.ndarray, generator: np.random.Generator
) -> Ensemble:
    """Members on random parts of (rows, len(OWN_FEATURES)) rows and their seconds."""
    ops, moved = (matrix[:, OWN_FEATURES.index(name)] for name in ("ops", "bytes"))
    s_per_op = float(np.min(time_s[ops > 0] / ops[ops > 0])) if (ops > 0).any() else 0.0
    ensemble = Ensemble((), s_per_op, float(np.min(time_s / moved)))
    target = np.log(time_s / ensemble.base_s(matrix))
    members = []
    for _ in range(_MEMBERS):
        part = generator.random(len(matrix)) < _MEMBER_SHARE
        if part.sum() < 2:
            part[:] = True
        regressor = HistGradientBoostingRegressor(
            max_iter=_TREES,
            max_leaf_nodes=_LEAVES,
            learning_rate=_LEARNING_RATE,
            min_samples_leaf=3,
            early_stopping=False,
            random_state=int(generator.integers(2**31)),
        )
        with threadpool_limits(1, user_api="openmp"):
            members.append(regressor.fit(matrix[part], target[part]))
    return Ensemble(tuple(members), ensemble.s_per_op, ensemble.s_per_byte)


def error_percent(ensemble: Ensemble, held_out: Measured) -> float | None:
    """Mean absolute error of held-out points in percent; None if they are too few to judge."""
    if len(held_out.cases) < FEWEST_HELD_OUT:
        return None
    estimated_s = ensemble.time_s(case_matrix(held_out.cases))
    return float(100 * np.mean(np.abs(estimated_s / held_out.time_s - 1)))


def interest(ensemble: Ensemble, matrix: np.ndarray) -> np.ndarray:
    """How much measuring each row promises, (rows,), at least 0.

    The members' spread, weighted by the estimated time. How often networks have such a layer is in
    the candidates already, if they are drawn from the distribution of layers.
    """
    ratios = ensemble.log_ratios(matrix)
    time_s = ensemble.base_s(matrix) * np.exp(ratios.mean(axis=0))
    return ratios.std(axis=0) * (time_s / np.median(time_s)) ** _TIME_POWER


def pick(score: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of `count` draws without replacement in proportion to the score's square.

    By Gumbel noise on its logarithm: a larger count holds the picks of a smaller one.
    """
    noise = generator.gumbel(size=len(score))
    keys = 2.0 * np.log(np.maximum(score, 1e-12)) + noise
    return np.argsort(-keys, kind="stable")[:count]


def step_excess(low: int, high: int, low_s: float, high_s: float) -> float:
    """ln by which the time of a larger setting breaks the smooth rule, 0 if it does not.

    Smooth: no less than before, and no more than in proportion to the setting.
    """
    growth = math.log(high_s / low_s)
    return max(growth - math.log(high / low), -growth, 0.0)


@dataclass(frozen=True, slots=True)
class Gap:
    """Two neighbours along one setting, all others equal, between which a step is suspected."""

    case: BenchmarkCase  # the lower one
    setting: str
    low: int
    high: int
    excess: float

    @property
    def middle(self) -> Row:
        """Settings halfway."""
        return {**self.case.settings, self.setting: (self.low + self.high) // 2}


def _lines(measured: Measured) -> Iterator[tuple[str, list[tuple[int, float, BenchmarkCase]]]]:
    """Cases that differ in one setting only, in its order: (setting, (value, seconds, case))."""
    lines = defaultdict(list)
    for case, time_s in zip(measured.cases, measured.time_s.tolist(), strict=True):
        rest = {name: value for name, value in case.settings.items() if name != "kernels"}
        for setting in STEP_SETTINGS:
            if setting in rest:
                others = tuple(sorted((k, str(v)) for k, v in rest.items() if k != setting))
                lines[setting, others].append((rest[setting], time_s, case))
    for (setting, _), points in lines.items():
        if len(points) > 1:
            yield setting, sorted(points, key=lambda point: (point[0], point[2].case_id))


def gaps(measured: Measured, tolerance: float = STEP_TOLERANCE) -> list[Gap]:
    """Suspected steps that another point can narrow, the largest first."""
    found = []
    for setting, points in _lines(measured):
        for (low, low_s, case), (high, high_s, _) in pairwise(points):
            if high - low > 1 and (excess := step_excess(low, high, low_s, high_s)) > tolerance:
                found.append(Gap(case, setting, low, high, excess))
    return sorted(found, key=lambda gap: (-gap.excess, gap.case.case_id, gap.setting))


def probes(measured: Measured, score: np.ndarray, generator: np.random.Generator) -> list[Row]:
    """Neighbours of measured points, most interesting first: one setting a quarter larger.

    They open lines: the round after sees whether the time jumped.
    """
    rows = []
    for index in pick(score, len(score), generator):
        case = measured.cases[int(index)]
        names = [name for name in STEP_SETTINGS if case.settings.get(name, 0) > 1]
        setting = names[int(generator.integers(len(names)))] if names else None
        if setting is not None and not case.tags.get("sweep"):
            larger = math.ceil(_PROBE_GROWTH * case.settings[setting])
            rows.append({**case.settings, setting: larger})
    return rows
