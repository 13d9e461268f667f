"""Figures of estimated against measured times (ANNETTE, figures 10 to 12) and of where time goes.

Each function takes the checked tables of `evaluation.frames` and gives a matplotlib figure;
`evaluation.plot_style.save_figure` writes it.
"""

from itertools import cycle, pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.contributions import network_contributions
from evaluation.frames import KINDS, UNTIMED
from evaluation.paper_tables import KIND_TEXT, SET_TEXT
from evaluation.plot_style import (
    KIND_COLOUR,
    KIND_MARKER,
    OPERATION_COLOUR,
    new_figure,
    plain_log_ticks,
    styled,
)
from strata.errors import SchemaError, legal

BAND = 0.10
PANEL_POINTS, LABEL_GAP = 300, 8.5  # height of a scatter panel and of a label, in points
SET_MARKERS = {"table2": "o", "keras": "^", "nasbench": "s"}
MOST_OPERATIONS = 9


def _of(networks: pd.DataFrame, mapping: str, data_set: str | None = None) -> pd.DataFrame:
    chosen = networks[networks["mapping"] == mapping]
    if data_set is not None:
        chosen = chosen[chosen["set"] == data_set]
    if chosen.empty:
        sets = legal(networks["set"].unique()) or "none"
        raise SchemaError(
            f"figure: no networks of set {data_set or 'any'} with {mapping} mapping; sets: {sets}"
        )
    return chosen


def _kinds(frame: pd.DataFrame) -> list[str]:
    return [kind for kind in KINDS if kind in set(frame["kind"])]


def _names(rows: pd.DataFrame) -> list[str]:
    """The networks' names; those whose estimates lack layers of unknown time say so."""
    lacking = rows[UNTIMED].to_numpy() > 0
    return [
        f"{name} (incomplete)" if lacks else name
        for name, lacks in zip(rows["network"], lacking, strict=True)
    ]


def _lacking(rows: pd.DataFrame) -> str:
    """What a title adds where totals lack layers of unknown time."""
    count = rows.loc[rows[UNTIMED] > 0, ["set", "network"]].drop_duplicates().shape[0]
    return f", {count} incomplete" if count else ""


def _identity(axes: Axes, low_ms: float, high_ms: float) -> None:
    line = np.array([low_ms, high_ms])
    axes.plot(line, line, color="#222222", linewidth=1, label="estimated = measured")
    axes.fill_between(
        line,
        line * (1 - BAND),
        line * (1 + BAND),
        color="#0072B2",
        alpha=0.15,
        linewidth=0,
        label=f"within {BAND:.0%}",
    )


def _label_heights(heights: np.ndarray, away: int) -> np.ndarray:
    """Label heights on one side of a rising line, `away` -1 below or 1 above, none too close."""
    placed = heights + 8 * away
    order = np.argsort(-away * heights)[::-1]
    for before, now in pairwise(order):
        limit = placed[before] + LABEL_GAP * away
        placed[now] = min(placed[now], limit) if away < 0 else max(placed[now], limit)
    return placed


def _label_points(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Names beside points: to the right of those below the identity line, else to the left."""
    below = (rows["estimated_s"] < rows["measured_s"]).to_numpy()
    for right, away, side in ((16, -1, rows[below]), (-16, 1, rows[~below])):
        decades = np.log10(side["estimated_s"].to_numpy(dtype=np.float64) * 1e3 / limits[0])
        heights = decades * PANEL_POINTS / np.log10(limits[1] / limits[0])
        shifts = _label_heights(heights, away) - heights
        records = side.to_dict("records")
        for name, row, shift in zip(_names(side), records, shifts, strict=True):
            axes.annotate(
                name,
                (1e3 * row["measured_s"], 1e3 * row["estimated_s"]),
                xytext=(right, shift),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.5},
                zorder=4,
            )


def predicted_against_measured(
    networks: pd.DataFrame, mapping: str = "predicted", label_set: str = "table2"
) -> Figure:
    """Estimated over measured ms on logarithmic axes, one panel per model kind.

    Identity line and a band of 10%; the networks of `label_set` carry their names.
    """
    chosen = _of(networks, mapping)
    times_ms = 1e3 * chosen[["measured_s", "estimated_s"]].to_numpy(dtype=np.float64)
    low, high = times_ms.min() / 3, times_ms.max() * 3
    with styled():
        kinds = _kinds(chosen)
        columns = -(-len(kinds) // 2)
        figure = new_figure(4.5 * columns + 1, 9.4)
        panels = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in panels[len(kinds) :]:
            figure.delaxes(axes)
        for axes, kind in zip(panels, kinds, strict=False):
            rows = chosen[chosen["kind"] == kind]
            _identity(axes, low, high)
            for name in dict.fromkeys(rows["set"]):
                part = rows[rows["set"] == name]
                axes.scatter(
                    1e3 * part["measured_s"],
                    1e3 * part["estimated_s"],
                    s=26,
                    alpha=0.85,
                    marker=SET_MARKERS.get(name, "D"),
                    color=KIND_COLOUR[kind],
                    edgecolor="white",
                    linewidth=0.5,
                    label=SET_TEXT.get(name, name),
                    zorder=3,
                )
            _label_points(axes, rows[rows["set"] == label_set], (low, high))
            _finish_scatter(axes, rows, kind, (low, high))
        panels[0].legend(loc="upper left")
        figure.suptitle(f"Estimated against measured network latency, {mapping} mapping")
    return figure


def _finish_scatter(axes: Axes, rows: pd.DataFrame, kind: str, limits: tuple[float, float]) -> None:
    error = (rows["estimated_s"] / rows["measured_s"] - 1).abs().mean()
    axes.set(
        xscale="log",
        yscale="log",
        xlim=limits,
        ylim=limits,
        aspect="equal",
        title=f"{KIND_TEXT[kind]}: MAPE {error:.1%}, {len(rows)} networks{_lacking(rows)}",
        xlabel="Measured (ms)",
        ylabel="Estimated (ms)",
    )
    plain_log_ticks(axes, x=True, y=True)


def network_bars(
    networks: pd.DataFrame, data_set: str = "table2", mapping: str = "predicted"
) -> Figure:
    """Figures 10 and 11: bars of measured and estimated ms per network, signed errors below.

    The whiskers on the measured bars are the half-to-half difference of the measurement.
    """
    chosen = _of(networks, mapping, data_set)
    single = chosen.drop_duplicates("network").sort_values("measured_s")
    names = single["network"].tolist()
    places = np.arange(len(names))
    kinds = _kinds(chosen)
    width = 0.84 / (len(kinds) + 1)
    measured_ms = 1e3 * single["measured_s"].to_numpy(dtype=np.float64)
    with styled():
        figure = new_figure(max(7.0, 1.5 + 0.75 * len(names)), 6.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        top.bar(
            places - 0.42 + width / 2,
            measured_ms,
            width,
            color=KIND_COLOUR["measured"],
            label="Measured",
            yerr=measured_ms * single["spread"].fillna(0).to_numpy() / 2,
            error_kw={"elinewidth": 0.8, "ecolor": "#888888"},
        )
        for index, kind in enumerate(kinds, 1):
            rows = chosen[chosen["kind"] == kind].set_index("network").reindex(names)
            estimated_ms = 1e3 * rows["estimated_s"].to_numpy(dtype=np.float64)
            at = places - 0.42 + (index + 0.5) * width
            error = 100 * (estimated_ms / measured_ms - 1)
            top.bar(at, estimated_ms, width, color=KIND_COLOUR[kind], label=KIND_TEXT[kind])
            bottom.bar(at, error, width, color=KIND_COLOUR[kind])
        top.set(yscale="log", ylabel="Latency (ms)")
        plain_log_ticks(top, y=True)
        figure.legend(loc="outside lower center", ncols=len(kinds) + 1)
        bottom.axhspan(-100 * BAND, 100 * BAND, color="#E1EDF5", linewidth=0, zorder=0)
        bottom.axhline(0, color="#222222", linewidth=0.8)
        bottom.set(ylabel="Error (% of measured)\nband: ±10%")
        bottom.set_xticks(places, _names(single), rotation=35, ha="right", rotation_mode="anchor")
        for axes in (top, bottom):
            axes.grid(visible=False, axis="x")
            axes.set_xlim(-0.6, len(names) - 0.4)
        title = SET_TEXT.get(data_set, data_set)
        title += f": measured and estimated latency, {mapping} mapping{_lacking(chosen)}"
        figure.suptitle(title)
    return figure


def fidelity(
    networks: pd.DataFrame, data_set: str = "nasbench", mapping: str = "predicted"
) -> Figure:
    """Figure 12: the networks of a set in order of measured time, with the estimates in ms."""
    chosen = _of(networks, mapping, data_set)
    single = chosen.drop_duplicates("network").sort_values("measured_s")
    names = single["network"].tolist()
    places = np.arange(1, len(names) + 1)
    with styled():
        figure = new_figure(9, 4.6)
        axes = figure.subplots()
        axes.plot(
            places,
            1e3 * single["measured_s"].to_numpy(),
            color=KIND_COLOUR["measured"],
            linewidth=1.6,
            marker=".",
            label="Measured",
        )
        for kind in _kinds(chosen):
            rows = chosen[chosen["kind"] == kind].set_index("network").reindex(names)
            axes.plot(
                places,
                1e3 * rows["estimated_s"].to_numpy(),
                color=KIND_COLOUR[kind],
                marker=KIND_MARKER[kind],
                markersize=4,
                linewidth=0.8,
                label=KIND_TEXT[kind],
            )
        axes.set(
            xlabel="Networks in order of measured latency",
            ylabel="Latency (ms)",
            title=f"{SET_TEXT.get(data_set, data_set)}: fidelity, {mapping} mapping"
            + _lacking(chosen),
        )
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
    return figure


def _lumped(parts: pd.DataFrame, value: str) -> pd.DataFrame:
    """network x source of `value`, fastest network first, the smallest sources as "other"."""
    table = parts.pivot_table(
        index="network", columns="source", values=value, aggfunc="sum", fill_value=0.0
    )
    totals = parts.groupby("network")["measured_s"].sum().sort_values()
    table = table.loc[totals.index]
    order = table.abs().sum().sort_values(ascending=False).index.tolist()
    kept, rest = order[:MOST_OPERATIONS], order[MOST_OPERATIONS:]
    lumped = table[kept]
    return lumped.assign(other=table[rest].sum(axis=1)) if rest else lumped


def _source_looks(sources: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch per source; the common ones look the same in every figure."""
    spare = cycle(OPERATION_COLOUR.values())
    return {
        name: (OPERATION_COLOUR[name], "") if name in OPERATION_COLOUR else (next(spare), "////")
        for name in sources
    }


def _stacked(axes: Axes, table: pd.DataFrame) -> None:
    """Horizontal stacks, positive values to the right of zero and negative ones to the left."""
    places = np.arange(len(table))
    right, left = np.zeros(len(table)), np.zeros(len(table))
    for source, (colour, hatch) in _source_looks([str(name) for name in table.columns]).items():
        values = table[source].to_numpy(dtype=np.float64)
        start = np.where(values >= 0, right, left)
        axes.barh(
            places,
            values,
            left=start,
            color=colour,
            hatch=hatch,
            label=source.replace("_", " "),
            edgecolor="white",
            linewidth=0.4,
        )
        right, left = right + np.maximum(values, 0), left + np.minimum(values, 0)
    axes.set_yticks(places, table.index.tolist())
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def time_share(networks: pd.DataFrame, layers: pd.DataFrame, mapping: str = "predicted") -> Figure:
    """Share of each network's measured time per layer type, in percent."""
    kind = next(iter(_kinds(layers)))
    parts = network_contributions(networks, layers, kind, mapping)
    totals = parts.groupby(["set", "network"])["measured_s"].transform("sum")
    parts = parts.assign(share=100 * parts["measured_s"] / totals)
    table = _lumped(parts, "share")
    with styled():
        figure = new_figure(9, 1.6 + 0.3 * len(table))
        axes = figure.subplots()
        _stacked(axes, table)
        axes.set(xlabel="Share of measured latency (%)", title="Where the networks' time goes")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def error_sources(
    networks: pd.DataFrame,
    layers: pd.DataFrame,
    kind: str = "mixed",
    mapping: str = "predicted",
) -> Figure:
    """Signed error per network and source in percent of its measured time; dots are the sums."""
    parts = network_contributions(networks, layers, kind, mapping)
    table = _lumped(parts.assign(percent=100 * parts["contribution"]), "percent")
    with styled():
        figure = new_figure(9, 1.8 + 0.3 * len(table))
        axes = figure.subplots()
        _stacked(axes, table)
        axes.plot(
            table.sum(axis=1),
            np.arange(len(table)),
            "o",
            color="#222222",
            markersize=4,
            markeredgecolor="white",
            label="total error",
        )
        axes.axvline(0, color="#222222", linewidth=0.8)
        axes.set(
            xlabel="Estimated - measured (% of measured latency)",
            title=f"Where the error arises: {KIND_TEXT[kind].lower()} model, {mapping} mapping",
        )
        figure.legend(loc="outside lower center", ncols=4)
    return figure
