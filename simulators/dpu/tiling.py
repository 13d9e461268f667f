"""How a node is cut into steps of load, compute and store over the array and the bank memories.

An image bank holds one row of a feature map, so `pixel_parallel` rows are computed together, one
column after the other: `filter_parallel` filters from `channel_parallel` channels per cycle and
kernel position. What does not fill a dimension of the array takes the cycles all the same.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from simulators.dpu.hardware_model import Dpu
from simulators.dpu.node import Alu, Node


def ceil_div(value: int, by: int) -> int:
    """value / by, rounded up."""
    return -(-value // by)


class Array(NamedTuple):
    """The whole numbers of a hardware description that decide how a node is cut."""

    pixels: int
    channels: int
    filters: int
    alu_pixels: int
    bank_words: int
    image_words: int
    augmented_channels: int


def array_of(hardware: Dpu) -> Array:
    """The machine's array and memories."""
    return Array(
        hardware.pixel_parallel,
        hardware.channel_parallel,
        hardware.filter_parallel,
        hardware.alu_pixel_parallel,
        hardware.bank_words,
        hardware.image_words,
        hardware.augmented_channels,
    )


class Step(NamedTuple):
    """`number` equal steps in a row: bytes, instructions and cycles of each.

    `inline_cycles` run in the write-back path while the array computes, `alu_cycles` after it.
    With `weights_late` weights arrive no earlier than the array starts.
    """

    number: int
    weight_bytes: float = 0.0
    input_bytes: float = 0.0
    transfers: int = 0
    weight_transfers: int = 0
    weights_late: bool = False
    array_cycles: int = 0
    array_starts: int = 0
    inline_cycles: int = 0
    alu_cycles: int = 0
    alu_starts: int = 0
    store_bytes: float = 0.0


class Run(NamedTuple):
    """Steps in order, the whole row of them `repeats` times."""

    steps: tuple[Step, ...]
    repeats: int = 1


class Part(NamedTuple):
    """Runs in order. Equal tiles are one run, so that a closed form looks at them once."""

    runs: tuple[Run, ...]


class Schedule(NamedTuple):
    """What runs for each image of a batch; `buffers` 2 is double buffering.

    A part has one proportion of loads, computation and stores: it ends where weights or inputs have
    come to stay on chip, or where nothing is left to load.
    """

    parts: tuple[Part, ...]
    buffers: int
    batch: int


class _Tile(NamedTuple):
    """A box of the output: `rows` x `columns`, and the new input bytes it needs."""

    rows: int
    columns: int
    input_bytes: float
    alu_rows: tuple[int, ...]  # of each pass of the other engine
    share: float  # of the whole output


def taps(node: Node, array: Array) -> int:
    """Cycles per column, channel group and filter group: kernel positions.

    Channel augmentation lays columns of the kernel side by side in the idle channels of an image.
    """
    height, width = node.window.kernel
    if node.image and node.channels <= array.augmented_channels:
        return height * ceil_div(width, max(1, array.channels // node.channels))
    return height * width


def weight_words(node: Node, array: Array) -> int:
    """Words that one filter group takes in each weight bank."""
    return node.window.taps * ceil_div(node.channels, array.channels)


def strips(node: Node, array: Array) -> int:
    """Least number of vertical strips with which a row tile and the next fit into the banks."""
    groups = ceil_div(node.channels, array.channels)
    rows = node.window.rows(min(array.pixels, node.height))
    if node.height > array.pixels:  # rows of the next tile arrive while this one is computed
        rows += array.pixels * node.window.stride[0]
    rows = min(rows, node.input_height)
    if rows * node.input_width * groups <= array.image_words:
        return 1
    low, high = 1, node.width
    while low < high:  # fewer columns never need more words
        middle = (low + high) // 2
        columns = min(node.window.columns(ceil_div(node.width, middle)), node.input_width)
        if rows * columns * groups <= array.image_words:
            high = middle
        else:
            low = middle + 1
    return low


def _row_tiles(node: Node, array: Array) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(output rows, new input rows, rows of each pass of the other engine) of each row tile."""
    height, input_height, stride = node.height, node.input_height, node.window.stride[0]
    padding = max(0, node.window.rows(height) - input_height) // 2
    before = node.window.rows(0) - padding  # input rows that no output row needs of its own
    alu_heights = [alu.height for alu in node.alu]
    done = read = 0
    while done < height:
        first, done = done, min(done + array.pixels, height)
        needed = input_height
        if done < height:
            needed = min(input_height, max(0, before + done * stride))
        own = tuple([full * done // height - full * first // height for full in alu_heights])
        yield done - first, needed - read, own
        read = needed


def _tiles(node: Node, array: Array) -> list[_Tile]:
    count = strips(node, array)
    width = ceil_div(node.width, count)
    pixels = node.height * node.width
    row_tiles = list(_row_tiles(node, array))
    found = []
    for first in range(0, node.width, width):
        columns = min(width, node.width - first)
        reads = min(node.window.columns(columns), node.input_width)
        if count == 1:
            reads = node.input_width
        row_bytes = float(reads * node.channels)
        found += [
            _Tile(rows, columns, new_rows * row_bytes, alu_rows, rows * columns / pixels)
            for rows, new_rows, alu_rows in row_tiles
        ]
    return found


def _runs(tiles: list[_Tile], ahead: bool = False) -> Iterator[tuple[int, int]]:
    """(first tile, number) of equal tiles in a row, the first and the last tile by themselves.

    With `ahead` the tile that follows must be as large too: its rows are loaded meanwhile.
    """
    last = len(tiles) - 1
    first = 0
    for place in range(1, last + 2):
        equal = first > 0 and place < last and tiles[place] == tiles[first]
        if equal and ahead:
            equal = tiles[place + 1].input_bytes == tiles[first + 1].input_bytes
        if equal:
            continue
        yield first, place - first
        first = place


def _alu(node: Node, tile: _Tile, array: Array) -> tuple[int, int, int]:
    """(inline cycles, other cycles, instructions) of one channel group in one tile."""
    inline = cycles = starts = 0
    if not node.alu:
        return 0, 0, 0
    for alu, rows in zip(node.alu, tile.alu_rows, strict=True):
        if rows == 0:
            continue
        columns = ceil_div(alu.width * tile.columns, node.width)
        own = ceil_div(rows, array.alu_pixels) * columns * alu.window.taps
        if alu.inline:
            inline += own
        else:
            cycles += own
            starts += 1
    return inline, cycles, starts


def _alu_weights(alus: tuple[Alu, ...], channels: int) -> int:
    """Constants of one channel group, one byte each."""
    return sum(alu.window.taps * channels for alu in alus if alu.weights)


def _alu_schedule(node: Node, array: Array) -> Schedule:
    """The array idle: one step per tile, one instruction per channel group."""
    groups = ceil_div(node.alu[0].channels, array.channels)
    constants = _alu_weights(node.alu, node.alu[0].channels)
    tiles = _tiles(node, array)
    runs = []
    for place, repeats in _runs(tiles):
        tile = tiles[place]
        _, cycles, starts = _alu(node, tile, array)
        first = constants if place == 0 else 0
        step = Step(
            number=1,
            weight_bytes=float(first),
            input_bytes=tile.input_bytes + node.residual * tile.share,
            transfers=(place == 0) + (node.residual > 0),
            weight_transfers=groups if first else 0,
            alu_cycles=cycles * groups,
            alu_starts=starts * groups,
            store_bytes=node.stored * tile.share,
        )
        runs.append(Run((step,), repeats))
    parts = (Part(tuple(runs[:1])), Part(tuple(runs[1:])))
    return Schedule(parts if len(runs) > 1 else parts[:1], 2, node.batch)


class _Work(NamedTuple):
    """A node on the array: what the two loop orders have in common."""

    node: Node
    array: Array
    tiles: list[_Tile]
    groups: int  # of filters, in all phases
    words: int  # of one group in each weight bank
    late: bool  # no weights arrive ahead of the array
    operands: int  # load instructions of an addition's second operand per tile
    group_bytes: float  # weights of one filter group, those of a depthwise pass among them
    cycles: int  # of the array per column

    def step(
        self,
        tile: _Tile,
        input_bytes: float,
        weights: float,
        *,
        transfers: int,
        loads: int,
        number: int = 1,
    ) -> Step:
        """One filter group of one tile, `number` times.

        `transfers` is the number of load instructions for feature maps, `loads` the number of
        filter groups whose weights begin to be loaded.
        """
        node = self.node
        inline, cycles, starts = _alu(node, tile, self.array)
        residual = node.residual * tile.share / self.groups
        return Step(
            number=number,
            weight_bytes=weights,
            input_bytes=input_bytes + residual,
            transfers=transfers,
            weight_transfers=loads * (1 + any(alu.weights for alu in node.alu)),
            weights_late=loads > 0 and self.late,
            array_cycles=tile.columns * self.cycles,
            array_starts=1,
            inline_cycles=inline,
            alu_cycles=cycles,
            alu_starts=starts,
            store_bytes=node.stored * tile.share / self.groups,
        )


def _work(node: Node, array: Array, groups: int) -> _Work:
    weights = node.window.taps * node.channels * node.filters * node.phases
    return _Work(
        node=node,
        array=array,
        tiles=_tiles(node, array),
        groups=groups,
        words=weight_words(node, array),
        # an engine that slides a window over what the array has computed has the banks to itself
        late=any(alu.window.taps > 1 and not alu.inline for alu in node.alu),
        operands=int(node.residual > 0),
        group_bytes=(weights + _alu_weights(node.alu, node.filters)) / groups,
        cycles=taps(node, array) * ceil_div(node.channels, array.channels),
    )


def _tiles_outside(work: _Work, weights_stay: bool) -> tuple[Part, ...]:
    """For each tile all filter groups; rows of the next tile arrive meanwhile."""
    parts: list[list[Run]] = [[], [], []]  # first tile, those with a tile before and after, last
    tiles, groups = work.tiles, work.groups
    for place, repeats in _runs(tiles, ahead=True):
        tile, first, last = tiles[place], place == 0, place + 1 == len(tiles)
        ahead = 0.0 if last else tiles[place + 1].input_bytes / groups
        loads = int(first or not weights_stay)
        weights = work.group_bytes * loads
        own = ahead + (tile.input_bytes if first else 0.0)
        transfers = first + work.operands
        steps = [work.step(tile, own, weights, transfers=transfers, loads=loads)]
        if groups > 1:
            rest = work.step(tile, ahead, weights, transfers=0, loads=loads, number=groups - 1)
            steps.append(rest)
        parts[0 if first else 2 if last else 1].append(Run(tuple(steps), repeats))
    return tuple(Part(tuple(runs)) for runs in parts if runs)


def _filters_outside(work: _Work, inputs_stay: bool) -> tuple[Part, ...]:
    """For each filter group all tiles; weights of the next group arrive meanwhile."""
    tiles, groups = work.tiles, work.groups
    share = 0.0 if work.late else work.group_bytes / len(tiles)

    def block(new: bool, ahead: bool, repeats: int = 1) -> Part:
        steps = []
        for place, tile in enumerate(tiles):
            first = new and place == 0
            own = place == 0 and (new or work.late)  # its own group, not one ahead
            loads = own + (place == 0 and ahead and not work.late)
            inputs = tile.input_bytes if new or not inputs_stay else 0.0
            weights = work.group_bytes * own + share * ahead
            transfers = first + new * work.operands
            steps.append(work.step(tile, inputs, weights, transfers=transfers, loads=loads))
        return Part((Run(tuple(steps), repeats),))

    if groups == 1:
        return (block(True, False),)
    found = [block(True, True)]
    if groups > 2:
        found.append(block(False, True, groups - 2))
    return (*found, block(False, False))


def _convolution_schedule(node: Node, array: Array) -> Schedule:
    """Tiles outside and filter groups inside, or the other way round: what moves fewer bytes.

    Weights that fit into their banks stay there, inputs that fit into theirs too.
    """
    groups = ceil_div(node.filters, array.filters) * node.phases
    work = _work(node, array, groups)
    weights = work.group_bytes * groups
    inputs = sum(tile.input_bytes for tile in work.tiles)
    input_words = node.input_height * node.input_width * ceil_div(node.channels, array.channels)
    weights_stay = work.words * groups <= array.bank_words
    inputs_stay = input_words <= array.image_words
    with_tiles_outside = inputs + weights * (1 if weights_stay else len(work.tiles))
    with_filters_outside = weights + inputs * (1 if inputs_stay else groups)
    if with_tiles_outside <= with_filters_outside:
        parts = _tiles_outside(work, weights_stay)
    else:
        parts = _filters_outside(work, inputs_stay)
    buffers = 2 if groups == 1 or 2 * work.words <= array.bank_words else 1
    return Schedule(parts, buffers, node.batch)


@lru_cache(maxsize=100_000)
def make_schedule(node: Node, array: Array) -> Schedule:
    """The steps of a node."""
    return _convolution_schedule(node, array) if node.filters else _alu_schedule(node, array)
