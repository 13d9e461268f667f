"""Which layers a black box runs together with the one before: isolated against together.

Activations are told by the kernels themselves. All are solved twice: every activation part of the
layer before it, and every one that is more than a comparison a layer of its own. A kind is apart if
that explains the differences that hold it better, on groups held out, by a tenth and with 95%
confidence (bootstraps over differences). It need not be true of the device: what counts is that its
cost adds to what the layer before it takes.

A layer that was measured alone is expected to cost its own time again inside a network. If it runs
with its producer, it costs next to nothing there. Over all benchmark networks, the part beta of
their own time that such followers cost is fitted per pair of operations, by least squares of
relative errors; what other operations cost in networks against alone is fitted beside it, so that
it is not mistaken for fusion. Intervals are those of 200 bootstraps over networks: together if beta
lies within one half of 0 with 95% confidence, apart if above one half, else undecided.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.black_box import CHEAP, Plan, Timed
from benchmark.matcher import FUSED, NOT_FUSED, POSSIBLY_FUSED
from model_gen.black_box import Refined
from strata import operations as op
from strata.edges import pair_key

FOLLOWERS = ("add", "max_pooling", "average_pooling")
_BOOTSTRAPS = 200
_FEWEST_NETWORKS = 20
_FEWEST_CHAINS = 8
_LEAST_GAIN = 0.1
# standard deviations, before any evidence, of what an operation costs in networks against alone
# (about 1), and of beta (about one half)
_PRIOR_SCALE, _PRIOR_BETA = 0.3, 1.0
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class KindTest:
    """A kind of activation, and how far off the chains that hold it are expected to be, relative.

    `low` bounds with 95% confidence what they gain if it is a layer of its own.
    """

    kind: str
    chains: int
    error_together: float
    error_apart: float
    low: float

    @property
    def apart(self) -> bool:
        """Whether it is better taken as a layer of its own."""
        return self.low > 0 and self.error_apart < (1 - _LEAST_GAIN) * self.error_together


def kinds_of(one: Timed, places: Sequence[int]) -> set[str]:
    """Kinds of activation in these layers."""
    layers = (layer for place in places for layer in one.found.layers[place].executed.layers)
    return {
        layer.parameters.kind for layer in layers if isinstance(layer.parameters, op.Activation)
    }


def kind_tests(
    together: tuple[Plan, Refined], apart: tuple[Plan, Refined], seed: int = 0
) -> list[KindTest]:
    """One test per kind of activation that at least eight nests hold.

    Both are solutions of the same graphs, without networks.
    """
    errors = []
    for plan, refined in (together, apart):
        found = zip(plan.differences, refined.rest[: len(plan.differences)], strict=True)
        errors.append({step.more.nest: (step, abs(float(rest))) for step, rest in found})
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for nest, (step, error) in errors[0].items():
        if nest in errors[1]:
            for kind in kinds_of(step.more, step.places) - CHEAP:
                pairs[kind].append((error, errors[1][nest][1]))
    generator = np.random.default_rng(seed)
    tests = []
    for kind, both in sorted(pairs.items()):
        if len(both) < _FEWEST_CHAINS:
            continue
        values = np.array(both)
        gain = values[:, 0] - values[:, 1]
        draws = generator.choice(gain, (_BOOTSTRAPS, len(gain))).mean(axis=1)
        low = float(np.quantile(draws, _INTERVAL[0]))
        mean = values.mean(axis=0)
        tests.append(KindTest(kind, len(both), float(mean[0]), float(mean[1]), low))
    return tests


@dataclass(frozen=True, slots=True)
class PairTest:
    """A pair's `beta`, part of the follower's own time that it costs behind the producer.

    `low` and `high` bound it with 95% confidence; `verdict` is one of the matcher's flags.
    """

    pair: str
    networks: int
    beta: float
    low: float
    high: float
    verdict: str


def verdict(low: float, high: float) -> str:
    """FUSED, NOT_FUSED or POSSIBLY_FUSED, from the interval of beta.

    A follower cannot save its own time and more: an interval that reaches far below 0 shows that
    something else is wrong, and decides nothing.
    """
    if low > -0.5 and high < 0.5:
        return FUSED
    return NOT_FUSED if low > 0.5 else POSSIBLY_FUSED


def _followers(one: Timed) -> Iterator[tuple[int, str]]:
    """Layers that could run with a producer: their places, and the pairs' keys."""
    owner = {
        each.name: layer.executed for layer in one.found.layers for each in layer.executed.layers
    }
    successors, outputs = one.graph.successors, set(one.graph.outputs)
    for place, layer in enumerate(one.found.layers):
        root = layer.executed.layers[0]
        if root.operation not in FOLLOWERS:
            continue
        for name in root.inputs:
            alone = len(successors[name]) == 1 and name not in outputs
            if alone and name in owner:
                yield place, pair_key(owner[name].operation, root.operation)
                break


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Seconds per network: `followers` (networks, pairs) by what may run with a producer, `others`
    (networks, operations) by all else; both as expected of layers alone.
    """

    pairs: tuple[str, ...]
    followers: np.ndarray
    others: np.ndarray


def _costs(plan: Plan, expected_s: np.ndarray) -> Costs:
    """What the networks' layers would cost alone; pairs of too few networks count as others."""
    first, rows = int(np.argmax(plan.is_network)), len(plan.networks)
    follows = [dict(_followers(one)) for one in plan.networks]
    found = Counter(key for each in follows for key in set(each.values()))
    pairs = tuple(key for key, count in found.items() if count >= _FEWEST_NETWORKS)
    operations = tuple(dict.fromkeys(plan.sums.operation))
    followers, others = np.zeros((rows, len(pairs))), np.zeros((rows, len(operations)))
    for number, keys in enumerate(follows):
        terms = plan.terms(first + number)
        for place, name in enumerate(plan.sums.operation[terms]):
            time_s = expected_s[terms][place]
            if keys.get(place) in pairs:
                followers[number, pairs.index(keys[place])] += time_s
            else:
                others[number, operations.index(name)] += time_s
    return Costs(pairs, followers, others)


def _solve(followers: np.ndarray, others: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(pairs,) beta: least squares with priors on it and on the scale of each operation."""
    design = np.hstack([followers, others])
    noise = max(float(np.std(target - design.sum(axis=1))), 1e-6)
    pairs, scales = followers.shape[1], others.shape[1]
    widths = np.array([_PRIOR_BETA] * pairs + [_PRIOR_SCALE] * scales)
    middles = np.array([0.5] * pairs + [1.0] * scales)
    stacked = np.vstack([design / noise, np.diag(1 / widths)])
    wanted = np.concatenate([target / noise, middles / widths])
    return np.asarray(np.linalg.lstsq(stacked, wanted, rcond=None)[0][:pairs])


def bootstrapped(
    followers: np.ndarray, others: np.ndarray, target: np.ndarray, seed: int
) -> np.ndarray:
    """(3, pairs): beta and the bounds of its interval, from (networks, ...) parts of the target."""
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(_BOOTSTRAPS):
        rows = generator.integers(0, len(target), len(target))
        draws.append(_solve(followers[rows], others[rows], target[rows]))
    return np.vstack([_solve(followers, others, target), np.quantile(draws, _INTERVAL, axis=0)])


def pair_tests(plan: Plan, isolated: Refined, seed: int = 0) -> list[PairTest]:
    """One test per pair that at least twenty networks hold.

    `isolated` are times learned without the networks (`refine` with their sums unused).
    """
    if not plan.networks:
        return []
    costs = _costs(plan, isolated.expected_s)
    if not costs.pairs:
        return []
    total_s = plan.sums.time_s[plan.is_network]
    left_s = total_s - plan.sums.beside[plan.is_network] @ isolated.beside
    followers, others = costs.followers / total_s[:, None], costs.others / total_s[:, None]
    betas, lows, highs = bootstrapped(followers, others, left_s / total_s, seed)
    counts = (costs.followers > 0).sum(axis=0)
    found = []
    for i, pair in enumerate(costs.pairs):
        beta, low, high = float(betas[i]), float(lows[i]), float(highs[i])
        found.append(PairTest(pair, int(counts[i]), beta, low, high, verdict(low, high)))
    return found
