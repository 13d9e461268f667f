"""How a node is cut into steps of load, compute and store over the array and the bank memories.

An image bank holds one row of a feature map, so `pixel_parallel` rows are computed together, one
column after the other: `filter_parallel` filters from `channel_parallel` channels per cycle and
kernel position. What does not fill a dimension of the array takes the cycles all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Step:
    """`count` equal steps in a row: bytes, instructions and cycles of each.

    `inline_cycles` run in the write-back path while the array computes, `alu_cycles` after it.
    With `weights_late` weights arrive no earlier than the array starts.
    """

    count: int
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


@dataclass(frozen=True, slots=True)
class Part:
    """Steps in order, the whole row of them `repeats` times."""

    steps: tuple[Step, ...]
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """What runs for each image of a batch; `buffers` 2 is double buffering.

    A part has one proportion of loads, computation and stores: it ends where weights or inputs have
    come to stay on chip, or where nothing is left to load.
    """

    parts: tuple[Part, ...]
    buffers: int
    batch: int


@dataclass(frozen=True, slots=True)
class _Tile:
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
    window, height = node.window, node.height
    padding = max(0, window.rows(height) - node.input_height) // 2
    done = read = 0
    finished = [0] * len(node.alu)
    while done < height:
        rows = min(array.pixels, height - done)
        done += rows
        needed = min(node.input_height, max(0, window.rows(done) - padding))
        if done == height:
            needed = node.input_height
        ready = [alu.height * done // height for alu in node.alu]
        own = tuple(now - before for now, before in zip(ready, finished, strict=True))
        yield rows, needed - read, own
        read, finished = needed, ready


def _tiles(node: Node, array: Array) -> list[_Tile]:
    count = strips(node, array)
    width = ceil_div(node.width, count)
    found = []
    for first in range(0, node.width, width):
        columns = min(width, node.width - first)
        reads = min(node.window.columns(columns), node.input_width)
        if count == 1:
            reads = node.input_width
        for rows, new_rows, alu_rows in _row_tiles(node, array):
            share = rows * columns / (node.height * node.width)
            loaded = float(new_rows * reads * node.channels)
            found.append(_Tile(rows, columns, loaded, alu_rows, share))
    return found


def _alu(node: Node, tile: _Tile, array: Array) -> tuple[int, int, int]:
    """(inline cycles, other cycles, instructions) of one channel group in one tile."""
    inline = cycles = starts = 0
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
    steps = []
    for place, tile in enumerate(_tiles(node, array)):
        _, cycles, starts = _alu(node, tile, array)
        first = constants if place == 0 else 0
        steps.append(
            Step(
                count=1,
                weight_bytes=float(first),
                input_bytes=tile.input_bytes + node.residual * tile.share,
                transfers=(place == 0) + (node.residual > 0),
                weight_transfers=groups if first else 0,
                alu_cycles=cycles * groups,
                alu_starts=starts * groups,
                store_bytes=node.stored * tile.share,
            )
        )
    parts = (steps[:1], steps[1:]) if len(steps) > 1 else (steps,)
    return Schedule(tuple(Part(tuple(part)) for part in parts), 2, node.batch)


@dataclass(frozen=True, slots=True)
class _Work:
    """A node on the array: what the two loop orders have in common."""

    node: Node
    array: Array
    tiles: list[_Tile]
    groups: int  # of filters, in all phases
    words: int  # of one group in each weight bank

    @property
    def late(self) -> bool:
        """Whether the other engine slides a window over what the array has computed.

        It then has the weight banks to itself: no weights arrive ahead of the array.
        """
        return any(alu.window.taps > 1 and not alu.inline for alu in self.node.alu)

    @property
    def operands(self) -> int:
        """Load instructions that the second operand of an addition takes per tile."""
        return int(self.node.residual > 0)

    @property
    def group_bytes(self) -> float:
        """Weights of one filter group, those of a depthwise pass among them."""
        node = self.node
        weights = node.window.taps * node.channels * node.filters * node.phases
        return (weights + _alu_weights(node.alu, node.filters)) / self.groups

    def step(
        self, tile: _Tile, input_bytes: float, weights: float, *, transfers: int, loads: int
    ) -> Step:
        """One filter group of one tile.

        `transfers` is the number of load instructions for feature maps, `loads` the number of
        filter groups whose weights begin to be loaded.
        """
        node, array = self.node, self.array
        inline, cycles, starts = _alu(node, tile, array)
        residual = node.residual * tile.share / self.groups
        return Step(
            count=1,
            weight_bytes=weights,
            input_bytes=input_bytes + residual,
            transfers=transfers,
            weight_transfers=loads * (1 + any(alu.weights for alu in node.alu)),
            weights_late=loads > 0 and self.late,
            array_cycles=tile.columns * taps(node, array) * ceil_div(node.channels, array.channels),
            array_starts=1,
            inline_cycles=inline,
            alu_cycles=cycles,
            alu_starts=starts,
            store_bytes=node.stored * tile.share / self.groups,
        )


def _tiles_outside(work: _Work, weights_stay: bool) -> tuple[Part, ...]:
    """For each tile all filter groups; rows of the next tile arrive meanwhile."""
    parts: list[list[Step]] = [[], [], []]  # first tile, those with a tile before and after, last
    for place, tile in enumerate(work.tiles):
        following = work.tiles[place + 1 : place + 2]
        ahead = sum(later.input_bytes for later in following) / work.groups
        first = place == 0
        loads = int(first or not weights_stay)
        weights = work.group_bytes * loads
        own = ahead + (tile.input_bytes if first else 0.0)
        steps = parts[0 if first else 1 if following else 2]
        transfers = first + work.operands
        steps.append(work.step(tile, own, weights, transfers=transfers, loads=loads))
        if work.groups > 1:
            rest = work.step(tile, ahead, weights, transfers=0, loads=loads)
            steps.append(replace(rest, count=work.groups - 1))
    return tuple(Part(tuple(steps)) for steps in parts if steps)


def _filters_outside(work: _Work, inputs_stay: bool) -> tuple[Part, ...]:
    """For each filter group all tiles; weights of the next group arrive meanwhile."""
    tiles, groups = work.tiles, work.groups
    share = 0.0 if work.late else work.group_bytes / len(tiles)

    def block(new: bool, ahead: bool) -> Part:
        steps = []
        for place, tile in enumerate(tiles):
            first = new and place == 0
            own = place == 0 and (new or work.late)  # its own group, not one ahead
            loads = own + (place == 0 and ahead and not work.late)
            inputs = tile.input_bytes if new or not inputs_stay else 0.0
            weights = work.group_bytes * own + share * ahead
            transfers = first + new * work.operands
            steps.append(work.step(tile, inputs, weights, transfers=transfers, loads=loads))
        return Part(tuple(steps))

    if groups == 1:
        return (block(True, False),)
    found = [block(True, True)]
    if groups > 2:
        found.append(Part(block(False, True).steps, groups - 2))
    return (*found, block(False, False))


def _convolution_schedule(node: Node, array: Array) -> Schedule:
    """Tiles outside and filter groups inside, or the other way round: what moves fewer bytes.

    Weights that fit into their banks stay there, inputs that fit into theirs too.
    """
    groups = ceil_div(node.filters, array.filters) * node.phases
    work = _Work(node, array, _tiles(node, array), groups, weight_words(node, array))
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
