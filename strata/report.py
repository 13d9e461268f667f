"""Estimates, networks and platforms for people (tables), estimates for programs (JSON, CSV).

Milliseconds only where a person reads.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from strata import operations as op
from strata.answers import NO_MODEL, NO_TIME
from strata.errors import ArtefactError
from strata.estimate import SPARSE, Estimate, LayerEstimate
from strata.graph import Graph
from strata.intervals import SHOWN_LEVEL, Interval
from strata.work import Work

if TYPE_CHECKING:
    from rich.table import Table

    from strata.platforms import Bundle

JSON_SCHEMA = "strata-estimate"
JSON_VERSION = 1
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
_PLAIN_WIDTH = 170  # columns where the output is no terminal
_WIDE = 120  # columns that have room for the layers' intervals
_MEMORY_TEXT = {"sram": "SRAM", "flash": "flash", "dram": "DRAM"}
_SHOWN_ABSORBED = 3


def coverage(unmapped: Sequence[str], layers: int) -> str:
    """The line every report carries, such as "2 of 58 layers could not be mapped: Loop x2"."""
    if not unmapped:
        return f"{layers} of {layers} layers are mapped"
    return f"{len(unmapped)} of {layers} layers could not be mapped: {_counted(unmapped)}"


def headline(estimate: Estimate) -> str:
    """What the estimate covers: layers not mapped, that fell back, that lie out of range."""
    executed = len(estimate.layers)
    lines = [coverage(estimate.unmapped, estimate.network_layers)]
    if estimate.times:
        lines.append(f"the model was fitted to {estimate.times}")
    if estimate.recalibrated:
        lines.append(f"the model was recalibrated from {estimate.recalibrated}")
    if estimate.fell_back:
        names = _counted(layer.operation for layer in estimate.layers if layer.fell_back)
        lines.append(
            f"{estimate.fell_back} of {executed} executed layers fell back from the "
            f"{estimate.kind} model: {names}"
        )
    if estimate.untimed:
        names = _counted(layer.operation for layer in estimate.layers if layer.time_s is None)
        lines.append(
            f"{estimate.untimed} of {executed} executed layers take a time that is not known, "
            f"marked ?: {names}"
        )
    if estimate.out_of_range:
        lines.append(
            f"{estimate.out_of_range} of {executed} executed layers lie outside the measured "
            "range or far from all that was measured, marked !"
        )
    return "\n".join(lines)


def _counted(names: Iterable[str]) -> str:
    """Names in order of appearance, each once, with how often it occurs if more than once."""
    counts = Counter(names)
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.items())


def table_text(estimate: Estimate, width: int | None = None) -> str:
    """The estimate for people, `width` columns wide; as wide as a page without one."""
    drawn = _table("layer", "operation", "absorbed", ">time (ms)")
    ranged = any(layer.intervals_s for layer in estimate.layers) and (width or _WIDE) >= _WIDE
    if ranged:
        drawn.add_column(f"{SHOWN_LEVEL:.0%} (ms)", justify="right", no_wrap=True)
    drawn.add_column("share (%)", justify="right", no_wrap=True)
    drawn.add_column("bound", no_wrap=True)
    drawn.add_column("util. (%)", justify="right", no_wrap=True)
    for memory in estimate.memories:
        drawn.add_column(f"{_MEMORY_TEXT[memory]} (KiB)", justify="right", no_wrap=True)
    drawn.add_column("model", overflow="fold")
    for layer in estimate.layers:
        _add_row(drawn, _cells(layer, ranged))
    title = f"{estimate.network} on {estimate.platform}, {estimate.kind} model"
    total = (
        f"total {'at least ' if estimate.untimed else ''}{estimate.total_s * 1e3:.3f} ms = "
        f"{len(estimate.layers) - estimate.untimed} executed layers "
        f"{estimate.layers_s * 1e3:.3f} ms + network overhead {estimate.overhead_s * 1e3:.3f} ms"
    )
    lines = (total, *_interval_lines(estimate), *_traffic_lines(estimate))
    return _printed(width, title, headline(estimate), drawn, *lines)


def _interval_lines(estimate: Estimate) -> Iterator[str]:
    """The total's interval; nothing where there is none."""
    found = shown_interval(estimate.intervals_s)
    if found is not None:
        low, high = (f"{end / estimate.total_s - 1:+.1%}" for end in found)
        yield f"{SHOWN_LEVEL:.0%} interval of the total {milliseconds(found)} ({low}, {high})"


def shown_interval(intervals_s: dict[float, Interval]) -> Interval | None:
    """The interval that people see; None where it is not known."""
    return intervals_s.get(SHOWN_LEVEL)


def milliseconds(found: Interval) -> str:
    """Both ends, for people."""
    return f"{found[0] * 1e3:.3f} to {found[1] * 1e3:.3f} ms"


def _traffic_lines(estimate: Estimate) -> Iterator[str]:
    """Bytes per memory in all; nothing for a platform that tells none."""
    if not estimate.memories:
        return
    totals, unknown = estimate.traffic_bytes, estimate.traffic_unknown
    parts = (
        f"{_MEMORY_TEXT[memory]} {'at least ' if unknown[memory] else ''}{_size(totals[memory])}"
        for memory in estimate.memories
    )
    yield f"read and written: {', '.join(parts)}"
    for memory, layers in unknown.items():
        if layers:
            yield (
                f"{_MEMORY_TEXT[memory]} traffic of {layers} of {len(estimate.layers)} executed "
                "layers is unknown, marked ?"
            )


def _size(moved_bytes: float) -> str:
    if moved_bytes < 2**20:
        return f"{moved_bytes / 2**10:,.1f} KiB"
    return f"{moved_bytes / 2**20:,.2f} MiB"


def _table(*titles: str) -> "Table":
    """A table that shortens long cells; ">" before a title puts its column to the right."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        justify: Any = "right" if title.startswith(">") else "left"
        name = title.removeprefix(">")
        # numbers stay whole: in a narrow terminal the names give way
        number = justify == "right" or name == "bound"
        drawn.add_column(name, justify=justify, overflow="ellipsis", no_wrap=number)
    return drawn


def _add_row(drawn: "Table", cells: Iterable[str]) -> None:
    from rich.text import Text

    drawn.add_row(*map(Text, cells))  # names may hold what rich takes for markup


def _printed(width: int | None, *parts: "str | Table") -> str:
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=width or _PLAIN_WIDTH, color_system=None)
    for part in parts:
        if isinstance(part, str):
            text.write(f"{part}\n")
        else:
            console.print(part)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _cells(layer: LayerEstimate, ranged: bool) -> Iterator[str]:
    yield layer.name
    yield layer.operation
    yield _shortened(layer.absorbed)
    yield "?" if layer.time_s is None else f"{layer.time_s * 1e3:.4f}"
    if ranged:
        found = shown_interval(layer.intervals_s)
        yield "-" if found is None else f"{found[0] * 1e3:.4f}–{found[1] * 1e3:.4f}"
    yield "?" if layer.share is None else f"{layer.share * 100:.1f}"
    yield layer.bound
    yield "-" if layer.utilisation is None else f"{layer.utilisation * 100:.1f}"
    for moved in layer.traffic_bytes.values():
        yield "?" if moved is None else f"{moved / 2**10:,.1f}"
    yield " ".join(_model(layer))


def _model(layer: LayerEstimate) -> Iterator[str]:
    """Which model answered, "!" if out of range, and remarks that these two do not say."""
    if layer.model_used not in (NO_MODEL, NO_TIME):
        yield layer.model_used
    if not layer.in_range:
        yield "!"
    for remark in layer.note.split("; "):
        if remark and not remark.startswith(("out of range", "never measured", SPARSE)):
            yield f"({remark})"


def _shortened(names: tuple[str, ...]) -> str:
    shown = [name.rsplit("/", 1)[-1] for name in names[:_SHOWN_ABSORBED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" +{more}" if more else "")


def as_dict(estimate: Estimate) -> dict[str, Any]:
    """The whole estimate as JSON-ready data, SI units; keys change only with JSON_VERSION.

    Keys of traffic are there for platforms that tell it, and a count of layers whose time is null
    where there are any.
    """
    traffic = {
        "traffic_bytes": estimate.traffic_bytes,
        "traffic_unknown": estimate.traffic_unknown,
    }
    return {
        "schema": JSON_SCHEMA,
        "version": JSON_VERSION,
        "network": estimate.network,
        "platform": estimate.platform,
        "model": estimate.kind,
        **({"times": estimate.times} if estimate.times else {}),
        **({"recalibrated": estimate.recalibrated} if estimate.recalibrated else {}),
        "total_s": estimate.total_s,
        "layers_s": estimate.layers_s,
        "overhead_s": estimate.overhead_s,
        **_interval_keys(estimate.intervals_s),
        "counts": {
            "network_layers": estimate.network_layers,
            "executed_layers": len(estimate.layers),
            "estimated": estimate.estimated,
            "fell_back": estimate.fell_back,
            "moves_nothing": estimate.moves_nothing,
            "out_of_range": estimate.out_of_range,
            **({"untimed": estimate.untimed} if estimate.untimed else {}),
            "unmapped": len(estimate.unmapped),
        },
        "unmapped": list(estimate.unmapped),
        **(traffic if estimate.memories else {}),
        "layers": [_layer_dict(layer) for layer in estimate.layers],
    }


def _layer_dict(layer: LayerEstimate) -> dict[str, Any]:
    """All that is said of a layer; of traffic and intervals where there is something to say."""
    data = asdict(layer)
    del data["intervals_s"]
    if not layer.traffic_bytes:
        del data["traffic_bytes"]
    return data | _interval_keys(layer.intervals_s)


def _interval_keys(intervals_s: dict[float, Interval]) -> dict[str, Any]:
    """Lower and upper end by level; nothing where no interval is known."""
    if not intervals_s:
        return {}
    return {"intervals_s": {f"{level:g}": list(ends) for level, ends in intervals_s.items()}}


def json_text(estimate: Estimate) -> str:
    """`as_dict` as text."""
    return json.dumps(as_dict(estimate), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def csv_text(estimate: Estimate) -> str:
    """One row per executed layer in CSV_COLUMNS, and a last row for the network's overhead.

    Ends of intervals and bytes per memory follow where the platform model tells them, empty where
    unknown. `time_s` adds up to the network's total. Absorbed names are separated by ";". The last
    row's note is the line of `coverage`, and the total's interval.
    """
    text = io.StringIO()
    levels = dict.fromkeys(level for layer in estimate.layers for level in layer.intervals_s)
    ends = [f"{end}_{level * 100:g}_s" for level in levels for end in ("low", "high")]
    columns = (*CSV_COLUMNS, *ends, *(f"{memory}_bytes" for memory in estimate.memories))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for layer in estimate.layers:
        cells = asdict(layer) | {"absorbed": ";".join(layer.absorbed)}
        moved = cells.pop("traffic_bytes")
        cells |= _ends(cells.pop("intervals_s"))
        writer.writerow(cells | {f"{memory}_bytes": value for memory, value in moved.items()})
    total_s, overhead_s = estimate.total_s, estimate.overhead_s
    writer.writerow(
        {
            "name": "(network)",
            "operation": "overhead",
            "time_s": overhead_s,
            "share": overhead_s / total_s if total_s > 0 else 0.0,
            "bound": "overhead",
            "note": "; ".join(_closing_notes(estimate)),
        }
    )
    return text.getvalue()


def _closing_notes(estimate: Estimate) -> Iterator[str]:
    yield coverage(estimate.unmapped, estimate.network_layers)
    found = shown_interval(estimate.intervals_s)
    if found is not None:
        yield f"{SHOWN_LEVEL:.0%} interval of the total {found[0]:.6g} to {found[1]:.6g} s"


def _ends(intervals_s: dict[float, Interval]) -> dict[str, float]:
    """CSV cells of intervals by level."""
    return {
        f"{name}_{level * 100:g}_s": end
        for level, ends in intervals_s.items()
        for name, end in zip(("low", "high"), ends, strict=True)
    }


def network_text(graph: Graph, width: int | None = None) -> str:
    """A network's layers with their shapes and work, each as if executed alone."""
    drawn = _table("layer", "operation", "output shape", ">MACs", ">other ops", ">bytes")
    for layer in graph.layers:
        kind = layer.operation
        if isinstance(layer.parameters, op.Opaque):
            kind = f"not mapped: {layer.parameters.type_name}"
        shape = " x ".join(map(str, layer.output_shape))
        _add_row(drawn, (layer.name, kind, shape, *_work_cells(layer.work)))
    _add_row(drawn, ("total", "", "", *_work_cells(graph.work)))
    unmapped = [
        layer.parameters.type_name
        for layer in graph.opaque
        if isinstance(layer.parameters, op.Opaque)
    ]
    covered = coverage(unmapped, len(graph.layers) - len(graph.inputs))
    return _printed(width, graph.name, covered, drawn)


def _work_cells(work: Work) -> tuple[str, str, str]:
    return f"{work.macs:,}", f"{work.other_ops:,}", f"{work.bytes:,}"


def platforms_text(bundles: Iterable["Bundle"], width: int | None = None) -> str:
    """The platform models that are found, with what their headers say; unreadable ones say why."""
    drawn = _table("platform", "run", "created", ">layer types", ">points", ">convolution error")
    drawn.add_column("file", overflow="fold")
    notes = []
    for bundle in bundles:
        cells, remarks = _platform_cells(bundle)
        _add_row(drawn, cells)
        notes += [f"{bundle.name}: {remark}" for remark in remarks]
    return _printed(width, drawn, *notes)


def _platform_cells(bundle: "Bundle") -> tuple[tuple[str, ...], list[str]]:
    """A platform's row, and what it rests on where that is no measurement of its own."""
    from strata.platforms import read_header

    try:
        header = read_header(bundle)
    except ArtefactError as error:
        return (bundle.name, bundle.run, "unreadable", "", "", "", str(error)), []
    points = sum(header.counts.values())
    cells = (
        bundle.name,
        bundle.run,
        header.created,
        str(len(header.counts)),
        f"{points:,}",
        _convolution_error(header.fit_metrics),
        str(bundle.path),
    )
    remarks = [f"fitted to {header.times}"] if header.times else []
    if header.recalibrated:
        remarks.append(f"recalibrated from {header.recalibrated}")
    return cells, remarks


def _convolution_error(fit_metrics: dict[str, Any]) -> str:
    """What the mixed model misses of the time of convolutions it was not fitted to, in percent."""
    found: Any = fit_metrics
    for key in ("convolution", "sum_error_percent", "mixed"):
        found = found.get(key) if isinstance(found, dict) else None
    return f"{found:.1f} %" if isinstance(found, int | float) else "-"
