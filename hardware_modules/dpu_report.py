"""DNNDK's profile-mode table: what a DPU kernel's nodes took, from a board or the simulator.

The layout, one table per kernel and run (columns of the Vitis AI user guide UG1414, "Fine-Grained
Profiling"; genuine ones are cited in tests/unit/hardware_modules/data/dpu_profiles.csv):

    [DNNDK] Performance profile - DPU Kernel "net" DPU Task "net-0"
    ================
      ID  NodeName Workload(MOP) Mem(MB) RunTime(ms) Perf(GOPS) Utilization    MB/S
       1     conv1       173.408    3.22       0.753      230.3        18.7%  4273.2

                Total Nodes In Avg:
                All     32009.303   47.31      32.880      973.5        79.2%  1438.9

Older versions print two decimals where newer ones print three, and shorten long names with `*`.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from hardware_modules.report_text import check_total, count, fault, number, resolution

_HEADER = re.compile(
    r'\[DNNDK\] Performance profile - (\w+) Kernel "([^"]*)" \w+ Task "([^"]*)"\s*$'
)
_COLUMNS = (
    "ID",
    "NodeName",
    "Workload(MOP)",
    "Mem(MB)",
    "RunTime(ms)",
    "Perf(GOPS)",
    "Utilization",
    "MB/S",
)
_NUMBERS = _COLUMNS[2:]
_MEBIBYTE = 2**20
_TOTAL = "Total Nodes In Avg:"


@dataclass(frozen=True, slots=True)
class DpuNode:
    """One row in SI units: operations (a MAC is two), bytes, seconds; utilisation 0 to 1."""

    name: str
    workload_ops: float
    memory_bytes: float
    time_s: float
    ops_per_s: float
    utilisation: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class DpuTable:
    """One kernel's table; `processor` is "DPU", or "CPU" for a simulated host's rows."""

    processor: str
    kernel: str
    task: str
    nodes: tuple[DpuNode, ...]
    total: DpuNode


def _node(name: str, fields: list[str], report: str, line: int) -> DpuNode:
    workload, memory, time, performance, utilisation, bandwidth = fields
    if not utilisation.endswith("%"):
        fault(report, line, f"column 'Utilization' is '{utilisation}'; legal: a number and '%'")

    def read(text: str, column: str, exponent: int) -> float:
        return number(text, report, line, column, exponent)

    return DpuNode(
        name,
        read(workload, "Workload(MOP)", 6),
        read(memory, "Mem(MB)", 0) * _MEBIBYTE,
        read(time, "RunTime(ms)", -3),
        read(performance, "Perf(GOPS)", 9),
        read(utilisation[:-1], "Utilization", -2),
        read(bandwidth, "MB/S", 0) * _MEBIBYTE,
    )


class _Lines:
    """The report's lines, one by one; running out of them is a fault of the last line."""

    def __init__(self, text: str, report: str) -> None:
        self.report, self.lines, self.index = report, text.splitlines(), 0

    @property
    def line_number(self) -> int:
        """Of the line read last, from 1."""
        return self.index

    def next(self, expected: str) -> str:
        """The next line that is neither blank nor a ruler."""
        while self.index < len(self.lines):
            line = self.lines[self.index].strip()
            self.index += 1
            if line.strip("="):
                return line
        self.fault(f"the report ends before {expected}")

    def fault(self, message: str) -> NoReturn:
        """Raise the error of the line read last."""
        fault(self.report, max(self.line_number, 1), message)


def _row(line: str, lines: _Lines, identifier: int) -> tuple[str, list[str]]:
    """Name and number fields of a node's row, read from the right: a name may hold spaces."""
    fields = line.split(None, 1)
    if count(fields[0], lines.report, lines.line_number, "ID") != identifier:
        lines.fault(f"column 'ID' is '{fields[0]}'; legal: {identifier}, the next node's")
    rest = fields[1].rsplit(None, len(_NUMBERS)) if len(fields) == 2 else []
    if len(rest) <= len(_NUMBERS):
        lines.fault(f"{len(rest) + 1} of {len(_COLUMNS)} columns: {line}")
    return rest[0], rest[1:]


def _table(header: re.Match[str], lines: _Lines) -> DpuTable:
    columns = lines.next("the table's columns")
    if tuple(columns.split()) != _COLUMNS:
        lines.fault(f"the columns are '{columns}'; legal: {' '.join(_COLUMNS)}")
    rows: list[tuple[str, list[str]]] = []
    nodes: list[DpuNode] = []
    while (line := lines.next(f"'{_TOTAL}'")) != _TOTAL:
        name, fields = _row(line, lines, len(rows) + 1)
        rows.append((name, fields))
        nodes.append(_node(name, fields, lines.report, lines.line_number))
    name, *fields = lines.next("the row 'All'").split()
    if name != "All" or len(fields) != len(_NUMBERS):
        lines.fault(f"the row of totals is '{' '.join([name, *fields])}'; legal: All and 6 numbers")
    total = _node(name, fields, lines.report, lines.line_number)
    for place, column, exponent in ((0, "Workload(MOP)", 6), (2, "RunTime(ms)", -3)):
        parts = [row[place] for _, row in rows]
        check_total(fields[place], parts, lines.report, lines.line_number, column, exponent)
    _check_bandwidth(fields, lines)
    return DpuTable(header[1], header[2], header[3], tuple(nodes), total)


def _check_bandwidth(fields: list[str], lines: _Lines) -> None:
    """The totals' last number is memory over time, within rounding: else the text ends in it."""
    memory, time, bandwidth = fields[1], fields[2], fields[5]
    if float(time) == 0:
        return
    memory_off, time_off = resolution(memory), resolution(time, -3)
    printed, bandwidth_off = float(bandwidth), resolution(bandwidth)
    megabytes, seconds = float(memory), float(time) * 1e-3
    low = (megabytes - memory_off) / (seconds + time_off) - bandwidth_off
    high = (megabytes + memory_off) / max(seconds - time_off, 1e-12) + bandwidth_off
    if not low * (1 - 1e-9) <= printed <= high * (1 + 1e-9):
        lines.fault(
            f"column 'MB/S' totals {bandwidth}, but Mem(MB) over RunTime(ms) is "
            f"{megabytes / seconds:.1f}"
        )


def parse_tables(text: str, report: str = "DPU report") -> tuple[DpuTable, ...]:
    """Every table of the text in order; other lines (an application's own) are passed over.

    ArtefactError names the line if a table is cut off, a number malformed, a node missing or the
    totals disagree with the rows, and if there is no table at all.
    """
    lines = _Lines(text, report)
    tables = []
    while lines.index < len(lines.lines):
        line = lines.lines[lines.index]
        lines.index += 1
        if header := _HEADER.search(line):
            tables.append(_table(header, lines))
        elif "[DNNDK] Performance profile" in line:
            lines.fault(f"no kernel and task in '{line.strip()}'")
    if not tables:
        lines.fault("no table '[DNNDK] Performance profile' up to here")
    return tuple(tables)
