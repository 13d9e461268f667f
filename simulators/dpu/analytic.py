"""The analytical model: closed forms over a node's schedule, and which ceiling binds."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from simulators.dpu.hardware_model import Dpu
from simulators.dpu.node import Node
from simulators.dpu.tiling import Array, Part, Schedule, Step, array_of, make_schedule
from simulators.dpu.toolchain import DpuLayer, HostWork
from simulators.executable import Executable
from simulators.performance import LayerPerformance

CEILINGS = (
    "peak",
    "array fragmentation",
    "weight-delivery bus",
    "activation bus",
    "on-chip memory",
    "DRAM",
    "instruction issue",
    "host",
)
_FULL = 0.98  # of the array's cycles: so well filled, it is its peak that binds


class Durations(NamedTuple):
    """Seconds of one step: its loads by kind, and the phases that the pipeline overlaps.

    Weights and inputs are loaded over the same port ahead of the computation, but late weights
    arrive while the array works: they are no part of `load_s` then.
    """

    weights_s: float
    inputs_s: float
    load_s: float
    compute_s: float
    store_s: float


def durations(step: Step, hardware: Dpu) -> Durations:
    """How long a step loads, computes on the array and then beside it, and stores."""
    rate, start_s, clock_hz = hardware.read_rate, hardware.transfer_start_s, hardware.clock_hz
    weights_s = step.weight_bytes / rate + step.weight_transfers * start_s
    inputs_s = step.input_bytes / rate + step.transfers * start_s
    array = step.array_cycles + step.array_starts * hardware.convolution_start_cycles
    alu = step.alu_cycles + step.alu_starts * hardware.alu_start_cycles
    array_s = max(array, step.inline_cycles) / clock_hz
    load_s = inputs_s
    if not step.weights_late:
        load_s += weights_s
    elif weights_s > array_s:  # the array waits for them, the other engine never does
        array_s = weights_s
    store_s = step.store_bytes / hardware.write_rate
    return Durations(weights_s, inputs_s, load_s, array_s + alu / clock_hz, store_s)


def host_s(work: HostWork, hardware: Dpu) -> float:
    """Seconds an Arm core takes for a layer left to it."""
    return (
        hardware.host_start_s
        + work.macs / hardware.host_macs_per_s
        + work.operations / hardware.host_operations_per_s
        + work.bytes / hardware.host_bytes_per_s
    )


class _Busy(NamedTuple):
    """Seconds of one part of a schedule on each resource, and what they consist of."""

    engines: float
    load: float
    weights: float  # late ones among them, which the engines wait for
    inputs: float
    outputs: float
    cycles: float  # of the engines without starts
    issue: float
    bytes: float

    @property
    def port(self) -> float:
        """Loads and stores share one port."""
        return self.load + self.outputs


def _busy(part: Part, hardware: Dpu) -> _Busy:
    engines = load = weights = inputs = outputs = cycles = issue_cycles = transfers = moved = 0.0
    for run in part.runs:
        for step in run.steps:
            count = step.number * run.repeats
            weights_s, inputs_s, load_s, compute_s, store_s = durations(step, hardware)
            engines += count * compute_s
            load += count * load_s
            weights += count * weights_s
            inputs += count * inputs_s
            outputs += count * store_s
            cycles += count * (max(step.array_cycles, step.inline_cycles) + step.alu_cycles)
            issue_cycles += count * step.array_starts * hardware.convolution_start_cycles
            issue_cycles += count * step.alu_starts * hardware.alu_start_cycles
            transfers += count * (step.transfers + step.weight_transfers)
            moved += count * (step.weight_bytes + step.input_bytes + step.store_bytes)
    clock_hz = hardware.clock_hz
    issue = issue_cycles / clock_hz + transfers * hardware.transfer_start_s
    return _Busy(engines, load, weights, inputs, outputs, cycles / clock_hz, issue, moved)


def _duration_s(schedule: Schedule, parts: Sequence[_Busy], hardware: Dpu) -> float:
    """Closed form: the two ends, and between them in each part the longer of port and engines."""
    batch = schedule.batch
    if schedule.buffers == 1:
        return batch * sum(part.engines + part.port for part in parts)
    first = durations(schedule.parts[0].runs[0].steps[0], hardware).load_s
    last = durations(schedule.parts[-1].runs[-1].steps[-1], hardware).store_s
    port = [part.port for part in parts]
    again = sum(max(part.engines, busy) for part, busy in zip(parts, port, strict=True))
    port[0] -= first
    port[-1] -= last
    once = sum(max(part.engines, busy) for part, busy in zip(parts, port, strict=True))
    return first + once + last + (batch - 1) * again


def _ceilings(
    node: Node, schedule: Schedule, parts: Sequence[_Busy], hardware: Dpu
) -> dict[str, float]:
    """Seconds the node would take if only this were in its way.

    Weights and activations share the memory port of a core, whose time is the sum of both.
    """
    batch = schedule.batch
    alu_rate = hardware.alu_pixel_parallel * hardware.channel_parallel * hardware.clock_hz
    peak = node.array_macs / hardware.peak_macs_per_s + node.alu_operations / alu_rate
    cycles = batch * sum(part.cycles for part in parts)
    moved = batch * sum(part.bytes for part in parts)
    found = {
        "peak": min(peak, cycles),
        "array fragmentation": cycles,
        "weight-delivery bus": batch * sum(part.weights for part in parts),
        "activation bus": batch * sum(part.inputs + part.outputs for part in parts),
        "DRAM": moved / hardware.dram_share,
        "instruction issue": hardware.node_start_s + batch * sum(part.issue for part in parts),
    }
    if schedule.buffers == 1:  # a filter takes more than half a weight bank: phases add up
        found["on-chip memory"] = batch * sum(part.engines + part.port for part in parts)
    return found


def _binding(ceilings: Mapping[str, float], hardware: Dpu) -> str:
    """The ceiling in the way: the slowest of engines, port and starts, and why it is slow."""
    if "on-chip memory" in ceilings:
        return "on-chip memory"
    engines = ceilings["array fragmentation"]
    weights, activations = ceilings["weight-delivery bus"], ceilings["activation bus"]
    if ceilings["instruction issue"] > max(engines, weights + activations):
        return "instruction issue"
    if engines >= weights + activations:
        full = ceilings["peak"] > _FULL * engines
        return "peak" if full else "array fragmentation"
    if hardware.dram_share < hardware.read_bytes_per_s:
        return "DRAM"
    return "weight-delivery bus" if weights > activations else "activation bus"


def node_performance(name: str, node: Node, hardware: Dpu) -> LayerPerformance:
    """Time, ceilings and the binding one of a node on the accelerator."""
    return LayerPerformance(name, *_of_node(node, array_of(hardware), hardware))


def _of_node(node: Node, array: Array, hardware: Dpu) -> tuple[float, dict[str, float], str]:
    schedule = make_schedule(node, array)
    parts = [_busy(part, hardware) for part in schedule.parts]
    ceilings = _ceilings(node, schedule, parts, hardware)
    time = hardware.node_start_s + _duration_s(schedule, parts, hardware)
    return time, ceilings, _binding(ceilings, hardware)


@lru_cache(maxsize=8)
def _analyser(hardware: Dpu) -> Callable[[DpuLayer], LayerPerformance]:
    """A function that remembers the nodes it has seen on this machine."""
    array = array_of(hardware)

    @lru_cache(maxsize=100_000)
    def of_node(node: Node) -> tuple[float, dict[str, float], str]:
        return _of_node(node, array, hardware)

    def of_layer(layer: DpuLayer) -> LayerPerformance:
        if layer.host is not None:
            time = host_s(layer.host, hardware)
            return LayerPerformance(layer.name, time, {"host": time}, "host")
        assert layer.node is not None
        return LayerPerformance(layer.name, *of_node(layer.node))

    return of_layer


def forget() -> None:
    """Drop all that is remembered of nodes: the next network meets none that was seen before."""
    make_schedule.cache_clear()
    _analyser.cache_clear()


def analyse(executable: Executable, hardware: Dpu) -> list[LayerPerformance]:
    """Analytical time of every node of an executable graph, in its order."""
    of_layer = _analyser(hardware)
    return [of_layer(layer) for layer in executable.layers]  # type: ignore[arg-type]
