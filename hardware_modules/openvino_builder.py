"""Graph -> openvino.Model, straight through OpenVINO's operation set, in a few milliseconds.

A layer's main operation carries the layer's name; operations a layer needs beside it are named
`<layer>//<part>` so that a profile can be led back to layers with `layer_of`.
"""

from collections.abc import Callable, Iterable
from functools import cache
from math import prod, sqrt
from typing import Any
from zlib import crc32

import numpy as np

from strata import operations as op
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer

_PART = "//"
_BLOCK = 1 << 20


def node_name(layer: str) -> str:
    """A layer's name as OpenVINO can give it back: its lists of names are joined by commas."""
    return layer.replace(",", ";")


def layer_of(name: str, layers: dict[str, str]) -> str | None:
    """The layer an operation belongs to; `layers` maps `node_name(layer)` to the layer's name."""
    return layers.get(name) or layers.get(name.rpartition(_PART)[0])


def unsupported(layer: Layer) -> str | None:
    """Why a layer cannot be built, in one line; None if it can."""
    match layer.parameters:
        case op.Opaque(type_name=type_name):
            return f"layer '{layer.name}' is opaque (type '{type_name}')"
        case op.Reorder():
            return f"layer '{layer.name}' is a Reorder, which only a toolchain inserts"
        case op.Activation(kind="other"):
            return f"layer '{layer.name}' has an unknown activation ('other')"
    if (layer.activation_bits, layer.weight_bits) != (32, 32):
        bits = f"{layer.activation_bits}-bit activations and {layer.weight_bits}-bit weights"
        return f"layer '{layer.name}' has {bits}; legal: 32"
    return None


@cache
def _random_block() -> np.ndarray:
    """Uniform in [-1, 1), without the tiny values that could become denormal products."""
    block = np.random.default_rng(20_260_101).uniform(-1.0, 1.0, _BLOCK).astype(np.float32)
    return np.where(np.abs(block) < 1e-3, np.float32(1e-3), block)


def random_values(shape: op.Shape, name: str, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """(shape) float32 in shift + [-scale, scale), the same for the same name on every machine."""
    block, count = _random_block(), prod(shape)
    start = crc32(name.encode()) % _BLOCK
    # equal weights on equal inputs would be merged by the toolchain: every name starts elsewhere
    # in the block, and what does not fit before its end goes on at its beginning
    values = block[start : start + count]
    if len(values) < count:
        values = np.resize(np.concatenate([block[start:], block[:start]]), count)
    return (values * np.float32(scale) + np.float32(shift)).reshape(shape)


def _constant(values: np.ndarray | Iterable[int], dtype: type = np.float32) -> Any:
    from openvino import op as base

    return base.Constant(np.asarray(values, dtype=dtype, order="C"), shared_memory=True)


def _integers(values: Iterable[int]) -> Any:
    return _constant(np.array(tuple(values)), np.int64)


def _weights(layer: Layer, shape: op.Shape, fan_in: int) -> Any:
    """Uniform with variance 2 / fan_in (He et al. 2015): ReLU networks of any depth keep the
    scale of their activations, so nothing decays into denormals or grows to infinity."""
    return _constant(random_values(shape, layer.name, sqrt(6.0 / fan_in)))


def _with_bias(ops: Any, layer: Layer, output: Any, shape: op.Shape) -> tuple[Any, Any]:
    output.set_friendly_name(node_name(layer.name))
    bias = _constant(random_values(shape, layer.name + "/bias", 0.1))
    added = ops.add(output, bias)
    added.set_friendly_name(f"{node_name(layer.name)}{_PART}bias")
    return output, added


def _convolution(ops: Any, layer: Layer, parameters: op.Convolution, source: Any) -> Any:
    groups, filters = parameters.groups, parameters.filters
    channels = layer.input_shapes[0][1] // groups
    fan_in = channels * prod(parameters.kernel)
    top, left, bottom, right = parameters.padding
    window = (parameters.stride, (top, left), (bottom, right), parameters.dilation)
    window_lists = [list(item) for item in window]
    if groups == 1:
        weights = _weights(layer, (filters, channels, *parameters.kernel), fan_in)
        output = ops.convolution(source, weights, *window_lists)
    else:
        shape = (groups, filters // groups, channels, *parameters.kernel)
        output = ops.group_convolution(source, _weights(layer, shape, fan_in), *window_lists)
    if not parameters.bias:
        return output
    return _with_bias(ops, layer, output, (1, filters, 1, 1))


def _transposed(ops: Any, layer: Layer, parameters: op.TransposedConvolution, source: Any) -> Any:
    groups, filters = parameters.groups, parameters.filters
    channels = layer.input_shapes[0][1] // groups
    fan_in = max(channels * prod(parameters.kernel) // prod(parameters.stride), 1)
    top, left, bottom, right = parameters.padding
    options = {
        "strides": list(parameters.stride),
        "pads_begin": [top, left],
        "pads_end": [bottom, right],
        "dilations": list(parameters.dilation),
        "output_padding": list(parameters.output_padding),
    }
    if groups == 1:
        weights = _weights(layer, (channels, filters, *parameters.kernel), fan_in)
        output = ops.convolution_backprop_data(source, weights, **options)
    else:
        shape = (groups, channels, filters // groups, *parameters.kernel)
        weights = _weights(layer, shape, fan_in)
        output = ops.group_convolution_backprop_data(source, weights, **options)
    if not parameters.bias:
        return output
    return _with_bias(ops, layer, output, (1, filters, 1, 1))


def _dense(ops: Any, layer: Layer, parameters: op.Dense, source: Any) -> Any:
    features = layer.input_shapes[0][-1]
    weights = _weights(layer, (parameters.units, features), features)
    output = ops.matmul(source, weights, False, True)
    if not parameters.bias:
        return output
    ones = (1,) * (len(layer.output_shape) - 1)
    return _with_bias(ops, layer, output, (*ones, parameters.units))


def _matmul(ops: Any, _: Layer, parameters: op.MatMul, first: Any, second: Any) -> Any:
    return ops.matmul(first, second, parameters.transpose_a, parameters.transpose_b)


def _pooling(ops: Any, _: Layer, parameters: op.Pooling, source: Any) -> Any:
    top, left, bottom, right = parameters.padding
    strides, kernel = list(parameters.stride), list(parameters.kernel)
    before, after = [top, left], [bottom, right]
    if parameters.kind == "max":
        return ops.max_pool(source, strides, [1, 1], before, after, kernel).output(0)
    return ops.avg_pool(source, strides, before, after, kernel, not parameters.count_padding)


def _global_pooling(ops: Any, _: Layer, parameters: op.GlobalPooling, source: Any) -> Any:
    reduce = ops.reduce_max if parameters.kind == "max" else ops.reduce_mean
    return reduce(source, _integers((2, 3)), parameters.keep_dimensions)


def _elementwise(ops: Any, layer: Layer, parameters: op.Elementwise, *sources: Any) -> Any:
    if parameters.constant_shape is not None:
        # near 1, so that products and quotients keep the scale
        values = random_values(parameters.constant_shape, layer.name, 0.25, 1.0)
        sources = (*sources, _constant(values))
    return getattr(ops, parameters.kind)(*sources)


def _activation(ops: Any, _: Layer, parameters: op.Activation, source: Any) -> Any:
    match parameters.kind:
        case "relu6":
            return ops.clamp(source, 0.0, 6.0)
        case "leaky_relu":
            return ops.prelu(source, _constant(np.array([0.1])))
        case "hard_sigmoid":
            return ops.hsigmoid(source)
        case "hard_swish":
            return ops.hswish(source)
        case "gelu":
            return ops.gelu(source, "erf")
        case "elu":
            return ops.elu(source, 1.0)
    return getattr(ops, parameters.kind)(source)


def _normalisation(ops: Any, layer: Layer, _: op.BatchNormalization, source: Any) -> Any:
    channels, name = (layer.input_shapes[0][1],), layer.name
    scale, variance = (
        _constant(random_values(channels, name + part, 0.1, 1.0)) for part in ("/g", "/v")
    )
    shift, mean = (_constant(random_values(channels, name + part, 0.1)) for part in ("/b", "/m"))
    return ops.batch_norm_inference(source, scale, shift, mean, variance, 1e-3)


def _resize(ops: Any, _: Layer, parameters: op.Resize, source: Any) -> Any:
    modes = {"nearest": "nearest", "linear": "linear_onnx", "cubic": "cubic"}
    sizes, axes = _integers(parameters.size), _integers((2, 3))
    return ops.interpolate(source, sizes, modes[parameters.kind], "sizes", axes=axes)


def _pad(ops: Any, _: Layer, parameters: op.Pad, source: Any) -> Any:
    before, after = _integers(parameters.before), _integers(parameters.after)
    return ops.pad(source, before, after, "constant", _constant(np.array(0.0)))


def _reshape(ops: Any, layer: Layer, _: object, source: Any) -> Any:
    return ops.reshape(source, _integers(layer.output_shape), False)


def _slice(ops: Any, _: Layer, parameters: op.Slice, source: Any) -> Any:
    return ops.slice(
        source, _integers(parameters.start), _integers(parameters.stop), _integers(parameters.step)
    )


def _lstm(ops: Any, layer: Layer, parameters: op.Lstm, source: Any) -> Any:
    batch, steps, features = layer.input_shapes[0]
    hidden, directions = parameters.hidden_size, parameters.directions
    state = _constant(np.zeros((batch, directions, hidden)))
    weights = [
        _constant(random_values((directions, 4 * hidden, size), layer.name + part, sqrt(1 / size)))
        for part, size in (("/w", features), ("/r", hidden))
    ]
    bias = _constant(random_values((directions, 4 * hidden), layer.name + "/bias", 0.1))
    direction = "bidirectional" if directions == 2 else "forward"
    lengths = _integers((steps,) * batch)
    sequence = ops.lstm_sequence(source, state, state, lengths, *weights, bias, hidden, direction)
    sequence.set_friendly_name(node_name(layer.name))
    output = sequence.output(0 if parameters.return_sequence else 1)
    if parameters.return_sequence:
        output = ops.transpose(output, _integers((0, 2, 1, 3)))
        output.set_friendly_name(f"{node_name(layer.name)}{_PART}transpose")
    merged = ops.reshape(output, _integers(layer.output_shape), False)
    merged.set_friendly_name(f"{node_name(layer.name)}{_PART}reshape")
    return sequence, merged


_BUILDERS: dict[type, Callable[..., Any]] = {
    op.Input: lambda ops, layer, _: ops.parameter(list(layer.output_shape), np.float32),
    op.Convolution: _convolution,
    op.TransposedConvolution: _transposed,
    op.Dense: _dense,
    op.MatMul: _matmul,
    op.Pooling: _pooling,
    op.GlobalPooling: _global_pooling,
    op.Elementwise: _elementwise,
    op.Concat: lambda ops, _, parameters, *sources: ops.concat(list(sources), parameters.axis),
    op.Activation: _activation,
    op.BatchNormalization: _normalisation,
    op.Softmax: lambda ops, _, parameters, source: ops.softmax(source, parameters.axis),
    op.Resize: _resize,
    op.Pad: _pad,
    op.Reshape: _reshape,
    op.Flatten: _reshape,
    op.Transpose: lambda ops, _, parameters, source: ops.transpose(
        source, _integers(parameters.permutation)
    ),
    op.Slice: _slice,
    op.Lstm: _lstm,
}


def _named(output: Any, name: str) -> None:
    node = output if hasattr(output, "set_friendly_name") else output.get_node()
    node.set_friendly_name(name)


def build_model(graph: Graph) -> Any:
    """The graph as an `openvino.Model` with reproducible constants.

    UnsupportedLayer names the first layer that has no OpenVINO counterpart.
    """
    import openvino
    import openvino.opset13 as ops

    outputs: dict[str, Any] = {}
    for layer in graph.layers:
        if reason := unsupported(layer):
            raise UnsupportedLayer(f"graph '{graph.name}': {reason}")
        sources = [outputs[producer] for producer in layer.inputs]
        built = _BUILDERS[type(layer.parameters)](ops, layer, layer.parameters, *sources)
        main, outputs[layer.name] = built if isinstance(built, tuple) else (built, built)
        _named(main, node_name(layer.name))
    results = [ops.result(outputs[name]) for name in graph.outputs]
    for name, result in zip(graph.outputs, results, strict=True):
        result.set_friendly_name(f"{node_name(name)}{_PART}result")
    return openvino.Model(results, [outputs[name] for name in graph.inputs], graph.name)
