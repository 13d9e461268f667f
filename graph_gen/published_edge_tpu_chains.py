"""Chains of equal layers that were timed to isolate one cost: compute, transfer, parameters."""

from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph


def convolution_chain(count: int, filters: int, kernel: int, shape: tuple[int, int, int]) -> Graph:
    """`count` convolutions with ReLU on an image of `shape` (height, width, channels)."""
    height, width, channels = shape
    builder = GraphBuilder(f"{count} x convolution {kernel}x{kernel} of {filters}")
    features = builder.input(1, channels, height, width, name="image")
    for number in range(1, count + 1):
        features = builder.convolution(
            features, filters, kernel, activation="relu", name=f"conv{number}"
        )
    return builder.build()


def dense_chain(count: int, units: int, inputs: int, activation: str, last: int | None) -> Graph:
    """`count` dense layers on (1, inputs), then one of `last` units unless that is None."""
    builder = GraphBuilder(f"{count} x dense of {units}")
    features = builder.input(1, inputs, name="vector")
    for number in range(1, count + 1):
        features = builder.dense(features, units, activation, name=f"dense{number}")
    if last is not None:
        builder.dense(features, last, name="last")
    return builder.build()


def _padded(builder: GraphBuilder, source: str, size: op.Pair) -> str:
    """Zeros below and to the right of a tensor up to `size`; nothing where it has that size."""
    height, width = builder.shape(source)[2:]
    after = (size[0] - height, size[1] - width)
    if after == (0, 0):
        return source
    return builder.add(op.Pad((0, 0, 0, 0), (0, 0, *after)), source, name="pad")


def _collapsed(builder: GraphBuilder, source: str) -> str:
    """One value: a 1x1 convolution of one filter whose stride is the size of the map."""
    height, width = builder.shape(source)[2:]
    collapse = op.Convolution(1, (1, 1), (height, width))
    return builder.add(collapse, source, name="collapse")


def input_transfer(size: op.Pair, channels: int) -> Graph:
    """An input of `size` of which the device reads one pixel."""
    builder = GraphBuilder(f"input {size[0]}x{size[1]}x{channels}")
    _collapsed(builder, builder.input(1, channels, *size, name="image"))
    return builder.build()


def output_transfer(small: op.Pair, size: op.Pair, channels: int) -> Graph:
    """A small input padded with zeros to an output of `size`."""
    builder = GraphBuilder(f"output {size[0]}x{size[1]}x{channels}")
    image = builder.input(1, channels, *small, name="image")
    if small == size:  # the converter keeps a pad of nothing
        builder.add(op.Pad((0, 0, 0, 0), (0, 0, 0, 0)), image, name="pad")
    else:
        _padded(builder, image, size)
    return builder.build()


def inner_size(
    small: op.Pair, size: op.Pair, channels: int, count: int = 0, filters: int = 0, kernel: int = 1
) -> Graph:
    """A small input padded to `size`, `count` convolutions with ReLU, one value out."""
    builder = GraphBuilder(f"inner {size[0]}x{size[1]}x{channels}, {count} x {filters}")
    features = _padded(builder, builder.input(1, channels, *small, name="image"), size)
    for number in range(1, count + 1):
        features = builder.convolution(
            features, filters, kernel, activation="relu", name=f"conv{number}"
        )
    _collapsed(builder, features)
    return builder.build()


def flattened_dense_chain(
    shape: tuple[int, int, int], count: int, units: int, activation: str, last: int
) -> Graph:
    """A flattened image of `shape` (height, width, channels), `count` dense layers and a last."""
    height, width, channels = shape
    builder = GraphBuilder(f"flattened, {count} x dense of {units}")
    image = builder.input(1, channels, height, width, name="image")
    features = builder.add(op.Flatten(), image, name="flatten")
    for number in range(1, count + 1):
        features = builder.dense(features, units, activation, name=f"dense{number}")
    builder.dense(features, last, name="last")
    return builder.build()
