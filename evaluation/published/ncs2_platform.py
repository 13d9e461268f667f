"""The NCS2 as the harness asks of a platform: Intel's own compiler, then the machine of simulators.

An executable holds the compiler's plan; its layers are the rows of the plugin's report, each the
sum of its stages. All graphs go through one worker process.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hardware_modules import ncs2_toolchain
from hardware_modules.ncs2_report import EXTRA
from simulators import ncs2
from simulators.executable import Executable, ExecutableLayer
from simulators.ncs2 import Ncs2
from simulators.ncs2.plan import Plan
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.layer import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanExecutable(Executable):
    """A plan, and the stages of each row of the report; rows are the executable's layers."""

    plan: Plan
    stages: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class RowTime:
    """Seconds of a row."""

    time_s: float


load = ncs2.load
missing = ncs2_toolchain.missing


@cache
def _toolchain() -> ncs2_toolchain.Toolchain:
    return ncs2_toolchain.Toolchain()


def unsupported(graph: Graph, hardware: Ncs2) -> str | None:
    """None: only the compiler can say, and `compile_graph` passes its words on."""
    return None


def from_plan(plan: Plan, graph: Graph) -> PlanExecutable:
    """Rows of the report in the order in which their first stages run."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, stage in enumerate(plan.stages):
        if stage.runs and stage.injected_into is None:
            places[stage.layer or EXTRA].append(place)
    layers: dict[str, Layer] = {layer.name: layer for layer in graph.layers}
    nameless = graph.layers[0]
    rows = tuple(
        ExecutableLayer(
            engine="row",
            executed=ExecutedLayer(layers.get(name) or replace(nameless, name=name)),
            producers=(),
        )
        for name in places
    )
    stages = tuple(map(tuple, places.values()))
    return PlanExecutable(graph=graph.name, layers=rows, plan=plan, stages=stages)


def compile_graph(graph: Graph, hardware: Ncs2) -> PlanExecutable:
    """What the compiler makes of a graph; UnsupportedLayer with its own words."""
    return from_plan(_toolchain().compile(graph).plan, graph)


def simulate(executable: PlanExecutable, hardware: Ncs2) -> Sequence[RowTime]:
    """Times of the rows."""
    times = np.asarray(ncs2.stage_times(executable.plan, hardware))
    return [RowTime(float(times[list(places)].sum())) for places in executable.stages]


analyse = simulate  # the machine has one level


def network_s(layer_times_s: Sequence[float], executable: PlanExecutable, hardware: Ncs2) -> float:
    """Latency of a whole inference."""
    return ncs2.network_s(layer_times_s, executable.plan, hardware)
