"""The compiler's dump of a network, Graphviz text, as a plan. Pure text in, records out."""

import re
from collections import defaultdict
from typing import Any

from simulators.ncs2.plan import Operand, Plan, Stage
from strata.errors import MatchError

_NODE = re.compile(r'^\s*((?:data|stage)_0x[0-9a-f]+) \[.*?label="(.*?)"\s*\];', re.M | re.S)
_EDGE = re.compile(
    r'^\s*((?:data|stage)_0x[0-9a-f]+) -> ((?:data|stage)_0x[0-9a-f]+) \[.*?label="(.*?)"',
    re.M | re.S,
)
_GRAPH = re.compile(r'^\s*label="Graph (.*?)"', re.M | re.S)
_HEAD = re.compile(r"(?:\[(-?\d+)(?: / -?\d+)?\] )?Stage (.*)")
_AXIS = re.compile(r"(\w+) : (-?\d+)")
_BREAK = "\\l"
# Names of copies hold the address of the stage they are for, which differs from process to process.
_ADDRESS = re.compile(r"(?<=[-:])0x[0-9a-f]{6,}")


def _value(text: str) -> Any:
    """A printed value: a number, axes as {axis: size}, else its text."""
    if text.startswith("[") and text.endswith("]"):
        return {axis: int(size) for axis, size in _AXIS.findall(text)}
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _block(lines: list[str], start: int) -> tuple[dict[str, Any], int]:
    """`key = value` lines up to the closing bracket; `key = [` opens a block inside."""
    found: dict[str, Any] = {}
    place = start
    while place < len(lines):
        line = lines[place].strip()
        place += 1
        if line in ("]", "],"):
            break
        key, equals, text = line.partition(" =")
        text = text.strip()
        if not equals:
            if line.endswith("]"):  # a list of values ends on its last value's line
                break
            continue
        if text == "[":
            found[key], place = _block(lines, place)
        else:
            found[key] = _value(text)
    return found, place


def _record(label: str) -> tuple[str, dict[str, Any]]:
    """First line of a label, and what follows as nested values."""
    lines = label.split(_BREAK)
    return lines[0], _block(lines, 1)[0]


def _operand(name: str, record: dict[str, Any]) -> Operand:
    description = record.get("desc", {})
    return Operand(
        name=name,
        usage=record.get("usage", ""),
        precision=description.get("type", ""),
        dims=description.get("dims") or {},
        strides=record.get("strides") or {},
        location=record.get("dataLocation", "") if record.get("dataLocation") != "None" else "",
    )


def _edges(text: str) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """(from, to, values) of the edges by their kind."""
    edges: dict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for source, target, label in _EDGE.findall(text):
        kind, values = _record(label)
        edges[kind].append((source, target, values))
    return edges


def _without_addresses(text: str) -> str:
    """The dump with addresses inside names numbered as they come."""
    numbers: dict[str, str] = {}
    return _ADDRESS.sub(lambda found: numbers.setdefault(found[0], str(len(numbers))), text)


def read_plan(text: str) -> Plan:
    """The plan of a dump after any pass. MatchError if the text is no such dump."""
    text = _without_addresses(text)
    head = _GRAPH.search(text)
    if head is None:
        raise MatchError("the compiler's dump has no graph label; it is cut or of another tool")
    network, attributes = _record(head.group(1))
    operands: dict[str, Operand] = {}
    stages: dict[str, tuple[str, dict[str, Any]]] = {}
    for key, label in _NODE.findall(text):
        title, record = _record(label)
        if key.startswith("data"):
            operands[key] = _operand(title.removeprefix("Data "), record)
        else:
            stages[key] = title, record
    edges = _edges(text)
    ports: dict[tuple[str, str], dict[int, Operand]] = defaultdict(dict)
    for source, target, values in edges["StageInput"]:
        ports[target, "in"][int(values.get("portInd", 0))] = operands[source]
    for source, target, values in edges["StageOutput"]:
        ports[source, "out"][int(values.get("portInd", 0))] = operands[target]
    names = {key: _title(title)[1] for key, (title, _) in stages.items()}
    hosts = {child: names[parent] for parent, child, _ in edges["Injected Stage"]}
    plan = [
        _stage(title, record, ports[key, "in"], ports[key, "out"], hosts.get(key))
        for key, (title, record) in stages.items()
    ]
    return Plan(network, tuple(plan), attributes.get("extraAttrs", {}))


def _title(title: str) -> tuple[int, str]:
    """Execution index (-1 where none is printed) and name."""
    found = _HEAD.fullmatch(title)
    if found is None:
        raise MatchError(f"the compiler's dump has a stage titled '{title}'")
    return int(found.group(1)) if found.group(1) else -1, found.group(2)


def _stage(
    title: str,
    record: dict[str, Any],
    inputs: dict[int, Operand],
    outputs: dict[int, Operand],
    host: str | None,
) -> Stage:
    execution, name = _title(title)
    original = record.get("origLayer") or {}
    return Stage(
        execution=execution,
        name=name,
        type=record.get("type", ""),
        layer=str(original.get("name", "")),
        layer_type=original.get("type", ""),
        shaves=int(record.get("numSHAVEs", 0)),
        attributes=record.get("extraAttrs") or {},
        inputs=tuple(inputs[port] for port in sorted(inputs)),
        outputs=tuple(outputs[port] for port in sorted(outputs)),
        injected_into=host,
    )
