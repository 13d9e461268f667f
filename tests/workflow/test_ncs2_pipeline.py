"""The pipeline in little on the NCS2: Intel's compiler measures, a model is fitted and used."""

from pathlib import Path

import pandas as pd
import pytest

from benchmark.config import MultiLayer, load_config, load_platform
from benchmark.runner import measure_cases
from benchmark.sampling import plan_samples
from benchmark.tables import rows_of_shard, write_tables
from benchmark.turns import Job
from graph_gen.benchmarks import build
from graph_gen.zoo import ZOO
from hardware_modules.ncs2_toolchain import missing
from hardware_modules.registry import create
from model_gen.fit_platform import fit_platform
from model_gen.statistical import ForestSettings
from strata.estimate import estimate
from strata.platform_model import load_platform_model, save_platform_model

CONFIG = Path(__file__).parents[2] / "config"
pytestmark = pytest.mark.skipif(bool(missing()), reason=str(missing()))


def test_a_model_of_few_points_knows_the_order_of_a_network(tmp_path: Path) -> None:
    run = load_config(CONFIG / "tiny.yaml")
    samples = {"convolution": 40, "add": 8, "max_pooling": 8, "dense": 8}
    cases = plan_samples(samples, MultiLayer(cells=8, pooled=12), 1, run.sampling)
    platform = load_platform(CONFIG / "platforms" / "ncs2.yaml")
    shard = tmp_path / "shard.jsonl"
    job = Job(platform.module, {}, repeats=1, warmup=0)
    summary = measure_cases(cases, job, shard, "ncs2_test")
    assert (summary.points, summary.refused) == (len(cases), 0)

    write_tables(rows_of_shard(shard, build), tmp_path / "tables")
    layers = (tmp_path / "tables" / "layers").glob("*.parquet")
    tables = [
        pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        for name in ("mapping", "placements", "networks")
    ]
    assert set(tables[2]["bits"]) == {16}
    assert tables[2]["unmatched_s"].abs().max() < 1e-9
    header = {"platform": "ncs2", "run": "test", "seed": 1, "data_hashes": {}}
    model, report = fit_platform(
        {path.stem: pd.read_parquet(path) for path in layers},
        *tables,
        {},
        header,
        ForestSettings(learner="forest"),
    )
    assert any(score["producer"] == "convolution" for score in report["mapping"])
    save_platform_model(model, tmp_path / "ncs2.strata")

    graph = ZOO["resnet18"].build()
    module = create(platform.module, {})
    compiled = module.compile(graph)
    truth_s = module.parse(module.profile(compiled, 1, 0), graph).time_s
    found_s = estimate(graph, load_platform_model(tmp_path / "ncs2.strata")).total_s
    assert truth_s / 2 < found_s < 2 * truth_s
