"""The comparison of samplers: legal draws, budgets, layers taken out of networks, tables."""

import numpy as np
import pandas as pd
import pytest

from benchmark import adaptive, rounds
from benchmark.config import Sampling
from evaluation.sampler_bench import (
    GRID_CHANNELS,
    GRID_EXTENTS,
    Bench,
    alone,
    budgets_on_the_way,
    draws,
    fit,
    make_judges,
    with_rounds,
)
from evaluation.samplers import METRICS, compare, figure, read_networks, summary
from hardware_modules.registry import create
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.graph_json import save_graph
from strata.operations import Activation

SAMPLING = Sampling(kernels_limit=1, macs_limit=8_000_000_000, elements_limit=16_000_000)


def network():
    builder = GraphBuilder("small")
    image = builder.input(1, 8, 16, 16, name="image")
    end = builder.convolution(image, 16, 3, normalise=True, activation="relu6", name="a")
    end = builder.convolution(end, 16, (1, 7), name="b")
    end = builder.convolution(end, 16, (1, 7), name="c")
    builder.depthwise(end, 3, name="d")
    return builder.build()


@pytest.mark.parametrize("name", ["grid", "random", "shapes", "distribution", "both"])
def test_draws_are_distinct_nested_and_legal(name):
    draw = draws(SAMPLING)[name]
    many = draw(40, 7)
    assert draw(15, 7) == many[:15]
    assert len({case.case_id for case in many}) == 40
    assert draw(15, 8) != many[:15]
    assert all(case.settings["kernels"] == 1 for case in many)


def test_the_grid_is_the_papers():
    for case in draws(SAMPLING)["grid"](60, 1):
        row = case.settings
        assert {row["height"], row["width"]} <= set(GRID_EXTENTS)
        assert {row["channels"], row["filters"]} <= set(GRID_CHANNELS)
        assert max(row["height"], row["width"]) <= 2 * min(row["height"], row["width"])
        most = row["height"] * row["width"] * max(row["channels"], row["filters"])
        assert most <= 16_000_000


def test_budgets_are_met_on_the_way():
    points = list(budgets_on_the_way(200, [300, 1000]))
    assert points[-1] == 1000
    assert {300, 1000} <= set(points)
    steps = np.diff([200, *points])
    assert (steps > 0).all()
    assert (steps <= 0.35 * np.array([200, *points[:-1]]) + 1).all()


def test_convolutions_are_taken_out_with_their_activation_and_once():
    found = dict(alone(network()))
    assert len(found) == 2  # b and c are equal, d is depthwise
    (first, _) = found.values()
    kinds = [
        layer.parameters.kind for layer in first.layers if isinstance(layer.parameters, Activation)
    ]
    assert kinds == ["relu6"]
    assert first["kernel_0"].output_shape == (1, 16, 16, 16)


def test_judges_and_rounds_on_a_platform_that_computes(monkeypatch):
    monkeypatch.setattr(rounds, "CANDIDATES", 100)
    monkeypatch.setattr(adaptive, "_TREES", 20)
    bench = Bench(create("dpu_simulated", {}))
    judges = make_judges(bench, [("small", network())], SAMPLING, 1, 3)
    assert len(judges.alone) == 2
    assert judges.networks == {"small": [0, 1, 1]}
    found = with_rounds(bench, SAMPLING.model_copy(update={"draw": "shapes"}), 2, [60], 0.2)
    assert len(found[60]) == 60
    errors = judges.errors(fit(bench.table(found[60]), 0))
    assert set(errors) == set(METRICS)
    assert all(0 < value < 1000 for value in errors.values())


def test_what_a_file_holds_is_not_compared_again(tmp_path):
    columns = ["sampler", "budget", "seed", "points", *METRICS]
    ways = (
        "grid",
        "random",
        "shapes",
        "distribution",
        "both",
        "distribution, rounds",
        "both, rounds",
    )
    rows = [[name, 50, seed, 48, 9.0 + seed, 5.0, 20.0] for name in ways for seed in (1, 2)]
    path = tmp_path / "done.csv"
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    bench = Bench(create("null", {}))
    found = compare(bench, None, SAMPLING, [50], [1, 2], path)
    assert found.to_numpy().tolist() == rows
    table = summary(found)
    assert table["layers_alone (%)"].tolist() == [10.5] * len(ways)
    assert table["layers_alone ± (%)"].tolist() == pytest.approx([0.5**0.5] * len(ways))
    assert len(figure(found, "null").axes) == len(METRICS)


def test_networks_are_read_from_a_runs_folder(tmp_path):
    with pytest.raises(SchemaError, match="holds no networks"):
        read_networks(tmp_path)
    (tmp_path / "table2").mkdir()
    save_graph(network(), tmp_path / "table2" / "small.json")
    assert [name for name, _ in read_networks(tmp_path)] == ["table2/small"]


def test_another_budget_does_a_way_anew_and_keeps_each_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "CANDIDATES", 100)
    monkeypatch.setattr(adaptive, "_TREES", 20)
    bench = Bench(create("dpu_simulated", {}))
    judges = make_judges(bench, [("small", network())], SAMPLING, 1, 3)
    path = tmp_path / "found.csv"
    compare(bench, judges, SAMPLING, [40], [1], path)
    found = compare(bench, judges, SAMPLING, [40, 50], [1], path)
    assert (found.groupby(["sampler", "budget", "seed"]).size() == 1).all()
    assert set(found["budget"]) == {40, 50}
    assert len(pd.read_csv(path)) == len(found)
