"""Every operation becomes the OpenVINO operation with the same shapes, and sane constants."""

import numpy as np
import openvino
import pytest

from graph_gen.benchmarks import build
from hardware_modules.openvino_builder import (
    build_model,
    layer_of,
    node_name,
    random_values,
)
from hardware_modules.registry import create
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer

IMAGE, SEQUENCE = (1, 8, 12, 10), (2, 6, 8)
CASES = [
    (IMAGE, op.Convolution(6, (3, 5), (2, 1), (1, 2), (1, 4, 0, 4))),
    (IMAGE, op.Convolution(6, (1, 1), bias=False)),
    (IMAGE, op.Convolution(16, (3, 3), groups=4)),
    (IMAGE, op.Convolution(8, (3, 3), groups=8, bias=False)),
    (IMAGE, op.TransposedConvolution(6, (4, 4), (2, 2), padding=(1, 1, 1, 1))),
    (IMAGE, op.TransposedConvolution(6, (3, 3), (2, 2), output_padding=(1, 1), groups=2)),
    (IMAGE, op.Pooling("max", (3, 3), (2, 2), (0, 0, 1, 1))),
    (IMAGE, op.Pooling("average", (2, 3), (2, 3), (1, 1, 0, 0))),
    (IMAGE, op.Pooling("average", (3, 3), padding=(1, 1, 1, 1), count_padding=True)),
    *((IMAGE, op.GlobalPooling(kind, keep)) for kind in ("max", "average") for keep in (0, 1)),
    *((IMAGE, op.Elementwise(kind, (1, 8, 1, 1))) for kind in op.ELEMENTWISE),
    *((IMAGE, op.Activation(kind)) for kind in op.ACTIVATIONS if kind != "other"),
    (IMAGE, op.BatchNormalization()),
    (IMAGE, op.Softmax(1)),
    *((IMAGE, op.Resize(kind, (24, 15))) for kind in ("nearest", "linear", "cubic")),
    (IMAGE, op.Pad((0, 0, 1, 2), (0, 0, 0, 1))),
    (IMAGE, op.Reshape((4, 2, 120))),
    (IMAGE, op.Flatten(2)),
    (IMAGE, op.Transpose((0, 2, 3, 1))),
    (IMAGE, op.Slice((0, 2, 0, 1), (1, 8, 12, 10), (1, 1, 3, 2))),
    (SEQUENCE, op.Dense(5)),
    ((3, 8), op.Dense(5, bias=False)),
    (SEQUENCE, op.Lstm(7)),
    (SEQUENCE, op.Lstm(7, 2)),
    (SEQUENCE, op.Lstm(7, 2, False)),
]


def run(graph):
    model = build_model(graph)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    generator = np.random.default_rng(1)
    inputs = [generator.uniform(-1, 1, port.shape).astype(np.float32) for port in compiled.inputs]
    return [np.array(value) for value in compiled(inputs).values()]


@pytest.mark.parametrize(("shape", "parameters"), CASES, ids=lambda value: str(value)[:60])
def test_each_operation_runs_with_the_shape_strata_infers(shape, parameters):
    builder = GraphBuilder("one")
    layer = builder.add(parameters, builder.input(*shape, name="in"), name="layer")
    (output,) = run(builder.build())
    assert output.shape == builder.shape(layer)
    assert np.isfinite(output).all()


def test_products_of_activations_and_concat_take_several_inputs():
    builder = GraphBuilder("two")
    first, second = builder.input(2, 6, 8, name="a"), builder.input(2, 5, 8, name="b")
    product = builder.add(op.MatMul(transpose_b=True), first, second, name="product")
    joined = builder.add(op.Concat(1), first, second, name="joined")
    shapes = [output.shape for output in run(builder.build((product, joined)))]
    assert shapes == [(2, 6, 5), (2, 11, 8)]


@pytest.mark.parametrize("activation", ["relu", "swish", "tanh"])
def test_a_deep_network_neither_vanishes_into_denormals_nor_overflows(activation):
    builder = GraphBuilder("deep")
    source = builder.input(1, 8, 6, 6, name="in")
    for _ in range(120):
        source = builder.convolution(source, 8, 3, activation=activation)
    (output,) = run(builder.build())
    tiny = np.finfo(np.float32).tiny
    assert np.abs(output).max() < 1e6
    assert np.abs(output[output != 0]).min() > 1e6 * tiny
    assert (output != 0).any()


def test_constants_are_reproducible_and_not_all_equal():
    first, again = random_values((3, 5), "a"), random_values((3, 5), "a")
    assert np.array_equal(first, again)
    assert len(np.unique(first)) > 10
    assert not np.array_equal(first, random_values((3, 5), "b"))
    assert random_values((1100, 1000), "larger than the block").std() > 0.5


def test_names_of_layers_reach_the_model_and_lead_back():
    builder = GraphBuilder("names")
    builder.dense(builder.input(1, 4, name="in"), 3, name="a,b")
    graph = builder.build()
    found = {node.get_friendly_name() for node in build_model(graph).get_ops()}
    assert {"in", "a;b", "a;b//bias", "a;b//result"} <= found
    names = {node_name(layer.name): layer.name for layer in graph.layers}
    assert [layer_of(name, names) for name in ("a;b", "a;b//bias", "MaxPool_7")] == [
        "a,b",
        "a,b",
        None,
    ]


@pytest.mark.parametrize(
    ("parameters", "bits", "reason"),
    [
        (op.Opaque("Mystery", (1, 8)), 32, "opaque .type 'Mystery'"),
        (op.Reorder(), 32, "only a toolchain inserts"),
        (op.Activation("other"), 32, "unknown activation"),
        (op.Activation("relu"), 8, "8-bit activations"),
    ],
)
def test_what_cannot_be_built_is_named(parameters, bits, reason):
    builder = GraphBuilder("g")
    builder.add(parameters, builder.input(1, 8, 4, 4, name="in"), name="odd", bits=bits)
    with pytest.raises(UnsupportedLayer, match=f"graph 'g': layer 'odd' .*{reason}"):
        build_model(builder.build())


@pytest.mark.parametrize("count", [1_000, 900_000, 3_000_000])
def test_layers_of_one_shape_never_have_equal_weights(count):
    first, second = (random_values((count,), f"kernel_{i}") for i in range(2))
    assert first.shape == (count,)
    assert not np.array_equal(first, second)


def test_sibling_kernels_with_large_weights_are_executed_one_by_one():
    # 80 -> 461 channels, 5x5: 922,000 weights each; equal ones would be merged into one node
    graph = build(
        "convolution",
        {"height": 8, "width": 8, "channels": 80, "filters": 461, "kernel": 5, "kernels": 3},
    )
    module = create("openvino_cpu", {})
    profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
    names = [name for node in profile.nodes for name in node.layers]
    assert {"kernel_0", "kernel_1", "kernel_2"} <= set(names)
    assert sum("kernel_0" in node.layers for node in profile.nodes) == 1
