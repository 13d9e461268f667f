"""The converter on several nodes at once: bias, splits, LSTM, quantisers, opaque layers."""

import numpy as np
import openvino
import pytest
from openvino import opset14 as ov
from openvino_models import (
    IMAGE,
    axes,
    constant,
    convolution,
    graph_of,
    records,
    scalar,
    single,
    source,
)

from strata import operations as op
from strata.errors import SchemaError
from strata.importer import load_network


def test_bias_becomes_part_of_its_layer():
    x = source()
    first = convolution(x)
    first.set_friendly_name("first")
    biased = ov.add(constant(1, 4, 1, 1), first)
    dense = ov.add(
        ov.matmul(ov.reshape(biased, axes(1, -1), False), constant(256, 3), False, False),
        constant(3),
    )
    graph = graph_of(ov.relu(dense), inputs=[x])
    assert [layer.parameters for layer in graph.layers[1:]] == [
        op.Convolution(4, (3, 3)),
        op.Reshape((1, 256)),
        op.Dense(3),
        op.Activation("relu"),
    ]
    assert graph["first"].output_shape == (1, 4, 8, 8)
    assert graph.work.macs == 256 * 72 + 256 * 3


def test_an_add_that_is_no_bias_stays():
    x = source()
    shared = convolution(x)
    found = records(ov.add(shared, constant(1, 4, 1, 1)), ov.relu(shared), inputs=[x])
    assert op.Convolution(4, (3, 3), bias=False) in found
    assert op.Elementwise("add", (1, 4, 1, 1)) in found
    # one value per pixel, not per channel
    found = records(ov.add(convolution(x), constant(8, 8)), inputs=[x])
    assert op.Elementwise("add", (8, 8)) in found


def test_scale_and_shift_are_batch_normalisation():
    x = source()
    scaled = ov.add(ov.multiply(convolution(x), constant(1, 4, 1, 1)), constant(1, 4, 1, 1))
    assert records(scaled, inputs=[x]) == [
        op.Convolution(4, (3, 3), bias=False),
        op.BatchNormalization(),
    ]
    values = [constant(8) for _ in range(4)]
    assert single(lambda x: ov.batch_norm_inference(x, *values, 1e-3)) == op.BatchNormalization()


def test_matrix_products():
    a, b = source((2, 3, 4), "a"), source((2, 5, 4), "b")
    graph = graph_of(ov.matmul(a, b, False, True), inputs=[a, b])
    assert graph.layers[-1].parameters == op.MatMul(False, True)
    assert graph.work.macs == 2 * 3 * 5 * 4
    # constants on the left or one matrix per batch entry are no dense layer
    assert isinstance(single(lambda x: ov.matmul(constant(3, 10), x, False, False)), op.Opaque)
    weights = constant(8, 10, 3)
    assert isinstance(single(lambda x: ov.matmul(x, weights, False, False)), op.Opaque)


def test_each_used_output_of_a_split_is_a_slice():
    x = source()
    split = ov.variadic_split(x, 1, axes(1, 5, 2))
    split.set_friendly_name("split")
    graph = graph_of(ov.relu(split.output(0)), ov.exp(split.output(2)), inputs=[x])
    assert graph["split"].parameters == op.Slice((0, 0, 0, 0), (1, 1, 10, 10), (1, 1, 1, 1))
    assert graph["split:2"].parameters == op.Slice((0, 6, 0, 0), (1, 8, 10, 10), (1, 1, 1, 1))
    assert graph["split:2"].output_shape == (1, 2, 10, 10)
    halves = ov.split(x, 3, 2)
    found = records(ov.add(halves.output(0), halves.output(1)), inputs=[x])
    assert found[1] == op.Slice((0, 0, 0, 5), (1, 8, 10, 10), (1, 1, 1, 1))


def test_a_slice_that_drops_an_axis_is_reshaped():
    x = source()
    chosen = ov.gather(x, ov.constant(np.int64(-1)), ov.constant(np.int64(1)))
    assert records(chosen, inputs=[x]) == [
        op.Slice((0, 7, 0, 0), (1, 8, 10, 10), (1, 1, 1, 1)),
        op.Reshape((1, 10, 10)),
    ]
    shrunk = ov.strided_slice(x, axes(0, 2), axes(0, 3), axes(1, 1), [1, 0], [1, 0], [], [0, 1], [])
    assert records(shrunk, inputs=[x])[-1] == op.Reshape((1, 10, 10))


def lstm(x, directions, weights=None):
    state = constant(1, directions, 6)
    width = x.get_output_shape(0)[2]
    return ov.lstm_sequence(
        x,
        state,
        state,
        axes(7),
        constant(directions, 24, width) if weights is None else weights,
        constant(directions, 24, 6),
        constant(directions, 24),
        6,
        "forward" if directions == 1 else "bidirectional",
    )


def test_lstm_sequences():
    x = source((1, 7, 5))
    forward = lstm(x, 1)
    forward.set_friendly_name("lstm")
    graph = graph_of(forward.output(0), inputs=[x])
    assert graph["lstm"].parameters == op.Lstm(6)
    assert graph.layers[-1].output_shape == (1, 1, 7, 6)
    assert graph.work.macs == 7 * 24 * 11
    both = lstm(x, 2)
    graph = graph_of(both.output(0), inputs=[x])
    assert graph.layers[1].parameters == op.Lstm(6, 2)
    assert graph.layers[-1].output_shape == (1, 2, 7, 6)
    last = graph_of(lstm(x, 2).output(1), inputs=[x])
    assert last.layers[1].parameters == op.Lstm(6, 2, False)
    assert last.layers[-1].output_shape == (1, 2, 6)
    both = lstm(x, 1)
    graph = graph_of(both.output(0), both.output(1), inputs=[x])
    assert sum(isinstance(layer.parameters, op.Lstm) for layer in graph.layers) == 1
    assert {graph[name].output_shape for name in graph.outputs} == {(1, 1, 7, 6), (1, 1, 6)}


def test_constants_and_conversions_vanish():
    x = source()
    half = ov.convert(ov.constant(np.ones((4, 8, 1, 1), np.float16)), "f32")
    y = ov.convolution(ov.convert(x, "f32"), half, [1, 1], [0, 0], [0, 0], [1, 1])
    shape = ov.shape_of(y)
    y = ov.reshape(ov.relu(y), ov.concat([ov.gather(shape, axes(0), 0), axes(-1)], 0), False)
    assert records(y, inputs=[x]) == [
        op.Convolution(4, (1, 1), bias=False),
        op.Activation("relu"),
        op.Reshape((1, 400)),
    ]


def test_quantised_layers_have_8_bits():
    x = source()

    def quantise(tensor):
        low, high = scalar(-1), scalar(1)
        return ov.fake_quantize(tensor, low, high, low, high, 256)

    y = ov.convolution(quantise(x), quantise(constant(4, 8, 1, 1)), [1, 1], [0, 0], [0, 0], [1, 1])
    graph = graph_of(ov.exp(y), inputs=[x])
    assert [(layer.activation_bits, layer.weight_bits) for layer in graph.layers] == [
        (32, 32),
        (8, 8),
        (32, 32),
    ]


def test_what_cannot_be_mapped_keeps_its_producers():
    x, y = source(), source((1, 1, 3, 3), "y")
    x.set_friendly_name("x")
    dynamic = ov.convolution(x, ov.tile(y, axes(4, 8, 1, 1)), [1, 1], [0, 0], [0, 0], [1, 1])
    dynamic.set_friendly_name("weights are data")
    top = ov.topk(ov.relu(dynamic), ov.constant(np.int64(2)), 1, "max", "value")
    graph = graph_of(top.output(0), top.output(1), inputs=[x, y])
    layer = graph["weights are data"]
    assert layer.parameters == op.Opaque("Convolution", (1, 4, 8, 8))
    assert layer.inputs[0] == "x"
    assert graph[layer.inputs[1]].parameters == op.Opaque("Tile", (4, 8, 3, 3))
    assert graph.layers[-1].parameters == op.Opaque("TopK", (1, 2, 8, 8))
    assert graph.work.macs == 0


def test_volumes_are_opaque():
    def build(x):
        return ov.convolution(x, constant(2, 3, 3, 3, 3), [1] * 3, [0] * 3, [0] * 3, [1] * 3)

    assert single(build, (1, 3, 5, 5, 5)) == op.Opaque("Convolution", (1, 2, 3, 3, 3))


def test_unknown_sizes_in_the_middle_are_opaque():
    x = source((4, 5))
    found = ov.non_zero(x)  # as many columns as there are elements that are not 0
    graph = graph_of(ov.convert(ov.relu(ov.convert(found, "f32")), "f32"), inputs=[x])
    assert [type(layer.parameters) for layer in graph.layers[1:]] == [op.Opaque, op.Opaque]


def test_equal_names_are_told_apart():
    x = source()
    first, second = ov.relu(x), ov.exp(x)
    first.set_friendly_name("same")
    second.set_friendly_name("same")
    assert {"same", "same#2"} <= {
        layer.name for layer in graph_of(first, second, inputs=[x]).layers
    }


def test_a_model_without_work_is_refused():
    x = source()
    with pytest.raises(SchemaError, match="no output depends on an input"):
        graph_of(constant(3), inputs=[x])


def test_intermediate_representation_file(tmp_path):
    x = source(name="image")
    model = openvino.Model([ov.relu(convolution(x))], [x], "net")
    path = tmp_path / "net.xml"
    openvino.save_model(model, path)
    graph = load_network(path)
    assert [layer.parameters for layer in graph.layers] == [
        op.Input(IMAGE),
        op.Convolution(4, (3, 3), bias=False),
        op.Activation("relu"),
    ]
    assert {layer.weight_bits for layer in graph.layers} == {32}  # stored as 16, executed as 32
