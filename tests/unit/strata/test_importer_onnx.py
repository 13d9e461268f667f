"""ONNX files: exact layer lists, shapes, MACs by hand; dynamic shapes; broken files."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from strata import operations as op
from strata.errors import ArtefactError, SchemaError
from strata.graph_json import load_graph, save_graph
from strata.importer import load_network, read_openvino_model


def weights(name, *shape):
    generator = np.random.default_rng(len(name))
    return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)


def write(path, nodes, constants, input_shape, output_shape):
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        constants,
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def classifier(path, input_shape=("N", 3, 16, 16)):
    """Convolution, depthwise with ReLU6, squeeze-excite, hard swish, residual add, dense."""
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], "conv1", pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Conv", ["c1", "w2"], ["c2"], "conv2", pads=[1, 1, 1, 1], group=8),
        node("Clip", ["c2", "low", "high"], ["r2"], "relu6"),
        node("GlobalAveragePool", ["r2"], ["s1"], "squeeze"),
        node("Conv", ["s1", "w3"], ["s2"], "excite"),
        node("HardSigmoid", ["s2"], ["s3"], "gate", alpha=1 / 6, beta=0.5),
        node("Mul", ["r2", "s3"], ["m"], "scale"),
        node("Add", ["m", "c1"], ["a"], "residual"),
        node("Sigmoid", ["a"], ["a1"], "inner"),
        node("Mul", ["a", "a1"], ["sw"], "swish"),
        node("MaxPool", ["sw"], ["p"], "pool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "w4", "b4"], ["y"], "dense", transB=1),
    ]
    limits = [
        numpy_helper.from_array(np.float32(value), name)
        for name, value in (("low", 0), ("high", 6))
    ]
    constants = [
        weights("w1", 8, 3, 3, 3),
        weights("b1", 8),
        weights("w2", 8, 1, 3, 3),
        weights("w3", 8, 8, 1, 1),
        weights("w4", 10, 128),
        weights("b4", 10),
        *limits,
    ]
    return write(path, nodes, constants, input_shape, [None, 10])


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("onnx") / "classifier.onnx")


def test_layers_shapes_and_macs(network):
    graph = load_network(network)
    assert graph.name == "classifier"
    found = [(layer.operation, layer.output_shape) for layer in graph.layers]
    assert sorted(found) == sorted(
        [
            ("input", (1, 3, 16, 16)),
            ("convolution", (1, 8, 8, 8)),
            ("depthwise_convolution", (1, 8, 8, 8)),
            ("activation", (1, 8, 8, 8)),  # ReLU6
            ("global_average_pooling", (1, 8, 1, 1)),
            ("convolution", (1, 8, 1, 1)),
            ("activation", (1, 8, 1, 1)),  # hard sigmoid
            ("multiply", (1, 8, 8, 8)),
            ("add", (1, 8, 8, 8)),
            ("activation", (1, 8, 8, 8)),  # swish
            ("max_pooling", (1, 8, 4, 4)),  # ceil((8 - 3) / 2) + 1 = 4
            ("reshape", (1, 128)),
            ("dense", (1, 10)),
        ]
    )
    # 512 outputs * 27, 512 * 9, 8 * 8, 10 * 128
    assert graph.work.macs == 512 * 27 + 512 * 9 + 64 + 1280
    assert not graph.opaque


def test_parameters_and_names_of_the_source(network):
    graph = load_network(network)
    by_kind = {
        layer.parameters.kind: layer
        for layer in graph.layers
        if isinstance(layer.parameters, op.Activation)
    }
    assert set(by_kind) == {"relu6", "hard_sigmoid", "swish"}
    assert by_kind["swish"].inputs == ("residual",)
    assert graph["excite"].parameters == op.Convolution(8, (1, 1), bias=False)
    assert graph["conv2"].parameters == op.Convolution(
        8, (3, 3), padding=(1, 1, 1, 1), groups=8, bias=False
    )
    # one row and column more than declared, as the pooling rounds up: (4 - 1) * 2 + 3 - 8 = 1
    assert graph["pool"].parameters == op.Pooling("max", (3, 3), (2, 2), (0, 0, 1, 1))
    biased = [layer.parameters for layer in graph.layers if getattr(layer.parameters, "bias", 0)]
    assert biased == [op.Convolution(8, (3, 3), (2, 2), padding=(0, 0, 1, 1)), op.Dense(10)]


def test_importing_twice_gives_the_same_names(network):
    assert load_network(network) == load_network(network)


def test_graph_names_are_the_models_names(network):
    nodes = {node.get_friendly_name() for node in read_openvino_model(network).get_ordered_ops()}
    assert {layer.name for layer in load_network(network).layers} <= nodes


def test_batch_normalisation_folds_into_its_convolution(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["y"], "relu"),
    ]
    variance = numpy_helper.from_array(np.ones(4, np.float32), "v")
    constants = [
        weights("w", 4, 3, 1, 1),
        weights("s", 4),
        weights("b", 4),
        weights("m", 4),
        variance,
    ]
    path = write(tmp_path / "norm.onnx", nodes, constants, [1, 3, 4, 4], [1, 4, 4, 4])
    graph = load_network(path)
    assert [layer.parameters for layer in graph.layers[1:]] == [
        op.Convolution(4, (1, 1)),
        op.Activation("relu"),
    ]
    assert load_network(path).content_hash == graph.content_hash


def test_dynamic_batch_is_one_and_other_axes_ask(network, tmp_path):
    assert load_network(network)["image"].output_shape == (1, 3, 16, 16)
    assert load_network(network, (4, 3, 16, 16)).work.macs == 4 * load_network(network).work.macs
    path = classifier(tmp_path / "open.onnx", ("N", 3, "H", "W"))
    with pytest.raises(SchemaError, match="asks for --input-shape 1,3,224,224") as caught:
        load_network(path)
    assert "[?,3,?,?]" in str(caught.value)
    assert load_network(path, (1, 3, 16, 16)).work == load_network(network).work


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 16, 16), "does not fit --input-shape 1,4,16,16"),
        ((1, 3, 16), "does not fit --input-shape 1,3,16"),
        ((1, 3, 0, 16), "every axis must be 1 or more"),
        ((), "every axis"),
    ],
)
def test_unfit_input_shapes(network, shape, message):
    with pytest.raises(SchemaError, match=message) as caught:
        load_network(network, shape)
    assert "\n" not in str(caught.value)


def test_strata_json_with_another_input_shape(network, tmp_path):
    nodes = [helper.make_node("Conv", ["image", "w"], ["y"], "conv")]
    path = write(tmp_path / "c.onnx", nodes, [weights("w", 4, 3, 1, 1)], [1, 3, 4, 4], [1, 4, 4, 4])
    graph = load_network(path)
    saved = tmp_path / "c.json"
    save_graph(graph, saved)
    assert load_network(saved) == load_graph(saved) == graph
    assert load_network(saved, (2, 3, 8, 8)).work.macs == 8 * graph.work.macs
    with pytest.raises(SchemaError, match="every axis"):
        load_network(saved, (2, 3, 0, 8))
    save_graph(load_network(network), tmp_path / "fixed.json")
    with pytest.raises(SchemaError, match="does not fit --input-shape 2,3,16,16"):
        load_network(tmp_path / "fixed.json", (2, 3, 16, 16))  # its Reshape names the batch


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".xml"])
@pytest.mark.parametrize("content", [b"", b"\x93random \x00bytes" * 40, b"<net></net>"])
def test_broken_files(tmp_path, suffix, content, capfd):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"empty|cannot be read|no network") as caught:
        load_network(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "src/" not in message
    assert capfd.readouterr().err == ""


def test_truncated_file(network, tmp_path):
    whole = network.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_network(path)


def test_paths_that_are_no_network(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        load_network(tmp_path / "none.onnx")
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(ArtefactError, match=r"'.pt'; legal: .*\.keras.*\.onnx"):
        load_network(tmp_path / "net.pt")
    with pytest.raises(ArtefactError, match="no SavedModel"):
        load_network(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ArtefactError, match="Saved Model cannot be parsed"):
        load_network(tmp_path)


def test_operation_openvino_does_not_know(tmp_path):
    nodes = [helper.make_node("Fancy", ["image"], ["y"], "fancy", domain="nowhere")]
    path = write(tmp_path / "fancy.onnx", nodes, [], [1, 3, 4, 4], [1, 3, 4, 4])
    with pytest.raises(ArtefactError, match="Fancy") as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_an_empty_axis_is_refused(tmp_path):
    nodes = [helper.make_node("Relu", ["image"], ["y"], "relu")]
    path = write(tmp_path / "none.onnx", nodes, [], [1, 0, 4, 4], [1, 0, 4, 4])
    with pytest.raises(SchemaError, match=r"none\.onnx: layer 'image'.*every axis"):
        load_network(path)
