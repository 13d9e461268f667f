"""What a second measurement says of the first."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.measure_networks import measure_round_robin
from evaluation.accuracy_rows import FIGURES
from evaluation.noise_floor import (
    is_computed,
    layer_halves,
    measured_halves,
    measured_twice,
    noise_of,
    running_mean_halves,
    sample_halves,
)
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from strata.graph_json import graph_to_dict
from strata.profile import Profile
from strata.profile_json import profile_to_dict

FIGURE = {figure.name: figure for figure in FIGURES}


def test_identical_halves_have_a_floor_of_zero():
    first, second = sample_halves([3.0, 3.0, 5.0, 5.0, 4.0, 4.0])
    assert first == second
    times = pd.Series([first, 2 * first, 3 * first])
    assert FIGURE["table2_mape"].value(times, times) == 0.0
    assert FIGURE["nasbench_spearman"].value(times, times) == 1.0


def test_halves_are_even_and_odd_rounds():
    assert sample_halves([1.0, 2.0] * 4) == (1.0, 2.0)
    assert np.isnan(sample_halves([1.0, 2.0, 3.0])).all()


def test_equal_rounds_are_a_calculation_and_one_round_is_not():
    assert is_computed(Profile("any", samples_s=(1.0, 1.0)))
    assert not is_computed(Profile("any", samples_s=(1.0, 1.1)))
    assert not is_computed(Profile("any", samples_s=(1.0,)))


def test_a_running_mean_is_taken_apart_into_halves_in_time():
    # two long warm-ups, then ten rounds: nine of a warm-up and a run beside the first, 19 in all
    true_us = np.array([500.0, 400.0, *[100.0] * 9, *[120.0] * 10])
    counters = np.floor(np.cumsum(true_us) / np.arange(1, len(true_us) + 1))
    first, second = running_mean_halves((counters * 1e-6).tolist(), 10)
    # whole microseconds of a mean over n runs hide at most n microseconds of the sum
    assert first == pytest.approx(100e-6, abs=21e-6 / 9)
    assert second == pytest.approx(120e-6, abs=32e-6 / 10)


def test_too_few_readings_of_a_running_mean_say_nothing():
    assert np.isnan(running_mean_halves([1e-6] * 5, 10)).all()


def test_readings_of_another_number_than_the_rounds_say_nothing():
    profile = Profile("edge_tpu", samples_s=(1.0, 2.0, 3.0, 4.0))
    assert np.isnan(layer_halves(profile, 1.0, (1.0, 2.0))).all()
    assert layer_halves(profile, 1.0, (1.0, 2.0, 1.0, 2.0)) == (1.0, 2.0)


def test_a_network_in_parts_has_halves_of_even_and_odd_parts():
    # one time per part, also from a profiler of running means, whose readings the parts keep
    profile = Profile("openvino_cpu", samples_s=(1.0, 2.0, 1.0, 2.0))
    assert layer_halves(profile, 1.0, (3.0, 5.0, 3.0, 5.0)) == (3.0, 5.0)


def _measure(path, noise, seed, rounds=12):
    module = create("dpu_simulated", {"noise": noise, "seed": seed})
    settings = {"height": 28, "width": 28, "channels": 32, "filters": 64}
    graphs = []
    for count in (1, 2):
        graph = build("convolution", {**settings, "kernel": 3, "stride": 1, "kernels": count})
        file = path.parent / f"net{count}.json"
        file.write_text(json.dumps(graph_to_dict(graph)), encoding="utf-8")
        graphs.append(file)
    found = measure_round_robin(module, graphs, rounds, quiet=True)
    with path.open("w", encoding="utf-8") as lines:
        for file, (graph, profile) in zip(graphs, found, strict=True):
            record = {"set": "table2", "network": file.stem, "rounds": rounds}
            record |= {"graph": graph_to_dict(graph), "profile": profile_to_dict(profile)}
            lines.write(json.dumps(record) + "\n")


def test_a_simulated_platform_without_noise_has_none(tmp_path):
    _measure(tmp_path / "networks.jsonl", 0.0, 0)
    networks, layers, source = noise_of(tmp_path)
    assert source.startswith("computed")
    assert (networks["first_s"] == networks["second_s"]).all()
    assert (layers["first_s"] == layers["second_s"]).all()
    assert set(layers["operation"]) >= {"convolution"}


def test_the_simulators_noise_shows_when_it_is_measured_with_another_seed(tmp_path):
    _measure(tmp_path / "networks.jsonl", 0.05, 0)
    _measure(tmp_path / "networks_again.jsonl", 0.05, 1)
    networks, layers, source = noise_of(tmp_path)
    assert source == "measured twice"
    error = FIGURE["table2_mape"].value(networks["first_s"], networks["second_s"])
    assert 0 < error < 10  # of medians of 12 rounds of 5% each
    assert (layers["first_s"] != layers["second_s"]).all()
    # the same file twice is no noise
    again, _ = measured_twice(tmp_path / "networks.jsonl", tmp_path / "networks.jsonl")
    assert (again["first_s"] == again["second_s"]).all()


def test_noise_shows_in_the_halves_of_one_measurement(tmp_path):
    _measure(tmp_path / "networks.jsonl", 0.05, 0)
    networks, _ = measured_halves(tmp_path / "networks.jsonl")
    assert (networks["first_s"] != networks["second_s"]).all()
