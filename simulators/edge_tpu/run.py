"""A whole inference: start of the run, transfers, nodes."""

from collections.abc import Sequence

from simulators.edge_tpu.hardware_model import EdgeTpu
from simulators.edge_tpu.toolchain import EdgeTpuExecutable


def transfers_s(executable: EdgeTpuExecutable, machine: EdgeTpu) -> float:
    """Seconds to move inputs to the device and outputs back; 0 without a host link."""
    inputs, outputs = machine.link_in_bytes_per_s, machine.link_out_bytes_per_s
    time_s = executable.input_bytes / inputs if inputs else 0.0
    return time_s + (executable.output_bytes / outputs if outputs else 0.0)


def network_s(
    layer_times_s: Sequence[float], executable: EdgeTpuExecutable, machine: EdgeTpu
) -> float:
    """Seconds of an inference from its nodes' seconds; the run's start only if the device runs.

    Streamed parameters are in the time of the node that needs them.
    """
    on_device = any(layer.engine != "host" for layer in executable.layers)
    start_s = machine.run_start_s if on_device else 0.0
    return start_s + transfers_s(executable, machine) + sum(layer_times_s)
