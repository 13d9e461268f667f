"""What joins what on the way to int8, and where a tensor is requantised: as by the converter."""

import random

import numpy as np
import pytest
from tflite_converter import build_int8
from tflite_runs import operators, run

from graph_gen.benchmarks import build
from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_folding import folded
from hardware_modules.tflite_nodes import float_nodes
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.builder import GraphBuilder

MAP = (1, 8, 12, 10)


def network_of(add_layers):
    builder = GraphBuilder("folded")
    add_layers(builder, builder.input(*MAP, name="in"))
    return builder.build()


def pre_activated(builder, source):
    normal = builder.add(op.BatchNormalization(), source, name="normal")
    relu = builder.add(op.Activation("relu"), normal, name="relu")
    builder.convolution(relu, 4, 3, name="conv")


def read_twice(builder, source):
    conv = builder.convolution(source, 8, 3, name="conv")
    relu = builder.add(op.Activation("relu"), conv, name="relu")
    builder.add(op.Elementwise("add"), conv, relu, name="add")


def padded_by_hand(builder, source):
    pad = builder.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), source, name="pad")
    conv = builder.convolution(pad, 8, 3, padding="valid", name="conv")
    one_side = builder.add(op.Pad((0, 0, 1, 1), (0, 0, 0, 0)), conv, name="one side")
    builder.convolution(one_side, 8, 3, padding="valid", name="unequal")


def squeezed(builder, source):
    mean = builder.add(op.GlobalPooling("average"), source, name="mean")
    flat = builder.add(op.Flatten(), mean, name="flat")
    dense = builder.dense(flat, 8, activation="relu", name="dense")
    gate = builder.add(op.Activation("sigmoid"), builder.dense(dense, 8, name="gate"), name="soft")
    back = builder.add(op.Reshape((1, 8, 1, 1)), gate, name="back")
    builder.add(op.Elementwise("multiply"), source, back, name="scaled")


def transposed_to_and_fro(builder, source):
    conv = builder.convolution(source, 8, 3, name="conv")
    there = builder.add(op.Transpose((0, 3, 1, 2)), conv, name="there")
    relu = builder.add(op.Activation("relu"), there, name="relu")
    back = builder.add(op.Transpose((0, 2, 3, 1)), relu, name="back")
    builder.add(op.Softmax(1), back, name="softmax")


def doubled(builder, source):
    conv = builder.convolution(source, 8, 3, name="conv")
    one = builder.pooling(conv, "max", 2, name="one")
    two = builder.pooling(conv, "max", 2, name="two")
    builder.add(op.Elementwise("add"), one, two, name="add")


def scaled_input(builder, source):
    scaled = builder.add(op.Elementwise("multiply", ()), source, name="scaled")
    conv = builder.convolution(scaled, 8, 3, name="conv")
    shifted = builder.add(op.Elementwise("subtract", (8, 1, 1)), conv, name="shifted")
    builder.add(op.Elementwise("add", (8, 12, 10)), shifted, name="everywhere")


def unbiased_transposed(builder, source):
    bare = op.TransposedConvolution(8, (2, 2), (2, 2), bias=False)
    up = builder.add(bare, source, name="up")
    relu = builder.add(op.Activation("relu"), up, name="relu")
    again = builder.add(bare, relu, name="again")
    normal = builder.add(op.BatchNormalization(), again, name="normal")
    builder.add(op.Activation("relu"), normal, name="fused")


def normalised_dense(builder, source):
    flat = builder.add(op.Flatten(), source, name="flat")
    normal = builder.add(op.BatchNormalization(), flat, name="normal")
    dense = builder.dense(normal, 8, name="dense")
    shifted = builder.add(op.Elementwise("subtract", (8,)), dense, name="shifted")
    builder.dense(shifted, 4, name="last")


def reduced_and_shaped(builder, source):
    mean = op.GlobalPooling("average", keep_dimensions=False)
    flat = builder.add(mean, source, name="mean")
    back = builder.add(op.Reshape((1, 8, 1, 1)), flat, name="back")
    builder.convolution(back, 8, 1, name="conv")


def hard_gates(builder, source):
    gate = op.Activation("hard_sigmoid")
    first = builder.add(gate, builder.convolution(source, 8, 3, name="conv"), name="first")
    second = builder.add(gate, builder.convolution(first, 8, 3, name="other"), name="second")
    builder.add(op.Elementwise("multiply"), source, second, name="gated")


def times_its_hard_sigmoid(builder, source):
    conv = builder.convolution(source, 8, 3, name="conv")
    gate = builder.add(op.Activation("hard_sigmoid"), conv, name="gate")
    swish = builder.add(op.Elementwise("multiply"), gate, conv, name="swish")
    kept = builder.add(op.Activation("hard_sigmoid"), swish, name="kept")
    again = builder.add(op.Elementwise("multiply"), swish, kept, name="again")
    builder.add(op.Elementwise("add"), again, kept, name="add")


def hard_sigmoid_moved(builder, source):
    normal = builder.add(op.BatchNormalization(), source, name="normal")
    there = builder.add(op.Transpose((0, 3, 1, 2)), normal, name="there")
    gate = builder.add(op.Activation("hard_sigmoid"), there, name="gate")
    rows = builder.add(op.Reshape((1, 10, 96)), gate, name="rows")
    builder.add(op.Activation("hard_sigmoid"), rows, name="last")


def in_groups(builder, source):
    pad = builder.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), source, name="pad")
    bare = op.Convolution(16, (3, 3), groups=2, bias=False)
    conv = builder.add(bare, pad, name="conv")
    normal = builder.add(op.BatchNormalization(), conv, name="normal")
    relu = builder.add(op.Activation("relu6"), normal, name="relu")
    scaled = builder.add(op.Elementwise("multiply", ()), relu, name="scaled")
    builder.add(op.Convolution(8, (1, 1), groups=4), scaled, name="last")


FOLDED = {
    hard_gates: (("conv", "first"), ("first", "other", "second"), ("second",), ("gated",)),
    times_its_hard_sigmoid: (
        ("conv",),
        ("gate", "swish"),
        ("kept",),
        ("kept",),
        ("again",),
        ("add",),
    ),
    hard_sigmoid_moved: (
        ("normal",),
        ("normal", "gate"),
        ("gate",),
        ("last",),
        ("last",),
        ("there",),
        ("rows",),
    ),
    in_groups: (("pad", "conv", "normal", "relu"), ("scaled", "last")),
    normalised_dense: (("flat",), ("normal", "dense"), ("shifted",), ("last",)),
    reduced_and_shaped: (("mean", "back"), ("conv",)),
    pre_activated: (("normal",), ("normal", "relu"), ("conv",)),
    read_twice: (("conv",), ("relu",), ("add",)),
    padded_by_hand: (("pad", "conv"), ("one side",), ("unequal",)),
    squeezed: (
        ("mean",),
        ("flat", "dense", "dense/relu"),
        ("gate",),
        ("soft",),
        ("back", "scaled"),
    ),
    transposed_to_and_fro: (("conv", "relu", "there", "back"), ("softmax",)),
    doubled: (("conv",), ("one", "two"), ("add",)),
    scaled_input: (("scaled", "conv", "shifted"), ("everywhere",)),
    unbiased_transposed: (("up",), ("relu",), ("again", "normal", "fused")),
}


by_name = pytest.mark.parametrize("network", FOLDED, ids=lambda each: each.__name__)


@by_name
def test_what_joins_what(network):
    assert write_int8(network_of(network)).layers == FOLDED[network]


@by_name
def test_what_joined_computes_the_float_function(network):
    for got, wanted, step in run(network_of(network)):
        assert np.abs(got - wanted).max() <= 8 * step


def most_operations(builder, source):
    valid = builder.convolution(source, 8, 3, padding="valid", name="valid")
    odd = builder.convolution(valid, 8, 3, stride=2, padding=(1, 1, 1, 1), name="odd")
    dilated = builder.convolution(odd, 8, 3, dilation=2, bias=False, name="dilated")
    up = builder.add(op.TransposedConvolution(8, (2, 2), (2, 2)), dilated, name="up")
    padding = (1, 1, 1, 1)
    cropped = op.TransposedConvolution(8, (3, 3), (2, 2), padding=padding, output_padding=(1, 1))
    tail = builder.add(cropped, dilated, name="cropped")
    tail = builder.add(op.Elementwise("multiply"), tail, up, name="multiply")
    tail = builder.add(op.Resize("linear", (12, 12)), tail, name="linear")
    tail = builder.add(op.Pad((0, 0, 1, 2), (0, 0, 0, 1)), tail, name="pad")
    tail = builder.add(op.Transpose((0, 1, 3, 2)), tail, name="transpose")
    for kind in ("leaky_relu", "sigmoid", "hard_sigmoid", "swish", "hard_swish", "tanh", "gelu"):
        tail = builder.add(op.Activation(kind), tail, name=kind)
    tail = builder.add(op.GlobalPooling("average", keep_dimensions=False), tail, name="mean")
    tail = builder.add(op.Reshape((1, 4, 2)), tail, name="reshape")
    tail = builder.add(op.Transpose((0, 2, 1)), tail, name="turned")
    tail = builder.add(op.Softmax(1), tail, name="softmax")
    builder.add(op.Dense(6), tail, name="dense")


def gates_joined(builder, source):
    """A sigmoid's grid is fixed, the concatenation's fits what it joins."""
    gates = [
        builder.add(op.Activation("sigmoid"), builder.convolution(source, 8, 3, name=name))
        for name in ("one", "two")
    ]
    builder.add(op.Concat(1), *gates, name="joined")


@pytest.mark.parametrize(
    "network", [*FOLDED, most_operations, gates_joined], ids=lambda each: each.__name__
)
def test_the_converter_has_the_same_operators_and_weights(network):
    graph = network_of(network)
    assert operators(write_int8(graph).content) == operators(build_int8(graph))


def sharing_concats():
    builder = GraphBuilder("sharing")
    source = builder.input(1, 8, 9, 9, name="in")
    shared = builder.convolution(source, 24, 1, activation="relu", name="shared")
    for i in range(6):
        own = builder.convolution(source, 16, 1, activation="relu", name=f"own_{i}")
        builder.add(op.Concat(1), own, shared, name=f"joined_{i}")
    return builder.build()


def test_a_shared_operand_is_requantised_as_the_converter_does_it():
    """How often depends on which operand of each concatenation has the largest value."""
    import tensorflow as tf

    counts = []
    for content in (write_int8(sharing_concats()).content, build_int8(sharing_concats())):
        interpreter = tf.lite.Interpreter(model_content=content)
        counts.append(sum(each["op_name"] == "QUANTIZE" for each in interpreter._get_ops_details()))
    assert counts[0] == counts[1] > 0
    assert sum(not layers for layers in write_int8(sharing_concats()).layers) == counts[0]


def test_what_shares_a_scale_with_a_concatenation_has_one_wherever_it_stands():
    """The converter leaves some of these in float."""
    builder = GraphBuilder("late")
    source = builder.input(*MAP, name="in")
    turned = builder.add(op.Transpose((0, 3, 2, 1)), source, name="turned")
    builder.add(op.Concat(1), turned, turned, name="joined")
    pooled = builder.pooling(turned, "max", 2, name="pooled")
    builder.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), pooled, name="padded")
    pairs = run(builder.build())
    assert [np.abs(got - wanted).max() <= 0.51 * step for got, wanted, step in pairs] == [True] * 2


def cell(seed):
    return build("cells", {"seed": seed, "megamacs": 300})


def supported_cells(count):
    generator = random.Random(3)
    found = []
    while len(found) < count:
        graph = cell(generator.randrange(2**31))
        if not any(unsupported(layer) for layer in graph.layers):
            found.append(graph)
    return found


SEVERAL = (
    "swish",
    "hard_sigmoid",
    "batch_normalization",
    "convolution",
    "max_pooling",
    "average_pooling",
)


def test_every_layer_that_works_stands_somewhere_and_mostly_once():
    """In random networks; only views may be absent, and what changes nothing behind an input."""
    for graph in supported_cells(6):
        nodes, _ = folded(*float_nodes(graph))
        read = {each for node in nodes for each in node.inputs if each.code == "INPUT"}
        model = write_int8(graph)
        counts = {layer.name: 0 for layer in graph.layers}
        for name in (name for layers in model.layers for name in layers):
            counts[name] += 1
        for layer in graph.layers:
            kind = layer.operation
            if isinstance(layer.parameters, op.Activation):
                kind = layer.parameters.kind
            at_input = {each.name for each in read} & set(layer.inputs)
            if not isinstance(layer.parameters, op.VIEWS) and not (
                kind == "transpose" and at_input
            ):
                assert counts[layer.name] >= 1, (graph.name, layer.name)
            if counts[layer.name] > 1:
                assert kind in (*SEVERAL, "softmax", "transposed_convolution", "pad"), layer.name
