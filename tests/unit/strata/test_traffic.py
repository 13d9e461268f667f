"""Bytes per memory: what a profile may say, how a model answers, how a bundle keeps it."""

import json
import zipfile
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError, SchemaError
from strata.estimate import estimate, estimate_executed
from strata.execution import FEATURES, make_executed
from strata.forest import Forest
from strata.graph import Graph
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import (
    Header,
    PlatformModel,
    load_platform_model,
    save_platform_model,
)
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_from_dict, profile_to_dict
from strata.report import CSV_COLUMNS, as_dict, csv_text, json_text, table_text
from strata.traffic import Traffic, TrafficModel, Trees, every_byte_once, summed
from strata.work import Work

ROOFLINE = Roofline(1e9, 1e9, 1e-6)


def leaf(value: float) -> Forest:
    zero = np.array([0])
    return Forest(np.array([-1]), np.array([0.0]), zero, zero, np.array([value]), zero)


def large(column_name: str, limit: float) -> Trees:
    """A tree: 1 where the feature is above a limit, else 0."""
    forest = Forest(
        feature=np.array([0, -1, -1]),
        threshold=np.array([limit, 0.0, 0.0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        value=np.array([0.0, 0.0, 1.0]),
        roots=np.array([0]),
    )
    return Trees(forest, (column_name,))


def share(value: float) -> Trees:
    return Trees(leaf(np.log(value)), ("bytes",))


# SRAM: twice the data; flash: 0.5 bytes per weight; DRAM: all data of layers of more than 300 bytes
CONVOLUTION = {
    "sram": TrafficModel({"bytes": 1.0}, share(2.0)),
    "flash": TrafficModel({"weight_elements": 0.25}, share(2.0)),
    "dram": TrafficModel({"bytes": 1.0}, share(1.0), large("bytes", 300.0)),
}
POOLING = {"sram": TrafficModel({"bytes": 1.0}, share(1.0)), "flash": TrafficModel()}


def platform(traffic: Traffic | None = None) -> PlatformModel:
    header = Header("made_by_hand", "0", "2025-01-01T00:00:00+00:00", "test", 0, bits=8)
    models = {
        name: {"roofline": ROOFLINE} for name in ("convolution", "max_pooling", "convolution@host")
    }
    return PlatformModel(header, models, MappingModel(), traffic=traffic or Traffic())


def told() -> PlatformModel:
    models = {"convolution": CONVOLUTION, "max_pooling": POOLING}
    return platform(Traffic(("sram", "flash", "dram"), models))


def network() -> Graph:
    """At 8 bits: 32 read + 38 weights + 32 written = 102 bytes; 32 + 8; then a view."""
    build = GraphBuilder("small")
    build.convolution(build.input(1, 2, 4, 4), 2, 3, name="convolution")
    build.pooling("convolution", "max", 2, name="pooling")
    build.add(op.Flatten(), "pooling", name="flatten")
    return build.build()


def rows(found):
    return {layer.name: layer.traffic_bytes for layer in found.layers}


def test_a_model_is_a_base_times_a_share_and_zero_where_the_memory_is_not_used():
    matrix = np.zeros((2, len(FEATURES)))
    matrix[:, FEATURES.index("bytes")] = 100, 400
    matrix[:, FEATURES.index("weight_elements")] = 8, 0
    found = {name: model.moved_bytes(matrix).tolist() for name, model in CONVOLUTION.items()}
    assert found["sram"] == pytest.approx([200, 800])
    # a base below one byte counts as one
    assert found["flash"] == pytest.approx([0.25 * 8 * 2, 2])
    assert found["dram"] == pytest.approx([0, 400])
    assert TrafficModel().moved_bytes(matrix).tolist() == [0, 0]


def test_layers_and_totals_by_hand():
    found = estimate(network(), told(), "roofline")
    traffic = rows(found)
    assert traffic["convolution"] == pytest.approx({"sram": 2 * 102, "flash": 0.5 * 38, "dram": 0})
    assert traffic["pooling"] == {"sram": pytest.approx(40), "flash": 0.0, "dram": None}
    assert traffic["flatten"] == {"sram": 0.0, "flash": 0.0, "dram": 0.0}
    assert found.traffic_bytes["sram"] == pytest.approx(204 + 40)
    assert found.traffic_unknown == {"sram": 0, "flash": 0, "dram": 1}


def test_a_placement_without_a_model_of_its_own_is_unknown_not_the_operations():
    graph = network()
    hosted = [make_executed([layer], "host") for layer in graph.layers]
    found = estimate_executed(graph, hosted, told(), "roofline")
    assert rows(found)["convolution"] == {"sram": None, "flash": None, "dram": None}


def test_a_forest_beyond_all_numbers_is_unknown():
    wild = TrafficModel({"bytes": 1.0}, Trees(leaf(1e6), ("bytes",)))
    found = estimate(network(), platform(Traffic(("sram",), {"convolution": {"sram": wild}})))
    assert rows(found)["convolution"] == {"sram": None}


def test_nodes_add_up_only_what_all_of_them_name():
    assert summed([{"sram": 3.0, "flash": 1.0}, {"sram": 4.0}]) == {"sram": 7.0}
    assert summed([{"sram": 3.0}, {}]) == {}
    assert summed([]) == {}


@pytest.mark.parametrize(
    ("memories", "expected"),
    [
        (("sram", "flash"), {"sram": 30, "flash": 5}),
        (("sram", "dram"), {"sram": 30, "dram": 5}),
        (("sram", "flash", "dram"), {"sram": 30, "flash": 5, "dram": 0}),
        (("dram",), {"dram": 35}),
        ((), {}),
    ],
)
def test_every_byte_once_goes_where_it_is_kept(memories, expected):
    assert every_byte_once(Work(1, 1, 10, 5, 20), memories) == expected


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ({"vram": 1.0}, "node 'n': traffic_bytes: unknown memory 'vram', legal: dram, flash, sram"),
        ({"sram": -1.0}, "sram is -1.0, must be finite and at least 0"),
        ({"sram": nan}, "sram is nan"),
        ({"flash": inf}, "flash is inf"),
        ({"flash": "12"}, "flash is '12'"),
    ],
)
def test_a_profile_that_says_nonsense_is_refused(traffic, message):
    with pytest.raises(SchemaError, match=message):
        ExecutedNode("n", "kind", (), (), None, 1.0, traffic_bytes=traffic)
    data = profile_to_dict(Profile("p", (ExecutedNode("n", "kind", (), (), None, 1.0),)))
    data["nodes"][0]["traffic_bytes"] = traffic
    with pytest.raises(ArtefactError, match=f"shard, line 3: .*{message.split(':')[-1]}"):
        profile_from_dict(data, "shard, line 3")


def test_profiles_come_back_and_those_without_traffic_are_as_ever():
    nodes = (
        ExecutedNode("a", "kind", (), (), None, 1.0, traffic_bytes={"sram": 7.0, "flash": 0}),
        ExecutedNode("b", "kind", (), (), None, 1.0),
    )
    data = json.loads(json.dumps(profile_to_dict(Profile("p", nodes))))
    assert "traffic_bytes" not in data["nodes"][1]
    assert profile_from_dict(data, "here") == Profile("p", nodes)
    assert len({hash(node) for node in nodes}) == 2


def test_a_bundle_keeps_traffic(tmp_path):
    save_platform_model(told(), tmp_path / "told.strata")
    again = load_platform_model(tmp_path / "told.strata")
    matrix = np.random.default_rng(0).integers(0, 999, (50, len(FEATURES))).astype(float)
    assert again.traffic.memories == ("sram", "flash", "dram")
    for key, models in told().traffic.models.items():
        assert list(again.traffic.models[key]) == list(models)
        for memory, model in models.items():
            found = again.traffic.models[key][memory].moved_bytes(matrix)
            assert found.tolist() == model.moved_bytes(matrix).tolist()
    save_platform_model(again, tmp_path / "again.strata")
    assert (tmp_path / "again.strata").read_bytes() == (tmp_path / "told.strata").read_bytes()


def test_a_bundle_without_traffic_says_nothing_of_it(tmp_path):
    save_platform_model(platform(), tmp_path / "silent.strata")
    with zipfile.ZipFile(tmp_path / "silent.strata") as bundle:
        assert "traffic" not in json.loads(bundle.read("header.json"))
    found = estimate(network(), load_platform_model(tmp_path / "silent.strata"), "roofline")
    assert found.memories == ()
    assert all(layer.traffic_bytes == {} for layer in found.layers)
    assert "traffic" not in json_text(found)
    assert csv_text(found).splitlines()[0] == ",".join(CSV_COLUMNS)
    assert "KiB" not in table_text(found)
    # what is said of time does not depend on what is said of traffic
    silent, telling = as_dict(found), as_dict(estimate(network(), told(), "roofline"))
    for data in (telling, *telling["layers"]):
        data.pop("traffic_bytes"), data.pop("traffic_unknown", None)
    assert silent == telling


def altered(path, change):
    """The bundle with its header's traffic changed."""
    with zipfile.ZipFile(path) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    header = json.loads(members["header.json"])
    change(header["traffic"])
    members["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def _set(data, value, *keys):
    for key in keys[:-1]:
        data = data[key]
    data[keys[-1]] = value


SRAM = ("models", "convolution", "sram")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _set(t, ["sram", "vram"], "memories"), "unknown memory 'vram'"),
        (lambda t: _set(t, ["sram"], "memories"), "unknown memory 'flash', legal: sram"),
        (lambda t: _set(t, {}, "models", "convolutoin"), "unknown operation 'convolutoin'"),
        (lambda t: _set(t, {}, "models", "convolution@moon"), "unknown placement 'moon'"),
        (lambda t: _set(t, {"bites": 1}, *SRAM, "base"), "unknown feature 'bites'"),
        (lambda t: _set(t, {"bytes": -1}, *SRAM, "base"), "bytes is -1, must be finite"),
        (lambda t: _set(t, "none", *SRAM, "share", "forest"), "refers to unknown 'none'"),
        (lambda t: _set(t, ["ops", "mice"], *SRAM, "share", "feature_names"), "feature 'mice'"),
        (lambda t: _set(t, 5, *SRAM), "not subscriptable"),
        (lambda t: t.pop("models"), "lacks or refers to unknown 'models'"),
    ],
)
def test_a_bundle_whose_traffic_is_altered_is_one_line(tmp_path, change, message):
    path = tmp_path / "altered.strata"
    save_platform_model(told(), path)
    with pytest.raises(ArtefactError, match=f"altered.strata: traffic: .*{message}") as caught:
        load_platform_model(altered(path, change))
    assert "\n" not in str(caught.value)


def test_the_table_has_a_column_per_memory_and_the_total_says_what_is_unknown():
    text = table_text(estimate(network(), told(), "roofline"))
    assert all(title in text for title in ("SRAM (KiB)", "flash (KiB)", "DRAM (KiB)"))
    assert "read and written: SRAM 0.2 KiB, flash 0.0 KiB, DRAM at least 0.0 KiB" in text
    assert "DRAM traffic of 1 of 3 executed layers is unknown, marked ?" in text
    (pooling,) = (line for line in text.splitlines() if line.split()[:1] == ["pooling"])
    assert "?" in pooling.split()
    whole = Traffic(("sram",), {"convolution": {"sram": TrafficModel({"macs": 5e3}, share(1.0))}})
    whole.models["max_pooling"] = whole.models["convolution"]
    # 32 elements of 18 products in the convolution, 5,000 bytes each; a byte in the pooling
    assert "SRAM 2.75 MiB" in table_text(estimate(network(), platform(whole), "roofline"))


def test_json_and_csv_carry_the_bytes():
    found = estimate(network(), told(), "roofline")
    data = json.loads(json_text(found))
    assert data["traffic_bytes"] == found.traffic_bytes
    assert data["traffic_unknown"] == {"sram": 0, "flash": 0, "dram": 1}
    assert data["layers"][1]["traffic_bytes"]["dram"] is None
    head, *lines = (line.split(",") for line in csv_text(found).splitlines())
    assert head == [*CSV_COLUMNS, "sram_bytes", "flash_bytes", "dram_bytes"]
    moved = [float(line[-3] or 0) for line in lines]
    assert sum(moved) == pytest.approx(found.traffic_bytes["sram"])
    assert lines[1][-1] == ""  # unknown


def test_traffic_does_not_depend_on_the_kind_of_time_model():
    model = told()
    assert rows(estimate(network(), model, "roofline")) == rows(estimate(network(), model))
    bare = replace(model, traffic=Traffic())
    assert estimate(network(), bare).total_s == estimate(network(), model).total_s
