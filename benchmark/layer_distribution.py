"""Sample points near the layers of real networks.

`data/layers.csv` is a snapshot of the layers of the networks in `benchmark.layer_sources`, so that
planning builds no network. Every family counts alike, within it every network, within that every
layer. A draw takes one of them and moves it: another resolution, another width. It never is the
layer itself. The snapshot is made anew with

    python -m benchmark.layer_distribution benchmark/data/layers.csv
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmark.config import Sampling
from benchmark.draws import activation, round_channels
from benchmark.layer_sources import SOURCES, Source
from strata import operations as op
from strata.console import exits_cleanly
from strata.errors import ArtefactError, SchemaError
from strata.layer import Layer

Row = dict[str, Any]

SETTINGS = (
    *("height", "width", "channels", "filters", "kernel", "stride", "dilation", "groups"),
    "inputs",
)
COLUMNS = ("benchmark", "family", "network", *SETTINGS, "count")
_ACTIVATED = ("convolution", "depthwise_convolution", "dense")

# Another resolution and another width: standard deviation of ln of the factors. So wide, since
# families differ so much: judged on families left out, 0.45 was worse (docs/sampling.md).
_RESOLUTION_SPREAD = 1.2
_WIDTH_SPREAD = 1.2
_KEEP_SHARE = 0.1  # of extents, and of channel counts, that stay as they are
_LONG_SHARE = 0.15  # maps that become longer in one direction
_OTHER_KERNEL_SHARE = 0.25
_IMAGE_CHANNELS = 4  # up to so many channels are an image's and no choice
_CLASSES = (10, 100, 1000, 1001)


def _window(kernel: op.Pair, stride: op.Pair, dilation: op.Pair = (1, 1)) -> Row | None:
    """Settings of a square window; None for one that no micro-kernel has."""
    if any(first != second for first, second in (kernel, stride, dilation)):
        return None
    return {"kernel": kernel[0], "stride": stride[0], "dilation": dilation[0]}


def _convolution(layer: Layer, parameters: op.Convolution) -> tuple[str, Row] | None:
    window = _window(parameters.kernel, parameters.stride, parameters.dilation)
    channels = layer.input_shapes[0][1]
    if window is None:
        return None
    if layer.operation == "depthwise_convolution":
        return (layer.operation, window) if parameters.filters == channels else None
    groups = {"groups": parameters.groups} if parameters.groups > 1 else {}
    return "convolution", {**window, "filters": parameters.filters, **groups}


def _kernel_of(layer: Layer) -> tuple[str, Row] | None:
    """Micro-kernel benchmark and the settings beside extents and channels; None if it has none.

    Transposed convolutions have none here: two families hold five of them, which is no
    distribution.
    """
    shapes = layer.input_shapes
    match layer.parameters:
        case op.Convolution() as parameters:
            return _convolution(layer, parameters)
        case op.Pooling(kind=kind, kernel=kernel, stride=stride):
            window = _window(kernel, stride)
            return (f"{kind}_pooling", window) if window else None
        case op.Dense(units=units) if len(shapes[0]) == 2:
            return "dense", {"filters": units}
        case op.Elementwise(kind="add", constant_shape=None) if shapes[0] == shapes[-1]:
            return "add", {}
        case op.Concat(axis=1) if 2 <= len(shapes) <= 4:
            return "concat", {"filters": shapes[1][1], "inputs": len(shapes)}
    return None


def kernel_row(layer: Layer) -> tuple[str, Row] | None:
    """The micro-kernel benchmark and settings nearest to a layer; None if there is no such."""
    found = _kernel_of(layer) if layer.input_shapes else None
    if found is None:
        return None
    benchmark, row = found
    shape = layer.input_shapes[0]
    if benchmark == "dense":
        return benchmark, {"channels": shape[1], **row}
    if len(shape) != 4:
        return None
    row = {name: value for name, value in row.items() if value != 1 or name != "dilation"}
    return benchmark, {"height": shape[2], "width": shape[3], "channels": shape[1], **row}


def snapshot(sources: tuple[Source, ...] = SOURCES) -> pd.DataFrame:
    """All layers of the sources that a micro-kernel can stand for: one row per shape and network,
    `count` how often it is there. Settings that a benchmark does not have are empty.
    """
    rows = []
    for source in sources:
        found = Counter(
            (kernel[0], *(kernel[1].get(name) for name in SETTINGS))
            for layer in source.build().layers
            if (kernel := kernel_row(layer)) is not None
        )
        rows += [
            dict(zip(COLUMNS, (shape[0], source.family, source.name, *shape[1:], n), strict=True))
            for shape, n in found.items()
        ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.astype(dict.fromkeys((*SETTINGS, "count"), "Int64"))
    return frame.sort_values(list(COLUMNS), ignore_index=True)


@dataclass(frozen=True, slots=True)
class Layers:
    """Real layers of one benchmark and how likely each is to be drawn."""

    rows: tuple[Row, ...]
    shares: np.ndarray


def _shares(frame: pd.DataFrame) -> np.ndarray:
    """Every family alike, in it every network alike, in it every layer alike; (rows,), sum 1."""
    count = frame["count"].astype(float)
    in_network = count / count.groupby(frame["network"]).transform("sum")
    networks = frame.groupby("family")["network"].transform("nunique")
    return (in_network / networks / frame["family"].nunique()).to_numpy(dtype=np.float64)


def read_layers(path: Path) -> dict[str, Layers]:
    """Layers by benchmark; ArtefactError for a file that is missing or no such snapshot."""
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys((*SETTINGS, "count"), "Int64"))
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing or frame.empty or not (frame["count"] > 0).all():
            raise ValueError(f"lacks {', '.join(missing) or 'rows, or counts above 0'}")
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path}: not a snapshot of layers: {error}; "
            "make it with python -m benchmark.layer_distribution"
        ) from None
    found = {}
    for benchmark, part in frame.groupby("benchmark"):
        rows = tuple(
            {name: int(row[name]) for name in SETTINGS if pd.notna(row[name])}
            for _, row in part.iterrows()
        )
        found[str(benchmark)] = Layers(rows, _shares(part))
    return found


@cache
def real_layers() -> dict[str, Layers]:
    """The snapshot that lies in the repository."""
    with as_file(files("benchmark") / "data" / "layers.csv") as path:
        return read_layers(path)


def _factor(generator: np.random.Generator, spread: float) -> float:
    """1 at times, else log-normal around it."""
    if generator.random() < _KEEP_SHARE:
        return 1.0
    return math.exp(generator.normal(0.0, spread))


def _moved_extents(row: Row, generator: np.random.Generator) -> Row:
    height, width = row["height"], row["width"]
    scale = _factor(generator, _RESOLUTION_SPREAD)
    across = scale
    if generator.random() < _LONG_SHARE:
        across *= 2.0 ** generator.uniform(-1, 1)
    if height == width == 1:  # behind a global pooling, whatever the resolution
        return {}
    return {"height": max(1, round(scale * height)), "width": max(1, round(across * width))}


def _moved_channels(row: Row, generator: np.random.Generator, sampling: Sampling) -> Row:
    names = [name for name in ("channels", "filters") if name in row]
    factors = {name: _factor(generator, _WIDTH_SPREAD) for name in names}
    if row["channels"] == row.get("filters"):
        factors["filters"] = factors["channels"]  # a chain, as in residual branches
    moved: Row = {}
    for name in names:
        value = row[name]
        image = name == "channels" and value < _IMAGE_CHANNELS
        if image or (row.get("height") is None and name == "filters" and value in _CLASSES):
            continue
        wanted = value * factors[name]
        if value % 8 == 0:
            moved[name] = round_channels(generator, wanted, sampling)
        else:
            moved[name] = max(1, round(wanted))
    if row["channels"] == row.get("filters") and "channels" in moved:
        moved["filters"] = moved["channels"]
    return moved


def move(
    benchmark: str, row: Mapping[str, Any], generator: np.random.Generator, sampling: Sampling
) -> Row:
    """A layer near `row`: other extents, channels, at times another window."""
    moved = dict(row)
    if "height" in row:
        moved |= _moved_extents(moved, generator)
    moved |= _moved_channels(moved, generator, sampling)
    if "kernel" in row and generator.random() < _OTHER_KERNEL_SHARE:
        least = 2 if benchmark.endswith("pooling") else 1
        moved["kernel"] = max(least, row["kernel"] + int(generator.choice([-2, 2])))
    if groups := row.get("groups"):
        for name in ("channels", "filters"):
            moved[name] = groups * max(2, round(moved[name] / groups))
    return moved


def draw(benchmark: str, generator: np.random.Generator, sampling: Sampling) -> Row:
    """Settings near a real layer's, never equal to one; activations as `benchmark.draws` has them.

    SchemaError for a benchmark of which the snapshot has no layer.
    """
    known = real_layers()
    if benchmark not in known:
        raise SchemaError(f"no real layer of benchmark '{benchmark}'; legal: {', '.join(known)}")
    layers = known[benchmark]
    while True:
        chosen = layers.rows[int(generator.choice(len(layers.rows), p=layers.shares))]
        row = move(benchmark, chosen, generator, sampling)
        if row not in layers.rows:
            break
    return row | ({"activation": activation(generator)} if benchmark in _ACTIVATED else {})


@exits_cleanly
def command(
    output: Annotated[Path, typer.Argument(help="CSV to write: benchmark/data/layers.csv")],
) -> None:
    """Write the layers of real networks, evaluation networks and their families excluded.

    Example: python -m benchmark.layer_distribution benchmark/data/layers.csv
    """
    frame = snapshot()
    frame.to_csv(output, index=False, lineterminator="\n")
    typer.echo(
        f"{len(frame)} layers of {frame['network'].nunique()} networks of "
        f"{frame['family'].nunique()} families: {output}",
        err=True,
    )


if __name__ == "__main__":
    typer.run(command)
