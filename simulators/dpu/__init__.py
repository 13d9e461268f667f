"""Xilinx DPUCZDX8G: mapping toolchain, analytical model and step simulator."""

from simulators.dpu.analytic import analyse
from simulators.dpu.hardware_model import Dpu, hardware_names, load
from simulators.dpu.machine import network_s, simulate
from simulators.dpu.toolchain import DpuLayer, compile_graph, unsupported

__all__ = [
    "Dpu",
    "DpuLayer",
    "analyse",
    "compile_graph",
    "hardware_names",
    "load",
    "network_s",
    "simulate",
    "unsupported",
]
