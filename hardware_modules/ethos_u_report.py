"""Vela's tables per operation, in the terms of the graph.

Vela names for each of its operations the TFLite operator that it comes from; operations it fused
cost nothing of their own and belong to the one they were fused into. Operators that are in no
row cost nothing at all: their work became an address (a concat), a window's padding, or nothing.
What Vela leaves on the CPU has rows without cycles: nodes on the host of which no time is known.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hardware_modules.node_layers import producers
from strata import operations as op
from strata.errors import MatchError
from strata.graph import Graph
from strata.layer import Layer
from strata.profile import ExecutedNode

# Vela's memories; what lies in the accelerator itself is no traffic
_MEMORIES = {"Sram": "sram", "Dram": "dram", "OnChipFlash": "flash", "OffChipFlash": "flash"}
_ON_CPU = "Passthrough"


@dataclass(slots=True)
class Operation:
    """What Vela made of one TFLite operator: its NPU operations together.

    `layers` of the graph, `kinds` of the NPU operations, `cycles` of the accelerator's clock,
    bytes per memory, and whether the rows stand in a cascade. `left` says why the operator stays
    on the CPU, in Vela's words; then nothing else is known of it.
    """

    layers: dict[str, None] = field(default_factory=dict)
    kinds: dict[str, None] = field(default_factory=dict)
    cycles: float = 0.0
    traffic_bytes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cascade: int = 0
    buffering: str = ""
    left: str = ""


def rows_of(answer: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Rows of one of Vela's tables, by column; none if Vela has not made the table."""
    table = answer["tables"].get(name, {"columns": [], "rows": []})
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def _number(text: str | None) -> float:
    return float(text) if text else 0.0


def _memory(column: str) -> str:
    """The memory of a column of bytes read or written; "" of any other."""
    names = (name for prefix, name in _MEMORIES.items() if column.startswith(prefix))
    return next(names, "") if column.endswith(("_read", "_write")) else ""


def _traffic(row: Mapping[str, str]) -> dict[str, float]:
    """Bytes read and written, for every memory of the configuration."""
    found: dict[str, float] = defaultdict(float)
    for column, value in row.items():
        if memory := _memory(column):
            found[memory] += _number(value)
    return found


def operators_of(answer: Mapping[str, Any]) -> dict[str, int]:
    """Position of the TFLite operator behind each row of Vela's source table, by the row's id."""
    return {row["id"]: int(row["ext_key"]) for row in rows_of(answer, "source")}


def _why_left(words: Sequence[str], kinds: Mapping[str, str], row: Mapping[str, str]) -> str:
    """Why Vela leaves the operator of a row on the CPU, in its own `words` where it has any;
    else the operator's kind, by the id of its source."""
    told = [each for each in words if f" of '{row['name']}': " in each]
    return "; ".join(told) or f"{kinds.get(row['source_id'], 'operator')} of '{row['name']}'"


def _check_left(answer: Mapping[str, Any]) -> None:
    """MatchError if Vela leaves other operators on the CPU than it has rows of."""
    rows = sum(row["operator"] == _ON_CPU for row in rows_of(answer, "perf"))
    if rows != answer["cpu_operations"]:
        raise MatchError(
            f"Vela leaves {answer['cpu_operations']} operators on the CPU and has rows of {rows}"
        )


def operations(answer: Mapping[str, Any], layers: Sequence[Sequence[str]]) -> dict[str, Operation]:
    """What runs, in its order, by the id of the source operator.

    `layers` are the graph's layers per TFLite operator. MatchError if Vela's tables do not hang
    together.
    """
    _check_left(answer)
    operators = operators_of(answer)
    anchors = {row["id"]: row["group_id"] for row in rows_of(answer, "group")}
    details = {row["id"]: row for row in rows_of(answer, "perf_debug")}
    kinds = {row["id"]: row["operator"] for row in rows_of(answer, "source")}
    rows = rows_of(answer, "perf")
    source_of = {row["id"]: row["source_id"] for row in rows}
    found: dict[str, Operation] = {}
    for row in rows:
        anchor = anchors.get(row["id"], row["id"])
        source = source_of.get(anchor)
        if source is None:
            raise MatchError(f"Vela's row {row['id']} is fused into row {anchor}, which is absent")
        operation = found.setdefault(source, Operation())
        for name in layers[operators[row["source_id"]]] if row["source_id"] in operators else ():
            operation.layers[name] = None
        if row["operator"] == _ON_CPU:
            operation.left = _why_left(answer["left_on_cpu"], kinds, row)
            continue
        operation.kinds[row["operator"]] = None
        operation.cycles += _number(row["op_cycles"])
        detail = details.get(row["id"], {})
        for memory, size in _traffic(detail).items():
            operation.traffic_bytes[memory] += size
        operation.cascade = operation.cascade or int(_number(detail.get("cascade")))
        operation.buffering = operation.buffering or detail.get("weight_buffering", "")
    return found


def _place_free(graph: Graph, held: dict[str, list[str]]) -> None:
    """Give what cost nothing to a node, where the topology leaves a choice.

    A concat belongs to the latest node that writes into it (the rule has to be one that a mapping
    model can learn); a padding to the node that reads it.
    """
    position = {layer.name: i for i, layer in enumerate(graph.layers)}
    owner = {name: node for node, names in held.items() for name in names}

    def source(name: str) -> str | None:
        """The node behind a tensor, through layers that cost nothing."""
        while name not in owner:
            layer = graph[name]
            if len(layer.inputs) != 1:
                return None
            name = layer.inputs[0]
        return owner[name]

    for layer in graph.layers:
        if layer.name in owner or not layer.inputs:
            continue
        node = _reader(graph, layer, owner)
        if node is None and len(set(layer.inputs)) > 1:
            latest = sorted(set(layer.inputs), key=position.__getitem__, reverse=True)
            node = next((found for found in map(source, latest) if found), None)
        if node is not None:
            held[node].append(layer.name)
            owner[layer.name] = node


def _reader(graph: Graph, layer: Layer, owner: Mapping[str, str]) -> str | None:
    """The one node that reads a padding, or None."""
    if not isinstance(layer.parameters, op.Pad):
        return None
    readers = {owner.get(name) for name in graph.successors[layer.name]}
    return readers.pop() if len(readers) == 1 else None


def executed_nodes(
    answer: Mapping[str, Any], graph: Graph, layers: Sequence[Sequence[str]]
) -> tuple[ExecutedNode, ...]:
    """Nodes in the order of execution, times in seconds of the accelerator's clock."""
    found = operations(answer, layers)
    held = {
        source: [name for name in each.layers if name in graph] for source, each in found.items()
    }
    _place_free(graph, held)
    position = {layer.name: i for i, layer in enumerate(graph.layers)}
    held = {source: sorted(names, key=position.__getitem__) for source, names in held.items()}
    reads = producers(graph, held)
    called = {source: " ".join((source, *names[-1:])) for source, names in held.items()}
    return tuple(
        replace(
            _node(each, answer["clock_hz"]),
            name=called[source],
            layers=tuple(held[source]),
            producers=tuple(called.get(name, name) for name in reads[source]),
            output_shape=graph[held[source][-1]].output_shape if held[source] else None,
        )
        for source, each in found.items()
    )


def _node(each: Operation, clock_hz: float) -> ExecutedNode:
    """What Vela tells of an operation, without its place in the graph."""
    if each.left:
        return ExecutedNode(
            "", f"left on the CPU: {each.left}", (), (), None, 0.0, placement="host", timed=False
        )
    time_s = each.cycles / clock_hz
    kind = "+".join(each.kinds) + (f" {each.buffering}" if each.buffering else "")
    kind = f"{kind} cascade" if each.cascade else kind
    moved = dict(each.traffic_bytes)
    return ExecutedNode("", kind, (), (), None, time_s, (time_s,), traffic_bytes=moved)


def memory_use(answer: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each memory that the network needs at once."""
    found: dict[str, int] = defaultdict(int)
    for name, used in answer["peak_bytes"].items():
        if name in _MEMORIES:
            found[_MEMORIES[name]] += used
    return dict(found)
