"""Moved strides, against what was observed of a real toolchain (docs/openvino_cpu.md)."""

import pytest

from strata import operations as op
from strata.builder import GraphBuilder
from strata.stride_moving import move_strides


def strided_shortcut(activation: str, kernel: int = 3):
    """conv -> activation, read by two 1x1 convolutions of stride 2 (Caffe's ResNet)."""
    builder = GraphBuilder("shortcut")
    x = builder.input(1, 32, 28, 28, name="in")
    x = builder.convolution(x, 64, kernel, name="first")
    x = builder.add(op.Activation(activation), x, name="act")
    left = builder.convolution(x, 32, 1, 2, name="left")
    right = builder.convolution(x, 32, 1, 2, name="right")
    builder.add(op.Elementwise("add"), left, right, name="sum")
    return builder.build()


@pytest.mark.parametrize("activation", ["relu", "relu6", "elu", "gelu", "hard_swish", "sigmoid"])
def test_stride_moves_through_element_wise_activations(activation):
    moved = move_strides(strided_shortcut(activation))
    assert moved["first"].parameters.stride == (2, 2)
    assert moved["first"].output_shape == (1, 64, 14, 14)
    assert moved["left"].parameters.stride == (1, 1)
    assert moved["sum"].output_shape == (1, 32, 14, 14)


@pytest.mark.parametrize("activation", ["swish", "leaky_relu"])
def test_stride_stays_below_activations_that_are_not_element_wise_to_the_toolchain(activation):
    graph = strided_shortcut(activation)
    moved = move_strides(graph)
    assert moved["first"].output_shape == (1, 64, 28, 28)
    assert moved["left"].parameters.stride == (2, 2)


def test_a_one_by_one_producer_passes_the_stride_on_to_the_input_where_it_returns():
    moved = move_strides(strided_shortcut("relu", kernel=1))
    # `first` is 1x1 itself: it hands the stride to the network input, which cannot take it
    assert moved["first"].parameters.stride == (2, 2)
    assert moved["first"].output_shape == (1, 64, 14, 14)


def test_nothing_moves_when_one_consumer_needs_every_element():
    builder = GraphBuilder("mixed")
    x = builder.input(1, 32, 28, 28)
    x = builder.convolution(x, 64, 3, name="first", activation="relu")
    builder.convolution(x, 32, 1, 2, name="strided")
    builder.convolution(x, 32, 3, 1, name="full")
    graph = builder.build()
    assert move_strides(graph) is graph


def test_an_add_passes_the_stride_to_both_operands_and_a_pooling_subsamples_what_cannot_take_it():
    builder = GraphBuilder("residual")
    x = builder.input(1, 64, 56, 56, name="in")
    x = builder.pooling(x, "max", 3, 2, 1, name="pool")  # 28x28
    y = builder.convolution(x, 64, 3, name="conv")
    y = builder.add(op.Elementwise("add"), y, x, name="sum")
    builder.convolution(y, 128, 1, 2, name="next")
    moved = move_strides(builder.build())
    assert moved["conv"].output_shape == (1, 64, 14, 14)
    assert moved["sum/strided_pool"].parameters == op.Pooling("max", (1, 1), (2, 2))
    assert moved["sum"].inputs == ("conv", "sum/strided_pool")
    assert moved["next"].output_shape == (1, 128, 14, 14)


def test_a_network_output_is_computed_whole():
    builder = GraphBuilder("tapped")
    x = builder.input(1, 32, 28, 28)
    x = builder.convolution(x, 64, 3, name="first")
    builder.convolution(x, 32, 1, 2, name="strided")
    graph = builder.build(outputs=("first", "strided"))
    assert move_strides(graph) is graph
