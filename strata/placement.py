"""How a toolchain chose to run an executed layer: on the host, or with weights that do not stay.

An accelerator leaves to its host what it does not support, and perhaps all that follows; its
memory holds the weights of some layers, and those of others are fetched in every run. Both depend
on the rest of the network. A tree per operation and placement, on the layer's features and on
what the network asks for beside it, says which layers; each placement has layer models of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from strata.execution import OWN_FEATURES, PLACEMENTS, ExecutedLayer, features, geometry
from strata.forest import Forest, tree_value

# An array's memory holds filters in whole groups: what weights take is rounded up to one of these.
PADDINGS = (1, 16, 64)

_CLAIMS = (
    "weight_bytes",
    "total_weight_bytes",
    "in_order_weight_bytes",
    "by_size_weight_bytes",
)

MEMORY_FEATURES: tuple[str, ...] = (
    *(f"{name}_{padding}" for padding in PADDINGS for name in _CLAIMS),
    "largest_working_set_bytes",
)

# Resizings may be supported by whole factors only, up to some: no threshold on sizes asks that.
SCALE_FEATURES = ("height_scale", "width_scale", "scale_remainder")

PLACEMENT_FEATURES: tuple[str, ...] = (
    *OWN_FEATURES,
    *MEMORY_FEATURES,
    "producer_on_host",
    "earlier_on_host",
    *SCALE_FEATURES,
)


# The columns of a placement row that say what a layer stores.
_STORED = (
    "weight_bytes_1",
    "filters",
    "channels",
    "groups",
    "kernel_height",
    "kernel_width",
    "macs",
    "batch",
    "output_height",
    "output_width",
)
# And those that say what it needs beside its weights while it runs.
_MOVED = ("bytes", "weight_bytes_1", "input_elements", "output_elements", "macs")


def _element_bytes(rows: np.ndarray) -> float:
    """Bytes of an element, of most layers: absorbed layers read tensors that rows do not count."""
    moved, weights, read, written, _ = rows[:, [PLACEMENT_FEATURES.index(x) for x in _MOVED]].T
    tensors = (moved - weights) / np.maximum(read + written, 1)
    known = tensors[tensors > 0]
    return float(np.median(known)) if known.size else 1.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What layers store, (layers,) each: `pieces` of `piece_bytes` that lie in one bank each, and
    `spread_bytes` beside them that lie in all banks alike. No pieces without weights.
    """

    pieces: np.ndarray
    piece_bytes: np.ndarray
    spread_bytes: np.ndarray

    @property
    def total_bytes(self) -> np.ndarray:
        """All that a layer stores, (layers,)."""
        return self.pieces * self.piece_bytes + self.spread_bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """How an on-chip memory takes weights; what it does not take is fetched in every run.

    Layers are served the largest first, or in their order; one that does not fit is skipped and
    the next is tried. Weights are rounded up to `padding` filters (of each group of channels) and
    `channel_padding` channels, and each filter of a layer with biases takes `bytes_per_filter` for
    its own: in every layer, or with `map_biases` where there is more than one position. A depthwise
    filter has one channel, which no array pads, but its weights may lie `depthwise_bytes` apart.
    Constants that nothing is multiplied with over a window lie in one piece.

    The memory may consist of several `banks` of one size. The weights of one tap of `padding`
    filters lie in one of them, those of `padding` depthwise filters with their biases too; other
    biases are spread evenly. All banks get the same number of a layer's pieces as long as each has
    room, and the emptiest get what is left, one after the other.

    `capacity_bytes` shrinks by what the network's largest working set takes beyond
    `activation_bytes`: a layer's inputs and outputs or, where layers that multiply write `in_place`
    over what they have read, the larger of the two.
    """

    capacity_bytes: float
    activation_bytes: float
    padding: int
    largest_first: bool
    channel_padding: int = 1
    bytes_per_filter: int = 0
    banks: int = 1
    depthwise_bytes: int = 1
    map_biases: bool = False
    in_place: bool = False

    def stored(self, rows: np.ndarray) -> Stored:
        """What layers store, whatever the capacity; `rows` is (layers, len(PLACEMENT_FEATURES))."""
        columns = [PLACEMENT_FEATURES.index(name) for name in _STORED]
        weights, filters, channels, groups, height, width, macs, *out = rows[:, columns].T
        filters, groups, taps, positions = (
            np.maximum(x, 1) for x in (filters, groups, height * width, np.prod(out, axis=0))
        )
        # a recurrent layer multiplies more at a position than its input's channels
        depth = np.maximum(channels / groups, macs / (positions * filters * taps))
        depthwise = (groups > 1) & (depth <= 1)
        # depthwise filters fill blocks together, those of other groups have blocks of their own
        apart = np.where(depthwise, 1, groups)
        blocks = apart * np.ceil(filters / apart / self.padding)
        deep = np.ceil(depth / self.channel_padding) * self.channel_padding
        element_bytes = _element_bytes(rows)
        deep_bytes = np.where(
            depthwise, max(self.depthwise_bytes, element_bytes), deep * element_bytes
        )
        # what a layer has beside the weights of its products are its biases
        biased = weights > taps * depth * filters * element_bytes
        if self.map_biases:
            biased &= positions > 1
        tap_bytes = self.padding * deep_bytes
        bias_bytes = self.padding * self.bytes_per_filter * biased
        multiplies, held = macs > 0, weights > 0
        pieces = np.where(multiplies, blocks * np.where(depthwise, 1, taps), 1)
        piece = np.where(depthwise, taps * tap_bytes + bias_bytes, tap_bytes)
        plain = np.ceil(weights / self.padding) * self.padding
        return Stored(
            np.where(held, pieces, 0),
            np.where(multiplies, piece, plain),
            np.where(held & multiplies & ~depthwise, blocks * bias_bytes, 0.0),
        )

    def working_set_bytes(self, rows: np.ndarray) -> float:
        """The most that a layer needs beside its weights; rows as in `stored`."""
        columns = [PLACEMENT_FEATURES.index(name) for name in _MOVED]
        moved, weights, read, written, macs = rows[:, columns].T
        tensors = moved - weights
        if self.in_place:
            larger = np.maximum(read, written) / np.maximum(read + written, 1)
            tensors = np.where(macs > 0, tensors * larger, tensors)
        return float(tensors.max(initial=0.0))

    def fetched(self, rows: np.ndarray) -> np.ndarray:
        """Whether each layer's weights are fetched in every run, (layers,); rows as in `stored`.

        Of the layers that run on the device, in their order.
        """
        beyond = max(self.working_set_bytes(rows) - self.activation_bytes, 0.0)
        free = np.array([self.capacity_bytes - beyond])
        return ~taken(self.stored(rows), free, self.banks, self.largest_first)[0]


def taken(stored: Stored, capacities: np.ndarray, banks: int, largest_first: bool) -> np.ndarray:
    """Which layers memories of given bytes keep, (memories, layers). See `Memory`."""
    totals = stored.total_bytes
    order = np.argsort(-totals, kind="stable") if largest_first else np.arange(len(totals))
    free = np.repeat(np.maximum(capacities, 0.0)[:, None] / banks, banks, axis=1)
    kept = np.ones((len(capacities), len(totals)), dtype=bool)
    for i in order:
        if stored.pieces[i] <= 0:
            continue
        shared = free - stored.spread_bytes[i] / banks
        after = _dealt(shared, float(stored.piece_bytes[i]), int(stored.pieces[i]))
        kept[:, i] = after.min(axis=1) >= 0
        free = np.where(kept[:, i, None], after, free)
    return kept


def _dealt(free: np.ndarray, piece_bytes: float, pieces: int) -> np.ndarray:
    """Free bytes, (memories, banks), after equal pieces are laid; below 0 where they do not fit."""
    banks = free.shape[1]
    room = np.maximum(free, 0.0) // piece_bytes
    fits = room.sum(axis=1) >= pieces
    rounds = np.where(fits, np.minimum(room.min(axis=1), pieces // banks), 0)
    after = np.where(fits[:, None], free - rounds[:, None] * piece_bytes, -1.0)
    left = np.where(fits, pieces - rounds * banks, 0)
    while left.any():
        # banks are alike: in order, all within a piece of the emptiest get one before it a second
        after = np.sort(after)[:, ::-1]
        served = (after > after[:, :1] - piece_bytes) & (np.arange(banks) < left[:, None])
        after = after - served * piece_bytes
        left = left - served.sum(axis=1)
    return after


def placement_key(operation: str, placement: str) -> str:
    """The name of a tree; operation "*" stands for any."""
    return f"{operation}->{placement}"


def _padded(layer: ExecutedLayer, weight_bytes: int, padding: int) -> int:
    """Bytes of weights whose filters are rounded up to a multiple."""
    filters = max(geometry(layer.root.output_shape)[1], 1)
    return weight_bytes * (-(-filters // padding) * padding) // filters


def _scales(own: Mapping[str, float]) -> tuple[float, float, float]:
    """Values of SCALE_FEATURES: by what height and width grow, and what whole factors leave."""
    height, width = max(own["height"], 1), max(own["width"], 1)
    high, wide = own["output_height"], own["output_width"]
    return high / height, wide / width, high % height + wide % width


class Surroundings:
    """What a network asks for beside each layer. Layers are placed one by one, in their order.

    A memory is filled in the layers' order, or the largest first: the weights of a layer and of
    all that were served before it decide under either rule whether it still fits. Each is given
    for filters in ones, in groups of 16 and of 64.
    """

    def __init__(self, executed: Sequence[ExecutedLayer]) -> None:
        self._owner = {inner.name: layer.name for layer in executed for inner in layer.layers}
        works = [layer.work for layer in executed]
        self._claims: dict[str, list[int]] = {layer.name: [] for layer in executed}
        for padding in PADDINGS:
            sizes = [
                _padded(layer, work.weight_bytes, padding)
                for layer, work in zip(executed, works, strict=True)
            ]
            total, in_order = sum(sizes), list(accumulate(sizes))
            by_size, claimed = [0] * len(sizes), 0
            for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):  # equals stay in order
                claimed += sizes[i]
                by_size[i] = claimed
            for i, layer in enumerate(executed):
                self._claims[layer.name] += [sizes[i], total, in_order[i], by_size[i]]
        self._working_set = max((work.input_bytes + work.output_bytes for work in works), default=0)
        self._on_host: set[str] = set()

    def row(self, layer: ExecutedLayer) -> list[float]:
        """Values in the order of PLACEMENT_FEATURES for the next layer to be placed."""
        reads = {self._owner.get(name) for inner in layer.layers for name in inner.inputs}
        own = features(layer)
        return [
            *own.values(),
            *self._claims[layer.name],
            self._working_set,
            not self._on_host.isdisjoint(reads),
            bool(self._on_host),
            *_scales(own),
        ]

    def add(self, layer: ExecutedLayer) -> None:
        """Take note of a layer that has been placed."""
        if layer.placement == "host":
            self._on_host.add(layer.name)


def placed_rows(placed: Sequence[ExecutedLayer]) -> list[list[float]]:
    """Rows of PLACEMENT_FEATURES of layers that are placed, in their order."""
    surroundings, rows = Surroundings(placed), []
    for layer in placed:
        rows.append(surroundings.row(layer))
        surroundings.add(layer)
    return rows


def stream(
    placed: Sequence[ExecutedLayer], rows: Sequence[Sequence[float]], memory: Memory
) -> tuple[ExecutedLayer, ...]:
    """The layers with those streamed whose weights the memory does not take.

    `rows` are those of `placed_rows`.
    """
    held = [i for i, layer in enumerate(placed) if layer.placement != "host"]
    matrix = np.array([rows[i] for i in held], dtype=np.float64)
    fetched = memory.fetched(matrix.reshape(-1, len(PLACEMENT_FEATURES)))
    found = list(placed)
    for i, out in zip(held, fetched, strict=True):
        if out:
            found[i] = replace(placed[i], placement="streamed")
    return tuple(found)


def place(
    executed: Sequence[ExecutedLayer], trees: Mapping[str, Forest], memory: Memory | None = None
) -> tuple[ExecutedLayer, ...]:
    """The layers with the placement that trees and memory predict; without either, as they are.

    An operation without a tree of its own for a placement takes that of any operation. With a
    memory's rule, it says what is streamed.
    """
    if not trees:
        return tuple(executed)
    surroundings = Surroundings(executed)
    ruled = PLACEMENTS if memory is None else tuple(p for p in PLACEMENTS if p != "streamed")
    placed: list[ExecutedLayer] = []
    rows: list[list[float]] = []
    for layer in executed:
        row = surroundings.row(layer)
        rows.append(row)
        best, chosen = 0.5, ""
        for placement in ruled:
            tree = trees.get(placement_key(layer.operation, placement)) or trees.get(
                placement_key("*", placement)
            )
            if tree is not None and (value := tree_value(tree, row)) > best:
                best, chosen = value, placement
        placed.append(replace(layer, placement=chosen))
        surroundings.add(placed[-1])
    return tuple(placed) if memory is None else stream(placed, rows, memory)
