"""Parametric graph description x one row of settings -> Graph (ANNETTE, section 4).

A description is a YAML file: its settings with their ranges, and layers whose names, inputs and
parameters may hold {expressions} of settings. docs/benchmarks.md has the format with an example.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graph_gen.expressions import Value, evaluate, fill, names
from strata import operations as op
from strata.builder import GraphBuilder, pair, same_padding
from strata.errors import ArtefactError, SchemaError, legal
from strata.graph import Graph

_RECORDS = {record.__name__: record for record in get_args(op.Parameters)}
_PAIRS = ("kernel", "stride", "dilation", "size", "output_padding")
_MOST_REPEATS = 1024
_PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Setting:
    """One column of a settings row: a whole number in [minimum, maximum], or one of `choices`.

    Without a default (None) every row must give it. Sizes are elements.
    """

    minimum: int | None = None
    maximum: int | None = None
    default: int | str | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> Value:
        """The value as int or str; SchemaError with the legal values. 64.0 counts as 64."""
        if self.choices:
            if value not in self.choices:
                raise SchemaError(f"is {value!r}; legal: {', '.join(self.choices)}")
            return str(value)
        try:
            number = int(value)  # type: ignore[call-overload]
            whole = number == value and not isinstance(value, bool)
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole or not self._minimum <= number <= self._maximum:
            raise SchemaError(
                f"is {value!r}; legal: a whole number from {self._minimum} to {self._maximum}"
            )
        return int(number)

    @property
    def _minimum(self) -> int:
        return 0 if self.minimum is None else self.minimum

    @property
    def _maximum(self) -> int:
        return 2**63 - 1 if self.maximum is None else self.maximum


def check_settings(
    where: str, legal_settings: Mapping[str, Setting], row: Mapping[str, object]
) -> dict[str, Value]:
    """The row with its defaults filled in, in the order of `legal_settings`.

    SchemaError naming `where` and the setting: unknown, missing or out of range.
    """
    for name in row:
        if name not in legal_settings:
            raise SchemaError(f"{where}: unknown setting '{name}'; legal: {legal(legal_settings)}")
    checked: dict[str, Value] = {}
    for name, setting in legal_settings.items():
        value = row.get(name, setting.default)
        if value is None:
            raise SchemaError(f"{where}: setting '{name}' is missing; it has no default")
        try:
            checked[name] = setting.check(value)
        except SchemaError as error:
            raise SchemaError(f"{where}: setting '{name}' {error}") from None
    return checked


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _SettingEntry(_Strict):
    minimum: int | None = None
    maximum: int | None = None
    default: int | str | None = None
    choices: tuple[str, ...] = ()
    note: str = ""


class _LayerEntry(_Strict):
    name: str
    operation: str
    inputs: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    when: str | None = None


class _RepeatEntry(_Strict):
    repeat: str | int
    index: str
    layers: tuple["_Entry", ...]
    when: str | None = None


class _BlockEntry(_Strict):
    block: str
    arguments: dict[str, Any] = Field(default={}, alias="with")
    when: str | None = None


_Entry = _LayerEntry | _RepeatEntry | _BlockEntry


class Description(_Strict):
    """A parsed description file; `load_description` makes it, `instantiate` uses it."""

    name: str
    source: str = ""
    measures: str | None = None
    settings: dict[str, _SettingEntry]
    values: dict[str, str] = {}
    requires: tuple[str, ...] = ()
    blocks: dict[str, tuple[_Entry, ...]] = {}
    layers: tuple[_Entry, ...]

    @property
    def legal_settings(self) -> dict[str, Setting]:
        """The settings a row may or must give."""
        return {
            name: Setting(entry.minimum, entry.maximum, entry.default, entry.choices)
            for name, entry in self.settings.items()
        }


def parse_description(text: str, where: str) -> Description:
    """A description from YAML text; SchemaError naming `where` and the first broken rule."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise SchemaError(f"description {where}{line}: not YAML") from None
    try:
        return Description.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise SchemaError(f"description {where}: {place}: {first['msg']}") from None


def load_description(path: str | Path) -> Description:
    """A description from a YAML file; ArtefactError if it cannot be read, else as parsing."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"cannot read description {path}: {error}") from None
    return parse_description(text, str(path))


def _filled(value: Any, scope: Mapping[str, Value]) -> Any:
    if isinstance(value, str):
        return fill(value, scope)
    if isinstance(value, list):
        return tuple(_filled(item, scope) for item in value)
    return value


def _holds(condition: str | None, scope: Mapping[str, Value]) -> bool:
    return condition is None or bool(evaluate(condition, scope))


def _expand(
    entries: tuple[_Entry, ...], description: Description, scope: dict[str, Value], depth: int = 0
) -> Iterator[tuple[_LayerEntry, dict[str, Value]]]:
    """Single layers, each with the scope its expressions see."""
    if depth > 8:
        raise SchemaError("blocks are nested more than 8 deep")
    for entry in entries:
        if not _holds(entry.when, scope):
            continue
        if isinstance(entry, _LayerEntry):
            yield entry, scope
        elif isinstance(entry, _RepeatEntry):
            count = evaluate(str(entry.repeat), scope)
            if not isinstance(count, int) or not 0 <= count <= _MOST_REPEATS:
                raise SchemaError(f"repeat is {count!r}; legal: 0 to {_MOST_REPEATS}")
            for i in range(count):
                yield from _expand(entry.layers, description, scope | {entry.index: i}, depth + 1)
        else:
            if entry.block not in description.blocks:
                raise SchemaError(
                    f"unknown block '{entry.block}'; legal: {legal(description.blocks)}"
                )
            arguments = {name: _filled(item, scope) for name, item in entry.arguments.items()}
            block = description.blocks[entry.block]
            yield from _expand(block, description, scope | arguments, depth + 1)


def _sides(values: dict[str, Any], builder: GraphBuilder, inputs: tuple[str, ...]) -> op.Padding:
    if values["padding"] == "valid":
        return (0, 0, 0, 0)
    if values["padding"] != "same":
        return values["padding"]
    try:
        height, width = builder.shape(inputs[0])[2:]
        stride, dilation = values.get("stride", (1, 1)), values.get("dilation", (1, 1))
        return same_padding((height, width), values["kernel"], stride, dilation)
    except (KeyError, IndexError, ValueError, TypeError):
        raise SchemaError(
            "padding 'same' needs a kernel and, added before, an input with height and width"
        ) from None


def _record(
    operation: str, values: dict[str, Any], builder: GraphBuilder, inputs: tuple[str, ...]
) -> op.Parameters:
    if operation not in _RECORDS:
        raise SchemaError(f"unknown operation '{operation}'; legal: {legal(_RECORDS)}")
    known = [field.name for field in fields(_RECORDS[operation])]
    for name in values:
        if name not in known:
            raise SchemaError(
                f"{operation} has no parameter '{name}'; legal: {legal(known) or 'none'}"
            )
    for name in _PAIRS:
        if isinstance(values.get(name), int):
            values[name] = pair(values[name])
    if "padding" in values:
        values["padding"] = _sides(values, builder, inputs)
    try:
        return _RECORDS[operation](**values)
    except TypeError:
        raise SchemaError(f"{operation} needs more of its parameters {', '.join(known)}") from None


def _add(
    entry: _LayerEntry, scope: Mapping[str, Value], builder: GraphBuilder, previous: str | None
) -> str:
    name = str(fill(entry.name, scope))
    inputs = tuple(str(fill(text, scope)) for text in entry.inputs)
    try:
        if _PREVIOUS in inputs and previous is None:
            raise SchemaError(f"the first layer cannot read '{_PREVIOUS}'")
        values = {field: _filled(value, scope) for field, value in entry.parameters.items()}
        inputs = tuple(previous if text == _PREVIOUS and previous else text for text in inputs)
        record = _record(entry.operation, values, builder, inputs)
    except SchemaError as error:
        raise SchemaError(f"layer '{name}': {error}") from None
    try:
        return builder.add(record, *inputs, name=name)
    except (TypeError, ValueError, AttributeError):
        raise SchemaError(f"layer '{name}': {record} has a value of the wrong type") from None


def _require(rules: tuple[str, ...], scope: Mapping[str, Value]) -> None:
    for rule in rules:
        if not evaluate(rule, scope):
            given = ", ".join(f"{name}={scope[name]}" for name in names(rule))
            raise SchemaError(f"settings {given}; legal: {rule}")


def instantiate(description: Description, settings: Mapping[str, object]) -> Graph:
    """The graph of one settings row; its outputs are the layers nobody reads.

    The input name `previous` stands for the layer added just before. SchemaError names the
    description, and the setting or layer that is out of range or breaks a rule.
    """
    where = f"benchmark '{description.name}'"
    scope = check_settings(where, description.legal_settings, settings)
    builder = GraphBuilder(description.name)
    previous = None
    try:
        for name, expression in description.values.items():
            scope[name] = evaluate(expression, scope)
        _require(description.requires, scope)
        for entry, local in _expand(description.layers, description, scope):
            previous = _add(entry, local, builder, previous)
        return builder.build()
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from None
