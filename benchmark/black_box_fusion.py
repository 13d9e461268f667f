"""Which layers a black box runs together with the one before: isolated against together.

Activations are told by the kernels themselves. All are solved twice: every activation part of the
layer before it, and every one that is more than a comparison a layer of its own. A kind is apart if
that explains the differences that hold it better, on groups held out, by a tenth and with 95%
confidence (bootstraps over differences). It need not be true of the device: what counts is that its
cost adds to what the layer before it takes.

Pairs of a convolution and what follows it stand in chains of their own, and both layers in chains
of the same shape alone. What a pair takes beyond the first layer is a part beta of what the second
takes alone: next to nothing where they run together. Beta is fitted per pair of operations over all
shapes, by least squares of errors relative to the pair's time, and its interval is that of 200
bootstraps over shapes: together if beta lies within one half of 0 with 95% confidence, apart if
above one half, else undecided.

Hardly anything costs several times as much behind another layer as alone. Where all pairs say so of
a follower, it was not alone in the chains of its own kind: these run in one pass, as additions in a
row do on a processor, and say nothing of a single one. Its pairs then tell what it costs behind
others, conversions between them included; whether it runs with them stays open.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.black_box import Difference, Plan, Timed
from benchmark.black_box_plan import FEWEST_CHAINS
from benchmark.matcher import FUSED, NOT_FUSED, POSSIBLY_FUSED
from model_gen.black_box import Refined
from strata import operations as op

Alone = tuple[Plan, Refined]  # kernels and what their layers take, under some rule
_BOOTSTRAPS = 200
_LEAST_GAIN = 0.1
_INTERVAL = (0.025, 0.975)
_MORE_THAN_ALONE = 3.0  # times its own, that neither noise nor a colder cache explains


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
    together: Alone, apart: Alone, asked: Collection[str], seed: int = 0
) -> list[KindTest]:
    """One test per `asked` kind of activation that at least eight nests hold.

    Both are solutions of the same graphs, none of which is a network.
    """
    errors = []
    for plan, refined in (together, apart):
        found = zip(plan.differences, refined.rest[: len(plan.differences)], strict=True)
        errors.append({step.more.nest: (step, abs(float(rest))) for step, rest in found})
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for nest, (step, error) in errors[0].items():
        if nest in errors[1]:
            for kind in kinds_of(step.more, step.places).intersection(asked):
                pairs[kind].append((error, errors[1][nest][1]))
    generator = np.random.default_rng(seed)
    tests = []
    for kind, both in sorted(pairs.items()):
        if len(both) < FEWEST_CHAINS:
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

    `low` and `high` bound it with 95% confidence, over so many `chains`; `verdict` is one of the
    matcher's flags.
    """

    pair: str
    chains: int
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


def _alone_s(plan: Plan, refined: Refined) -> dict[str, float]:
    """Times of layers that differences tell, by what tells layers apart."""
    known = plan.sums.of < len(plan.differences)
    return dict(zip(plan.sums.layer[known], refined.time_s[known].tolist(), strict=True))


def beta_of(parts: np.ndarray) -> float:
    """What the second layers of pairs cost of their own time.

    `parts` (chains, 2): what a pair takes beyond its first layer, and what its second takes alone,
    both relative to the pair's time.
    """
    together, alone = parts.T
    return float(together @ alone / max(alone @ alone, 1e-300))


def pair_test(pair: str, parts: np.ndarray, seed: int = 0) -> PairTest:
    """The test of a pair from its `parts` (chains, 2), as `beta_of` has them.

    Fewer than eight chains leave all open.
    """
    if len(parts) < FEWEST_CHAINS:
        return PairTest(pair, len(parts), 0.5, 0.0, 1.0, POSSIBLY_FUSED)
    draws = np.random.default_rng(seed).integers(0, len(parts), (_BOOTSTRAPS, len(parts)))
    low, high = np.quantile([beta_of(parts[rows]) for rows in draws], _INTERVAL).tolist()
    return PairTest(pair, len(parts), beta_of(parts), low, high, verdict(low, high))


def merged_with_their_kind(tests: Iterable[PairTest]) -> frozenset[str]:
    """Followers that cost far more behind other layers than in chains of their own kind.

    Behind all that they are not fused with: a layer that costs nothing there tells nothing.
    """
    lows: dict[str, list[float]] = defaultdict(list)
    for test in tests:
        producer, _, follower = test.pair.partition("->")
        if producer != follower and test.verdict != FUSED:
            lows[follower].append(test.low)
    return frozenset(name for name, found in lows.items() if min(found) > _MORE_THAN_ALONE)


def _layers(step: Difference) -> list[str]:
    """What tells the layers of a difference apart, in their order, each as often as it counts.

    None of one that holds a part of a layer: some of its kernels run in another way than others.
    """
    keys = step.more.keys
    if not all(float(count).is_integer() for count in step.counts):
        return []
    found = sorted(zip(step.places, step.counts, strict=True))
    return [keys[place] for place, count in found for _ in range(round(count))]


def pair_tests(pairs: Iterable[Difference], alone: Alone, seed: int = 0) -> list[PairTest]:
    """One test per pair of operations, of `pairs` that are taken for two layers each.

    `alone` is the solution of kernels; a chain counts where both of its layers stand in those.
    """
    known_s = _alone_s(*alone)
    parts: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for step in pairs:
        times_s = [known_s.get(key, 0.0) for key in _layers(step)]
        found = parts[step.more.pair]
        if len(times_s) == 2 and min(*times_s, step.time_s) > 0:
            first_s, second_s = times_s
            found.append(((step.time_s - first_s) / step.time_s, second_s / step.time_s))
    return [pair_test(pair, np.array(found).reshape(-1, 2), seed) for pair, found in parts.items()]
