"""What the sweeps say of the compute array (ANNETTE, section 5.1.1): s, alpha, and the evidence."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.plot_style import new_figure, styled
from evaluation.report import Picture, Section
from evaluation.table_format import Table
from model_gen.fit_unrolling import kernels_swept
from model_gen.tables import read_table
from model_gen.unrolling import SweepCurve, UnrollingFit, sweep_curves

Fits = Mapping[str, Sequence[UnrollingFit]]
_COLUMNS = 4  # panels beside each other
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def read_sweeps(folder: Path) -> dict[str, pd.DataFrame]:
    """The sweeps by operation, from the tables that `make_tables` wrote of them."""
    tables = {
        path.stem: kernels_swept(read_table(path), str(path))
        for path in sorted((folder / "layers").glob("*.parquet"))
    }
    return {operation: table for operation, table in tables.items() if len(table)}


def unrolling_table(fits: Fits) -> Table:
    """One row per layer type and dimension: the fit, its rivals, and whether it is identified."""
    rows = [_line(operation, fit) for operation, found in fits.items() for fit in found]
    notes = (
        "Residual is the root mean square of the relative error in time over all sweeps of the "
        "dimension. A dimension counts as unrolled if the Bayesian information criterion prefers "
        "its best s to none by more than 10 and the residual falls by a tenth; else nothing is "
        "said of it, and the refined roofline leaves it out.",
    )
    title = "Spatial unrolling (ANNETTE, equations 3 and 4)"
    return Table("unrolling", title, pd.DataFrame(rows), notes)


def _line(operation: str, fit: UnrollingFit) -> dict[str, object]:
    worse = fit.next_best_residual / fit.residual if fit.residual > 0 else np.inf
    return {
        "Layer type": operation,
        "Dimension": fit.feature,
        "s": str(fit.size) if fit.identified else "not identified",
        "alpha": fit.alpha if fit.identified else float("nan"),
        "Residual (%)": 100 * fit.residual,
        "Next best s": str(fit.next_best_size),
        "its residual (%)": 100 * fit.next_best_residual,
        "times as large": float(worse) if np.isfinite(worse) else float("nan"),
        "Without unrolling (%)": 100 * fit.no_unrolling_residual,
        "Points": fit.points,
        "Sweeps": str(fit.groups),
        "Why not": fit.reason,
    }


def sweep_figure(table: pd.DataFrame, fits: Sequence[UnrollingFit], title: str) -> Figure | None:
    """Measured times of each sweep and the fitted curve, one panel per dimension; None without."""
    drawn = [(fit, curves) for fit in fits if (curves := sweep_curves(table, fit))]
    if not drawn:
        return None
    with styled():
        columns = min(len(drawn), _COLUMNS)
        rows = -(-len(drawn) // columns)
        figure = new_figure(3.2 * columns, 2.7 * rows + 0.3)
        panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes, (fit, curves) in zip(panels, drawn, strict=False):
            _draw(axes, fit, curves)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        figure.suptitle(title)
    return figure


def _draw(axes: Axes, fit: UnrollingFit, curves: Sequence[SweepCurve]) -> None:
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        scale = curve.time_s.max()
        axes.plot(curve.x, curve.time_s / scale, ".", color=colour, markersize=3.5)
        axes.plot(curve.x, curve.fitted_s / scale, "-", color=colour, linewidth=0.9)
    found = f"s = {fit.size}, alpha = {fit.alpha:.2f}" if fit.identified else "not identified"
    axes.set_title(f"{fit.feature.replace('_', ' ')}: {found}", fontsize=8.5)
    axes.set(xlabel=fit.feature.replace("_", " "), ylabel="time, share of the longest")
    axes.set_ylim(bottom=0)


def unrolling_section(fits: Fits, sweeps: Mapping[str, pd.DataFrame]) -> Section:
    """The table of fits, and a figure per layer type whose sweeps are there."""
    pictures = []
    for operation, found in fits.items():
        name = operation.replace("_", " ")
        if operation not in sweeps:
            continue
        figure = sweep_figure(sweeps[operation], found, f"Sweeps of {name}")
        if figure is not None:
            caption = f"Sweeps of {name}: measured (dots) and fitted (lines), a colour per sweep."
            pictures.append(Picture(f"sweeps_{operation}", caption, figure))
    if not any(fits.values()):
        return Section("Unrolling", ("No sweep was measured: no unrolling is known.",))
    identified = sum(fit.identified for found in fits.values() for fit in found)
    total = sum(map(len, fits.values()))
    text = f"{identified} of {total} swept dimensions are unrolled as far as the sweeps can tell."
    return Section("Unrolling", (text,), (unrolling_table(fits),), tuple(pictures))
