"""Rounds on the simulated DPU: what is planned, when nothing is, and what bad input says."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmark import adaptive, rounds
from benchmark.adaptive import is_held_out
from benchmark.config import RunConfig, load_config, load_platform, platform_file
from benchmark.make_plan import plan_cases
from benchmark.plan import read_plan, unique, write_plan
from benchmark.plan_round import command as plan_round_command
from benchmark.rounds import plan_round, split
from benchmark.tables import Rows, add_record, write_tables
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from strata.errors import ArtefactError, FitError, SchemaError
from strata.profile_json import profile_to_dict

CONFIG = Path(__file__).parents[3] / "config"
SWEEP = {
    "points": [{"height": 28, "width": 28, "channels": 256, "kernel": 3, "stride": 1}],
    "parameters": {"filters": {"start": 4, "stop": 60, "step": 4}},
}


def small(**changes) -> RunConfig:
    run = {
        "schema_version": 1,
        "name": "small",
        "seed": 4,
        "platforms": ["dpu_zcu102"],
        "sweeps": {"convolution": SWEEP},
        "sampling": {"draw": "distribution", "data_set": "base", "kernels_limit": 1},
        "samples": {"convolution": 70, "dense": 10},
        "rounds": {"count": 3, "points": 40, "held_out": 0.2, "target_error_percent": 0.1},
    }
    run["rounds"] |= changes
    return RunConfig.model_validate(run)


def write_measured(cases, folder):
    module, rows = create("dpu_simulated", {}), Rows()
    for case in cases:
        graph = build(case.benchmark, case.settings)
        report = module.profile(module.compile(graph), 1, 0)
        profile = profile_to_dict(module.parse(report, graph))
        record = {"case": case.to_dict(), "tags": case.tags, "profile": profile}
        add_record(rows, record, build, case.case_id)
    write_tables(rows, folder)


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Cases of sweeps and samples, and their tables."""
    folder = tmp_path_factory.mktemp("before")
    cases = plan_cases(small(), None, None)
    write_measured(cases, folder)
    return cases, folder


@pytest.fixture(autouse=True)
def in_little(monkeypatch):
    monkeypatch.setattr(rounds, "CANDIDATES", 100)
    monkeypatch.setattr(adaptive, "_TREES", 20)


def test_a_round_adds_points_and_says_why(before):
    cases, notes = plan_round(small(), 1, *before)
    assert notes[0] == f"round 1: {len(cases)} points planned"
    assert "convolution: error " in notes[1]
    assert "where models disagree" in notes[1]
    assert notes[2].endswith("points measured, an ensemble needs 30: nothing planned")
    assert len(cases) == split(40, {"convolution": 70, "dense": 10})["convolution"]
    assert {case.tags["reason"] for case in cases} >= {"disagreement", "step"}
    assert {case.tags["round"] for case in cases} == {"1"}
    measured = {case.case_id for case in before[0]}
    assert not measured & {case.case_id for case in cases}
    # the array has 16 filters: times jump behind 16, 32 and 48, and halving goes between
    halves = {
        case.settings["filters"]
        for case in cases
        if case.tags["reason"] == "step" and case.settings["channels"] == 256
    }
    assert halves <= {18, 34, 50}
    assert halves


def test_rounds_are_deterministic_and_differ(before):
    first, _ = plan_round(small(), 1, *before)
    assert plan_round(small(), 1, *before)[0] == first
    second, _ = plan_round(small(), 2, *before)
    assert {case.case_id for case in second} != {case.case_id for case in first}


def test_a_larger_budget_keeps_the_points_of_a_smaller_one(before):
    few, _ = plan_round(small(), 1, *before)
    many, _ = plan_round(small(points=70), 1, *before)
    assert {case.case_id for case in few} <= {case.case_id for case in many}
    assert len(many) > len(few)
    assert all(
        split(n + 1, {"a": 5, "b": 3})[name] >= split(n, {"a": 5, "b": 3})[name]
        for n in range(60)
        for name in "ab"
    )


def test_held_out_points_are_never_planned_nor_used(before):
    run, (cases, tables) = small(), before
    found: list = []
    for number in (1, 2, 3):
        found += plan_round(run, number, cases, tables)[0]
    assert len(found) > 50
    assert not any(is_held_out(case, run.seed, run.rounds.held_out) for case in found)
    # other times of held-out points change the reported error, not one point
    held = {case.case_id for case in cases if is_held_out(case, run.seed, 0.2)}
    table = pd.read_parquet(tables / "layers" / "convolution.parquet")
    assert table["case_id"].isin(held).sum() > 5
    changed = tables.parent / "changed"
    (changed / "layers").mkdir(parents=True, exist_ok=True)
    table.loc[table["case_id"].isin(held), "time_s"] *= 7
    table.to_parquet(changed / "layers" / "convolution.parquet")
    same, notes = plan_round(run, 1, cases, changed)
    original, before_notes = plan_round(run, 1, cases, tables)
    assert [case for case in same if case.benchmark == "convolution"] == [
        case for case in original if case.benchmark == "convolution"
    ]
    assert notes[1] != before_notes[1]


def test_rounds_stop_at_the_target(before):
    for number in (1, 2):
        cases, notes = plan_round(small(target_error_percent=400.0), number, *before)
        assert cases == []
        assert "target of 400% reached: nothing planned" in notes[1]


def test_the_same_points_judge_every_round(before, tmp_path):
    cases, tables = before
    added, notes = plan_round(small(), 1, cases, tables)
    everything = unique([*cases, *added])
    write_measured(everything, tmp_path)
    _, after = plan_round(small(), 2, everything, tmp_path)
    held_out = [note.split(" on ")[1].split(":")[0] for note in (notes[1], after[1])]
    assert held_out[0] == held_out[1]


def test_illegal_rounds_and_missing_tables_are_one_line(before, tmp_path):
    cases, tables = before
    with pytest.raises(SchemaError, match=r"round 4 of rounds\.count 3; legal: 1 to that"):
        plan_round(small(), 4, cases, tables)
    with pytest.raises(ArtefactError, match=r"none: no such folder of tables"):
        plan_round(small(), 1, cases, tmp_path / "none")
    assert plan_round(small(), 1, cases, tmp_path)[1][1:] == [
        "convolution: nothing was measured, nothing planned",
        "dense: nothing was measured, nothing planned",
    ]
    layers = tmp_path / "layers"
    layers.mkdir()
    (layers / "convolution.parquet").write_bytes(b"PAR1 not a table")
    with pytest.raises(ArtefactError, match=r"convolution\.parquet: not a readable Parquet table"):
        plan_round(small(), 1, cases, tmp_path)
    table = pd.read_parquet(tables / "layers" / "convolution.parquet")
    table.drop(columns=["kernel_height"]).to_parquet(layers / "convolution.parquet")
    with pytest.raises(FitError, match=r"convolution\.parquet: lacks column kernel_height"):
        plan_round(small(), 1, cases, tmp_path)
    table.drop(columns=["layer"]).to_parquet(layers / "convolution.parquet")
    with pytest.raises(ArtefactError, match=r"lacks column layer or benchmark"):
        plan_round(small(), 1, cases, tmp_path)


def test_the_command_writes_a_plan_with_its_reasons(before, tmp_path, capsys):
    cases, tables = before
    (tmp_path / "platforms").mkdir()
    platform = platform_file(CONFIG / "tiny.yaml", "null").read_text()
    (tmp_path / "platforms" / "dpu_zcu102.yaml").write_text(platform)
    run = small(points=20, target_error_percent=400.0)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(run.model_dump(mode="json")))
    write_plan(cases, tmp_path / "samples.jsonl")
    output = tmp_path / "round1.jsonl"

    arguments = [
        *(sys.executable, "-m", "benchmark.plan_round", tmp_path / "samples.jsonl"),
        *("--config", config, "--platform", "dpu_zcu102", "--round", "1"),
        *("--tables", tables, "--output", output),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "target of 400% reached: nothing planned" in done.stderr
    assert read_plan(output) == []
    assert "# convolution: error" in output.read_text()
    plans = [tmp_path / "samples.jsonl"]
    with pytest.raises(SystemExit) as failed:
        plan_round_command(plans, config, "dpu_zcu102", 1, tmp_path / "none", output)
    assert failed.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no such folder of tables" in said


def test_a_platform_has_its_own_rounds(tmp_path):
    (tmp_path / "fast.yaml").write_text("module: 'null'\npoints: 3\nrounds: {count: 5}\n")
    run = small()
    fast = load_platform(tmp_path / "fast.yaml").apply(run, tmp_path / "fast.yaml")
    assert (fast.rounds.count, fast.rounds.points) == (5, 120)
    assert load_config(CONFIG / "full.yaml").rounds.count == 0
