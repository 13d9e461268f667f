"""TFLite files as a toolchain reads them: their operators as a graph, damaged ones refused."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hardware_modules.tflite_model import Operator, Tensor, serialise
from hardware_modules.tflite_reader import read_content, read_graph
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError

PATH = Path("folder/net.tflite")


def read(graph):
    return read_graph(write_int8(graph).content, PATH)


def one(parameters, shape=(1, 16, 14, 14)):
    builder = GraphBuilder("one")
    builder.add(parameters, builder.input(*shape, name="in"), name="layer")
    return builder.build()


def conv(filters, kernel, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), groups=1):
    return op.Convolution(filters, kernel, stride, dilation, padding, groups, True)


SAME = [
    (conv(8, (3, 2)), (1, 16, 14, 15)),
    (conv(8, (3, 3), (2, 2), padding=(0, 0, 1, 1)), (1, 16, 14, 14)),  # SAME of an even size
    (conv(8, (3, 3), dilation=(2, 2)), (1, 16, 14, 14)),
    (conv(32, (3, 3), groups=16), (1, 16, 14, 14)),
    (op.TransposedConvolution(8, (2, 2), (2, 2)), (1, 16, 7, 7)),
    (op.TransposedConvolution(8, (3, 3), (2, 2), padding=(0, 0, 1, 1)), (1, 16, 7, 7)),
    (op.Pooling("max", (3, 2), (2, 1)), (1, 16, 14, 14)),
    (op.Pooling("average", (3, 3), (1, 1), (1, 1, 1, 1)), (1, 16, 14, 14)),
    (op.GlobalPooling("average", True), (1, 16, 7, 9)),
    (op.GlobalPooling("max", False), (1, 16, 7, 9)),
    (op.Elementwise("multiply", (16, 1, 1)), (1, 16, 7, 9)),
    (op.Elementwise("maximum", (1,)), (1, 16, 7, 9)),
    (op.Activation("relu"), (1, 16, 7, 9)),
    (op.Activation("leaky_relu"), (1, 64)),
    (op.Activation("sigmoid"), (1, 7, 64)),
    (op.Activation("tanh"), (1, 64)),
    (op.Activation("gelu"), (1, 64)),
    (op.Softmax(1), (1, 16, 7, 9)),
    (op.Softmax(2), (1, 7, 64)),
    (op.Resize("nearest", (14, 18)), (1, 16, 7, 9)),
    (op.Resize("linear", (14, 18)), (1, 16, 7, 9)),
    (op.Pad((0, 1, 2, 3), (0, 0, 1, 0)), (1, 16, 7, 9)),
    (op.Transpose((0, 2, 1, 3)), (1, 16, 7, 9)),
    (op.Transpose((0, 3, 1, 2)), (1, 16, 7, 9)),
    (op.Transpose((0, 2, 1)), (1, 16, 7)),
    (op.Slice((0, 2, 0, 1), (1, 9, 7, 8), (1, 1, 1, 1)), (1, 16, 7, 9)),
    (op.Slice((0, 0, 0, 1), (1, 16, 7, 9), (1, 1, 2, 2)), (1, 16, 7, 9)),
    (op.Dense(10), (4, 64)),
    (op.Dense(10), (1, 7, 64)),
]


@pytest.mark.parametrize(("parameters", "shape"), SAME)
def test_what_was_written_is_read_back(parameters, shape):
    graph, operators = read(one(parameters, shape))
    assert [layer.name for layer in graph.layers] == ["in", "layer"]
    (layer,) = graph.layers[1:]
    expected = one(parameters, shape)["layer"]
    assert layer.input_shapes == (shape,)
    assert layer.output_shape == expected.output_shape
    assert layer.operation == expected.operation
    assert layer.work.macs == expected.work.macs
    assert (layer.activation_bits, layer.weight_bits) == (8, 8)
    if not isinstance(parameters, op.Elementwise | op.Softmax | op.TransposedConvolution):
        assert layer.parameters == parameters
    assert operators[-1] == ("layer",)
    assert graph.name == "net"


def test_a_network_keeps_its_tensors_names_and_connections():
    builder = GraphBuilder("net")
    source = builder.input(1, 16, 28, 28, name="in")
    first = builder.convolution(source, 32, 3, activation="relu", name="first")
    second = builder.convolution(source, 32, 1, name="second")
    both = builder.add(op.Concat(1), first, second, name="both")
    added = builder.add(op.Elementwise("add"), both, both, name="added")
    flat = builder.add(op.Flatten(), added, name="flat")
    builder.dense(flat, 10, name="dense")
    graph, operators = read(builder.build())
    reads = {layer.name: layer.inputs for layer in graph.layers}
    # the fused operator ends with the relu, whose tensor's name it has
    assert reads["first/relu/relu"] == ("first/relu",)
    assert reads["both"] == ("first/relu/relu", "second")
    assert reads["added"] == ("both", "both")
    assert graph.outputs == ("dense",)
    assert operators[0] == ("first/relu", "first/relu/relu")
    assert graph.work.macs == builder.build().work.macs


def test_what_moves_a_tensor_to_another_grid_is_no_layer():
    source, moved, end = (Tensor(name, (1, 4)) for name in ("in", "moved", "end"))
    steps = [Operator("QUANTIZE", 1, (source,), moved), Operator("RELU", 1, (moved,), end)]
    graph, operators = read_graph(serialise("net", [source], [end], steps), PATH)
    assert {layer.name: layer.inputs for layer in graph.layers} == {"in": (), "end": ("in",)}
    assert operators == ((), ("end",))


def written(code, *inputs, shape=(1, 4), options="", **values):
    tensor = Tensor("out", shape)
    return serialise(
        "net", [inputs[0]], [tensor], [Operator(code, 1, inputs, tensor, options, values)]
    )


def test_an_operator_without_a_record_is_opaque():
    graph, operators = read_graph(written("CUMSUM", Tensor("in", (1, 4))), PATH)
    (layer,) = graph.opaque
    assert layer.parameters == op.Opaque("CUMSUM", (1, 4))
    assert operators == (("out",),)


def test_an_operator_whose_shape_is_not_the_files_is_opaque():
    graph, _ = read_graph(written("RELU", Tensor("in", (1, 9))), PATH)
    assert [layer.parameters for layer in graph.opaque] == [op.Opaque("RELU", (1, 4))]


def test_sizes_that_are_computed_are_opaque_and_do_not_stop_the_reader():
    sizes = Tensor("sizes", (2,), "int32")
    content = written("PAD", Tensor("in", (1, 4)), sizes)
    assert [layer.operation for layer in read_graph(content, PATH)[0].layers] == ["input", "opaque"]
    fixed = Tensor("sizes", (2, 2), "int32", data=np.array([[0, 0], [1, 2]], np.int32))
    content = written("PAD", Tensor("in", (1, 4)), fixed, shape=(1, 7))
    assert read_graph(content, PATH)[0]["out"].parameters == op.Pad((0, 1), (0, 2))


def test_two_tensors_of_one_name_are_two_layers():
    first, last = Tensor("same", (1, 4)), Tensor("same", (1, 4))
    source = Tensor("in", (1, 4))
    steps = [Operator("TANH", 1, (source,), first), Operator("RELU", 1, (first,), last)]
    graph, operators = read_graph(serialise("net", [source], [last], steps), PATH)
    assert [layer.name for layer in graph.layers] == ["in", "same", "same#2"]
    assert operators == (("same",), ("same#2",))


@pytest.mark.parametrize("keep", [0, 9, 100, 0.5])
def test_a_damaged_file_is_one_line(keep):
    content = write_int8(one(op.Activation("tanh"))).content
    part = content[: int(keep * len(content)) if isinstance(keep, float) else keep]
    with pytest.raises(ArtefactError, match=r"^folder/net.tflite: (cannot be read|holds)") as error:
        read_graph(part, PATH)
    assert "\n" not in str(error.value)


def test_damaged_bytes_never_give_a_traceback():
    content = write_int8(one(conv(8, (3, 3)), (1, 4, 8, 8))).content
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in generator.integers(8, len(content), 8):
            damaged[place] = generator.integers(256)
        with suppress(ArtefactError):
            read_graph(bytes(damaged), PATH)


def test_a_file_that_is_missing_or_another_is_one_line(tmp_path):
    with pytest.raises(ArtefactError, match=r"gone\.tflite: cannot be read: No such file"):
        read_content(tmp_path / "gone.tflite")
    (tmp_path / "other.tflite").write_text("hello world")
    with pytest.raises(ArtefactError, match=r"other.tflite: cannot .*its mark TFL3 is missing"):
        read_content(tmp_path / "other.tflite")
