"""The short way to write a graph by hand: each method adds a layer and returns its name."""

from collections import Counter
from collections.abc import Sequence

from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph, make_graph
from strata.layer import Layer, make_layer


def pair(value: int | Sequence[int]) -> op.Pair:
    """One number for both axes, or (height, width)."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


def same_padding(
    size: op.Pair, kernel: op.Pair, stride: op.Pair, dilation: op.Pair = (1, 1)
) -> op.Padding:
    """TensorFlow's SAME: output = ceil(size / stride), the odd element at bottom and right."""
    totals = [
        max((-(-s // t) - 1) * t + d * (k - 1) + 1 - s, 0)
        for s, k, t, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    before = [total // 2 for total in totals]
    return before[0], before[1], totals[0] - before[0], totals[1] - before[1]


class GraphBuilder:
    """Collects layers; `build` checks and freezes them.

    `padding` is an int (all sides), (top, left, bottom, right), "same" or "valid".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._layers: dict[str, Layer] = {}
        self._counts: Counter[str] = Counter()

    def shape(self, name: str) -> op.Shape:
        """Output shape of a layer added before."""
        return self._layers[name].output_shape

    def add(
        self, parameters: op.Parameters, *inputs: str, name: str | None = None, bits: int = 32
    ) -> str:
        """Add a layer; without a name it gets its record's name and a number."""
        for producer in inputs:
            if producer not in self._layers:
                raise SchemaError(f"graph '{self.name}': '{producer}' is no layer added so far")
        if name is None:
            kind = type(parameters).__name__.lower()
            self._counts[kind] += 1
            name = f"{kind}_{self._counts[kind]}"
        if name in self._layers:
            raise SchemaError(f"graph '{self.name}': two layers are named '{name}'")
        shapes = tuple(self.shape(producer) for producer in inputs)
        self._layers[name] = make_layer(name, parameters, inputs, shapes, bits, bits)
        return name

    def input(self, *shape: int, name: str | None = None) -> str:
        """A network input."""
        return self.add(op.Input(tuple(shape)), name=name)

    def _padding(
        self,
        source: str,
        padding: int | str | Sequence[int],
        kernel: op.Pair,
        stride: op.Pair,
        dilation: op.Pair = (1, 1),
    ) -> op.Padding:
        if padding == "same":
            height, width = self.shape(source)[2:]
            return same_padding((height, width), kernel, stride, dilation)
        if padding == "valid":
            return (0, 0, 0, 0)
        if isinstance(padding, int):
            return (padding, padding, padding, padding)
        if isinstance(padding, str) or len(padding) != 4:
            raise SchemaError(
                f"padding is {padding!r}; legal: a number, four numbers, 'same', 'valid'"
            )
        top, left, bottom, right = padding
        return top, left, bottom, right

    def convolution(
        self,
        source: str,
        filters: int,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        normalise: bool = False,
        name: str | None = None,
    ) -> str:
        """Convolution, then batch normalisation and activation layers where asked for."""
        k, s, d = pair(kernel), pair(stride), pair(dilation)
        sides = self._padding(source, padding, k, s, d)
        layer = self.add(op.Convolution(filters, k, s, d, sides, groups, bias), source, name=name)
        return self._tail(layer, activation, normalise)

    def depthwise(
        self, source: str, kernel: int | Sequence[int], multiplier: int = 1, **options: object
    ) -> str:
        """Depthwise convolution: `convolution` with one group per input channel."""
        channels = self.shape(source)[1]
        return self.convolution(
            source,
            channels * multiplier,
            kernel,
            groups=channels,
            **options,  # type: ignore[arg-type]
        )

    def _tail(self, layer: str, activation: str | None, normalise: bool) -> str:
        if normalise:
            layer = self.add(op.BatchNormalization(), layer, name=f"{layer}/normalise")
        if activation:
            layer = self.add(
                op.Activation(activation),  # type: ignore[arg-type]
                layer,
                name=f"{layer.removesuffix('/normalise')}/{activation}",
            )
        return layer

    def pooling(
        self,
        source: str,
        kind: str,
        kernel: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | str | Sequence[int] = "valid",
        name: str | None = None,
    ) -> str:
        """Pooling; the stride defaults to the kernel."""
        k = pair(kernel)
        s = k if stride is None else pair(stride)
        sides = self._padding(source, padding, k, s)
        return self.add(op.Pooling(kind, k, s, sides), source, name=name)  # type: ignore[arg-type]

    def dense(
        self, source: str, units: int, activation: str | None = None, name: str | None = None
    ) -> str:
        """Dense layer with bias, and its activation where asked for."""
        return self._tail(self.add(op.Dense(units), source, name=name), activation, False)

    def build(self, outputs: tuple[str, ...] | None = None) -> Graph:
        """The graph; `outputs` defaults to the layers nobody reads."""
        return make_graph(self.name, self._layers.values(), outputs)
