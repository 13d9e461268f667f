"""The simulated NCS2: mapped by Intel's own compiler, timed by the machine of `simulators.ncs2`.

Its report carries the benchmark tool's average counters, the same text that a stick's run gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, prod
from statistics import median
from typing import Any

from hardware_modules.base import Report, check_runs, refuse
from hardware_modules.host import host
from hardware_modules.ncs2_nodes import executed_nodes
from hardware_modules.ncs2_plan import plan_facts, printed_name
from hardware_modules.ncs2_report import layer_rows, read_counters, write_counters
from hardware_modules.ncs2_toolchain import Toolchain, missing
from hardware_modules.openvino_builder import unsupported
from hardware_modules.simulated import (
    Run,
    load_machine,
    machine_facts,
    mean_times,
    noisy_run,
    run_records,
    simulation_options,
)
from simulators import ncs2
from simulators.grouping import no_work
from simulators.ncs2.plan import Plan
from strata.errors import SchemaError, UnsupportedLayer
from strata.graph import Graph
from strata.profile import Profile

BITS = 16
COUNTERS = "average_counters.csv"
# Half a minute, the pipeline's usual limit for a case, must not end first: then it would end the
# module too, and nobody would learn that the compiler hung.
TOOLCHAIN_OPTIONS = {"toolchain": "", "compile_limit_s": 25.0}
_NAME = "ncs2_simulated"
_DEFAULT_HARDWARE = "myriad_x_ncs2"


def not_buildable(graph: Graph) -> str | None:
    """One line why the worker cannot build the graph, or None."""
    reasons = (unsupported(layer) for layer in (*graph.opaque, *graph.layers))
    return next((reason for reason in reasons if reason), None) or no_work(graph)


def make_toolchain(name: str, settings: Mapping[str, Any], fast_clock: bool) -> Toolchain:
    """The compiler of the options toolchain (its folder) and compile_limit_s."""
    return Toolchain(settings["toolchain"], limit_s(name, settings, "compile_limit_s"), fast_clock)


def limit_s(name: str, settings: Mapping[str, Any], option: str) -> float:
    """Seconds of an option; SchemaError if they are no time to wait for."""
    value = float(settings[option])
    if not 0 < value < inf:
        raise SchemaError(f"{name}: option '{option}' is {value:g}; legal: above 0 and finite")
    return value


def check_batch(plan: Plan, graph: Graph) -> None:
    """UnsupportedLayer if the compiler planned one image of several: the stick repeats such a
    plan, at times that it does not tell."""
    planned = {
        operand.name: operand.elements
        for stage in plan.stages
        for operand in stage.inputs
        if operand.usage == "Input"
    }
    for name in graph.inputs:
        shape = graph[name].output_shape
        if planned.get(printed_name(name), prod(shape)) < prod(shape):
            raise UnsupportedLayer(f"input '{name}' holds {shape[0]} images; legal: 1")


def check_memory(plan: Plan, memory_bytes: int) -> None:
    """UnsupportedLayer if weights, tensors and buffers do not fit the stick's memory.

    The compiler does not look at that: a stick refuses when it is to load the network.
    """
    used = plan.attributes.get("usedMemory", {})
    needed = sum(used.get(part, 0) for part in ("blob", "BSS", "input", "output"))
    if needed > memory_bytes:
        raise UnsupportedLayer(
            f"the plan needs {needed / 2**20:.0f} MiB; legal: at most the stick's "
            f"{memory_bytes / 2**20:.0f} MiB"
        )


def parse_report(name: str, report: Report, graph: Graph) -> Profile:
    """Nodes and times from the counters, of a stick or simulated; what nodes are, from the plan.

    MatchError if the counters are damaged or nothing ran, or if the plan converts a tensor that is
    none of the graph's; a row that names no layer of the graph becomes a node without layers.
    """
    rows = read_counters(report["texts"][COUNTERS], COUNTERS)
    samples_s = tuple(run["time_s"] for run in report["runs"] if not run["warmup"])
    return Profile(
        name,
        executed_nodes(rows, graph, report["plan"]),
        samples_s,
        median(samples_s),
        dict(report["host"]),
        dict(report["toolchain"]),
        bits=BITS,
    )


@dataclass(slots=True)
class SimulatedNcs2Compiled:
    """A graph with the compiler's plan of it, stage times in seconds, and the history of runs."""

    graph: Graph
    plan: Plan
    times_s: tuple[float, ...]
    key: str
    runs: list[Run] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SimulatedNcs2:
    """A described stick behind the real compiler; FP16, one inference at a time."""

    machine: ncs2.Ncs2
    toolchain: Toolchain
    options: dict[str, Any]
    name: str = _NAME
    simulated: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "SimulatedNcs2":
        """Options: hardware, noise, seed, clock_hz, decimals as the other simulated modules',
        toolchain (the environment's folder), compile_limit_s (per graph).
        """
        settings = simulation_options(_NAME, _DEFAULT_HARDWARE, options, TOOLCHAIN_OPTIONS)
        toolchain = make_toolchain(_NAME, settings, fast_clock=True)
        return cls(load_machine(ncs2.load, settings), toolchain, settings)

    def supports(self, graph: Graph) -> str | None:
        """A layer that cannot be built, or what the toolchain lacks and how to get it."""
        return not_buildable(graph) or missing(self.options["toolchain"])

    def compile(self, graph: Graph) -> SimulatedNcs2Compiled:
        """Intel's plan of the graph; UnsupportedLayer in the compiler's own words."""
        refuse(self, graph)
        try:
            plan = self.toolchain.compile(graph).plan
            check_batch(plan, graph)
            check_memory(plan, self.machine.memory_bytes)
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"{self.name}: graph '{graph.name}': {error}") from None
        times_s = ncs2.stage_times(plan, self.machine)
        key = f"{graph.name} {graph.content_hash}" if self.options["noise"] else graph.name
        return SimulatedNcs2Compiled(graph, plan, times_s, key)

    def profile(self, compiled: SimulatedNcs2Compiled, repeats: int, warmup: int) -> Report:
        """Add runs to the history; the report of all of it."""
        check_runs(repeats, warmup)
        plan = compiled.plan
        whole_s = ncs2.network_s(compiled.times_s, plan, self.machine)
        for number in range(warmup + repeats):
            label = f"{compiled.key} run {len(compiled.runs)}"
            run = noisy_run(compiled.times_s, whole_s, self.options, label)
            compiled.runs.append((number < warmup, *run))
        timings = mean_times(compiled.runs, self.options["decimals"])
        rows = layer_rows(plan, compiled.graph, timings.nodes_s)
        return {
            "graph": compiled.graph.name,
            "runs": run_records(compiled.runs),
            "texts": {COUNTERS: write_counters(rows, timings.decimals)},
            "plan": plan_facts(plan, compiled.times_s),
            "toolchain": machine_facts(self.name, self.machine)
            | {"compiler": f"openvino {self.toolchain.version}"},
            "host": host(),
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """See `parse_report`."""
        return parse_report(self.name, report, graph)
