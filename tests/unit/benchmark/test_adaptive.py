"""Choosing points: steps are found by halving, picks are nested, held-out cases stay apart."""

import math

import numpy as np
import pytest

from benchmark.adaptive import (
    FEWEST_HELD_OUT,
    Measured,
    case_matrix,
    error_percent,
    fit_ensemble,
    gaps,
    interest,
    is_held_out,
    pick,
    probes,
    step_excess,
)
from benchmark.plan import make_case
from strata.execution import OWN_FEATURES

BASE = {"height": 14, "width": 14, "channels": 64, "kernel": 1, "stride": 1, "kernels": 1}


def line(times, setting="filters", tags=None, **changes):
    """Measured convolutions along one setting: {value: seconds}."""
    settings = {**BASE, "filters": 64, **changes}
    cases = [make_case("convolution", {**settings, setting: x}, tags) for x in times]
    return Measured(tuple(cases), np.array(list(times.values()), dtype=float))


def search(time_s, low, high):
    """Points that halving takes until no gap is left, and the values measured."""
    times = {low: time_s(low), high: time_s(high)}
    taken = 0
    while found := gaps(line(times)):
        middle = found[0].middle["filters"]
        assert middle not in times
        times[middle] = time_s(middle)
        taken += 1
    return taken, sorted(times)


@pytest.mark.parametrize("step", [65, 79, 96, 100, 127, 128])
@pytest.mark.parametrize("factor", [4.0, 0.5])
def test_a_planted_step_is_found_within_log2_n_points(step, factor):
    low, high = 64, 128

    def time_s(x):
        return 1e-4 * (1 + x / 1000) * (factor if x >= step else 1.0)

    taken, values = search(time_s, low, high)
    assert taken <= math.log2(high - low)
    assert {step - 1, step} <= set(values)


@pytest.mark.parametrize(
    "time_s",
    [lambda x: 1e-4, lambda x: 1e-6 * x, lambda x: 1e-4 + 1e-6 * x, lambda x: 1e-6 * x**0.7],
)
def test_smooth_times_raise_no_suspicion(time_s):
    assert gaps(line({x: time_s(x) for x in (8, 24, 32, 64, 200)})) == []


def test_excess_is_what_breaks_the_smooth_rule():
    assert step_excess(16, 32, 1.0, 1.9) == 0.0  # less than in proportion
    assert step_excess(16, 32, 1.0, 3.0) == pytest.approx(math.log(1.5))
    assert step_excess(16, 32, 1.0, 0.5) == pytest.approx(math.log(2))


def test_neighbours_differ_in_one_setting_only():
    one = line({16: 1.0, 20: 3.0})
    other = line({16: 1.0, 20: 3.0}, height=7)
    both = Measured((*one.cases, *other.cases), np.concatenate([one.time_s, other.time_s]))
    found = gaps(both)
    assert [(gap.setting, gap.low, gap.high) for gap in found] == [("filters", 16, 20)] * 2
    mixed = Measured((one.cases[0], other.cases[1]), np.array([1.0, 3.0]))
    assert gaps(mixed) == []


def test_gaps_of_one_cannot_be_narrowed_and_the_largest_come_first():
    found = gaps(line({16: 1.0, 17: 2.0, 33: 2.0, 36: 3.0, 40: 12.0}))
    assert [(gap.low, gap.high) for gap in found] == [(36, 40), (33, 36)]


def test_probes_are_neighbours_of_samples_not_of_sweeps():
    rng = np.random.default_rng(0)
    samples = line({16: 1.0, 64: 2.0})
    rows = probes(samples, np.ones(2), rng)
    assert len(rows) == 2
    for row in rows:
        case = next(
            case for case in samples.cases if sum(row[k] != case.settings[k] for k in row) == 1
        )
        (setting,) = (k for k in row if row[k] != case.settings[k])
        assert row[setting] == math.ceil(1.25 * case.settings[setting])
    swept = line({16: 1.0, 64: 2.0}, tags={"sweep": "filters"})
    assert probes(swept, np.ones(2), rng) == []


def test_more_picks_hold_the_fewer_and_follow_the_score():
    score = np.r_[np.full(50, 0.01), np.full(50, 1.0)]
    few = pick(score, 10, np.random.default_rng(3))
    many = pick(score, 40, np.random.default_rng(3))
    assert many[:10].tolist() == few.tolist()
    assert len(set(many.tolist())) == 40
    # 1 against 0.0001: forty of fifty picks go to the upper half, but for one in two hundred
    assert (many >= 50).mean() > 0.9
    assert len(pick(score, 1000, np.random.default_rng(3))) == 100


def test_held_out_is_a_fixed_share_of_the_samples():
    cases = [make_case("convolution", {**BASE, "filters": x}) for x in range(1, 2001)]
    chosen = [is_held_out(case, 1, 0.2) for case in cases]
    assert 0.16 < np.mean(chosen) < 0.24  # 0.2, four standard deviations of 0.9% either way
    assert chosen == [is_held_out(case, 1, 0.2) for case in cases]
    other = [is_held_out(case, 2, 0.2) for case in cases]
    assert chosen != other
    larger = [is_held_out(case, 1, 0.4) for case in cases]
    assert all(more for once, more in zip(chosen, larger, strict=True) if once)
    swept = [make_case("convolution", case.settings, {"sweep": "filters"}) for case in cases]
    assert not any(is_held_out(case, 1, 0.2) for case in swept)


def test_features_are_those_of_the_kernel_whatever_their_number():
    settings = {**BASE, "filters": 32, "activation": "relu"}
    one = case_matrix([make_case("convolution", settings)])
    four = case_matrix([make_case("convolution", {**settings, "kernels": 4})])
    assert one.tolist() == four.tolist()
    values = dict(zip(OWN_FEATURES, one[0], strict=True))
    assert (values["channels"], values["filters"], values["macs"]) == (64, 32, 14 * 14 * 64 * 32)
    assert values["activation"] == 1  # relu, absorbed


def test_an_ensemble_learns_a_machine_and_agrees_the_more_it_has_seen():
    sizes = np.random.default_rng(0).integers(8, 256, (220, 2)).tolist()
    cases = [make_case("convolution", {**BASE, "channels": c, "filters": f}) for c, f in sizes]
    matrix = case_matrix(cases)
    ops = matrix[:, OWN_FEATURES.index("ops")]
    # a machine whose rate falls by half where the filters are odd in sixteens
    odd = (matrix[:, OWN_FEATURES.index("filters")] // 16) % 2
    time_s = 1e-5 + ops / 1e11 * (1 + odd)
    ensemble = fit_ensemble(matrix[:150], time_s[:150], np.random.default_rng(1))
    held_out = Measured(tuple(cases[150:]), time_s[150:])
    error = error_percent(ensemble, held_out)
    assert error is not None
    assert error < 15
    assert error_percent(ensemble, held_out.where(np.arange(70) < FEWEST_HELD_OUT - 1)) is None
    few = fit_ensemble(matrix[:40], time_s[:40], np.random.default_rng(1))
    spread = [np.median(each.log_ratios(matrix[150:]).std(axis=0)) for each in (few, ensemble)]
    assert spread[0] > spread[1]
    assert (interest(ensemble, matrix) >= 0).all()
