"""A model whose parts are scaled by known factors: they come back, and unseen networks improve."""

import numpy as np
import pytest

from model_gen.network_parts import NetworkParts
from model_gen.recalibrate import one_factor, recalibrate

PARTS = ("compute/convolution", "memory/pooling", "small/elementwise", "streamed", "per_network")


def drawn(count, seed):
    """Networks of 10 to 120 layers and of 1 to 100 ms in parts of very different shares."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        shares = generator.dirichlet([2.0, 1.0, 1.0, 0.7, 0.7])
        total_s = 10 ** generator.uniform(-3, -1)
        seconds = dict(zip(PARTS, (total_s * shares).tolist(), strict=True))
        found.append(NetworkParts(f"network {number}", seconds, int(generator.integers(10, 120))))
    return found


def truth(networks, scales, noise, seed, per_layer_s=0.0):
    """Seconds in the new set-up, with a relative error of each measurement."""
    generator = np.random.default_rng(seed)
    exact = [
        sum(scales[part] * s for part, s in network.seconds.items()) + per_layer_s * network.layers
        for network in networks
    ]
    return np.array(exact) * np.exp(generator.normal(0, noise, len(networks)))


def error(predicted_s, measured_s):
    return float(np.mean(np.abs(np.asarray(predicted_s) / measured_s - 1)))


def unseen(found, networks, measured_s):
    return error([found.total_s(network) for network in networks], measured_s)


def test_factors_of_parts_come_back():
    scales = dict(zip(PARTS, (0.5, 0.8, 1.1, 2.0, 0.3), strict=True))
    networks, others = drawn(14, 0), drawn(40, 1)
    found = recalibrate(networks, truth(networks, scales, 0.01, 2).tolist())
    kept = found.adjustment("", "", ())
    for part, scale in scales.items():
        assert kept.scale(part) == pytest.approx(scale, rel=0.15)
    measured_s = truth(others, scales, 0.0, 3)
    assert unseen(found, others, measured_s) < 0.03
    factor = one_factor(networks, truth(networks, scales, 0.01, 2).tolist())
    assert error([factor * n.total_s for n in others], measured_s) > 0.15
    assert found.after_percent < 5 < found.before_percent


def test_a_cost_per_layer_that_the_original_had_not_comes_back():
    scales = dict.fromkeys(PARTS, 0.5)
    networks, others = drawn(12, 4), drawn(40, 5)
    measured_s = truth(networks, scales, 0.005, 6, per_layer_s=2e-5)
    found = recalibrate(networks, measured_s.tolist())
    assert found.candidate.form.endswith("constants")
    assert found.per_layer_s == pytest.approx(2e-5, rel=0.2)
    assert unseen(found, others, truth(others, scales, 0.0, 7, per_layer_s=2e-5)) < 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_networks_do_not_overfit_what_one_factor_explains(seed):
    scales = dict.fromkeys(PARTS, 1.7)
    networks, others = drawn(5, 10 + seed), drawn(40, 20 + seed)
    measured_s = truth(networks, scales, 0.05, 30 + seed)
    found = recalibrate(networks, measured_s.tolist())
    exact_s = truth(others, scales, 0.0, 0)
    assert unseen(found, others, exact_s) < 0.08  # the noise of five is 0.05


def test_a_part_nobody_measured_takes_the_common_factor():
    scales = dict(zip(PARTS, (0.5, 0.5, 0.5, 0.5, 2.0), strict=True))
    networks = drawn(10, 40)
    found = recalibrate(networks, truth(networks, scales, 0.005, 41).tolist())
    kept = found.adjustment("", "", ())
    assert kept.scale("host") == found.factor == pytest.approx(0.5, rel=0.5)


def test_one_wild_measurement_does_not_carry_the_rest_along():
    scales = dict.fromkeys(PARTS, 0.5)
    networks, others = drawn(10, 50), drawn(40, 51)
    measured_s = truth(networks, scales, 0.01, 52)
    measured_s[3] *= 5
    found = recalibrate(networks, measured_s.tolist())
    assert unseen(found, others, truth(others, scales, 0.0, 53)) < 0.1
