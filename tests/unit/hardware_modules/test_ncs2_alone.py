"""Slow proofs: what a graph is compiled after does not change its plan; packing would. All time
of plans is matched with layers.

Several kernels in one network would share the plugin's search for a stick, but not without
changing one another's plans. 200 points of the default plan, alone and packed.
"""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.config import load_config, load_platform
from benchmark.make_plan import plan_cases
from benchmark.matcher import match
from graph_gen.benchmarks import build
from graph_gen.zoo import ZOO
from hardware_modules.ncs2_toolchain import Toolchain, missing
from hardware_modules.registry import create
from strata.graph import make_graph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
CONFIG = Path(__file__).parents[3] / "config"
POINTS, TOGETHER = 200, 4


def kernels():
    """Micro-kernels of the default plan as the NCS2 gets them, a fixed random choice."""
    file = CONFIG / "platforms" / "ncs2.yaml"
    run = load_platform(file).apply(load_config(CONFIG / "default.yaml"), file)
    networks = ("cells", "convnet", "fcnet", "pooled")
    cases = [case for case in plan_cases(run, None, None) if case.benchmark not in networks]
    chosen = random.Random(1).sample(cases, POINTS)
    return [build(case.benchmark, case.settings) for case in chosen]


def packed(graphs):
    """Graphs side by side in one network, their layers' names numbered."""

    def moved(layer, number):
        inputs = tuple(f"{number}/{name}" for name in layer.inputs)
        return replace(layer, name=f"{number}/{layer.name}", inputs=inputs)

    layers = [moved(layer, number) for number, each in enumerate(graphs) for layer in each.layers]
    outputs = [f"{number}/{name}" for number, each in enumerate(graphs) for name in each.outputs]
    return make_graph("packed", layers, tuple(outputs))


def mapping(plan, prefix=""):
    """By layer: its stages' types and tilings, and where their operands lie."""
    found = {}
    for stage in plan.stages:
        if stage.layer and stage.layer.startswith(prefix) and stage.runs:
            tiling = str(stage.attributes.get("tiling", ""))
            places = [each.location for each in (*stage.inputs, *stage.outputs)]
            inside = stage.injected_into is not None
            record = (stage.type, tiling, *places, inside)
            found.setdefault(stage.layer.removeprefix(prefix), []).append(record)
    return found


def test_a_long_lived_worker_plans_every_point_as_a_fresh_one_does():
    graphs = kernels()
    fresh, used = Toolchain(), Toolchain()
    try:
        plans = [used.compile(graph).plan for graph in graphs]
        order = list(range(POINTS))
        random.Random(2).shuffle(order)
        again = {number: fresh.compile(graphs[number]).plan for number in order}
    finally:
        fresh.close()
        used.close()
    assert [again[number] for number in range(POINTS)] == plans


def test_packing_would_disturb(capsys):
    graphs = kernels()
    toolchain = Toolchain()
    counts = Counter()
    try:
        alone = [mapping(toolchain.compile(graph).plan) for graph in graphs]
        for start in range(0, POINTS, TOGETHER):
            members = range(start, min(start + TOGETHER, POINTS))
            plan = toolchain.compile(packed([graphs[number] for number in members])).plan
            for place, number in enumerate(members):
                together = mapping(plan, f"{place}/")
                layers = alone[number].keys() | together.keys()
                other = [
                    layer for layer in layers if alone[number].get(layer) != together.get(layer)
                ]
                counts.update(points=1, layers=len(layers), other_layers=len(other))
                counts["other_points"] += bool(other)
    finally:
        toolchain.close()
    with capsys.disabled():
        print(f"\n{TOGETHER} kernels in one network: {dict(counts)}")
    assert counts["points"] == POINTS
    assert counts["other_points"] > 0


def test_the_fast_clock_changes_no_plan():
    graphs = kernels()[:2]
    plans = []
    for fast in (True, False):
        toolchain = Toolchain(fast_clock=fast)
        try:
            plans.append([toolchain.compile(graph).plan for graph in graphs])
        finally:
            toolchain.close()
    assert plans[0] == plans[1]


def test_all_time_of_whole_networks_and_of_points_is_matched():
    module = create("ncs2_simulated", {})
    odd = Counter()
    try:
        for graph in [*(entry.build() for entry in ZOO.values()), *kernels()[:60]]:
            report = module.profile(module.compile(graph), 1, 0)
            profile = module.parse(report, graph)
            matched = match(graph, profile)
            assert matched.unmatched_s == pytest.approx(0.0, abs=1e-12), graph.name
            odd[graph.name] += matched.odd_shapes
    finally:
        module.toolchain.close()
    # the compiler pools before it concatenates: mixed_3b/concat of InceptionV1 runs on 14 x 14
    assert +odd == Counter({"inception_v1": 1})
