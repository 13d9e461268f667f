"""The step simulator: every tile of every node goes through load, compute and store."""

from collections.abc import Sequence

from simulators.dpu.analytic import durations, host_s
from simulators.dpu.hardware_model import Dpu
from simulators.dpu.node import Node
from simulators.dpu.tiling import Run, array_of, make_schedule
from simulators.dpu.toolchain import DpuExecutable, DpuLayer
from simulators.executable import Executable
from simulators.performance import LayerSteps
from simulators.phases import pipeline


def _phases(run: Run, hardware: Dpu) -> tuple[list[float], list[float], list[float]]:
    """Seconds of load, compute and store of each step of a run, once."""
    loads: list[float] = []
    computes: list[float] = []
    stores: list[float] = []
    for step in run.steps:
        found = durations(step, hardware)
        loads += [found.load_s] * step.number
        computes += [found.compute_s] * step.number
        stores += [found.store_s] * step.number
    return loads, computes, stores


def node_steps(name: str, node: Node, hardware: Dpu) -> LayerSteps:
    """Time of a node on the accelerator, step by step."""
    schedule = make_schedule(node, array_of(hardware))
    loads: list[float] = []
    computes: list[float] = []
    stores: list[float] = []
    for part in schedule.parts:
        for run in part.runs:
            load, compute, store = _phases(run, hardware)
            loads += load * run.repeats
            computes += compute * run.repeats
            stores += store * run.repeats
    times = pipeline(
        loads * schedule.batch,
        computes * schedule.batch,
        stores * schedule.batch,
        schedule.buffers,
        shared_port=True,
    )
    busy = {"load": times.load_s, "compute": times.compute_s, "store": times.store_s}
    return LayerSteps(
        name, hardware.node_start_s + times.total_s, len(loads) * schedule.batch, busy
    )


def _layer_steps(layer: DpuLayer, hardware: Dpu) -> LayerSteps:
    if layer.host is not None:
        time = host_s(layer.host, hardware)
        return LayerSteps(layer.name, time, 1, {"host": time})
    assert layer.node is not None
    return node_steps(layer.name, layer.node, hardware)


def simulate(executable: Executable, hardware: Dpu) -> list[LayerSteps]:
    """Simulated time of every node of an executable graph, in its order."""
    return [_layer_steps(layer, hardware) for layer in executable.layers]  # type: ignore[arg-type]


def network_s(layer_times_s: Sequence[float], executable: DpuExecutable, hardware: Dpu) -> float:
    """Seconds of a whole inference: input on the host, nodes one after the other, cost of a run."""
    inputs = executable.input_elements * hardware.input_element_s
    return hardware.run_start_s + inputs + sum(layer_times_s)
