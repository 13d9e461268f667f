"""Hardware descriptions: YAML files in which every number states where it comes from.

    clock_hz: {value: 287.0e+6, kind: declared, source: "board image V1.4.0, release notes"}

`kind` is declared (a data sheet or source code says so), measured (published measurements show
it), fitted (a published fit) or assumed (ours: it may be calibrated against measurements).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from strata.errors import SchemaError, legal
from strata.yaml_file import read_yaml, validate

Kind = Literal["declared", "measured", "fitted", "assumed"]
_PLAIN = ("schema_version", "name", "description")


class Sourced(BaseModel):
    """One number (or a list of them) of a hardware description, and where it comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Any
    kind: Kind
    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number comes from."""

    kind: Kind
    text: str


class Hardware(BaseModel):
    """Base of a machine's description: a platform adds its fields, all non-negative numbers.

    Fields carry their unit in the name. `sources` has an entry per field of the platform.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    description: str = ""
    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)

    @property
    def sources(self) -> dict[str, Source]:
        """Kind and text by field."""
        return dict(self._sources)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Fields that are ours to calibrate."""
        return tuple(name for name, source in self._sources.items() if source.kind == "assumed")

    def changed(self, **values: Any) -> Self:
        """The same machine with other numbers, checked again; SchemaError for an illegal one."""
        for key in values:
            if key not in type(self).model_fields:
                keys = legal(key for key in type(self).model_fields if key not in _PLAIN)
                raise SchemaError(f"{self.name}: no number '{key}'; legal: {keys}")
        try:
            other = type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as invalid:
            first = invalid.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise SchemaError(
                f"{self.name}: {where} is {first['input']!r}: {first['msg']}"
            ) from None
        other._sources = dict(self._sources)
        return other


Machine = TypeVar("Machine", bound=Hardware)


def _illegal(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return any(
        isinstance(number, bool) or (isinstance(number, int | float) and number < 0)
        for number in numbers
    )


def load_hardware(model: type[Machine], path: Path | str) -> Machine:
    """The machine a YAML file describes.

    SchemaError, one line per fault with the field's path: unknown key, missing key, no source, an
    unknown kind, a negative number, or what else the platform's own fields forbid.
    """
    path = Path(path)
    data = read_yaml(path)
    plain = {key: data[key] for key in _PLAIN if key in data}
    numbers = {key: entry for key, entry in data.items() if key not in _PLAIN}
    known = {key for key in model.model_fields if key not in _PLAIN}
    entries: dict[str, Sourced] = {}
    for key, entry in numbers.items():
        if key not in known:
            raise SchemaError(f"{path}: key '{key}' is unknown; legal: {legal(known)}")
        if not isinstance(entry, dict):
            raise SchemaError(
                f"{path}: key '{key}' is {entry!r}; legal: {{value: ..., kind: ..., source: ...}}"
            )
        try:
            entries[key] = Sourced.model_validate(entry)
        except ValidationError as invalid:
            raise SchemaError(_fault(path, key, invalid)) from None
        if _illegal(entries[key].value):
            raise SchemaError(
                f"{path}: key '{key}.value' is {entry['value']!r}; legal: numbers, 0 or more"
            )
    machine = validate(path, model, plain | {key: entry.value for key, entry in entries.items()})
    machine._sources = {key: Source(entry.kind, entry.source) for key, entry in entries.items()}
    return machine


def _fault(path: Path, key: str, invalid: ValidationError) -> str:
    first = invalid.errors()[0]
    where = ".".join([key, *map(str, first["loc"])])
    match first["type"]:
        case "missing":
            return f"{path}: key '{where}' is missing"
        case "extra_forbidden":
            return f"{path}: key '{where}' is unknown; legal: {legal(Sourced.model_fields)}"
    return f"{path}: key '{where}' is {first['input']!r}: {first['msg'].removeprefix('Input ')}"


def described(folder: Path) -> tuple[str, ...]:
    """Names of the hardware descriptions in a folder."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def find_hardware(
    folder: Path, name: str, read: Callable[[Path], Machine], platform: str
) -> Machine:
    """A shipped description by its name, or any by its path (it ends in .yaml)."""
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    if name not in described(folder):
        raise SchemaError(
            f"{platform}: no hardware description '{name}'; legal: {legal(described(folder))},"
            " or the path of a YAML file"
        )
    return read(folder / f"{name}.yaml")
