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

PLACEMENT_FEATURES: tuple[str, ...] = (
    *OWN_FEATURES,
    *MEMORY_FEATURES,
    "producer_on_host",
    "earlier_on_host",
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
)


@dataclass(frozen=True, slots=True)
class Memory:
    """How an on-chip memory takes weights; what it does not take is fetched in every run.

    Layers are served the largest first, or in their order; one that does not fit is skipped and
    the next is tried. Weights are rounded up to `padding` filters and `channel_padding` channels,
    and each filter takes `bytes_per_filter` more (biases, scales); a depthwise filter has one
    channel, which no array pads, but its weights may lie `depthwise_bytes` apart. Constants that
    nothing is multiplied with over a window are stored as they are. The memory may consist of
    several `banks`, filled evenly: the weights of one tap of `padding` filters lie in one of them.
    `capacity_bytes` shrinks by what the network's largest working set takes beyond
    `activation_bytes`.
    """

    capacity_bytes: float
    activation_bytes: float
    padding: int
    largest_first: bool
    channel_padding: int = 1
    bytes_per_filter: int = 0
    banks: int = 1
    depthwise_bytes: int = 1

    def stored(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bytes that each layer stores and into how many pieces they are cut, (layers,) each.

        `rows` is (layers, len(PLACEMENT_FEATURES)); layers without weights store nothing.
        """
        columns = [PLACEMENT_FEATURES.index(name) for name in _STORED]
        weights, filters, channels, groups, height, width, macs = rows[:, columns].T
        filters, depth = np.maximum(filters, 1), np.maximum(channels / np.maximum(groups, 1), 1)
        blocks = np.ceil(filters / self.padding)
        padded = blocks * self.padding
        deep = np.ceil(depth / self.channel_padding) * self.channel_padding
        depthwise = (groups > 1) & (depth <= 1)
        wider = np.where(depthwise, self.depthwise_bytes, deep / depth)
        sizes = weights * (padded / filters) * wider + self.bytes_per_filter * padded
        sizes = np.where(macs > 0, sizes, weights)
        pieces = np.where(macs > 0, blocks * np.maximum(height * width, 1), 1.0)
        return np.where(weights > 0, sizes, 0.0), pieces

    def fetched(
        self, sizes: Sequence[float], pieces: Sequence[float], working_set_bytes: float
    ) -> list[bool]:
        """Whether each layer's weights (bytes, 0 for none) are fetched in every run."""
        free = self.capacity_bytes - max(working_set_bytes - self.activation_bytes, 0.0)
        order = range(len(sizes))
        if self.largest_first:
            order = sorted(order, key=lambda i: -sizes[i])  # type: ignore[assignment]
        outside = [False] * len(sizes)
        for i in order:
            if sizes[i] <= 0:
                continue
            room = self.banks * (free * pieces[i] // (self.banks * sizes[i]))
            outside[i] = room < pieces[i] if self.banks > 1 else sizes[i] > free
            if not outside[i]:
                free -= sizes[i]
        return outside


def placement_key(operation: str, placement: str) -> str:
    """The name of a tree; operation "*" stands for any."""
    return f"{operation}->{placement}"


def _padded(layer: ExecutedLayer, weight_bytes: int, padding: int) -> int:
    """Bytes of weights whose filters are rounded up to a multiple."""
    filters = max(geometry(layer.root.output_shape)[1], 1)
    return weight_bytes * (-(-filters // padding) * padding) // filters


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
        return [
            *features(layer).values(),
            *self._claims[layer.name],
            self._working_set,
            not self._on_host.isdisjoint(reads),
            bool(self._on_host),
        ]

    def stream(
        self,
        placed: Sequence[ExecutedLayer],
        rows: Sequence[Sequence[float]],
        memory: Memory,
    ) -> tuple[ExecutedLayer, ...]:
        """The layers with those streamed whose weights the memory does not take.

        `rows` are what `row` gave for each layer.
        """
        matrix = np.array(rows, dtype=np.float64).reshape(-1, len(PLACEMENT_FEATURES))
        sizes, pieces = memory.stored(matrix)
        held = [layer.placement != "host" for layer in placed]
        fetched = memory.fetched((sizes * held).tolist(), pieces.tolist(), self._working_set)
        return tuple(
            replace(layer, placement="streamed") if out else layer
            for layer, out in zip(placed, fetched, strict=True)
        )

    def add(self, layer: ExecutedLayer) -> None:
        """Take note of a layer that has been placed."""
        if layer.placement == "host":
            self._on_host.add(layer.name)


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
    return tuple(placed) if memory is None else surroundings.stream(placed, rows, memory)
