"""From one OpenVINO node to Strata's parameters: one small rule per node type.

A rule returns the chain of parameter records that stands for one output of the node; the first
record reads the node's activations, each further one its predecessor. None means "cannot map".
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Literal, cast

from strata import operations as op
from strata.builder import same_padding
from strata.openvino_values import (
    Node,
    integers,
    is_static,
    scalar,
    shape_of,
    used_ports,
)

Chain = tuple[op.Parameters, ...]
Constants = frozenset[str]
Rule = Callable[[Node, int, Constants], Chain | None]

_SPATIAL_RANK = 4
_ELEMENTWISE = {
    "Add": "add",
    "Multiply": "multiply",
    "Subtract": "subtract",
    "Divide": "divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
_ACTIVATIONS = {
    "Relu": "relu",
    "PRelu": "leaky_relu",
    "Sigmoid": "sigmoid",
    "HSigmoid": "hard_sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "Swish": "swish",
    "HSwish": "hard_swish",
    "Tanh": "tanh",
    "Gelu": "gelu",
    "Elu": "elu",
}
_OTHER_POINTWISE = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceiling", "Cos", "Cosh"),
    *("Erf", "Exp", "Floor", "Log", "LogicalNot", "Mish", "Negative", "Power", "Round"),
    *("Selu", "Sign", "Sin", "Sinh", "SoftPlus", "SoftSign", "Sqrt", "Tan"),
)
_INTERPOLATIONS = {
    "nearest": "nearest",
    "linear": "linear",
    "linear_onnx": "linear",
    "bilinear_pillow": "linear",
    "cubic": "cubic",
    "bicubic_pillow": "cubic",
}


def _is_constant(node: Node, port: int, constants: Constants) -> bool:
    return node.input_value(port).get_node().get_name() in constants


def _pair(values: Sequence[int]) -> op.Pair:
    height, width = values
    return height, width


def _window_padding(node: Node, kernel: op.Pair, dilation: op.Pair) -> op.Padding:
    """The paddings that give the node's output shape: SAME resolved, ceiling divisions filled."""
    given = node.get_attributes()
    stride = _pair(given["strides"])
    height, width = shape_of(node.input_value(0))[2:]
    mode = given.get("auto_pad", "explicit")
    if mode == "valid":
        top = left = bottom = right = 0
    elif mode in ("same_upper", "same_lower"):
        sides = same_padding((height, width), kernel, stride, dilation)
        top, left, bottom, right = sides if mode == "same_upper" else (*sides[2:], *sides[:2])
    else:
        (top, left), (bottom, right) = given["pads_begin"], given["pads_end"]
    output = shape_of(node.output(0))[2:]
    needed = [  # a pooling that rounds up reads past its declared end
        (count - 1) * step + spread * (size - 1) + 1 - extent
        for count, step, spread, size, extent in zip(
            output, stride, dilation, kernel, (height, width), strict=True
        )
    ]
    return top, left, max(bottom, needed[0] - top), max(right, needed[1] - left)


def _convolution(node: Node, _: int, constants: Constants) -> Chain | None:
    weights = shape_of(node.input_value(1))
    grouped = node.get_type_name() == "GroupConvolution"
    if len(weights) != _SPATIAL_RANK + grouped or not _is_constant(node, 1, constants):
        return None
    given = node.get_attributes()
    groups = weights[0] if grouped else 1
    kernel, dilation = _pair(weights[-2:]), _pair(given["dilations"])
    padding = _window_padding(node, kernel, dilation)
    filters = prod(weights[:2]) if grouped else weights[0]
    return (
        op.Convolution(filters, kernel, _pair(given["strides"]), dilation, padding, groups, False),
    )


def _transposed_convolution(node: Node, _: int, constants: Constants) -> Chain | None:
    weights = shape_of(node.input_value(1))
    grouped = node.get_type_name().startswith("Group")
    if len(weights) != _SPATIAL_RANK + grouped or not _is_constant(node, 1, constants):
        return None
    given = node.get_attributes()
    groups = weights[0] if grouped else 1
    kernel, stride, dilation = (
        _pair(weights[-2:]),
        _pair(given["strides"]),
        _pair(given["dilations"]),
    )
    begin, end, extra = list(given["pads_begin"]), list(given["pads_end"]), [0, 0]
    inputs, outputs = shape_of(node.input_value(0))[2:], shape_of(node.output(0))[2:]
    for i in range(2):
        full = (inputs[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
        surplus = full - outputs[i]  # what padding takes away, less what output_padding adds
        if given["auto_pad"] not in ("explicit", "notset"):
            begin[i], end[i] = max(surplus, 0) // 2, max(surplus, 0) - max(surplus, 0) // 2
        extra[i] = begin[i] + end[i] - surplus
        if extra[i] < 0:  # an explicit output shape cuts more than the pads say
            end[i], extra[i] = end[i] - extra[i], 0
    padding = (begin[0], begin[1], end[0], end[1])
    filters = weights[-3] * groups
    return (
        op.TransposedConvolution(
            filters, kernel, stride, dilation, padding, _pair(extra), groups, False
        ),
    )


def _matmul(node: Node, _: int, constants: Constants) -> Chain | None:
    given = node.get_attributes()
    first, second = given["transpose_a"], given["transpose_b"]
    if _is_constant(node, 0, constants):
        return None
    if not _is_constant(node, 1, constants):
        return (op.MatMul(first, second),)
    weights = shape_of(node.input_value(1))
    if first or len(weights) < 2 or prod(weights[:-2]) != 1:
        return None
    return (op.Dense(weights[-2] if second else weights[-1], False),)


def _pooling(node: Node, port: int, _: Constants) -> Chain | None:
    given = node.get_attributes()
    if len(given["kernel"]) != 2 or port != 0 or set(given.get("dilations", [1])) != {1}:
        return None
    kernel, stride = _pair(given["kernel"]), _pair(given["strides"])
    padding = _window_padding(node, kernel, (1, 1))
    if node.get_type_name() == "MaxPool":
        return (op.Pooling("max", kernel, stride, padding),)
    counted = not given["exclude-pad"] and any(padding)
    return (op.Pooling("average", kernel, stride, padding, counted),)


def _reduction(node: Node, _: int, __: Constants) -> Chain | None:
    axes, rank = integers(node.input_value(1)), len(shape_of(node.input_value(0)))
    if axes is None or rank != _SPATIAL_RANK or {axis % rank for axis in axes} != {2, 3}:
        return None
    kind: Literal["max", "average"] = "max" if node.get_type_name() == "ReduceMax" else "average"
    return (op.GlobalPooling(kind, bool(node.get_attributes()["keep_dims"])),)


def _elementwise(node: Node, _: int, constants: Constants) -> Chain | None:
    fixed = [port for port in range(2) if _is_constant(node, port, constants)]
    shape = shape_of(node.input_value(fixed[0])) if fixed else None
    return (op.Elementwise(_ELEMENTWISE[node.get_type_name()], shape),)  # type: ignore[arg-type]


def _squared_difference(_: Node, __: int, ___: Constants) -> Chain | None:
    return op.Elementwise("subtract"), op.Activation("other")


def _activation(node: Node, _: int, constants: Constants) -> Chain | None:
    fixed = range(1, node.get_input_size())
    if not all(_is_constant(node, port, constants) for port in fixed):
        return None
    kind = _ACTIVATIONS.get(node.get_type_name(), "other")
    return (op.Activation(kind),)  # type: ignore[arg-type]


def _clamp(node: Node, _: int, __: Constants) -> Chain | None:
    given = node.get_attributes()
    limits = given["min"], given["max"]
    return (op.Activation("relu6" if limits == (0.0, 6.0) else "other"),)


def _concat(node: Node, _: int, constants: Constants) -> Chain | None:
    if any(_is_constant(node, port, constants) for port in range(node.get_input_size())):
        return None
    return (op.Concat(node.get_attributes()["axis"]),)


def _softmax(node: Node, _: int, __: Constants) -> Chain | None:
    return (op.Softmax(node.get_attributes()["axis"]),)


def _interpolate(node: Node, _: int, __: Constants) -> Chain | None:
    before, after = shape_of(node.input_value(0)), shape_of(node.output(0))
    kind = _INTERPOLATIONS.get(str(node.get_attributes()["mode"]).lower())
    if kind is None or len(after) != _SPATIAL_RANK or before[:2] != after[:2]:
        return None
    return (op.Resize(cast(Literal["nearest", "linear", "cubic"], kind), _pair(after[2:])),)


def _pad(node: Node, _: int, __: Constants) -> Chain | None:
    before, after = integers(node.input_value(1)), integers(node.input_value(2))
    if before is None or after is None or min(*before, *after) < 0:
        return None
    return (op.Pad(before, after),)


def _reshape(node: Node, _: int, __: Constants) -> Chain | None:
    return (op.Reshape(shape_of(node.output(0))),) if is_static(node.output(0)) else None


def _transpose(node: Node, _: int, __: Constants) -> Chain | None:
    order, rank = integers(node.input_value(1)), len(shape_of(node.input_value(0)))
    if order is None:
        return None
    return (op.Transpose(order or tuple(reversed(range(rank)))),)


def _box(node: Node, ranges: list[range], port: int = 0) -> Chain | None:
    """A slice layer, and a reshape where the node drops or adds axes of one element."""
    if any(span.step < 1 or len(span) == 0 for span in ranges):
        return None
    part = op.Slice(
        tuple(span.start for span in ranges),
        tuple(span.stop for span in ranges),
        tuple(span.step for span in ranges),
    )
    shape = shape_of(node.output(port))
    if shape == tuple(len(span) for span in ranges):
        return (part,)
    return part, op.Reshape(shape)


def _slice(node: Node, _: int, __: Constants) -> Chain | None:
    values = [integers(node.input_value(port)) for port in range(1, node.get_input_size())]
    if any(value is None for value in values):
        return None
    start, stop, step, *rest = cast(list[op.Shape], values)
    shape = shape_of(node.input_value(0))
    axes = rest[0] if rest else tuple(range(len(start)))
    ranges = [range(size) for size in shape]
    for axis, first, last, stride in zip(axes, start, stop, step, strict=True):
        ranges[axis] = range(*slice(first, last, stride).indices(shape[axis]))
    return _box(node, ranges)


def _strided_slice(node: Node, _: int, __: Constants) -> Chain | None:
    given = node.get_attributes()
    begin, end = integers(node.input_value(1)), integers(node.input_value(2))
    if begin is None or end is None or any(given["ellipsis_mask"]):
        return None
    has_steps = node.get_input_size() > 3
    steps = integers(node.input_value(3)) if has_steps else (1,) * len(begin)
    if steps is None:
        return None

    def masked(name: str, position: int) -> bool:
        mask = given[name]
        return position < len(mask) and bool(mask[position])

    shape = shape_of(node.input_value(0))
    ranges = [range(size) for size in shape]
    axis = 0
    for i, (first, last, step) in enumerate(zip(begin, end, steps, strict=True)):
        if masked("new_axis_mask", i):
            continue
        size = shape[axis]
        if masked("shrink_axis_mask", i):
            ranges[axis] = range(first % size, first % size + 1)
        else:
            lower = None if masked("begin_mask", i) else first
            upper = None if masked("end_mask", i) else last
            ranges[axis] = range(*slice(lower, upper, step).indices(size))
        axis += 1
    return _box(node, ranges)


def _split(node: Node, port: int, __: Constants) -> Chain | None:
    axis = integers(node.input_value(1))
    if axis is None:
        return None
    shape = shape_of(node.input_value(0))
    along = axis[0] % len(shape)
    start = sum(shape_of(node.output(i))[along] for i in range(port))
    ranges = [range(size) for size in shape]
    ranges[along] = range(start, start + shape_of(node.output(port))[along])
    return _box(node, ranges, port)


def _gather(node: Node, _: int, constants: Constants) -> Chain | None:
    """One constant index along one axis is a slice; look-ups in tables are not mapped."""
    axis, index = integers(node.input_value(2)), scalar(node.input_value(1))
    if axis is None or index is None or _is_constant(node, 0, constants):
        return None
    shape = shape_of(node.input_value(0))
    along = axis[0] % len(shape)
    position = int(index) % shape[along]
    ranges = [range(size) for size in shape]
    ranges[along] = range(position, position + 1)
    return _box(node, ranges)


def _batch_normalization(node: Node, _: int, constants: Constants) -> Chain | None:
    fixed = sum(_is_constant(node, port, constants) for port in range(node.get_input_size()))
    return (op.BatchNormalization(),) if fixed == node.get_input_size() - 1 else None


def _lstm(node: Node, port: int, constants: Constants) -> Chain | None:
    """Y is (batch, directions, steps, hidden), the last states (batch, directions, hidden)."""
    if not all(_is_constant(node, i, constants) for i in range(1, node.get_input_size())):
        return None
    hidden = node.get_attributes()["hidden_size"]
    batch, directions, steps, _ = shape_of(node.output(0))
    sequence = 0 in used_ports(node)
    layer = op.Lstm(hidden, cast(Literal[1, 2], directions), sequence)
    width = hidden * directions
    if port == 0 and directions == 1:
        return layer, op.Reshape((batch, 1, steps, hidden))
    if port == 0:
        split = op.Reshape((batch, steps, directions, hidden))
        return layer, split, op.Transpose((0, 2, 1, 3))
    last = op.Slice((0, steps - 1, 0), (batch, steps, width), (1, 1, 1))
    states = op.Reshape((batch, directions, hidden))
    return (layer, last, states) if sequence else (layer, states)


RULES: dict[str, Rule] = {
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "MatMul": _matmul,
    "MaxPool": _pooling,
    "AvgPool": _pooling,
    "ReduceMean": _reduction,
    "ReduceMax": _reduction,
    "SquaredDifference": _squared_difference,
    "Clamp": _clamp,
    "Concat": _concat,
    "Softmax": _softmax,
    "Interpolate": _interpolate,
    "Pad": _pad,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Split": _split,
    "VariadicSplit": _split,
    "Gather": _gather,
    "BatchNormInference": _batch_normalization,
    "LSTMSequence": _lstm,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys((*_ACTIVATIONS, *_OTHER_POINTWISE), _activation),
}
