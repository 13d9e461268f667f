"""Slow proof: the NCS2's compiler cuts convolutions as `strata.blocking` says, whatever its
network. 200 convolutions of the default plan."""

import random
from pathlib import Path

import numpy as np
import pytest

from benchmark.config import load_config, load_platform
from benchmark.make_plan import plan_cases
from graph_gen.benchmarks import build
from hardware_modules.ncs2_toolchain import Toolchain, missing
from model_gen.overlap_fit import MYRIAD_X
from strata.blocking import BLOCK_NAMES, block_terms
from strata.errors import UnsupportedLayer
from strata.execution import feature_matrix, make_executed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
CONFIG = Path(__file__).parents[3] / "config"
POINTS = 200


def convolutions():
    """Kernels of the default plan's convolutions as the NCS2 gets them, a fixed random choice."""
    file = CONFIG / "platforms" / "ncs2.yaml"
    run = load_platform(file).apply(load_config(CONFIG / "default.yaml"), file)
    cases = [case for case in plan_cases(run, None, None) if case.benchmark == "convolution"]
    chosen = random.Random(1).sample(cases, POINTS)
    return [build(case.benchmark, case.settings) for case in chosen]


def test_the_compiler_cuts_convolutions_by_the_rule():
    toolchain, alike, compared = Toolchain(), 0, 0
    try:
        for graph in convolutions():
            try:
                plan = toolchain.compile(graph).plan
            except UnsupportedLayer:
                continue
            for layer in graph.layers:
                tilings = [
                    stage.attributes["tiling"]
                    for stage in plan.stages
                    if stage.layer == layer.name and stage.attributes.get("hwOpType") == "CONV"
                ]
                if layer.operation != "convolution" or not tilings:
                    continue
                matrix = feature_matrix([make_executed([layer])])
                terms = dict(zip(BLOCK_NAMES, block_terms(matrix, MYRIAD_X)[0], strict=True))
                compared += 1
                alike += terms["stages"] == len(tilings)
    finally:
        toolchain.close()
    assert compared > POINTS / 2
    assert np.divide(alike, compared) > 0.97
