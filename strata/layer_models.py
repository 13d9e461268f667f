"""Layer models: how long an executed layer takes, with all fitted parameters as plain data.

Four kinds are ANNETTE's (section 5.1): roofline (eq. 1), refined roofline (eqs. 2 and 4),
statistical (eq. 5), and its mixed model (eq. 6), here `mixed-annette`. `mixed` is ours: what is
learned is a layer's time over that of a simple engine (`Overlap`). Each reads a
(rows, len(FEATURES)) matrix, columns in the order of `strata.execution.FEATURES`. An operation
that has no operations to count (concat, transpose) has `peak_ops_per_s` None; its statistical
efficiency then scales the bandwidth.
"""

import functools
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from strata import equations
from strata.blocking import BLOCK_NAMES, ENGINE_TERMS, START_TERMS, Blocking, block_terms
from strata.errors import SchemaError, legal
from strata.execution import FEATURES
from strata.forest import Forest

KINDS = ("mixed", "statistical", "refined", "roofline", "mixed-annette")
# keeps a utilisation positive, as eq. 5 wants it, whatever a forest's leaves say
MINIMUM_UTILISATION = 1e-9
SHORTEST_S = 1e-12  # no layer with work takes less; a base of 0 has no logarithm
_LARGEST_RATIO = -np.log(MINIMUM_UTILISATION)
_OPS, _BYTES = FEATURES.index("ops"), FEATURES.index("bytes")


@dataclass(frozen=True, slots=True)
class _Terms:
    """Compute and memory terms of an equation, in seconds, (rows,) each, and the floor."""

    compute_s: np.ndarray
    memory_s: np.ndarray
    floor_s: float

    @property
    def time_s(self) -> np.ndarray:
        longest = np.maximum(self.compute_s, self.memory_s)
        return np.where(longest > 0, longest, self.floor_s)


class _LayerModel:
    """What all kinds share; each kind brings its terms and its efficiency."""

    __slots__ = ()

    def _terms(self, matrix: np.ndarray) -> _Terms:
        raise NotImplementedError

    @property
    def peaks(self) -> "Roofline":
        """The roofline under this model."""
        raise NotImplementedError

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """The u of the model's equation, (rows,), in (0, 1]; ones for the roofline."""
        raise NotImplementedError

    def time_s(self, matrix: np.ndarray) -> np.ndarray:
        """Estimated time of each row in seconds, (rows,), always greater than 0.

        SchemaError if the matrix has another shape or a value that is negative or not finite.
        """
        return self._terms(_checked(matrix)).time_s

    def bound(self, matrix: np.ndarray) -> np.ndarray:
        """Which term of the model's equation is the larger, (rows,): "compute" or "memory"."""
        terms = self._terms(_checked(matrix))
        return np.where(terms.compute_s > terms.memory_s, "compute", "memory")

    def utilisation(self, matrix: np.ndarray) -> np.ndarray:
        """Share of the peak attained, (rows,): f / (P T), or D / (B T) without ops; in [0, 1].

        0 only for rows with no work of that sort.
        """
        time_s = self.time_s(matrix)
        peaks = self.peaks
        if peaks.moves_only:
            share = _memory_s(matrix, peaks) / time_s
        else:
            share = _compute_s(matrix, peaks) / time_s
        return np.minimum(share, 1.0)


@dataclass(frozen=True, slots=True)
class Roofline(_LayerModel):
    """Equation 1. A peak is None where no row had such work; SI units.

    `floor_s` (the smallest time seen for the operation) answers only where both terms are 0.
    """

    kind: ClassVar[str] = "roofline"

    peak_ops_per_s: float | None
    peak_bytes_per_s: float | None
    floor_s: float

    def __post_init__(self) -> None:
        for name in ("peak_ops_per_s", "peak_bytes_per_s", "floor_s"):
            value = getattr(self, name)
            if value is None and name != "floor_s":
                continue
            if not _is_number(value) or not value > 0:
                raise SchemaError(f"roofline: {name} is {value!r}, must be a number above 0")

    @property
    def peaks(self) -> "Roofline":
        """Itself."""
        return self

    @property
    def moves_only(self) -> bool:
        """True if the operation has no operations to count, only data to move."""
        return self.peak_ops_per_s is None

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """Ones, (rows,)."""
        return np.ones(len(_checked(matrix)))

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _Terms(_compute_s(matrix, self), _memory_s(matrix, self), self.floor_s)


@dataclass(frozen=True, slots=True)
class Unrolling:
    """One dimension of equation 4: feature x_i, size s_i (elements), efficiency alpha_i."""

    feature: str
    size: int
    alpha: float

    def __post_init__(self) -> None:
        _known_features("unrolling", (self.feature,))
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise SchemaError(f"unrolling of {self.feature}: size is {self.size!r}, must be >= 1")
        if not _is_number(self.alpha) or not 0 <= self.alpha <= 1:
            raise SchemaError(f"unrolling of {self.feature}: alpha is {self.alpha!r}, must be 0..1")


@dataclass(frozen=True, slots=True)
class Refined(_LayerModel):
    """Equations 2 and 4; without unrolling it is the roofline."""

    kind: ClassVar[str] = "refined"

    roofline: Roofline
    unrolling: tuple[Unrolling, ...] = ()

    @property
    def peaks(self) -> Roofline:
        """The roofline it refines."""
        return self.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_eff of equation 4, (rows,), in (0, 1]."""
        matrix = _checked(matrix)
        if not self.unrolling:
            return np.ones(len(matrix))
        x, _ = _unrolled(matrix, self.unrolling)
        s = [each.size for each in self.unrolling]
        alpha = [each.alpha for each in self.unrolling]
        return equations.utilisation_refined(x, s, alpha)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        u_eff = self.efficiency(matrix)
        compute_s = _compute_s(matrix, self.roofline, u_eff)
        return _Terms(compute_s, _memory_s(matrix, self.roofline), self.roofline.floor_s)


@dataclass(frozen=True, slots=True, eq=False)
class Statistical(_LayerModel):
    """Equation 5; the forest gives log(u_stat) from the columns `feature_names`."""

    kind: ClassVar[str] = "statistical"

    roofline: Roofline
    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_forest(self.forest, self.feature_names)

    @property
    def peaks(self) -> Roofline:
        """The roofline whose peak u_stat scales."""
        return self.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_stat of equation 5, (rows,), in (0, 1]."""
        return np.minimum(_u_stat(self.forest, self.feature_names, _checked(matrix)), 1.0)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _efficient_terms(matrix, self.roofline, self.efficiency(matrix))


@dataclass(frozen=True, slots=True, eq=False)
class MixedAnnette(_LayerModel):
    """Equation 6 as the paper has it; the forest gives u_stat of what u_eff leaves unexplained."""

    kind: ClassVar[str] = "mixed-annette"

    refined: Refined
    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_forest(self.forest, self.feature_names)

    @property
    def peaks(self) -> Roofline:
        """The roofline under the refined roofline."""
        return self.refined.roofline

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """u_eff u_stat of equation 6, (rows,), in (0, 1]; u_stat alone if it only moves data."""
        matrix = _checked(matrix)
        u_stat = self.forest.predict(_select(matrix, self.feature_names))
        u_stat = np.maximum(u_stat, MINIMUM_UTILISATION)
        product = u_stat if self.peaks.moves_only else self.refined.efficiency(matrix) * u_stat
        return np.minimum(product, 1.0)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        return _efficient_terms(matrix, self.peaks, self.efficiency(matrix))


@dataclass(frozen=True, slots=True)
class Overlap:
    """An engine that computes while data move.

    T = t0 + t_pad + sum_i t_i tiles_i + (C^p + M^p)^(1/p)

    C are the root's operations over P u_eff, and those of absorbed layers, which another engine may
    do; M the input, output and weight elements over B, each at a rate of its own. `overlap` is p:
    1 where one waits for the other, towards the roofline's maximum as it grows. Every tile of an
    unrolled dimension (equation 4) takes a start of its own, and t_pad are the input elements of
    layers that are padded unevenly, copied before anything else. Starts in seconds; scales at least
    0. Where a compiler cuts layers for an engine of blocks (`blocking`), `blocking_s` are seconds
    per unit of its terms: those of START_TERMS are starts, the others belong to C.
    """

    refined: Refined
    start_s: float
    tile_s: tuple[float, ...]
    compute_scale: float
    absorbed_scale: float
    input_scale: float
    output_scale: float
    weight_scale: float
    overlap: float
    blocking: Blocking | None = None
    blocking_s: tuple[float, ...] = ()
    padded_scale: float = 0.0

    def __post_init__(self) -> None:
        values = self.coefficients
        if not all(_is_number(value) and value >= 0 for value in values) or not any(values):
            raise SchemaError(
                f"overlap: starts and scales are {values}, must be numbers of at least 0, "
                "one of them above 0"
            )
        if len(self.tile_s) != len(self.refined.unrolling):
            raise SchemaError(
                f"overlap: {len(self.tile_s)} starts of tiles for "
                f"{len(self.refined.unrolling)} unrolled dimensions"
            )
        if len(self.blocking_s) != len(_block_names(self.blocking)):
            raise SchemaError(
                f"overlap: {len(self.blocking_s)} seconds per term of blocks, must be "
                f"{len(_block_names(self.blocking))}: generate the platform model anew"
            )
        if not _is_number(self.overlap) or self.overlap < 1:
            raise SchemaError(f"overlap: p is {self.overlap!r}, must be at least 1")

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Starts and scales, in the order of `overlap_terms`."""
        engine = (self.compute_scale, self.absorbed_scale)
        moved = (self.input_scale, self.output_scale, self.weight_scale)
        starts, blocks = self.blocking_s[: len(START_TERMS)], self.blocking_s[len(START_TERMS) :]
        return (self.start_s, self.padded_scale, *self.tile_s, *starts, *blocks, *engine, *moved)

    def parts(
        self, matrix: np.ndarray, blocks: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seconds of all starts, of computing and of moving data, (rows,) each.

        `blocks` are the rows' `block_terms` where they are known already.
        """
        # row by row alike: a matrix product rounds differently in another batch
        terms = overlap_terms(matrix, self.refined, self.blocking, blocks)
        return split_terms(terms * np.array(self.coefficients), self.blocking)

    def time_s(self, matrix: np.ndarray) -> np.ndarray:
        """Seconds, (rows,)."""
        return self.together_s(*self.parts(matrix))

    def together_s(
        self, starts_s: np.ndarray, engine_s: np.ndarray, moved_s: np.ndarray
    ) -> np.ndarray:
        """Seconds, (rows,), of what `parts` gives."""
        return np.maximum(starts_s + overlapped(engine_s, moved_s, self.overlap), SHORTEST_S)


def _block_names(blocking: Blocking | None) -> tuple[str, ...]:
    return (*START_TERMS, *ENGINE_TERMS) if blocking else ()


def overlap_terms(
    matrix: np.ndarray,
    refined: Refined,
    blocking: Blocking | None = None,
    blocks: np.ndarray | None = None,
) -> np.ndarray:
    """(rows, 7 + dimensions): 1, seconds of an input that is padded unevenly, tiles; seconds of
    compute, absorbed, input, output, weights.

    With `blocking`, after the tiles also its START_TERMS and ENGINE_TERMS, of `blocks` if given.
    """
    roofline = refined.roofline
    compute_s = _compute_s(matrix, roofline, refined.efficiency(matrix))
    outputs = _select(matrix, ("batch", "filters", "output_height", "output_width")).prod(axis=1)
    macs, of_root = _select(matrix, ("macs", "macs_per_output")).T
    absorbed_ops = 2 * np.maximum(macs - of_root * outputs, 0.0)
    absorbed_s = absorbed_ops / (roofline.peak_ops_per_s or np.inf)
    moved = _select(matrix, ("input_elements", "output_elements", "weight_elements"))
    steps = tiles(matrix, refined.unrolling)[:, ::2]
    moved_s = moved / (roofline.peak_bytes_per_s or np.inf)
    if blocking and blocks is None:
        blocks = block_terms(matrix, blocking)
    cut = [] if blocks is None else [blocks[:, : len(_block_names(blocking))]]
    (uneven,) = _select(matrix, ("uneven_padding",)).T
    padded_s = np.where(uneven > 0, moved_s[:, 0], 0.0)
    return np.column_stack(
        [np.ones(len(matrix)), padded_s, steps, *cut, compute_s, absorbed_s, moved_s]
    )


def split_terms(
    terms: np.ndarray, blocking: Blocking | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows,) sums of what `overlap_terms` names: starts, engine, moved."""
    engine = 5 + (len(ENGINE_TERMS) if blocking else 0)

    def total(columns: np.ndarray) -> np.ndarray:
        return functools.reduce(np.add, columns.T)

    return total(terms[:, :-engine]), total(terms[:, -engine:-3]), total(terms[:, -3:])


def overlapped(engine_s: np.ndarray, moved_s: np.ndarray, p: float) -> np.ndarray:
    """The p-norm of both, (rows,): their sum for p = 1, nearly the longer for a large p."""
    longer = np.maximum(np.maximum(engine_s, moved_s), SHORTEST_S)
    return longer * ((engine_s / longer) ** p + (moved_s / longer) ** p) ** (1 / p)


@dataclass(frozen=True, slots=True, eq=False)
class Mixed(_LayerModel):
    """A base of known form times what was learned: T = T_base exp(g), never below both roofs.

    The forest gives g from the columns `feature_names` of `mixed_names`. `ceiling` are the highest
    performance and bandwidth of any row: the maximum with its roofs is always taken.
    """

    kind: ClassVar[str] = "mixed"

    base: Overlap
    ceiling: Roofline
    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_forest(self.forest, self.feature_names, mixed_names(self.base))

    @property
    def peaks(self) -> Roofline:
        """The roofline that nothing exceeds."""
        return self.ceiling

    def efficiency(self, matrix: np.ndarray) -> np.ndarray:
        """Share of the highest peak attained, (rows,), in (0, 1]."""
        return np.maximum(self.utilisation(matrix), MINIMUM_UTILISATION)

    def _terms(self, matrix: np.ndarray) -> _Terms:
        base_s, columns = base_and_columns(matrix, self.base, self.feature_names)
        learned = np.clip(self.forest.predict(columns), -_LARGEST_RATIO, _LARGEST_RATIO)
        learned_s = base_s * np.exp(learned)
        compute_s, memory_s = _compute_s(matrix, self.ceiling), _memory_s(matrix, self.ceiling)
        # a row without work takes the floor, as under every kind
        works = (compute_s > 0) | (memory_s > 0)
        longest = np.maximum(compute_s, np.where(works, learned_s, 0.0))
        return _Terms(longest, memory_s, self.ceiling.floor_s)

    def bound(self, matrix: np.ndarray) -> np.ndarray:
        """Which of the base's sides is the longer, (rows,): "compute" or "memory"."""
        _, engine_s, moved_s = self.base.parts(_checked(matrix))
        return np.where(engine_s > moved_s, "compute", "memory")


def tile_names(unrolling: tuple[Unrolling, ...]) -> tuple[str, ...]:
    """Names of the columns that say how an extent x fills an array of size s: see `tiles`."""
    names = ((f"{each.feature}_tiles", f"{each.feature}_remainder") for each in unrolling)
    return tuple(name for pair in names for name in pair)


def tiles(matrix: np.ndarray, unrolling: tuple[Unrolling, ...]) -> np.ndarray:
    """(rows, 2 len(unrolling)): ceil(x/s) and what x leaves over, (x mod s)/s, of equation 4.

    Tiles of all groups count, each group leaves over what one does.
    """
    x, times = _unrolled(matrix, unrolling)
    steps = x / np.array([each.size for each in unrolling])
    return np.stack([np.ceil(steps) * times, steps % 1.0], axis=2).reshape(
        len(matrix), 2 * len(unrolling)
    )


# What a grouped convolution has of its own in each group: an array is filled by one at a time.
_OF_A_GROUP = ("channels", "filters")


def _unrolled(
    matrix: np.ndarray, unrolling: tuple[Unrolling, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, len(unrolling)) each: the x_i of equation 4, and how many such extents there are.

    The paper has no groups. Depthwise convolutions are no grouped ones: an array takes many of
    their channels at once.
    """
    groups, channels = _select(matrix, ("groups", "channels")).T
    apart = np.where((groups > 1) & (groups < channels), groups, 1.0)
    shared = np.array([each.feature in _OF_A_GROUP for each in unrolling], dtype=bool)
    times = np.where(shared, apart[:, None], 1.0)
    return _select(matrix, tuple(each.feature for each in unrolling)) / times, times


_DERIVED = (
    "base_compute_s",
    "base_memory_s",
    "compute_to_memory",
    "input_row_elements",
    "output_row_elements",
    "output_pixels",
    "filter_elements",
    "working_set_elements",
    "channels_in_vectors",
)
# Lanes of the widest vector unit described here; narrower ones are powers of two, as alignments are
_VECTOR_LANES = 64


def mixed_names(base: Overlap) -> tuple[str, ...]:
    """What the mixed model's trees may read: features, tiles, and `_derived` columns."""
    blocks = BLOCK_NAMES if base.blocking else ()
    return (*FEATURES, *tile_names(base.refined.unrolling), *_DERIVED, *blocks)


def base_and_columns(
    matrix: np.ndarray, base: Overlap, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the base, (rows,), and (rows, len(names)) columns that the trees over it read."""
    blocks = [block_terms(matrix, base.blocking)] if base.blocking else []
    parts = base.parts(matrix, *blocks)
    steps = tiles(matrix, base.refined.unrolling)
    everything = np.column_stack([matrix, steps, _derived(matrix, *parts[1:]), *blocks])
    known = mixed_names(base)
    return base.together_s(*parts), everything[:, [known.index(name) for name in names]]


def _derived(matrix: np.ndarray, engine_s: np.ndarray, moved_s: np.ndarray) -> np.ndarray:
    """(rows, len(_DERIVED)): products that trees find hard, in the units a machine buffers by.

    Both sides of the base and their ratio; a row of the input and of the output over all channels,
    pixels of the output, weights of a filter, input and output together; channels in whole vectors
    over channels, since poolings and depthwise convolutions pay for empty lanes too.
    """
    ratio = engine_s / np.maximum(moved_s, SHORTEST_S)
    width, channels, output_width, filters, output_height = _select(
        matrix, ("width", "channels", "output_width", "filters", "output_height")
    ).T
    read, made, weights = _select(
        matrix, ("input_elements", "output_elements", "weight_elements")
    ).T
    pixels, of_filter = output_height * output_width, weights / np.maximum(filters, 1.0)
    rows = (width * channels, output_width * filters)
    vectors = np.ceil(channels / _VECTOR_LANES) * _VECTOR_LANES / np.maximum(channels, 1.0)
    sizes = (*rows, pixels, of_filter, read + made, vectors)
    return np.column_stack([engine_s, moved_s, ratio, *sizes])


LayerModel = Roofline | Refined | Statistical | Mixed | MixedAnnette


def _checked(matrix: np.ndarray) -> np.ndarray:
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(FEATURES):
        raise SchemaError(f"feature matrix is {values.shape}, must be (rows, {len(FEATURES)})")
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise SchemaError(
            f"feature matrix: {FEATURES[column]} of row {row} is {values[row, column]}, "
            "must be finite and at least 0"
        )
    return values


def _select(matrix: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return matrix[:, [FEATURES.index(name) for name in names]]


def _compute_s(matrix: np.ndarray, peaks: Roofline, u: np.ndarray | float = 1.0) -> np.ndarray:
    peak = np.inf if peaks.peak_ops_per_s is None else peaks.peak_ops_per_s
    return equations.compute_time_s(matrix[:, _OPS], peak, u)


def _memory_s(matrix: np.ndarray, peaks: Roofline, u: np.ndarray | float = 1.0) -> np.ndarray:
    peak = np.inf if peaks.peak_bytes_per_s is None else peaks.peak_bytes_per_s
    return equations.memory_time_s(matrix[:, _BYTES], peak, u)


def _efficient_terms(matrix: np.ndarray, peaks: Roofline, u: np.ndarray) -> _Terms:
    """Terms with the efficiency on the compute side, on the bandwidth if nothing is computed."""
    if peaks.moves_only:
        return _Terms(_compute_s(matrix, peaks), _memory_s(matrix, peaks, u), peaks.floor_s)
    return _Terms(_compute_s(matrix, peaks, u), _memory_s(matrix, peaks), peaks.floor_s)


def _u_stat(forest: Forest, names: tuple[str, ...], matrix: np.ndarray) -> np.ndarray:
    return np.maximum(np.exp(forest.predict(_select(matrix, names))), MINIMUM_UTILISATION)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _known_features(what: str, names: tuple[str, ...], known: tuple[str, ...] = FEATURES) -> None:
    for name in names:
        if name not in known:
            raise SchemaError(f"{what}: unknown feature {name!r}, legal: {legal(known)}")


def _check_forest(
    forest: Forest, names: tuple[str, ...], known: tuple[str, ...] = FEATURES
) -> None:
    _known_features("forest", names, known)
    forest.check(len(names))
