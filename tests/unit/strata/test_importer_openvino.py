"""The converter, operation by operation, on models built straight from OpenVINO's operations."""

from math import sqrt

import numpy as np
import openvino
import pytest
from openvino import opset8, opset14
from openvino import opset14 as ov

from strata import operations as op
from strata.errors import SchemaError
from strata.importer import graph_from_openvino, load_network

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


CASES = {
    "convolution": (
        lambda x: convolution(x, begin=(1, 0), end=(2, 1)),
        op.Convolution(4, (3, 3), padding=(1, 0, 2, 1), bias=False),
    ),
    # 10 rows by 2 are 5; (5 - 1) * 2 + 3 - 10 = 1 row of padding: below, or above
    "same upper": (
        lambda x: convolution(x, mode="same_upper", stride=2),
        op.Convolution(4, (3, 3), (2, 2), padding=(0, 0, 1, 1), bias=False),
    ),
    "same lower": (
        lambda x: convolution(x, mode="same_lower", stride=2),
        op.Convolution(4, (3, 3), (2, 2), padding=(1, 1, 0, 0), bias=False),
    ),
    "valid": (
        lambda x: convolution(x, mode="valid", stride=2),
        op.Convolution(4, (3, 3), (2, 2), bias=False),
    ),
    "grouped": (
        lambda x: ov.group_convolution(x, constant(2, 3, 4, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1]),
        op.Convolution(6, (1, 1), groups=2, bias=False),
    ),
    "depthwise, multiplier 2": (
        lambda x: ov.group_convolution(x, constant(8, 2, 1, 3, 3), [1, 1], [1, 1], [1, 1], [2, 2]),
        op.Convolution(16, (3, 3), dilation=(2, 2), padding=(1, 1, 1, 1), groups=8, bias=False),
    ),
    "transposed": (
        lambda x: ov.convolution_backprop_data(
            x, constant(8, 5, 3, 3), [2, 2], None, [1, 1], [1, 1], [1, 1], None, [1, 1]
        ),
        op.TransposedConvolution(5, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1), 1, False),
    ),
    # asked for 20 where 9 * 2 + 3 = 21 would come: one row and column are cut at the end
    "transposed to a shape": (
        lambda x: ov.convolution_backprop_data(
            x, constant(8, 5, 3, 3), [2, 2], ov.constant(axes(20, 20)), auto_pad="same_upper"
        ),
        op.TransposedConvolution(5, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), (0, 0), 1, False),
    ),
    "transposed grouped": (
        lambda x: ov.group_convolution_backprop_data(
            x, constant(2, 4, 3, 2, 2), [2, 2], pads_begin=[0, 0], pads_end=[0, 0]
        ),
        op.TransposedConvolution(6, (2, 2), (2, 2), groups=2, bias=False),
    ),
    "dense over the last axis": (
        lambda x: ov.matmul(x, constant(7, 10), False, True),
        op.Dense(7, False),
    ),
    # rounding up: ceil(7 / 2) + 1 = 5 rows: (5 - 1) * 2 + 3 - 10 = 1 beyond the end
    "max pooling, version 14": (
        lambda x: opset14.max_pool(
            x, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], rounding_type="ceil"
        ).output(0),
        op.Pooling("max", (3, 3), (2, 2), (0, 0, 1, 1)),
    ),
    "max pooling, version 8": (
        lambda x: opset8.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0),
        op.Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)),
    ),
    "max pooling, version 1": (
        lambda x: openvino.opset1.max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2]),
        op.Pooling("max", (2, 2), (2, 2)),
    ),
    "average pooling without padding": (
        lambda x: ov.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], True),
        op.Pooling("average", (3, 3), (2, 2), (1, 1, 1, 1)),
    ),
    "average pooling with padding": (
        lambda x: ov.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], False),
        op.Pooling("average", (3, 3), (2, 2), (1, 1, 1, 1), True),
    ),
    "global average": (
        lambda x: ov.reduce_mean(x, axes(2, 3), True),
        op.GlobalPooling("average"),
    ),
    "global maximum, flat": (
        lambda x: ov.reduce_max(x, axes(-1, -2), False),
        op.GlobalPooling("max", False),
    ),
    "add itself": (lambda x: ov.add(x, x), op.Elementwise("add")),
    "divide by a constant": (
        lambda x: ov.divide(x, constant(8, 1, 1)),
        op.Elementwise("divide", (8, 1, 1)),
    ),
    "constant less it": (
        lambda x: ov.subtract(constant(1), x),
        op.Elementwise("subtract", (1,)),
    ),
    "maximum": (lambda x: ov.maximum(x, constant(1)), op.Elementwise("maximum", (1,))),
    "minimum": (lambda x: ov.minimum(x, x), op.Elementwise("minimum")),
    "concat": (lambda x: ov.concat([x, x], -3), op.Concat(-3)),
    "relu6": (lambda x: ov.clamp(x, 0.0, 6.0), op.Activation("relu6")),
    "clamp": (lambda x: ov.clamp(x, -1.0, 1.0), op.Activation("other")),
    "softmax": (lambda x: ov.softmax(x, 1), op.Softmax(1)),
    "pad": (
        lambda x: ov.pad(x, axes(0, 0, 1, 2), axes(0, 0, 3, 0), "constant", np.float32(0)),
        op.Pad((0, 0, 1, 2), (0, 0, 3, 0)),
    ),
    "reshape": (lambda x: ov.reshape(x, axes(0, -1), True), op.Reshape((1, 800))),
    "squeeze": (lambda x: ov.squeeze(x, axes(0)), op.Reshape((8, 10, 10))),
    "unsqueeze": (lambda x: ov.unsqueeze(x, axes(1)), op.Reshape((1, 1, 8, 10, 10))),
    "transpose": (lambda x: ov.transpose(x, axes(0, 2, 3, 1)), op.Transpose((0, 2, 3, 1))),
    "slice": (
        lambda x: ov.slice(x, axes(1), axes(-2), axes(3), axes(1)),
        op.Slice((0, 1, 0, 0), (1, 6, 10, 10), (1, 3, 1, 1)),
    ),
    "strided slice": (
        lambda x: ov.strided_slice(x, axes(0, 4), axes(0, 99), axes(1, 2), [1, 0], [1, 0]),
        op.Slice((0, 4, 0, 0), (1, 8, 10, 10), (1, 2, 1, 1)),
    ),
    "interpolate": (
        lambda x: _interpolate(x, "nearest"),
        op.Resize("nearest", (20, 15)),
    ),
    "interpolate linearly": (
        lambda x: _interpolate(x, "linear_onnx"),
        op.Resize("linear", (20, 15)),
    ),
    "interpolate cubically": (lambda x: _interpolate(x, "cubic"), op.Resize("cubic", (20, 15))),
    "mean over channels": (
        lambda x: ov.reduce_mean(x, axes(1), True),
        op.Opaque("ReduceMean", (1, 1, 10, 10)),
    ),
    "negative padding": (
        lambda x: ov.pad(x, axes(0, 0, -1, 0), axes(0, 0, 0, 0), "constant", np.float32(0)),
        op.Opaque("Pad", (1, 8, 9, 10)),
    ),
    "tile": (lambda x: ov.tile(x, axes(1, 1, 2, 1)), op.Opaque("Tile", (1, 8, 20, 10))),
}


def _interpolate(x, mode):
    return openvino.opset11.interpolate(
        x, ov.constant(axes(20, 15)), mode, "sizes", axes=ov.constant(axes(2, 3))
    )


@pytest.mark.parametrize(("build", "expected"), CASES.values(), ids=CASES)
def test_one_operation(build, expected):
    assert single(build) == expected


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (ov.relu, "relu"),
        (lambda x: ov.prelu(x, constant(8)), "leaky_relu"),
        (ov.sigmoid, "sigmoid"),
        (ov.hsigmoid, "hard_sigmoid"),
        (lambda x: ov.hard_sigmoid(x, np.float32(0.2), np.float32(0.5)), "hard_sigmoid"),
        (ov.swish, "swish"),
        (ov.hswish, "hard_swish"),
        (ov.tanh, "tanh"),
        (lambda x: ov.gelu(x, "erf"), "gelu"),
        (lambda x: ov.elu(x, 1.0), "elu"),
        (ov.exp, "other"),
        (ov.sqrt, "other"),
        (ov.mish, "other"),
        (ov.softplus, "other"),
        (lambda x: ov.power(x, constant(1)), "other"),
        (lambda x: ov.multiply(x, ov.sigmoid(x)), "swish"),
        (lambda x: ov.multiply(ov.hsigmoid(x), x), "hard_swish"),
    ],
)
def test_activations(build, kind):
    assert single(build) == op.Activation(kind)


def scalar(value):
    return ov.constant(np.float32(value))


def _relu6(x):
    return ov.clamp(ov.add(x, scalar(3)), 0.0, 6.0)


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda x: ov.multiply(x, ov.divide(_relu6(x), scalar(6))), "hard_swish"),
        (lambda x: ov.multiply(ov.multiply(x, _relu6(x)), scalar(1 / 6)), "hard_swish"),
        (
            lambda x: ov.multiply(
                ov.multiply(scalar(0.5), x),
                ov.add(ov.erf(ov.divide(x, scalar(sqrt(2)))), scalar(1)),
            ),
            "gelu",
        ),
        (
            lambda x: ov.multiply(
                ov.multiply(x, ov.add(ov.erf(ov.multiply(x, scalar(sqrt(0.5)))), scalar(1))),
                scalar(0.5),
            ),
            "gelu",
        ),
    ],
)
def test_decomposed_activations(build, kind):
    assert single(build) == op.Activation(kind)


def test_a_gate_that_is_read_twice_stays():
    x = source()
    gate = ov.sigmoid(x)
    found = records(ov.multiply(x, gate), ov.relu(gate), inputs=[x])
    assert sorted(type(record).__name__ for record in found) == [
        "Activation",
        "Activation",
        "Elementwise",
    ]


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
