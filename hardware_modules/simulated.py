"""A simulated platform behind the same Protocol as a real one.

One module class over a record of the platform's functions. The vendor's text is the only carrier
of node times: `profile` writes it from the simulator, `parse` reads it as it would a board's.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from statistics import fmean, median
from typing import Any

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.host import host
from simulators.executable import Executable, ExecutableLayer, printed_name
from simulators.grouping import no_work
from simulators.noise import noisy
from simulators.performance import LayerPerformance, LayerSteps
from strata.errors import MatchError, SchemaError
from strata.graph import Graph
from strata.profile import ExecutedNode, Profile

BITS = 8  # both accelerators compute in 8-bit integers
Run = tuple[bool, tuple[float, ...], float]  # warm-up, parts, whole, the latter in seconds


@dataclass(frozen=True, slots=True)
class Timings:
    """What a report is written from, in seconds.

    `nodes_s` are the nodes' means over the timed runs, `runs_s` and `warmup_s` whole inferences.
    `decimals` of a node's time in milliseconds.
    """

    nodes_s: tuple[float, ...]
    runs_s: tuple[float, ...]
    warmup_s: tuple[float, ...]
    decimals: int


def _nothing_to_forget() -> None:
    """A machine that computes every node anew."""


def _nothing_told(_texts: Mapping[str, str]) -> dict[str, str]:
    """A toolchain that says nothing of the network as a whole."""
    return {}


@dataclass(frozen=True, slots=True)
class Platform:
    """A simulated platform's public functions, of its executable graph and hardware description.

    `write_report` returns the vendor's texts by name, `read_report` (node name, seconds) in the
    texts' order, `told` what the toolchain says in them of the network as a whole. `forget` drops
    what the machine remembers of nodes that it has seen.
    """

    name: str
    default_hardware: str
    load: Callable[[str], Any]
    unsupported: Callable[[Graph, Any], str | None]
    compile_graph: Callable[[Graph, Any], Executable]
    analyse: Callable[[Any, Any], Sequence[LayerPerformance]]
    simulate: Callable[[Any, Any], Sequence[LayerSteps]]
    network_s: Callable[[Sequence[float], Any, Any], float]
    write_report: Callable[[Any, Any, Timings], dict[str, str]]
    read_report: Callable[[Mapping[str, str]], list[tuple[str, float]]]
    told: Callable[[Mapping[str, str]], dict[str, str]] = _nothing_told
    forget: Callable[[], None] = _nothing_to_forget


@dataclass(slots=True)
class SimulatedCompiled:
    """An executable graph, and the history of its runs: (warm-up, nodes, whole) in seconds."""

    name: str
    key: str
    executable: Executable
    times_s: tuple[float, ...] | None = None
    runs: list[Run] = field(default_factory=list)


def simulation_options(
    name: str, default_hardware: str, given: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Options of a simulated module (`SimulatedModule.from_options`), and `more` of its own."""
    defaults = {
        "hardware": default_hardware,
        "noise": 0.0,
        "seed": 0,
        "clock_hz": 0.0,
        "decimals": 6,
    }
    settings = read_options(name, given, {**defaults, **more})
    # with fewer decimals than the vendors' tools print, short nodes would take no time
    limits = {"noise": (0.0, 1.0), "clock_hz": (0.0, 1e11), "decimals": (3, 12)}
    for key, (least, most) in limits.items():
        if not least <= settings[key] <= most:
            raise SchemaError(
                f"{name}: option '{key}' is {settings[key]}; legal: {least} to {most}"
            )
    return settings


def load_machine(load: Callable[[str], Any], settings: Mapping[str, Any]) -> Any:
    """The hardware description of the options, at another clock if they give one."""
    machine = load(settings["hardware"])
    clock_hz = settings["clock_hz"]
    return machine.changed(clock_hz=clock_hz) if clock_hz else machine


def machine_facts(name: str, machine: Any) -> dict[str, str]:
    """What simulated, for a profile's toolchain entry."""
    numbers = repr(sorted(machine.model_dump().items()))
    return {
        "name": f"strata {name}",
        "version": version("strata"),
        "hardware": machine.name,
        "hardware_digest": sha256(numbers.encode()).hexdigest()[:12],
        "simulated": "yes",
    }


def noisy_run(
    times_s: Sequence[float], whole_s: float, options: Mapping[str, Any], label: str
) -> tuple[tuple[float, ...], float]:
    """Times of the parts and of the whole in one run; only noise tells it from another."""
    noise, seed = float(options["noise"]), options["seed"]
    (run_s,) = noisy([whole_s], noise, seed, f"{label} network")
    return tuple(noisy(times_s, noise, seed, f"{label} nodes")), run_s


def mean_times(runs: Sequence[Run], decimals: int) -> Timings:
    """What the history of runs comes to."""
    timed = [nodes_s for is_warmup, nodes_s, _ in runs if not is_warmup]
    return Timings(
        tuple(map(fmean, zip(*timed, strict=True))),
        tuple(run_s for is_warmup, _, run_s in runs if not is_warmup),
        tuple(run_s for is_warmup, _, run_s in runs if is_warmup),
        decimals,
    )


def run_records(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The history of whole runs as a report keeps it."""
    return [{"warmup": is_warmup, "time_s": run_s} for is_warmup, _, run_s in runs]


def _kind(layer: ExecutableLayer) -> str:
    engine = "host" if layer.host_reason is not None else layer.engine
    return f"{engine}:{layer.executed.operation}"


def _mapping(layer: ExecutableLayer) -> dict[str, Any]:
    """One record of the toolchain's listing: what a node is made of and where it runs."""
    return {
        "name": layer.name,
        "reported_as": printed_name(layer.name),
        "kind": _kind(layer),
        "layers": [each.name for each in layer.executed.layers],
        "producers": list(layer.producers),
        "output_shape": list(layer.executed.output_shape),
        "placement": layer.placement,
        "host_reason": layer.host_reason,
    }


@dataclass(frozen=True, slots=True)
class SimulatedModule:
    """A machine and its toolchain, simulated from a hardware description."""

    platform: Platform
    machine: Any
    options: dict[str, Any]
    simulated: bool = True

    @classmethod
    def from_options(cls, platform: Platform, options: Mapping[str, Any]) -> "SimulatedModule":
        """Options: hardware (a shipped description's name or a YAML file's path), noise (relative
        sigma of the times), seed (of the noise), clock_hz (0: as described), decimals (of the
        nodes' milliseconds in the report; the vendors' tools print 3).
        """
        settings = simulation_options(platform.name, platform.default_hardware, options, {})
        machine = load_machine(platform.load, settings)
        return cls(platform, machine, settings)

    @property
    def name(self) -> str:
        """The registry's key."""
        return self.platform.name

    def supports(self, graph: Graph) -> str | None:
        """What neither the machine nor its host can run, an opaque layer first."""
        if graph.opaque:
            layer = graph.opaque[0]
            return f"layer '{layer.name}' is opaque: its work is unknown"
        if reason := no_work(graph):
            return reason
        printed = [printed_name(layer.name) for layer in graph.layers]
        for name, count in Counter(printed).items():
            if count > 1:
                return f"the report would print two layers as '{name}'; legal: names that differ"
        return self.platform.unsupported(graph, self.machine)

    def compile(self, graph: Graph) -> SimulatedCompiled:
        """The simulated toolchain's executable graph."""
        refuse(self, graph)
        executable = self.platform.compile_graph(graph, self.machine)
        key = f"{graph.name} {graph.content_hash}" if self.options["noise"] else graph.name
        return SimulatedCompiled(graph.name, key, executable)

    def _run(self, compiled: SimulatedCompiled, warmup: bool) -> None:
        """Add one run to the history; only noise tells it from another."""
        if compiled.times_s is None:
            steps = self.platform.simulate(compiled.executable, self.machine)
            compiled.times_s = tuple(layer.time_s for layer in steps)
        whole_s = self.platform.network_s(compiled.times_s, compiled.executable, self.machine)
        label = f"{compiled.key} run {len(compiled.runs)}"
        nodes_s, run_s = noisy_run(compiled.times_s, whole_s, self.options, label)
        compiled.runs.append((warmup, nodes_s, run_s))

    def profile(self, compiled: SimulatedCompiled, repeats: int, warmup: int) -> Report:
        """Simulate, and report in the vendor's text and the toolchain's listing."""
        check_runs(repeats, warmup)
        for number in range(warmup + repeats):
            self._run(compiled, number < warmup)
        timings = mean_times(compiled.runs, self.options["decimals"])
        layers = compiled.executable.layers
        return {
            "graph": compiled.name,
            "runs": run_records(compiled.runs),
            "texts": self.platform.write_report(compiled.executable, self.machine, timings),
            "mapping": [_mapping(layer) for layer in layers],
            "notes": list(compiled.executable.notes),
            "toolchain": self._toolchain(layers),
            "host": host(),
        }

    def _toolchain(self, layers: Sequence[ExecutableLayer]) -> dict[str, str]:
        told = machine_facts(self.name, self.machine)
        fallbacks = [
            f"{layer.name}: {layer.host_reason}"
            for layer in layers
            if layer.host_reason is not None
        ]
        return told | ({"on_host": "; ".join(fallbacks)} if fallbacks else {})

    def parse(self, report: Report, graph: Graph) -> Profile:
        """Nodes from the mapping, times from the text; MatchError where they disagree."""
        times_s = _times_by_node(report["mapping"], self.platform.read_report(report["texts"]))
        nodes = tuple(
            ExecutedNode(
                node["name"],
                node["kind"],
                tuple(name for name in node["layers"] if name in graph),
                tuple(node["producers"]),
                tuple(node["output_shape"]),
                time_s,
                (time_s,),
                node["placement"],
            )
            for node, time_s in zip(report["mapping"], times_s, strict=True)
        )
        samples_s = tuple(run["time_s"] for run in report["runs"] if not run["warmup"])
        return Profile(
            self.name,
            nodes,
            samples_s,
            median(samples_s),
            dict(report["host"]),
            dict(report["toolchain"]) | self.platform.told(report["texts"]),
            bits=BITS,
        )


def _times_by_node(
    mapping: Sequence[Mapping[str, Any]], rows: Sequence[tuple[str, float]]
) -> list[float]:
    """Seconds in the mapping's order."""
    found = dict(rows)
    for node in mapping:
        if node["reported_as"] not in found:
            raise MatchError(f"the report has no time of node '{node['name']}'")
    known = {node["reported_as"] for node in mapping}
    for name, _ in rows:
        if name not in known:
            raise MatchError(f"the report times '{name}', which is no node of the mapping")
    return [found[node["reported_as"]] for node in mapping]
