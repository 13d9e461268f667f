"""Strata's own file format for networks: versioned JSON, described in docs/graph_format.md."""

import json
from dataclasses import MISSING, asdict, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from strata import operations as op
from strata.atomic import replacing
from strata.errors import ArtefactError, SchemaError, legal
from strata.graph import Graph, make_graph
from strata.layer import Layer

FORMAT = "strata-graph"
VERSION = 1

_UNION: UnionType = op.Parameters
_RECORDS: dict[str, type] = {record.__name__: record for record in get_args(_UNION)}
_STRICT = ConfigDict(strict=True, extra="forbid")


class _LayerEntry(BaseModel):
    model_config = _STRICT
    name: str
    operation: str
    parameters: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    output_shape: tuple[int, ...] | None = None
    activation_bits: int = 32
    weight_bits: int = 32


class _Document(BaseModel):
    model_config = _STRICT
    format: str
    version: int
    name: str
    layers: tuple[_LayerEntry, ...]
    outputs: tuple[str, ...] | None = None


@cache
def _parameter_model(record: type) -> type[BaseModel]:
    """The strict reader of one record: unknown keys and wrong types are refused."""
    hints = get_type_hints(record)
    entries = {
        entry.name: (hints[entry.name], ... if entry.default is MISSING else entry.default)
        for entry in fields(record)
    }
    return create_model(record.__name__, __config__=_STRICT, **entries)  # type: ignore[call-overload]


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, as the strict readers want them."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _first(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Place and reason of the first mistake, and how many more there are."""
    mistakes = error.errors(include_url=False)
    first = mistakes[0]
    reason = {
        "extra_forbidden": "is no field of this record",
        "missing": "is missing",
    }.get(first["type"], f"{first['msg']}, is {first['input']!r:.60}")
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return first["loc"], reason + more


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _parameters(entry: _LayerEntry, where: str) -> op.Parameters:
    record = _RECORDS.get(entry.operation)
    if record is None:
        raise SchemaError(
            f"{where}: layer '{entry.name}': operation '{entry.operation}' is unknown; "
            f"legal: {legal(_RECORDS)}"
        )
    try:
        values = _parameter_model(record).model_validate(entry.parameters)
    except ValidationError as error:
        location, reason = _first(error)
        raise SchemaError(
            f"{where}: layer '{entry.name}': field 'parameters.{_field(location)}' {reason}; "
            f"fields of {entry.operation}: {legal(field.name for field in fields(record))}"
        ) from None
    chosen = {name: getattr(values, name) for name in type(values).model_fields}
    return cast(op.Parameters, record(**chosen))


def graph_to_dict(graph: Graph) -> dict[str, Any]:
    """The graph as plain lists, dictionaries, texts and numbers, ready for JSON."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": graph.name,
        "layers": [
            {
                "name": layer.name,
                "operation": type(layer.parameters).__name__,
                "parameters": _lists(asdict(layer.parameters)),
                "inputs": list(layer.inputs),
                "output_shape": list(layer.output_shape),
                "activation_bits": layer.activation_bits,
                "weight_bits": layer.weight_bits,
            }
            for layer in graph.layers
        ],
        "outputs": list(graph.outputs),
    }


def _lists(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def _check_header(data: Any, where: str) -> None:
    if not isinstance(data, dict):
        raise SchemaError(f"{where}: must be a JSON object, is a {type(data).__name__}")
    if data.get("format") != FORMAT:
        raise SchemaError(f"{where}: field 'format' is {data.get('format')!r}; legal: '{FORMAT}'")
    version = data.get("version")
    if isinstance(version, bool) or version != VERSION:
        raise SchemaError(f"{where}: field 'version' is {version!r}; legal: {VERSION}")


def _document(data: Any, where: str) -> _Document:
    try:
        return _Document.model_validate(_tuples(data))
    except ValidationError as error:
        location, reason = _first(error)
    if len(location) > 1 and location[0] == "layers":
        layer = data["layers"][location[1]]
        name = layer.get("name") if isinstance(layer, dict) else None
        shown = f"'{name}'" if isinstance(name, str) else f"number {location[1]}"
        inner = _field(location[2:]) or "layers"
        raise SchemaError(f"{where}: layer {shown}: field '{inner}' {reason}")
    raise SchemaError(f"{where}: field '{_field(location)}' {reason}")


def graph_from_dict(data: Any, where: str) -> Graph:
    """The graph that a dictionary of the format describes; `where` opens every error message.

    Shapes are inferred anew; an `output_shape` that is given must agree. Raises SchemaError for
    another format or version, unknown or missing fields, wrong types, unknown operations, cycles,
    dangling inputs, duplicate names, and parameters that do not fit their inputs.
    """
    _check_header(data, where)
    document = _document(data, where)
    layers = [
        Layer(
            entry.name,
            _parameters(entry, where),
            entry.inputs,
            (),
            (),
            entry.activation_bits,
            entry.weight_bits,
        )
        for entry in document.layers
    ]
    try:
        graph = make_graph(document.name, layers, document.outputs)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from None
    for entry in document.layers:
        inferred = graph[entry.name].output_shape
        if entry.output_shape is not None and entry.output_shape != inferred:
            raise SchemaError(
                f"{where}: layer '{entry.name}': field 'output_shape' is "
                f"{list(entry.output_shape)}, its parameters and inputs give {list(inferred)}"
            )
    return graph


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a graph file, whole or not at all; ArtefactError if the place cannot be written."""
    text = json.dumps(graph_to_dict(graph), indent=1)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be written: {error.strerror}") from None


def load_graph(path: str | Path) -> Graph:
    """Read a graph file.

    Raises ArtefactError for a file that is missing, unreadable, empty, cut short or no JSON, and
    SchemaError (see `graph_from_dict`) for one that breaks the format's rules.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ArtefactError(f"{path}: is no JSON text: not UTF-8") from None
    if not text.strip():
        raise ArtefactError(f"{path}: the file is empty")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: is no JSON or was cut short: {error}") from None
    return graph_from_dict(data, str(path))
