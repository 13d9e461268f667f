"""Slow proof: the NCS2's compiler cuts convolutions and poolings as `strata.blocking` says,
whatever their network. 200 of each kind of the default plan."""

import random
from pathlib import Path

import pytest

from benchmark.config import load_config, load_platform
from benchmark.make_plan import plan_cases
from graph_gen.benchmarks import build
from hardware_modules.ncs2_toolchain import Toolchain, missing
from model_gen.overlap_fit import MYRIAD_X, MYRIAD_X_AVERAGES
from strata.blocking import BLOCK_NAMES, block_terms
from strata.errors import UnsupportedLayer
from strata.execution import feature_matrix, make_executed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
CONFIG = Path(__file__).parents[3] / "config"
POINTS = 200


def kernels(benchmark: str):
    """Kernels of the default plan as the NCS2 gets them, a fixed random choice."""
    file = CONFIG / "platforms" / "ncs2.yaml"
    run = load_platform(file).apply(load_config(CONFIG / "default.yaml"), file)
    cases = [case for case in plan_cases(run, None, None) if case.benchmark == benchmark]
    chosen = random.Random(1).sample(cases, min(POINTS, len(cases)))
    return [build(case.benchmark, case.settings) for case in chosen]


@pytest.mark.parametrize(
    ("operation", "blocking", "engine", "least"),
    [
        ("convolution", MYRIAD_X, "CONV", 100),
        ("max_pooling", MYRIAD_X, "POOL", 60),
        ("average_pooling", MYRIAD_X_AVERAGES, "POOL", 40),
    ],
)
def test_the_compiler_cuts_layers_by_the_rule(operation, blocking, engine, least):
    toolchain, alike, compared = Toolchain(), {True: 0, False: 0}, {True: 0, False: 0}
    try:
        for graph in kernels(operation):
            try:
                plan = toolchain.compile(graph).plan
            except UnsupportedLayer:
                continue
            groups = []  # with what surely joins the layer before; neighbours count
            for layer in graph.layers:
                if layer.operation in ("activation", "batch_normalization"):
                    groups[-1].append(layer)
                elif layer.operation != "input":
                    groups.append([layer])
            matrix = feature_matrix([make_executed(group) for group in groups])
            for (layer, *_), row in zip(groups, block_terms(matrix, blocking), strict=True):
                stages = [
                    stage.attributes.get("hwOpType") == engine
                    for stage in plan.stages
                    if stage.layer == layer.name and stage.runs
                ]
                if layer.operation != operation or not stages:
                    continue
                compared[any(stages)] += 1
                alike[any(stages)] += row[BLOCK_NAMES.index("stages")] == sum(stages)
    finally:
        toolchain.close()
    assert compared[True] >= least
    assert alike[True] / compared[True] > 0.97
    # of convolutions in software many run there for other reasons than their size
    if operation != "convolution":
        assert alike[False] / max(compared[False], 1) > 0.9 or compared[False] == 0
