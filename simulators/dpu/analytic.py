"""The analytical model: closed forms over a node's schedule, and which ceiling binds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulators.dpu.hardware_model import Dpu
from simulators.dpu.node import Node
from simulators.dpu.tiling import Part, Schedule, Step, array_of, make_schedule
from simulators.dpu.toolchain import DpuLayer, HostWork
from simulators.executable import Executable
from simulators.performance import LayerPerformance

_FULL = 0.98  # of the array's cycles: so well filled, it is its peak that binds


def _weights_s(step: Step, hardware: Dpu) -> float:
    starts = step.weight_transfers * hardware.transfer_start_s
    return step.weight_bytes / hardware.read_rate + starts


def _inputs_s(step: Step, hardware: Dpu) -> float:
    return step.input_bytes / hardware.read_rate + step.transfers * hardware.transfer_start_s


def load_s(step: Step, hardware: Dpu) -> float:
    """Seconds that one step's loads take on the memory port ahead of its computation."""
    ahead = _inputs_s(step, hardware)
    return ahead if step.weights_late else ahead + _weights_s(step, hardware)


def compute_s(step: Step, hardware: Dpu) -> float:
    """Seconds that one step computes on the array and then on the engine beside it.

    Late weights arrive while the array works, never while the other engine does.
    """
    array = step.array_cycles + step.array_starts * hardware.convolution_start_cycles
    alu = step.alu_cycles + step.alu_starts * hardware.alu_start_cycles
    array_s = max(array, step.inline_cycles) / hardware.clock_hz
    if step.weights_late:
        array_s = max(array_s, _weights_s(step, hardware))
    return array_s + alu / hardware.clock_hz


def store_s(step: Step, hardware: Dpu) -> float:
    """Seconds that one step's store takes on the memory port."""
    return step.store_bytes / hardware.write_rate


def host_s(work: HostWork, hardware: Dpu) -> float:
    """Seconds an Arm core takes for a layer left to it."""
    return (
        hardware.host_start_s
        + work.macs / hardware.host_macs_per_s
        + work.operations / hardware.host_operations_per_s
        + work.bytes / hardware.host_bytes_per_s
    )


@dataclass(frozen=True, slots=True)
class _Busy:
    """Seconds of one part of a schedule on each resource, and what they consist of."""

    engines: float = 0.0
    weights: float = 0.0
    late_weights: float = 0.0  # waited for by the engines, and counted there
    inputs: float = 0.0
    outputs: float = 0.0
    cycles: float = 0.0  # of the engines without starts
    issue: float = 0.0
    bytes: float = 0.0

    @property
    def port(self) -> float:
        """Loads and stores share one port."""
        return self.weights + self.inputs + self.outputs


def _busy(part: Part, hardware: Dpu) -> _Busy:
    engines = weights = late = inputs = outputs = cycles = starts = transfers = moved = 0.0
    for step in part.steps:
        count = step.count
        engines += count * compute_s(step, hardware)
        if step.weights_late:
            late += count * _weights_s(step, hardware)
        else:
            weights += count * _weights_s(step, hardware)
        inputs += count * _inputs_s(step, hardware)
        outputs += count * store_s(step, hardware)
        cycles += count * (max(step.array_cycles, step.inline_cycles) + step.alu_cycles)
        starts += count * step.array_starts * hardware.convolution_start_cycles
        starts += count * step.alu_starts * hardware.alu_start_cycles
        transfers += count * (step.transfers + step.weight_transfers)
        moved += count * (step.weight_bytes + step.input_bytes + step.store_bytes)
    times = part.repeats
    issue = starts / hardware.clock_hz + transfers * hardware.transfer_start_s
    return _Busy(
        times * engines,
        times * weights,
        times * late,
        times * inputs,
        times * outputs,
        times * cycles / hardware.clock_hz,
        times * issue,
        times * moved,
    )


def _duration_s(schedule: Schedule, parts: Sequence[_Busy], hardware: Dpu) -> float:
    """Closed form: the two ends, and between them in each part the longer of port and engines."""
    batch = schedule.batch
    if schedule.buffers == 1:
        return batch * sum(part.engines + part.port for part in parts)
    first = load_s(schedule.parts[0].steps[0], hardware)
    last = store_s(schedule.parts[-1].steps[-1], hardware)
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
        "weight-delivery bus": batch * sum(part.weights + part.late_weights for part in parts),
        "activation bus": batch * sum(part.inputs + part.outputs for part in parts),
        "dram": moved / hardware.dram_share,
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
        return "dram"
    return "weight-delivery bus" if weights > activations else "activation bus"


def node_performance(name: str, node: Node, hardware: Dpu) -> LayerPerformance:
    """Time, ceilings and the binding one of a node on the accelerator."""
    schedule = make_schedule(node, array_of(hardware))
    parts = [_busy(part, hardware) for part in schedule.parts]
    ceilings = _ceilings(node, schedule, parts, hardware)
    time = hardware.node_start_s + _duration_s(schedule, parts, hardware)
    return LayerPerformance(name, time, ceilings, _binding(ceilings, hardware))


@lru_cache(maxsize=8)
def _analyser(hardware: Dpu) -> Callable[[DpuLayer], LayerPerformance]:
    """A function that remembers the nodes it has seen on this machine."""
    seen: dict[tuple[str, Node], LayerPerformance] = {}

    def of_layer(layer: DpuLayer) -> LayerPerformance:
        if layer.host is not None:
            time = host_s(layer.host, hardware)
            return LayerPerformance(layer.name, time, {"host": time}, "host")
        assert layer.node is not None
        key = (layer.name, layer.node)
        if key not in seen:
            if len(seen) > 100_000:
                seen.clear()
            seen[key] = node_performance(layer.name, layer.node, hardware)
        return seen[key]

    return of_layer


def analyse(executable: Executable, hardware: Dpu) -> list[LayerPerformance]:
    """Analytical time of every node of an executable graph, in its order."""
    of_layer = _analyser(hardware)
    return [of_layer(layer) for layer in executable.layers]  # type: ignore[arg-type]
