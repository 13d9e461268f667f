"""What stays on the host, against what the compiler left there in published models."""

import pytest

from graph_gen.published_edge_tpu_dense_prediction import deeplab_v3, ssd_mobilenet
from graph_gen.published_edge_tpu_mobilenets import (
    mobilenet_edgetpu,
    published_mobilenet_v1,
    published_mobilenet_v2,
)
from simulators.edge_tpu import EdgeTpu, compile_graph, load, unsupported
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.graph import Graph


@pytest.fixture(scope="module")
def coral() -> EdgeTpu:
    return load("coral_usb3")


def on_host(builder: GraphBuilder, coral: EdgeTpu) -> dict[str, str]:
    executable = compile_graph(builder.build(), coral)
    return {layer.name: layer.host_reason for layer in executable.layers if layer.host_reason}


def test_the_compilers_split_of_deeplab(coral: EdgeTpu) -> None:
    """google-coral/test_data: RESIZE_BILINEAR x 3, CONCATENATION, CONV_2D x 2, ARG_MAX on the CPU;
    the branch beside the first resize stays on the device."""
    executable = compile_graph(deeplab_v3(1.0, (513, 513)), coral)
    host = [layer for layer in executable.layers if layer.host_reason]
    assert [layer.executed.operation for layer in host] == [
        "resize",
        "concat",
        "convolution",
        "convolution",
        "resize",
        "resize",
        "opaque",
    ]
    assert all(layer.engine == "host" for layer in host)
    assert executable.layers[[x.name for x in executable.layers].index("local/conv")].engine == (
        "convolution"
    )


@pytest.mark.parametrize(
    "graph",
    [
        published_mobilenet_v1(1.0, (224, 224)),
        published_mobilenet_v2(1.0, (224, 224)),
        mobilenet_edgetpu(0.75, (224, 224)),
    ],
)
def test_the_compilers_fully_mapped_models_are_fully_mapped(graph: Graph, coral: EdgeTpu) -> None:
    assert not any(layer.host_reason for layer in compile_graph(graph, coral).layers)


def test_only_the_post_processing_of_a_detector_is_left(coral: EdgeTpu) -> None:
    """google-coral/test_data: TFLite_Detection_PostProcess (and its dequantisation) on the CPU."""
    executable = compile_graph(ssd_mobilenet(1, (300, 300)), coral)
    host = [layer.name for layer in executable.layers if layer.host_reason]
    assert host == ["post_processing"]


def test_all_that_depends_on_a_host_layer_is_on_the_host(coral: EdgeTpu) -> None:
    builder = GraphBuilder("cut")
    image = builder.input(1, 8, 8, 8)
    first = builder.convolution(image, 8, 3, name="first")
    leaky = builder.add(op.Activation("leaky_relu"), first, name="leaky")
    builder.convolution(leaky, 8, 3, name="behind")
    builder.convolution(first, 8, 3, name="beside")
    reasons = on_host(builder, coral)
    assert reasons == {
        "leaky": "Operation not supported: leaky_relu",
        "behind": "More than one subgraph is not supported",
    }


@pytest.mark.parametrize("kind", ["leaky_relu", "hard_swish", "gelu", "elu", "other"])
def test_activations_that_the_compilers_table_lacks(kind: str, coral: EdgeTpu) -> None:
    """github.com/google-coral/edgetpu issues 272 and 353."""
    builder = GraphBuilder(kind)
    builder.add(op.Activation(kind), builder.input(1, 8, 4, 4), name="it")  # type: ignore[arg-type]
    assert on_host(builder, coral) == {"it": f"Operation not supported: {kind}"}


@pytest.mark.parametrize("kind", ["relu", "relu6", "sigmoid", "tanh", "swish"])
def test_activations_that_the_compilers_table_has(kind: str, coral: EdgeTpu) -> None:
    builder = GraphBuilder(kind)
    builder.add(op.Activation(kind), builder.input(1, 8, 4, 4))  # type: ignore[arg-type]
    assert on_host(builder, coral) == {}


@pytest.mark.parametrize(
    ("elements", "mapped"), [((1, 16000), True), ((1, 16001), False), ((1, 4, 8, 8), False)]
)
def test_softmax_has_one_dimension_of_16000(
    elements: tuple[int, ...], mapped: bool, coral: EdgeTpu
) -> None:
    builder = GraphBuilder("softmax")
    builder.add(op.Softmax(), builder.input(*elements))
    assert (on_host(builder, coral) == {}) == mapped


def test_a_batch_and_dense_rows_are_left_to_the_host(coral: EdgeTpu) -> None:
    builder = GraphBuilder("batch")
    builder.convolution(builder.input(2, 3, 8, 8), 8, 3, name="batch")
    builder.dense(builder.input(1, 5, 8), 8, name="rows")
    reasons = on_host(builder, coral)
    assert reasons["batch"].startswith("Tensor has unsupported rank")
    assert "more than one dimension" in reasons["rows"]


def test_normalisation_is_folded_and_rectifiers_are_fused(coral: EdgeTpu) -> None:
    builder = GraphBuilder("fused")
    image = builder.input(1, 8, 8, 8)
    unit = builder.convolution(image, 8, 3, normalise=True, activation="relu6", name="conv")
    both = builder.add(op.Elementwise("add"), unit, image, name="add")
    rectified = builder.add(op.Activation("relu"), both, name="relu")
    builder.add(op.Activation("sigmoid"), rectified, name="sigmoid")
    executable = compile_graph(builder.build(), coral)
    assert [[inner.name for inner in layer.executed.layers] for layer in executable.layers] == [
        ["conv", "conv/normalise", "conv/relu6"],
        ["add", "relu"],
        ["sigmoid"],
    ]
    assert [layer.engine for layer in executable.layers] == [
        "convolution",
        "elementwise",
        "elementwise",
    ]


def test_a_tensor_with_two_readers_keeps_its_rectifier_apart(coral: EdgeTpu) -> None:
    builder = GraphBuilder("shared")
    first = builder.convolution(builder.input(1, 8, 8, 8), 8, 3, name="conv")
    builder.add(op.Activation("relu"), first, name="relu")
    builder.convolution(first, 8, 1, name="other")
    names = [layer.name for layer in compile_graph(builder.build(), coral).layers]
    assert names == ["conv", "relu", "other"]


def test_host_layers_leave_a_note(coral: EdgeTpu) -> None:
    builder = GraphBuilder("note")
    builder.add(op.Elementwise("divide"), *[builder.input(1, 8, 4, 4)] * 2, name="quotient")
    executable = compile_graph(builder.build(), coral)
    assert executable.notes == ("layer 'quotient': host: Operation not supported: divide",)
    assert executable.input_bytes == executable.output_bytes == 0


def test_a_graph_without_work_is_refused_in_one_line(coral: EdgeTpu) -> None:
    builder = GraphBuilder("views")
    builder.add(op.Flatten(), builder.input(1, 2, 3, 4), name="flat")
    graph = builder.build()
    reason = unsupported(graph, coral)
    assert reason is not None
    assert "flat" in reason
    assert "\n" not in reason
    with pytest.raises(UnsupportedLayer, match="flat"):
        compile_graph(graph, coral)
