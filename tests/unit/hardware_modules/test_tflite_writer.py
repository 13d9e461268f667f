"""Full-integer TFLite models written directly: TFLite runs them, and they compute the float layers.

Against TensorFlow's converter: test_tflite_folding.py, and through Vela test_tflite_vela.py.
"""

import subprocess
import sys

import numpy as np
import pytest
from tflite_converter import build_int8
from tflite_runs import interpreter_of, operators, run

from hardware_modules.tensorflow_builder import random_tensor, unsupported
from hardware_modules.tflite_writer import quantised_weights, write_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.importer import load_network
from strata.layer import make_layer

MOST = 1 << 20


def one_layer(parameters, *shapes):
    builder = GraphBuilder("one")
    sources = [builder.input(*shape, name=f"in_{i}") for i, shape in enumerate(shapes)]
    builder.add(parameters, *sources, name="layer")
    return builder.build()


MAP = (1, 8, 12, 10)
KINDS = {
    "convolution": (op.Convolution(16, (3, 3), padding=(1, 1, 1, 1)), MAP),
    "convolution valid": (op.Convolution(5, (3, 2), stride=(2, 1)), MAP),
    "convolution padded": (op.Convolution(16, (5, 5), (2, 2), padding=(2, 2, 2, 2)), MAP),
    "convolution dilated": (op.Convolution(4, (3, 3), dilation=(2, 2), bias=False), MAP),
    "convolution in groups": (op.Convolution(12, (3, 3), padding=(1,) * 4, groups=4), MAP),
    "convolution in groups with stride": (op.Convolution(8, (5, 3), (2, 2), groups=2), MAP),
    "depthwise": (op.Convolution(8, (3, 3), padding=(1, 1, 1, 1), groups=8), MAP),
    "depthwise times 2": (op.Convolution(16, (3, 3), stride=(2, 2), groups=8), MAP),
    "transposed": (op.TransposedConvolution(6, (2, 2), (2, 2)), MAP),
    "transposed, cropped": (op.TransposedConvolution(6, (3, 3), (2, 2), padding=(1,) * 4), MAP),
    "transposed without bias": (op.TransposedConvolution(6, (2, 2), (2, 2), bias=False), MAP),
    "dense": (op.Dense(10), (1, 40)),
    "dense on rows": (op.Dense(10), (1, 6, 40)),
    "max pooling": (op.Pooling("max", (3, 3), (2, 2)), MAP),
    "max pooling padded": (op.Pooling("max", (3, 3), (2, 2), (1, 1, 1, 1)), MAP),
    "average pooling": (op.Pooling("average", (2, 2), (2, 2)), MAP),
    "global average": (op.GlobalPooling("average"), MAP),
    "global average, flat": (op.GlobalPooling("average", keep_dimensions=False), MAP),
    "global maximum": (op.GlobalPooling("max"), MAP),
    "add": (op.Elementwise("add"), MAP, MAP),
    "subtract": (op.Elementwise("subtract"), MAP, MAP),
    "multiply": (op.Elementwise("multiply"), MAP, (1, 8, 1, 1)),
    "maximum": (op.Elementwise("maximum"), MAP, MAP),
    "minimum": (op.Elementwise("minimum"), MAP, MAP),
    "add a constant": (op.Elementwise("add", (8, 1, 1)), MAP),
    "multiply by one": (op.Elementwise("multiply", ()), MAP),
    "maximum with a constant": (op.Elementwise("maximum", (8, 1, 1)), MAP),
    "concat": (op.Concat(1), MAP, (1, 3, 12, 10)),
    "concat of rows": (op.Concat(2), MAP, MAP),
    "normalisation": (op.BatchNormalization(), MAP),
    "softmax": (op.Softmax(), (1, 12)),
    "softmax over channels": (op.Softmax(1), MAP),
    "softmax over rows": (op.Softmax(1), (1, 4, 6)),
    "resize nearest": (op.Resize("nearest", (24, 20)), MAP),
    "resize linear": (op.Resize("linear", (20, 20)), MAP),
    "pad": (op.Pad((0, 0, 1, 2), (0, 0, 0, 1)), MAP),
    "transpose": (op.Transpose((0, 1, 3, 2)), MAP),
    "slice": (op.Slice((0, 2, 1, 1), (1, 6, 9, 10), (1, 1, 1, 1)), MAP),
    "slice with steps": (op.Slice((0, 0, 0, 1), (1, 8, 12, 10), (1, 1, 2, 3)), MAP),
    "reshape": (op.Reshape((1, 40, 24)), MAP),
    "flatten": (op.Flatten(), MAP),
    **{
        kind: (op.Activation(kind), MAP)
        for kind in (
            "relu",
            "relu6",
            "leaky_relu",
            "sigmoid",
            "hard_sigmoid",
            "swish",
            "hard_swish",
            "tanh",
            "gelu",
        )
    },
}
# these move values or choose among them: nothing is rounded again
EXACT = {
    "max pooling",
    "max pooling padded",
    "global maximum",
    "maximum",
    "concat",
    "concat of rows",
    "resize nearest",
    "pad",
    "transpose",
    "slice",
    "slice with steps",
    "reshape",
    "flatten",
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_operation_computes_its_float_function(kind):
    parameters, *shapes = KINDS[kind]
    ((got, wanted, step),) = run(one_layer(parameters, *shapes))
    assert got.shape == wanted.shape
    steps = np.abs(got - wanted) / step
    assert steps.max() <= (0.51 if kind in EXACT else 5.0)
    assert steps.mean() <= 0.7
    assert len(np.unique(got)) > 3  # the grid's range is of the values' size


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
    soft = builder.add(op.Activation("swish"), joined, name="swish")
    flat = builder.add(op.Flatten(), soft, name="flat")
    dense = builder.dense(flat, 10, name="dense")
    builder.add(op.Softmax(), dense, name="softmax")
    return builder.build()


def test_a_network_computes_its_float_function():
    ((got, wanted, _),) = run(small_network())
    assert np.abs(got - wanted).max() < 0.1  # of probabilities, after nine roundings
    assert got.argmax() == wanted.argmax()


def test_layers_stand_under_the_operators_that_execute_them():
    assert write_int8(small_network()).layers == (
        ("first conv", "first conv/normalise", "first conv/relu"),
        ("depthwise", "depthwise/relu6"),
        ("add",),
        ("pool",),  # a pad
        ("pool",),
        ("side",),
        ("joined",),
        ("swish",),  # a logistic
        ("swish",),  # times its input
        ("flat",),
        ("dense",),
        ("softmax",),
    )


def test_outputs_are_named_after_the_layers_that_they_end():
    interpreter = interpreter_of(small_network())
    (output,) = interpreter.get_output_details()
    assert output["name"] == "softmax"
    names = {detail["name"] for detail in interpreter.get_tensor_details()}
    assert {"in", "first conv/relu", "depthwise/relu6", "pool/pad", "pool", "side"} <= names


def test_every_tensor_from_input_to_output_is_an_integer():
    details = interpreter_of(small_network()).get_tensor_details()
    assert {detail["dtype"].__name__ for detail in details} == {"int8", "int32"}


def test_the_model_read_back_has_the_networks_layers(tmp_path):
    path, written = tmp_path / "small.tflite", small_network()
    path.write_bytes(write_int8(written).content)
    read = load_network(path)
    for kind in ("convolution", "depthwise_convolution", "add", "max_pooling", "concat", "softmax"):
        shapes = [
            sorted(layer.output_shape for layer in graph.layers if layer.operation == kind)
            for graph in (read, written)
        ]
        assert shapes[0] == shapes[1], kind
    assert read.work.macs == written.work.macs


def test_the_same_graph_gives_the_same_model():
    assert write_int8(small_network()) == write_int8(small_network())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_converter_has_the_same_operators_for_each_operation(kind):
    parameters, *shapes = KINDS[kind]
    graph = one_layer(parameters, *shapes)
    assert operators(write_int8(graph).content) == operators(build_int8(graph))


def test_weights_are_rounded_as_the_converter_rounds_them():
    """Symmetric per filter, the largest at 127, halves away from zero."""
    weights = np.array([[127.0, -0.5, 0.5, 1.49], [-2.54, 1.27, 0.03, 0.0]], np.float32)
    integers, scale = quantised_weights(weights, 0)
    assert integers.tolist() == [[127, -1, 1, 1], [-127, 64, 2, 0]]
    assert scale.tolist() == pytest.approx([1.0, 0.02])
    turned, _ = quantised_weights(weights.T, 1)
    assert turned.tolist() == integers.T.tolist()


def test_random_numbers_depend_on_names_only_and_are_normal():
    layers = [
        make_layer(name, op.Dense(64), ("in",), ((1, 300),)) for name in ("one", "two", "one")
    ]
    first, second, again = (random_tensor(layer, "weights", (300, 64), 300) for layer in layers)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert first.std() == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    many = random_tensor(layers[0], "weights", (3 * MOST,))
    assert many.std() == pytest.approx(0.1, rel=0.01)
    assert many.dtype == np.float32


def test_tensorflow_is_not_imported():
    script = (
        "import sys\n"
        "from hardware_modules.tflite_writer import write_int8\n"
        "from strata import operations as op\n"
        "from strata.builder import GraphBuilder\n"
        "builder = GraphBuilder('one')\n"
        "builder.convolution(builder.input(1, 4, 8, 8), 8, 3)\n"
        "assert write_int8(builder.build()).content[4:8] == b'TFL3'\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((1, 4, 8, 8), op.Opaque("Mystery", (1, 4)), "layer 'x' is opaque (type 'Mystery')"),
        ((1, 4, 8), op.Lstm(4), "layer 'x' is lstm, which has no int8 form here"),
        ((1, 4, 8, 8), op.Resize("cubic", (9, 9)), "layer 'x' resizes by 'cubic'; legal: nearest"),
        ((1, 4, 8, 8), op.Activation("other"), "layer 'x' is the activation 'other'; legal: relu,"),
        ((1, 4, 8, 8), op.Dense(4), "layer 'x' is dense on a tensor of four axes"),
        ((1, 4, 8, 8), op.Activation("elu"), "layer 'x' is the activation 'elu'; legal: relu,"),
        (
            (1, 4, 8, 8),
            op.TransposedConvolution(4, (2, 2), groups=2),
            "layer 'x' is a grouped or dilated transposed convolution",
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
        write_int8(graph)


def test_more_weights_than_a_file_holds_are_refused_at_once():
    graph = one_layer(op.Dense(50_000), (1, 50_000))
    with pytest.raises(UnsupportedLayer, match="has 2500050000 weights; legal: at most 2000"):
        write_int8(graph)
