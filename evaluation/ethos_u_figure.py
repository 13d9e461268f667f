"""Figure of `evaluation.ethos_u_effects`: what parts of Vela's scheduler are worth, and where."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.plot_style import new_figure, styled

Row = Mapping[str, Any]
Networks = Mapping[str, tuple[Row, Sequence[Row]]]
_COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73")
_MARKERS = ("o", "s", "D", "^")
_PLACES = {
    "in a cascade": "#D55E00",
    "reads or writes DRAM": "#E69F00",
    "from and to SRAM": "#0072B2",
    "other": "#999999",
}


def place_of(row: Row) -> str:
    """Which of the figure's parts an operation's time belongs to."""
    if row["cascaded"]:
        return "in a cascade"
    memories = {row["reads"], row["writes"]}
    if "Dram" in memories:
        return "reads or writes DRAM"
    return "from and to SRAM" if memories == {"Sram"} else "other"


def _ratios(axes: Axes, networks: Networks, changes: Sequence[str]) -> None:
    for i, (change, colour, marker) in enumerate(zip(changes, _COLOURS, _MARKERS, strict=True)):
        # a little apart, so that equal values are seen
        heights = [y + 0.13 * (i - (len(changes) - 1) / 2) for y in range(len(networks))]
        ratios = [effect[f"{change} (x)"] for effect, _ in networks.values()]
        axes.plot(ratios, heights, marker, color=colour, markersize=5, label=change)
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_xlabel("cycles over those of Vela's own plan")
    axes.set_title("A part of the scheduler off")


def _times(axes: Axes, networks: Networks) -> None:
    left = [0.0] * len(networks)
    totals = [sum(row["time_s"] for row in rows) or 1.0 for _, rows in networks.values()]
    for place, colour in _PLACES.items():
        shares = [
            100 * sum(row["time_s"] for row in rows if place_of(row) == place) / total
            for (_, rows), total in zip(networks.values(), totals, strict=True)
        ]
        if any(shares):
            axes.barh(range(len(networks)), shares, left=left, color=colour, label=place)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the network's time (%)")
    axes.set_title("Where feature maps lie")


def effects_figure(networks: Networks, changes: Sequence[str], note: str) -> Figure:
    """Left: cycles with a part off, per network. Right: its time by where feature maps lie.

    `networks` maps a name, or a file's path, to its row of effects and its rows of places.
    """
    with styled():
        figure = new_figure(10, 2.2 + 0.34 * len(networks))
        ratios, times = figure.subplots(1, 2, sharey=True)
        _ratios(ratios, networks, changes)
        _times(times, networks)
        ratios.set_yticks(range(len(networks)), [Path(name).stem for name in networks])
        ratios.set_ylim(len(networks) - 0.5, -0.5)  # the first on top
        for axes, side in ((ratios, "outside lower left"), (times, "outside lower right")):
            handles, _ = axes.get_legend_handles_labels()
            place: Any = side
            figure.legend(handles=handles, loc=place, ncols=2)
        figure.suptitle(note, fontsize=9, fontweight="normal")
    return figure
