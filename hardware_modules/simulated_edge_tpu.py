"""The simulated Edge TPU: edgetpu_compiler's log, and benchmark_model's table for its times."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from hardware_modules.edge_tpu_report import parse_benchmark, parse_compiler, told
from hardware_modules.simulated import Platform, SimulatedModule, Timings
from simulators import edge_tpu
from simulators.edge_tpu import report
from strata.errors import MatchError

_COMPILER, _BENCHMARK = "edgetpu_compiler.log", "benchmark_model.log"


def _write(
    executable: edge_tpu.EdgeTpuExecutable, machine: edge_tpu.EdgeTpu, timings: Timings
) -> dict[str, str]:
    cached, streamed = executable.cached_bytes, executable.streamed_bytes
    memory = report.MemoryUse(
        model=cached + streamed,
        cached=cached,
        remaining=max(executable.free_parameter_bytes, 0),
        streamed=streamed,
    )
    return {
        _COMPILER: report.write_compiler_log(executable, memory, f"strata-{version('strata')}"),
        _BENCHMARK: report.write_benchmark_log(
            executable, timings.nodes_s, timings.runs_s, timings.warmup_s, timings.decimals
        ),
    }


def _read(texts: Mapping[str, str]) -> list[tuple[str, float]]:
    log = parse_compiler(texts[_COMPILER], _COMPILER)
    operations = parse_benchmark(texts[_BENCHMARK], _BENCHMARK).operations
    if len(operations) != log.operations:
        raise MatchError(
            f"{_COMPILER} tells of {log.operations} operations, {_BENCHMARK} of {len(operations)}"
        )
    return [(each.name, each.time_s) for each in operations]


def _told(texts: Mapping[str, str]) -> dict[str, str]:
    return told(parse_compiler(texts[_COMPILER], _COMPILER))


PLATFORM = Platform(
    name="edge_tpu_simulated",
    default_hardware="coral_usb3",
    load=edge_tpu.load,
    unsupported=edge_tpu.unsupported,
    compile_graph=edge_tpu.compile_graph,
    analyse=edge_tpu.analyse,
    simulate=edge_tpu.simulate,
    network_s=edge_tpu.network_s,
    write_report=_write,
    read_report=_read,
    told=_told,
)


def edge_tpu_simulated(options: Mapping[str, Any]) -> SimulatedModule:
    """The registry's "edge_tpu_simulated"; options as `SimulatedModule.from_options`."""
    return SimulatedModule.from_options(PLATFORM, options)
