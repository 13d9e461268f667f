"""How all figures look: colours that colour-blind readers can tell apart, and how they are saved.

Colours are Okabe and Ito's (Color Universal Design, 2008); model kinds also differ by marker.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from strata.atomic import replacing

KIND_COLOUR = {
    "measured": "#222222",
    "roofline": "#E69F00",
    "refined": "#56B4E9",
    "statistical": "#009E73",
    "mixed-annette": "#CC79A7",
    "mixed": "#D55E00",
}
KIND_MARKER = {
    "roofline": "s",
    "refined": "D",
    "statistical": "^",
    "mixed-annette": "v",
    "mixed": "o",
}
OPERATION_COLOUR = {
    "convolution": "#0072B2",
    "depthwise_convolution": "#E69F00",
    "max_pooling": "#009E73",
    "dense": "#CC79A7",
    "concat": "#D55E00",
    "add": "#56B4E9",
    "average_pooling": "#F0E442",
    "activation": "#7F3C8D",
    "outside the layers": "#999999",
    "other": "#4B4B4B",
}
SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.titlesize": 12,
    # equal data give equal files
    "svg.hashsalt": "strata",
}


def styled() -> Any:
    """Context in which figures are drawn and saved."""
    return mpl.rc_context(SETTINGS)


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure of a size in inches, outside any global state."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def plain_log_ticks(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Decimal instead of power-of-ten labels on logarithmic axes whose limits are set.

    Steps of 1, 2, 5 where there are few decades.
    """
    for wanted, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if wanted:
            low, high = axis.get_view_interval()
            steps = (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
            axis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
            axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(mpl.ticker.NullFormatter())


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """<name>.svg and <name>.png (150 dots per inch) in `folder`; their paths."""
    paths = (folder / f"{name}.svg", folder / f"{name}.png")
    with styled():
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            with replacing(path) as draft:
                figure.savefig(
                    draft,
                    format=path.suffix[1:],
                    dpi=150,
                    facecolor="white",
                    metadata=metadata,
                )
    return paths
