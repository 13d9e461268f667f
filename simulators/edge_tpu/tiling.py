"""Tiling: how a node's work is cut into steps of load, compute and store, in cycles and bytes.

The output map is dealt out to the grid of tiles: a tile has at most ceil(rows / grid rows) x
ceil(columns / grid columns) positions. The filters are cut into blocks of one filter per cell,
the input channels into products of a cell. Where parameters are streamed and a whole map with
them does not fit the tiles' activation memory, the rows are cut into passes, and every pass
fetches the layer's parameters again.
"""

from dataclasses import dataclass

from simulators.edge_tpu.geometry import Task
from simulators.edge_tpu.hardware_model import EdgeTpu


@dataclass(frozen=True, slots=True)
class Tiling:
    """Equal steps: per pass over `rows_of_pass[i]` rows of a tile, `blocks` blocks of filters.

    A step computes `cycles_per_row` for each row of its pass plus `fill_cycles`; it loads
    `load_bytes` per pass and block over the weight bus (`streamed_bytes` of them from outside the
    chip), and stores `store_bytes_per_row` for each row over the activation bus of a tile.
    """

    rows_of_pass: tuple[int, ...]
    blocks: int
    cycles_per_row: float
    fill_cycles: float
    load_bytes: float
    streamed_bytes: float
    read_bytes_per_row: float
    store_bytes_per_row: float

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.rows_of_pass) * self.blocks

    @property
    def rows(self) -> int:
        """Rows of the busiest tile."""
        return sum(self.rows_of_pass)


def tile_of(task: Task, machine: EdgeTpu) -> tuple[int, int]:
    """(rows, columns) of the busiest tile's share of the map."""
    rows, columns = task.rows, task.columns
    if columns == 1:  # a list of positions: any grid will do
        return -(-rows // machine.tiles), 1
    return -(-rows // machine.tile_rows), -(-columns // machine.tile_columns)


def _pass_rows(task: Task, rows: int, columns: int, machine: EdgeTpu) -> int:
    """Rows of a tile whose inputs, outputs and doubly buffered weights fit its memory."""
    cells = machine.cells
    channels = machine.padded(task.channels * task.groups)
    filters = machine.padded(task.filters)
    weights = 2 * task.taps * -(-task.channels // cells) * cells * cells / machine.tiles
    per_row = columns * task.stride + task.halo_rows
    fixed = task.halo_rows * per_row * channels + weights
    row_bytes = task.stride * per_row * channels + columns * filters
    return max(min(int((machine.tile_stream_bytes - fixed) // row_bytes), rows), 1)


def tile(task: Task, parameter_bytes: int, streamed: bool, machine: EdgeTpu) -> Tiling:
    """The steps of a node on the device; `parameter_bytes` as cached or as streamed."""
    rows, columns = tile_of(task, machine)
    if task.engine == "convolution":
        return _convolution(task, rows, columns, parameter_bytes, streamed, machine)
    return _vectors(task, rows, columns, parameter_bytes, streamed, machine)


def _convolution(
    task: Task, rows: int, columns: int, parameter_bytes: int, streamed: bool, machine: EdgeTpu
) -> Tiling:
    cells, depth = machine.cells, machine.macs_per_cell
    filters = task.filters // task.groups
    blocks = task.groups * -(-filters // cells)
    products = task.taps * -(-task.channels // depth) * task.repeats
    passes = _passes(rows, _pass_rows(task, rows, columns, machine) if streamed else rows)
    load = task.repeats * parameter_bytes / blocks
    growth = task.output_elements / (task.positions * task.filters)  # of transposed convolutions
    return Tiling(
        rows_of_pass=passes,
        blocks=blocks,
        cycles_per_row=columns * products,
        fill_cycles=machine.array_fill_cycles * products,
        load_bytes=load,
        streamed_bytes=load if streamed else 0.0,
        read_bytes_per_row=0.0,
        store_bytes_per_row=columns * min(filters, cells) * growth,
    )


def _passes(rows: int, rows_per_pass: int) -> tuple[int, ...]:
    whole, rest = divmod(rows, rows_per_pass)
    return (rows_per_pass,) * whole + ((rest,) if rest else ())


_CYCLES = {
    "depthwise": "depthwise_cycles_per_tap",
    "pooling": "pooling_cycles_per_tap",
    "elementwise": "elementwise_cycles_per_vector",
}


def _vectors(
    task: Task, rows: int, columns: int, parameter_bytes: int, streamed: bool, machine: EdgeTpu
) -> Tiling:
    """Engines that handle one channel per cell: vectors of as many channels as there are cells."""
    blocks = -(-task.filters // machine.cells)
    width = min(task.filters, machine.cells)
    if task.engine == "softmax":  # one after the other, on one tile
        cycles = machine.softmax_cycles_per_element * task.output_elements
        rows, columns, blocks = 1, 1, 1
    elif task.engine == "data_movement":
        cycles = 0.0
    else:
        cycles = columns * task.taps * getattr(machine, _CYCLES[task.engine])
        if task.engine in ("depthwise", "pooling"):
            cycles *= -(-width // machine.macs_per_cell)
    tiles_used = max(task.positions / (rows * columns), 1.0)
    read = task.input_elements / tiles_used / rows / blocks
    return Tiling(
        rows_of_pass=(rows,),
        blocks=blocks,
        cycles_per_row=cycles,
        fill_cycles=0.0,
        load_bytes=parameter_bytes / blocks,
        streamed_bytes=parameter_bytes / blocks if streamed else 0.0,
        read_bytes_per_row=read,
        store_bytes_per_row=task.output_elements / tiles_used / rows / blocks,
    )
