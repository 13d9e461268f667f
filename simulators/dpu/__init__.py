"""Xilinx DPUCZDX8G: mapping toolchain, analytical model and step simulator."""

from simulators.dpu.analytic import CEILINGS, analyse, forget
from simulators.dpu.hardware_model import Dpu, hardware_names, load
from simulators.dpu.machine import network_s, simulate
from simulators.dpu.toolchain import DpuExecutable, DpuLayer, compile_graph, unsupported

__all__ = [
    "CEILINGS",
    "Dpu",
    "DpuExecutable",
    "DpuLayer",
    "analyse",
    "compile_graph",
    "forget",
    "hardware_names",
    "load",
    "network_s",
    "simulate",
    "unsupported",
]
