"""The published measurements that simulated platforms reach on unseen networks stay reached."""

import subprocess
import sys

import pandas as pd
import pytest

from evaluation.published.ncs2 import DATA_SETS, NCS2_CELLS, profile_scores
from evaluation.published.platforms import missing_toolchain
from evaluation.published.registry import SHIPPED
from evaluation.published.results import evaluate_data_set

NO_COMPILER = missing_toolchain("ncs2")

# `dpu_nodes` and `edge_tpu_coral_pcie` miss theirs: docs/published.md says why
REACHED = (
    "dpu_zoo",
    "dpu_ultra96",
    "edge_tpu_coral_usb3",
    "edge_tpu_nas201_eagle",
    "edge_tpu_nas201_hwnasbench",
    "edge_tpu_chains",
    "edge_tpu_resolutions",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", REACHED)
def test_an_aim_that_was_reached_stays_reached(tmp_path, name):
    command = [sys.executable, "-m", "evaluation.published", "--data-set", name]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = pd.read_csv(tmp_path / "summary.csv").to_dict("records")
    assert row["reached"] == "yes", row


# their times rest on plans that the compiler makes here
@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
@pytest.mark.parametrize("name", ["ncs2_single_layers", "ncs2_rvc2"])
def test_an_aim_that_the_stick_reached_stays_reached(name):
    (data_set,) = (one for one in DATA_SETS if one.name == name)
    result = evaluate_data_set(data_set, SHIPPED)
    assert not result.refusals
    assert result.reached


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
def test_all_cells_of_nas_bench_201_miss_the_order_by_a_thousandth():
    result = evaluate_data_set(NCS2_CELLS, SHIPPED)
    assert (len(result.cases), len(result.refusals)) == (1012, 0)
    assert result.mape_percent(result.unseen.simulated_s) < 5
    # docs/ncs2_machine.md tells it as missed: an order of 0.95 is a reason to change that
    assert 0.945 < result.spearman(result.unseen.simulated_s).value < 0.95


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
@pytest.mark.parametrize("name", ["ncs2_layers", "ncs2_layers_apart"])
def test_profiles_of_unseen_networks_stay_within_their_aims(name):
    (data_set,) = (one for one in DATA_SETS if one.name == name)
    scores = profile_scores(evaluate_data_set(data_set, SHIPPED))
    assert len(scores) == 3
    for score in scores:
        assert score.convolutions_mape <= 10, score
        assert score.layers_mape <= 15, score
        assert abs(score.sum_error) <= 4, score
