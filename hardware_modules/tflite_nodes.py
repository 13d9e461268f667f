"""Graph -> the float operators that TFLite would run, one per step of each layer.

The steps are those of `tensorflow_builder`, in TensorFlow's layout and with the same constants.
Layers that change nothing have no operator, and equal steps of equal tensors are one operator, as
TensorFlow's own optimiser has it. What joins what is in `tflite_folding`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeGuard

import numpy as np

from hardware_modules.tensorflow_builder import (
    axis_in_tensorflow,
    permutation_in_tensorflow,
    random_tensor,
    tensor_shape,
    transposed_sizes,
)
from strata import operations as op
from strata.builder import same_padding
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer

_NO_PADDING = (0, 0, 0, 0)
_HEIGHT_WIDTH = np.array([1, 2], np.int32)
_SOFT = {
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "gelu": "GELU",
    "hard_swish": "HARD_SWISH",
    "leaky_relu": "LEAKY_RELU",
    "relu": "RELU",
    "relu6": "RELU6",
}
_ELEMENTWISE = {
    "add": "ADD",
    "multiply": "MUL",
    "subtract": "SUB",
    "maximum": "MAXIMUM",
    "minimum": "MINIMUM",
}
_RESIZES = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}
_SLOPE = 0.2  # of leaky_relu, TensorFlow's default
THREE, SIXTH = np.array(3, np.float32), np.array(1 / 6, np.float32)  # of hard_sigmoid


@dataclass(slots=True, eq=False)
class Node:
    """One operator and its only output, in float and in TensorFlow's layout.

    `weights` lie as TFLite has them, their filters along `channel_axis`; `indices` are its sizes,
    axes or bounds; `constant` is a second operand. `layers` are those it executes, in order.
    """

    code: str
    name: str
    inputs: tuple["Node", ...]
    shape: op.Shape
    options: dict[str, Any] = field(default_factory=dict)
    indices: tuple[np.ndarray, ...] = ()
    weights: np.ndarray | None = None
    channel_axis: int = 0
    bias: np.ndarray | None = None
    constant: np.ndarray | None = None
    relu: str = "NONE"
    layers: list[str] = field(default_factory=list)


def _integers(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def _is_number(constant: np.ndarray | None) -> TypeGuard[np.ndarray]:
    return constant is not None and constant.ndim == 0


class _Network:
    """The operators so far, and the one that gives each layer's output."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: dict[str, Node] = {}
        self._seen: dict[tuple[Any, ...], Node] = {}

    def add(self, layer: Layer, code: str, *inputs: Node, part: str = "", **rest: Any) -> Node:
        """An operator of a layer, perhaps an equal one made before.

        `part` names one that does not end the layer.
        """
        name = f"{layer.name}/{part}" if part else layer.name
        shape = rest.pop("shape", None) or tensor_shape(layer.output_shape)
        node = Node(code, name, inputs, shape, layers=[layer.name], **rest)
        number = node.constant.item() if _is_number(node.constant) else None
        if node.weights is None and (node.constant is None or number is not None) and inputs:
            indices = tuple(tuple(each.ravel().tolist()) for each in node.indices)
            options = tuple(node.options.items())
            key = (code, tuple(map(id, inputs)), shape, options, indices, number)
            twin = self._seen.setdefault(key, node)
            if twin is not node:
                twin.layers.append(layer.name)
                return twin
        self.nodes.append(node)
        return node


def _same_or_valid(net: _Network, layer: Layer, node: Node, window: Any) -> tuple[Node, str]:
    """The input and padding that together give the layer's own: explicit where it must be."""
    size = (layer.input_shapes[0][2], layer.input_shapes[0][3])
    dilation = getattr(window, "dilation", (1, 1))
    if window.padding == same_padding(size, window.kernel, window.stride, dilation):
        return node, "VALID" if window.padding == _NO_PADDING else "SAME"
    if window.padding == _NO_PADDING:
        return node, "VALID"
    top, left, bottom, right = window.padding
    shape = (node.shape[0], size[0] + top + bottom, size[1] + left + right, node.shape[3])
    counts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    return net.add(layer, "PAD", node, part="pad", shape=shape, indices=(counts,)), "VALID"


def _window(p: Any, padding: str) -> dict[str, Any]:
    return {"Padding": padding, "StrideW": p.stride[1], "StrideH": p.stride[0]}


def _bias(layer: Layer, wanted: bool, filters: int) -> np.ndarray | None:
    return random_tensor(layer, "bias", (filters,)) if wanted else None


def _convolution(net: _Network, layer: Layer, p: op.Convolution, node: Node) -> Node:
    node, padding = _same_or_valid(net, layer, node, p)
    channels = layer.input_shapes[0][1]
    options = _window(p, padding)
    options |= {"DilationHFactor": p.dilation[0], "DilationWFactor": p.dilation[1]}
    if layer.operation == "depthwise_convolution":
        code, axis, multiplier = "DEPTHWISE_CONV_2D", 3, p.filters // channels
        shape = (*p.kernel, channels, multiplier)
        weights = random_tensor(layer, "weights", shape, prod(p.kernel))
        weights = weights.reshape(1, *p.kernel, p.filters)
        options["DepthMultiplier"] = multiplier
    else:
        code, axis = "CONV_2D", 0
        read = channels // p.groups  # by each filter
        shape = (*p.kernel, read, p.filters)
        weights = random_tensor(layer, "weights", shape, read * prod(p.kernel))
        weights = np.moveaxis(weights, 3, 0)
    made = net.add(layer, code, node, options=options, weights=weights, channel_axis=axis)
    made.bias = _bias(layer, p.bias, p.filters)
    return made


def _transposed(net: _Network, layer: Layer, p: op.TransposedConvolution, node: Node) -> Node:
    batch, channels = layer.input_shapes[0][:2]
    shape = (*p.kernel, p.filters, channels)
    weights = random_tensor(layer, "weights", shape, channels * prod(p.kernel))
    weights = np.moveaxis(weights, 2, 0)
    same, full = transposed_sizes(layer)
    wanted = layer.output_shape[2:]
    padding, sizes = ("SAME", same) if wanted == same else ("VALID", full)
    whole = (batch, *sizes, p.filters)
    bias = _bias(layer, p.bias, p.filters)
    cropped = wanted not in (same, full)
    made = net.add(
        layer,
        "TRANSPOSE_CONV",
        node,
        shape=whole,
        options=_window(p, padding),
        indices=(_integers(*whole),),
        weights=weights,
        part="whole" if cropped else "",
    )
    if not cropped:
        made.bias = bias
        return made
    top, left = p.padding[:2]
    bounds = (_integers(0, top, left, 0), _integers(0, top + wanted[0], left + wanted[1], 0))
    options = {"BeginMask": 9, "EndMask": 9}
    made = net.add(
        layer,
        "STRIDED_SLICE",
        made,
        indices=(*bounds, _integers(1, 1, 1, 1)),
        options=options,
        part="cropped" if p.bias else "",
    )
    return made if bias is None else net.add(layer, "ADD", made, constant=bias)


def _dense(net: _Network, layer: Layer, p: op.Dense, node: Node) -> Node:
    inputs = layer.input_shapes[0][-1]
    weights = random_tensor(layer, "weights", (inputs, p.units), inputs).T
    rank = len(layer.input_shapes[0])
    made = net.add(
        layer, "FULLY_CONNECTED", node, weights=weights, options={"KeepNumDims": rank > 2}
    )
    made.bias = _bias(layer, p.bias, p.units)
    return made


def _pooling(net: _Network, layer: Layer, p: op.Pooling, node: Node) -> Node:
    node, padding = _same_or_valid(net, layer, node, p)
    options = _window(p, padding) | {"FilterHeight": p.kernel[0], "FilterWidth": p.kernel[1]}
    code = "MAX_POOL_2D" if p.kind == "max" else "AVERAGE_POOL_2D"
    return net.add(layer, code, node, options=options)


def _global_pooling(net: _Network, layer: Layer, p: op.GlobalPooling, node: Node) -> Node:
    if p.keep_dimensions and node.shape == tensor_shape(layer.output_shape):
        return node
    code = "REDUCE_MAX" if p.kind == "max" else "MEAN"
    options = {"KeepDims": p.keep_dimensions}
    return net.add(layer, code, node, options=options, indices=(_HEIGHT_WIDTH,))


def _elementwise(net: _Network, layer: Layer, p: op.Elementwise, nodes: Sequence[Node]) -> Node:
    if p.constant_shape is None:
        return net.add(layer, _ELEMENTWISE[p.kind], *nodes)
    rank = len(layer.output_shape)
    shape = (1,) * (rank - len(p.constant_shape)) + p.constant_shape
    constant = random_tensor(layer, "constant", tensor_shape(shape))
    return net.add(layer, _ELEMENTWISE[p.kind], nodes[0], constant=constant)


def _normalised(net: _Network, layer: Layer, node: Node) -> Node:
    channels = layer.output_shape[1 if len(layer.output_shape) == 4 else -1]
    scale = np.float32(1.0) + random_tensor(layer, "scale", (channels,))
    shift = random_tensor(layer, "shift", (channels,))
    scaled = net.add(layer, "MUL", node, constant=scale, part="scaled")
    return net.add(layer, "ADD", scaled, constant=shift)


def _activation(net: _Network, layer: Layer, kind: str, node: Node) -> Node:
    if kind == "swish":
        gate = net.add(layer, "LOGISTIC", node, part="logistic")
        return net.add(layer, "MUL", node, gate)
    if kind == "hard_sigmoid":
        shifted = net.add(layer, "ADD", node, constant=THREE, part="shifted")
        clipped = net.add(layer, "RELU6", shifted, part="clipped")
        return net.add(layer, "MUL", clipped, constant=SIXTH)
    if kind in ("relu", "relu6") and node.code == _SOFT[kind]:
        return node
    options = {"Alpha": _SLOPE} if kind == "leaky_relu" else {}
    return net.add(layer, _SOFT[kind], node, options=options)


def _softmax(net: _Network, layer: Layer, axis: int, node: Node) -> Node:
    rank = len(node.shape)
    place = axis_in_tensorflow(axis, rank)
    if place == rank - 1:
        return net.add(layer, "SOFTMAX", node, options={"Beta": 1.0})
    order = [*range(rank)]
    order[place], order[-1] = order[-1], order[place]
    turned = _transpose(net, layer, order, node, "turned")
    made = net.add(
        layer, "SOFTMAX", turned, options={"Beta": 1.0}, shape=turned.shape, part="softmax"
    )
    return _transpose(net, layer, order, made)


def _transpose(
    net: _Network, layer: Layer, order: Sequence[int], node: Node, part: str = ""
) -> Node:
    shape = tuple(node.shape[axis] for axis in order)
    if list(order) == sorted(order):
        return node
    return net.add(layer, "TRANSPOSE", node, part=part, shape=shape, indices=(_integers(*order),))


def _resize(net: _Network, layer: Layer, p: op.Resize, node: Node) -> Node:
    centres = {"HalfPixelCenters": True} if p.kind == "linear" else {}
    return net.add(layer, _RESIZES[p.kind], node, options=centres, indices=(_integers(*p.size),))


def _pad(net: _Network, layer: Layer, p: op.Pad, node: Node) -> Node:
    counts = np.array([tensor_shape(p.before), tensor_shape(p.after)], np.int32).T
    if not counts.any():
        return node
    return net.add(layer, "PAD", node, indices=(np.ascontiguousarray(counts),))


def _slice(net: _Network, layer: Layer, p: op.Slice, node: Node) -> Node:
    start, stop, step = (_integers(*tensor_shape(each)) for each in (p.start, p.stop, p.step))
    if node.shape == tensor_shape(layer.output_shape):
        return node
    if (step == 1).all():
        return net.add(
            layer, "SLICE", node, indices=(start, _integers(*tensor_shape(layer.output_shape)))
        )
    return net.add(layer, "STRIDED_SLICE", node, indices=(start, stop, step))


def _reshape(net: _Network, layer: Layer, node: Node) -> Node:
    shape = tensor_shape(layer.output_shape)
    if node.shape == shape:
        return node
    return net.add(layer, "RESHAPE", node, indices=(_integers(*shape),))


def _operator(net: _Network, layer: Layer, nodes: Sequence[Node]) -> Node:
    """The operator whose output is the layer's."""
    match layer.parameters:
        case op.Convolution() as p:
            return _convolution(net, layer, p, nodes[0])
        case op.TransposedConvolution() as p:
            return _transposed(net, layer, p, nodes[0])
        case op.Dense() as p:
            return _dense(net, layer, p, nodes[0])
        case op.Pooling() as p:
            return _pooling(net, layer, p, nodes[0])
        case op.GlobalPooling() as p:
            return _global_pooling(net, layer, p, nodes[0])
        case op.Elementwise() as p:
            return _elementwise(net, layer, p, nodes)
        case op.Concat() if len(nodes) == 1:
            return nodes[0]
        case op.Concat(axis=axis):
            place = axis_in_tensorflow(axis, len(layer.output_shape))
            return net.add(layer, "CONCATENATION", *nodes, options={"Axis": place})
        case op.Activation(kind=kind):
            return _activation(net, layer, kind, nodes[0])
        case op.BatchNormalization():
            return _normalised(net, layer, nodes[0])
        case op.Softmax(axis=axis):
            return _softmax(net, layer, axis, nodes[0])
        case op.Resize() as p:
            return _resize(net, layer, p, nodes[0])
        case op.Pad() as p:
            return _pad(net, layer, p, nodes[0])
        case op.Transpose(permutation=permutation):
            return _transpose(net, layer, permutation_in_tensorflow(permutation), nodes[0])
        case op.Slice() as p:
            return _slice(net, layer, p, nodes[0])
        case op.Reshape() | op.Flatten():
            return _reshape(net, layer, nodes[0])
    raise UnsupportedLayer(f"layer '{layer.name}' is {layer.operation}, which is not built here")


def float_nodes(graph: Graph) -> tuple[list[Node], list[Node]]:
    """The operators in order of execution, with the inputs, and those that give the outputs."""
    net = _Network()
    for layer in graph.layers:
        if isinstance(layer.parameters, op.Input):
            net.values[layer.name] = node = net.add(layer, "INPUT")
            node.layers = []
        else:
            nodes = [net.values[producer] for producer in layer.inputs]
            net.values[layer.name] = node = _operator(net, layer, nodes)
            if layer.name not in node.layers and not isinstance(layer.parameters, op.VIEWS):
                node.layers.append(layer.name)  # it changed nothing: it goes with what it reads
    return net.nodes, [net.values[name] for name in graph.outputs]
