"""The DPU's profile report in the layout of DNNDK's profile mode.

The layout is that of the Vitis AI user guide UG1414, "Fine-Grained Profiling". A board times its
DPU's nodes only. The simulator also knows what the host's operations take and writes them as a
second table of the same layout, headed `CPU Kernel`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from simulators.executable import Executable, printed_name
from strata.execution import ExecutedLayer
from strata.work import weight_elements

_COLUMNS = (
    "  ID                       NodeName Workload(MOP) Mem(MB) RunTime(ms) Perf(GOPS) "
    "Utilization    MB/S"
)
_RULER = "=" * 101
_NAME_WIDTH, _WORKLOAD_WIDTH = 30, 14
_MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    workload_ops: int
    memory_bytes: int
    time_s: float


def transferred_bytes(executed: ExecutedLayer) -> int:
    """Bytes of a node's inputs, constants and outputs, once each, at one byte per element."""
    inner = {layer.name for layer in executed.layers}
    read = {
        producer: prod(shape)
        for layer in executed.layers
        for producer, shape in zip(layer.inputs, layer.input_shapes, strict=True)
        if producer not in inner
    }
    weights = sum(
        weight_elements(layer.parameters, layer.input_shapes) for layer in executed.layers
    )
    written = sum(prod(layer.output_shape) for layer in executed.outputs)
    return sum(read.values()) + weights + written


def _line(identifier: str, row: _Row, peak_ops_per_s: float, decimals: int) -> str:
    rate = row.workload_ops / row.time_s if row.time_s else 0.0
    bandwidth = row.memory_bytes / row.time_s if row.time_s else 0.0
    # a name that is too long takes its room from the next column, as in the vendor's tables
    width = max(_WORKLOAD_WIDTH - max(len(row.name) - _NAME_WIDTH, 0), 2)
    workload = f" {row.workload_ops / 1e6:.3f}"
    return (
        f"{identifier:>4} {row.name:>{_NAME_WIDTH}}{workload:>{width}}"
        f" {row.memory_bytes / _MEBIBYTE:7.2f} {row.time_s * 1e3:11.{decimals}f}"
        f" {rate / 1e9:10.1f} {100 * rate / peak_ops_per_s:11.1f}%"
        f" {bandwidth / _MEBIBYTE:7.1f}"
    )


def _table(
    processor: str, kernel: str, rows: Sequence[_Row], peak_ops_per_s: float, decimals: int
) -> list[str]:
    # the total is that of the printed times, so that no reader finds them apart
    time_s = sum(round(row.time_s * 1e3, decimals) for row in rows) / 1e3
    total = _Row(
        "All",
        sum(row.workload_ops for row in rows),
        sum(row.memory_bytes for row in rows),
        time_s,
    )
    task = f'{processor} Kernel "{kernel}" {processor} Task "{kernel}-0"'
    return [
        f"[DNNDK] Performance profile - {task}",
        _RULER,
        _COLUMNS,
        *(
            _line(str(number), row, peak_ops_per_s, decimals)
            for number, row in enumerate(rows, start=1)
        ),
        "",
        f"{'Total Nodes In Avg:':>35}",
        _line("", total, peak_ops_per_s, decimals),
        _RULER,
    ]


def write_report(
    executable: Executable, times_s: Sequence[float], peak_ops_per_s: float, decimals: int = 3
) -> str:
    """The tables of one profiled network; `times_s` are its nodes' in the executable's order.

    Workload counts two operations per MAC and nothing else, memory one byte per element, as the
    vendor's tables do. `decimals` of the run time in milliseconds: the vendor prints 3 (older
    versions 2), which is too coarse for short layers; a simulated timer may say more.
    """
    rows: dict[str, list[_Row]] = {"DPU": [], "CPU": []}
    for layer, time_s in zip(executable.layers, times_s, strict=True):
        row = _Row(
            printed_name(layer.name),
            2 * layer.executed.work.macs,
            transferred_bytes(layer.executed),
            time_s,
        )
        rows["DPU" if layer.host_reason is None else "CPU"].append(row)
    kernel = printed_name(executable.graph.replace('"', "'"))
    kernels = {"DPU": kernel, "CPU": f"{kernel}_cpu"}
    lines = [
        line
        for processor, found in rows.items()
        if found
        for line in _table(processor, kernels[processor], found, peak_ops_per_s, decimals)
    ]
    return "\n".join(lines) + "\n"
