"""When Intel's compiler merges a pooling into the convolution before it: a grid, a tree, facts.

ANNETTE's figure 8 is a decision tree of this fusion, learned from measurements. Here the compiler
itself is asked, pair by pair, and a tree is fitted on its answers in the same way.

Two questions have two answers. Is the pooling reported as part of the convolution (its own row
says OPTIMIZED_OUT)? Do both run as one hardware operation (CONV_POOL)?
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise, product

import numpy as np
import pandas as pd
from sklearn.metrics import matthews_corrcoef
from sklearn.tree import DecisionTreeClassifier

from hardware_modules.ncs2_toolchain import Toolchain
from model_gen.forest_io import forest_from_tree
from simulators.ncs2.plan import Plan
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.forest import Forest
from strata.graph import Graph

# Features of the tree; the last three are what threshold tests on sizes cannot express.
FEATURES = (
    "kernel",
    "pool_kernel",
    "pool_stride",
    "width",
    "height",
    "channels",
    "filters",
    "width_modulo_4",
    "height_modulo_4",
    "output_kib",
)
_DEPTH = 8  # enough for every rule found; deeper trees only fit single points
_ROW_BYTES = 16  # rows in the compiler's tensors start at multiples of this
_HALF_BYTES = 2
_MOST_BYTES = 16 * 2**20
_CHANNEL_STEPS = (16, 64, 128, 256, 512)
_MERGE = "mergeHwStages"
_POOLING = "import: larger poolings of an even kernel are not tried on the hardware"
_TILING = "hwTiling: no split over channels, and narrower tiles the more channels"


@dataclass(frozen=True, slots=True)
class Pair:
    """A convolution of stride 1 that keeps its size, ReLU and max pooling. Sizes in elements."""

    kernel: int
    pool_kernel: int
    pool_stride: int
    width: int
    height: int
    channels: int
    filters: int

    @property
    def graph(self) -> Graph:
        """The pair as a network of its own."""
        builder = GraphBuilder("pair")
        image = builder.input(1, self.channels, self.height, self.width, name="image")
        features = builder.convolution(
            image, self.filters, self.kernel, activation="relu", name="convolution"
        )
        sides = self.pool_kernel // 2 if self.pool_stride == 1 else 0
        builder.pooling(features, "max", self.pool_kernel, self.pool_stride, sides, name="pooling")
        return builder.build()

    @property
    def output_kib(self) -> float:
        """The convolution's output in memory, KiB, rows padded."""
        row = -(-self.width * _HALF_BYTES // _ROW_BYTES) * _ROW_BYTES
        return row * self.height * self.filters / 1024

    @property
    def features(self) -> list[float]:
        """Values in the order of FEATURES."""
        sizes = asdict(self)
        return [
            *sizes.values(),
            self.width % 4,
            self.height % 4,
            self.output_kib,
        ]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the compiler did with a pair; `refused` in its own words."""

    pair: Pair
    reported_fused: bool = False
    one_operation: bool = False
    refused: str = ""


def read_answer(pair: Pair, plan: Plan) -> Answer:
    """The answer that a plan gives: whose name stages bear, what the hardware is asked to do."""
    own = any(stage.layer == "pooling" for stage in plan.stages)
    together = any(stage.attributes.get("hwOpType") == "CONV_POOL" for stage in plan.stages)
    return Answer(pair, not own, together)


def ask(pairs: Iterable[Pair], compile_graph: Callable[[Graph], Plan]) -> Iterator[Answer]:
    """The compiler's answer for each pair."""
    for pair in pairs:
        try:
            yield read_answer(pair, compile_graph(pair.graph))
        except UnsupportedLayer as error:
            yield Answer(pair, refused=str(error))


def grid() -> list[Pair]:
    """Pairs that bracket every threshold: all kinds at a few sizes, the mergeable kind at many."""
    poolings = ((2, 2), (3, 2), (3, 1))
    kinds = [
        Pair(kernel, *pooling, width, height, channels, channels)
        for kernel, pooling, (width, height), channels in product(
            (1, 3, 5, 7), poolings, ((16, 16), (56, 56), (30, 44), (112, 64)), (16, 128)
        )
    ]
    sides = (14, 26, 27, 28, 56, 57, 62, 112, 224, 416, 640, 642, 700, 704, 768, 1000, 1004, 1024)
    sizes = [
        Pair(3, 2, 2, width, height, channels, filters)
        for (width, height), (channels, filters) in product(
            [*((side, 64) for side in sides), *((64, side) for side in sides)],
            ((8, 8), (64, 64), (64, 256), (256, 64)),
        )
    ]
    squares = [
        Pair(3, 2, 2, side, side, channels, filters)
        for side, channels, filters in product(
            (12, 16, 28, 56, 112, 224), (16, 64, 128, 256, 512), (16, 64, 128, 256, 512)
        )
    ]
    return list(dict.fromkeys([*kinds, *sizes, *squares]))


def drawn(count: int, seed: int) -> list[Pair]:
    """Pairs of the mergeable kind drawn evenly on a logarithmic scale, half of them in steps of 4.

    Sides of 8 to 1,024 and 8 to 512 channels and filters, no tensor above 16 MiB.
    """
    source = np.random.default_rng(seed)
    found: list[Pair] = []
    while len(found) < count:
        width, height = (int(side) for side in 2 ** source.uniform(3, 10, 2))
        channels, filters = (8 * int(2**power) for power in source.uniform(0, 6, 2))
        if source.random() < 0.5:
            width, height = width // 4 * 4, height // 4 * 4
        if width * height * max(channels, filters) * _HALF_BYTES <= _MOST_BYTES:
            found.append(Pair(3, 2, 2, width, height, channels, filters))
    return found


def compile_pairs(pairs: Iterable[Pair], toolchain: Toolchain) -> list[Answer]:
    """The real compiler's answers."""
    return list(ask(pairs, lambda graph: toolchain.compile(graph).plan))


@dataclass(frozen=True, slots=True)
class FusionTree:
    """A tree for one of the questions, and its correlation (Matthews) on grid and drawn pairs."""

    question: str
    forest: Forest
    matthews: float
    matthews_unseen: float


def _table(answers: Iterable[Answer], question: str) -> tuple[np.ndarray, np.ndarray]:
    decided = [answer for answer in answers if not answer.refused]
    features = np.array([answer.pair.features for answer in decided], dtype=np.float32)
    return features, np.array([getattr(answer, question) for answer in decided])


def fit_tree(
    answers: Sequence[Answer], unseen: Sequence[Answer], question: str, seed: int = 0
) -> FusionTree:
    """A tree on FEATURES for the flag of that name, fitted as mapping models are."""
    features, truth = _table(answers, question)
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=2, random_state=seed)
    forest = forest_from_tree(tree.fit(features, truth))
    scores = []
    for matrix, actual in ((features, truth), _table(unseen, question)):
        predicted = forest.predict(matrix.astype(np.float64)) > 0.5
        scores.append(float(matthews_corrcoef(actual, predicted)))
    return FusionTree(question, forest, *scores)


def answer_frame(answers: Sequence[Answer]) -> pd.DataFrame:
    """Every pair of the grid and what became of it."""
    return pd.DataFrame(
        [
            {
                **asdict(answer.pair),
                "output (KiB)": answer.pair.output_kib,
                "reported as fused": "yes" if answer.reported_fused else "no",
                "one operation": "yes" if answer.one_operation else "no",
                "refused": answer.refused,
            }
            for answer in answers
        ]
    )


def _values(answers: Iterable[Answer], name: str) -> list[int]:
    return sorted({getattr(answer.pair, name) for answer in answers})


def _held(answers: Sequence[Answer], flag: str) -> list[Answer]:
    return [answer for answer in answers if getattr(answer, flag)]


def _limit(answers: Sequence[Answer], name: str, flag: str) -> str:
    """The largest size at which the flag holds; the next one of the grid, if divisible by 4."""
    holding = _values(_held(answers, flag), name)
    if not holding:
        return "never"
    beyond = [size for size in _values(answers, name) if size > holding[-1] and size % 4 == 0]
    return f"up to {holding[-1]}" + (f", not at {beyond[0]}" if beyond else "")


def _list(answers: Sequence[Answer], name: str, flag: str) -> str:
    return ", ".join(map(str, _values(_held(answers, flag), name))) or "never"


def _share(answers: Sequence[Answer], flag: str) -> str:
    return f"{len(_held(answers, flag))} of {len(answers)} pairs"


def facts_frame(answers: Sequence[Answer]) -> pd.DataFrame:
    """What the paper says beside what the compiler does, for both readings of 'fused'."""
    decided = [answer for answer in answers if not answer.refused]
    some = [a for a in decided if (a.pair.kernel, a.pair.pool_kernel) == (3, 2)]
    flat = [a for a in some if a.pair.height <= 64]
    narrow = [a for a in some if a.pair.width <= 64]
    rows: list[tuple[str, str, Callable[[str], str], str]] = [
        ("convolution's kernel", "3", lambda flag: _list(decided, "kernel", flag), _MERGE),
        ("pooling's kernel", "2", lambda flag: _list(decided, "pool_kernel", flag), _MERGE),
        ("pooling's stride", "2", lambda flag: _list(decided, "pool_stride", flag), _MERGE),
        ("width", "640", lambda flag: _limit(flat, "width", flag), _POOLING),
        ("height", "–", lambda flag: _limit(narrow, "height", flag), _POOLING),
    ]
    rows += [
        (
            f"{axis} not divisible by 4",
            "–",
            partial(_share, [a for a in some if getattr(a.pair, axis) % 4]),
            "mergeHwStages: sizes before and after pooling must be even",
        )
        for axis in ("width", "height")
    ]
    fitting = [a for a in some if a.reported_fused]
    for low, high in pairwise((0, *_CHANNEL_STEPS)):
        chosen = [a for a in fitting if low < a.pair.channels <= high]
        name = f"channels {low + 1} to {high}, where reported as fused"
        rows.append((name, "a threshold", partial(_share, chosen), _TILING))
    return pd.DataFrame(
        [
            {
                "property": name,
                "paper": paper,
                "reported as fused": describe("reported_fused"),
                "one hardware operation": describe("one_operation"),
                "decided by": why,
            }
            for name, paper, describe, why in rows
        ]
    )
