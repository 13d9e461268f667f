"""A Neural Compute Stick 2 at this machine's USB port: compiled and run by Intel's last release.

The same wheel and worker as the simulated module's, on the true clock; it also carries the stick's
firmware. docs/ncs2.md says what is measured and what has not been tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.host import host
from hardware_modules.ncs2_plan import graph_record, name_layers, plan_facts
from hardware_modules.ncs2_report import EXECUTED, CounterRow, write_counters
from hardware_modules.ncs2_toolchain import Toolchain, missing
from hardware_modules.simulated_ncs2 import (
    COUNTERS,
    TOOLCHAIN_OPTIONS,
    check_batch,
    limit_s,
    make_toolchain,
    not_buildable,
    parse_report,
)
from simulators.ncs2.plan import Plan
from strata.errors import StrataError, UnsupportedLayer
from strata.graph import Graph
from strata.profile import Profile

DEFAULTS = {**TOOLCHAIN_OPTIONS, "run_limit_s": 60.0}
_NO_STICK = "no NCS2 answers at this machine's USB ports; see docs/ncs2.md"
_DECIMALS = 6


@dataclass(slots=True)
class Ncs2Compiled:
    """A graph, the compiler's plan, what its names of layers mean, and the history of runs."""

    graph: Graph
    plan: Plan
    names: Mapping[str, str]
    runs: list[dict[str, Any]] = field(default_factory=list)


def _row_name(name: str, names: Mapping[str, str]) -> str:
    """A counter's name in the graph's terms."""
    return ",".join(names.get(part, part) for part in name.split(","))


def counter_rows(
    runs: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> tuple[CounterRow, ...]:
    """Rows of the benchmark tool's report: means over the runs, in its order."""
    times_us: dict[str, list[int]] = {}
    for run in runs:
        for layer in run["layers"]:
            times_us.setdefault(layer["name"], []).append(layer["real_us"])
    layers = sorted(
        runs[-1]["layers"],
        key=lambda layer: (
            (layer["index"] if layer["status"] == EXECUTED else 0),
            layer["name"],
        ),
    )
    return tuple(
        CounterRow(
            _row_name(layer["name"], names),
            layer["status"],
            layer["layer_type"],
            layer["execution_type"],
            fmean(times_us[layer["name"]]) * 1e-6,
        )
        for layer in layers
    )


@dataclass(slots=True)
class Ncs2Module:
    """One stick, FP16, one inference at a time. It holds one network; another is loaded anew."""

    toolchain: Toolchain
    options: dict[str, Any]
    name: str = "ncs2"
    simulated: bool = False
    device: str = ""
    loaded: Ncs2Compiled | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "Ncs2Module":
        """Options: toolchain (the environment's folder), compile_limit_s, run_limit_s."""
        settings = read_options("ncs2", options, DEFAULTS)
        limit_s("ncs2", settings, "run_limit_s")
        return cls(make_toolchain("ncs2", settings, fast_clock=False), settings)

    def supports(self, graph: Graph) -> str | None:
        """A layer that cannot be built, what the toolchain lacks, or that there is no stick."""
        return not_buildable(graph) or missing(self.options["toolchain"]) or self._without_stick()

    def _without_stick(self) -> str | None:
        """One line if no stick is connected, or the toolchain does not start."""
        if self.device:
            return None
        try:
            devices = self.toolchain.ask({"devices": True}).get("devices")
        except StrataError as error:
            return str(error)
        if not devices:
            return _NO_STICK
        self.device = str(devices[0])
        return None

    def _ask(self, request: Mapping[str, Any], graph: Graph, within_s: float) -> dict[str, Any]:
        try:
            return self.toolchain.ask(request, within_s)
        except UnsupportedLayer as error:
            self.loaded, self.device = None, ""
            raise self._refusal(graph, error) from None

    def _refusal(self, graph: Graph, error: UnsupportedLayer) -> UnsupportedLayer:
        return UnsupportedLayer(f"{self.name}: graph '{graph.name}': {error}")

    def compile(self, graph: Graph) -> Ncs2Compiled:
        """Compile and load; UnsupportedLayer in the plugin's own words, or for several images."""
        refuse(self, graph)
        self.loaded = None
        plan, names = name_layers(self._load(graph)["plan"], graph)
        try:
            check_batch(plan, graph)
        except UnsupportedLayer as error:
            raise self._refusal(graph, error) from None
        self.loaded = Ncs2Compiled(graph, plan, names)
        return self.loaded

    def _load(self, graph: Graph) -> dict[str, Any]:
        request = {"graph": graph_record(graph), "load": True}
        return self._ask(request, graph, self.options["compile_limit_s"])

    def profile(self, compiled: Ncs2Compiled, repeats: int, warmup: int) -> Report:
        """Run on the stick; its counters and the host's latency of every run."""
        check_runs(repeats, warmup)
        if self.loaded is not compiled:
            self._load(compiled.graph)
            self.loaded = compiled
        request = {"run": warmup + repeats}
        answer = self._ask(request, compiled.graph, self.options["run_limit_s"])
        for number, run in enumerate(answer["runs"]):
            compiled.runs.append({**run, "warmup": number < warmup})
        timed = [run for run in compiled.runs if not run["warmup"]]
        rows = counter_rows(timed, compiled.names)
        return {
            "graph": compiled.graph.name,
            "runs": [
                {"warmup": run["warmup"], "time_s": run["latency_s"]} for run in compiled.runs
            ],
            "texts": {COUNTERS: write_counters(rows, _DECIMALS)},
            "plan": plan_facts(compiled.plan),
            "toolchain": {
                "name": "openvino",
                "version": self.toolchain.version,
                "device": self.device,
                "precision": "FP16",
                "method": "synchronous inference, counters per layer",
            },
            "host": host(),
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """See `simulated_ncs2.parse_report`."""
        return parse_report(self.name, report, graph)
