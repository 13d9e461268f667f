"""What a layer has to do: multiply-accumulates, other operations, bytes moved.

One MAC is two operations (ANNETTE, section 7, Table 2 counts so). A bias is part of its layer's
MACs and not counted apart; other operations are counted per element as tabled below.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

from strata import operations as op

if TYPE_CHECKING:
    from strata.layer import Layer

# Operations per output element beside MACs. A transcendental counts as one: these numbers feed
# rooflines whose peak is fitted per operation, so only proportionality matters.
_SOFTMAX_OPS = 5  # maximum, subtract, exponential, sum, divide
_NORMALISATION_OPS = 2  # scale, shift
_INTERPOLATION_OPS = {"nearest": 0, "linear": 7, "cubic": 31}  # 4 or 16 products and their sums
_LSTM_OPS = 9  # per hidden element and step: 3 sigmoid, 2 tanh, 3 products, 1 sum


@dataclass(frozen=True, slots=True)
class Work:
    """Work of one or several layers; all counts are for one inference."""

    macs: int = 0
    other_ops: int = 0
    input_bytes: int = 0
    weight_bytes: int = 0
    output_bytes: int = 0

    @property
    def ops(self) -> int:
        """Operations f_n of ANNETTE's Table 1: two per MAC, plus the others."""
        return 2 * self.macs + self.other_ops

    @property
    def bytes(self) -> int:
        """Transferred data D_n of ANNETTE's Table 1: inputs, weights and outputs once each."""
        return self.input_bytes + self.weight_bytes + self.output_bytes

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.macs + other.macs,
            self.other_ops + other.other_ops,
            self.input_bytes + other.input_bytes,
            self.weight_bytes + other.weight_bytes,
            self.output_bytes + other.output_bytes,
        )


def weight_elements(parameters: op.Parameters, input_shapes: tuple[op.Shape, ...]) -> int:
    """Number of constants (weights, biases, scales) a layer reads."""
    match parameters:
        case op.Convolution(filters=filters, kernel=kernel, groups=groups, bias=bias) | (
            op.TransposedConvolution(filters=filters, kernel=kernel, groups=groups, bias=bias)
        ):
            return input_shapes[0][1] // groups * filters * prod(kernel) + bias * filters
        case op.Dense(units=units, bias=bias):
            return input_shapes[0][-1] * units + bias * units
        case op.Elementwise(constant_shape=shape) if shape is not None:
            return prod(shape)
        case op.BatchNormalization():
            return 2 * input_shapes[0][1]
        case op.Lstm(hidden_size=hidden, directions=directions):
            return directions * 4 * hidden * (input_shapes[0][2] + hidden + 1)
    return 0


def macs(
    parameters: op.Parameters, input_shapes: tuple[op.Shape, ...], output_shape: op.Shape
) -> int:
    """Multiply-accumulates of one layer."""
    match parameters:
        case op.Convolution(kernel=kernel, groups=groups):
            return prod(output_shape) * (input_shapes[0][1] // groups) * prod(kernel)
        case op.TransposedConvolution(filters=filters, kernel=kernel, groups=groups):
            return prod(input_shapes[0]) * (filters // groups) * prod(kernel)
        case op.Dense():
            return prod(output_shape) * input_shapes[0][-1]
        case op.MatMul(transpose_a=transposed):
            return prod(output_shape) * input_shapes[0][-2 if transposed else -1]
        case op.Lstm(hidden_size=hidden, directions=directions):
            batch, steps, features = input_shapes[0]
            return batch * steps * directions * 4 * hidden * (features + hidden)
    return 0


def other_ops(
    parameters: op.Parameters, input_shapes: tuple[op.Shape, ...], output_shape: op.Shape
) -> int:
    """Operations of one layer that are not multiply-accumulates."""
    elements = prod(output_shape)
    match parameters:
        case op.Pooling(kernel=kernel):
            return elements * prod(kernel)
        case op.GlobalPooling():
            return prod(input_shapes[0])
        case op.Elementwise() | op.Activation():
            return elements
        case op.BatchNormalization():
            return _NORMALISATION_OPS * elements
        case op.Softmax():
            return _SOFTMAX_OPS * elements
        case op.Resize(kind=kind):
            return _INTERPOLATION_OPS[kind] * elements
        case op.Lstm(hidden_size=hidden, directions=directions):
            return _LSTM_OPS * prod(input_shapes[0][:2]) * hidden * directions
    return 0


@lru_cache(maxsize=4096)  # asked again with every group that the layer may join
def layer_work(layer: "Layer") -> Work:
    """Work of one layer executed alone: every tensor is read or written once.

    Bits round up to whole bytes per tensor. An opaque layer moves its tensors and computes an
    unknown amount, counted as 0.
    """
    parameters, inputs, output = layer.parameters, layer.input_shapes, layer.output_shape
    if isinstance(parameters, op.VIEWS):
        return Work()

    def size(elements: int, bits: int) -> int:
        return -(-elements * bits // 8)

    read = sum(prod(shape) for shape in inputs)
    if isinstance(parameters, op.Slice):
        read = prod(output)  # only the box is touched
    return Work(
        macs=macs(parameters, inputs, output),
        other_ops=other_ops(parameters, inputs, output),
        input_bytes=size(read, layer.activation_bits),
        weight_bytes=size(weight_elements(parameters, inputs), layer.weight_bits),
        output_bytes=size(prod(output), layer.activation_bits),
    )
