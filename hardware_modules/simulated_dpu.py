"""The simulated DPU: DPUCZDX8G behind the report of DNNDK's profile mode."""

from collections.abc import Mapping
from typing import Any

from hardware_modules.dpu_report import parse_tables
from hardware_modules.simulated import Platform, SimulatedModule, Timings
from simulators import dpu
from simulators.dpu import report
from simulators.executable import Executable

_TEXT = "profile.txt"


def _write(executable: Executable, machine: dpu.Dpu, timings: Timings) -> dict[str, str]:
    peak_ops_per_s = 2 * machine.peak_macs_per_s
    text = report.write_report(executable, timings.nodes_s, peak_ops_per_s, timings.decimals)
    return {_TEXT: text}


def _read(texts: Mapping[str, str]) -> list[tuple[str, float]]:
    tables = parse_tables(texts[_TEXT], _TEXT)
    return [(node.name, node.time_s) for table in tables for node in table.nodes]


PLATFORM = Platform(
    name="dpu_simulated",
    default_hardware="dpuczdx8g_b4096_zcu102",
    load=dpu.load,
    unsupported=dpu.unsupported,
    compile_graph=dpu.compile_graph,
    analyse=dpu.analyse,
    simulate=dpu.simulate,
    network_s=dpu.network_s,
    write_report=_write,
    read_report=_read,
    forget=dpu.forget,
)


def dpu_simulated(options: Mapping[str, Any]) -> SimulatedModule:
    """The registry's "dpu_simulated"; options as `SimulatedModule.from_options`."""
    return SimulatedModule.from_options(PLATFORM, options)
