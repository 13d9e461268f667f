"""From one operator of a TFLite file to the layers of a graph: one small rule per operator.

A rule returns the layers that stand for one output of the operator; the first reads the operator's
activations, each further one its predecessor. LookupError means "cannot map".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import numpy as np

from strata import operations as op
from strata.builder import same_padding

# the layers of an operator: what is added to the tensor's name, and the parameters
Chain = list[tuple[str, op.Parameters]]

_FUSED = {0: "", 1: "relu", 3: "relu6", 4: "tanh"}
_ACTIVATIONS = {
    "RELU": "relu", "RELU6": "relu6", "LEAKY_RELU": "leaky_relu", "PRELU": "leaky_relu",
    "LOGISTIC": "sigmoid", "TANH": "tanh", "HARD_SWISH": "hard_swish", "GELU": "gelu", "ELU": "elu",
    **dict.fromkeys(("RELU_N1_TO_1", "RELU_0_TO_1", "EXP", "ABS", "SQRT", "RSQRT", "LOG"), "other"),
}  # fmt: skip
_ELEMENTWISE = {
    "ADD": "add",
    "MUL": "multiply",
    "SUB": "subtract",
    "DIV": "divide",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
}
_RESIZES = {"RESIZE_BILINEAR": "linear", "RESIZE_NEAREST_NEIGHBOR": "nearest"}


def graph_shape(shape: op.Shape) -> op.Shape:
    """A tensor's shape in a graph's order of axes."""
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


def _graph_axis(axis: int, rank: int) -> int:
    axis %= rank
    return (0, 2, 3, 1)[axis] if rank == 4 else axis


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """`fixed`: its values are in the file; `constant` holds them if they are whole numbers."""

    name: str
    shape: op.Shape
    type: str
    fixed: bool
    constant: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Operator:
    """Inputs that are not given are None; `options` reads the schema's table of a name."""

    code: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Callable[[str], Any]

    def input(self, place: int) -> Tensor:
        found = self.inputs[place]
        assert found is not None
        return found

    @property
    def biased(self) -> bool:
        return len(self.inputs) > 2 and self.inputs[2] is not None

    def whole(self, place: int) -> list[int]:
        """A constant of whole numbers; LookupError if it is none."""
        constant = self.input(place).constant
        if constant is None:
            raise LookupError
        return [int(number) for number in constant]


def _fused(options: Any) -> Chain:
    kind = _FUSED.get(options.FusedActivationFunction(), "other")
    return [(f"/{kind}", op.Activation(cast(Any, kind)))] if kind else []


def _window(options: Any, size: op.Pair, kernel: op.Pair, dilation: op.Pair = (1, 1)) -> Any:
    """Stride and padding."""
    stride = (options.StrideH(), options.StrideW())
    if options.Padding() == 1:
        return stride, (0, 0, 0, 0)
    return stride, same_padding(size, kernel, stride, dilation)


def _convolution(each: Operator, output: Tensor) -> Chain:
    depthwise = each.code == "DEPTHWISE_CONV_2D"
    options = each.options("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions")
    (_, *size, channels), weights = each.input(0).shape, each.input(1).shape
    kernel = (weights[1], weights[2])
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    stride, padding = _window(options, (size[0], size[1]), kernel, dilation)
    groups = channels if depthwise else channels // weights[3]
    filters = output.shape[3]
    record = op.Convolution(filters, kernel, stride, dilation, padding, groups, each.biased)
    return [("", record), *_fused(options)]


def _transposed(each: Operator, output: Tensor) -> Chain:
    """Inputs: the output's shape, weights, activations, perhaps a bias."""
    options, weights = each.options("TransposeConvOptions"), each.input(1).shape
    kernel, stride = (weights[1], weights[2]), (options.StrideH(), options.StrideW())
    sizes = zip(each.input(2).shape[1:3], output.shape[1:3], stride, kernel, strict=True)
    extra = [(size - 1) * step + width - wanted for size, wanted, step, width in sizes]
    before = [max(each, 0) // 2 for each in extra]
    after = [max(each, 0) - begin for each, begin in zip(extra, before, strict=True)]
    added = (max(-extra[0], 0), max(-extra[1], 0))
    padding = (before[0], before[1], after[0], after[1])
    biased = len(each.inputs) > 3 and each.inputs[3] is not None
    record = op.TransposedConvolution(weights[0], kernel, stride, (1, 1), padding, added, 1, biased)
    return [("", record), *_fused(options)]


def _dense(each: Operator, output: Tensor) -> Chain:
    options, (units, wide) = each.options("FullyConnectedOptions"), each.input(1).shape
    shape = each.input(0).shape
    if len(output.shape) == 4:
        return [("", op.Convolution(units, (1, 1), bias=each.biased)), *_fused(options)]
    first: Chain = []
    if len(output.shape) != len(shape) or shape[-1] != wide:
        first = [("/reshape", op.Reshape((prod(shape) // wide, wide)))]
    return [*first, ("", op.Dense(units, each.biased)), *_fused(options)]


def _pooling(each: Operator, output: Tensor) -> Chain:
    options = each.options("Pool2DOptions")
    kernel = (options.FilterHeight(), options.FilterWidth())
    height, width = each.input(0).shape[1:3]
    stride, padding = _window(options, (height, width), kernel)
    kind: Any = "max" if each.code == "MAX_POOL_2D" else "average"
    return [("", op.Pooling(kind, kernel, stride, padding)), *_fused(options)]


def _reduction(each: Operator, output: Tensor) -> Chain:
    axes = {axis % len(each.input(0).shape) for axis in each.whole(1)}
    if len(each.input(0).shape) != 4 or axes != {1, 2}:
        raise LookupError
    kind: Any = "average" if each.code == "MEAN" else "max"
    return [("", op.GlobalPooling(kind, bool(each.options("ReducerOptions").KeepDims())))]


def _elementwise(each: Operator, output: Tensor) -> Chain:
    fixed = [tensor for tensor in each.inputs if tensor is not None and tensor.fixed]
    shape = None
    if fixed:
        rank = len(output.shape)
        shape = graph_shape((1,) * (rank - len(fixed[0].shape)) + fixed[0].shape)
    kind: Any = _ELEMENTWISE[each.code]
    chain: Chain = [("", op.Elementwise(kind, shape))]
    if each.code in ("MAXIMUM", "MINIMUM"):
        return chain
    return [*chain, *_fused(each.options(f"{each.code.title()}Options"))]


def _concat(each: Operator, output: Tensor) -> Chain:
    if any(tensor is not None and tensor.fixed for tensor in each.inputs):
        raise LookupError
    options = each.options("ConcatenationOptions")
    return [("", op.Concat(_graph_axis(options.Axis(), len(output.shape)))), *_fused(options)]


def _pad(each: Operator, output: Tensor) -> Chain:
    counts = np.reshape(each.whole(1), (-1, 2)).tolist()
    before, after = (tuple(count[side] for count in counts) for side in (0, 1))
    return [("", op.Pad(graph_shape(before), graph_shape(after)))]


def _transpose(each: Operator, output: Tensor) -> Chain:
    order, rank = each.whole(1), len(output.shape)
    axes = (0, 3, 1, 2) if rank == 4 else tuple(range(rank))
    return [("", op.Transpose(tuple(_graph_axis(order[axis], rank) for axis in axes)))]


def _box(ranges: Iterable[range], output: Tensor) -> Chain:
    """A slice in the file's order of axes, and a reshape where axes are dropped."""
    spans = list(ranges)
    if any(span.step < 1 or not span for span in spans):
        raise LookupError
    start, stop, step = (
        graph_shape(tuple(getattr(span, part) for span in spans))
        for part in ("start", "stop", "step")
    )
    chain: Chain = [("", op.Slice(start, stop, step))]
    if tuple(map(len, spans)) != output.shape:
        chain.append(("/reshape", op.Reshape(graph_shape(output.shape))))
    return chain


def _slice(each: Operator, output: Tensor) -> Chain:
    return _box(
        (
            range(begin, axis if size < 0 else begin + size)
            for begin, size, axis in zip(
                each.whole(1), each.whole(2), each.input(0).shape, strict=True
            )
        ),
        output,
    )


def _strided_slice(each: Operator, output: Tensor) -> Chain:
    options = each.options("StridedSliceOptions")
    if options.EllipsisMask() or options.NewAxisMask():
        raise LookupError
    ranges = []
    bounds = zip(each.input(0).shape, *(each.whole(i) for i in (1, 2, 3)), strict=True)
    for place, (size, first, last, step) in enumerate(bounds):
        bit = 1 << place
        if options.ShrinkAxisMask() & bit:
            ranges.append(range(first % size, first % size + 1))
            continue
        lower = None if options.BeginMask() & bit else first
        upper = None if options.EndMask() & bit else last
        ranges.append(range(*slice(lower, upper, step).indices(size)))
    return _box(ranges, output)


def _split(each: Operator, output: Tensor) -> Chain:
    value, axis = each.input(1), each.whole(0)[0]
    axis %= len(value.shape)
    place = next(i for i, tensor in enumerate(each.outputs) if tensor is output)
    start = sum(tensor.shape[axis] for tensor in each.outputs[:place])
    ranges = [range(size) for size in value.shape]
    ranges[axis] = range(start, start + output.shape[axis])
    return _box(ranges, output)


def _matmul(each: Operator, output: Tensor) -> Chain:
    options = each.options("BatchMatMulOptions")
    if len(output.shape) == 4:  # its last two axes are others in a graph
        raise LookupError
    return [("", op.MatMul(bool(options.AdjX()), bool(options.AdjY())))]


def _softmax(each: Operator, output: Tensor) -> Chain:
    return [("", op.Softmax(_graph_axis(-1, len(output.shape))))]


def _resize(each: Operator, output: Tensor) -> Chain:
    kind: Any = _RESIZES[each.code]
    return [("", op.Resize(kind, (output.shape[1], output.shape[2])))]


def _activation(each: Operator, output: Tensor) -> Chain:
    return [("", op.Activation(cast(Any, _ACTIVATIONS[each.code])))]


def _reshape(each: Operator, output: Tensor) -> Chain:
    return [("", op.Reshape(graph_shape(output.shape)))]


# operators that compute with all of their tensors; of others, further ones say how
MANY_INPUTS = (*_ELEMENTWISE, "CONCATENATION", "BATCH_MATMUL")
RULES: dict[str, Callable[[Operator, Tensor], Chain]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _pooling,
    "AVERAGE_POOL_2D": _pooling,
    "MEAN": _reduction,
    "REDUCE_MAX": _reduction,
    "CONCATENATION": _concat,
    "SOFTMAX": _softmax,
    "PAD": _pad,
    "PADV2": _pad,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "BATCH_MATMUL": _matmul,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_RESIZES, _resize),
    **dict.fromkeys(_ACTIVATIONS, _activation),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
}
