"""Graph -> a TensorFlow function with random weights, in TensorFlow's own layout (NHWC).

Weights and biases are random but fixed by the layer's name: latency does not depend on them. A
tensor of four axes has its channels last, all others keep their axes; a reshape or flatten of
such a tensor therefore sees the elements in another order, which no latency depends on either.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import prod, sqrt
from typing import Any
from zlib import crc32

import numpy as np

from strata import operations as op
from strata.builder import same_padding
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer

_NO_PADDING = (0, 0, 0, 0)
_ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "sigmoid",
    "hard_sigmoid",
    "swish",
    "hard_swish",
    "tanh",
    "gelu",
)
_SUPPLY = 1_048_573  # a prime: rows of no layer's length repeat within it
_RESIZES = {"nearest": "nearest", "linear": "bilinear"}


def _window_fault(layer: Layer) -> str | None:
    match layer.parameters:
        case op.Convolution(stride=stride, dilation=dilation):
            if max(stride) > 1 and max(dilation) > 1:
                return "has both a stride and a dilation"
            if layer.operation == "depthwise_convolution" and stride[0] != stride[1]:
                return f"is depthwise with stride {stride}; legal: equal strides"
        case op.TransposedConvolution(groups=groups, dilation=dilation) if (
            groups > 1 or max(dilation) > 1
        ):
            return "is a grouped or dilated transposed convolution"
        case op.TransposedConvolution():
            same, full = transposed_sizes(layer)
            wanted, before = layer.output_shape[2:], layer.parameters.padding[:2]
            ends = [start + size for start, size in zip(before, wanted, strict=True)]
            if tuple(wanted) != same and any(e > f for e, f in zip(ends, full, strict=True)):
                return f"pads its output to {tuple(wanted)}; legal: {same} or up to {full}"
    return None


def transposed_sizes(layer: Layer) -> tuple[op.Pair, op.Pair]:
    """Output sizes of a transposed convolution under TensorFlow's SAME and VALID padding."""
    p = layer.parameters
    assert isinstance(p, op.TransposedConvolution)
    height, width = layer.input_shapes[0][2:]
    same = (height * p.stride[0], width * p.stride[1])
    extra = [max(kernel - stride, 0) for kernel, stride in zip(p.kernel, p.stride, strict=True)]
    return same, (same[0] + extra[0], same[1] + extra[1])


def unsupported(layer: Layer) -> str | None:
    """Why TensorFlow's int8 operations cannot express a layer, in one line; None if they can."""
    name, rank = f"layer '{layer.name}'", len(layer.output_shape)
    match layer.parameters:
        case op.Opaque(type_name=type_name):
            return f"{name} is opaque (type '{type_name}')"
        case op.Activation(kind=kind) if kind not in _ACTIVATIONS:
            return f"{name} is the activation '{kind}'; legal: {', '.join(_ACTIVATIONS)}"
        case op.Resize(kind=kind) if kind not in _RESIZES:
            return f"{name} resizes by '{kind}'; legal: {', '.join(_RESIZES)}"
        case op.Lstm() | op.MatMul() | op.Reorder():
            return f"{name} is {layer.operation}, which has no int8 form here"
        case op.Dense() if rank == 4:
            return f"{name} is dense on a tensor of four axes; legal: flatten it first"
        case op.Elementwise(kind=kind) if kind == "divide":
            return f"{name} divides, which TFLite cannot in int8"
    if fault := _window_fault(layer):
        return f"{name} {fault}"
    return None


def tensor_shape(shape: op.Shape) -> op.Shape:
    """A tensor's shape in TensorFlow's layout."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def axis_in_tensorflow(axis: int, rank: int) -> int:
    """An axis in TensorFlow's layout."""
    axis %= rank
    return (0, 3, 1, 2)[axis] if rank == 4 else axis


def permutation_in_tensorflow(permutation: op.Shape) -> list[int]:
    """A permutation of axes in TensorFlow's layout."""
    rank = len(permutation)
    return [axis_in_tensorflow(axis, rank) for axis in tensor_shape(permutation)]


@cache
def _normal_numbers() -> np.ndarray:
    """(_SUPPLY) float32, standard normal, always the same."""
    return np.random.default_rng(0).standard_normal(_SUPPLY, np.float32)


def random_tensor(layer: Layer, part: str, shape: Sequence[int], fan_in: int = 0) -> np.ndarray:
    """(shape) float32: variance 2 / fan_in keeps activations in range; without, about 0.1.

    Consecutive numbers of one fixed supply, which begin where the names say: drawing each
    anew would take longer than everything else that a writer does with them.
    """
    supply, count = _normal_numbers(), prod(shape)
    start = crc32(f"{layer.name}/{part}".encode()) % len(supply)
    pieces = [supply[start : start + count]]
    while (missing := count - sum(map(len, pieces))) > 0:
        pieces.append(supply[:missing])
    numbers = np.concatenate(pieces).reshape(shape)
    numbers *= np.float32(sqrt(2.0 / fan_in) if fan_in else 0.1)
    return numbers


def _padded(tf: Any, layer: Layer, value: Any, window: Any) -> tuple[Any, str]:
    """The input and TensorFlow's padding that together give the layer's own padding."""
    size = (layer.input_shapes[0][2], layer.input_shapes[0][3])
    dilation = getattr(window, "dilation", (1, 1))
    if window.padding == same_padding(size, window.kernel, window.stride, dilation):
        return value, "VALID" if window.padding == _NO_PADDING else "SAME"
    if window.padding == _NO_PADDING:
        return value, "VALID"
    top, left, bottom, right = window.padding
    return tf.pad(value, [[0, 0], [top, bottom], [left, right], [0, 0]]), "VALID"


def _convolution(tf: Any, layer: Layer, p: op.Convolution, value: Any, name: str) -> Any:
    value, padding = _padded(tf, layer, value, p)
    channels = layer.input_shapes[0][1]
    if layer.operation == "depthwise_convolution":
        shape = (*p.kernel, channels, p.filters // channels)
        weights = random_tensor(layer, "weights", shape, prod(p.kernel))
        strides = (1, *p.stride, 1)
        output = tf.nn.depthwise_conv2d(
            value, weights, strides, padding, dilations=p.dilation, name=name
        )
    else:
        read = channels // p.groups  # by each filter
        shape = (*p.kernel, read, p.filters)
        weights = random_tensor(layer, "weights", shape, read * prod(p.kernel))
        output = tf.nn.conv2d(value, weights, p.stride, padding, dilations=p.dilation, name=name)
    return _biased(tf, layer, p.bias, output, name)


def _transposed(tf: Any, layer: Layer, p: op.TransposedConvolution, value: Any, name: str) -> Any:
    """Without padding and cropped: the same work as any padding of the same output."""
    batch, channels = layer.input_shapes[0][:2]
    shape = (*p.kernel, p.filters, channels)
    weights = random_tensor(layer, "weights", shape, channels * prod(p.kernel))
    same, full = transposed_sizes(layer)
    wanted = layer.output_shape[2:]
    padding, sizes = ("SAME", same) if wanted == same else ("VALID", full)
    output = tf.nn.conv2d_transpose(
        value, weights, (batch, *sizes, p.filters), p.stride, padding, name=name
    )
    if wanted not in (same, full):
        top, left = p.padding[:2]
        output = output[:, top : top + wanted[0], left : left + wanted[1], :]
    return _biased(tf, layer, p.bias, output, name)


def _biased(tf: Any, layer: Layer, bias: bool, output: Any, name: str) -> Any:
    if not bias:
        return output
    return tf.nn.bias_add(
        output, random_tensor(layer, "bias", (output.shape[-1],)), name=f"{name}/bias"
    )


def _dense(tf: Any, layer: Layer, p: op.Dense, value: Any, name: str) -> Any:
    inputs = layer.input_shapes[0][-1]
    weights = random_tensor(layer, "weights", (inputs, p.units), inputs)
    if len(layer.input_shapes[0]) == 2:
        output = tf.matmul(value, weights, name=name)
    else:
        output = tf.tensordot(value, weights, axes=1, name=name)
    return _biased(tf, layer, p.bias, output, name)


def _pooling(tf: Any, layer: Layer, p: op.Pooling, value: Any, name: str) -> Any:
    value, padding = _padded(tf, layer, value, p)
    pool = tf.nn.max_pool2d if p.kind == "max" else tf.nn.avg_pool2d
    return pool(value, p.kernel, p.stride, padding, name=name)


def _global_pooling(tf: Any, p: op.GlobalPooling, value: Any, name: str) -> Any:
    reduce = tf.reduce_max if p.kind == "max" else tf.reduce_mean
    return reduce(value, axis=[1, 2], keepdims=p.keep_dimensions, name=name)


def _elementwise(tf: Any, layer: Layer, p: op.Elementwise, values: list[Any], name: str) -> Any:
    functions = {
        "add": tf.add,
        "multiply": tf.multiply,
        "subtract": tf.subtract,
        "maximum": tf.maximum,
        "minimum": tf.minimum,
    }
    if p.constant_shape is not None:
        rank = len(layer.output_shape)
        shape = (1,) * (rank - len(p.constant_shape)) + p.constant_shape
        values = [*values, random_tensor(layer, "constant", tensor_shape(shape))]
    return functions[p.kind](values[0], values[1], name=name)


def _activation(tf: Any, kind: str, value: Any, name: str) -> Any:
    match kind:
        case "swish":
            return tf.multiply(value, tf.sigmoid(value), name=name)
        case "hard_swish":
            return tf.multiply(value, tf.nn.relu6(value + 3.0) * (1.0 / 6.0), name=name)
        case "hard_sigmoid":
            return tf.multiply(tf.nn.relu6(value + 3.0), 1.0 / 6.0, name=name)
        case "sigmoid" | "tanh":
            return getattr(tf, kind)(value, name=name)
    return getattr(tf.nn, kind)(value, name=name)


def _resize(tf: Any, p: op.Resize, value: Any, name: str) -> Any:
    if p.kind == "nearest":
        return tf.compat.v1.image.resize_nearest_neighbor(value, p.size, name=name)
    return tf.compat.v1.image.resize_bilinear(value, p.size, half_pixel_centers=True, name=name)


def _normalised(tf: Any, layer: Layer, value: Any, name: str) -> Any:
    """Scale and shift per channel, which converters fold into a convolution before it."""
    channels = value.shape[-1]
    scale = 1.0 + random_tensor(layer, "scale", (channels,))
    return tf.add(value * scale, random_tensor(layer, "shift", (channels,)), name=name)


def _operation(tf: Any, layer: Layer, values: list[Any], name: str) -> Any:
    rank = len(layer.input_shapes[0])
    match layer.parameters:
        case op.Convolution() as p:
            return _convolution(tf, layer, p, values[0], name)
        case op.TransposedConvolution() as p:
            return _transposed(tf, layer, p, values[0], name)
        case op.Dense() as p:
            return _dense(tf, layer, p, values[0], name)
        case op.Pooling() as p:
            return _pooling(tf, layer, p, values[0], name)
        case op.GlobalPooling() as p:
            return _global_pooling(tf, p, values[0], name)
        case op.Elementwise() as p:
            return _elementwise(tf, layer, p, values, name)
        case op.Concat(axis=axis):
            return tf.concat(values, axis=axis_in_tensorflow(axis, rank), name=name)
        case op.Activation(kind=kind):
            return _activation(tf, kind, values[0], name)
        case op.BatchNormalization():
            return _normalised(tf, layer, values[0], name)
        case op.Softmax(axis=axis):
            return tf.nn.softmax(values[0], axis=axis_in_tensorflow(axis, rank), name=name)
        case op.Resize() as p:
            return _resize(tf, p, values[0], name)
        case op.Pad(before=before, after=after):
            pairs = zip(tensor_shape(before), tensor_shape(after), strict=True)
            return tf.pad(values[0], [list(pair) for pair in pairs], name=name)
        case op.Transpose(permutation=permutation):
            return tf.transpose(values[0], permutation_in_tensorflow(permutation), name=name)
        case op.Slice() as p:
            bounds = [tensor_shape(each) for each in (p.start, p.stop, p.step)]
            return tf.strided_slice(values[0], *bounds, name=name)
        case op.Reshape() | op.Flatten():
            return tf.reshape(values[0], tensor_shape(layer.output_shape), name=name)
    raise UnsupportedLayer(f"layer '{layer.name}' is {layer.operation}, which is not built here")


def _check_shape(layer: Layer, shape: op.Shape) -> None:
    wanted = tensor_shape(layer.output_shape)
    if shape != wanted:
        raise UnsupportedLayer(f"layer '{layer.name}' became {shape} in TensorFlow, not {wanted}")


def build_function(graph: Graph, names: Callable[[Layer], str]) -> Any:
    """A TensorFlow concrete function of the graph; `names` gives each layer's operation's name.

    Inputs and outputs are in the graph's order, in TensorFlow's layout. UnsupportedLayer names
    the first layer that cannot be expressed.
    """
    import tensorflow as tf

    for layer in graph.layers:
        if reason := unsupported(layer):
            raise UnsupportedLayer(f"graph '{graph.name}': {reason}")

    def network(*inputs: Any) -> list[Any]:
        values = dict(zip(graph.inputs, inputs, strict=True))
        for layer in graph.layers:
            if layer.inputs:
                read = [values[producer] for producer in layer.inputs]
                values[layer.name] = value = _operation(tf, layer, read, names(layer))
                _check_shape(layer, tuple(value.shape))
        return [tf.identity(values[output]) for output in graph.outputs]

    signature = [
        tf.TensorSpec(tensor_shape(graph[name].output_shape), tf.float32, name=names(graph[name]))
        for name in graph.inputs
    ]
    return tf.function(network, input_signature=signature, autograph=False).get_concrete_function()
