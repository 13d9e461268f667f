"""Figure 7 of ANNETTE: what refined, statistical and mixed model say over channels x filters.

Upper row: estimated time as surfaces, as in the paper. Lower row: effective performance
ops / time as maps, where steps of the compute array show; measured points overlaid in the same
colours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from evaluation.paper_tables import KIND_TEXT
from evaluation.plot_style import new_figure, styled
from strata.errors import SchemaError, legal
from strata.execution import FEATURES, ExecutedLayer, feature_matrix
from strata.layer import make_layer
from strata.layer_models import LayerModel
from strata.operations import Convolution

PANELS = ("refined", "statistical", "mixed")
MAP = "cividis"


@dataclass(frozen=True, slots=True)
class Slice:
    """Convolutions of batch 1 and stride 1: kernel and square input fixed, c and f swept.

    `points` values per axis from `smallest` to `largest` channels, evenly spaced.
    """

    kernel: int = 3
    size: int = 28
    smallest: int = 8
    largest: int = 256
    points: int = 63

    @property
    def axis(self) -> np.ndarray:
        """The swept numbers of channels and of filters, whole and distinct."""
        return np.unique(np.linspace(self.smallest, self.largest, self.points).round().astype(int))

    def matrix(self) -> np.ndarray:
        """(filters x channels rows, len(FEATURES)), each layer alone; channels vary fastest."""
        layers = (self._layer(int(c), int(f)) for f in self.axis for c in self.axis)
        return np.vstack([feature_matrix([layer]) for layer in layers])

    def _layer(self, channels: int, filters: int) -> ExecutedLayer:
        margin = self.kernel // 2
        parameters = Convolution(
            filters, (self.kernel, self.kernel), padding=(margin, margin, margin, margin)
        )
        shape = (1, channels, self.size, self.size)
        return ExecutedLayer(make_layer("convolution", parameters, ("input",), (shape,)))

    @property
    def text(self) -> str:
        """For titles."""
        return f"{self.kernel}x{self.kernel} convolution, {self.size}x{self.size} input, stride 1"


def measured_points(table: pd.DataFrame, where: Slice) -> pd.DataFrame:
    """channels, filters, ops, time_s of the rows of a convolution table that lie on the slice."""
    if absent := [name for name in (*FEATURES, "time_s") if name not in table.columns]:
        raise SchemaError(f"convolution table: no column {', '.join(absent)}")
    fixed = {
        **dict.fromkeys(("kernel_height", "kernel_width"), where.kernel),
        **dict.fromkeys(("height", "width"), where.size),
        **dict.fromkeys(("batch", "stride_height", "stride_width", "dilation", "groups"), 1),
    }
    on = np.logical_and.reduce([table[name] == value for name, value in fixed.items()])
    for name in ("channels", "filters"):
        on &= table[name].between(where.smallest, where.largest).to_numpy()
    return table.loc[on, ["channels", "filters", "ops", "time_s"]].reset_index(drop=True)


def best_slice(table: pd.DataFrame | None, kernel: int = 3) -> Slice:
    """The slice through the most measured points of a convolution table; 28x28 without any."""
    if table is None or table.empty:
        return Slice(kernel)
    square = table[(table["height"] == table["width"]) & (table["height"] >= kernel)]
    sizes = dict.fromkeys(square["height"].astype(int))
    counts = {size: len(measured_points(table, Slice(kernel, size))) for size in sizes}
    best = max(counts, key=lambda size: (counts[size], size), default=28)
    return Slice(kernel, best if counts.get(best) else 28)


def utilisation_surface(
    models: Mapping[str, LayerModel], where: Slice, table: pd.DataFrame | None = None
) -> Figure:
    """The figure of the layer models of convolution {kind: model}; SchemaError without any kind.

    `table` is the layer table of convolution (measured points are drawn where on the slice).
    """
    kinds = [kind for kind in PANELS if kind in models]
    if not kinds:
        raise SchemaError(
            f"utilisation surface: no model of kind {legal(PANELS)}; found {legal(models)}"
        )
    matrix = where.matrix()
    side = len(where.axis)
    ops = matrix[:, FEATURES.index("ops")].reshape(side, side)
    times_s = {kind: models[kind].time_s(matrix).reshape(side, side) for kind in kinds}
    points = measured_points(table, where) if table is not None else None
    speeds = {kind: ops / time_s / 1e9 for kind, time_s in times_s.items()}
    everything = [speed.ravel() for speed in speeds.values()]
    if points is not None:
        everything.append((points["ops"] / points["time_s"] / 1e9).to_numpy())
    shared = Normalize(0, float(np.concatenate(everything).max()))
    with styled():
        figure = new_figure(12, 7.4)
        highest = 1e3 * max(float(time_s.max()) for time_s in times_s.values())
        maps = []
        for place, kind in enumerate(kinds, 1):
            upper = figure.add_subplot(2, len(kinds), place, projection="3d")
            _draw_surface(upper, where, 1e3 * times_s[kind], highest)
            upper.set_title(f"{KIND_TEXT[kind]}: time")
            lower = figure.add_subplot(2, len(kinds), len(kinds) + place)
            image = _draw_map(lower, where, speeds[kind], shared, points)
            lower.set_title(f"{KIND_TEXT[kind]}: effective performance")
            maps.append(lower)
        figure.colorbar(image, ax=maps, label="ops / time (Gop/s)", pad=0.01)
        figure.suptitle(f"{where.text}{_points_text(points)}")
    return figure


def _points_text(points: pd.DataFrame | None) -> str:
    count = 0 if points is None else len(points)
    return f"; circles: {count} measured" if count else "; no measured points on this slice"


def _draw_surface(axes: Any, where: Slice, time_ms: np.ndarray, highest_ms: float) -> None:
    channels, filters = np.meshgrid(where.axis, where.axis)
    # one picture instead of thousands of polygons in the SVG
    axes.plot_surface(
        channels,
        filters,
        time_ms,
        cmap=MAP,
        rstride=1,
        cstride=1,
        linewidth=0,
        antialiased=False,
        rasterized=True,
    )
    axes.set(xlabel="Channels", ylabel="Filters", zlabel="Time (ms)", zlim=(0, highest_ms))
    axes.view_init(elev=24, azim=-128)
    axes.tick_params(labelsize=7.5)
    axes.set_box_aspect(None, zoom=1.02)


def _draw_map(
    axes: Any, where: Slice, speed: np.ndarray, shared: Normalize, points: pd.DataFrame | None
) -> Any:
    image = axes.pcolormesh(
        where.axis, where.axis, speed, cmap=MAP, norm=shared, shading="nearest", rasterized=True
    )
    if points is not None and len(points):
        axes.scatter(
            points["channels"],
            points["filters"],
            c=points["ops"] / points["time_s"] / 1e9,
            cmap=MAP,
            norm=shared,
            s=30,
            edgecolor="white",
            linewidth=0.9,
            zorder=3,
        )
    axes.set(xlabel="Channels", ylabel="Filters", aspect="equal")
    axes.grid(visible=False)
    return image
