"""A toolchain that fuses by chance: intervals of totals know that its mapping cannot be foreseen.

Times follow a rule that the layer models find exactly, so that all there is to be wrong about is
which of a network's activations run by themselves.
"""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.matcher import match
from benchmark.tables import Rows, add_match, read_layer_tables, write_tables
from model_gen.fit_platform import fit_platform
from model_gen.statistical import ForestSettings
from strata import operations as op
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.execution import make_executed
from strata.graph import Graph
from strata.graph_json import graph_to_dict
from strata.profile import ExecutedNode, Profile

BLOCKS, FUSED_SHARE = 22, 0.8
HEADER = {"platform": "by chance", "run": "test", "seed": 0, "data_hashes": {}}


def made(generator: np.random.Generator, number: int) -> Graph:
    """Convolutions, each with an activation, of random widths."""
    builder = GraphBuilder(f"network {number}")
    last = builder.input(1, 16, 16, 16, name="in")
    for block in range(BLOCKS):
        filters = int(generator.choice([16, 32, 48, 64]))
        last = builder.convolution(last, filters, 1, name=f"c{block}")
        last = builder.add(op.Activation("relu"), last, name=f"a{block}")
    return builder.build()


def measured(graph: Graph, generator: np.random.Generator) -> Profile:
    """Activations are fused by chance; a layer takes 1 us and 10 ps per operation."""
    groups = []
    for block in range(BLOCKS):
        pair = [graph[f"c{block}"], graph[f"a{block}"]]
        alone = generator.uniform() > FUSED_SHARE
        groups += [[pair[0]], [pair[1]]] if alone else [pair]
    nodes, before = [], "input:in"
    for group in groups:
        layer = make_executed(group)
        time_s = 1e-6 + 1e-11 * layer.work.ops
        names = tuple(each.name for each in group)
        nodes.append(ExecutedNode(layer.name, "node", names, (before,), layer.output_shape, time_s))
        before = layer.name
    total_s = sum(node.time_s for node in nodes)
    return Profile("by chance", nodes=tuple(nodes), samples_s=(total_s,) * 4, time_s=total_s)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    generator, rows = np.random.default_rng(0), Rows()
    for number in range(30):
        graph = made(generator, number)
        profile = measured(graph, generator)
        record = {"case": {"case_id": f"case{number}", "benchmark": "cells"}}
        add_match(rows, record, graph, profile, match(graph, profile))
    folder = tmp_path_factory.mktemp("tables")
    write_tables(rows, folder)
    names = ("mapping", "placements", "networks")
    return read_layer_tables(folder), [pd.read_parquet(folder / f"{n}.parquet") for n in names]


def calibration(networks: int) -> pd.DataFrame:
    generator = np.random.default_rng(2)
    graphs = [made(generator, number) for number in range(networks)]
    return pd.DataFrame(
        {
            "case_id": [f"whole{number}" for number in range(networks)],
            "time_s": [measured(graph, generator).time_s for graph in graphs],
            "graph": [json.dumps(graph_to_dict(graph)) for graph in graphs],
        }
    )


def coverage(model, networks: int) -> float:
    generator = np.random.default_rng(1)
    inside = []
    for number in range(networks):
        graph = made(generator, number)
        low_s, high_s = estimate(graph, model).intervals_s[0.9]
        inside.append(low_s <= measured(graph, generator).time_s <= high_s)
    return float(np.mean(inside))


def test_fresh_networks_are_covered_although_their_mapping_is_not_known(tables):
    layers, (mapping, placements, networks) = tables
    forest = ForestSettings(trees=4, learner="forest")
    whole = calibration(70)
    model, report = fit_platform(
        layers, mapping, placements, networks, {}, HEADER, forest, calibration=whole
    )
    assert report["intervals"]["networks"] == 70
    assert coverage(model, 200) == pytest.approx(0.9, abs=0.07)


def test_too_few_networks_to_calibrate_on_are_said_so(tables):
    layers, (mapping, placements, networks) = tables
    forest = ForestSettings(trees=4, learner="forest")
    model, report = fit_platform(
        layers, mapping, placements, networks, {}, HEADER, forest, calibration=calibration(30)
    )
    assert any("do not know what the mapping gets wrong" in note for note in report["notes"])
    assert model.intervals.network is None  # 30 random networks are too few as well
