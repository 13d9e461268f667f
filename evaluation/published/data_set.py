"""What a set of published measurements is: a CSV file, and how each row becomes a measurement.

A set names its simulated platform and hardware description. Rows become `Measurement`s, whose
graphs are built when they are needed: a network that cannot be built is listed with its reason.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal

from strata.errors import SchemaError, legal
from strata.graph import Graph


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a CSV file: cells by column, read with errors that name file, line and column."""

    cells: Mapping[str, str]
    file: str
    line: int

    def fault(self, column: str, problem: str) -> SchemaError:
        """The error to raise for a cell."""
        return SchemaError(f"{self.file}, line {self.line}, column '{column}': {problem}")

    def text(self, column: str) -> str:
        """The cell without surrounding blanks; SchemaError where it is empty."""
        value = self.cells[column].strip()
        if not value:
            raise self.fault(column, "is empty")
        return value

    def optional(self, column: str) -> str:
        """The cell, or nothing where it is empty or the file has no such column."""
        return self.cells.get(column, "").strip()

    def number(self, column: str) -> float:
        """The cell as a finite number."""
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            raise self.fault(column, f"'{text}' is not a number") from None
        if not isfinite(value):
            raise self.fault(column, f"'{text}' is not a finite number")
        return value

    def positive(self, column: str) -> float:
        """The cell as a number above zero."""
        value = self.number(column)
        if value <= 0:
            raise self.fault(column, f"{value:g} must be above 0")
        return value

    def integer(self, column: str) -> int:
        """The cell as a whole number, 0 or more."""
        value = self.number(column)
        if value < 0 or value != int(value):
            raise self.fault(column, f"{value:g} must be a whole number, 0 or more")
        return int(value)

    def integers(self, column: str) -> tuple[int, ...]:
        """Whole numbers above zero, separated by blanks."""
        words = self.text(column).split()
        for word in words:
            if not word.isdigit() or int(word) == 0:
                raise self.fault(column, f"'{word}' is not a whole number above 0")
        return tuple(map(int, words))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One published time, in seconds; 0 where it was too short for the published digits.

    `group` holds what calibration must not see together: all rows of one network, under whatever
    set-up and name. `set_up` is the board, clock and host software that share their own constants.
    `hardware` holds changes of the hardware description that the row states (its clock). `build`
    raises a StrataError with the reason where the network cannot be built; rows with equal
    `graph_key` have the same graph. `node` is the executed layer that was timed, by the name of
    one of its layers, and `node_ops` its published operations (0: not stated); None for a whole
    network.
    """

    network: str
    group: str
    set_up: str
    published_s: float
    source: str
    graph_key: str
    build: Callable[[], Graph] = field(compare=False, repr=False)
    hardware: Mapping[str, float] = field(default_factory=dict)
    node: str | None = None
    node_ops: float = 0.0
    note: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be reached on networks that the calibration did not see."""

    mape_percent: float
    spearman: float | None = None


@dataclass(frozen=True, slots=True)
class DataSet:
    """A file of published times of one device.

    `read` turns a row into measurements: none for a row that is no measurement of this set, two
    where a row holds two devices. `constants` are the assumed fields of the hardware description
    that are fitted once for the set, `set_up_constants` those fitted once per set-up. `folds` is
    the number of folds over groups; None leaves one group out at a time.
    """

    name: str
    title: str
    device: str
    platform: Literal["dpu", "edge_tpu", "ncs2"]
    hardware: str
    file: str
    columns: tuple[str, ...]
    read: Callable[[Row], tuple[Measurement, ...]] = field(compare=False, repr=False)
    constants: tuple[str, ...] = ()
    set_up_constants: tuple[str, ...] = ()
    changes: Mapping[str, float] = field(default_factory=dict)
    folds: int | None = None
    aim: Aim | None = None


def read_rows(path: Path, columns: tuple[str, ...]) -> list[Row]:
    """Rows of a CSV file that must have `columns`; others may be there, in any order.

    SchemaError names the file and what it lacks, or the line with too few or too many cells.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: not UTF-8 text ({error.reason})") from None
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = next(reader, [])
        missing = [column for column in columns if column not in header]
        if missing:
            raise SchemaError(f"{path}: no column '{missing[0]}'; needed: {legal(columns)}")
        rows = []
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise SchemaError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, "
                    f"but the header has {len(header)} columns"
                )
            rows.append(Row(dict(zip(header, cells, strict=True)), str(path), reader.line_num))
    except csv.Error as error:
        raise SchemaError(f"{path}, line {reader.line_num}: {error}") from None
    return rows


def read_measurements(data_set: DataSet, folder: Path) -> list[Measurement]:
    """All measurements of a set, from its file in `folder`."""
    path = folder / data_set.file
    return [
        measurement
        for row in read_rows(path, data_set.columns)
        for measurement in data_set.read(row)
    ]
