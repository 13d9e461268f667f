"""The step simulator: every tile of every node goes through load, compute and store."""

from collections.abc import Sequence
from math import prod

from simulators.dpu.analytic import compute_s, host_s, load_s, store_s
from simulators.dpu.hardware_model import Dpu
from simulators.dpu.node import Node
from simulators.dpu.tiling import array_of, make_schedule
from simulators.dpu.toolchain import DpuLayer
from simulators.executable import Executable
from simulators.performance import LayerSteps
from simulators.phases import pipeline


def node_steps(name: str, node: Node, hardware: Dpu) -> LayerSteps:
    """Time of a node on the accelerator, step by step."""
    schedule = make_schedule(node, array_of(hardware))
    loads: list[float] = []
    computes: list[float] = []
    stores: list[float] = []
    for part in schedule.parts:
        for step in part.steps * part.repeats:
            loads += [load_s(step, hardware)] * step.count
            computes += [compute_s(step, hardware)] * step.count
            stores += [store_s(step, hardware)] * step.count
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


def input_elements(executable: Executable) -> int:
    """Elements of the network's inputs, each counted once."""
    found: dict[str, int] = {}
    for layer in executable.layers:
        names = [name for name in layer.producers if name.startswith("input:")]
        shapes = layer.executed.root.input_shapes
        for name, shape in zip(names, shapes, strict=False):
            found[name] = prod(shape)
    return sum(found.values())


def network_s(layer_times_s: Sequence[float], executable: Executable, hardware: Dpu) -> float:
    """Seconds of a whole inference: input on the host, nodes one after the other, cost of a run."""
    inputs = input_elements(executable) * hardware.input_element_s
    return hardware.run_start_s + inputs + sum(layer_times_s)
