"""Sample points: seeded by name, inside their limits, and the data sets of section 5.1.2."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import MultiLayer, Sampling
from benchmark.draws import DRAWS
from benchmark.plan import MAPPING_ONLY, TOTAL_ONLY
from benchmark.sampling import (
    place,
    plan_apart,
    plan_samples,
    read_unrolling,
    sample_case,
)
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import ArtefactError, SchemaError
from strata.layer import Layer

NONE = MultiLayer()
SIZES = {"convolution": {"filters": 16, "channels": 12}}


def kernels(benchmark: str, row: dict) -> list[Layer]:
    graph = build(benchmark, row)
    return [layer for layer in graph.layers if layer.operation == BENCHMARKS[benchmark].operation]


@pytest.mark.parametrize("benchmark", sorted(DRAWS))
@settings(max_examples=12, deadline=None)
@given(index=st.integers(0, 2**20), seed=st.integers(0, 2**20))
def test_every_point_can_be_built_and_depends_on_its_name_only(
    benchmark: str, index: int, seed: int
) -> None:
    sampling = Sampling()
    case = sample_case(benchmark, index, seed, sampling, {})
    assert case == sample_case(benchmark, index, seed, sampling, {})
    graph = build(benchmark, case.settings)
    if BENCHMARKS[benchmark].operation:
        found = kernels(benchmark, case.settings)
        assert len(found) >= case.settings["kernels"]
        assert max(layer.work.macs for layer in found) <= sampling.macs_limit
    elif benchmark != "architectures":  # as large as their authors made them
        assert graph.work.macs <= sampling.network_macs_limit


def test_more_points_keep_the_first_ones() -> None:
    few = plan_samples({"dense": 5}, NONE, 3, Sampling())
    many = plan_samples({"dense": 9}, NONE, 3, Sampling())
    assert many[:5] == few
    assert len({case.case_id for case in many}) == 9


def test_other_benchmarks_do_not_change_a_benchmarks_points() -> None:
    alone = plan_samples({"dense": 4}, NONE, 3, Sampling())
    beside = plan_samples({"add": 4, "dense": 4}, NONE, 3, Sampling())
    assert beside[4:] == alone


def test_another_seed_draws_other_points() -> None:
    one = {case.case_id for case in plan_samples({"convolution": 30}, NONE, 1, Sampling())}
    two = {case.case_id for case in plan_samples({"convolution": 30}, NONE, 2, Sampling())}
    assert not one & two


def test_shapes_are_those_of_networks() -> None:
    rows = [sample_case("convolution", index, 1, Sampling(), {}).settings for index in range(600)]
    inner = [row for row in rows if row["channels"] > 3]
    divisible = np.mean([row["channels"] % 8 == 0 for row in inner])
    assert 0.88 < divisible < 0.99  # 94% by configuration, +- sampling and rare group counts
    counts = Counter(row["kernel"] for row in rows)
    assert {kernel for kernel, _ in counts.most_common(2)} == {1, 3}
    assert any(row["height"] == row["width"] == 1 for row in rows)  # squeeze-excite
    assert any(row["channels"] in (1, 3) for row in rows)  # first layers
    for row in rows:
        # at most 2, but for the rounding of odd edges
        assert max(row["height"], row["width"]) <= 2 * min(row["height"], row["width"]) + 1
    edges = np.log([row["height"] for row in inner if row["height"] > 4])
    channels = np.log([row["channels"] for row in inner if row["height"] > 4])
    assert np.corrcoef(edges, channels)[0, 1] < -0.4  # small images have many channels


def test_small_kernels_are_repeated_more_often() -> None:
    sampling = Sampling()
    cases = [sample_case("convolution", index, 1, sampling, {}) for index in range(200)]
    work = np.array([kernels("convolution", case.settings)[0].work.ops for case in cases])
    count = np.array([case.settings["kernels"] for case in cases])
    # 1 Mop takes 8 us at 130 Gop/s: eight, the most, do not fill 2 ms; 520 Mop take 4 ms alone
    assert (count[work < 1e6] == 8).all()
    assert (count[work > 5.2e8] == 1).all()


def test_aligned_points_are_multiples_of_the_fitted_size() -> None:
    sampling = Sampling(data_set="aligned")
    cases = plan_samples({"convolution": 40}, NONE, 1, sampling, SIZES)
    assert all(case.settings["filters"] % 16 == 0 for case in cases)
    channels = [case.settings["channels"] for case in cases]
    # three channels of an image stay three: below half a step nothing is moved
    assert all(value % 12 == 0 or value < 6 for value in channels)
    assert 3 in channels
    assert {case.tags["data_set"] for case in cases} == {"aligned"}


def test_the_union_holds_both_data_sets() -> None:
    sampling = Sampling(data_set="union", noisy_share=0.5)
    cases = plan_samples({"convolution": 80}, NONE, 1, sampling, SIZES)
    grouped = [case for case in cases if case.settings.get("groups", 1) > 1]
    cases = [case for case in cases if case not in grouped]
    sets = Counter(case.tags["data_set"] for case in cases)
    assert set(sets) == {"aligned", "noisy"}
    assert 25 < sets["noisy"] < 55  # half of 80, four standard deviations of 4.5 either way
    odd = [case for case in cases if case.settings["filters"] % 16]
    assert odd
    assert all(case.tags["data_set"] == "noisy" for case in odd)
    assert {case.tags["data_set"] for case in grouped} == {"base"}


def test_output_extents_are_aligned_through_the_stride() -> None:
    generator = np.random.default_rng(0)
    row = {"height": 28, "width": 30, "channels": 8, "stride": 2}
    placed = place(row, {"output_width": 6}, "aligned", 0.5, generator)
    # 30 / (6 * 2) rounds to 2 (half to even), and 24 in are 12 out
    assert placed == {"height": 28, "width": 24, "channels": 8, "stride": 2}


def test_base_points_ignore_the_fitted_size() -> None:
    base = Sampling(data_set="base")
    with_sizes = plan_samples({"convolution": 10}, NONE, 1, base, SIZES)
    assert with_sizes == plan_samples({"convolution": 10}, NONE, 1, base)


def test_noise_is_gaussian_around_the_aligned_point() -> None:
    generator = np.random.default_rng(0)
    values = np.array(
        [
            place({"filters": 160}, {"filters": 16}, "noisy", 0.5, generator)["filters"]
            for _ in range(2000)
        ]
    )
    # standard deviation 0.5 * 16 = 8, mean 160; rounding adds 1/12 to the variance
    assert values.mean() == pytest.approx(160, abs=1)
    assert values.std() == pytest.approx(8, rel=0.1)


def test_limits_that_leave_nothing_are_named() -> None:
    with pytest.raises(SchemaError, match=r"leave no dense to draw; legal: larger"):
        sample_case("dense", 0, 1, Sampling(macs_limit=1), {})


def test_identified_dimensions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "unrolling.json"
    fit = {"feature": "filters", "size": 16, "alpha": 0.2, "identified": True}
    doubtful = {"feature": "channels", "size": 5, "alpha": 0.9, "identified": False}
    path.write_text(json.dumps({"convolution": [fit, doubtful]}))
    assert read_unrolling(path) == {"convolution": {"filters": 16}}
    path.write_text('{"convolution": 3}')
    with pytest.raises(ArtefactError, match=r"unrolling.json: not an unrolling file"):
        read_unrolling(path)


def test_heavy_convolutions_are_drawn_where_they_are_asked_for() -> None:
    limits = {"macs_limit": 8_000_000_000, "elements_limit": 16_000_000, "data_set": "base"}

    def heavy(share: float) -> int:
        sampling = Sampling(heavy_share=share, **limits)
        rows = [sample_case("convolution", i, 1, sampling, {}).settings for i in range(100)]
        return sum(row["channels"] >= 64 and row["filters"] >= 64 for row in rows)

    assert heavy(1.0) == 100
    assert heavy(0.0) < heavy(0.5) < 100


def test_usual_pairs_of_convolution_and_pooling_reach_beyond_row_buffers() -> None:
    sampling = Sampling(elements_limit=16_000_000, data_set="base")
    rows = [sample_case("pooled", i, 1, sampling, {}).settings for i in range(400)]
    usual = [
        row
        for row in rows
        if (row["kernel"], row["pool_kernel"], row["pool_stride"], row["kind"]) == (3, 2, 2, "max")
    ]
    assert len(usual) > 200
    for side in ("height", "width"):
        long = [row for row in usual if row[side] >= 640]
        assert any(row[side] % 4 == 0 for row in long)
        assert any(row[side] % 4 for row in long)


def test_networks_for_one_purpose_are_used_for_no_other() -> None:
    counts = MultiLayer(cells=6, tangles=6, architectures=6)
    timed = plan_samples({}, counts, 3, Sampling())
    known = {case.case_id for case in timed}
    for purpose in (MAPPING_ONLY, TOTAL_ONLY):
        apart = plan_apart(counts, purpose, 3, Sampling())
        expected = {"cells": 6, "tangles": 6, "architectures": 6}
        assert Counter(case.benchmark for case in apart) == expected
        assert not known & {case.case_id for case in apart}
        assert {case.tags["purpose"] for case in apart} == {purpose}
        known |= {case.case_id for case in apart}
    assert all("purpose" not in case.tags for case in timed)


def test_grouped_convolutions_are_drawn_as_often_as_asked_whatever_is_unrolled() -> None:
    def grouped(share: float) -> list[dict[str, int]]:
        sampling = Sampling(grouped_share=share)
        cases = [sample_case("convolution", i, 1, sampling, SIZES) for i in range(200)]
        return [case.settings for case in cases if case.settings.get("groups", 1) > 1]

    assert len(grouped(1.0)) == 200
    # 100 and some, four standard deviations of 7 either way; of the others 3% are grouped
    assert 72 < len(grouped(0.5)) < 135
    rows = grouped(1.0)
    equal = sum(row["channels"] == row["filters"] for row in rows)
    assert equal > 120  # as in residual branches: no fitted size moves one and not the other
    widths = [row["channels"] // row["groups"] for row in rows]
    assert min(widths) < 8
    assert max(widths) > 64
