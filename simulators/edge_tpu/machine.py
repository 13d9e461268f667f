"""The step simulator: every tile step of load, compute and store, with double buffering."""

from simulators.edge_tpu.analytic import host_s, spill_s, start_s, tiling_of
from simulators.edge_tpu.hardware_model import EdgeTpu
from simulators.edge_tpu.toolchain import EdgeTpuExecutable, EdgeTpuLayer
from simulators.performance import LayerSteps
from simulators.phases import pipeline

# A node of more steps than this runs in so many, each standing for several equal ones.
_STEPS_LIMIT = 512


def simulate_layer(layer: EdgeTpuLayer, machine: EdgeTpu) -> LayerSteps:
    """Seconds of one node, step by step."""
    if layer.engine == "host":
        time_s = host_s(layer, machine)
        return LayerSteps(layer.name, time_s, 1, {"host": time_s})
    tiling, clock = tiling_of(layer, machine), machine.clock_hz
    bus_bytes_per_s = machine.activation_bus_bytes_per_cycle * clock
    merge = max(1, -(-tiling.steps // _STEPS_LIMIT))
    weights_s = tiling.load_bytes / (machine.weight_bus_bytes_per_cycle * clock)
    stream_s = 0.0
    if tiling.streamed_bytes:
        stream_s = tiling.streamed_bytes / machine.stream_bytes_per_s
    load, compute, store = [], [], []
    for rows in tiling.rows_of_pass:
        load_s = max(weights_s, stream_s, rows * tiling.read_bytes_per_row / bus_bytes_per_s)
        compute_s = (rows * tiling.cycles_per_row + tiling.fill_cycles) / clock
        store_s = rows * tiling.store_bytes_per_row / bus_bytes_per_s
        for first in range(0, tiling.blocks, merge):
            count = min(merge, tiling.blocks - first)
            load.append(load_s * count)
            compute.append(compute_s * count)
            store.append(store_s * count)
    # operands and results of the vector engines share one bus; weights come over their own
    times = pipeline(load, compute, store, 2, tiling.read_bytes_per_row > 0)
    busy = {"load": times.load_s, "compute": times.compute_s, "store": times.store_s}
    total_s = times.total_s
    if tiling.streamed_bytes:  # the first block is fetched while the layer before computes
        total_s = max(total_s - load[0], times.load_s)
    time_s = start_s(layer.task, machine) + max(total_s, spill_s(layer, machine))
    return LayerSteps(layer.name, time_s, len(load), busy)


def simulate(executable: EdgeTpuExecutable, machine: EdgeTpu) -> list[LayerSteps]:
    """Every node in the executable's order."""
    return [simulate_layer(layer, machine) for layer in executable.layers]  # type: ignore[arg-type]
