"""Shape inference: one pure function per operation, `output_shape` picks it.

Every function takes the parameters and the input shapes (tuples of elements) and raises
`SchemaError` with the rule that was broken; the caller adds the layer's name.
"""

from collections.abc import Callable
from math import prod

from strata import operations as op
from strata.errors import SchemaError

Shapes = tuple[op.Shape, ...]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SchemaError(message)


def _positive(**values: tuple[int, ...] | int) -> None:
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        _require(all(number >= 1 for number in numbers), f"{name} is {value}, must be 1 or more")


def _padding(padding: op.Padding) -> None:
    _require(all(side >= 0 for side in padding), f"padding is {padding}, must be 0 or more")


def _spatial(shape: op.Shape) -> None:
    _require(len(shape) == 4, f"input shape {shape} must be (batch, channels, height, width)")


def axis_index(axis: int, rank: int) -> int:
    """Resolve a possibly negative axis; SchemaError outside [-rank, rank)."""
    _require(-rank <= axis < rank, f"axis is {axis}, must be in [{-rank}, {rank - 1}]")
    return axis % rank


def _window(size: int, kernel: int, stride: int, dilation: int, padding: int, axis: str) -> int:
    span = dilation * (kernel - 1) + 1
    _require(
        size + padding >= span,
        f"{axis} {size} with padding {padding} is smaller than the kernel's span {span}",
    )
    return (size + padding - span) // stride + 1


def _groups(channels: int, filters: int, groups: int) -> None:
    _require(
        channels % groups == 0 and filters % groups == 0,
        f"groups {groups} must divide {channels} input channels and {filters} filters",
    )


def _convolution(layer: op.Convolution, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _spatial(shape)
    _positive(
        filters=layer.filters,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    _padding(layer.padding)
    _groups(shape[1], layer.filters, layer.groups)
    top, left, bottom, right = layer.padding
    height = _window(
        shape[2], layer.kernel[0], layer.stride[0], layer.dilation[0], top + bottom, "height"
    )
    width = _window(
        shape[3], layer.kernel[1], layer.stride[1], layer.dilation[1], left + right, "width"
    )
    return shape[0], layer.filters, height, width


def _transposed_convolution(layer: op.TransposedConvolution, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _spatial(shape)
    _positive(
        filters=layer.filters,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    _padding(layer.padding)
    _groups(shape[1], layer.filters, layer.groups)
    top, left, bottom, right = layer.padding
    sides = (top + bottom, left + right)
    size = [
        (shape[2 + i] - 1) * layer.stride[i]
        - sides[i]
        + layer.dilation[i] * (layer.kernel[i] - 1)
        + 1
        + layer.output_padding[i]
        for i in range(2)
    ]
    _require(min(size) >= 1, f"padding {layer.padding} leaves an output of {tuple(size)}")
    return shape[0], layer.filters, size[0], size[1]


def _dense(layer: op.Dense, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _positive(units=layer.units)
    _require(len(shape) >= 2, f"input shape {shape} must have a batch and a feature axis")
    return *shape[:-1], layer.units


def broadcast(first: op.Shape, second: op.Shape) -> op.Shape:
    """Numpy's broadcasting rule; SchemaError where two sizes differ and neither is 1."""
    rank = max(len(first), len(second))
    padded = [(1,) * (rank - len(shape)) + shape for shape in (first, second)]
    _require(
        all(a == b or 1 in (a, b) for a, b in zip(*padded, strict=True)),
        f"shapes {first} and {second} do not broadcast",
    )
    return tuple(max(a, b) for a, b in zip(*padded, strict=True))


def _matmul(layer: op.MatMul, shapes: Shapes) -> op.Shape:
    first, second = shapes
    _require(min(len(first), len(second)) >= 2, f"shapes {first} and {second} must be matrices")
    rows, inner = first[-2:] if not layer.transpose_a else first[:-3:-1]
    other, columns = second[-2:] if not layer.transpose_b else second[:-3:-1]
    _require(inner == other, f"inner sizes {inner} and {other} of {first} and {second} differ")
    return *broadcast(first[:-2], second[:-2]), rows, columns


def _pooling(layer: op.Pooling, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _spatial(shape)
    _positive(kernel=layer.kernel, stride=layer.stride)
    _padding(layer.padding)
    top, left, bottom, right = layer.padding
    height = _window(shape[2], layer.kernel[0], layer.stride[0], 1, top + bottom, "height")
    width = _window(shape[3], layer.kernel[1], layer.stride[1], 1, left + right, "width")
    return shape[0], shape[1], height, width


def _global_pooling(layer: op.GlobalPooling, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _spatial(shape)
    return (*shape[:2], 1, 1) if layer.keep_dimensions else shape[:2]


def _elementwise(layer: op.Elementwise, shapes: Shapes) -> op.Shape:
    operands = shapes if layer.constant_shape is None else (*shapes, layer.constant_shape)
    _require(len(operands) == 2, f"{layer.kind} takes 2 operands, got {len(operands)}")
    return broadcast(*operands)


def _concat(layer: op.Concat, shapes: Shapes) -> op.Shape:
    first = shapes[0]
    axis = axis_index(layer.axis, len(first))
    for shape in shapes[1:]:
        _require(
            len(shape) == len(first)
            and all(a == b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != axis),
            f"shapes {first} and {shape} differ off axis {axis}",
        )
    return *first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :]


def _same(_: object, shapes: Shapes) -> op.Shape:
    return shapes[0]


def _softmax(layer: op.Softmax, shapes: Shapes) -> op.Shape:
    axis_index(layer.axis, len(shapes[0]))
    return shapes[0]


def _resize(layer: op.Resize, shapes: Shapes) -> op.Shape:
    _spatial(shapes[0])
    _positive(size=layer.size)
    return *shapes[0][:2], *layer.size


def _pad(layer: op.Pad, shapes: Shapes) -> op.Shape:
    shape = shapes[0]
    _require(
        len(layer.before) == len(layer.after) == len(shape),
        f"padding {layer.before}, {layer.after} must name each of the {len(shape)} axes",
    )
    padded = zip(layer.before, shape, layer.after, strict=True)
    return tuple(before + size + after for before, size, after in padded)


def _reshape(layer: op.Reshape, shapes: Shapes) -> op.Shape:
    _require(
        prod(layer.shape) == prod(shapes[0]),
        f"{shapes[0]} has {prod(shapes[0])} elements, {layer.shape} has {prod(layer.shape)}",
    )
    return layer.shape


def _flatten(layer: op.Flatten, shapes: Shapes) -> op.Shape:
    axis = axis_index(layer.axis, len(shapes[0]))
    return *shapes[0][:axis], prod(shapes[0][axis:])


def _transpose(layer: op.Transpose, shapes: Shapes) -> op.Shape:
    _require(
        sorted(layer.permutation) == list(range(len(shapes[0]))),
        f"permutation {layer.permutation} does not fit shape {shapes[0]}",
    )
    return tuple(shapes[0][axis] for axis in layer.permutation)


def _slice(layer: op.Slice, shapes: Shapes) -> op.Shape:
    shape = shapes[0]
    _require(
        len(layer.start) == len(layer.stop) == len(layer.step) == len(shape),
        f"start, stop and step must name each of the {len(shape)} axes",
    )
    _positive(step=layer.step)
    box = list(zip(layer.start, layer.stop, layer.step, shape, strict=True))
    _require(
        all(0 <= start < stop <= size for start, stop, _, size in box),
        f"box {layer.start} to {layer.stop} must lie inside {shape}",
    )
    return tuple(-(-(stop - start) // step) for start, stop, step, _ in box)


def _lstm(layer: op.Lstm, shapes: Shapes) -> op.Shape:
    (shape,) = shapes
    _require(len(shape) == 3, f"input shape {shape} must be (batch, steps, features)")
    _positive(hidden_size=layer.hidden_size)
    width = layer.hidden_size * layer.directions
    return (*shape[:2], width) if layer.return_sequence else (shape[0], width)


_RULES: dict[type, tuple[int | None, Callable[..., op.Shape]]] = {
    op.Input: (0, lambda layer, _: layer.shape),
    op.Convolution: (1, _convolution),
    op.TransposedConvolution: (1, _transposed_convolution),
    op.Dense: (1, _dense),
    op.MatMul: (2, _matmul),
    op.Pooling: (1, _pooling),
    op.GlobalPooling: (1, _global_pooling),
    op.Elementwise: (None, _elementwise),
    op.Concat: (None, _concat),
    op.Activation: (1, _same),
    op.BatchNormalization: (1, _same),
    op.Softmax: (1, _softmax),
    op.Resize: (1, _resize),
    op.Pad: (1, _pad),
    op.Reshape: (1, _reshape),
    op.Flatten: (1, _flatten),
    op.Transpose: (1, _transpose),
    op.Slice: (1, _slice),
    op.Lstm: (1, _lstm),
    op.Reorder: (1, _same),
    op.Opaque: (None, lambda layer, _: layer.shape),
}


def output_shape(parameters: op.Parameters, input_shapes: Shapes) -> op.Shape:
    """Shape of a layer's output, elements per axis.

    Raises SchemaError if the inputs are too few or too many, a size is below 1, or the
    parameters do not fit the inputs.
    """
    arity, rule = _RULES[type(parameters)]
    kind = type(parameters).__name__
    if arity is None:
        _require(len(input_shapes) >= 1, f"{kind} takes at least 1 input, got 0")
    else:
        _require(
            len(input_shapes) == arity, f"{kind} takes {arity} input(s), got {len(input_shapes)}"
        )
    shape = rule(parameters, input_shapes)
    _require(
        all(isinstance(size, int) and size >= 1 for size in shape),
        f"{kind} gives shape {shape}: every axis must be a whole number of 1 or more",
    )
    return shape
