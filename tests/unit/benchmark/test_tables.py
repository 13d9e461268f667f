"""From shard records to typed Parquet tables."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmark.plan import TOTAL_ONLY
from benchmark.shards import read_shard
from benchmark.tables import read_layer_tables, rows_of_shard, write_tables
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from strata.edges import EDGE_FEATURES
from strata.errors import ArtefactError
from strata.execution import FEATURES
from strata.graph import with_bits
from strata.graph_json import graph_from_dict
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_from_dict, profile_to_dict

SETTINGS = {"height": 8, "width": 8, "channels": 16, "filters": 32, "kernel": 3, "kernels": 2}


def record(case_id, profile, tags=None):
    return {
        "case": {"case_id": case_id, "benchmark": "convolution", "settings": SETTINGS},
        "profile": profile_to_dict(profile),
        "wall_s": 0.05,
        "device_s": 0.03,
        "attempts": 1,
        "tags": tags or {},
    }


@pytest.fixture
def shard(tmp_path):
    """One measured case (by the null module's linear rule) and one refusal."""
    module = create("null", {})
    graph = build("convolution", SETTINGS)
    profile = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    refusal = Profile("null", refusal="out of memory")
    path = tmp_path / "shard.jsonl"
    tags = {"sweep": "filters", "sweep_group": "g1"}
    lines = [record("aa", profile, tags), record("bb", refusal)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_each_executed_layer_is_a_row_with_its_features_and_every_reading(shard, tmp_path):
    write_tables(rows_of_shard(shard, build), tmp_path / "tables")
    table = read_layer_tables(tmp_path / "tables")["convolution"]
    kernels = table[table["layer"].str.startswith("kernel")]
    assert len(kernels) == 2
    row = kernels.iloc[0]
    assert (row["channels"], row["filters"], row["kernel_height"]) == (16, 32, 3)
    assert row["macs"] == 8 * 8 * 32 * 16 * 9
    assert row["time_s"] > 0
    assert len(row["samples_s"]) >= 3
    assert (row["sweep"], row["sweep_group"], row["case_id"]) == ("filters", "g1", "aa")
    assert list(row["absorbed"]) == [f"{row['layer']}/relu"]
    assert f"{row['layer']}/relu:activation:FUSED" in list(row["following"])
    assert set(FEATURES) <= set(table.columns)


def test_only_the_layers_a_sample_was_drawn_for_belong_to_its_data_set(tmp_path):
    module = create("null", {})
    settings = {"height": 8, "width": 8, "channels": 16, "kernel": 3, "stride": 2, "kernels": 2}
    graph = build("max_pooling", settings)
    profile = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    line = record("aa", profile, {"data_set": "aligned"})
    line["case"] |= {"benchmark": "max_pooling", "settings": settings}
    (tmp_path / "shard.jsonl").write_text(json.dumps(line))
    write_tables(rows_of_shard(tmp_path / "shard.jsonl", build), tmp_path / "tables")
    found = read_layer_tables(tmp_path / "tables")
    assert set(found["max_pooling"]["data_set"]) == {"aligned"}
    assert set(found["convolution"]["data_set"]) == {""}  # what the poolings read


def test_decisions_networks_and_refusals_have_tables_of_their_own(shard, tmp_path):
    write_tables(rows_of_shard(shard, build), tmp_path / "tables")
    mapping = pd.read_parquet(tmp_path / "tables/mapping.parquet")
    fused = mapping.query("producer_operation == 'convolution' and role == 'fusion'")
    assert set(fused.query("consumer_operation == 'activation'")["flag"]) == {"FUSED"}
    assert set(EDGE_FEATURES) <= set(mapping.columns)
    (network,) = pd.read_parquet(tmp_path / "tables/networks.parquet").to_dict("records")
    assert network["layers_s"] == pytest.approx(network["time_s"], rel=0.5)
    (refused,) = pd.read_parquet(tmp_path / "tables/refusals.parquet").to_dict("records")
    assert (refused["case_id"], refused["reason"]) == ("bb", "out of memory")
    assert json.loads(refused["settings"]) == SETTINGS


def test_of_a_calibration_network_only_its_total_and_its_graph_are_kept(shard, tmp_path):
    module, settings = create("null", {}), {"seed": 3, "family": "squeezenet"}
    graph = build("architectures", settings)
    profile = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    line = record("cc", profile, {"purpose": TOTAL_ONLY})
    line["case"] |= {"benchmark": "architectures", "settings": settings}
    before = rows_of_shard(shard, build)
    with shard.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    rows = rows_of_shard(shard, build)
    write_tables(rows, tmp_path / "tables")
    (kept,) = pd.read_parquet(tmp_path / "tables/calibration.parquet").to_dict("records")
    assert (kept["case_id"], kept["time_s"]) == ("cc", profile.time_s)
    assert kept["family"] == "squeezenet"
    found = graph_from_dict(json.loads(kept["graph"]), "here")
    assert found.layers == with_bits(graph, 32).layers
    rows.calibration.clear()
    assert rows == before


def test_a_calibration_network_of_unknown_total_is_refused(tmp_path):
    module, settings = create("null", {}), {"seed": 3, "family": "squeezenet"}
    graph = build("architectures", settings)
    profile = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    untimed = replace(profile.nodes[3], time_s=0.0, timed=False)
    profile = replace(profile, nodes=(*profile.nodes[:3], untimed, *profile.nodes[4:]))
    line = record("cc", profile, {"purpose": TOTAL_ONLY})
    line["case"] |= {"benchmark": "architectures", "settings": settings}
    path = tmp_path / "shard.jsonl"
    path.write_text(json.dumps(line) + "\n")
    rows = rows_of_shard(path, build)
    assert not rows.calibration
    assert [row["case_id"] for row in rows.refusals] == ["cc"]


def test_tables_of_layer_types_that_are_gone_do_not_stay(shard, tmp_path):
    rows = rows_of_shard(shard, build)
    write_tables(rows, tmp_path / "tables")
    del rows.layers["convolution"]
    write_tables(rows, tmp_path / "tables")
    assert "convolution" not in read_layer_tables(tmp_path / "tables")


def test_a_torn_or_missing_shard_is_named(tmp_path):
    path = tmp_path / "shard.jsonl"
    path.write_text('{"case": {}}\n{"case"')
    with pytest.raises(ArtefactError, match=r"shard.jsonl, line 2: not a JSON record"):
        list(read_shard(path))
    with pytest.raises(ArtefactError, match="cannot be read"):
        list(read_shard(tmp_path / "none.jsonl"))


def test_a_layer_without_a_time_tells_how_it_is_mapped_and_nothing_else(tmp_path):
    module, graph = create("null", {}), build("convolution", SETTINGS)
    whole = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    mapped = rows_of_record(tmp_path, whole)
    last = next(node for node in whole.nodes if "kernel_1" in node.layers)
    assert [layer["layer"] for layer in mapped.layers["convolution"]] == ["kernel_0", "kernel_1"]
    left = replace(last, kind="on the CPU", placement="host", time_s=0.0, timed=False)
    partly = replace(whole, nodes=tuple(left if n is last else n for n in whole.nodes))
    rows = rows_of_record(tmp_path, partly)
    assert [row["layer"] for row in rows.layers["convolution"]] == ["kernel_0"]
    assert not [key for key in rows.layers if "@" in key]
    assert [row["flag"] for row in rows.mapping] == [row["flag"] for row in mapped.mapping]
    placed = [row["placement"] for row in rows.placements if row["operation"] == "convolution"]
    assert placed == ["", "host"]
    assert rows.networks == []
    (refused,) = rows.refusals
    assert refused["reason"] == f"no time is known: '{left.name}' on the CPU"


def rows_of_record(folder, profile):
    path = folder / "one.jsonl"
    path.write_text(json.dumps(record("aa", profile)) + "\n")
    return rows_of_shard(path, build)


def test_whether_a_node_has_a_time_survives_json_and_is_written_only_where_it_has_none():
    timed = ExecutedNode("a", "kind", (), (), None, 1.0)
    left = ExecutedNode("b", "left", (), (), None, 0.0, placement="host", timed=False)
    data = profile_to_dict(Profile("p", (timed, left)))
    assert ["timed" in node for node in data["nodes"]] == [False, True]
    assert profile_from_dict(json.loads(json.dumps(data)), "here").nodes == (timed, left)


def test_of_a_case_for_its_mapping_no_time_is_kept(tmp_path):
    module = create("null", {})
    graph = build("convolution", SETTINGS)
    profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
    path = tmp_path / "shard.jsonl"
    path.write_text(json.dumps(record("aa", profile, {"purpose": "mapping"})) + "\n")
    write_tables(rows_of_shard(path, build), tmp_path / "tables")
    assert read_layer_tables(tmp_path / "tables") == {}
    assert len(pd.read_parquet(tmp_path / "tables" / "networks.parquet")) == 0
    for name in ("mapping", "placements"):
        table = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert set(table["case_id"]) == {"aa"}
