"""The plot of an estimate: its layers' times as bars."""

from pathlib import Path

from strata.atomic import replacing
from strata.errors import SchemaError, legal
from strata.estimate import Estimate
from strata.intervals import SHOWN_LEVEL
from strata.report import coverage, milliseconds, shown_interval

PLOT_SUFFIXES = (".png", ".svg")
_LONGEST_LABEL = 40


def check_plot_path(path: Path) -> None:
    """SchemaError unless the file's suffix is one of PLOT_SUFFIXES."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise SchemaError(f"cannot plot to '{path}'; legal suffixes: {legal(PLOT_SUFFIXES)}")


def save_plot(estimate: Estimate, path: Path) -> None:
    """Horizontal bars of the layers' times, coloured by what bounds them, with their intervals.

    Written whole or not at all.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    layers = estimate.layers
    figure = Figure(figsize=(9, min(200, max(2.5, 0.18 * len(layers) + 1.2))), layout="constrained")
    axes = figure.add_subplot()
    for bound in dict.fromkeys(layer.bound for layer in layers):
        rows = [row for row, layer in enumerate(layers) if layer.bound == bound]
        axes.barh(rows, [(layers[row].time_s or 0.0) * 1e3 for row in rows], label=bound)
    for row, layer in enumerate(layers):
        found = shown_interval(layer.intervals_s)
        if found is not None:
            ends = [end * 1e3 for end in found]
            axes.plot(ends, [row, row], color="black", linewidth=0.7, zorder=3)
    labels = [_label(layer.name) for layer in layers]
    axes.set_yticks(range(len(layers)), labels, fontsize=6, parse_math=False)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("time (ms)")
    least = "at least " if estimate.untimed else ""
    total = f"{estimate.network} on {estimate.platform}: {least}{estimate.total_s * 1e3:.2f} ms"
    around = shown_interval(estimate.intervals_s)
    if around is not None:
        total += f" ({SHOWN_LEVEL:.0%}: {milliseconds(around)})"
    covered = coverage(estimate.unmapped, estimate.network_layers)
    if estimate.times:
        covered += f"\nfitted to {estimate.times}"
    axes.set_title(f"{total} ({estimate.kind} model)\n{covered}", fontsize=9, parse_math=False)
    if layers:
        axes.legend(title="bound")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)


def _label(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else "…" + name[1 - _LONGEST_LABEL :]
