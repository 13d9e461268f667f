"""Errors of a known distribution: intervals cover fresh layers and networks as they say."""

import numpy as np
import pandas as pd
import pytest

from model_gen.interval_fit import IntervalFit, fit_intervals, layer_errors
from model_gen.total_fit import executed_totals
from strata.execution import FEATURES
from strata.intervals import LEVELS
from strata.layer_models import Roofline
from strata.platform_model import NetworkOverhead
from strata.spreads import total_half_widths

LAYERS = 25


def made(networks: int, seed: int, common: float) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Layer table, network table, and estimates of layers.

    A layer's error has a standard deviation of 0.05 (narrow) or 0.3 (wide layers, of more than 256
    channels), and shares `common` of its variance with all others of its network.
    """
    generator = np.random.default_rng(seed)
    rows = networks * LAYERS
    table = pd.DataFrame(dict.fromkeys(FEATURES, np.ones(rows)))
    table["channels"] = generator.integers(1, 512, rows).astype(float)
    table["filters"] = generator.integers(1, 512, rows).astype(float)
    table["ops"] = 100 * table["channels"] * table["filters"]
    table["bytes"] = 4 * (table["channels"] + table["filters"])
    case = np.repeat(np.arange(networks), LAYERS)
    table["case_id"] = [f"n{seed}_{number}" for number in case]
    table["benchmark"] = "cells"
    own, shared = generator.normal(size=rows), generator.normal(size=networks)[case]
    deviation = np.where(table["channels"] > 256, 0.3, 0.05)
    error = deviation * (np.sqrt(1 - common) * own + np.sqrt(common) * shared)
    estimated_s = 1e-9 * table["ops"].to_numpy()
    table["time_s"] = estimated_s * np.exp(error)
    totals = table.groupby("case_id", sort=False)["time_s"].sum()
    whole = pd.DataFrame({"case_id": totals.index, "time_s": totals.to_numpy()})
    whole = whole.assign(executed_layers=LAYERS, input_bytes=0, output_bytes=0)
    return table, whole, estimated_s


def fit(table: pd.DataFrame, whole: pd.DataFrame, estimated_s: np.ndarray) -> IntervalFit:
    return fit_intervals(
        {"convolution": table},
        {"convolution": layer_errors(table, estimated_s, lambda rows: None, 0)},
        {"convolution": Roofline(1e9, 1e9, 1e-9)},
        lambda rows, layers, _: executed_totals(rows, layers, whole, NetworkOverhead()),
        0,
    )


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["independent", "correlated"])
def fitted(request):
    table, whole, estimated_s = made(120, 1, request.param)
    return fit(table, whole, estimated_s), made(300, 2, request.param)


def half_widths(found, table, estimated_s):
    matrix = table[list(FEATURES)].to_numpy()
    intervals, region = found.intervals, found.validity.regions["convolution"]
    difficulty = intervals.difficulty_of("convolution", matrix)
    factors = intervals.widening.of(region.distances(matrix), np.zeros(len(table), dtype=bool))
    return intervals.half_widths("convolution", estimated_s, difficulty) * factors[:, None]


def test_fresh_layers_are_covered_and_easy_ones_have_narrow_intervals(fitted):
    found, (table, _, estimated_s) = fitted
    widths = half_widths(found, table, estimated_s)
    errors = np.abs(np.log(table["time_s"].to_numpy() / estimated_s))
    for column, level in enumerate(LEVELS):
        assert np.mean(errors <= widths[:, column]) == pytest.approx(level, abs=0.04)
    wide = table["channels"].to_numpy() > 256
    shown = widths[:, LEVELS.index(0.9)]
    assert np.median(shown[~wide]) == pytest.approx(1.645 * 0.05, rel=0.35)
    assert np.median(shown[wide]) == pytest.approx(1.645 * 0.3, rel=0.35)


def test_fresh_networks_are_covered_whether_or_not_layers_miss_together(fitted):
    found, (table, whole, estimated_s) = fitted
    intervals, network = found.intervals, found.intervals.network
    spreads = half_widths(found, table, estimated_s)[:, intervals.spread_column]
    covered = []
    for number, time_s in enumerate(whole["time_s"]):
        rows = slice(number * LAYERS, (number + 1) * LAYERS)
        total_s = estimated_s[rows].sum()
        widths = total_half_widths(estimated_s[rows], spreads[rows], total_s, network)
        covered.append(abs(np.log(time_s / total_s)) <= widths)
    assert np.mean(covered, axis=0) == pytest.approx(LEVELS, abs=0.07)
    assert np.mean(covered, axis=0)[LEVELS.index(0.9)] == pytest.approx(0.9, abs=0.05)


def test_sums_of_correlated_layers_are_wider():
    """As if independent, intervals of networks whose layers miss together were too narrow."""
    scales = []
    for common in (0.0, 0.5):
        table, whole, estimated_s = made(120, 1, common)
        network = fit(table, whole, estimated_s).intervals.network
        # layers of a spread of 0.3, of about 7 ms each
        scales.append(network.scale((0.3, 150.0)) * network.widths[0].half_widths[2])
    assert scales[1] > 1.5 * scales[0]
