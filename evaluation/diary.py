"""Command: for every missed aim, where the error sits: networks, operations, durations, layers.

What the outlier diary (docs/outliers.md) is written from. It says where, not why: the reasons and
what was tried against them are for a person to add.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from evaluation.accuracy_rows import (
    FIGURES,
    JUDGED,
    Figure,
    Results,
    figure_row,
    find_platforms,
    points_row,
    read_results,
)
from evaluation.contributions import error_contributions, network_contributions, worst_layers
from evaluation.points import points_by_benchmark
from evaluation.table_format import Table, to_text
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import SchemaError, legal

MOST = 8
EDGES_S = (0.0, 20e-6, 50e-6, 200e-6, np.inf)
SPANS = ("up to 20 us", "20 to 50 us", "50 to 200 us", "above 200 us")


def _of_sets(frame: pd.DataFrame, figure: Figure) -> pd.DataFrame:
    return frame[frame["set"].isin(figure.sets)]


def _percent(estimated_s: pd.Series, measured_s: pd.Series) -> pd.Series:
    return 100 * (estimated_s / measured_s - 1)


def worst_networks(figure: Figure, results: Results) -> pd.DataFrame:
    """Networks by error of the total, with the oracle mapping beside, and their largest source.

    `Rank off` is how many places the estimate ranks the network too slow among its set.
    """
    rows = _of_sets(results.networks, figure)
    rows = rows[rows["kind"] == JUDGED]
    wide = rows.pivot(index="network", columns="mapping", values="estimated_s")
    measured = rows.drop_duplicates("network").set_index("network")["measured_s"]
    estimated, source = wide["predicted"], _largest_sources(figure, results)
    frame = pd.DataFrame(
        {
            "Network": measured.index,
            "Measured (ms)": 1e3 * measured.to_numpy(),
            "Error (%)": _percent(estimated, measured).reindex(measured.index).to_numpy(),
            "Oracle mapping (%)": _percent(wide["oracle"], measured)
            .reindex(measured.index)
            .to_numpy()
            if "oracle" in wide
            else np.nan,
            "Rank off": (estimated.rank() - measured.rank()).reindex(measured.index).to_numpy(),
            "Largest source": source["source"].reindex(measured.index).to_numpy(),
            "Of it (%)": 100 * source["contribution"].reindex(measured.index).to_numpy(),
        }
    )
    order = frame["Error (%)"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].head(MOST).reset_index(drop=True)


def _largest_sources(figure: Figure, results: Results) -> pd.DataFrame:
    """By network the source that adds most to its error; no rows where no layer is known."""
    if _of_sets(results.layers, figure).empty:
        return pd.DataFrame(columns=["source", "contribution"], dtype=float)
    parts = network_contributions(_of_sets(results.networks, figure), results.layers, JUDGED)
    largest = parts["contribution"].abs().groupby(parts["network"]).idxmax()
    return parts.loc[largest].set_index("network")


def sources(figure: Figure, results: Results) -> pd.DataFrame:
    """Operations and mismatches by mean magnitude of their part in the networks' errors."""
    found = error_contributions(_of_sets(results.networks, figure), results.layers, JUDGED)
    return pd.DataFrame(
        {
            "Source": found["source"],
            "Layers": found["layers"],
            "Share of time (%)": 100 * found["share_of_time"],
            "Mean error (%)": 100 * found["mean_contribution"],
            "Mean magnitude (%)": 100 * found["mean_magnitude"],
            "Worst network": found["worst_network"],
            "There (%)": 100 * found["worst_contribution"],
        }
    ).head(MOST)


def _judged_layers(figure: Figure, results: Results) -> pd.DataFrame:
    rows = figure.chosen(results.layers)
    rows = rows[(rows["kind"] == JUDGED) & (rows["mapping"] == "predicted")]
    return rows.assign(error=_percent(rows["estimated_s"], rows["measured_s"]))


def by_duration(figure: Figure, results: Results) -> pd.DataFrame:
    """Layers by how long they take: MAPE, mean signed error, and points of the figure's MAPE."""
    rows = _judged_layers(figure, results)
    span = pd.cut(rows["measured_s"], EDGES_S, labels=list(SPANS))
    lines = [
        (
            name,
            len(group),
            group["error"].abs().mean(),
            group["error"].mean(),
            group["error"].abs().sum() / len(rows),
        )
        for name, group in rows.groupby(span, observed=True)
    ]
    columns = ["Duration", "Layers", "MAPE (%)", "Mean error (%)", "Part of the MAPE (%)"]
    return pd.DataFrame(lines, columns=columns).astype({"Duration": str})


def _layer_frame(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Network": rows["network"],
            "Layer": rows["layer"],
            "Operation": rows["operation"],
            "Status": rows["status"],
            "Measured (us)": 1e6 * rows["measured_s"],
            "Estimated (us)": 1e6 * rows["estimated_s"],
            "Error (%)": _percent(rows["estimated_s"], rows["measured_s"].replace(0.0, np.nan)),
        }
    ).reset_index(drop=True)


def tables_of(figure: Figure, results: Results) -> Iterator[Table]:
    """Where the error of one figure sits, most telling first."""
    title = f"{results.platform}, {figure.text}"
    if figure.operation is None:
        yield Table("networks", f"{title}: networks", worst_networks(figure, results))
        if _of_sets(results.layers, figure).empty:  # only whole networks were measured
            return
        yield Table("sources", f"{title}: where it arises", sources(figure, results))
        chosen = _of_sets(results.layers, figure)
        worst = _layer_frame(worst_layers(chosen, JUDGED, count=MOST))
        yield Table("layers", f"{title}: layers with the largest error in seconds", worst)
        return
    rows = _judged_layers(figure, results)
    order = rows["error"].abs().sort_values(ascending=False, kind="stable").index
    yield Table("durations", f"{title}: by duration", by_duration(figure, results))
    worst = _layer_frame(rows.loc[order].head(MOST))
    yield Table("layers", f"{title}: layers with the largest relative error", worst)


def points_part(results: Results, tables: Path, everything: bool) -> Iterator[str]:
    """Which benchmarks the points of the largest layer type come from, where they are too many."""
    row = points_row(results)
    if everything or row["verdict"] == "MISSED":
        missed = row["verdict"] == "MISSED"
        told = f": {row[JUDGED]:,.0f}, aim {row['aim']:,.0f}, MISSED" if missed else ""
        yield f"### {results.platform}, {row['text']}{told}"
        found = points_by_benchmark(tables, str(results.points.iloc[0]["layer_type"]))
        yield to_text(Table("points", f"{results.platform}: points by benchmark", found))


def diary(results: Results, everything: bool) -> Iterator[str]:
    """Markdown: a heading per missed figure and its tables; all figures if `everything`."""
    for figure in FIGURES:
        row = figure_row(figure, results)
        if row is None or not (everything or row["verdict"] == "MISSED"):
            continue
        missed = row["verdict"] == "MISSED"
        told = f": {row[JUDGED]:.4g}, aim {row['aim']:g}, MISSED" if missed else ""
        yield f"### {results.platform}, {figure.text}{told}"
        yield from map(to_text, tables_of(figure, results))


@exits_cleanly
def command(
    results: Annotated[Path, typer.Argument(help="Folder of a run: results/<run>.")],
    platform: Annotated[
        list[str] | None, typer.Option(help="Platform; may be repeated. Default: all.")
    ] = None,
    everything: Annotated[bool, typer.Option(help="Figures that reach their aim, too.")] = False,
    output: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Tell, for every aim that is missed, which networks, operations and layers make the error.

    Example: python -m evaluation.diary results/default --platform ncs2
    """
    folders = find_platforms(results)
    names = [folder.name for folder in folders]
    if unknown := sorted(set(platform or []) - set(names)):
        raise SchemaError(f"{results}: no platform {', '.join(unknown)}; legal: {legal(names)}")
    chosen = [folder for folder in folders if not platform or folder.name in platform]
    parts: list[str] = []
    for folder in chosen:
        found = read_results(folder)
        parts += [*diary(found, everything), *points_part(found, folder / "tables", everything)]
    text = "\n\n".join(parts or ["No aim is missed."])
    if output is not None:
        with replacing(output) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(command)
