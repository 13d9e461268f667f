"""Shape, MACs, other operations and bytes of every operation, worked out by hand."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.graph import with_bits
from strata.layer import make_layer
from strata.work import Work

IMAGE = (1, 8, 6, 4)  # 192 elements, 768 bytes of 4

# parameters, input shapes, output shape, (MACs, other ops, input, weight and output bytes)
CASES = [
    (op.Input(IMAGE), (), IMAGE, (0, 0, 0, 0, 0)),
    # height (6 + 2 - 3) // 2 + 1 = 3, width (4 + 2 - 3) // 2 + 1 = 2; 16 * 3 * 2 = 96 outputs of
    # 8 * 9 = 72 MACs each; weights 16 * 72 + 16 biases = 1168
    (
        op.Convolution(16, (3, 3), (2, 2), padding=(1, 1, 1, 1)),
        (IMAGE,),
        (1, 16, 3, 2),
        (96 * 72, 0, 768, 1168 * 4, 96 * 4),
    ),
    # span 2 * (2 - 1) + 1 = 3 high: 6 - 3 + 1 = 4; width 4; groups of 2: 4 channels per filter;
    # 4 * 4 * 4 = 64 outputs of 4 * 2 MACs; weights 4 * 8, no bias
    (
        op.Convolution(4, (2, 1), dilation=(2, 1), groups=2, bias=False),
        (IMAGE,),
        (1, 4, 4, 4),
        (64 * 8, 0, 768, 32 * 4, 64 * 4),
    ),
    # depthwise with multiplier 2: 16 * 6 * 4 = 384 outputs of 9 MACs; weights 16 * 9 + 16
    (
        op.Convolution(16, (3, 3), padding=(1, 1, 1, 1), groups=8),
        (IMAGE,),
        (1, 16, 6, 4),
        (384 * 9, 0, 768, 160 * 4, 384 * 4),
    ),
    # height 5 * 2 - 2 + 3 + 1 = 12, width 3 * 2 - 2 + 3 + 1 = 8; every one of 192 inputs meets
    # 5 filters * 9 weights; weights 8 * 5 * 9 + 5 = 365; 5 * 96 = 480 outputs
    (
        op.TransposedConvolution(5, (3, 3), (2, 2), padding=(1, 1, 1, 1), output_padding=(1, 1)),
        (IMAGE,),
        (1, 5, 12, 8),
        (192 * 45, 0, 768, 365 * 4, 480 * 4),
    ),
    # 2 * 3 * 5 = 30 outputs of 7 MACs; weights 35 + 5
    (op.Dense(5), ((2, 3, 7),), (2, 3, 5), (210, 0, 42 * 4, 40 * 4, 30 * 4)),
    # (2, 3, 4) x (2, 4, 5): 30 outputs of 4 MACs; 24 + 40 inputs
    (op.MatMul(), ((2, 3, 4), (2, 4, 5)), (2, 3, 5), (120, 0, 64 * 4, 0, 120)),
    # both transposed: (4, 3)^T x (5, 4)^T
    (op.MatMul(True, True), ((4, 3), (5, 4)), (3, 5), (60, 0, 32 * 4, 0, 60)),
    # (6 - 3) // 2 + 1 = 2 high, (4 - 2) // 2 + 1 = 2 wide; 32 outputs of 6 comparisons
    (op.Pooling("max", (3, 2), (2, 2)), (IMAGE,), (1, 8, 2, 2), (0, 192, 768, 0, 128)),
    (
        op.Pooling("average", (2, 2), (1, 1), (0, 0, 1, 1)),
        (IMAGE,),
        IMAGE,
        (0, 192 * 4, 768, 0, 768),
    ),
    (op.GlobalPooling("average"), (IMAGE,), (1, 8, 1, 1), (0, 192, 768, 0, 32)),
    (op.GlobalPooling("max", False), (IMAGE,), (1, 8), (0, 192, 768, 0, 32)),
    (op.Elementwise("add"), (IMAGE, IMAGE), IMAGE, (0, 192, 1536, 0, 768)),
    # squeeze and excite: 8 scales broadcast over 192 elements
    (op.Elementwise("multiply"), (IMAGE, (1, 8, 1, 1)), IMAGE, (0, 192, 800, 0, 768)),
    (op.Elementwise("divide", (8, 1, 1)), (IMAGE,), IMAGE, (0, 192, 768, 32, 768)),
    (op.Concat(1), (IMAGE, (1, 2, 6, 4)), (1, 10, 6, 4), (0, 0, 960, 0, 960)),
    (op.Concat(-1), ((2, 3), (2, 1)), (2, 4), (0, 0, 32, 0, 32)),
    (op.Activation("gelu"), (IMAGE,), IMAGE, (0, 192, 768, 0, 768)),
    # a scale and a shift per channel: 16 constants, 2 operations per element
    (op.BatchNormalization(), (IMAGE,), IMAGE, (0, 384, 768, 64, 768)),
    (op.Softmax(), ((2, 10),), (2, 10), (0, 100, 80, 0, 80)),
    # 8 * 12 * 8 = 768 outputs: 4 products and 3 sums each
    (op.Resize("linear", (12, 8)), (IMAGE,), (1, 8, 12, 8), (0, 5376, 768, 0, 3072)),
    (op.Resize("nearest", (12, 8)), (IMAGE,), (1, 8, 12, 8), (0, 0, 768, 0, 3072)),
    (op.Resize("cubic", (3, 2)), (IMAGE,), (1, 8, 3, 2), (0, 48 * 31, 768, 0, 192)),
    # 8 * 8 * 6 = 384 outputs
    (
        op.Pad((0, 0, 1, 1), (0, 0, 1, 1)),
        (IMAGE,),
        (1, 8, 8, 6),
        (0, 0, 768, 0, 1536),
    ),
    (op.Reshape((2, 96)), (IMAGE,), (2, 96), (0, 0, 0, 0, 0)),
    (op.Flatten(), (IMAGE,), (1, 192), (0, 0, 0, 0, 0)),
    (op.Flatten(-2), (IMAGE,), (1, 8, 24), (0, 0, 0, 0, 0)),
    (op.Transpose((0, 2, 3, 1)), (IMAGE,), (1, 6, 4, 8), (0, 0, 768, 0, 768)),
    # rows 1, 3, 5 and columns 0 to 2: 8 * 3 * 3 = 72 elements are read and written
    (
        op.Slice((0, 0, 1, 0), (1, 8, 6, 3), (1, 1, 2, 1)),
        (IMAGE,),
        (1, 8, 3, 3),
        (0, 0, 288, 0, 288),
    ),
    # 7 steps x 2 directions x 4 gates x 3 hidden x (5 + 3); 9 operations per hidden and step;
    # weights 2 * 4 * 3 * (5 + 3 + 1) = 216; 7 * 6 = 42 outputs
    (op.Lstm(3, 2), ((1, 7, 5),), (1, 7, 6), (1344, 378, 140, 864, 168)),
    (op.Lstm(3, 1, False), ((1, 7, 5),), (1, 3), (672, 189, 140, 432, 12)),
    (op.Reorder(), (IMAGE,), IMAGE, (0, 0, 768, 0, 768)),
    (op.Opaque("TopK", (1, 5)), (IMAGE, (3,)), (1, 5), (0, 0, 780, 0, 20)),
]


@pytest.mark.parametrize(("parameters", "shapes", "expected", "work"), CASES)
def test_hand_worked(parameters, shapes, expected, work):
    inputs = tuple(f"input_{i}" for i in range(len(shapes)))
    layer = make_layer("layer", parameters, inputs, shapes)
    assert layer.output_shape == expected
    assert layer.work == Work(*work)
    assert layer.work.ops == 2 * work[0] + work[1]
    assert layer.work.bytes == sum(work[2:])


def test_every_operation_has_a_case():
    assert {type(case[0]) for case in CASES} == set(get_args(op.Parameters))


def test_bits_round_up_to_bytes():
    # 192 elements: activations of 4 bits 96 bytes; weights 3 bits * 8 = 24 bits, 3 bytes
    layer = make_layer("layer", op.Elementwise("add", (8, 1, 1)), ("x",), (IMAGE,), 4, 3)
    work = layer.work
    assert (work.input_bytes, work.weight_bytes, work.output_bytes) == (96, 3, 96)
    # 3 elements of 3 bits = 9 bits, 2 bytes
    assert make_layer("r", op.Reorder(), ("x",), ((3,),), 3).work.input_bytes == 2


ERRORS = [
    (op.Input((1, 0, 3)), (), "every axis"),
    (op.Convolution(8, (3, 3), groups=3), (IMAGE,), "groups 3 must divide"),
    (op.Convolution(9, (3, 3), groups=2), (IMAGE,), "groups 2 must divide"),
    (op.Convolution(0, (3, 3)), (IMAGE,), "filters is 0"),
    (op.Convolution(8, (3, 0)), (IMAGE,), "kernel is"),
    (op.Convolution(8, (3, 3), (0, 1)), (IMAGE,), "stride is"),
    (op.Convolution(8, (3, 3), padding=(-1, 0, 0, 0)), (IMAGE,), "padding is"),
    (op.Convolution(8, (7, 1)), (IMAGE,), "smaller than the kernel's span 7"),
    (op.Convolution(8, (3, 3), dilation=(1, 2)), (IMAGE,), "kernel's span 5"),
    (op.Convolution(8, (3, 3)), ((1, 8),), "must be"),
    (op.TransposedConvolution(4, (1, 1), padding=(3, 0, 3, 0)), (IMAGE,), "leaves an output"),
    (op.Pooling("max", (3, 5)), (IMAGE,), "smaller than the kernel's span 5"),
    (op.Dense(3), ((4,),), "feature axis"),
    (op.MatMul(), ((2, 3), (4, 5)), "inner sizes"),
    (op.Elementwise("add"), (IMAGE, (1, 8, 5, 4)), "do not broadcast"),
    (op.Elementwise("add"), (IMAGE,), "takes 2 operands"),
    (op.Concat(1), (IMAGE, (1, 8, 5, 4)), "differ off axis 1"),
    (op.Concat(1), (IMAGE, (1, 8, 6)), "differ"),
    (op.Concat(4), (IMAGE, IMAGE), "axis is 4"),
    (op.Softmax(2), ((2, 2),), "axis is 2"),
    (op.Reshape((5, 5)), (IMAGE,), "192 elements"),
    (op.Transpose((0, 1, 1, 2)), (IMAGE,), "permutation"),
    (op.Slice((0,), (9,), (1,)), ((8,),), "must lie inside"),
    (op.Slice((0,), (8,), (0,)), ((8,),), "step is"),
    (op.Pad((1,), (1,)), (IMAGE,), "must name each"),
    (op.Resize("nearest", (0, 4)), (IMAGE,), "size is"),
    (op.Lstm(3), (IMAGE,), "batch, steps, features"),
    (op.Activation("relu"), (IMAGE, IMAGE), "takes 1 input"),
    (op.Opaque("NonZero", (0,)), (IMAGE,), "every axis"),
]


@pytest.mark.parametrize(("parameters", "shapes", "message"), ERRORS)
def test_broken_rules_name_the_layer(parameters, shapes, message):
    with pytest.raises(SchemaError, match=message) as caught:
        make_layer("bad one", parameters, ("x",) * len(shapes), shapes)
    assert "layer 'bad one'" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_same_padding_divides_and_rounds_up(size, kernel, stride, dilation):
    builder = GraphBuilder("same")
    image = builder.input(1, 2, *size)
    layer = builder.convolution(image, 3, kernel, stride, "same", dilation)
    expected = tuple(-(-extent // step) for extent, step in zip(size, stride, strict=True))
    assert builder.shape(layer)[2:] == expected


def test_with_bits_changes_what_moves_and_nothing_else():
    builder = GraphBuilder("small")
    builder.convolution(builder.input(1, 3, 8, 8), 4, 3, name="first")
    graph = builder.build()
    eighth = with_bits(graph, 8)
    assert eighth.work.macs == graph.work.macs
    assert eighth.work.bytes * 4 == graph.work.bytes
    assert eighth["first"].weight_bits == 8
    assert with_bits(graph, 32) is graph
