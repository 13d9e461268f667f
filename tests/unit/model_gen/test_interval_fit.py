"""Regions and half-widths from tables whose answers are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from model_gen.conformal import binned_widths, conformal_half_widths, fit_widths, held_out
from model_gen.interval_fit import fit_intervals, fit_unmeasured, layer_errors
from model_gen.total_fit import Total, fit_network_spread
from model_gen.validity_fit import fit_region
from model_gen.widening_fit import Apart, fit_widening
from strata.execution import FEATURES
from strata.intervals import LEVELS, Widening, chosen_widths
from strata.layer_models import Roofline


def layer_table(rows: int, seed: int = 0, rows_of_a_case: int = 1) -> pd.DataFrame:
    """Convolutions of random channels and filters; times of 1 ns per operation."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(dict.fromkeys(FEATURES, np.ones(rows)))
    table["channels"] = generator.integers(1, 512, rows).astype(float)
    table["filters"] = generator.integers(1, 512, rows).astype(float)
    table["ops"] = 100 * table["channels"] * table["filters"]
    table["bytes"] = 4 * (table["channels"] + table["filters"])
    table["time_s"] = 1e-9 * table["ops"]
    table["case_id"] = [f"c{row // rows_of_a_case}" for row in range(rows)]
    return table


def test_half_widths_are_order_statistics():
    """Of 25 scores 1 to 25 those of rank ceil(level * 26): 13, 21, 24, 25."""
    errors = np.arange(1.0, 26.0) * np.where(np.arange(25) % 2, -1, 1)
    assert conformal_half_widths(errors, np.ones(25)) == pytest.approx((13, 21, 24, 25))
    assert conformal_half_widths(errors, np.full(25, 2.0)) == pytest.approx((6.5, 10.5, 12, 12.5))


def test_bins_are_covered_for_themselves():
    generator = np.random.default_rng(1)
    values = generator.uniform(0, 1, 400)
    errors = generator.normal(0, np.where(values < 0.5, 0.01, 0.2))
    low, high = binned_widths(errors, np.ones(400), values, 200)
    assert (low.up_to, high.up_to) == (pytest.approx(0.5, abs=0.05), None)
    assert low.half_widths[2] == pytest.approx(0.0164, rel=0.35)  # 1.645 standard deviations
    assert high.half_widths[2] == pytest.approx(0.329, rel=0.35)
    assert binned_widths(errors[:39], np.ones(39), values[:39], 200) == ()
    (single,) = binned_widths(errors, np.ones(400), np.ones(400), 100)
    assert single.up_to is None


def test_region_knows_its_layers_and_how_far_apart_they_are():
    table = layer_table(300, rows_of_a_case=3)
    fitted = fit_region(table, seed=0)
    assert fitted is not None
    region = fitted.region
    assert set(region.feature_names) == {"channels", "filters", "ops", "bytes"}
    matrix = table[list(FEATURES)].to_numpy()
    assert region.distances(matrix).max() < 1e-2  # every layer is a point
    # of layers whose case was left out nine in ten lie within a unit
    assert np.mean(fitted.held_out <= 1) == pytest.approx(0.9, abs=0.01)
    assert np.mean(fitted.held_out > region.sparse) <= 0.011
    far = matrix[:1].copy()
    far[0, FEATURES.index("channels")] = 1e6
    assert region.distances(far)[0] > region.sparse


def test_region_of_layers_that_are_all_alike_or_of_one_case_is_none():
    table = layer_table(50)
    table[["channels", "filters", "ops", "bytes"]] = 1.0
    assert fit_region(table, seed=0) is None
    assert fit_region(layer_table(50).assign(case_id="one"), seed=0) is None


def test_widening_rises_with_the_distance_and_outside():
    generator = np.random.default_rng(2)
    distances = generator.uniform(0, 4, 4000)
    outside = generator.uniform(size=4000) < 0.2
    spread = (1 + distances) * np.where(outside, 3.0, 1.0)
    ratios = np.abs(generator.normal(0, spread))
    found = fit_widening(Apart(distances, ratios, outside))
    assert found.factors[0] == 1.0
    assert list(found.factors) == sorted(found.factors)
    # from the median of the nearest half, about 1, to beyond 3: (1 + 3) / (1 + 1)
    assert found.of(np.array([3.0]), np.array([False]))[0] == pytest.approx(2.0, rel=0.25)
    assert found.outside == pytest.approx(3.0, rel=0.25)
    assert fit_widening(None) == Widening()


def test_kernels_give_way_to_layers_inside_networks():
    """Isolated kernels are met exactly, layers inside networks are not: theirs is the width."""
    table = layer_table(300).assign(benchmark=["cells"] * 150 + ["convolution"] * 150)
    estimated_s = table["time_s"].to_numpy().copy()
    estimated_s[:150] *= np.exp(np.random.default_rng(3).normal(0, 0.3, 150))
    rows = held_out(table, estimated_s, None, seed=0)
    widths = fit_widths(rows, Widening())
    covered = np.abs(rows.errors[:150])
    scale = np.array([each.half_widths[2] for each in widths]).mean() * rows.difficulty[:150]
    assert np.mean(covered <= scale) == pytest.approx(0.9, abs=0.06)


def test_layers_without_any_model_are_judged_by_operations_left_out():
    """Four operations, each ten times as fast as the last, are missed by 10, 10, 100 and 1,000.

    50 rows of each: of 200 scores the rank of 50% is 101.
    """
    keys = ("convolution", "dense", "add", "softmax")
    tables, rooflines = {}, {}
    for power, key in enumerate(keys):
        table = layer_table(60, seed=power)
        table["time_s"] = table["bytes"] / 10.0**power * 1e-6
        tables[key] = table
        rooflines[key] = Roofline(1e15, 1e6 * 10.0**power, 1e-9)
    widths = fit_unmeasured(tables, rooflines, seed=0)
    assert widths[0] == pytest.approx(np.log(100), rel=1e-3)
    assert widths[-1] == pytest.approx(np.log(1000), rel=1e-3)
    few = {key: rooflines[key] for key in keys[:3]}
    assert fit_unmeasured(tables, few, seed=0) == ()


def test_tables_too_small_for_anything_give_empty_intervals():
    table = layer_table(5)
    found = fit_intervals(
        {"convolution": table},
        {"convolution": layer_errors(table, np.full(5, np.nan), lambda rows: None, 0)},
        {"convolution": Roofline(1e9, 1e9, 1e-6)},
        lambda rows, intervals, validity: [],
        0,
    )
    assert (found.intervals.layers, found.intervals.network) == ({}, None)
    assert found.intervals.pooled == found.intervals.unmeasured == ()
    assert "convolution" in found.validity.regions


def totals(networks: int, generator: np.random.Generator) -> list[Total]:
    """Errors of half the mean spread, and of 20 us per layer of networks of short layers."""
    spreads = generator.uniform(0.02, 0.4, networks)
    layers_per_s = generator.choice([1e2, 2e4], networks)
    scales = np.hypot(0.5 * spreads, 20e-6 * layers_per_s)
    errors = generator.laplace(0, scales)
    parts = zip(errors.tolist(), spreads.tolist(), layers_per_s.tolist(), strict=True)
    return [Total(error, (spread, pace), 30) for error, spread, pace in parts]


def test_a_totals_scale_is_found_and_covers_long_and_short_networks_alike():
    generator = np.random.default_rng(4)
    found = fit_network_spread(totals(400, generator))
    assert found is not None
    assert 20e-6 * 0.8 < found.per_layer_s / found.common * 0.5 < 20e-6 * 1.25
    fresh = totals(2000, generator)
    scales = np.array([found.scale(total.terms) for total in fresh])
    inside = (
        np.abs([total.error for total in fresh])
        <= scales * chosen_widths(found.widths, scales)[:, LEVELS.index(0.9)]
    )
    short = np.array([total.terms[1] > 1e3 for total in fresh])
    assert np.mean(inside[short]) == pytest.approx(0.9, abs=0.05)
    assert np.mean(inside[~short]) == pytest.approx(0.9, abs=0.05)


def test_networks_of_few_layers_count_where_there_are_few_others_and_too_few_give_nothing():
    generator = np.random.default_rng(5)
    many = totals(60, generator)
    wrong = [replace(total, error=5.0, layers=3) for total in many]
    assert fit_network_spread([*many, *wrong]) == fit_network_spread(many)
    assert [each.up_to for each in fit_network_spread(many * 9).widths] == [None]
    assert fit_network_spread(many[:39]) is None
    assert fit_network_spread([*many[:39], wrong[0]]) is not None
