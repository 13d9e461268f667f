"""Tables for people: CSV with full precision, Markdown and HTML with readable digits."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path

import pandas as pd

from strata.atomic import replacing

WHOLE = (
    *("n", "Total samples", "Layers", "Points", "Rounds", "cascades", "operations in them"),
    *("Incomplete", "Untimed"),
)
THREE_DECIMALS = ("MAE (ms)", "Spearman's ρ", "F1 score", "MCC")
ABSENT = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A table to print: file name, title, frame with units in its headings, notes below."""

    name: str
    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def format_value(value: object, heading: str) -> str:
    """One cell: a dash for nothing, whole counts, two or three decimals by heading."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return ABSENT
    if isinstance(value, int) or heading in WHOLE:
        return f"{int(value):,}"  # type: ignore[call-overload]
    if isinstance(value, float):
        return f"{value:,.{3 if heading in THREE_DECIMALS else 2}f}"
    return str(value)


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text, cell by cell."""
    columns = {
        name: [format_value(value, str(name)) for value in frame[name].tolist()]
        for name in frame.columns
    }
    return pd.DataFrame(columns, dtype=str)


def _numeric(frame: pd.DataFrame) -> list[bool]:
    return [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]


def _plain(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table, numbers to the right; what Markdown would take for markup is escaped."""
    text = formatted(frame)
    rows = [[str(name) for name in text.columns], *text.to_numpy().tolist()]
    rows = [[_plain(cell) for cell in row] for row in rows]
    rule = ["---:" if number else "---" for number in _numeric(frame)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def to_records(frame: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[tuple[str, bool]]]]:
    """Heading and body cells as (text, is a number), for the HTML template."""
    numeric = _numeric(frame)
    text = formatted(frame)
    heads = list(zip(map(str, text.columns), numeric, strict=True))
    return heads, [list(zip(row, numeric, strict=True)) for row in text.to_numpy().tolist()]


def to_text(table: Table) -> str:
    """A table for the terminal: title, Markdown and notes, a blank line between them."""
    return "\n\n".join((table.title, to_markdown(table.frame), *table.notes))


def write_table(table: Table, folder: Path) -> tuple[Path, Path]:
    """<name>.csv with full precision and <name>.md with title and notes; their paths."""
    csv, markdown = folder / f"{table.name}.csv", folder / f"{table.name}.md"
    with replacing(csv) as draft:
        table.frame.to_csv(draft, index=False, lineterminator="\n")
    parts = [f"### {table.title}", to_markdown(table.frame), *table.notes]
    with replacing(markdown) as draft:
        draft.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return csv, markdown
