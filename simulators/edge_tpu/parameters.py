"""Parameter memory: how large a layer's parameters are on the device, and which stay there.

Filters are padded to whole blocks of the cells, channels to whole products of a cell; a block's
weights of one tap are the smallest piece, and a piece lies in one tile. The largest layers choose
first; one that does not fit is streamed in every run, and the next is tried. The sizes are those
that the Edge TPU compiler reports for published models, see docs/edge_tpu.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulators.edge_tpu.geometry import Task
from simulators.edge_tpu.hardware_model import EdgeTpu


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of one node: bytes when cached, bytes when streamed, and its equal pieces.

    `fixed` pieces are those of layers on one position: early compilers do not balance them.
    """

    cached_bytes: int = 0
    streamed_bytes: int = 0
    pieces: int = 0
    piece_bytes: int = 0
    fixed: bool = False


def parameters_of(task: Task, constants: int, machine: EdgeTpu) -> Parameters:
    """Sizes of a node's parameters; `constants` are elements that belong to no window."""
    if task.engine in ("convolution", "depthwise"):
        return _weights(task, machine)
    if constants and task.engine != "host":
        size = round_up(constants, machine.cells)
        return Parameters(size, size, 1, size)
    return Parameters()


def _weights(task: Task, machine: EdgeTpu) -> Parameters:
    cells = machine.cells
    # the compiler's sizes of layers on one position show no bytes for biases
    bias = machine.bias_bytes_per_filter * (task.has_bias and task.positions > 1)
    if task.engine == "depthwise":
        # one input channel per cell: nothing to pad
        blocks = -(-task.filters // cells)
        piece = cells * (machine.depthwise_bytes_per_tap * task.taps + bias)
        return Parameters(blocks * piece, blocks * piece, blocks, piece)
    filters = task.filters // task.groups
    depth = round_up(task.channels, machine.channel_multiple)
    blocks = -(-filters // cells)
    padded = machine.padded(filters)
    stored = round_up(filters, machine.cached_filter_multiple)
    cached = task.groups * stored * (task.taps * depth + bias)
    streamed = task.groups * padded * (task.taps * depth + bias)
    pieces = task.groups * blocks * task.taps
    piece = -(-task.groups * stored * task.taps * depth // pieces)
    return Parameters(cached, streamed, pieces, piece, task.positions == 1)


class ParameterMemory:
    """Free bytes of every tile's parameter memory, filled layer by layer."""

    def __init__(self, machine: EdgeTpu, reserved_bytes: float = 0) -> None:
        """`reserved_bytes` of all tiles together hold activations."""
        free = machine.tile_parameter_bytes - reserved_bytes / machine.tiles
        self.free = [max(int(free), 0)] * machine.tiles
        self.balanced = bool(machine.balanced_placement)

    @property
    def free_bytes(self) -> int:
        """Bytes left."""
        return sum(self.free)

    def place_all(self, layers: Sequence[Parameters]) -> list[bool]:
        """Whether each layer's parameters are cached; the largest layers choose first."""
        cached = [False] * len(layers)
        for i in sorted(range(len(layers)), key=lambda i: -layers[i].cached_bytes):
            cached[i] = self.place(layers[i])
        return cached

    def place(self, parameters: Parameters) -> bool:
        """Cache a layer's parameters if every piece fits; False leaves the memory as it was."""
        if not parameters.pieces:
            return True
        size = parameters.piece_bytes
        extra = parameters.cached_bytes - size * parameters.pieces  # biases, spread evenly
        share = -(-max(extra, 0) // len(self.free))
        free = [bytes_ - share for bytes_ in self.free]
        if parameters.fixed and not self.balanced:
            after = _crowded(free, size, parameters.pieces)
        elif sum(max(bytes_, 0) // size for bytes_ in free) >= parameters.pieces:
            after = _spread(free, size, parameters.pieces)
        else:
            return False
        if min(after) < 0:
            return False
        self.free = after
        return True


def _crowded(free: list[int], size: int, pieces: int) -> list[int]:
    """Free bytes after placing piece i into tile i, round and round; negative where it is full."""
    whole, rest = divmod(pieces, len(free))
    return [room - size * (whole + (i < rest)) for i, room in enumerate(free)]


def _spread(free: list[int], size: int, pieces: int) -> list[int]:
    """Free bytes after placing equal pieces, each into the emptiest tile."""
    count = len(free)
    # whole rounds first: every tile takes as many as it can without upsetting the balance
    rounds = pieces // count
    while rounds and any(bytes_ < rounds * size for bytes_ in free):
        rounds -= 1
    free = [bytes_ - rounds * size for bytes_ in free]
    for _ in range(pieces - rounds * count):
        emptiest = max(range(count), key=free.__getitem__)
        free[emptiest] -= size
    return free
