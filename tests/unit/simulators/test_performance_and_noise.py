"""Disagreement between the two levels, and seeded noise."""

import numpy as np
import pytest

from simulators.noise import noisy
from simulators.performance import (
    LayerPerformance,
    LayerSteps,
    binding_ceiling,
    disagreements,
)


def test_disagreements_are_those_above_the_tolerance_the_worst_first():
    analytical = [
        LayerPerformance(name, time_s, {"peak": time_s}, "peak")
        for name, time_s in (("a", 1.05), ("b", 1.2), ("c", 0.5))
    ]
    simulated = [LayerSteps(name, 1.0, 1, {}) for name in "abc"]
    found = disagreements(analytical, simulated)
    assert [row.name for row in found] == ["c", "b"]
    assert found[0].difference == pytest.approx(-0.5)
    assert found[0].binding == "peak"


def test_the_longest_time_binds():
    assert binding_ceiling({"peak": 1.0, "dram": 2.0, "bus": 2.0}) == "dram"


def test_noise_is_off_at_zero_and_seeded_otherwise():
    times = [1.0, 2.0, 3.0]
    assert noisy(times, 0.0, 1, "graph") == times
    assert noisy(times, 0.1, 1, "graph") == noisy(times, 0.1, 1, "graph")
    assert noisy(times, 0.1, 1, "graph") != noisy(times, 0.1, 2, "graph")
    assert noisy(times, 0.1, 1, "graph") != noisy(times, 0.1, 1, "other")


def test_noise_has_the_asked_spread():
    factors = np.log(noisy([1.0] * 4000, 0.05, 3, "graph"))
    assert factors.std() == pytest.approx(0.05, rel=0.05)
    assert abs(factors.mean()) < 0.003
