"""The tables and the plot of each data set, and the summary beside the aims."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd

from evaluation.plot_style import (
    OPERATION_COLOUR,
    new_figure,
    plain_log_ticks,
    save_figure,
    styled,
)
from evaluation.published import edge_tpu_mapping as mapping
from evaluation.published.results import Result
from evaluation.table_format import Table, write_table

_MOST_COLOURS = 6
_TITLE_WIDTH = 55


def measurement_frame(result: Result) -> pd.DataFrame:
    """One row per measurement: published and simulated milliseconds, errors in percent, source."""
    published_s = result.published_s
    rows = [case.measurement for case in result.cases]
    columns: dict[str, Sequence[object] | np.ndarray] = {"network": [row.network for row in rows]}
    if any(row.node for row in rows):
        columns["node"] = [row.node or "" for row in rows]
    columns["set-up"] = [row.set_up for row in rows]
    columns["published (ms)"] = 1e3 * published_s
    columns["simulated (ms)"] = 1e3 * result.unseen.simulated_s
    columns["error (%)"] = 100 * (result.unseen.simulated_s / published_s - 1)
    columns["analytical (ms)"] = 1e3 * result.unseen.analytical_s
    columns["analytical error (%)"] = 100 * (result.unseen.analytical_s / published_s - 1)
    columns["uncalibrated error (%)"] = 100 * (result.shipped_s / published_s - 1)
    columns["fold"] = result.unseen.folds
    columns["note"] = [row.note for row in rows]
    columns["source"] = [row.source for row in rows]
    return pd.DataFrame(columns)


def total_frame(result: Result) -> pd.DataFrame:
    """Profiles per node: sums over the compared nodes of each network, in milliseconds."""
    frame = measurement_frame(result)
    columns = ["published (ms)", "simulated (ms)", "analytical (ms)"]
    sums = frame.groupby("network", sort=False)[columns].sum().reset_index()
    sums.insert(1, "n", frame.groupby("network", sort=False).size().to_numpy())
    sums["error (%)"] = 100 * (sums["simulated (ms)"] / sums["published (ms)"] - 1)
    return sums


def refusal_frame(result: Result) -> pd.DataFrame:
    """Measurements without a simulated time, and why."""
    return pd.DataFrame(
        [
            {
                "network": refusal.measurement.network,
                "node": refusal.measurement.node or "",
                "set-up": refusal.measurement.set_up,
                "published (ms)": 1e3 * refusal.measurement.published_s,
                "reason": refusal.reason,
            }
            for refusal in result.refusals
        ],
        columns=["network", "node", "set-up", "published (ms)", "reason"],
    )


def constant_frame(result: Result) -> pd.DataFrame:
    """Calibrated constants beside the description's, in its units."""
    rows = [
        {
            "constant": name,
            "set-up": "all",
            "described": f"{result.shipped.common[name]:.4g}",
            "calibrated": f"{value:.4g}",
        }
        for name, value in result.constants.common.items()
    ]
    for set_up, values in result.constants.set_ups.items():
        rows += [
            {
                "constant": name,
                "set-up": set_up,
                "described": f"{result.shipped.set_ups[set_up][name]:.4g}",
                "calibrated": f"{value:.4g}",
            }
            for name, value in values.items()
        ]
    return pd.DataFrame(rows, columns=["constant", "set-up", "described", "calibrated"])


def summary_row(result: Result) -> dict[str, object]:
    """A data set in one line: errors on unseen networks beside the aim."""
    aim, simulated_s = result.data_set.aim, result.unseen.simulated_s
    reached = {None: "no aim", True: "yes", False: "no"}[result.reached]
    return {
        "data set": result.data_set.name,
        "device": result.data_set.device,
        "n": len(result.cases),
        "networks": str(result.networks),
        "not built": str(len(result.refusals)),
        "MAPE (%)": result.mape_percent(simulated_s),
        "aim (%)": aim.mape_percent if aim else None,
        "Spearman's ρ": result.spearman(simulated_s).value,
        "aim ρ": (aim.spearman if aim else None),
        "reached": reached,
        "median error (%)": _median_percent(result, simulated_s),
        "analytical MAPE (%)": result.mape_percent(result.unseen.analytical_s),
        "calibrated on all MAPE (%)": result.mape_percent(result.seen_s),
        "uncalibrated MAPE (%)": result.mape_percent(result.shipped_s),
    }


def _median_percent(result: Result, predicted_s: np.ndarray) -> float:
    if not result.cases:
        return float("nan")
    return float(100 * np.median(np.abs(predicted_s / result.published_s - 1)))


_NOTES = (
    "Errors of the step simulator on networks whose measurements its constants were not "
    "calibrated on; `analytical` is the closed-form model with the same constants.",
    "`calibrated on all` has seen every row; `uncalibrated` are the hardware description's own "
    "constants, which were chosen with measurements of these devices at hand.",
)


def write_summary(results: Sequence[Result], folder: Path) -> tuple[Path, Path]:
    """summary.csv and summary.md: a line per data set."""
    frame = pd.DataFrame([summary_row(result) for result in results])
    return write_table(Table("summary", "Simulated against published times", frame, _NOTES), folder)


def write_mapping(data: Path, folder: Path) -> list[Path]:
    """What the Edge TPU's compiler published of its decisions beside the simulated toolchain's.

    Tables of the files that `data` holds: parameter memory, operations left to the host.
    """
    tables = []
    if (data / mapping.PARAMETER_FILE).exists():
        frame = mapping.parameter_frame(mapping.parameter_rows(data))
        tables.append(Table("parameters", "Cached and streamed parameters", frame))
    if (data / mapping.CHAIN_FILE).exists():
        frame = mapping.parameter_frame(mapping.chain_rows(data))
        tables.append(Table("parameters_chains", "Parameters of chains", frame))
    if (data / mapping.PLACEMENT_FILE).exists():
        frame = mapping.placement_frame(mapping.placement_rows(data))
        tables.append(Table("placement", "Operations left to the host", frame))
    return [path for table in tables for path in write_table(table, folder)]


def write_result(result: Result, folder: Path) -> list[Path]:
    """Tables and plot of a data set in its own folder; the files written."""
    title = result.data_set.title
    tables = [
        Table("measurements", title, measurement_frame(result), _NOTES[:1]),
        Table("constants", f"{title}: calibrated constants", constant_frame(result)),
        Table("not_built", f"{title}: measurements not compared", refusal_frame(result)),
    ]
    if any(case.measurement.node for case in result.cases):
        tables.append(Table("networks", f"{title}: sums of nodes", total_frame(result)))
    written = [path for table in tables for path in write_table(table, folder)]
    if result.cases:
        written += _write_plot(result, folder)
    return written


def _colour_keys(result: Result) -> tuple[str, list[str]]:
    """What colours tell apart in the plot: set-ups, or networks of a profile per node."""
    rows = [case.measurement for case in result.cases]
    if any(row.node for row in rows):
        return "network", [row.network for row in rows]
    if result.networks > 100:
        return "family", [row.network.split()[0] for row in rows]
    return "set-up", [row.set_up for row in rows]


def _write_plot(result: Result, folder: Path) -> tuple[Path, Path]:
    """Simulated against published milliseconds, both axes logarithmic, unseen networks."""
    published_ms, simulated_ms = 1e3 * result.published_s, 1e3 * result.unseen.simulated_s
    kind, keys = _colour_keys(result)
    names = list(dict.fromkeys(keys))
    colours = list(OPERATION_COLOUR.values())
    with styled():
        figure = new_figure(5.6, 5.0)
        axes = figure.subplots()
        low = 0.8 * min(published_ms.min(), simulated_ms.min())
        high = 1.25 * max(published_ms.max(), simulated_ms.max())
        line = np.array([low, high])
        axes.plot(line, line, color="#222222", linewidth=0.8, label="equal")
        axes.fill_between(
            line, 0.9 * line, 1.1 * line, color="#999999", alpha=0.25, lw=0, label="within 10%"
        )
        for number, name in enumerate(names):
            mine = np.array([key == name for key in keys])
            shown = name if number < _MOST_COLOURS else None
            axes.scatter(
                published_ms[mine],
                simulated_ms[mine],
                s=14,
                alpha=0.75,
                linewidths=0,
                color=colours[min(number, _MOST_COLOURS) % len(colours)],
                label=shown if len(names) > 1 else None,
            )
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        plain_log_ticks(axes, x=True, y=True)
        axes.set_xlabel("published (ms)")
        axes.set_ylabel("simulated (ms)")
        error = result.mape_percent(result.unseen.simulated_s)
        title = fill(result.data_set.title, _TITLE_WIDTH)
        axes.set_title(f"{title}\nMAPE {error:.1f}%, n = {len(result.cases)}")
        axes.legend(
            title=kind if len(names) > 1 else None,
            loc="upper left",
            fontsize=6.5,
            title_fontsize=7,
            alignment="left",
        )
    return save_figure(figure, folder, "predicted_against_measured")
