"""Measured times of network files, as a user or `strata measure --json` wrote them down."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from strata.errors import SchemaError, legal

COLUMN, TIMES = "network", {"time_s": 1.0, "time_ms": 1e-3}
_SUFFIXES = (".csv", ".json", ".jsonl")
_MEASUREMENT = "strata-measurement"


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A network file and its measured seconds; `where` names the place they were read from."""

    path: Path
    time_s: float
    where: str


def read_measured(path: Path) -> list[MeasuredFile]:
    """Networks and times of a .csv, or of what `strata measure --json` printed (.json, .jsonl).

    Relative network paths are looked up beside the file, then in the current folder. SchemaError,
    one line with file and line, for anything but existing networks, each once, and times above 0.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise SchemaError(f"{path}: unknown kind of file; legal suffixes: {legal(_SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: not UTF-8 text ({error.reason}); legal: UTF-8") from None
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    found: list[MeasuredFile] = []
    first: dict[Path, str] = {}
    for where, name, time_s in read(text, path):
        network = _existing(name, path.parent, where)
        if network.resolve() in first:
            raise SchemaError(
                f"{where}: network '{name}' is given twice, first in {first[network.resolve()]}; "
                "legal: each network once"
            )
        first[network.resolve()] = where
        found.append(MeasuredFile(network, time_s, where))
    return found


def _csv_rows(text: str, path: Path) -> Iterator[tuple[str, str, float]]:
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        times = [name for name in header if name in TIMES]
        if sorted(header) != sorted([COLUMN, *times]) or len(times) != 1:
            raise SchemaError(
                f"{path}, line 1: columns are {', '.join(header) or 'missing'}; "
                f"legal: {COLUMN} and one of {legal(TIMES)}"
            )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(header):
                raise SchemaError(f"{where}: {len(cells)} cells; legal: {len(header)}")
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            yield where, row[COLUMN], TIMES[times[0]] * _time(row[times[0]], times[0], where)
    except csv.Error as error:
        raise SchemaError(f"{path}, line {reader.line_num}: {error}; legal: CSV") from None


def _json_rows(text: str, path: Path) -> Iterator[tuple[str, str, float]]:
    platforms: dict[object, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            data: Any = json.loads(line)
        except (ValueError, RecursionError):
            raise SchemaError(
                f"{where}: no JSON; legal: lines of `strata measure --json`"
            ) from None
        wanted = isinstance(data, Mapping) and data.get("format") == _MEASUREMENT
        if not wanted or not isinstance(data.get("file"), str):
            raise SchemaError(
                f"{where}: no measured network file; legal: lines of `strata measure --json`"
            )
        platforms.setdefault(data.get("platform"), where)
        if len(platforms) > 1:
            raise SchemaError(
                f"{where}: measured on {data.get('platform')!r}, others on "
                f"{next(iter(platforms))!r}; legal: measurements of one platform"
            )
        yield where, data["file"], _time(data.get("time_s"), "time_s", where)


def _time(value: Any, column: str, where: str) -> float:
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number) or number <= 0:
        raise SchemaError(f"{where}: {column} is {value!r}; legal: a number above 0")
    return number


def _existing(name: str, folder: Path, where: str) -> Path:
    """The network file a name means; folders are legal, as SavedModels are folders."""
    for path in (folder / name, Path(name)):
        if name and path.exists():
            return path
    raise SchemaError(f"{where}: network '{name}' does not exist; legal: paths of network files")
