"""Strata's file format: exact round trips, and one clear line for every broken file."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError, SchemaError, StrataError
from strata.graph_json import graph_from_dict, graph_to_dict, load_graph, save_graph


def small_graph():
    builder = GraphBuilder("small")
    image = builder.input(1, 3, 8, 8, name="image")
    first = builder.convolution(image, 4, 3, 2, activation="relu", normalise=True, name="first")
    branch = builder.add(op.Elementwise("multiply", (4, 1, 1)), first)
    joined = builder.add(op.Concat(), first, branch)
    builder.add(op.Opaque("TopK", (1, 5)), joined)
    builder.dense(builder.add(op.GlobalPooling("average", False), joined), 10)
    return builder.build()


def document(**changes):
    data = graph_to_dict(small_graph())
    data.update(changes)
    return data


RECORDS = st.sampled_from(
    [
        op.Convolution(4, (3, 1), (1, 2), (1, 1), (1, 0, 1, 0), 2, False),
        op.TransposedConvolution(2, (2, 2), (2, 2), output_padding=(1, 0)),
        op.Pooling("average", (2, 2), (1, 1), (0, 0, 1, 1), True),
        op.Elementwise("subtract", (4, 1, 1)),
        op.Elementwise("maximum", ()),
        op.Activation("hard_swish"),
        op.BatchNormalization(),
        op.Softmax(1),
        op.Resize("cubic", (9, 7)),
        op.Pad((0, 0, 1, 0), (0, 0, 0, 2)),
        op.Reorder(),
        op.Concat(-1),
        op.Opaque("Mystery", (1, 4, 8, 8)),
    ]
)


@settings(max_examples=60)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=6),
    bits=st.integers(1, 64),
    name=st.text(min_size=1, max_size=12),
)
def test_round_trip_is_exact(records, bits, name):
    builder = GraphBuilder("Ünïcode: " + name)
    last = builder.input(2, 4, 8, 8, name=name)
    for record in records:
        try:
            last = builder.add(record, last, bits=bits)
        except SchemaError:  # does not fit after the layer before
            continue
    graph = builder.build()
    text = json.dumps(graph_to_dict(graph))
    assert graph_from_dict(json.loads(text), "text") == graph


def test_save_and_load(tmp_path):
    graph = small_graph()
    path = tmp_path / "small.json"
    save_graph(graph, path)
    assert load_graph(path) == graph
    assert load_graph(path).content_hash == graph.content_hash
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.json"]


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "small.json"
    save_graph(small_graph(), path)
    before = path.read_text()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(ArtefactError, match="cannot be written"):
        save_graph(small_graph(), path)
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["small.json"]


def test_defaults_may_be_left_out():
    layers = [
        {"name": "x", "operation": "Input", "parameters": {"shape": [1, 3, 8, 8]}},
        {
            "name": "c",
            "operation": "Convolution",
            "parameters": {"filters": 4, "kernel": [3, 3]},
            "inputs": ["x"],
        },
    ]
    data = {"format": "strata-graph", "version": 1, "name": "n", "layers": layers}
    graph = graph_from_dict(data, "here")
    assert graph["c"].parameters == op.Convolution(4, (3, 3))
    assert graph["c"].output_shape == (1, 4, 6, 6)
    assert graph.outputs == ("c",)


def changed(layer, **changes):
    data = copy.deepcopy(document())
    entry = next(entry for entry in data["layers"] if entry["name"] == layer)
    for key, value in changes.items():
        if isinstance(value, dict):
            entry[key].update(value)
        else:
            entry[key] = value
    return data


def without_filters():
    data = changed("first")
    del data["layers"][1]["parameters"]["filters"]
    return data


BROKEN = [
    ([], "must be a JSON object"),
    (document(format="onnx"), "'format'.*legal: 'strata-graph'"),
    (document(version=2), "'version' is 2; legal: 1"),
    (document(version=True), "'version'"),
    (document(extra=1), "field 'extra' is no field"),
    (document(layers=[]), "no layers"),
    (document(layers=[3]), "layer number 0"),
    (document(outputs=["nobody"]), "output 'nobody'"),
    (changed("first", operation="Convolve"), "layer 'first'.*'Convolve'.*legal: .*Convolution"),
    (changed("first", parameters={"colour": 1}), "'first'.*parameters.colour.*filters"),
    (changed("first", parameters={"filters": 4.0}), "'first'.*parameters.filters"),
    (changed("first", parameters={"filters": "4"}), "parameters.filters"),
    (changed("first", parameters={"filters": True}), "parameters.filters"),
    (changed("first", parameters={"filters": 0}), "'first': filters is 0"),
    (changed("first", parameters={"kernel": [3]}), "parameters.kernel"),
    (changed("first", parameters={"padding": [1, 1, 1, None]}), "parameters.padding"),
    (without_filters(), "parameters.filters' is missing"),
    (changed("first/relu", parameters={"kind": "rely"}), "parameters.kind.*'relu'"),
    (changed("image", parameters={"shape": [1, 0, 8, 8]}), "'image'.*every axis"),
    (changed("image", parameters={"shape": [-1, 3, 8, 8]}), "'image'.*every axis"),
    (changed("first", inputs=["ghost"]), "'first' reads 'ghost'"),
    (changed("first", inputs=["first/relu"]), "cycle"),
    (changed("first", name="image"), "two layers are named 'image'"),
    (changed("dense_1", name=""), "empty name"),
    (changed("first", output_shape=[1, 4, 9, 9]), "'output_shape' is .1, 4, 9, 9.*1, 4, 4, 4"),
    (changed("first", activation_bits=0), "activation_bits is 0"),
    (changed("first", weight_bits="8"), "'first': field 'weight_bits'"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN)
def test_broken_documents(data, message):
    with pytest.raises(SchemaError, match=message) as caught:
        graph_from_dict(json.loads(json.dumps(data)), "net.json")
    assert str(caught.value).startswith("net.json: ")
    assert "\n" not in str(caught.value)


WHOLE = json.dumps(document()).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (WHOLE[: len(WHOLE) // 2], "cut short"),
        (b"[" * 100_000, "cut short"),
        (b"hello", "no JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    path = tmp_path / "net.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as caught:
        load_graph(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ArtefactError, match="no such file"):
        load_graph(tmp_path / "none.json")
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_graph(tmp_path)


@given(cut=st.integers(0, len(WHOLE) - 1))
def test_no_prefix_of_a_file_is_a_network(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "net.json"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(StrataError):
        load_graph(path)
