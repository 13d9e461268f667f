"""The baseline's constant: the factor of the smallest error, from benchmark networks only."""

import numpy as np
import pandas as pd
import pytest

from evaluation.scaled_roofline import SCALED, benchmark_totals, best_factor, scaled
from strata.execution import FEATURES
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel


def test_a_constant_ratio_is_found():
    roofline = np.array([1.0, 2.0, 5.0])
    assert best_factor(3 * roofline, roofline) == pytest.approx(3.0)


def test_no_other_factor_has_a_smaller_error():
    random = np.random.default_rng(1)
    roofline = random.uniform(1, 10, 41)
    measured = roofline * random.lognormal(0.3, 0.5, 41)
    found = best_factor(measured, roofline)
    errors = [np.abs(c * roofline / measured - 1).mean() for c in np.linspace(0.2, 5, 2000)]
    assert np.abs(found * roofline / measured - 1).mean() <= min(errors) + 1e-12


def test_without_times_there_is_no_factor():
    assert np.isnan(best_factor(np.array([]), np.array([])))
    assert np.isnan(best_factor(np.array([1.0]), np.array([0.0])))


def test_overhead_is_taken_out_before_scaling():
    rows = pd.DataFrame(
        {
            "kind": ["roofline", "mixed"],
            "mapping": "predicted",
            "estimated_s": [3.0, 9.0],
            "overhead_s": [1.0, 1.0],
        }
    )
    found = scaled(rows, 4.0)
    assert found["kind"].tolist() == [SCALED]
    assert found["estimated_s"].tolist() == [8.0]  # 4 x (3 - 1)


def _row(case, benchmark, **features):
    return {"case_id": case, "benchmark": benchmark, **dict.fromkeys(FEATURES, 0.0), **features}


def test_totals_are_sums_over_the_layers_of_multi_layer_networks(tmp_path):
    # 1 Gop/s and 1 GB/s: the longer of both terms per layer
    model = PlatformModel(
        Header("p", "0", "now", "test", 0),
        {"convolution": {"roofline": Roofline(1e9, 1e9, 1e-6)}},
        MappingModel(),
    )
    (tmp_path / "layers").mkdir()
    pd.DataFrame(
        [
            _row("net", "cells", ops=2e9, bytes=1e9),
            _row("net", "cells", ops=1e9, bytes=3e9),
            _row("kernel", "convolution", ops=9e9, bytes=1e9),
        ]
    ).to_parquet(tmp_path / "layers" / "convolution.parquet")
    pd.DataFrame([_row("net", "cells", ops=1e9, bytes=1e9)]).to_parquet(
        tmp_path / "layers" / "resize.parquet"
    )
    pd.DataFrame(
        {"case_id": ["net", "kernel"], "benchmark": ["cells", "convolution"], "time_s": [10.0, 9.0]}
    ).to_parquet(tmp_path / "networks.parquet")
    found = benchmark_totals(tmp_path, model)
    assert found.to_dict("records") == [{"case_id": "net", "measured_s": 10.0, "roofline_s": 5.0}]
