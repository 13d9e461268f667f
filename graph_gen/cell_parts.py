"""A random network in the making: its style, its random generator, its most common layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from strata import operations as op
from strata.builder import GraphBuilder

Item = TypeVar("Item")

# Shares of activation kinds: those of published networks first, the rest so that all occur.
ACTIVATION_SHARES = {
    "relu": 0.36,
    "relu6": 0.12,
    "swish": 0.14,
    "leaky_relu": 0.10,
    "hard_swish": 0.10,
    "sigmoid": 0.03,
    "hard_sigmoid": 0.02,
    "tanh": 0.03,
    "gelu": 0.06,
    "elu": 0.04,
}


@dataclass(frozen=True, slots=True)
class Style:
    """What stays the same through most of one network."""

    activation: str
    activation_noise: float
    normalise: float
    padding: str
    squeeze: float


@dataclass(slots=True)
class Network:
    """A builder with the network's style and its own generator; tensors are layer names."""

    builder: GraphBuilder
    generator: np.random.Generator
    style: Style
    width: float
    skips: list[str] = field(default_factory=list)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.generator.random() < probability)

    def pick(self, items: Sequence[Item], shares: Sequence[float] | None = None) -> Item:
        """One of the items, equally likely or by shares that sum to 1."""
        if shares is None:
            return items[int(self.generator.integers(len(items)))]
        edges = np.cumsum(shares)
        place = int(np.searchsorted(edges, self.generator.random() * edges[-1], side="right"))
        return items[min(place, len(items) - 1)]

    def whole(self, least: int, most: int) -> int:
        """A whole number, both ends included."""
        return int(self.generator.integers(least, most + 1))

    def log_uniform(self, least: float, most: float) -> float:
        """A number whose logarithm is uniform."""
        return float(np.exp(self.generator.uniform(np.log(least), np.log(most))))

    def count(self, channels: float) -> int:
        """A channel count near a wish: a multiple of 8 in 94 of 100 cases."""
        if self.chance(0.06):
            return max(round(channels * self.generator.uniform(0.8, 1.2)), 2)
        return max(round(channels / 8) * 8, 8)

    def channels(self, tensor: str) -> int:
        """Channels of a tensor."""
        return self.builder.shape(tensor)[1]

    def size(self, tensor: str) -> op.Pair:
        """Height and width of a tensor."""
        shape = self.builder.shape(tensor)
        return shape[2], shape[3]

    def add(self, parameters: op.Parameters, *inputs: str) -> str:
        """Any layer, named by its operation and a number."""
        return self.builder.add(parameters, *inputs)

    def kind(self) -> str:
        """An activation kind: the network's own, seldom another."""
        if self.chance(self.style.activation_noise):
            return self.pick(tuple(ACTIVATION_SHARES), tuple(ACTIVATION_SHARES.values()))
        return self.style.activation

    def activate(self, tensor: str, kind: str | None = None) -> str:
        """An activation layer."""
        return self.add(op.Activation(kind or self.kind()), tensor)  # type: ignore[arg-type]

    def conv(
        self,
        tensor: str,
        filters: int,
        kernel: int | op.Pair = 3,
        stride: int = 1,
        linear: bool = False,
        valid: bool = False,
        **options: Any,
    ) -> str:
        """Convolution, batch normalisation mostly, activation unless linear.

        Output size is ceil(size / stride) for odd kernels, unless `valid` is wished and possible.
        """
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        dilation = options.get("dilation", 1)
        spans = [dilation * (side - 1) + 1 for side in kernel]
        padding: str | op.Padding = "same"
        fits = all(size >= span for size, span in zip(self.size(tensor), spans, strict=True))
        if valid and fits:
            padding = "valid"
        elif self.style.padding == "explicit" and all(side % 2 for side in kernel):
            tall, wide = (span // 2 for span in spans)
            padding = (tall, wide, tall, wide)
        normalise = self.chance(self.style.normalise)
        return self.builder.convolution(
            tensor,
            filters,
            kernel,
            stride,
            padding,
            bias=not normalise,
            activation=None if linear else self.kind(),
            normalise=normalise,
            **options,
        )

    def depthwise(self, tensor: str, kernel: int = 3, stride: int = 1, **options: Any) -> str:
        """Depthwise convolution with the same tail as `conv`."""
        channels = self.channels(tensor)
        return self.conv(tensor, channels, kernel, stride, groups=channels, **options)

    def frame(self, tensor: str, before: int, after: int) -> str:
        """Explicit zero padding of height and width (Keras writes it as a layer)."""
        return self.add(op.Pad((0, 0, before, before), (0, 0, after, after)), tensor)

    def pool(self, tensor: str, kind: str, kernel: int, stride: int, padding: str = "same") -> str:
        """Pooling; SAME padding, or none where that is wished and fits."""
        if min(self.size(tensor)) < kernel:
            padding = "same"
        return self.builder.pooling(tensor, kind, kernel, stride, padding)

    def join(self, first: str, second: str, kind: str = "add") -> str:
        """Element-wise sum or product, the operands in either order: a toolchain may care."""
        if self.chance(0.5):
            first, second = second, first
        return self.add(op.Elementwise(kind), first, second)  # type: ignore[arg-type]

    def squeeze_excite(self, tensor: str) -> str:
        """Squeeze-and-excitation (Hu et al. 2018), by 1x1 convolutions or dense layers."""
        channels = self.channels(tensor)
        hidden = max(channels // self.pick((4, 8, 16)), 4)
        inner = self.pick(("relu", self.style.activation))
        gate = self.pick(("sigmoid", "hard_sigmoid"), (0.7, 0.3))
        pooled = self.add(op.GlobalPooling("average"), tensor)
        if self.chance(0.75):
            reduced = self.builder.convolution(pooled, hidden, 1, activation=inner)
            scale = self.builder.convolution(reduced, channels, 1, activation=gate)
        else:
            flat = self.add(op.Flatten(), pooled)
            reduced = self.builder.dense(flat, hidden, inner)
            dense = self.builder.dense(reduced, channels, gate)
            scale = self.add(op.Reshape((1, channels, 1, 1)), dense)
        return self.join(tensor, scale, "multiply")
