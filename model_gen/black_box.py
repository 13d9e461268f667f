"""Times of layers from times of sums of layers: what a device without a profiler leaves to do.

Every measurement is a sum: the difference of two nested graphs is the time of the layers that one
has more, a network's end-to-end time is that of all its layers and of what the run costs beside
them. Layer times follow by back-fitting (Breiman and Friedman, 1985), in turns:

1. start: non-negative least squares of a linear rule per operation (seconds per layer, per
   operation, per byte) and of the overhead, over all sums;
2. share: given an expected time m of every layer and how far off such expectations are (tau m), the
   part of a sum that they do not explain is shared by best linear unbiased prediction:
   t = m + n (tau m)^2 / V * rest, V = sum (n tau m)^2 + sigma^2. A sum of one layer, measured well,
   gives that layer's time whatever was expected; one of fifty moves each a little;
3. learn: per operation, log(t / start) of the layer's features, every layer weighted by the part
   of its uncertainty that its sum took away. The next m are predictions for cases not learned from;
   where those err more than the start, the start stays.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from model_gen.non_negative import non_negative
from strata.errors import FitError
from strata.execution import FEATURES

ROUNDS = 3
BESIDE = ("once_s", "s_per_input_byte", "s_per_output_byte")
_FOLDS = 3
_MOST_ROWS = 4000  # layers of an operation that a turn learns from: those that sums tell most of
_FEWEST_ROWS = 40  # fewer layers of an operation share one factor on the start
_TAU_START, _TAU_LEAST, _TAU_MOST = 0.5, 0.02, 1.0
_SHORTEST_S = 1e-9
_LEAST_SHARE = 0.1  # of the expected time: a share below it is more likely another layer's error
_PASS_SHARE = 0.1  # of the fastest pass over a layer's bytes, at least, is expected of it at first
_OPS, _BYTES = FEATURES.index("ops"), FEATURES.index("bytes")


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """m measured sums over n terms, times in seconds.

    Per sum: `time_s` and its standard error `sigma_s`; `scale_s`, the end-to-end time behind it;
    `beside` (m, 3), how often it holds what a run costs once, per byte of input and of output;
    `group`, text: sums of one group are learned from together or not at all. Per term: the sum it
    is `of`, how often the sum holds it (`count`), its operation, its features (n, FEATURES).
    """

    time_s: np.ndarray
    sigma_s: np.ndarray
    scale_s: np.ndarray
    beside: np.ndarray
    group: np.ndarray
    of: np.ndarray
    count: np.ndarray
    operation: np.ndarray
    features: np.ndarray

    def __post_init__(self) -> None:
        for name in ("time_s", "sigma_s", "scale_s", "beside", "count", "features"):
            if not np.isfinite(getattr(self, name)).all():
                raise FitError(f"black box: a value of {name} is not a finite number")
        if (self.sigma_s < 0).any() or (self.scale_s <= 0).any():
            raise FitError("black box: standard errors must be at least 0, scales above 0")
        if not len(self.time_s) or not len(self.of):
            raise FitError("black box: no sums of layers; at least one difference is needed")

    def total(self, values: np.ndarray) -> np.ndarray:
        """(m,) sums of a value per term, times how often each sum holds the term."""
        return np.bincount(self.of, self.count * values, minlength=len(self.time_s))


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """Per term in seconds: `time_s` and its standard error `sigma_s`, what was `expected_s` of it.

    `told` is the part of the expectation's variance that the term's own sum took away: 1 is a
    measurement, 0 a guess. `beside`: coefficients in the order of BESIDE. `tau`: relative standard
    error of expectations per operation. `rest` (m,): relative difference of the sums expected from
    those measured.
    """

    time_s: np.ndarray
    sigma_s: np.ndarray
    expected_s: np.ndarray
    told: np.ndarray
    beside: np.ndarray
    tau: dict[str, float]
    rest: np.ndarray


def _divisor(sums: Sums) -> np.ndarray:
    """(m,) what errors of sums are relative to: their time, or what can be told of it at all."""
    return np.maximum.reduce([np.abs(sums.time_s), 0.02 * sums.scale_s, 3 * sums.sigma_s])


def _start(sums: Sums, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) times by the linear rule, and the coefficients of what a run costs beside its layers."""
    names = np.unique(sums.operation)
    kinds = (np.ones(len(sums.of)), sums.features[:, _OPS], sums.features[:, _BYTES])
    masks = [sums.operation == name for name in names]
    columns = [sums.total(mask * kind) for mask in masks for kind in kinds]
    divisor = _divisor(sums)
    design = np.column_stack([*columns, sums.beside]) / divisor[:, None]
    found = non_negative(design[used], (sums.time_s / divisor)[used], "black box")
    time_s = np.zeros(len(sums.of))
    for i, mask in enumerate(masks):
        rule = found[3 * i : 3 * i + 3]
        time_s += mask * sum(value * kind for value, kind in zip(rule, kinds, strict=True))
    moved = sums.total(sums.features[:, _BYTES]) / divisor
    fastest = np.quantile(moved[used & (sums.time_s > 0)], 0.95) if used.any() else 0.0
    floor_s = _PASS_SHARE * sums.features[:, _BYTES] / fastest if fastest > 0 else 0.0
    return np.maximum(np.maximum(time_s, floor_s), _SHORTEST_S), found[-len(BESIDE) :]


def _rest(sums: Sums, expected_s: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """(m,) seconds of each sum that are not explained."""
    return sums.time_s - sums.beside @ beside - sums.total(expected_s)


def share(
    sums: Sums, expected_s: np.ndarray, deviation_s: np.ndarray, beside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) times, their standard errors, and the part of the variance that is gone; all seconds.

    Where a share would be below a tenth of what is expected, the sum's time (at least a tenth of
    what is expected) is shared in proportion instead.
    """
    rest = _rest(sums, expected_s, beside)
    variance = sums.total(sums.count * deviation_s**2) + sums.sigma_s**2
    gain = sums.count * deviation_s**2 / np.maximum(variance, 1e-300)[sums.of]
    time_s = expected_s + gain * rest[sums.of]
    told = np.clip(gain * sums.count, 0.0, 1.0)
    short = np.bincount(sums.of, time_s < _LEAST_SHARE * expected_s, len(rest)) > 0
    whole = np.maximum(sums.total(expected_s), 1e-300)
    factor = np.maximum((whole + rest) / whole, _LEAST_SHARE)
    time_s = np.where(short[sums.of], expected_s * factor[sums.of], time_s)
    return time_s, deviation_s * np.sqrt(1 - told), told


def _predicted(
    features: np.ndarray, ratio: np.ndarray, weight: np.ndarray, wanted: np.ndarray, seed: int
) -> np.ndarray:
    """Predictions of log ratios for the wanted rows, from (rows, features) with weights."""
    if len(features) < _FEWEST_ROWS:
        order = np.argsort(ratio)
        half = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
        middle = ratio[order[min(half, len(order) - 1)]] if len(order) else 0.0
        return np.full(len(wanted), middle)
    learner = HistGradientBoostingRegressor(
        max_iter=100,
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=8,
        early_stopping=False,
        random_state=seed,
    )
    kept = np.argsort(-weight, kind="stable")[:_MOST_ROWS]
    # few rows: threads that wait for each other cost more than they save
    with threadpool_limits(1, user_api="openmp"):
        learner.fit(features[kept], ratio[kept], weight[kept])
        return np.asarray(learner.predict(wanted))


def _folds(sums: Sums, seed: int) -> np.ndarray:
    """(n,) fold of each term; terms of one group of sums share it."""
    _, group = np.unique(sums.group, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(int(group.max()) + 1) % _FOLDS
    return np.asarray(drawn[group][sums.of])


def _learn(
    sums: Sums, start_s: np.ndarray, time_s: np.ndarray, weight: np.ndarray, seed: int
) -> np.ndarray:
    """(n,) expected times: what layers of other groups say of this one. Weight 0: not learned.

    An operation keeps its start where that errs less than what is learned, on groups held out.
    """
    ratio = np.log(np.maximum(time_s, _SHORTEST_S) / start_s)
    fold = _folds(sums, seed)
    expected_s = start_s.copy()
    for name in np.unique(sums.operation):
        mine = sums.operation == name
        learned = np.zeros(len(ratio))
        for turn in range(_FOLDS):
            train, test = mine & (fold != turn) & (weight > 0), mine & (fold == turn)
            if train.any() and test.any():
                inputs = (sums.features[train], ratio[train], weight[train], sums.features[test])
                learned[test] = _predicted(*inputs, seed)
        off, start_off = np.abs(ratio - learned)[mine], np.abs(ratio)[mine]
        if weight[mine] @ off < weight[mine] @ start_off:
            expected_s[mine] = start_s[mine] * np.exp(learned[mine])
    return expected_s


def _taus(
    sums: Sums, expected_s: np.ndarray, time_s: np.ndarray, told: np.ndarray, used: np.ndarray
) -> dict[str, float]:
    """Relative standard error of expectations per operation, where measurements can tell it."""
    found = {}
    off = np.abs(np.log(np.maximum(time_s, _SHORTEST_S) / expected_s))
    for name in np.unique(sums.operation):
        known = (sums.operation == name) & (told > 0.5) & used[sums.of]
        tau = 1.48 * float(np.median(off[known])) if known.sum() >= 20 else _TAU_START
        found[str(name)] = float(np.clip(tau, _TAU_LEAST, _TAU_MOST))
    return found


def refine(
    sums: Sums, used: np.ndarray | None = None, rounds: int = ROUNDS, seed: int = 0
) -> Refined:
    """Times of all terms. Sums that are not `used` are only estimated, not learned from.

    FitError for sums that are not numbers, and for none.
    """
    chosen = np.ones(len(sums.time_s), dtype=bool) if used is None else used
    if not chosen.any():
        raise FitError("black box: no sums to learn from; legal: at least one")
    start_s, beside = _start(sums, chosen)
    expected_s = start_s
    tau = dict.fromkeys(map(str, np.unique(sums.operation)), _TAU_START)
    whole = chosen & (sums.beside[:, 0] > 0)
    divisor = _divisor(sums)
    for turn in range(rounds + 1):
        deviation_s = expected_s * np.array([tau[str(name)] for name in sums.operation])
        time_s, sigma_s, told = share(sums, expected_s, deviation_s, beside)
        if turn == rounds:
            break
        weight = np.where(chosen[sums.of], np.maximum(told, 1e-3), 0.0)
        expected_s = _learn(sums, start_s, time_s, weight, seed + turn)
        tau = _taus(sums, expected_s, time_s, told, chosen)
        if whole.any():
            rest = (sums.time_s - sums.total(expected_s)) / divisor
            beside = non_negative((sums.beside / divisor[:, None])[whole], rest[whole], "black box")
    rest = _rest(sums, expected_s, beside) / divisor
    return Refined(time_s, sigma_s, expected_s, told, beside, tau, rest)
