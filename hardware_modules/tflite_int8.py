"""Graph -> a full-integer TFLite model: weights, activations, inputs and outputs in int8.

Post-training quantisation of a network with random weights, its ranges taken from a few random
samples; see https://ai.google.dev/edge/litert/conversion/tensorflow/quantization. Accuracy means
nothing here: the model is for measuring time.
"""

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from hardware_modules.tensorflow_builder import build_function, tensor_shape
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer

SAMPLES = 4


def operation_name(layer: Layer) -> str:
    """A layer's name as TensorFlow allows it in a graph."""
    name = re.sub(r"[^A-Za-z0-9_.\\/-]", "_", layer.name)
    return name if re.match(r"[A-Za-z0-9.]", name) else f"layer{name}"


def _samples(graph: Graph, seed: int) -> Iterator[list[np.ndarray]]:
    """Random inputs of the network, uniform in [-1, 1)."""
    generator = np.random.default_rng(seed)
    shapes = [tensor_shape(graph[name].output_shape) for name in graph.inputs]
    for _ in range(SAMPLES):
        yield [generator.uniform(-1.0, 1.0, shape).astype(np.float32) for shape in shapes]


def build_int8(graph: Graph, seed: int = 0) -> bytes:
    """The model file's content. `seed` picks the samples; weights depend on layers' names only.

    UnsupportedLayer, one line: a layer that cannot be expressed, or the converter's own words.
    """
    import tensorflow as tf

    function = build_function(graph, operation_name)
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _samples(graph, seed)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with warnings.catch_warnings():  # the ranges of inputs come from the samples
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
            return bytes(converter.convert())
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedLayer(f"graph '{graph.name}' is not quantised: {reason}") from None
