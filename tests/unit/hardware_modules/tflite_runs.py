"""What TFLite's interpreter makes of a written model, beside the float function."""

import numpy as np
from tflite_converter import float_function

from hardware_modules.tensorflow_builder import tensor_shape
from hardware_modules.tflite_ranges import samples
from hardware_modules.tflite_writer import write_int8

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def interpreter_of(graph):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=write_int8(graph).content)
    interpreter.allocate_tensors()
    return interpreter


def real(detail, integers):
    scale, zero = detail["quantization"]
    return (integers.astype(np.float32) - zero) * scale


def run(graph):
    """Inputs and outputs of the int8 model in real numbers, and what the float function gives.

    Inputs are first rounded to what int8 can say. Outputs beyond an output's grid are cut there.
    """
    interpreter = interpreter_of(graph)
    shapes = [tensor_shape(graph[name].output_shape) for name in graph.inputs]
    given = []
    for detail, values in zip(interpreter.get_input_details(), next(samples(shapes)), strict=True):
        scale, zero = detail["quantization"]
        integers = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(detail["index"], integers)
        given.append(real(detail, integers))
    interpreter.invoke()
    wanted = float_function(graph)(*given)
    pairs = []
    for detail, floats in zip(interpreter.get_output_details(), wanted, strict=True):
        low, high = (real(detail, np.array(end)) for end in (-128, 127))
        step = detail["quantization"][0]
        got = real(detail, interpreter.get_tensor(detail["index"]))
        pairs.append((got, np.clip(floats.numpy(), low, high), step))
    return pairs


def operators(content):
    """Names and output shapes, sorted; and the weights, sorted."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    found = [
        (each["op_name"], tuple(details[each["outputs"][0]]["shape"]))
        for each in interpreter._get_ops_details()
    ]
    weights = [
        interpreter.get_tensor(index).tobytes()
        for each in interpreter._get_ops_details()
        if each["op_name"] in WEIGHTED
        for index in each["inputs"]
        if details[index]["quantization_parameters"]["scales"].size > 1
        and details[index]["dtype"] is np.int8
    ]
    return sorted(found), sorted(weights)
