"""The proof of recalibration: who is drawn, who judges, and what is written."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evaluation import recalibration
from evaluation.recalibration import Move, judge, report, shard_move, splits, summary_frame
from model_gen.network_parts import NetworkParts
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.graph_json import graph_to_dict
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel
from strata.profile import Profile
from strata.profile_json import profile_to_dict

MODEL = PlatformModel(
    Header("board", "0", "2025-01-01T00:00:00+00:00", "test", 0),
    {"convolution": {"roofline": Roofline(1e9, 1e9, 1e-6)}},
    MappingModel(),
)


def move(count=8, doubled=0):
    """Networks of two parts, of which the new set-up halves one; the last ones measured twice."""
    generator = np.random.default_rng(0)
    shares = generator.uniform(0.1, 0.9, count)
    networks = [
        NetworkParts(f"n{k}", {"compute/convolution": 1e-3 * s, "host": 1e-3 * (1 - s)}, 10)
        for k, s in enumerate(shares)
    ]
    networks += networks[count - doubled :]
    measured_s = [0.5 * n.seconds["compute/convolution"] + n.seconds["host"] for n in networks]
    groups = tuple(network.name for network in networks)
    return Move("toy", "Toy", tuple(networks), np.array(measured_s), groups)


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, []), (4, [3]), (10, [3, 4, 5, 7, 9]), (21, [5, 10, 15, 20])]
)
def test_at_least_one_network_is_left_to_judge(count, sizes):
    assert move(count).sizes == sizes


def test_what_was_measured_twice_is_drawn_together():
    groups = move(8, doubled=3).groups
    drawn = list(splits(groups, 5, 10, seed=0))
    for seen in drawn:
        inside = {group for group, one in zip(groups, seen, strict=True) if one}
        outside = {group for group, one in zip(groups, seen, strict=True) if not one}
        assert len(inside) == 5
        assert not inside & outside
    assert len({tuple(seen) for seen in drawn}) > 1
    again = splits(groups, 5, 10, seed=0)
    assert all((a == b).all() for a, b in zip(drawn, again, strict=True))


def test_the_recalibrated_model_is_judged_on_the_others():
    one = move(8)
    seen = np.arange(8) < 6
    found = {row["method"]: row for row in judge(one, seen)}
    assert [row["judged"] for row in found.values()] == [2, 2, 2]
    expected = [network.total_s for network in one.networks[6:]] / one.measured_s[6:] - 1
    assert found["original"]["mape_percent"] == pytest.approx(100 * expected.mean())
    assert found["recalibrated"]["mape_percent"] < found["one factor"]["mape_percent"]
    # the others do not matter to the fit
    other = replace(one, measured_s=np.where(seen, one.measured_s, 10 * one.measured_s))
    again = {row["method"]: row for row in judge(other, seen)}
    assert again["recalibrated"]["form"] == found["recalibrated"]["form"]
    assert again["recalibrated"]["promised_percent"] == found["recalibrated"]["promised_percent"]


def test_tables_and_plot_are_written(tmp_path, capsys):
    report([replace(move(5), refusals=("x: too large",)), move(2)], tmp_path, count=2, seed=0)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "splits.csv",
        "recalibration.csv",
        "recalibration.md",
        "error_against_networks.svg",
        "error_against_networks.png",
    }
    rows = pd.read_csv(tmp_path / "splits.csv")
    assert len(rows) == 2 * 3 * len(move(5).sizes)
    summary = summary_frame(rows)
    assert (summary["splits"] == 2).all()
    assert "too few to judge" in capsys.readouterr().out


def test_nothing_to_judge_is_one_line(tmp_path):
    with pytest.raises(SchemaError, match="legal: 4 or more"):
        report([move(3)], tmp_path, count=1, seed=0)


def test_measured_networks_of_a_shard(tmp_path):
    build = GraphBuilder("net")
    build.convolution(build.input(1, 8, 16, 16), 16, 3, name="convolution")
    graph = build.build()
    profile = Profile("openvino_cpu", samples_s=(2e-3,), time_s=2e-3)
    refused = Profile("openvino_cpu", refusal="too large")
    lines = [
        json.dumps({"graph": graph_to_dict(graph), "profile": profile_to_dict(each)})
        for each in (profile, refused)
    ]
    (tmp_path / "networks.jsonl").write_text("\n".join(lines) + "\n")
    found = shard_move("cpu", "CPU", MODEL, tmp_path / "networks.jsonl")
    assert found.measured_s.tolist() == [2e-3]
    assert found.refusals == ("net: too large",)
    (tmp_path / "networks.jsonl").write_text("{}\n")
    with pytest.raises(SchemaError, match="line 1: no measured network"):
        shard_move("cpu", "CPU", MODEL, tmp_path / "networks.jsonl")


def test_unknown_moves_are_refused_in_one_line(tmp_path):
    app = recalibration.typer.Typer()
    app.command()(recalibration.command)
    for said, arguments in {
        "move 'none' is unknown; legal: cpu_two_threads": ["--move", "none"],
        "needs --cpu-networks": ["--move", "cpu_two_threads"],
    }.items():
        found = CliRunner().invoke(app, ["--output", str(tmp_path), *arguments])
        assert found.exit_code == 2
        assert said in found.stderr
        assert found.stderr.count("\n") == 1


def test_a_network_published_twice_counts_once_by_its_median(monkeypatch):
    model = replace(MODEL, header=replace(MODEL.header, bits=8))
    found = recalibration.published_move("raspberry_pi4", model)
    assert len(found.networks) == len(set(found.groups)) == 5
    assert all("pruned" in refusal for refusal in found.refusals)
    rows = recalibration.read_measurements(
        recalibration.PUBLISHED_MOVES["raspberry_pi4"], recalibration.SHIPPED
    )
    twice = [rows[0], replace(rows[0], published_s=3 * rows[0].published_s), *rows[1:4]]
    monkeypatch.setattr(recalibration, "read_measurements", lambda *_: twice)
    again = recalibration.published_move("raspberry_pi4", model)
    assert again.measured_s[0] == pytest.approx(2 * rows[0].published_s)
    assert len(again.networks) == 4
