"""The pipeline as a user runs it: Snakemake, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import strata
from benchmark.plan import read_plan
from benchmark.shards import read_shard
from strata.platforms import load_platform

ROOT = Path(__file__).parents[2]


def snakemake(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
        *("--directory", folder, "--configfile", config, "--cores", "2"),
        *("--resources", "device=1", "--scheduler", "greedy", *arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder in which config/tiny.yaml has been run: this processor and a simulated DPU."""
    folder = tmp_path_factory.mktemp("tiny")
    done = snakemake(folder, ROOT / "config" / "tiny.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("name", ["openvino_cpu", "dpu_zcu102"])
def test_tiny_ends_with_a_platform_model_that_estimates(tiny, name):
    platform = load_platform(tiny / f"results/tiny/{name}/{name}.strata")
    assert {"convolution", "depthwise_convolution", "dense", "add"} <= set(platform.layer_models)
    network = tiny / "results/tiny/networks/table2/resnet18.json"
    estimate = strata.estimate(network, platform)
    (measured,) = pd.read_parquet(tiny / f"results/tiny/{name}/evaluation/networks.parquet").query(
        "network == 'resnet18' and kind == 'mixed' and mapping == 'predicted'"
    )["measured_s"]
    # no accuracy is asked of 139 graphs, but a wrong unit or a doubled layer would show
    assert 0.5 < estimate.total_s / measured < 2.0


def test_tiny_writes_tables_in_the_papers_form_and_a_tidy_summary(tiny):
    summary = pd.read_csv(tiny / "results/tiny/evaluation/summary.csv")
    columns = ["platform", "data_set", "subject", "model", "metric", "value", "unit", "n"]
    assert list(summary.columns) == columns
    kinds = {"roofline", "refined", "statistical", "mixed"}
    assert kinds <= set(summary.query("data_set == 'table2' and metric == 'mape'")["model"])
    assert (tiny / "results/tiny/openvino_cpu/report/index.html").stat().st_size > 10_000


def test_every_planned_case_is_measured_or_refused_with_a_reason(tiny):
    folder = tiny / "results/tiny/openvino_cpu"
    planned = sum(len(read_plan(path)) for path in folder.glob("plan/*.jsonl"))
    networks = pd.read_parquet(folder / "tables/networks.parquet")
    refusals = pd.read_parquet(folder / "tables/refusals.parquet")
    assert len(networks) + len(refusals) == planned
    assert refusals["reason"].str.len().gt(0).all()


def test_networks_are_measured_between_the_samples(tiny):
    folder = tiny / "results/tiny/openvino_cpu"
    parts = ["network_parts/0.jsonl", "network_parts/1.jsonl"]
    shards = ["shards/sweeps-0.jsonl", "shards/samples-0.jsonl", "shards/samples-1.jsonl"]
    assert len(list((folder / "network_parts").iterdir())) == len(parts)
    first, last, sweeps, *samples = ((folder / each).stat().st_mtime for each in parts + shards)
    assert sweeps < first < min(samples)
    assert samples[1] < last
    rounds = {record["rounds"] for record in read_shard(folder / "networks.jsonl")}
    assert rounds == {5}
    # a computed platform is the same at any time
    assert len(list((tiny / "results/tiny/dpu_zcu102/network_parts").iterdir())) == 1


@pytest.mark.parametrize("name", ["openvino_cpu", "dpu_zcu102"])
def test_a_round_adds_points_and_its_plan_says_why(tiny, name):
    folder = tiny / "results/tiny" / name
    plan = folder / "plan/round1.jsonl"
    assert "# convolution: error" in plan.read_text()
    added = {case.case_id for case in read_plan(plan)}
    assert len(added) >= 5
    networks = pd.read_parquet(folder / "tables/networks.parquet")
    refusals = pd.read_parquet(folder / "tables/refusals.parquet")
    assert added <= {*networks["case_id"], *refusals["case_id"]}


def test_a_second_run_has_nothing_to_do(tiny):
    again = snakemake(tiny, ROOT / "config" / "tiny.yaml", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize("name", ["default", pytest.param("full", marks=pytest.mark.slow)])
def test_larger_configurations_plan_their_jobs(tmp_path, name):
    plan = snakemake(tmp_path, ROOT / "config" / f"{name}.yaml", "--dry-run", "--quiet")
    assert plan.returncode == 0, plan.stderr[-2000:]


def test_an_illegal_configuration_stops_before_anything_runs(tmp_path):
    data = yaml.safe_load((ROOT / "config" / "tiny.yaml").read_text())
    data["measurement"]["repaets"] = 3
    config = tmp_path / "wrong.yaml"
    config.write_text(yaml.safe_dump(data))
    failed = snakemake(tmp_path, config)
    assert failed.returncode != 0
    assert "'measurement.repaets' is unknown; legal:" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "results").exists()


def test_a_plan_is_made_for_a_platform_that_the_configuration_does_not_list(tmp_path):
    plan = "results/tiny/null/plan/sweeps.jsonl"
    chosen = ("--config", 'platforms=["null"]')
    done = snakemake(tmp_path, ROOT / "config" / "tiny.yaml", plan, *chosen)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / plan).read_text().count("\n") > 10


def test_an_unknown_platform_is_one_line_before_anything_runs(tmp_path):
    chosen = ("--config", "platforms=[nope]")
    failed = snakemake(tmp_path, ROOT / "config" / "tiny.yaml", *chosen)
    assert failed.returncode != 0
    assert "Traceback" not in failed.stderr
    (line,) = (line for line in failed.stderr.splitlines() if "nope" in line)
    assert "no platform 'nope' is described; legal: " in line
    assert "openvino_cpu" in line
    assert not (tmp_path / "results").exists()


def test_floors_are_kept():
    lint = Path(sys.executable).parent / "lint-imports"
    environment = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(
        [lint], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout
