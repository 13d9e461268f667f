"""How often measured times lie within the estimates' intervals, and how wide these are.

| column | meaning |
| --- | --- |
| set, network | as in the networks table |
| layer, operation | a matched layer with a measured time; "" for the network's total |
| mapping, level | predicted or oracle; 0.9 for 90% |
| measured_s, estimated_s, low_s, high_s | times and ends of the interval |
| in_range | of a layer; True for a total |
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from benchmark.matcher import Match
from evaluation.frames import MAPPINGS
from evaluation.paper_tables import SET_TEXT
from evaluation.plot_style import new_figure, styled
from evaluation.report import Picture, Section
from evaluation.scores import grouped, in_order
from evaluation.summary import SummaryRow
from evaluation.table_format import Table
from strata.errors import SchemaError, legal
from strata.estimate import Estimate, LayerEstimate
from strata.intervals import SHOWN_LEVEL
from strata.profile import Profile

COLUMNS = (
    *("set", "network", "layer", "operation", "mapping", "level"),
    *("measured_s", "estimated_s", "low_s", "high_s", "in_range"),
)
EVERY_SET = "all"
_MODEL = "mixed"


def coverage_rows(
    record: Mapping[str, Any],
    profile: Profile,
    found: Match | None,
    estimates: Iterable[tuple[str, Estimate]],
) -> Iterator[dict[str, Any]]:
    """Rows of COLUMNS of one network; none for estimates without intervals.

    Layers that were not matched, or not timed by the profiler, have no rows; without `found`, what
    was executed being unknown, no layer has.
    """
    layers = found.layers if found else ()
    measured = {layer.executed.name: layer.time_s for layer in layers}
    for mapping, estimate in estimates:
        place = {"set": record["set"], "network": record["network"], "mapping": mapping}
        total = place | {"layer": "", "operation": "", "in_range": True}
        yield from _levels(total, profile.time_s, estimate.total_s, estimate)
        for layer in estimate.layers:
            time_s = measured.get(layer.name) or 0.0
            if time_s > 0 and layer.time_s:
                place |= {"layer": layer.name, "operation": layer.operation}
                about = {"in_range": layer.in_range}
                yield from _levels(place | about, time_s, layer.time_s, layer)


def _levels(
    place: dict[str, Any], measured_s: float, estimated_s: float, of: Estimate | LayerEstimate
) -> Iterator[dict[str, Any]]:
    for level, (low_s, high_s) in of.intervals_s.items():
        times = {"measured_s": measured_s, "estimated_s": estimated_s}
        yield place | {"level": level} | times | {"low_s": low_s, "high_s": high_s}


def check_coverage(frame: pd.DataFrame, where: str = "intervals") -> pd.DataFrame:
    """The table as it is, or SchemaError naming the first broken rule."""
    if absent := [name for name in COLUMNS if name not in frame.columns]:
        raise SchemaError(f"{where}: no column {', '.join(absent)}; needs {', '.join(COLUMNS)}")
    if odd := set(frame["mapping"]) - set(MAPPINGS):
        raise SchemaError(f"{where}: mapping is {legal(odd)}, must be one of {legal(MAPPINGS)}")
    for name in ("measured_s", "estimated_s", "low_s", "high_s"):
        bad = ~(np.isfinite(frame[name]) & (frame[name] > 0))
        if bad.any():
            row = frame[bad].iloc[0]
            raise SchemaError(
                f"{where}: {name} of {row['network']}/{row['layer']} is {row[name]}, must be "
                "finite and above 0"
            )
    return frame


def coverage_scores(frame: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """Coverage and width per set (and all), mapping and level, both in %.

    Subjects "intervals/networks/<mapping>", "intervals/layers/<mapping>",
    "intervals/layers_out_of_range/<mapping>" and "intervals/layers/<operation>/<mapping>"; metrics
    "coverage_<level>" and "width_<level>", the median distance of the upper end from the estimate.
    """
    totals, layers = frame[frame["layer"] == ""], frame[frame["layer"] != ""]
    parts = {
        "networks": totals,
        "layers": layers,
        "layers_out_of_range": layers[~layers["in_range"].astype(bool)],
        **{
            f"layers/{operation}": layers[layers["operation"] == operation]
            for operation in dict.fromkeys(layers["operation"])
        },
    }
    rows = []
    for name, part in parts.items():
        every = pd.concat([part, part.assign(set=EVERY_SET)])
        for (data_set, mapping, level), group in grouped(every, "set", "mapping", "level"):
            key = (platform, data_set, f"intervals/{name}/{mapping}", _MODEL)
            percent = f"{100 * float(level):g}"
            covered, width = _covered(group), _width(group)
            rows.append(SummaryRow(*key, f"coverage_{percent}", covered, "%", len(group)))
            rows.append(SummaryRow(*key, f"width_{percent}", width, "%", len(group)))
    return rows


def _covered(group: pd.DataFrame) -> float:
    inside = (group["low_s"] <= group["measured_s"]) & (group["measured_s"] <= group["high_s"])
    return float(100 * inside.mean()) if len(group) else nan


def _width(group: pd.DataFrame) -> float:
    return float(100 * (group["high_s"] / group["estimated_s"] - 1).median())


def coverage_section(frame: pd.DataFrame, scores: Sequence[SummaryRow]) -> Section:
    """Coverage and width of networks per set and of layers per operation, predicted mapping."""
    found = {row.key[1:]: row for row in scores if row.subject.startswith("intervals/")}
    sets = in_order(frame["set"], tuple(SET_TEXT))
    networks = _table(found, [("networks", each) for each in (*sets, EVERY_SET)], "Networks")
    operations = dict.fromkeys(frame.loc[frame["layer"] != "", "operation"])
    subjects = ["layers", "layers_out_of_range", *(f"layers/{name}" for name in operations)]
    layers = _table(found, [(name, EVERY_SET) for name in subjects], "Layer type")
    shown = f"{SHOWN_LEVEL:.0%}"
    notes = (
        f"Coverage is how many measured times lie within the {shown} interval: {shown} are "
        "expected. Width is the median distance of its upper end from the estimate; intervals are "
        "multiplicative, so the lower end is a little nearer.",
        "Layers of one network, and networks of one family, miss together: few networks say "
        "little of a coverage, and those of one family less than their number.",
    )
    tables = (
        Table("coverage_networks", f"{shown} intervals of networks", networks, notes),
        Table("coverage_layers", f"{shown} intervals of layers, all networks", layers),
    )
    picture = Picture(
        "interval_calibration",
        "Share of measured times within their interval, by the interval's level.",
        calibration(frame),
    )
    return Section("Intervals", (), tables, (picture,))


def _table(
    found: Mapping[tuple[str, ...], SummaryRow], places: Iterable[tuple[str, str]], heading: str
) -> pd.DataFrame:
    lines = []
    for name, data_set in places:
        key = (data_set, f"intervals/{name}/predicted", _MODEL)
        percent = f"{100 * SHOWN_LEVEL:g}"
        covered = found.get((*key, f"coverage_{percent}"))
        if covered is None:
            continue
        text = SET_TEXT.get(data_set, data_set) if name == "networks" else name
        width = found[*key, f"width_{percent}"].value
        line = {heading: text.removeprefix("layers/"), "n": covered.n}
        lines.append(line | {"Coverage (%)": covered.value, "Width (%)": width})
    return pd.DataFrame(lines)


def calibration(frame: pd.DataFrame) -> Any:
    """Empirical over nominal coverage: the networks of each set, and all layers."""
    chosen = frame[frame["mapping"] == "predicted"]
    lines = {
        SET_TEXT.get(name, name): group
        for (name,), group in grouped(chosen[chosen["layer"] == ""], "set")
    }
    lines["all layers"] = chosen[chosen["layer"] != ""]
    with styled():
        figure = new_figure(5, 4)
        axes = figure.add_subplot()
        axes.plot([0, 100], [0, 100], color="#222222", linewidth=1, label="as stated")
        for (name, group), marker in zip(lines.items(), "os^Dv", strict=False):
            levels = sorted(set(group["level"]))
            covered = [_covered(group[group["level"] == level]) for level in levels]
            axes.plot([100 * level for level in levels], covered, marker=marker, label=name)
        axes.set_xlabel("level (%)")
        axes.set_ylabel("measured times within (%)")
        axes.legend()
    return figure
