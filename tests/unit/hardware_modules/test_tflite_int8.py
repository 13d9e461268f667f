"""Full-integer TFLite models: int8 from end to end, and the layers they were made from."""

import pytest

from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_int8 import build_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.importer import load_network


def small_network():
    builder = GraphBuilder("small")
    source = builder.input(1, 8, 16, 16, name="in")
    first = builder.convolution(
        source, 16, 3, stride=2, activation="relu", normalise=True, name="first conv"
    )
    depthwise = builder.depthwise(first, 3, activation="relu6", name="depthwise")
    added = builder.add(op.Elementwise("add"), first, depthwise, name="add")
    pooled = builder.pooling(added, "max", 3, 2, padding=(1, 1, 1, 1), name="pool")
    side = builder.convolution(pooled, 8, 1, name="side")
    joined = builder.add(op.Concat(1), pooled, side, name="joined")
    flat = builder.add(op.Flatten(), joined, name="flat")
    dense = builder.dense(flat, 10, name="dense")
    builder.add(op.Softmax(), dense, name="softmax")
    return builder.build()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "small.tflite"
    path.write_bytes(build_int8(small_network()))
    return path


def test_every_tensor_from_input_to_output_is_an_integer(model):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(model))
    ends = interpreter.get_input_details() + interpreter.get_output_details()
    assert [end["dtype"].__name__ for end in ends] == ["int8", "int8"]
    types = {tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    assert types == {"int8", "int32"}  # biases, shapes and paddings are 32 bits


def test_the_model_read_back_has_the_networks_layers(model):
    read = load_network(model)
    written = small_network()
    kept = ["convolution", "depthwise_convolution", "add", "max_pooling", "concat", "softmax"]
    for kind in kept:
        shapes = [
            sorted(layer.output_shape for layer in graph.layers if layer.operation == kind)
            for graph in (read, written)
        ]
        assert shapes[0] == shapes[1], kind
    dense = [layer for layer in read.layers if layer.operation in ("dense", "matmul")]
    assert [layer.output_shape for layer in dense] == [(1, 10)]
    assert read.work.macs == written.work.macs


def test_the_same_graph_gives_the_same_model():
    builder = GraphBuilder("one")
    builder.convolution(builder.input(1, 4, 8, 8, name="in"), 8, 3, name="conv")
    graph = builder.build()
    assert build_int8(graph) == build_int8(graph)


def every_operation():
    builder = GraphBuilder("wide")
    source = builder.input(1, 8, 12, 12, name="in")
    valid = builder.convolution(source, 8, 3, padding="valid", name="valid")
    odd = builder.convolution(valid, 8, 3, stride=2, padding=(1, 1, 1, 1), name="odd")
    dilated = builder.convolution(odd, 8, 3, dilation=2, bias=False, name="dilated")
    up = builder.add(op.TransposedConvolution(8, (2, 2), (2, 2)), dilated, name="up")
    cropped = builder.add(
        op.TransposedConvolution(8, (3, 3), (2, 2), padding=(1, 1, 1, 1)), dilated, name="cropped"
    )
    tail = builder.add(op.Resize("nearest", (10, 10)), cropped, name="nearest")
    tail = builder.add(op.Elementwise("multiply"), tail, up, name="multiply")
    tail = builder.add(op.Elementwise("add", (8, 1, 1)), tail, name="shifted")
    tail = builder.add(op.Resize("linear", (12, 12)), tail, name="linear")
    tail = builder.add(op.Pad((0, 0, 1, 2), (0, 0, 0, 1)), tail, name="pad")
    tail = builder.add(op.Transpose((0, 1, 3, 2)), tail, name="transpose")
    tail = builder.add(op.Slice((0, 0, 0, 1), (1, 8, 15, 12), (1, 1, 1, 2)), tail, name="slice")
    tail = builder.pooling(tail, "average", 2, name="average")
    for kind in ("leaky_relu", "sigmoid", "swish", "hard_swish", "tanh", "gelu"):
        tail = builder.add(op.Activation(kind), tail, name=kind)
    tail = builder.add(op.GlobalPooling("average", keep_dimensions=False), tail, name="mean")
    tail = builder.add(op.Reshape((1, 4, 2)), tail, name="reshape")
    tail = builder.add(op.Transpose((0, 2, 1)), tail, name="turned")
    tail = builder.add(op.Softmax(1), tail, name="softmax")
    builder.add(op.Dense(6), tail, name="dense")
    return builder.build()


def test_every_operation_keeps_its_shape():
    """The builder compares each layer's shape with TensorFlow's."""
    import tensorflow as tf

    graph = every_operation()
    assert graph["slice"].output_shape == (1, 8, 15, 6)
    interpreter = tf.lite.Interpreter(model_content=build_int8(graph))
    (output,) = interpreter.get_output_details()
    assert output["dtype"].__name__ == "int8"
    assert tuple(output["shape"]) == graph[graph.outputs[0]].output_shape


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((1, 4, 8, 8), op.Opaque("Mystery", (1, 4)), "layer 'x' is opaque (type 'Mystery')"),
        ((1, 4, 8), op.Lstm(4), "layer 'x' is lstm, which has no int8 form here"),
        ((1, 4, 8, 8), op.Resize("cubic", (9, 9)), "layer 'x' resizes by 'cubic'; legal: nearest"),
        ((1, 4, 8, 8), op.Activation("other"), "layer 'x' is the activation 'other'; legal: relu,"),
        ((1, 4, 8, 8), op.Dense(4), "layer 'x' is dense on a tensor of four axes"),
        (
            (1, 4, 8, 8),
            op.Convolution(4, (1, 1), groups=2),
            "layer 'x' has 2 groups; legal: 1 or the input's channels",
        ),
        (
            (1, 4, 8, 8),
            op.Convolution(4, (2, 2), stride=(2, 2), dilation=(2, 2)),
            "layer 'x' has both a stride and a dilation",
        ),
    ],
)
def test_what_cannot_be_expressed_is_named(shape, parameters, message):
    builder = GraphBuilder("odd")
    builder.add(parameters, builder.input(*shape, name="in"), name="x")
    graph = builder.build()
    reason = unsupported(graph["x"])
    assert reason is not None
    assert reason.startswith(message)
    with pytest.raises(UnsupportedLayer, match="graph 'odd': layer 'x'"):
        build_int8(graph)
