"""How a compiler cuts convolutions and poolings for an engine that works on blocks of channels.

Such an engine holds some rows of its input and one tile of its output. Its compiler chooses the
block and cuts channels, width and height so that both fit, at the fewest cycles: two layers that
look alike may be cut differently and differ in time by a factor. That choice follows from the
layer's own sizes, by the rules that OpenVINO's published compiler for the Myriad X follows (release
2021.4, hardware tiling of convolutions and of poolings), with the shapes for which it has tiles of
its own. The network matters in one way: a convolution whose result a pooling alone reads is cut
with it. Left out are merged pooling, paddings that differ by more than one, a grouped convolution
before a pooling, and a pooling in software behind a convolution: these two are cut as a pair.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from math import prod

import numpy as np

from strata.errors import SchemaError
from strata.execution import FEATURES
from strata.layer import OPERATIONS

# Columns of `block_terms`: what a stage takes by itself, and what the engine does.
START_TERMS = (
    "stages",
    "first_bytes",
    "far_first_bytes",
    "far_bytes",
    "summed_elements",
    "copied_elements",
    "stage_weights",
    "padded_elements",
    "software_stages",
)
ENGINE_TERMS = ("block_cycles", "pass_pixels", "pass_rows", "unblocked_macs")
# How a layer is cut: for trees to read beside the terms.
CUT_NAMES = ("block_channels", "channel_parts", "height_parts", "width_parts")
BLOCK_NAMES = (*START_TERMS, *ENGINE_TERMS, *CUT_NAMES)
# A row of `_layer_terms` where the engine cannot do the layer.
_IN_SOFTWARE = *(float(name in ("software_stages", "unblocked_macs")) for name in BLOCK_NAMES), 0.0
_SIZES = (
    *("height", "width", "channels", "filters", "output_height", "output_width"),
    *("kernel_height", "kernel_width", "stride_height", "stride_width", "dilation", "groups"),
    "uneven_padding",
)
_COLUMNS = [FEATURES.index(name) for name in _SIZES]
_POOLINGS = [1 + OPERATIONS.index(name) for name in ("max_pooling", "average_pooling")]
_CONVOLUTION = 1 + OPERATIONS.index("convolution")
_MOST_TILES = 64  # of an axis: thin tiles that throw most of their outputs away would be endless
_LARGEST = 2**40  # of a size: products of a few stay whole numbers of 64 bits as floats
_MEMORY = 100_000  # layers kept: a network's shapes come again and again


@dataclass(frozen=True, slots=True)
class FixedTile:
    """A shape that the compiler cuts in its own way: inputs of `side`, outputs of `made` squared.

    A kernel or filters of 0 are any. `rows`, `columns` and `part_channels` are what a stage reads
    at most; 0 is what the compiler would choose anyway.
    """

    kernel: int
    side: int
    made: int
    channels: int
    filters: int
    rows: int
    columns: int
    part_channels: int

    def __post_init__(self) -> None:
        if not all(_is_count(getattr(self, each.name)) for each in fields(self)):
            raise SchemaError(f"blocking: {self} must have whole numbers of at least 0")

    def fits(self, rows: "_Axis", columns: "_Axis", channels: int, filters: int) -> bool:
        """Whether a layer has the shape."""
        kernel = self.kernel or rows.kernel
        axis = self.side, self.made, kernel
        return (
            (rows.read, rows.made, rows.kernel) == axis
            and (columns.read, columns.made, columns.kernel) == axis
            and (channels, filters) == (self.channels, self.filters or filters)
        )


@dataclass(frozen=True, slots=True)
class PoolBlocking:
    """Limits for poolings, which take `channels` at once, one pass after the other.

    Of a padded tile a plane must fit `plane_bytes`, `ended_plane_bytes` where it is padded at its
    end. Columns are cut into no less than `fewest_columns`. The engine does no windows beyond
    `most_kernel` and `most_stride`, even ones up to `even_height` and `even_width` only, and none
    whose outputs are fewer than it counts. Of averages it does none of `refused`, which are
    (kernel, stride), nor even ones on odd sizes if `odd_refused`, nor padded ones of up to
    `padded_refused` outputs a side. A convolution and its pooling are cut into `split_filters`
    where what lies between is too large, the first that divide them and fit.
    """

    channels: int
    plane_bytes: int
    ended_plane_bytes: int
    fewest_columns: int
    most_kernel: int
    most_stride: int
    even_height: int
    even_width: int
    split_filters: tuple[int, ...]
    refused: tuple[tuple[int, int], ...]
    odd_refused: bool
    padded_refused: int

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "refused":
                pairs = all(len(pair) == 2 and all(map(_is_count, pair)) for pair in value)
                sound, legal = pairs, "pairs of whole numbers"
            elif each.name == "odd_refused":
                sound, legal = isinstance(value, bool), "true or false"
            elif each.name == "padded_refused":
                sound, legal = _is_count(value), "whole, at least 0"
            else:
                numbers = value if isinstance(value, tuple) else (value,)
                sound = all(_is_count(number) and number > 0 for number in numbers)
                legal = "whole, at least 1"
            if not sound:
                raise SchemaError(f"blocking: {each.name} is {value!r}, must be {legal}")

    def takes(self, rows: "_Axis", columns: "_Axis") -> bool:
        """Whether the engine does such a window."""
        axes = rows, columns
        even = any(axis.kernel % 2 == 0 for axis in axes)
        odd = any(axis.read % 2 == 1 for axis in axes)
        large = rows.read > self.even_height or columns.read > self.even_width
        small = max(rows.made, columns.made) <= self.padded_refused
        padded = any(axis.before + axis.after > 0 for axis in axes)
        square = rows.kernel == columns.kernel
        return (
            max(rows.kernel, columns.kernel) <= self.most_kernel
            and rows.stride <= self.most_stride
            and all(axis.counts_for_pooling() for axis in axes)
            and not (even and large)
            and not (even and odd and self.odd_refused)
            and not (padded and small)
            and not (square and (rows.kernel, rows.stride) in self.refused)
        )


@dataclass(frozen=True, slots=True)
class Blocking:
    """Sizes of the engine and limits of its compiler.

    Blocks of 1, 2, 4, ... input channels, one for each of `pass_cycles`: what an output pixel takes
    beside a cycle per block and kernel element. `multipliers` over a block are the filters of a
    pass. `row_memory_bytes` hold kernel + stride + `ahead_rows` rows of all blocks (one more up to
    `narrow_columns`), each padded to `row_bytes`; `tile_bytes` a tile of the output. A pass takes
    at most `most_steps` steps (blocks times kernel elements) and `most_channels`; each axis is cut
    into at most `most_parts`, columns into no less than `fewest_columns`. Tiles wider than
    `wide_columns` and lower than `wide_rows` are refused. Shapes in `fixed` are cut as it says.
    Layers without weights are poolings, cut as `pooling` says, or not at all without it.
    """

    multipliers: int
    pass_cycles: tuple[int, ...]
    row_memory_bytes: int
    tile_bytes: int
    row_bytes: int
    value_bytes: int
    ahead_rows: int
    narrow_columns: int
    most_steps: int
    most_channels: int
    most_parts: int
    fewest_columns: int
    wide_columns: int
    wide_rows: int
    fixed: tuple[FixedTile, ...] = ()
    pooling: PoolBlocking | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name in ("fixed", "pooling"):
                continue
            value = getattr(self, each.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not numbers or not all(_is_count(number) for number in numbers):
                raise SchemaError(f"blocking: {each.name} is {value!r}, must be whole and positive")
            if not isinstance(value, tuple) and value == 0:
                raise SchemaError(f"blocking: {each.name} is 0, must be at least 1")

    def __hash__(self) -> int:
        # of some fields: what is remembered of layers is looked up by it, and few engines differ
        return hash((self.multipliers, self.tile_bytes, self.row_memory_bytes))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def block_terms(matrix: np.ndarray, blocking: Blocking) -> np.ndarray:
    """(rows, len(BLOCK_NAMES)) of a (rows, len(FEATURES)) matrix.

    Stages; bytes of the rows that must be in the engine before its first pixel, once per pass, from
    its chip or from afar, none of poolings, and all that it reads from afar; elements added up over
    parts of the channels; elements of tiles that are copied (`_Stage.copied`); weights read by all
    stages; elements of padded copies, and stages in software, of such copies or of a layer that the
    engine cannot do; cycles per pixel of blocks, passes over pixels and over rows; MACs, or a
    pooling's operations, where the engine cannot do the layer. Then how it is cut, zeros where it
    is not. From afar come a network's inputs, but for padded copies of them, and what finds no room
    on the chip (`_fits`); that others leave less of it is not seen.
    """
    sizes = np.minimum(matrix[:, _COLUMNS], _LARGEST).astype(int).tolist()
    pooled = matrix[:, FEATURES.index("weight_elements")] == 0
    paired = np.where(pooled, _follows(matrix), _precedes(matrix))
    rows = [
        _layer_terms(blocking, *each, *flags)
        for each, *flags in zip(sizes, pooled.tolist(), paired.tolist(), strict=True)
    ]
    known = np.array(rows, dtype=np.float64).reshape(-1, len(BLOCK_NAMES) + 1)
    terms, fits = known[:, :-1], known[:, -1]
    names = "macs", "ops", "weight_elements", "reads_input", "batch"
    macs, ops, weights, reads_input, batch = (matrix[:, FEATURES.index(name)] for name in names)
    padded = terms[:, BLOCK_NAMES.index("padded_elements")] > 0
    far = (fits == 0) | ((reads_input > 0) & ~padded)
    factors = {
        "first_bytes": ~far,
        "far_first_bytes": far,
        "far_bytes": far,
        "stage_weights": weights,
        "unblocked_macs": np.where(macs > 0, macs, ops),
    }
    for name, factor in factors.items():
        terms[:, BLOCK_NAMES.index(name)] *= factor
    # images come one after the other; MACs are those of all
    for name in {*START_TERMS, *ENGINE_TERMS} - {"unblocked_macs"}:
        terms[:, BLOCK_NAMES.index(name)] *= np.maximum(batch, 1)
    return terms


def _follows(matrix: np.ndarray) -> np.ndarray:
    """(rows,) booleans: the layer alone reads what a convolution before it makes."""
    names = "chain_before", "previous_operation"
    chain, kind = (matrix[:, FEATURES.index(name)] for name in names)
    return (chain > 0) & (kind == _CONVOLUTION)


def _precedes(matrix: np.ndarray) -> np.ndarray:
    """(rows,) booleans: a pooling behind the layer alone reads what it makes."""
    names = "chain_after", "following_operation"
    chain, kind = (matrix[:, FEATURES.index(name)] for name in names)
    return (chain > 0) & np.isin(kind, _POOLINGS)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a layer: what is read and made, window, padding before and after, and whether a
    window that sticks out at the end counts."""

    read: int
    made: int
    kernel: int
    stride: int
    before: int
    after: int
    rounded_up: bool = False

    @property
    def most(self) -> int:
        """Outputs if a window that sticks out counts."""
        return _parts_of(self.read + self.before + self.after - self.kernel, self.stride) + 1

    @property
    def odd(self) -> bool:
        """Whether an even window lies on an odd size."""
        return self.kernel % 2 == 0 and self.read % 2 == 1

    def outputs(self, read: int) -> int:
        """What `read` inputs give."""
        steps = _parts_of if self.rounded_up else int.__floordiv__
        return steps(read + self.before + self.after - self.kernel, self.stride) + 1

    def counts_for_pooling(self) -> bool:
        """Whether the engine's pooling makes as many outputs: it widens odd sizes by one."""
        wider = replace(self, after=self.after or int(self.odd))
        return self.made in (wider.most, replace(wider, rounded_up=False).outputs(self.read))


@dataclass(frozen=True, slots=True)
class _Tile:
    """A part of an axis: inputs read, outputs made and kept of them, where both begin."""

    read: int
    made: int
    kept: int
    read_begin: int
    made_begin: int


def _parts_of(size: int, step: int) -> int:
    return -(-size // step)


def _axis(read: int, made: int, kernel: int, stride: int, even: bool) -> _Axis:
    """An axis with the least padding: as much on either side, or the odd one at the end."""
    padding = max((made - 1) * stride + kernel - read, 0)
    before = (padding + even) // 2
    return _Axis(read, made, kernel, stride, before, before if even else padding - before)


def _pads_itself(axis: _Axis, pooled: bool) -> bool:
    """Whether the engine pads so: both sides to the window's middle or not at all; of poolings
    either, but no even window on an odd size."""
    middle = axis.kernel // 2, (axis.kernel - 1) // 2
    if not pooled:
        return (axis.before, axis.after) in ((0, 0), middle)
    used = (axis.made - 1) * axis.stride + axis.kernel - axis.read - axis.before
    return not axis.odd and axis.before in (0, middle[0]) and max(used, 0) in (0, middle[1])


def _padded(axis: _Axis, pooled: bool) -> _Axis:
    """The axis behind a padded copy."""
    after = max(axis.after, int(pooled and axis.odd))
    return replace(axis, read=axis.read + axis.before + after, before=0, after=0)


def _tile(axis: _Axis, begin: int, end: int) -> _Tile:
    """The tile that makes outputs begin to end. The engine pads every tile as it pads the whole, so
    inner tiles make outputs at their edges that nobody wants."""
    first = begin * axis.stride - axis.before
    last = (end - 1) * axis.stride + axis.kernel - axis.before
    if first < 0:
        wasted, first, lead = begin, 0, 0
    else:
        lead = first % axis.stride
        wasted = (lead + axis.before) // axis.stride
    unused = axis.after - max(last - axis.read, 0)
    wasted += max(unused // axis.stride, 0)
    read = lead + min(last, axis.read) - first
    return _Tile(read, wasted + end - begin, end - begin, first - lead, begin)


def _tiles(axis: _Axis, most: int) -> list[_Tile]:
    """The axis in tiles of at most `most` outputs; empty where waste leaves nothing of a tile."""
    if most >= axis.made:
        return [_Tile(axis.read, axis.made, axis.made, 0, 0)]
    tiles: list[_Tile] = []
    begin = 0
    while begin < axis.made:
        end = min(axis.made, begin + most)
        while end > begin and _tile(axis, begin, end).made > most:
            end -= 1
        if end <= begin or len(tiles) == _MOST_TILES:
            return []
        tiles.append(_tile(axis, begin, end))
        begin = end
    return tiles


def _part_of(axis: _Axis, parts: int) -> int:
    """Inputs that one of so many parts of an axis reads, in whole strides."""
    read = _parts_of(axis.read, parts)
    return read if parts == 1 else _parts_of(read, axis.stride) * axis.stride


def _most_outputs(axis: _Axis, parts: int, fewest: int) -> int | None:
    """Outputs of a tile at most where an axis is cut into so many parts; None where they would read
    fewer inputs than `fewest`."""
    read = _part_of(axis, parts)
    return None if parts > 1 and read < fewest else min(axis.made, axis.outputs(read))


def _height_tiles(axis: _Axis, parts: int) -> list[_Tile]:
    """Tiles of the height in so many parts; none where they get lower than the window."""
    read = _part_of(axis, parts)
    if parts > 1:
        least = _parts_of(axis.made, parts)
        if (read - axis.kernel + axis.before + axis.after) // axis.stride + 1 < least:
            read = (least - 1) * axis.stride + axis.kernel - axis.before - axis.after
        if read < axis.kernel:
            return []
    return _tiles(axis, min(axis.made, axis.outputs(read)))


def _row_bytes(columns: int, blocking: Blocking) -> int:
    """Bytes of a row of one channel with its padding."""
    used = columns * blocking.value_bytes
    return _parts_of(used, blocking.row_bytes) * blocking.row_bytes


def _first_rows(rows: int, columns: int, kernel: int, stride: int, blocking: Blocking) -> int:
    """Rows of the input that must wait in the engine's memory."""
    narrow = columns <= blocking.narrow_columns
    return min(kernel + stride + blocking.ahead_rows + narrow, rows)


@dataclass(frozen=True, slots=True)
class _Pass:
    """The block chosen for a tile: its channels, passes over the filters, cycles of all of them."""

    channels: int
    passes: int
    cycles: int


@lru_cache(_MEMORY)
def _best_pass(
    blocking: Blocking,
    rows: int,
    columns: int,
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    stride: int,
) -> _Pass | None:
    """The cheapest block whose rows fit, by cycles per pixel, then by passes; None without one."""
    flat = columns > blocking.wide_columns and 1 < rows < blocking.wide_rows
    if channels > blocking.most_channels or (flat and channels != 3):
        return None
    needed = _first_rows(rows, columns, kernel[0], stride, blocking)
    row = _row_bytes(columns, blocking)
    found: list[_Pass] = []
    for power, extra in enumerate(blocking.pass_cycles):
        block = 2**power
        steps = _parts_of(channels, block) * kernel[0] * kernel[1]
        padded = _parts_of(channels, block) * block
        fits = needed * padded * row <= blocking.row_memory_bytes
        if fits and steps <= blocking.most_steps:
            per_pass = min(max(blocking.multipliers // block, 1), _parts_of(filters, 8) * 8)
            passes = _parts_of(filters, per_pass)
            found.append(_Pass(block, passes, passes * (steps + extra)))
    return min(found, key=lambda each: (each.cycles, each.passes), default=None)


@lru_cache(_MEMORY)
def _layer_terms(
    blocking: Blocking,
    height: int,
    width: int,
    channels: int,
    filters: int,
    output_height: int,
    output_width: int,
    kernel_height: int,
    kernel_width: int,
    stride: int,
    stride_width: int,
    dilation: int,
    groups: int,
    uneven_padding: int,
    pooled: bool,
    paired: bool,
) -> tuple[float, ...]:
    """A row of `block_terms`, with 1 in the place of weights and MACs, and as if its input lay both
    near and far; then whether it may lie near."""
    groups, split = max(groups, 1), 1
    if paired and groups == 1:  # what the convolution makes is what the pooling reads
        plane = (height, width) if pooled else (output_height, output_width)
        split = _split(blocking, plane, filters)
    output_bytes = filters // split * output_height * _row_bytes(output_width, blocking)
    channels = max(channels // groups, 1) // (split if pooled else 1)
    filters = max(filters // groups, 1) // split
    repeated = groups * split
    rows = _axis(height, output_height, kernel_height, stride, not uneven_padding)
    columns = _axis(width, output_width, kernel_width, stride_width, not uneven_padding)
    # what makes more than it reads has no window
    small = output_height <= height + kernel_height and output_width <= width + kernel_width
    known = small and dilation == 1 and stride == stride_width and min(height, width, stride) > 0
    pool = blocking.pooling if pooled else None
    if not known or (pooled and not (pool and pool.takes(rows, columns))):
        return _IN_SOFTWARE
    padded_apart = not (_pads_itself(rows, pooled) and _pads_itself(columns, pooled))
    if padded_apart:
        rows, columns = _padded(rows, pooled), _padded(columns, pooled)
    ends = [axis.made == axis.most for axis in (rows, columns)]
    rounded_up = all(ends) if pooled else any(ends)
    rows, columns = (replace(axis, rounded_up=rounded_up) for axis in (rows, columns))
    if pool:
        tiling = _pool_tiling(blocking, pool, rows, columns, channels)
    else:
        tiling = _tiling(blocking, rows, columns, channels, filters)
    if tiling is None:
        return _IN_SOFTWARE
    input_bytes = groups * channels * rows.read * _row_bytes(columns.read, blocking)
    fits = float(_fits(blocking, input_bytes, filters, tiling, pooled))
    far_output = output_bytes > blocking.tile_bytes and prod(tiling.cut) > 1
    parts, total = tiling.parts, dict.fromkeys(BLOCK_NAMES, 0.0)
    for stage in tiling.stages:
        pixels, passes = stage.made_rows * stage.made_columns, stage.block.passes
        # a part of the width is read with what lies beside it, but for a copy of that part
        across = stage.read_columns if stage.read_askew else columns.read
        row_bytes = channels * _row_bytes(across, blocking)
        waiting = 0  # a pass of a pooling reads its own channels only, and waits for no other rows
        if not pooled:
            row_bytes *= passes
            waiting = _first_rows(
                stage.read_rows, stage.read_columns, kernel_height, stride, blocking
            )
        each = {
            "stages": parts,
            "first_bytes": waiting * row_bytes,
            "far_first_bytes": waiting * row_bytes,
            "far_bytes": stage.read_rows * row_bytes,
            "summed_elements": parts * filters * pixels if parts > 1 else 0,
            "copied_elements": stage.copied(filters, channels, far_output),
            "stage_weights": 1 / repeated,
            "block_cycles": parts * stage.block.cycles * pixels,
            "pass_pixels": parts * passes * pixels,
            "pass_rows": parts * passes * stage.made_rows,
        }
        for name, value in each.items():
            total[name] += repeated * stage.count * value
    if padded_apart:  # by each group or part for itself
        total["software_stages"] = float(repeated)
        total["padded_elements"] = float(repeated * channels * rows.read * columns.read)
    chosen = tiling.stages[0].block.channels, parts, *tiling.cut
    total.update(zip(CUT_NAMES, map(float, chosen), strict=True))
    return *total.values(), fits


def _split(blocking: Blocking, plane: tuple[int, int], filters: int) -> int:
    """Into how many parts of its filters a convolution is cut together with the pooling behind it,
    so that what lies between, too large for a tile as a whole, stays on the chip."""
    filter_bytes = plane[0] * _row_bytes(plane[1], blocking)
    if blocking.pooling is None or filters * filter_bytes <= blocking.tile_bytes:
        return 1
    for each in blocking.pooling.split_filters:
        if filters % each == 0 and each * filter_bytes <= blocking.tile_bytes:
            return filters // each
    return 1


def _fits(
    blocking: Blocking, input_bytes: int, filters: int, tiling: "_Tiling", pooled: bool
) -> bool:
    """Whether the chip, which holds two of the largest tiles, holds a layer's input beside a tile
    of its output, and, of a third part of the channels on, the sum of those before. With two parts
    the first may leave the chip instead of the input: compilers do either. What is larger than a
    tile stays only for a pooling, whose output is small."""
    tile_bytes = max(
        stage.made_rows * _row_bytes(stage.made_columns, blocking) * filters
        for stage in tiling.stages
    )
    held_bytes = tile_bytes * (2 if tiling.parts > 2 else 1)
    chip_bytes = 2 * blocking.tile_bytes
    stays = pooled or input_bytes <= blocking.tile_bytes
    return stays and input_bytes + held_bytes <= chip_bytes


@dataclass(frozen=True, slots=True)
class _Stage:
    """A tile with its block, and how often it comes: inputs read, outputs made and kept, and
    whether either begins within a row of memory, so that it is copied."""

    read_rows: int
    made_rows: int
    kept_rows: int
    read_columns: int
    made_columns: int
    kept_columns: int
    read_askew: bool
    made_askew: bool
    block: _Pass
    count: int

    def moved(self, filters: int, channels: int) -> int:
        """Elements copied to where a row begins, of one such tile."""
        made = self.made_rows * self.made_columns * filters if self.made_askew else 0
        return made + (self.read_rows * self.read_columns * channels if self.read_askew else 0)

    def copied(self, filters: int, channels: int, far_output: bool) -> int:
        """Elements of one such tile that are copied: to where a row begins, without those that
        nobody wants, or to a memory that the engine doesn't write to."""
        kept = self.kept_rows, self.kept_columns
        cropped = kept != (self.made_rows, self.made_columns)
        leaving = filters * prod(kept) if cropped or far_output else 0
        return self.moved(filters, channels) + leaving


@dataclass(frozen=True, slots=True)
class _Tiling:
    """Parts of the channels, the stages of each, and parts of height and width."""

    parts: int
    stages: list[_Stage]
    cut: tuple[int, int]

    def cost(self, filters: int, channels: int) -> float:
        """The compiler's own figure, for parts of so many channels: cycles per pixel of every
        stage, and elements added up and copied."""
        total = 0.0
        for stage in self.stages:
            padded = _parts_of(channels, stage.block.channels) * stage.block.channels
            summed = (self.parts - 1) * stage.made_rows * stage.made_columns * filters
            moved = stage.moved(filters, padded)
            total += stage.count * (self.parts * stage.block.cycles + summed + moved)
        return total


def _tiling(
    blocking: Blocking, rows: _Axis, columns: _Axis, channels: int, filters: int
) -> _Tiling | None:
    """The cheapest tiling, then the one of fewest parts, of those that for a cut of channels and
    width have the fewest parts of the height that fit; None where nothing fits.
    """
    numbers = range(1, blocking.most_parts + 1)
    best: tuple[tuple[float, int], _Tiling] | None = None
    chosen = (1, 1)
    for parts in numbers:
        if best is not None and (parts - 1) * rows.made * columns.made * filters >= best[0][0]:
            break  # adding up alone costs more
        channels_each = _parts_of(channels, parts)
        block_of = _convolution_blocks(blocking, rows, columns, channels_each, filters)
        for wide in numbers:
            across = _even_cut(blocking, columns, wide, blocking.fewest_columns)
            if not across:
                break
            for high in numbers:
                down = _heights(blocking, rows, high)
                stages = _stages(down, across, block_of)
                if stages:
                    cut = sum(down.values()), sum(across.values())
                    tiling = _Tiling(parts, stages, cut)
                    order = tiling.cost(filters, channels_each), parts * wide * high
                    if best is None or order < best[0]:
                        best, chosen = (order, tiling), (high, wide)
                    break
    if best is None:
        return None
    fixed = (each for each in blocking.fixed if each.fits(rows, columns, channels, filters))
    tile = next(fixed, None)
    if tile is None:
        return best[1]
    down = _heights(blocking, rows, chosen[0])
    across = _even_cut(blocking, columns, chosen[1], blocking.fewest_columns)
    if tile.rows:
        down = _different(_tiles(rows, min(rows.made, rows.outputs(tile.rows))), blocking)
    if tile.columns:
        most = min(columns.made, columns.outputs(tile.columns))
        across = _different(_tiles(columns, most), blocking)
    parts = _parts_of(channels, tile.part_channels) if tile.part_channels else best[1].parts
    each = tile.part_channels or _parts_of(channels, parts)
    # nobody asks whether its output fits the tile's memory, nor what to do if its rows do not
    block_of = _convolution_blocks(blocking, rows, columns, each, filters, bounded=False)
    stages = _stages(down, across, block_of)
    cut = sum(down.values()), sum(across.values())
    return _Tiling(parts, stages, cut) if stages else None


# read, made, kept, and whether the first two begin within a row of memory
_Extent = tuple[int, int, int, bool, bool]


def _different(tiles: list[_Tile], blocking: Blocking) -> Counter[_Extent]:
    """How often each extent comes."""

    def askew(begin: int) -> bool:
        return begin * blocking.value_bytes % blocking.row_bytes != 0

    return Counter(
        (tile.read, tile.made, tile.kept, askew(tile.read_begin), askew(tile.made_begin))
        for tile in tiles
    )


@lru_cache(_MEMORY)
def _heights(blocking: Blocking, rows: _Axis, parts: int) -> Counter[_Extent]:
    """Tiles of the height in so many parts."""
    return _different(_height_tiles(rows, parts), blocking)


@lru_cache(_MEMORY)
def _even_cut(blocking: Blocking, axis: _Axis, parts: int, fewest: int) -> Counter[_Extent]:
    """Tiles of an axis in so many parts that read `fewest` or more."""
    most = _most_outputs(axis, parts, fewest)
    return _different([] if most is None else _tiles(axis, most), blocking)


# The block of a tile of so many inputs and outputs, rows and columns; None where it does not fit.
_BlockOf = Callable[[int, int, int, int], _Pass | None]


def _stages(down: Counter[_Extent], across: Counter[_Extent], block_of: _BlockOf) -> list[_Stage]:
    """Each different tile of both axes with its block; none where one does not fit."""
    found = []
    for (read_rows, made_rows, kept_rows, *_), high in down.items():
        for (read_columns, made_columns, kept_columns, *begins), wide in across.items():
            block = block_of(read_rows, made_rows, read_columns, made_columns)
            if block is None:
                return []
            extent = read_rows, made_rows, kept_rows, read_columns, made_columns, kept_columns
            found.append(_Stage(*extent, begins[0], begins[1], block, high * wide))
    return found


def _convolution_blocks(
    blocking: Blocking,
    rows: _Axis,
    columns: _Axis,
    channels: int,
    filters: int,
    bounded: bool = True,
) -> _BlockOf:
    """The cheapest block; if `bounded`, of tiles that fit the tile's memory."""
    kernel = rows.kernel, columns.kernel

    def block_of(
        read_rows: int, made_rows: int, read_columns: int, made_columns: int
    ) -> _Pass | None:
        made_bytes = _row_bytes(made_columns, blocking) * made_rows * filters
        if bounded and made_bytes > blocking.tile_bytes:
            return None
        return _best_pass(blocking, read_rows, read_columns, channels, filters, kernel, rows.stride)

    return block_of


def _pool_tiling(
    blocking: Blocking, pooling: PoolBlocking, rows: _Axis, columns: _Axis, channels: int
) -> _Tiling | None:
    """The cheapest tiling of a pooling, then the one of fewest parts; None where nothing fits."""
    # the compiler counts whole passes only
    cycles = channels // pooling.channels * rows.kernel * columns.kernel
    fewest = max(pooling.fewest_columns, columns.kernel)
    cuts = sorted(
        (cycles * least_down * least_across, high * wide, wide, high)
        for high, least_down in _pool_cuts(rows, rows.kernel, blocking.most_parts)
        for wide, least_across in _pool_cuts(columns, fewest, blocking.most_parts)
    )
    block_of = _pool_blocks(blocking, pooling, rows, columns, channels)
    best: tuple[tuple[int, int], _Tiling] | None = None
    for least, parts, wide, high in cuts:
        if best is not None and (least, parts) >= best[0]:
            break  # without any copy it would not be better, nor would those after it
        down = _even_cut(blocking, rows, high, rows.kernel)
        across = _even_cut(blocking, columns, wide, fewest)
        stages = _stages(down, across, block_of)
        if not stages:
            continue
        cost = sum(each.count * (cycles + each.moved(channels, channels)) for each in stages)
        if best is None or (cost, parts) < best[0]:
            best = (cost, parts), _Tiling(1, stages, (down.total(), across.total()))
    return best[1] if best else None


@lru_cache(_MEMORY)
def _pool_cuts(axis: _Axis, fewest: int, most_parts: int) -> tuple[tuple[int, int], ...]:
    """Numbers of parts of an axis that read `fewest` or more, and the fewest tiles of each."""
    numbers = range(1, most_parts + 1)
    mosts = ((parts, _most_outputs(axis, parts, fewest)) for parts in numbers)
    return tuple((parts, _parts_of(axis.made, most)) for parts, most in mosts if most and most > 0)


def _pool_blocks(
    blocking: Blocking, pooling: PoolBlocking, rows: _Axis, columns: _Axis, channels: int
) -> _BlockOf:
    """The one block of poolings, of tiles that fit."""
    passes = _parts_of(channels, pooling.channels)
    block = _Pass(pooling.channels, passes, passes * rows.kernel * columns.kernel)

    def block_of(
        read_rows: int, made_rows: int, read_columns: int, made_columns: int
    ) -> _Pass | None:
        row = _row_bytes(read_columns, blocking)
        waiting = _first_rows(read_rows, read_columns, rows.kernel, rows.stride, blocking)
        made_bytes = _row_bytes(made_columns, blocking) * made_rows * channels
        below = (made_rows - 1) * rows.stride + rows.kernel - read_rows - rows.before
        beside = (made_columns - 1) * columns.stride + columns.kernel - read_columns
        limit = pooling.ended_plane_bytes if below > 0 else pooling.plane_bytes
        padded = below > 0 or columns.before > 0 or beside - columns.before > 0
        fits = (
            made_bytes <= blocking.tile_bytes
            and read_rows >= rows.kernel
            and channels <= blocking.most_channels
            and waiting * row * pooling.channels <= blocking.row_memory_bytes
            and not (padded and row * (read_rows + rows.kernel - 2) > limit)
        )
        return block if fits else None

    return block_of
