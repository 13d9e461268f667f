from dataclasses import replace

import pytest

from evaluation.levels import Levels, both_levels, speed_line
from hardware_modules.registry import create
from hardware_modules.simulated import SimulatedModule
from strata.builder import GraphBuilder


def module(name: str = "dpu_simulated") -> SimulatedModule:
    found = create(name, {})
    assert isinstance(found, SimulatedModule)
    return found


def network() -> GraphBuilder:
    builder = GraphBuilder("net")
    features = builder.convolution(builder.input(1, 3, 28, 28), 16, 3)
    builder.convolution(features, 32, 3)
    return builder


def test_nodes_are_forgotten_before_each_level_is_timed():
    calls = []
    simulated = module()
    platform = simulated.platform

    def told(name, work):
        def run(*arguments):
            calls.append(name)
            return work(*arguments)

        return run

    watched = replace(
        platform,
        forget=told("forget", platform.forget),
        analyse=told("analyse", platform.analyse),
        simulate=told("simulate", platform.simulate),
    )
    both_levels(replace(simulated, platform=watched), network().build())
    assert calls[:5] == ["forget", "analyse", "analyse", "forget", "simulate"]


@pytest.mark.parametrize("name", ["dpu_simulated", "edge_tpu_simulated"])
def test_both_levels_answer_for_every_layer(name):
    levels = both_levels(module(name), network().build())
    assert [layer.name for layer in levels.analytical] == [layer.name for layer in levels.simulated]


def test_the_ratio_is_that_of_unseen_nodes():
    simulated = both_levels(module(), network().build()).simulated
    levels = Levels("net", [], simulated, 2e-3, 1e-6, 6e-3)
    assert speed_line([levels]) == (
        "speed over 2 layers: analytical 60.00 ms per 60 layers (0.03 ms when seen before); "
        "step simulator 333 layers/s; ratio 3.0"
    )
