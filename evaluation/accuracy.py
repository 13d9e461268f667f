"""Command: the accuracy of every platform of a run in one table, beside aims and baselines.

Reads what the pipeline leaves in results/<run>/<platform>: evaluation/, tables/, networks.jsonl and
the platform model. Nothing is measured or fitted but the baseline's one constant.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.figure import Figure as Drawing
from rich.console import Console
from rich.progress import track

from evaluation.accuracy_rows import (
    FIGURES,
    JUDGED,
    ORACLE,
    POINTS,
    Results,
    accuracy_frame,
    find_platforms,
    incomplete,
    read_results,
)
from evaluation.aims import AT_LEAST, aims_source
from evaluation.plot_style import KIND_COLOUR, KIND_MARKER, new_figure, styled
from evaluation.report import Picture, Section
from evaluation.report import write_report as write_files
from evaluation.scaled_roofline import SCALED
from evaluation.table_format import ABSENT, Table, to_text
from strata.atomic import replacing
from strata.console import exits_cleanly

HEADINGS = {
    "platform": "Platform",
    "text": "Figure",
    "n": "n",
    JUDGED: "Mixed",
    f"{JUDGED}{ORACLE}": "Mixed, oracle",
    "aim": "Aim",
    "verdict": "Verdict",
    "noise_floor": "Noise floor",
    SCALED: "Scaled roofline",
    "beats_scaled_roofline": "Beats it",
    "paper": "ANNETTE",
}
_DECIMALS = {**dict.fromkeys(AT_LEAST, 4), POINTS: 0}
_PLOTTED = ("table2_mape", "keras_mape", "nasbench_mape", "convolution_mape")


def _heading(column: str) -> str:
    kind = column.removesuffix(ORACLE)
    return HEADINGS.get(column, kind.capitalize() + (", oracle" if kind != column else ""))


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as text, each figure with the digits that it needs."""
    columns = [name for name in frame.columns if name != "figure"]
    text: dict[str, list[object]] = {_heading(name): [] for name in columns}
    for row in frame.to_dict("records"):
        decimals = _DECIMALS.get(row["figure"], 2)
        for name in columns:
            value = row[name]
            if value is None:
                value = ABSENT
            elif isinstance(value, float):
                value = ABSENT if value != value else f"{value:,.{decimals}f}"
            text[_heading(name)].append(value)
    return pd.DataFrame(text)


def _notes(every: Sequence[Results]) -> tuple[str, ...]:
    floors = "; ".join(f"{each.platform}: {each.noise_source}" for each in every)
    factors = ", ".join(f"{each.platform} {each.factor:.3g}" for each in every)
    lacking = [f"{each.platform} {count}" for each in every if (count := incomplete(each))]
    notes = [
        "Networks that are in no benchmark. Predicted mapping, except in columns that say oracle: "
        "there the executed mapping is given, so that the difference is the mapping's part.",
        f"Aims: {aims_source()}; the verdict is on the mixed model with the predicted mapping.",
        f"Noise floor: what a second measurement says of the first ({floors}).",
        "Scaled roofline: roofline totals times one constant per platform, fitted to the "
        f"benchmark's multi-layer networks ({factors}). What does not beat it says nothing.",
        "ANNETTE: the paper's mixed model on the real device, which the platform here simulates; "
        "for scale, not as a contest.",
        "Points: distinct measured configurations of a layer type, all benchmarks together; n "
        "counts their rows.",
    ]
    if lacking:
        notes.append(f"Totals that lack layers of unknown time: {', '.join(lacking)}.")
    return tuple(notes)


def verdict_lines(frame: pd.DataFrame) -> list[str]:
    """One sentence on the aims, and one on rows where the model says nothing."""
    judged = frame[frame["verdict"] != ""]
    missed = judged[judged["verdict"] == "MISSED"]
    names = ", ".join(f"{row['platform']} {row['figure']}" for row in missed.to_dict("records"))
    lines = [f"{len(judged) - len(missed)} of {len(judged)} aims reached."]
    lines += [f"Missed: {names}."] if names else []
    behind = frame[frame["beats_scaled_roofline"] == "NO"]
    names = ", ".join(f"{row['platform']} {row['figure']}" for row in behind.to_dict("records"))
    lines += [f"No better than the scaled roofline, so it says nothing: {names}."] if names else []
    return lines


def _points_table(every: Sequence[Results]) -> Table:
    frame = pd.concat([each.points.assign(platform=each.platform) for each in every])
    frame = frame[["platform", *every[0].points.columns]]
    notes = ("What a point is: docs/accuracy.md. The aim, where there is one, is on every type.",)
    return Table("points", "Points per layer type", frame.reset_index(drop=True), notes)


def _families_section(every: Sequence[Results]) -> Section | None:
    rows = [
        {
            "platform": results.platform,
            "family": each.family,
            "networks": each.networks,
            "covered, %": round(100 * each.covered / each.networks),
            "median width, %": round(100 * each.width, 1),
        }
        for results in every
        for each in results.families
    ]
    if not rows:
        return None
    notes = ("Intervals of 90% that stand on all calibration networks but the family's.",)
    title = "Intervals of totals, families left out in turn"
    return Section("Families", (), (Table("families", title, pd.DataFrame(rows), notes),))


def accuracy_figure(frame: pd.DataFrame) -> Drawing:
    """MAPE per platform and model kind, one panel per figure; the aim as a line, where there is."""
    shown = [name for name in _PLOTTED if name in set(frame["figure"])]
    texts = {figure.name: figure.text for figure in FIGURES}
    with styled():
        drawing = new_figure(3.1 * len(shown) + 1, 0.45 * frame["platform"].nunique() + 2)
        panels = drawing.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, shown, strict=True):
            rows = frame[frame["figure"] == name].reset_index(drop=True)
            for kind, marker in {**KIND_MARKER, SCALED: "x"}.items():
                if kind in rows.columns:
                    colour = KIND_COLOUR.get(kind, KIND_COLOUR["measured"])
                    label = kind.replace("_", " ")
                    known = rows.dropna(subset=[kind])
                    panel.scatter(
                        known[kind], known["platform"], marker=marker, color=colour, label=label
                    )
            aims = rows.dropna(subset=["aim"])
            panel.scatter(aims["aim"], aims["platform"], marker="|", s=300, color="k", label="aim")
            panel.set_xscale("log")
            panel.set_title(texts[name].replace(", ", ",\n", 1), fontsize=9)
            panel.set_xlabel("%")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


def write_accuracy(every: Sequence[Results], folder: Path) -> Table:
    """Write index.html, report.md, tables/accuracy.csv (numbers) and .md, figures/; the table."""
    frame = accuracy_frame(every)
    table = Table("accuracy", "Accuracy on held-out networks", readable(frame), _notes(every))
    pictures: tuple[Picture, ...] = ()
    if set(_PLOTTED) & set(frame["figure"]):
        caption = "Errors by platform and model kind, predicted mapping; bars are the aims."
        pictures = (Picture("accuracy", caption, accuracy_figure(frame)),)
    sections = [
        Section("Accuracy", tuple(verdict_lines(frame)), (table,), pictures),
        Section("Points", (), (_points_table(every),)),
    ]
    families = _families_section(every)
    sections += [families] if families else []
    write_files("Accuracy of the platform models", sections, folder)
    with replacing(folder / "tables" / "accuracy.csv") as draft:
        frame.to_csv(draft, index=False, lineterminator="\n")
    return Table(table.name, table.title, table.frame, (*table.notes, *verdict_lines(frame)))


@exits_cleanly
def command(
    results: Annotated[Path, typer.Argument(help="Folder of a run: results/<run>.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="RESULTS/accuracy")
    ] = None,
) -> None:
    """Write the accuracy of all platforms of a run as one table, with aims and baselines.

    Example: python -m evaluation.accuracy results/default
    """
    folders = find_platforms(results)
    console = Console(file=sys.stderr)
    every = [
        read_results(folder)
        for folder in track(folders, "platforms", console=console, transient=True)
    ]
    typer.echo(to_text(write_accuracy(every, output or results / "accuracy")))


if __name__ == "__main__":
    typer.run(command)
