"""Traffic from executed nodes to tables, and from tables to an estimate."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.matcher import match
from benchmark.tables import read_layer_tables, rows_of_shard, write_tables
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from model_gen.fit_platform import fit_platform
from model_gen.statistical import ForestSettings
from model_gen.tables import read_table
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.platform_model import load_platform_model, save_platform_model
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_to_dict


def node(name, *layers, producers=(), **traffic):
    return ExecutedNode(name, "kind", layers, producers, None, 1.0, (1.0,), "", traffic)


def graph():
    build = GraphBuilder("two")
    source = build.input(1, 8, 8, 8, name="in")
    build.convolution(source, 8, 3, name="first")
    build.convolution("first", 8, 3, name="second")
    return build.build()


def test_a_groups_nodes_add_up_and_what_one_of_them_does_not_name_is_unknown():
    nodes = (
        node("n1", "first", sram=10.0, flash=1.0),
        node("n2", "first", sram=5.0, producers=("n1",)),
        node("cast", producers=("n2",), sram=2.0),
        node("cast2", producers=("cast",), sram=3.0),
        node("n3", "second", producers=("cast2",)),
    )
    found = {
        layer.executed.name: layer.traffic_bytes
        for layer in match(graph(), Profile("test", nodes, (1.0,), 1.0)).layers
    }
    assert found == {"first": {"sram": 15.0}, "second": {}, "first/reorder": {"sram": 5.0}}


def record(number: int, told: bool = True) -> dict:
    """A convolution of random sizes on a machine that reads each byte from SRAM three times and
    keeps weights in flash.
    """
    generator = np.random.default_rng(number)
    settings = {
        **{"height": int(generator.integers(4, 40)), "width": int(generator.integers(4, 40))},
        **{"channels": int(generator.integers(1, 99)), "filters": int(generator.integers(1, 99))},
        **{"kernel": 3, "kernels": 1},
    }
    module = create("null", {})
    network = build("convolution", settings)
    profile = module.parse(module.profile(module.compile(network), 3, 1), network)
    data = profile_to_dict(profile)
    works = {layer.executed.name: layer.executed.work for layer in match(network, profile).layers}
    for each in data["nodes"] if told else ():
        work = works[next(name for name in each["layers"] if name in works)]
        each["traffic_bytes"] = {"sram": 3.0 * work.bytes, "flash": float(work.weight_bytes)}
    case = {"case_id": f"c{number}", "benchmark": "convolution", "settings": settings}
    return {"case": case, "profile": data, "wall_s": 0.1, "device_s": 0.1, "attempts": 1}


def tables(folder, told: bool = True):
    shard = folder / "shard.jsonl"
    shard.write_text("".join(json.dumps(record(i, told)) + "\n" for i in range(40)))
    write_tables(rows_of_shard(shard, build), folder / "tables")
    return folder / "tables"


def test_tables_hold_bytes_per_layer_and_per_network(tmp_path):
    folder = tables(tmp_path)
    layers = pd.concat(read_layer_tables(folder).values())
    assert layers["sram_bytes"].tolist() == pytest.approx((3 * layers["bytes"]).tolist())
    assert layers["dram_bytes"].isna().all()
    networks = pd.read_parquet(folder / "networks.parquet").set_index("case_id")
    sums = layers.groupby("case_id")[["sram_bytes", "flash_bytes"]].sum()
    assert networks["sram_bytes"].to_dict() == pytest.approx(sums["sram_bytes"].to_dict())
    assert networks["flash_bytes"].to_dict() == pytest.approx(sums["flash_bytes"].to_dict())
    assert networks["dram_bytes"].isna().all()


def fitted(folder):
    layers = {path.stem: read_table(path) for path in (folder / "layers").glob("*.parquet")}
    rest = [pd.read_parquet(folder / f"{n}.parquet") for n in ("mapping", "placements", "networks")]
    header = {"platform": "told", "run": "test", "seed": 0, "data_hashes": {}}
    return fit_platform(layers, *rest, {}, header, ForestSettings(trees=9, learner="forest"))


def test_from_tables_to_an_estimate_that_tells_traffic(tmp_path):
    model, report = fitted(tables(tmp_path))
    save_platform_model(model, tmp_path / "told.strata")
    found = estimate(graph(), load_platform_model(tmp_path / "told.strata"))
    assert found.memories == ("sram", "flash")
    once = 4 * (8 * 64 + 8 * 8 * 9 + 8 + 8 * 64)
    for layer in found.layers:
        assert layer.traffic_bytes["sram"] == pytest.approx(3 * once, rel=0.01)
        assert layer.traffic_bytes["flash"] == pytest.approx(4 * (8 * 8 * 9 + 8), rel=0.05)
    metrics = report["layers"]["convolution"]["traffic"]["sram"]
    assert metrics == model.header.fit_metrics["convolution"]["traffic"]["sram"]
    assert metrics["sum_error_percent"]["model"] < 0.01


def test_tables_without_traffic_give_the_same_times(tmp_path):
    (tmp_path / "told").mkdir()
    (tmp_path / "silent").mkdir()
    told, _ = fitted(tables(tmp_path / "told"))
    silent, report = fitted(tables(tmp_path / "silent", told=False))
    assert silent.traffic.memories == ()
    assert "traffic" not in report["layers"]["convolution"]
    assert estimate(graph(), silent).total_s == estimate(graph(), told).total_s
