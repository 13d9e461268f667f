"""Google's Edge TPU: mapping toolchain, analytical model and step simulator."""

from simulators.edge_tpu.analytic import CEILINGS, analyse
from simulators.edge_tpu.hardware_model import EdgeTpu, hardware_names, load
from simulators.edge_tpu.machine import simulate
from simulators.edge_tpu.run import network_s
from simulators.edge_tpu.toolchain import (
    EdgeTpuExecutable,
    EdgeTpuLayer,
    compile_graph,
    unsupported,
)

__all__ = [
    "CEILINGS",
    "EdgeTpu",
    "EdgeTpuExecutable",
    "EdgeTpuLayer",
    "analyse",
    "compile_graph",
    "hardware_names",
    "load",
    "network_s",
    "simulate",
    "unsupported",
]
