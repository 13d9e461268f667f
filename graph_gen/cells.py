"""Seeded random networks whose layers stand as they do in published ones.

Layers cost something else inside a network than alone: other layouts, other cache contents,
strides moved by the toolchain. Stem, stages of blocks, head; no published network is copied.
"""

from collections.abc import Callable, Mapping
from math import exp, log, sqrt

import numpy as np

from graph_gen.cell_blocks import BLOCK_SHARES, Block
from graph_gen.cell_parts import ACTIVATION_SHARES, Network, Style
from graph_gen.description import Setting, check_settings
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.graph import Graph

SETTINGS: dict[str, Setting] = {
    "seed": Setting(0, 2**63 - 1),
    "size": Setting(0, 640, 0),  # input resolution in pixels; 0: drawn from the seed
    "megamacs": Setting(20, 4000, 1500),  # most multiply-accumulates, in millions
    "stages": Setting(0, 6, 0),  # most stages after the stem; 0: as drawn from the seed
}
_SMALLEST_SIZE, _LARGEST_SIZE = 32, 512
_MOST_WEIGHTS = 40_000_000
_MOST_ELEMENTS = 16 * 1024 * 1024
_LEAST_MACS = 250e6
_FIRST_WIDTH = 2.5
_STRUCTURES = 6
_CUTS = 8


def _style(net: Network) -> Style:
    return Style(
        activation=net.pick(tuple(ACTIVATION_SHARES), tuple(ACTIVATION_SHARES.values())),
        activation_noise=net.pick((0.0, 0.08, 0.5), (0.55, 0.35, 0.1)),
        normalise=net.pick((1.0, 0.95, 0.0), (0.55, 0.3, 0.15)),
        padding=net.pick(("same", "explicit", "valid"), (0.45, 0.4, 0.15)),
        squeeze=net.pick((0.0, 0.3, 1.0), (0.55, 0.3, 0.15)),
    )


def _input(net: Network, channels: int, height: int, width: int) -> str:
    """Channels first, or last and transposed, as converters leave it; sometimes rescaled."""
    if net.chance(0.3):
        tensor = net.builder.input(1, height, width, channels)
        tensor = net.add(op.Transpose((0, 3, 1, 2)), tensor)
    else:
        tensor = net.builder.input(1, channels, height, width)
    if net.chance(0.1):
        tensor = net.add(op.Elementwise("multiply", (1, 1, 1, 1)), tensor)
        tensor = net.add(op.Elementwise("subtract", (1, channels, 1, 1)), tensor)
    return tensor


def _stem(net: Network, size: int) -> str:
    other = round(size * net.pick((0.5, 0.75, 1.5))) if net.chance(0.1) else size
    channels = net.pick((3, 1, 4), (0.92, 0.06, 0.02))
    tensor = _input(net, channels, size, other)
    filters = net.count(net.log_uniform(16, 64) * min(net.width, 1.0))
    if net.chance(0.05):
        return net.conv(tensor, filters, 4, 4, valid=True)
    stride = 1 if size <= 64 and net.chance(0.5) else 2
    kernel = net.pick((3, 5, 7, 11), (0.68, 0.1, 0.2, 0.02))
    valid = net.style.padding == "valid"
    if stride == 2 and net.chance(0.2):
        tensor = net.frame(tensor, *net.pick(((0, 1), (kernel // 2, kernel // 2))))
        valid = True
    tensor = net.conv(tensor, filters, kernel, stride, valid=valid)
    if net.chance(0.2):
        tensor = net.conv(tensor, net.count(filters * 1.5), 3)
    if size >= 96 and net.chance(0.45):
        kernel, padding = net.pick(((3, "same"), (3, "valid"), (2, "valid")))
        if padding == "valid" and net.chance(0.4):
            tensor = net.frame(tensor, 1, 1)
        tensor = net.pool(tensor, "max", kernel, 2, padding)
    return tensor


def _blocks(net: Network) -> list[Block]:
    """The one to three kinds of block one network is made of."""
    kinds, shares = tuple(BLOCK_SHARES), tuple(BLOCK_SHARES.values())
    return [net.pick(kinds, shares) for _ in range(net.whole(1, 3))]


def _stages(net: Network, tensor: str, most: int) -> str:
    blocks = _blocks(net)
    filters = max(net.channels(tensor) * net.log_uniform(0.75, 2.5) * max(net.width, 1.0), 8.0)
    drawn = net.whole(3, 6)
    for stage in range(min(drawn, most or drawn)):
        stride = 2 if (stage or net.chance(0.3)) and min(net.size(tensor)) >= 4 else 1
        if stride == 2:
            net.skips.append(tensor)
            if net.chance(0.2):
                kind = net.pick(("max", "average"), (0.7, 0.3))
                kernel, padding = net.pick(((2, "valid"), (3, "same"), (3, "valid")))
                tensor, stride = net.pool(tensor, kind, kernel, 2, padding), 1
        wish = net.count(filters)
        for place in range(net.whole(1, 3)):
            tensor = net.pick(blocks)(net, tensor, wish, stride if place == 0 else 1)
        filters = min(filters * net.log_uniform(1.2, 2.1), 1024 * net.width)
    return tensor


def _classes(net: Network) -> int:
    return net.pick((1000, 100, 10, net.whole(2, 2000)), (0.5, 0.1, 0.1, 0.3))


def _finish(net: Network, tensor: str) -> str:
    return net.add(op.Softmax(1), tensor) if net.chance(0.6) else tensor


def _flatten(net: Network, tensor: str) -> str:
    """All elements in a row; networks from a channels-last framework turn the axes first."""
    if net.chance(0.4):
        tensor = net.add(op.Transpose((0, 2, 3, 1)), tensor)
    return net.add(op.Flatten(), tensor)


def _pooled_head(net: Network, tensor: str) -> None:
    if net.chance(0.4):
        tensor = net.conv(tensor, net.count(net.channels(tensor) * net.pick((1.5, 2, 4))), 1)
    kind = net.pick(("average", "max"), (0.88, 0.12))
    tensor = net.add(op.GlobalPooling(kind, True), tensor)  # type: ignore[arg-type]
    if net.chance(0.15):
        _finish(net, net.builder.convolution(tensor, _classes(net), 1))
        return
    tensor = _flatten(net, tensor)
    if net.chance(0.35):
        tensor = net.builder.dense(tensor, net.count(net.log_uniform(64, 2048)), net.kind())
    _finish(net, net.builder.dense(tensor, _classes(net)))


def _flat_head(net: Network, tensor: str) -> None:
    while min(net.size(tensor)) > 7:
        tensor = net.pool(tensor, "max", 2, 2)
    tensor = _flatten(net, tensor)
    most = min(4096, 16_000_000 // net.channels(tensor))
    for _ in range(net.whole(1, 2)):
        units = net.count(net.log_uniform(256, max(most, 257)))
        tensor = net.builder.dense(tensor, units, net.kind())
    _finish(net, net.builder.dense(tensor, _classes(net)))


def _conv_head(net: Network, tensor: str) -> None:
    tensor = net.conv(tensor, net.count(net.channels(tensor)), 3)
    tensor = net.builder.convolution(tensor, min(_classes(net), 255), 1)
    if net.chance(0.4):
        tensor = net.add(op.GlobalPooling("average"), tensor)
    if net.chance(0.3):
        _finish(net, tensor)


def _enlarge(net: Network, tensor: str, size: op.Pair, filters: int) -> str:
    doubled = tuple(2 * side for side in net.size(tensor)) == size
    if doubled and net.chance(0.4):
        kernel, side = net.pick(((2, 0), (4, 1)))
        padding = (side, side, side, side)
        grown = op.TransposedConvolution(filters, (kernel, kernel), (2, 2), padding=padding)
        return net.activate(net.add(grown, tensor))
    kind = net.pick(("nearest", "linear"), (0.6, 0.4))
    return net.add(op.Resize(kind, size), net.conv(tensor, filters, 1))  # type: ignore[arg-type]


def _segmentation_head(net: Network, tensor: str) -> None:
    for skip in net.skips[: -net.whole(2, 4) : -1]:
        filters = net.count(max(net.channels(skip) * 0.75, 8))
        tensor = _enlarge(net, tensor, net.size(skip), filters)
        tensor = net.conv(net.add(op.Concat(), tensor, skip), filters, 3)
        if net.chance(0.3):  # a prediction at every scale
            net.builder.convolution(tensor, net.whole(4, 90), 1)
    tensor = net.builder.convolution(tensor, net.whole(2, 24), 1)
    if net.chance(0.5):
        tensor = net.add(op.Softmax(1), tensor)
    height, width = net.size(tensor)
    if height * width < 20_000 and net.chance(0.3):
        net.add(op.Resize("linear", (2 * height, 2 * width)), tensor)


def _recurrent_head(net: Network, tensor: str) -> None:
    channels, (height, width) = net.channels(tensor), net.size(tensor)
    flat = net.add(op.Reshape((1, channels, height * width)), tensor)
    steps = net.add(op.Transpose((0, 2, 1)), flat)
    hidden, directions = net.whole(4, 32) * 8, net.pick((1, 2))
    lstm = net.add(op.Lstm(hidden, directions, net.chance(0.5)), steps)  # type: ignore[arg-type]
    net.builder.dense(lstm, _classes(net))


_HEAD_SHARES: dict[Callable[[Network, str], None], float] = {
    _pooled_head: 0.55,
    _flat_head: 0.16,
    _conv_head: 0.10,
    _segmentation_head: 0.17,
    _recurrent_head: 0.02,
}


def _draw(seed: int, structure: int, size: int, stages: int, width: float) -> Graph:
    generator = np.random.default_rng([seed, 1, structure])
    blank = Style("relu", 0.0, 1.0, "same", 0.0)
    net = Network(GraphBuilder(f"cells_{seed}"), generator, blank, width)
    net.style = _style(net)
    drawn = round(net.log_uniform(_SMALLEST_SIZE, _LARGEST_SIZE))
    tensor = _stages(net, _stem(net, size or drawn), stages)
    net.pick(tuple(_HEAD_SHARES), tuple(_HEAD_SHARES.values()))(net, tensor)
    return net.builder.build()


def _budget(seed: int, most: float) -> float:
    """MACs to aim at, log-uniform: the mean is far below the most."""
    uniform = np.random.default_rng([seed, 2]).random()
    return exp(log(_LEAST_MACS) + uniform * (log(max(most, _LEAST_MACS)) - log(_LEAST_MACS)))


def _excess(graph: Graph, budget: float) -> float:
    """By what factor the network is too large; at most 1 if it is not."""
    weights = graph.weight_elements
    elements = max(int(np.prod(layer.output_shape)) for layer in graph.layers)
    return max(graph.work.macs / budget, weights / _MOST_WEIGHTS, elements / _MOST_ELEMENTS)


def _cut(seed: int, structure: int, size: int, stages: int, budget: float) -> Graph | None:
    """A network within its limits, channels cut as far as needed; None if that is not enough."""
    width = _FIRST_WIDTH
    for _ in range(_CUTS):
        graph = _draw(seed, structure, size, stages, width)
        excess = _excess(graph, budget)
        if excess <= 1:
            return graph
        width *= min(0.95 / sqrt(excess), 0.9)
    return None


def build(settings: Mapping[str, int | float | str]) -> Graph:
    """The network of one row of SETTINGS, the same for the same values in every process.

    A network above its MACs, weights (40 M) or tensor size (16 M elements) is drawn again with
    fewer channels, in the end with another structure. SchemaError for
    settings out of range or too few megamacs for the size.
    """
    row = check_settings("benchmark 'cells'", SETTINGS, settings)
    seed, size, most = int(row["seed"]), int(row["size"]), int(row["megamacs"])
    if 0 < size < _SMALLEST_SIZE:
        raise SchemaError(
            f"benchmark 'cells': setting 'size' is {size}; legal: 0 or {_SMALLEST_SIZE} to "
            f"{SETTINGS['size'].maximum}"
        )
    budget = min(_budget(seed, most * 1e6), most * 1e6)
    for structure in range(_STRUCTURES):
        graph = _cut(seed, structure, size, int(row["stages"]), budget)
        if graph is not None:
            return graph
    raise SchemaError(
        f"benchmark 'cells': settings seed={seed}, size={size}, megamacs={most}: no network so "
        f"small; legal: a smaller size or more megamacs (up to {SETTINGS['megamacs'].maximum})"
    )
