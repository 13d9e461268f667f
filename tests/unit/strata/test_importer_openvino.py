"""The converter, operation by operation, on models built straight from OpenVINO's operations."""

from math import sqrt

import numpy as np
import openvino
import pytest
from openvino import opset8, opset14
from openvino import opset14 as ov
from openvino_models import axes, constant, convolution, records, scalar, single, source

from strata import operations as op

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
