"""The analytical performance model: closed form per layer, the ceiling that binds by name."""

from simulators.edge_tpu.geometry import Task
from simulators.edge_tpu.hardware_model import EdgeTpu
from simulators.edge_tpu.tiling import Tiling, tile
from simulators.edge_tpu.toolchain import EdgeTpuExecutable, EdgeTpuLayer
from simulators.performance import LayerPerformance, binding_ceiling

CEILINGS = (
    "peak",
    "array fragmentation",
    "weight-delivery bus",
    "activation bus",
    "on-chip memory",
    "DRAM",
    "host link",
    "instruction issue",
    "host",
)


def host_s(layer: EdgeTpuLayer, machine: EdgeTpu) -> float:
    """Seconds of a node on the host: its operations or its bytes, whichever takes longer."""
    work = layer.executed.work
    elements = layer.task.input_elements + layer.task.output_elements
    return machine.host_layer_s + max(
        work.ops / machine.host_ops_per_s, elements / machine.host_bytes_per_s
    )


def start_s(task: Task, machine: EdgeTpu) -> float:
    """Seconds before a node's first step: sequencer, borders exchanged, instructions sent.

    A window that reaches over a tile's borders needs rows and columns of the tiles beside it.
    """
    cycles = machine.layer_start_cycles
    if task.halo_rows and machine.tiles > 1:
        cycles += machine.border_exchange_cycles
    start = cycles / machine.clock_hz
    if machine.stream_bytes_per_s:
        start += machine.instruction_bytes_per_layer / machine.stream_bytes_per_s
    return start


def spill_s(layer: EdgeTpuLayer, machine: EdgeTpu) -> float:
    """Seconds to write activations that no on-chip memory holds outside, and to read them back.

    Over the host link, whose two ways differ, where there is one; else to DRAM.
    """
    back_bytes_per_s = machine.stream_bytes_per_s
    out_bytes_per_s = machine.link_out_bytes_per_s or back_bytes_per_s
    return layer.spilled_bytes / out_bytes_per_s + layer.spilled_bytes / back_bytes_per_s


def tiling_of(layer: EdgeTpuLayer, machine: EdgeTpu) -> Tiling:
    """The steps of a node on the device."""
    streamed = layer.streamed_bytes > 0
    return tile(layer.task, layer.streamed_bytes or layer.cached_bytes, streamed, machine)


def _device(layer: EdgeTpuLayer, machine: EdgeTpu) -> LayerPerformance:
    tiling, clock = tiling_of(layer, machine), machine.clock_hz
    steps, rows = tiling.steps, tiling.rows * tiling.blocks
    bus_bytes_per_s = machine.activation_bus_bytes_per_cycle * clock
    compute_s = (rows * tiling.cycles_per_row + steps * tiling.fill_cycles) / clock
    weights_s = steps * tiling.load_bytes / (machine.weight_bus_bytes_per_cycle * clock)
    read_s = rows * tiling.read_bytes_per_row / bus_bytes_per_s
    store_s = rows * tiling.store_bytes_per_row / bus_bytes_per_s
    ceilings = {
        "peak": layer.task.macs / machine.peak_macs_per_s,
        "array fragmentation": compute_s,
        "weight-delivery bus": weights_s,
        "activation bus": read_s + store_s,
        "instruction issue": start_s(layer.task, machine),
    }
    load_s = max(weights_s, read_s)
    if tiling.streamed_bytes:
        stream_s = steps * tiling.streamed_bytes / machine.stream_bytes_per_s
        ceilings["host link" if machine.link_in_bytes_per_s else "DRAM"] = stream_s
        load_s = max(load_s, stream_s)
    if layer.spilled_bytes:
        ceilings["on-chip memory"] = spill_s(layer, machine)
    # equal steps in a pipeline: each phase once, and the slowest for every further step
    once_s = (load_s + compute_s + store_s) / steps
    busy_s = once_s + max(compute_s, load_s, store_s) * (steps - 1) / steps
    if tiling.read_bytes_per_row:  # operands and results take turns on one bus
        busy_s = max(read_s + store_s, load_s, compute_s + (load_s + store_s) / steps)
    if tiling.streamed_bytes:  # the first block is fetched while the layer before computes
        busy_s = max(busy_s - load_s / steps, load_s)
    time_s = start_s(layer.task, machine) + max(busy_s, ceilings.get("on-chip memory", 0.0))
    return LayerPerformance(layer.name, time_s, ceilings, binding_ceiling(ceilings))


def analyse_layer(layer: EdgeTpuLayer, machine: EdgeTpu) -> LayerPerformance:
    """Seconds of one node in closed form, with the time under each ceiling."""
    if layer.engine == "host":
        time_s = host_s(layer, machine)
        return LayerPerformance(layer.name, time_s, {"host": time_s}, "host")
    return _device(layer, machine)


def analyse(executable: EdgeTpuExecutable, machine: EdgeTpu) -> list[LayerPerformance]:
    """Every node in the executable's order."""
    return [analyse_layer(layer, machine) for layer in executable.layers]  # type: ignore[arg-type]
