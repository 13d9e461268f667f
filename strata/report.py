"""An estimate for people (table, plot) and for programs (JSON, CSV). Milliseconds for people only."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from strata.errors import SchemaError, legal
from strata.estimate import Estimate, LayerEstimate

JSON_SCHEMA = "strata-estimate"
JSON_VERSION = 1
PLOT_SUFFIXES = (".png", ".svg")
PLAIN_WIDTH = 140  # columns when the output is no terminal
CSV_COLUMNS = (
    "name",
    "operation",
    "absorbed",
    "time_s",
    "share",
    "bound",
    "utilisation",
    "model_used",
    "fell_back",
    "in_range",
    "note",
)
_SHOWN_ABSORBED = 3


def headline(estimate: Estimate) -> str:
    """What the estimate covers: layers not mapped, layers that fell back or lie out of range."""
    executed = len(estimate.layers)
    lines = [coverage(len(estimate.unmapped), estimate.network_layers, estimate.unmapped)]
    if estimate.fell_back:
        names = _counted(_fallbacks(estimate))
        lines.append(
            f"{estimate.fell_back} of {executed} executed layers fell back from the "
            f"{estimate.kind} model: {names}"
        )
    if estimate.out_of_range:
        lines.append(
            f"{estimate.out_of_range} of {executed} executed layers lie outside the measured "
            "range, marked !"
        )
    return "\n".join(lines)


def coverage(estimate: Estimate) -> str:
    """The line every report carries, such as "2 of 58 layers could not be mapped: Loop x2"."""
    count, layers = len(estimate.unmapped), estimate.network_layers
    if not count:
        return f"all {layers} layers could be mapped"
    return f"{count} of {layers} layers could not be mapped: {_counted(estimate.unmapped)}"


def _fallbacks(estimate: Estimate) -> tuple[str, ...]:
    return tuple(
        f"{layer.operation} ({layer.model_used.partition(':')[0]})"
        for layer in estimate.layers
        if layer.fell_back
    )


def _counted(names: tuple[str, ...]) -> str:
    """Names in order of appearance, each once, with how often it occurs if more than once."""
    counts = Counter(names)
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.items())


def table(estimate: Estimate, width: int | None = None) -> str:
    """The estimate as text, `width` columns wide; without a width as wide as the terminal."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width or PLAIN_WIDTH, color_system=None)
    console.print(f"{estimate.network} on {estimate.platform}, {estimate.kind} model", markup=False)
    console.print(headline(estimate), markup=False, highlight=False)
    console.print(_rich_table(estimate))
    console.print(_total(estimate), markup=False, highlight=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _rich_table(estimate: Estimate) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "operation", "absorbed"):
        drawn.add_column(title, overflow="ellipsis", no_wrap=True)
    for title in ("time [ms]", "share [%]"):
        drawn.add_column(title, justify="right", no_wrap=True)
    drawn.add_column("bound", no_wrap=True)
    drawn.add_column("utilisation [%]", justify="right", no_wrap=True)
    drawn.add_column("model", overflow="fold")
    for layer in estimate.layers:
        drawn.add_row(*map(Text, _cells(layer)))
    return drawn


def _cells(layer: LayerEstimate) -> tuple[str, ...]:
    used = "-" if layer.utilisation is None else _percent(layer.utilisation)
    return (
        layer.name,
        layer.operation,
        _shortened(layer.absorbed),
        f"{layer.time_s * 1e3:.4f}",
        _percent(layer.share),
        layer.bound,
        used,
        " ".join(_model(layer)),
    )


def _percent(part: float) -> str:
    return f"{part * 100:.1f}"


def _model(layer: LayerEstimate) -> Iterator[str]:
    if layer.model_used != "none":
        yield layer.model_used
    if not layer.in_range:
        yield "!"
    for remark in layer.note.split("; "):
        if remark and not remark.startswith("out of range"):
            yield f"({remark})"


def _shortened(names: tuple[str, ...]) -> str:
    shown = [name.rsplit("/", 1)[-1] for name in names[:_SHOWN_ABSORBED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" +{more}" if more else "")


def _total(estimate: Estimate) -> str:
    layers_ms, overhead_ms = estimate.layers_s * 1e3, estimate.overhead_s * 1e3
    return (
        f"total {estimate.total_s * 1e3:.3f} ms = {len(estimate.layers)} executed layers "
        f"{layers_ms:.3f} ms + network overhead {overhead_ms:.3f} ms"
    )


def as_dict(estimate: Estimate) -> dict[str, Any]:
    """The whole estimate as JSON-ready data, SI units; keys change only with JSON_VERSION."""
    return {
        "schema": JSON_SCHEMA,
        "version": JSON_VERSION,
        "network": estimate.network,
        "platform": estimate.platform,
        "model": estimate.kind,
        "total_s": estimate.total_s,
        "layers_s": estimate.layers_s,
        "overhead_s": estimate.overhead_s,
        "counts": {
            "network_layers": estimate.network_layers,
            "executed_layers": len(estimate.layers),
            "estimated": estimate.estimated,
            "fell_back": estimate.fell_back,
            "out_of_range": estimate.out_of_range,
            "unmapped": len(estimate.unmapped),
        },
        "unmapped": list(estimate.unmapped),
        "layers": [asdict(layer) for layer in estimate.layers],
    }


def json_text(estimate: Estimate) -> str:
    """`as_dict` as text."""
    return json.dumps(as_dict(estimate), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def csv_text(estimate: Estimate) -> str:
    """One row per executed layer in CSV_COLUMNS, and a last row for the network's overhead.

    `time_s` adds up to the network's total. Absorbed names are separated by ";".
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for layer in estimate.layers:
        values = asdict(layer) | {"absorbed": ";".join(layer.absorbed)}
        writer.writerow([values[column] for column in CSV_COLUMNS])
    overhead = estimate.overhead_s
    share = overhead / estimate.total_s if estimate.total_s > 0 else 0.0
    row = ("(network)", "overhead", "", overhead, share, "overhead", None, "", False, True, "")
    writer.writerow([*row[:-1], coverage(estimate)])
    return text.getvalue()


def check_plot_path(path: Path) -> None:
    """SchemaError unless the file's suffix is one of PLOT_SUFFIXES."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise SchemaError(f"cannot plot to '{path}'; legal suffixes: {legal(PLOT_SUFFIXES)}")


def save_plot(estimate: Estimate, path: Path) -> None:
    """Horizontal bars of the layers' times, coloured by what bounds them; written whole."""
    check_plot_path(path)
    from matplotlib.figure import Figure

    from strata.atomic import replacing

    layers = estimate.layers
    figure = Figure(figsize=(9, max(2.5, 0.18 * len(layers) + 1.2)), layout="constrained")
    axes = figure.add_subplot()
    bounds = list(dict.fromkeys(layer.bound for layer in layers))
    for i, bound in enumerate(bounds):
        rows = [row for row, layer in enumerate(layers) if layer.bound == bound]
        times_ms = [layers[row].time_s * 1e3 for row in rows]
        axes.barh(rows, times_ms, color=f"C{i}", label=bound)
    names = [layer.name if len(layer.name) <= 40 else f"…{layer.name[-39:]}" for layer in layers]
    axes.set_yticks(range(len(layers)), names, fontsize=6, parse_math=False)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("time [ms]")
    title = f"{estimate.network} on {estimate.platform}: {estimate.total_s * 1e3:.2f} ms"
    axes.set_title(f"{title} ({estimate.kind} model)\n{coverage(estimate)}", parse_math=False)
    if bounds:
        axes.legend(title="bound")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
