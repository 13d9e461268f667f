"""Times of layers from times of sums of layers: what a device without a profiler leaves to do.

Every measurement is a sum: the difference of two nested graphs is the time of the layers that one
has more, a network's end-to-end time is that of all its layers and of what the run costs beside
them. Layer times follow by back-fitting (Breiman and Friedman, 1985), in turns:

1. start: non-negative least squares of a linear rule per operation (seconds per layer, per
   operation, per byte) and of the overhead, over all sums;
2. share: given an expected time m of every layer and how far off such expectations are (tau m), the
   part of a sum that they do not explain is shared by best linear unbiased prediction:
   t = m + n (tau m)^2 / V * rest, V = sum (n tau m)^2 + sigma^2. A sum of one layer, measured well,
   gives that layer's time whatever was expected; one of fifty moves each a little. Sums that hold a
   layer in common are solved together: once a difference tells of a kernel, the padding of its
   graph is all that is not known of that graph's total;
3. learn: per operation, the linear rule anew, from all that is known of it by now and robustly, and
   log(t / start) of the layer's features, every layer weighted by the part of its uncertainty that
   its sums took away. The next m are predictions for cases not learned from; where those err more
   than the start, the start stays.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from model_gen.non_negative import non_negative
from model_gen.statistical import bin_edges, binned
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
_SLIGHT = 1e-9  # of a sum's variance, so that equations can be solved
_ROBUST_TURNS = 6
_PASS_SHARE = 0.1  # of the fastest pass over a layer's bytes, at least, is expected of it at first
_OPS, _BYTES = FEATURES.index("ops"), FEATURES.index("bytes")


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """m measured sums over n terms, times in seconds.

    Per sum: `time_s` and its standard error `sigma_s`; `scale_s`, the end-to-end time behind it;
    `beside` (m, 3), how often it holds what a run costs once, per byte handed over and per byte
    that comes back.
    Per term: the sum it is `of` (in order), how often the sum holds it (`count`), its operation,
    its features (n, FEATURES), and which `layer` it is, text: equal ones take the same time.
    """

    time_s: np.ndarray
    sigma_s: np.ndarray
    scale_s: np.ndarray
    beside: np.ndarray
    of: np.ndarray
    count: np.ndarray
    operation: np.ndarray
    features: np.ndarray
    layer: np.ndarray

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

    `told` is the part of the expectation's variance that the sums of the layer took away: 1 is a
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


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The different layers that terms stand for.

    `number` (n,) is each term's layer, `first` a layer's first term, `group` (layers,) the number
    of its group: sums that hold a layer in common are one, and learned from together or not at all.
    `linked` are the groups of several sums, by the sums' numbers.
    """

    number: np.ndarray
    first: np.ndarray
    group: np.ndarray
    linked: tuple[np.ndarray, ...]


def layers_of(sums: Sums) -> Layers:
    _, first, number = np.unique(sums.layer, return_index=True, return_inverse=True)
    holds = coo_array((np.ones(len(number)), (sums.of, number)), (len(sums.time_s), len(first)))
    count, group = connected_components(holds.tocsr() @ holds.tocsr().T, directed=False)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.searchsorted(group[order], np.arange(1, count)))
    linked = tuple(rows for rows in groups if len(rows) > 1)
    return Layers(number, first, group[sums.of[first]], linked)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is believed of layers: expected times and how far off those are, in seconds.

    And of sums: what a run costs beside its layers (coefficients), and its own standard error.
    """

    expected_s: np.ndarray
    deviation_s: np.ndarray
    beside: np.ndarray
    beside_sigma_s: float

    def variance(self, sums: Sums) -> np.ndarray:
        """(m,) squared standard errors of the sums and of what is taken off them."""
        whole = sums.beside[:, 0] > 0
        return np.asarray(sums.sigma_s**2 + self.beside_sigma_s**2 * whole)


def _beside_sigma_s(sums: Sums, layers: Layers, state: State, rows: np.ndarray) -> float:
    """How far off, in seconds, what is taken off these sums is: their rest less layers' part."""
    if not rows.any():
        return 0.0
    rest = _rest(sums, state.expected_s[layers.number], state.beside)[rows]
    known = sums.total(sums.count * state.deviation_s[layers.number] ** 2) + state.variance(sums)
    return float(np.sqrt(max((1.48 * np.median(np.abs(rest))) ** 2 - np.median(known[rows]), 0.0)))


def _shared_alone(sums: Sums, layers: Layers, state: State) -> tuple[np.ndarray, np.ndarray]:
    """(layers,) times, and parts of the variance that are gone, by the first sum of each layer.

    Where a share would be below a tenth of what is expected, the sum's time (at least a tenth of
    what is expected) is shared in proportion instead.
    """
    expected_s, deviation_s = state.expected_s[layers.number], state.deviation_s[layers.number]
    rest = _rest(sums, expected_s, state.beside)
    variance = sums.total(sums.count * deviation_s**2) + state.variance(sums)
    gain = sums.count * deviation_s**2 / np.maximum(variance, 1e-300)[sums.of]
    time_s = expected_s + gain * rest[sums.of]
    told = np.clip(gain * sums.count, 0.0, 1.0)
    short = np.bincount(sums.of, time_s < _LEAST_SHARE * expected_s, len(rest)) > 0
    whole = np.maximum(sums.total(expected_s), 1e-300)
    factor = np.maximum((whole + rest) / whole, _LEAST_SHARE)
    time_s = np.where(short[sums.of], expected_s * factor[sums.of], time_s)
    return time_s[layers.first], told[layers.first]


def share(sums: Sums, layers: Layers, state: State) -> tuple[np.ndarray, np.ndarray]:
    """(layers,) times in seconds, and the part of each one's variance that is gone.

    Sums with layers in common are solved together, where that leaves every layer a tenth of what
    is expected of it; else as `_shared_alone` does.
    """
    time_s, told = _shared_alone(sums, layers, state)
    rest = _rest(sums, state.expected_s[layers.number], state.beside)
    variance = state.variance(sums)
    first = np.searchsorted(sums.of, np.arange(len(rest) + 1))
    for rows in layers.linked:
        terms = np.concatenate([np.arange(first[row], first[row + 1]) for row in rows])
        mine, place = np.unique(layers.number[terms], return_inverse=True)
        holds = np.zeros((len(rows), len(mine)))
        np.add.at(holds, (np.searchsorted(rows, sums.of[terms]), place), sums.count[terms])
        before = state.deviation_s[mine] ** 2
        covered = (holds * before) @ holds.T + np.diag(variance[rows])
        covered[np.diag_indices(len(rows))] *= 1 + _SLIGHT  # two sums may say the same
        gain = np.linalg.solve(covered, holds * before).T
        found_s = state.expected_s[mine] + gain @ rest[rows]
        if (found_s >= _LEAST_SHARE * state.expected_s[mine]).all():
            time_s[mine] = found_s
            told[mine] = np.clip((gain * holds.T).sum(axis=1), 0.0, 1.0)
    return time_s, told


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
    edges = [bin_edges(column) for column in features[kept].T]
    # few rows: threads that wait for each other cost more than they save
    with threadpool_limits(1, user_api="openmp"):
        learner.fit(binned(edges, features[kept]), ratio[kept], weight[kept])
        return np.asarray(learner.predict(binned(edges, wanted)))


def _rule(features: np.ndarray) -> np.ndarray:
    """(rows, 3) what the linear rule of an operation is made of: layers, operations, bytes."""
    return np.column_stack([np.ones(len(features)), features[:, (_OPS, _BYTES)]])


def _start_again(features: np.ndarray, time_s: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(3,) the linear rule of most layers: those far off it count less from turn to turn.

    An operation may run in several ways, each by a rule of its own; between them no rule is right.
    Errors are relative to the rule, as noise in what they were relative to would bias it.
    """
    now, scale_s, design = weight, time_s, _rule(features)
    for _ in range(_ROBUST_TURNS):
        part = now / scale_s
        found = non_negative(design * part[:, None], time_s * part, "black box")
        scale_s = np.maximum(design @ found, _SHORTEST_S)
        off = np.abs(time_s / scale_s - 1)
        near = max(float(np.median(off)), 1e-3)
        now = weight * np.sqrt(np.minimum(1.0, near / np.maximum(off, 1e-12)))
    return found


def _off(time_s: np.ndarray, expected_s: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean distance of logarithms."""
    return float(weight @ np.abs(np.log(time_s / expected_s)))


def _learn(
    sums: Sums,
    layers: Layers,
    start_s: np.ndarray,
    time_s: np.ndarray,
    weight: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(layers,) expected times, what layers of other groups say of this one, and starting times.

    Layers of weight 0 are not learned from. An operation keeps its start where that errs less than
    what is learned, on groups held out.
    """
    features, operation = sums.features[layers.first], sums.operation[layers.first]
    time_s = np.maximum(time_s, _SHORTEST_S)
    drawn = np.random.default_rng(seed).permutation(int(layers.group.max()) + 1) % _FOLDS
    fold = drawn[layers.group]
    start_s, expected_s = start_s.copy(), start_s.copy()
    for name in np.unique(operation):
        mine = operation == name
        known = mine & (weight > 0)
        if known.sum() >= _FEWEST_ROWS:
            rule = _start_again(features[known], time_s[known], weight[known])
            again_s = np.maximum(_rule(features[mine]) @ rule, _SHORTEST_S)
            former = _off(time_s[mine], start_s[mine], weight[mine])
            if _off(time_s[mine], again_s, weight[mine]) < former:
                start_s[mine] = again_s
        ratio, learned = np.log(time_s / start_s), np.zeros(len(time_s))
        for turn in range(_FOLDS):
            train, test = known & (fold != turn), mine & (fold == turn)
            if train.any() and test.any():
                inputs = (features[train], ratio[train], weight[train], features[test])
                learned[test] = _predicted(*inputs, seed)
        better_s = start_s[mine] * np.exp(learned[mine])
        start_off = _off(time_s[mine], start_s[mine], weight[mine])
        worth = _off(time_s[mine], better_s, weight[mine]) < start_off
        expected_s[mine] = better_s if worth else start_s[mine]
    return expected_s, start_s


def _taus(
    operation: np.ndarray, expected_s: np.ndarray, time_s: np.ndarray, known: np.ndarray
) -> dict[str, float]:
    """Relative standard error of expectations per operation, where `known` layers can tell it."""
    found = {}
    off = np.abs(np.log(np.maximum(time_s, _SHORTEST_S) / expected_s))
    for name in np.unique(operation):
        mine = (operation == name) & known
        tau = 1.48 * float(np.median(off[mine])) if mine.sum() >= 20 else _TAU_START
        found[str(name)] = float(np.clip(tau, _TAU_LEAST, _TAU_MOST))
    return found


def _trust(rest: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(m,) what shares of a sum count: less where far more than usual is not explained of it.

    Of the sums that are a `whole` run and learned from. Such a graph holds something that runs in
    another way than all that is known, and its other layers would be charged with that.
    """
    trust = np.ones(len(rest))
    if whole.any():
        usual = max(float(np.median(np.abs(rest[whole]))), 1e-6)
        trust[whole] = np.minimum(1.0, 2 * usual / np.maximum(np.abs(rest[whole]), 1e-12)) ** 2
    return trust


def refine(
    sums: Sums, used: np.ndarray | None = None, rounds: int = ROUNDS, seed: int = 0
) -> Refined:
    """Times of all terms. Sums that are not `used` are only estimated, not learned from.

    FitError for sums that are not numbers, and for none.
    """
    chosen = np.ones(len(sums.time_s), dtype=bool) if used is None else used
    if not chosen.any():
        raise FitError("black box: no sums to learn from; legal: at least one")
    layers = layers_of(sums)
    number, operation = layers.number, sums.operation[layers.first]
    held = np.bincount(number, chosen[sums.of], len(layers.first)) > 0
    whole = chosen & (sums.beside[:, 0] > 0)
    divisor = _divisor(sums)
    short = whole & (sums.time_s <= np.quantile(sums.time_s[whole], 0.25)) if whole.any() else whole
    start_s, beside = _start(sums, chosen)
    start_s = start_s[layers.first]
    expected_s, tau = start_s, dict.fromkeys(map(str, np.unique(operation)), _TAU_START)
    for turn in range(rounds + 1):
        deviation_s = expected_s * np.array([tau[str(name)] for name in operation])
        aside_s = _beside_sigma_s(sums, layers, State(expected_s, deviation_s, beside, 0.0), short)
        state = State(expected_s, deviation_s, beside, aside_s)
        time_s, told = share(sums, layers, state)
        if turn == rounds:
            break
        trust = _trust(_rest(sums, expected_s[number], beside) / divisor, whole)
        weight = np.where(held, np.maximum(told, 1e-3) * trust[sums.of[layers.first]], 0.0)
        expected_s, start_s = _learn(sums, layers, start_s, time_s, weight, seed + turn)
        tau = _taus(operation, expected_s, time_s, held & (told > 0.5))
        if whole.any():
            rest = (sums.time_s - sums.total(expected_s[number])) / divisor
            beside = non_negative((sums.beside / divisor[:, None])[whole], rest[whole], "black box")
    rest = _rest(sums, expected_s[number], beside) / divisor
    sigma_s = deviation_s * np.sqrt(1 - told)
    terms = (time_s[number], sigma_s[number], expected_s[number], told[number])
    return Refined(*terms, beside, tau, rest)
