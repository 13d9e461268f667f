"""The Edge TPU compiler's log and TFLite's benchmark_model output, as records in SI units.

The Edge TPU has no profiler per layer: benchmark_model shows a compiled model's part on the device
as one node. Its table is nevertheless the vendor's form for times per operation, and the
simulated platform, whose timers see every operation, reports in it.

Layouts: https://coral.ai/docs/edgetpu/compiler and tensorflow/lite/tools/benchmark/README.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hardware_modules.report_text import count, fault, number
from strata.profile import CACHED_BYTES, OPERATIONS_ON_HOST, STREAMED_BYTES

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
MAPPED = "Mapped to Edge TPU"


@dataclass(frozen=True, slots=True)
class OperatorCount:
    """So many operations of one type share a status: `MAPPED`, or why they stay on the host."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class CompilerLog:
    """What edgetpu_compiler prints (with -s: the operators too). Sizes in bytes, as printed.

    `cached_bytes` of parameters stay on the chip, `remaining_bytes` of their memory are free,
    `streamed_bytes` cross the link in every run.
    """

    version: str
    compile_time_s: float
    input_model: str
    input_bytes: int
    output_model: str
    output_bytes: int
    cached_bytes: int
    remaining_bytes: int
    streamed_bytes: int
    subgraphs: int
    operations: int
    mapped: int
    on_host: int
    operators: tuple[OperatorCount, ...]


def told(log: CompilerLog) -> dict[str, str]:
    """What the compiler says of the network as a whole, for a profile's toolchain entry."""
    return {
        CACHED_BYTES: str(log.cached_bytes),
        STREAMED_BYTES: str(log.streamed_bytes),
        OPERATIONS_ON_HOST: str(log.on_host),
    }


@dataclass(frozen=True, slots=True)
class TimedOperation:
    """One row of benchmark_model's table in run order: seconds."""

    node_type: str
    name: str
    first_s: float
    time_s: float
    times_called: int


@dataclass(frozen=True, slots=True)
class BenchmarkLog:
    """benchmark_model's summary in seconds (None where not printed), and its profiling table."""

    initialisation_s: float
    first_s: float | None
    warmup_s: float
    inference_s: float
    operations: tuple[TimedOperation, ...]


def _bytes(text: str, report: str, line: int, field: str) -> int:
    found = re.fullmatch(r"(.*?)\s*([A-Za-z]+)", text)
    if not found or found[2] not in _UNITS:
        fault(report, line, f"'{field}' is '{text}'; legal: a number and one of B, KiB, MiB, GiB")
    return round(number(found[1], report, line, field) * _UNITS[found[2]])


_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_SUCCESS = re.compile(r"Model compiled successfully in (\S+) ms")
_CACHED = "On-chip memory used for caching model parameters"
_REMAINING = "On-chip memory remaining for caching model parameters"
_STREAMED = "Off-chip memory used for streaming uncached model parameters"
_ON_DEVICE = "Number of operations that will run on Edge TPU"
_ON_HOST = "Number of operations that will run on CPU"
_FIELDS = (
    "Input model",
    "Input size",
    "Output model",
    "Output size",
    _CACHED,
    _REMAINING,
    _STREAMED,
    "Number of Edge TPU subgraphs",
    "Total number of operations",
    "Operation log",
    _ON_DEVICE,
    _ON_HOST,
)
_OPTIONAL = (_ON_DEVICE, _ON_HOST)  # not printed where the device runs every operation
_ELSEWHERE = "See the operation log file"  # printed in place of the table, without -s
_TABLE = re.compile(r"\s*Operator\s+Count\s+Status\s*")
_OPERATOR = re.compile(r"\s*([A-Z][A-Z0-9_]*)(\s+(\S+)(\s+(\S.*?))?)?\s*")


def parse_operators(text: str, report: str = "Edge TPU operation log") -> tuple[OperatorCount, ...]:
    """Rows of the table `Operator Count Status`, in a compiler's log file or printed with -s.

    ArtefactError names the line of a row that is cut off or malformed, and a missing table.
    """
    rows: list[OperatorCount] = []
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if _TABLE.fullmatch(line)), None)
    if start is None:
        fault(report, max(len(lines), 1), "no table 'Operator Count Status' up to here")
    for index in range(start + 1, len(lines)):
        line = lines[index]
        if not line.strip() and not rows:
            continue
        found = _OPERATOR.fullmatch(line)
        if not line.strip() or found is None:
            break
        if found[5] is None:
            fault(report, index + 1, f"a row without count or status: {line.strip()}")
        rows.append(OperatorCount(found[1], count(found[3], report, index + 1, "Count"), found[5]))
    if not rows:
        fault(report, len(lines), "the table 'Operator Count Status' has no rows")
    if start + 1 + _spaced(lines, start) + len(rows) == len(lines):
        _check_line_end(text, report)
    return tuple(rows)


def _spaced(lines: Sequence[str], start: int) -> int:
    """Blank lines between the table's heading and its first row."""
    return next(i for i, line in enumerate(lines[start + 1 :]) if line.strip())


def _check_line_end(text: str, report: str) -> None:
    """A text that ends in a line that is read must end it: else a part of it may be missing."""
    if not text.endswith("\n"):
        line = text.splitlines()[-1].strip()
        fault(report, len(text.splitlines()), f"the text ends within the line '{line}'")


def parse_compiler(text: str, report: str = "Edge TPU compiler log") -> CompilerLog:
    """What the compiler printed for one model; without -s it leaves out the operators.

    ArtefactError, one line: the compiler did not succeed (in its own last words), a line is
    missing (the last line is named), a size is malformed, or the operators do not add up.
    """
    lines = text.splitlines()
    if not (success := _SUCCESS.search(text)):
        words = " ".join(line.strip() for line in lines if line.strip())[-200:]
        fault(report, max(len(lines), 1), f"no 'Model compiled successfully', but: {words}")
    found: dict[str, tuple[int, str]] = {}
    for index, line in enumerate(lines):
        key, separator, value = line.strip().partition(": ")
        if separator and key in _FIELDS:
            found.setdefault(key, (index + 1, value.strip()))
    for key in _FIELDS:
        if key not in found and key not in _OPTIONAL:
            fault(report, len(lines), f"the log ends without '{key}'")

    def size(key: str) -> int:
        line, value = found[key]
        return _bytes(value, report, line, key)

    def whole(key: str) -> int:
        line, value = found[key]
        return count(value, report, line, key)

    operations = whole("Total number of operations")
    mapped = whole(_ON_DEVICE) if _ON_DEVICE in found else operations
    on_host = whole(_ON_HOST) if _ON_HOST in found else 0
    if mapped + on_host != operations:
        number_of = found["Total number of operations"][0]
        message = f"{mapped} + {on_host} operations are not the total of {operations}"
        fault(report, number_of, message)
    operators = () if _ELSEWHERE in text else parse_operators(text, report)
    _check_operators(operators, operations, mapped, report, len(lines))
    version = _VERSION.search(text)
    return CompilerLog(
        version[1] if version else "unknown",
        number(success[1], report, text[: success.start()].count("\n") + 1, "compiled in", -3),
        found["Input model"][1],
        size("Input size"),
        found["Output model"][1],
        size("Output size"),
        size(_CACHED),
        size(_REMAINING),
        size(_STREAMED),
        whole("Number of Edge TPU subgraphs"),
        operations,
        mapped,
        on_host,
        operators,
    )


def _check_operators(
    operators: tuple[OperatorCount, ...], operations: int, mapped: int, report: str, line: int
) -> None:
    if not operators:
        return
    total = sum(row.count for row in operators)
    if total != operations:
        fault(report, line, f"the table counts {total} of {operations} operations")
    on_device = sum(row.count for row in operators if row.status == MAPPED)
    if on_device != mapped:
        fault(report, line, f"the table maps {on_device}, the summary {mapped} operations")


_SUMMARY = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), "
    r"Warmup \(avg\): (\S+), Inference \(avg\): (\S+)\s*$"
)
_OLD_SUMMARY = re.compile(
    r"Average inference timings in us: Warmup: (\S+), Init: (\S+), Inference: (\S+)\s*$"
)
_HEAD = re.compile(r"\[[^\]]+\]")
_NODES = re.compile(r"Number of nodes executed: (\S+)\s*$")
_NAMED = re.compile(r"\[(.*)\](?::\w+)?|(.*?)(?::\d+)?")
_COLUMNS = ("[node type]", "[avg ms]", "[times called]", "[Name]")


def _summary(text: str, report: str) -> tuple[float, float | None, float, float]:
    lines = text.splitlines()
    for index, line in enumerate(lines):
        found = _SUMMARY.search(line)
        old = None if found else _OLD_SUMMARY.search(line)
        if not found and not old:
            continue
        if index + 1 == len(lines):
            _check_line_end(text, report)

        def read(text: str, column: str, line_number: int = index + 1) -> float:
            return number(text, report, line_number, column, -6)

        if found:
            first = read(found[2], "First inference")
            return (
                read(found[1], "Init"),
                first,
                read(found[3], "Warmup (avg)"),
                read(found[4], "Inference (avg)"),
            )
        assert old is not None
        return read(old[2], "Init"), None, read(old[1], "Warmup"), read(old[3], "Inference")
    fault(report, max(len(lines), 1), "the log ends without 'Inference timings in us'")


def _run_order(lines: list[str], report: str) -> int:
    """Index of the heading of the operations' table in run order."""
    start = next(
        (i for i, line in enumerate(lines) if "Operator-wise Profiling Info" in line),
        None,
    )
    if start is None:  # older versions print one table and no heading of this kind
        start = next((i for i, line in enumerate(lines) if "= Run Order =" in line), len(lines))
    for index in range(start, len(lines)):
        if set(_COLUMNS) <= set(_HEAD.findall(lines[index])):
            return index
    fault(report, len(lines), "the log ends before the profiling table's columns")


def _operation(line: str, columns: list[str], report: str, number_of: int) -> TimedOperation:
    tabbed = "\t" in line
    fields = line.strip().split("\t") if tabbed else line.split(None, len(columns) - 1)
    if len(fields) != len(columns):
        fault(report, number_of, f"{len(fields)} of {len(columns)} columns: {line.strip()}")
    row = {column: field.strip() for column, field in zip(columns, fields, strict=True)}
    for column in columns[1:-1]:
        if column.rstrip("]").endswith("%"):
            if not row[column].endswith("%"):
                fault(report, number_of, f"column '{column}' is '{row[column]}'; legal: a share")
            number(row[column][:-1], report, number_of, column)
        elif column != "[times called]":
            number(row[column], report, number_of, column)
    named = _NAMED.fullmatch(row["[Name]"])
    name = (named[1] or named[2]) if named else None
    if not name:
        fault(report, number_of, f"column '[Name]' is '{row['[Name]']}'; legal: [name]:number")
    return TimedOperation(
        row["[node type]"],
        name,
        number(row["[first]"], report, number_of, "[first]", -3),
        number(row["[avg ms]"], report, number_of, "[avg ms]", -3),
        count(row["[times called]"], report, number_of, "[times called]"),
    )


def parse_benchmark(
    text: str, report: str = "benchmark_model log", profiled: bool = True
) -> BenchmarkLog:
    """benchmark_model's summary and, unless not `profiled`, its operations in run order.

    ArtefactError names the line: a log without a summary, a table that is absent or cut off (its
    number of nodes is missing or another) or a malformed number.
    """
    lines = text.splitlines()
    summary = _summary(text, report)
    if not profiled:
        return BenchmarkLog(*summary, ())
    heading = _run_order(lines, report)
    columns = _HEAD.findall(lines[heading])
    operations: list[TimedOperation] = []
    index = heading + 1
    while index < len(lines) and lines[index].strip():
        operations.append(_operation(lines[index], columns, report, index + 1))
        index += 1
    for place in range(index, len(lines)):
        if found := _NODES.search(lines[place]):
            nodes = count(found[1], report, place + 1, "Number of nodes executed")
            if nodes != len(operations):
                fault(report, place + 1, f"{nodes} nodes executed, {len(operations)} listed")
            return BenchmarkLog(*summary, tuple(operations))
    fault(report, len(lines), "the log ends before 'Number of nodes executed'")
