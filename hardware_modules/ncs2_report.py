"""The benchmark tool's report of average counters: one row per original layer of the network.

`layer_rows` adds the stages of a plan up as the MYRIAD plugin adds up a stick's; docs/ncs2.md has
the rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import printable, whitespace
from urllib.parse import quote, unquote

from hardware_modules.report_text import check_total, fault, number
from simulators.ncs2.plan import Plan, Stage
from strata import operations as op
from strata.errors import ArtefactError, MatchError
from strata.graph import Graph
from strata.layer import Layer

EXECUTED, NOT_RUN, OPTIMIZED_OUT = "EXECUTED", "NOT_RUN", "OPTIMIZED_OUT"
EXTRA = "<Extra>"  # the row of all stages that the compiler added beside the layers
_STATUSES = (EXECUTED, NOT_RUN, OPTIMIZED_OUT)
_COLUMNS = (
    "layerName",
    "execStatus",
    "layerType",
    "execType",
    "realTime (ms)",
    "cpuTime (ms)",
)
_TOTAL = "Total"
_SAFE = "".join(sorted(set(printable) - set(whitespace) - {"%"}))  # a row stays one line
_MERGED_ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "ReLU",
    "relu6": "Clamp",
    "sigmoid": "Sigmoid",
    "tanh": "TanH",
    "elu": "ELU",
    "swish": "Swish",
    "hard_swish": "HSwish",
    "gelu": "Gelu",
}


@dataclass(frozen=True, slots=True)
class CounterRow:
    """Counters of one original layer; `layer_type` and `execution_type` are the first stage's."""

    name: str
    status: str
    layer_type: str
    execution_type: str
    time_s: float = 0.0
    cpu_s: float = 0.0


def _execution_type(stage: Stage, injected: Sequence[Stage]) -> str:
    return stage.type + "".join(f" + injected[{each.type}]" for each in injected)


def _executed_rows(plan: Plan, stage_times_s: Sequence[float]) -> dict[str, CounterRow]:
    """Rows of the stages that run, by layer ("" for added ones), in the order of execution."""
    injected: dict[str, list[int]] = defaultdict(list)
    for index, stage in enumerate(plan.stages):
        if stage.injected_into is not None:
            injected[stage.injected_into].append(index)
    rows: dict[str, CounterRow] = {}
    for index, stage in enumerate(plan.stages):
        if not stage.runs or stage.injected_into is not None:
            continue
        inside = injected.get(stage.name, [])
        time_s = stage_times_s[index] + sum(stage_times_s[other] for other in inside)
        layer = stage.layer
        if layer in rows:
            rows[layer] = replace(rows[layer], time_s=rows[layer].time_s + time_s)
        else:
            kind = _execution_type(stage, [plan.stages[other] for other in inside])
            names = layer or EXTRA, EXECUTED, stage.layer_type or EXTRA, kind
            rows[layer] = CounterRow(*names, time_s)
    return rows


def _merged_type(layer: Layer) -> str | None:
    """The old inference engine's type of a layer that the compiler's own passes merge into the
    one before. What is folded earlier (batch normalisation) is in no report."""
    match layer.parameters:
        case op.Activation(kind=kind):
            return _MERGED_ACTIVATIONS.get(kind, "Activation")
        case op.Pooling():
            return "Pooling"
    return None


def layer_rows(plan: Plan, graph: Graph, stage_times_s: Sequence[float]) -> tuple[CounterRow, ...]:
    """The report's rows in its order: what did not run by name, then the rest as executed.

    `stage_times_s` is one time per stage of the plan, seconds; an injected stage's is what it
    adds to the one it runs in.
    """
    if len(stage_times_s) != len(plan.stages):
        raise MatchError(f"{len(stage_times_s)} times for {len(plan.stages)} stages")
    executed = _executed_rows(plan, stage_times_s)
    idle: dict[str, CounterRow] = {}
    for stage in plan.stages:
        if not stage.runs and stage.layer not in executed:
            names = stage.layer or EXTRA, NOT_RUN, stage.layer_type or EXTRA, stage.type
            idle.setdefault(stage.layer, CounterRow(*names))
    for stage in plan.stages:
        if stage.layer and stage.layer not in executed:  # it ran inside another layer's only
            row = CounterRow(stage.layer, OPTIMIZED_OUT, stage.layer_type, "<none>")
            idle.setdefault(stage.layer, row)
    for layer in graph.layers:
        merged = _merged_type(layer)
        if merged and layer.name not in executed:
            row = CounterRow(layer.name, OPTIMIZED_OUT, merged, "<none>")
            idle.setdefault(layer.name, row)
    for name in graph.inputs:
        idle.setdefault(name, CounterRow(name, NOT_RUN, "Input", "NONE"))
    return (*(idle[name] for name in sorted(idle)), *executed.values())


def _milliseconds(time_s: float, decimals: int) -> str:
    whole, _, fraction = f"{time_s * 1e3:.{decimals}f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def write_counters(rows: Iterable[CounterRow], decimals: int = 3) -> str:
    """The tool's text; it prints three decimals of a millisecond."""
    lines = [";".join(_COLUMNS)]
    total_s, total_cpu_s = 0.0, 0.0
    for row in rows:
        times = (_milliseconds(each, decimals) for each in (row.time_s, row.cpu_s))
        name = quote(row.name, safe=_SAFE)
        lines.append(";".join((name, row.status, row.layer_type, row.execution_type, *times)))
        total_s, total_cpu_s = total_s + row.time_s, total_cpu_s + row.cpu_s
    totals = (_milliseconds(each, decimals) for each in (total_s, total_cpu_s))
    return "\n".join([*lines, ";".join((_TOTAL, "", "", "", *totals)), "", ""])


def _same_decimals(texts: Sequence[str]) -> list[str]:
    """Numbers with as many decimals as the longest: the tool leaves zeros at the end away."""
    decimals = [len(text.partition(".")[2]) for text in texts]
    most = max(decimals)
    return [
        text + ("" if "." in text else ".") + "0" * (most - count)
        for text, count in zip(texts, decimals, strict=True)
    ]


def _row(fields: Sequence[str], report: str, line: int) -> CounterRow:
    name, status, layer_type, execution_type, real, cpu = fields
    if status not in _STATUSES:
        legal = ", ".join(_STATUSES)
        fault(report, line, f"column 'execStatus' is '{status}'; legal: {legal}")
    times_s = [
        number(text, report, line, column, -3)
        for text, column in zip((real, cpu), _COLUMNS[4:], strict=True)
    ]
    if min(times_s) < 0:
        fault(report, line, f"column '{_COLUMNS[4]}' is {real}; legal: 0 or more")
    return CounterRow(unquote(name), status, layer_type, execution_type, *times_s)


def _read(text: str, report: str) -> tuple[CounterRow, ...]:
    lines = text.rstrip().splitlines()
    if not lines or lines[0].strip() != ";".join(_COLUMNS):
        fault(report, 1, f"no header; legal: {';'.join(_COLUMNS)}")
    rows: dict[tuple[str, bool], CounterRow] = {}
    printed: list[str] = []
    for line, content in enumerate(lines[1:], start=2):
        fields = content.strip().rsplit(";", len(_COLUMNS) - 1)
        if len(fields) != len(_COLUMNS):
            fault(report, line, f"{len(fields)} columns; legal: {len(_COLUMNS)}")
        if fields[0] == _TOTAL and not fields[1]:
            if line != len(lines):
                fault(report, line + 1, "a row after the total")
            total, *parts = _same_decimals([fields[4], *printed])
            check_total(total, parts, report, line, _COLUMNS[4], -3)
            return tuple(rows.values())
        row = _row(fields, report, line)
        key = row.name, row.layer_type == EXTRA
        if key in rows:
            fault(report, line, f"a second row of layer '{row.name}'")
        rows[key] = row
        printed.append(fields[4])
    fault(report, len(lines), f"the report ends without a row '{_TOTAL}'")


def read_counters(text: str, report: str = "average counters") -> tuple[CounterRow, ...]:
    """Rows of a report; `report` names it in errors.

    MatchError names the line of a damaged one: cut off, other columns, a status or number that is
    none, a layer twice, rows that do not add up to the total.
    """
    try:
        return _read(text, report)
    except ArtefactError as error:
        raise MatchError(str(error)) from None
