"""How a toolchain chose to run an executed layer: on the host, or with weights that do not stay.

An accelerator leaves to its host what it does not support, and perhaps all that follows; its
memory holds the weights of some layers, and those of others are fetched in every run. Both depend
on the rest of the network. A tree per operation and placement, on the layer's features and on
what the network asks for beside it, says which layers; each placement has layer models of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from strata.execution import FEATURES, PLACEMENTS, ExecutedLayer, features, geometry
from strata.forest import Forest, tree_value

# An array's memory holds filters in whole groups: what weights take is rounded up to one of these.
_PADDINGS = (1, 16, 64)

PLACEMENT_FEATURES: tuple[str, ...] = (
    *FEATURES,
    *(
        f"{name}_{padding}"
        for padding in _PADDINGS
        for name in (
            "weight_bytes",
            "total_weight_bytes",
            "in_order_weight_bytes",
            "by_size_weight_bytes",
        )
    ),
    "largest_working_set_bytes",
    "producer_on_host",
    "earlier_on_host",
)


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
        for padding in _PADDINGS:
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

    def add(self, layer: ExecutedLayer) -> None:
        """Take note of a layer that has been placed."""
        if layer.placement == "host":
            self._on_host.add(layer.name)


def place(
    executed: Sequence[ExecutedLayer], trees: Mapping[str, Forest]
) -> tuple[ExecutedLayer, ...]:
    """The layers with the placement that the trees predict; without trees, as they are.

    An operation without a tree of its own for a placement takes that of any operation.
    """
    if not trees:
        return tuple(executed)
    surroundings = Surroundings(executed)
    placed = []
    for layer in executed:
        row = surroundings.row(layer)
        best, chosen = 0.5, ""
        for placement in PLACEMENTS:
            tree = trees.get(placement_key(layer.operation, placement)) or trees.get(
                placement_key("*", placement)
            )
            if tree is not None and (value := tree_value(tree, row)) > best:
                best, chosen = value, placement
        placed.append(replace(layer, placement=chosen))
        surroundings.add(placed[-1])
    return tuple(placed)
