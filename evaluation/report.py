"""The report of one platform: report.md with its tables and figures, and one index.html.

index.html holds its figures inside, so that the single file can be sent around.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from evaluation.plot_style import save_figure
from evaluation.table_format import Table, to_markdown, to_records, write_table
from strata.atomic import replacing

FIGURES, TABLES = "figures", "tables"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its file name and the sentence below it."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Rules:
    """A decision tree as text, folded in below a heading."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One chapter: paragraphs, then tables, figures and rules, each in order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    rules: tuple[Rules, ...] = ()


def _markdown_section(section: Section) -> list[str]:
    parts = [f"## {section.title}", *section.paragraphs]
    for table in section.tables:
        body = to_markdown(table.frame) if len(table.frame) else "None."
        parts += [f"### {table.title}", body, *table.notes]
    for picture in section.pictures:
        parts.append(f"![{picture.caption}]({FIGURES}/{picture.name}.png)")
        parts.append(picture.caption)
    for rule in section.rules:
        parts += [f"**{rule.heading}**", f"```text\n{rule.text.rstrip()}\n```"]
    return parts


def render_markdown(title: str, sections: Sequence[Section]) -> str:
    """The report as Markdown; figures are linked from the folder beside it."""
    parts = [f"# {title}"]
    for section in sections:
        parts += _markdown_section(section)
    return "\n\n".join(parts) + "\n"


def _html_section(section: Section, folder: Path) -> dict[str, Any]:
    tables = []
    for table in section.tables:
        heads, rows = to_records(table.frame)
        tables.append({"title": table.title, "heads": heads, "rows": rows, "notes": table.notes})
    pictures = []
    for picture in section.pictures:
        content = (folder / FIGURES / f"{picture.name}.svg").read_bytes()
        data = f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}"
        pictures.append({"caption": picture.caption, "data": data})
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "tables": tables,
        "pictures": pictures,
        "rules": section.rules,
    }


def render_html(title: str, sections: Sequence[Section], folder: Path) -> str:
    """The report as one HTML page; the figures are read from `folder`/figures."""
    source = resources.files("evaluation").joinpath("report.html.jinja").read_text("utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        source
    )
    return template.render(title=title, sections=[_html_section(s, folder) for s in sections])


def write_report(title: str, sections: Sequence[Section], folder: Path) -> Path:
    """Write tables/ (CSV, Markdown), figures/ (SVG, PNG), report.md and index.html, the last
    one last; the path of index.html.
    """
    for section in sections:
        for table in section.tables:
            write_table(table, folder / TABLES)
        for picture in section.pictures:
            save_figure(picture.figure, folder / FIGURES, picture.name)
    index = folder / "index.html"
    for path, text in (
        (folder / "report.md", render_markdown(title, sections)),
        (index, render_html(title, sections, folder)),
    ):
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    return index
