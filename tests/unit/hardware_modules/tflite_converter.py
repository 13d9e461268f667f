"""The reference for `tflite_writer`: the same graph through TensorFlow's own converter.

Post-training quantisation of a network with random weights, its ranges taken from a few random
samples; see https://ai.google.dev/edge/litert/conversion/tensorflow/quantization.
"""

import re
import warnings
from typing import Any

from hardware_modules.tensorflow_builder import build_function, tensor_shape
from hardware_modules.tflite_ranges import samples
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer


def operation_name(layer: Layer) -> str:
    """A layer's name as TensorFlow allows it in a graph."""
    name = re.sub(r"[^A-Za-z0-9_.\\/-]", "_", layer.name)
    return name if re.match(r"[A-Za-z0-9.]", name) else f"layer{name}"


def float_function(graph: Graph) -> Any:
    """A TensorFlow concrete function of the graph, in float."""
    return build_function(graph, operation_name)


def build_int8(graph: Graph) -> bytes:
    """The converter's model file; UnsupportedLayer, one line, in its own words."""
    import tensorflow as tf

    shapes = [tensor_shape(graph[name].output_shape) for name in graph.inputs]
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([float_function(graph)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: samples(shapes)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with warnings.catch_warnings():  # the ranges of inputs come from the samples
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
            return bytes(converter.convert())
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedLayer(f"graph '{graph.name}' is not quantised: {reason}") from None
