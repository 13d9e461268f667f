"""Graph -> a full-integer TFLite model, written directly: no TensorFlow, milliseconds per layer.

The operators, their weights' integers and what is folded into them are those that TensorFlow's
converter gives for the same graph (`tensorflow_builder`); docs/int8.md says how that is checked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_folding import folded
from hardware_modules.tflite_model import Operator, Tensor, options_number, serialise
from hardware_modules.tflite_nodes import Node, float_nodes
from hardware_modules.tflite_ranges import (
    Quantisation,
    Quantisations,
    quantisation,
    quantisations,
    spreads,
)
from strata.errors import UnsupportedLayer
from strata.graph import Graph

_VERSIONS = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 5, "GELU": 2, "HARD_SWISH": 1, "LEAKY_RELU": 2, "LOGISTIC": 2, "MAXIMUM": 2,
    "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2, "MUL": 2, "PAD": 2, "QUANTIZE": 2, "REDUCE_MAX": 2,
    "RELU": 2, "RELU6": 2, "RESHAPE": 1, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2, "SOFTMAX": 2, "STRIDED_SLICE": 2, "SUB": 2, "TANH": 2, "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 3,
}  # fmt: skip
_OPTIONS = {
    "ADD": "AddOptions", "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions", "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions", "MEAN": "ReducerOptions", "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions", "PAD": "PadOptions", "REDUCE_MAX": "ReducerOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions", "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions", "STRIDED_SLICE": "StridedSliceOptions", "SUB": "SubOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}  # fmt: skip
_MOST_WEIGHTS = 2_000_000_000  # offsets in the file have 31 bits
_NARROW = 127  # weights are symmetric: -128 is not used


@dataclass(frozen=True, slots=True)
class Int8Model:
    """A .tflite file's content, and per operator in it the graph's layers that it executes."""

    content: bytes
    layers: tuple[tuple[str, ...], ...]


def _tensor(name: str, node: Node, grid: Quantisation) -> Tensor:
    scale = np.array([grid.scale], np.float32)
    return Tensor(name, node.shape, "int8", scale, grid.zero_point)


def quantised_weights(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and the scale per filter, symmetric: the largest becomes 127."""
    others = tuple(each for each in range(weights.ndim) if each != axis)
    around = [1] * weights.ndim
    around[axis] = -1
    largest = np.maximum(weights.max(others), -weights.min(others))
    scale = (largest.astype(np.float64) / _NARROW).astype(np.float32)
    scaled = weights * (np.float32(1) / scale).reshape(around)  # float32, as the converter has it
    scaled += np.copysign(np.float32(0.5), scaled)  # halves go away from zero
    return np.ascontiguousarray(scaled.astype(np.int8)), scale


def _weighted(node: Node, grid: Quantisation) -> list[Tensor]:
    """Weights and bias; a bias counts in products of an input's and a weight's unit."""
    assert node.weights is not None
    integers, scale = quantised_weights(node.weights, node.channel_axis)
    axis = node.channel_axis
    weights = Tensor(f"{node.name}/weights", integers.shape, "int8", scale, 0, axis, integers)
    if node.bias is None and node.code == "TRANSPOSE_CONV":
        return [weights]
    unit = np.float32(grid.scale) * scale
    bias = np.zeros(len(scale)) if node.bias is None else node.bias / unit.astype(np.float64)
    limits = np.iinfo(np.int32)
    counts = np.clip(np.rint(bias), limits.min, limits.max).astype(np.int32)
    return [weights, Tensor(f"{node.name}/bias", counts.shape, "int32", unit, 0, 0, counts)]


def _constant(node: Node, values: np.ndarray, grid: Quantisation | None) -> Tensor:
    """A second operand, on its own grid or, where the operator wants one grid, on that."""
    grid = grid or quantisation(float(values.min()), float(values.max()))
    integers = np.clip(np.rint(values / grid.scale) + grid.zero_point, -128, 127).astype(np.int8)
    scale = np.array([grid.scale], np.float32)
    return Tensor(
        f"{node.name}/constant", integers.shape, "int8", scale, grid.zero_point, 0, integers
    )


def _operands(
    node: Node, read: list[Tensor], read_grid: Quantisation, own: Quantisation
) -> list[Tensor]:
    """All inputs of an operator in TFLite's order."""
    indices = [
        Tensor(f"{node.name}/{number}", each.shape, "int32", data=each)
        for number, each in enumerate(node.indices)
    ]
    weighted = _weighted(node, read_grid) if node.weights is not None else []
    if node.code == "TRANSPOSE_CONV":
        return [*indices, weighted[0], *read, *weighted[1:]]
    constants = []
    if node.constant is not None:
        grid = own if node.code in ("MAXIMUM", "MINIMUM") else None
        constants = [_constant(node, node.constant, grid)]
    return [*read, *weighted, *constants, *indices]


def _options(node: Node) -> dict[str, Any]:
    found = {key: options_number(key, value) for key, value in node.options.items()}
    if node.relu != "NONE":
        found["FusedActivationFunction"] = options_number("FusedActivationFunction", node.relu)
    return found


class _Writer:
    """Operators so far, and the layers of each."""

    def __init__(self, grids: Quantisations) -> None:
        self.grids = grids
        self.tensors: dict[Node, Tensor] = {}
        self.requantised: dict[tuple[Node, Quantisation], Tensor] = {}
        self.operators: list[Operator] = []
        self.layers: list[tuple[str, ...]] = []

    def grid(self, node: Node) -> Quantisation:
        """That of an output as its readers see it."""
        return self.grids.requantised.get(node, self.grids.outputs[node])

    def requantise(self, node: Node, grid: Quantisation) -> Tensor:
        """The output of a node on another grid, made at most once."""
        if (node, grid) not in self.requantised:
            number = sum(each is node for each, _ in self.requantised)
            made = _tensor(f"{node.name}/requantised_{number}", node, grid)
            self.requantised[node, grid] = made
            source = self.tensors[node]
            self.operators.append(Operator("QUANTIZE", _VERSIONS["QUANTIZE"], (source,), made))
            self.layers.append(())
        return self.requantised[node, grid]

    def read(self, node: Node, place: int) -> Tensor:
        """An operand on the grid that the operator wants."""
        source = node.inputs[place]
        grid = self.grids.inputs.get((node, place), self.grid(source))
        if grid == self.grids.outputs[source]:
            return self.tensors[source]
        return self.requantise(source, grid)

    def write(self, node: Node) -> None:
        """Append the operator; an input has a tensor only."""
        own = self.grids.outputs[node]
        self.tensors[node] = made = _tensor(node.name, node, own)
        if node.code == "INPUT":
            return
        read = [self.read(node, place) for place in range(len(node.inputs))]
        inputs = _operands(node, read, self.grid(node.inputs[0]), own)
        code, options = node.code, _OPTIONS.get(node.code, "")
        self.operators.append(
            Operator(code, _VERSIONS[code], tuple(inputs), made, options, _options(node))
        )
        self.layers.append(tuple(node.layers))

    def output(self, node: Node) -> Tensor:
        """What leaves the network."""
        grid = self.grid(node)
        same = grid == self.grids.outputs[node]
        return self.tensors[node] if same else self.requantise(node, grid)


def write_int8(graph: Graph) -> Int8Model:
    """The model's file and its operators' layers, the same for the same graph.

    UnsupportedLayer, one line: a layer that has no int8 form here, or more weights than fit.
    """
    for layer in graph.layers:
        if reason := unsupported(layer):
            raise UnsupportedLayer(f"graph '{graph.name}': {reason}")
    weights = graph.weight_elements
    if weights > _MOST_WEIGHTS:
        raise UnsupportedLayer(
            f"graph '{graph.name}' has {weights} weights; legal: at most {_MOST_WEIGHTS}, "
            "which one TFLite file holds"
        )
    nodes, outputs = folded(*float_nodes(graph))
    grids = quantisations(nodes, spreads(nodes))
    writer = _Writer(grids)
    for node in nodes:
        writer.write(node)
    inputs = [writer.tensors[node] for node in nodes if node.code == "INPUT"]
    ends = [writer.output(node) for node in outputs]
    content = serialise(graph.name, inputs, ends, writer.operators)
    return Int8Model(content, tuple(writer.layers))
