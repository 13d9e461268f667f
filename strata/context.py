"""What stands around an executed layer in its network: features of its place, not of the layer.

A compiler fetches a layer's weights while the layer before computes, keeps a tensor on the chip
as long as others leave room, and reads a network's input in the layout that the caller wrote it. A
cache has the weights of the last inference where the whole network fits in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from math import log2
from typing import TYPE_CHECKING

from strata.layer import OPERATIONS, tensor_bytes

if TYPE_CHECKING:
    from strata.execution import ExecutedLayer
    from strata.work import Work

SIZES = ("network_bytes", "network_footprint")  # of the network, alike in all of its layers
CONTEXT_FEATURES: tuple[str, ...] = (
    "previous_macs",
    "previous_bytes",
    "previous_kernel",
    "previous_operation",
    "chain_before",
    "following_macs",
    "following_bytes",
    "following_kernel",
    "following_operation",
    "chain_after",
    "reads_input",
    "writes_output",
    "readers",
    "input_age",
    "output_reach",
    "live_bytes",
    *SIZES,
)


_NOTHING = (0.0, 0.0, 0.0, 0.0)


def _neighbour(layer: "ExecutedLayer", work: "Work") -> tuple[float, ...]:
    """What a layer's neighbours see of it: MACs, bytes, the larger side of its window, its kind."""
    kernel = getattr(layer.root.parameters, "kernel", (1, 1))
    kind = 1 + OPERATIONS.index(layer.operation)
    return float(work.macs), float(work.bytes), float(max(kernel)), float(kind)


def _chains(readers: "Sequence[set[int]]") -> tuple[list[int], list[int]]:
    """How many layers before and after each one pass a single tensor on, each to the next alone."""
    linked = [read == {i + 1} for i, read in enumerate(readers)]
    before = [0] * len(linked)
    for i in range(1, len(linked)):
        before[i] = before[i - 1] + 1 if linked[i - 1] else 0
    after = [0] * len(linked)
    for i in reversed(range(len(linked) - 1)):
        after[i] = after[i + 1] + 1 if linked[i] else 0
    return before, after


def _half_octaves(size: float) -> float:
    """The power of the root of two nearest to a number of bytes, in bytes; 0 of none.

    All layers of a network have it, and trees would learn graphs by heart from an exact one.
    """
    return 2.0 ** (round(2 * log2(size)) / 2) if size > 0 else 0.0


def contexts(executed: "Sequence[ExecutedLayer]") -> list[list[float]]:
    """Values in the order of CONTEXT_FEATURES for each layer of a network, in its order.

    `previous_*` and `following_*` are the work, window and kind (its place in OPERATIONS from 1, 0
    for none) of the neighbours in the order of execution; `chain_*` count the layers in a row that
    read only the one before them and are read by the one after them alone;
    `reads_input` counts the tensors read that no executed layer makes, `readers` the layers that
    read what this one makes. `input_age` and `output_reach` count the layers between the maker of
    the oldest tensor read and this one, and from here to the last reader; `live_bytes` are the
    activations that must be kept somewhere while the layer runs, its own among them;
    `network_bytes` are what all layers together read and write, which is what comes between one
    use of a layer's weights and the next, `network_footprint` all weights and the most activations
    alive: whether a cache, or a chip, can keep them until then. Both are bytes in half octaves. A
    layer stands where its first part does, so it may stand before one that it reads: nothing
    between.
    """
    owner = {inner.name: i for i, layer in enumerate(executed) for inner in layer.layers}
    reads: list[dict[str, int]] = []  # per layer, the tensors it reads, in bytes
    readers: dict[str, list[int]] = defaultdict(list)
    for i, layer in enumerate(executed):
        reads.append({})
        for inner in layer.layers:
            for name, shape in zip(inner.inputs, inner.input_shapes, strict=True):
                if owner.get(name) != i and name not in reads[i]:
                    reads[i][name] = tensor_bytes(shape, inner)
                    readers[name].append(i)
    last = len(executed) - 1
    live = _live_bytes(executed, owner, reads, readers)
    works = [layer.work for layer in executed]
    seen = [_neighbour(layer, work) for layer, work in zip(executed, works, strict=True)]
    weights = sum(work.weight_bytes for work in works)
    moved = _half_octaves(sum(work.bytes for work in works))
    footprint = _half_octaves(weights + max(live, default=0))
    makes = [{i for inner in layer.layers for i in readers[inner.name]} for layer in executed]
    before, after = _chains(makes)
    rows = []
    for i, layer in enumerate(executed):
        oldest = min((owner.get(name, -1) for name in reads[i]), default=-1)
        rows.append(
            [
                *(seen[i - 1] if i > 0 else _NOTHING),
                before[i],
                *(seen[i + 1] if i < last else _NOTHING),
                after[i],
                sum(name not in owner for name in reads[i]),
                any(not readers[inner.name] for inner in layer.outputs),
                len(makes[i]),
                max(i - oldest, 0),
                max(max(makes[i], default=i) - i, 0),
                live[i],
                moved,
                footprint,
            ]
        )
    return rows


def _live_bytes(
    executed: "Sequence[ExecutedLayer]",
    owner: dict[str, int],
    reads: Sequence[dict[str, int]],
    readers: dict[str, list[int]],
) -> list[int]:
    """Bytes of activations alive while each layer runs; a network's outputs stay to its end."""
    changes = [0] * (len(executed) + 1)
    sizes = {name: size for read in reads for name, size in read.items()}
    for i, layer in enumerate(executed):
        for inner in layer.outputs:
            if not readers[inner.name]:
                changes[i] += tensor_bytes(inner.output_shape, inner)
    for name, size in sizes.items():
        maker = owner.get(name, 0)
        changes[min(maker, *readers[name])] += size
        changes[max(maker, *readers[name]) + 1] -= size
    return list(accumulate(changes))[:-1]
