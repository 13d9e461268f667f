"""Seeded random graphs in which every pair of layers meets in every setting.

Random networks after published ones (`graph_gen.cells`) keep to their habits: a concatenation
stands behind normalised convolutions, its operands in the order they were made. A toolchain's
rules do not know habits, and trees that learn from habits alone mistake them for the rules. Here
each layer reads whatever is there: the last tensor mostly, else an older one, which then has
several readers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from graph_gen.cell_parts import ACTIVATION_SHARES, Network, Style
from graph_gen.description import Setting, check_settings
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

SETTINGS: dict[str, Setting] = {
    "seed": Setting(0, 2**63 - 1),
    "layers": Setting(4, 64, 24),
}
_STYLE = Style(activation="relu", activation_noise=0.6, normalise=0.0, padding="same", squeeze=0.0)
_LATEST_SHARE = 0.78
_RECENT = 6
_MOST_CHANNELS = 1024
_MOST_ELEMENTS = 2_000_000
_MOST_WEIGHTS = 4_000_000


@dataclass(slots=True)
class _Tangle:
    """The network so far and its feature maps, the latest last."""

    net: Network
    maps: list[str] = field(default_factory=list)

    def source(self) -> str:
        """The latest tensor mostly, else one of those shortly before."""
        if self.net.chance(_LATEST_SHARE):
            return self.maps[-1]
        return self.net.pick(self.maps[-_RECENT:])

    def like(self, tensor: str, same_channels: bool) -> list[str]:
        """Other maps of the same size, with as many channels if that is asked for."""
        size, channels = self.net.size(tensor), self.net.channels(tensor)
        return [
            other
            for other in self.maps
            if other != tensor
            and self.net.size(other) == size
            and (not same_channels or self.net.channels(other) == channels)
        ]

    def beside(self, tensor: str) -> str:
        """A new map of a tensor's shape, of another map of its size if there is one."""
        net = self.net
        source = net.pick(self.like(tensor, same_channels=False) or [tensor])
        filters, kernel = net.channels(tensor), net.pick((1, 3))
        if net.channels(source) * filters * 9 > _MOST_WEIGHTS:
            kernel = 1
        return net.conv(source, filters, kernel, linear=net.chance(0.5))


def _filters(tangle: _Tangle, tensor: str) -> int:
    """As many as the input has (so that sums find operands), or another number."""
    net, channels = tangle.net, tangle.net.channels(tensor)
    if net.chance(0.4):
        return channels
    height, width = net.size(tensor)
    wish = channels * net.log_uniform(0.4, 3.0)
    return net.count(min(wish, _MOST_CHANNELS, _MOST_ELEMENTS / (height * width)))


def _convolution(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    kernel = net.pick((1, 3, 5, 7), (0.45, 0.4, 0.1, 0.05))
    stride = net.pick((1, 2), (0.85, 0.15))
    filters, channels = _filters(tangle, tensor), net.channels(tensor)
    options = {}
    if net.chance(0.05) and channels % 4 == 0 and filters % 4 == 0:
        options["groups"] = net.pick((2, 4))
    if kernel > 1 and channels * filters * kernel**2 > _MOST_WEIGHTS:
        kernel = 1
    return net.conv(tensor, filters, kernel, stride, linear=True, valid=net.chance(0.1), **options)


def _depthwise(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    kernel = net.pick((3, 5, 7), (0.7, 0.25, 0.05))
    return net.depthwise(tensor, kernel, net.pick((1, 2), (0.85, 0.15)), linear=True)


def _normalise(tangle: _Tangle) -> str:
    return tangle.net.add(op.BatchNormalization(), tangle.source())


def _activate(tangle: _Tangle) -> str:
    return tangle.net.activate(tangle.source())


def _pool(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    kind = net.pick(("max", "average"), (0.65, 0.35))
    kernel = net.pick((2, 3, 5, 7), (0.4, 0.45, 0.1, 0.05))
    padding = net.pick(("same", "valid"), (0.65, 0.35))
    return net.pool(tensor, kind, kernel, net.pick((1, 2), (0.65, 0.35)), padding)


def _sum(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    others = tangle.like(tensor, same_channels=True)
    if not others or net.chance(0.3):
        others = [tangle.beside(tensor)]
    return net.join(tensor, net.pick(others), net.pick(("add", "multiply"), (0.85, 0.15)))


def _scale(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    shape = net.pick(((1, net.channels(tensor), 1, 1), (1, 1, 1, 1)))
    return net.add(op.Elementwise(net.pick(("multiply", "add")), shape), tensor)


def _concat(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    others = tangle.like(tensor, same_channels=False) or [tangle.beside(tensor)]
    parts = [tensor, *net.generator.permutation(others)[: net.whole(1, 3)].tolist()]
    if sum(map(net.channels, parts)) > 2 * _MOST_CHANNELS:
        parts = parts[:2]
    return net.add(op.Concat(), *net.generator.permutation(parts).tolist())


def _frame(tangle: _Tangle) -> str:
    return tangle.net.frame(tangle.source(), *tangle.net.pick(((0, 1), (1, 1))))


def _enlarge(tangle: _Tangle) -> str:
    net, tensor = tangle.net, tangle.source()
    height, width = net.size(tensor)
    if 4 * height * width * net.channels(tensor) > _MOST_ELEMENTS:
        return _activate(tangle)
    kind = net.pick(("nearest", "linear"))
    return net.add(op.Resize(kind, (2 * height, 2 * width)), tensor)  # type: ignore[arg-type]


# Poolings and sums oftener than networks have them: what follows them is decided by them.
_STEPS: dict[Callable[[_Tangle], str], float] = {
    _convolution: 0.27,
    _depthwise: 0.08,
    _normalise: 0.10,
    _activate: 0.15,
    _pool: 0.12,
    _sum: 0.14,
    _scale: 0.01,
    _concat: 0.09,
    _frame: 0.02,
    _enlarge: 0.02,
}


def build(settings: Mapping[str, int | float | str]) -> Graph:
    """The graph of one row of SETTINGS, the same for the same values in every process.

    What nobody reads goes on into a global pooling. SchemaError for settings out of range.
    """
    row = check_settings("benchmark 'tangles'", SETTINGS, settings)
    seed = int(row["seed"])
    generator = np.random.default_rng([seed, 3])
    net = Network(GraphBuilder(f"tangles_{seed}"), generator, _STYLE, 1.0)
    net.style = Style(
        net.pick(tuple(ACTIVATION_SHARES), tuple(ACTIVATION_SHARES.values())), 0.6, 0.0, "same", 0.0
    )
    height = round(net.log_uniform(3, 160))
    width = height if net.chance(0.7) else round(height * net.log_uniform(0.5, 2.0))
    channels = net.count(net.log_uniform(8, min(512.0, _MOST_ELEMENTS / (height * width) / 2)))
    source = net.builder.input(1, min(channels, 8), height, width)
    tangle = _Tangle(net, [net.conv(source, channels, 1, linear=True)])
    steps, shares = tuple(_STEPS), tuple(_STEPS.values())
    for _ in range(int(row["layers"])):
        tangle.maps.append(net.pick(steps, shares)(tangle))
    read = {name for layer in net.builder.build().layers for name in layer.inputs}
    for tensor in [name for name in tangle.maps if name not in read]:
        net.add(op.GlobalPooling("average"), tensor)
    return net.builder.build()
