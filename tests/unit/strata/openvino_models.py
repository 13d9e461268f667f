"""Small OpenVINO models for the importer's tests."""

import numpy as np
import openvino
from openvino import opset14 as ov

from strata.importer import graph_from_openvino

IMAGE = (1, 8, 10, 10)


def source(shape=IMAGE, name="x"):
    return ov.parameter(list(shape), np.float32, name=name)


def constant(*shape):
    return ov.constant(np.full(shape, 0.5, np.float32))


def graph_of(*outputs, inputs):
    return graph_from_openvino(openvino.Model(list(outputs), list(inputs)), "model")


def records(*outputs, inputs):
    graph = graph_of(*outputs, inputs=inputs)
    return [layer.parameters for layer in graph.layers if layer.name not in graph.inputs]


def single(build, shape=IMAGE):
    x = source(shape)
    model = openvino.Model([build(x)], [x], "model")
    graph = graph_from_openvino(model, "model")
    assert len(graph.layers) == 2
    layer = graph.layers[1]
    assert layer.output_shape == tuple(model.outputs[0].get_shape())
    return layer.parameters


def axes(*values):
    return np.array(values, np.int64)


def convolution(x, filters=4, mode="explicit", kernel=3, stride=1, begin=(0, 0), end=(0, 0)):
    channels = x.get_output_shape(0)[1]
    weights = constant(filters, channels, kernel, kernel)
    return ov.convolution(x, weights, [stride] * 2, list(begin), list(end), [1, 1], mode)


def scalar(value):
    return ov.constant(np.float32(value))
