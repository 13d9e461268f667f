"""The figures of the accuracy table for one platform, as plain numbers.

One row per figure: every model kind with the predicted and with the oracle mapping, the noise
floor, the scaled roofline, the aim, and what follows from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.aims import AT_LEAST, aims_of, reaches
from evaluation.coverage import EVERY_SET, check_coverage, coverage_scores
from evaluation.families import FamilyCoverage, family_coverage, pooled_coverage
from evaluation.frames import UNTIMED, check_layers, check_networks, read_table
from evaluation.metrics import mape, spearman
from evaluation.noise_floor import noise_of
from evaluation.paper_tables import paper_numbers
from evaluation.points import points_per_layer_type
from evaluation.scaled_roofline import SCALED, fitted_factor, scaled
from strata.errors import ArtefactError
from strata.platform_model import load_platform_model

JUDGED = "mixed"
ORACLE = "_oracle"
KIND_ORDER = ("mixed", "mixed-annette", "statistical", "refined", "roofline")
LONG_S = 50e-6
_ALL = ("table2", "keras", "nasbench")


@dataclass(frozen=True, slots=True)
class Figure:
    """What is scored: networks or layers of an operation, of which sets, longer than what."""

    name: str
    text: str
    sets: tuple[str, ...]
    operation: str | None = None
    longer_s: float = 0.0

    def chosen(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows that the figure is about; `frame` has `measured_s` if they have a duration."""
        rows = frame[frame["set"].isin(self.sets)]
        if self.operation is None:
            return rows
        rows = rows[(rows["operation"] == self.operation) & (rows["measured_s"] > self.longer_s)]
        return rows[rows["status"] == "matched"] if "status" in rows.columns else rows

    def value(self, first_s: pd.Series, second_s: pd.Series) -> float:
        """MAPE in percent of the first, or Spearman's rank correlation; NaN without rows."""
        if first_s.empty:
            return float("nan")
        if self.name in AT_LEAST:
            return spearman(first_s.to_numpy(), second_s.to_numpy()).value
        return mape(first_s.to_numpy(), second_s.to_numpy())


FIGURES = (
    Figure("table2_mape", "network MAPE, 12 networks (%)", _ALL[:1]),
    Figure("keras_mape", "network MAPE, Keras (%)", _ALL[1:2]),
    Figure("nasbench_spearman", "Spearman, NASBench", _ALL[2:]),
    Figure("nasbench_mape", "network MAPE, NASBench (%)", _ALL[2:]),
    Figure("convolution_mape", "convolutions' MAPE, 12 networks (%)", _ALL[:1], "convolution"),
    Figure(
        "long_convolution_mape",
        "convolutions' MAPE, 12 networks, > 50 us (%)",
        _ALL[:1],
        "convolution",
        LONG_S,
    ),
    Figure("every_convolution_mape", "convolutions' MAPE, all networks (%)", _ALL, "convolution"),
    Figure(
        "every_long_convolution_mape",
        "convolutions' MAPE, all networks, > 50 us (%)",
        _ALL,
        "convolution",
        LONG_S,
    ),
)
POINTS = "points"
COVERAGE = "coverage_90"
FAMILIES = "coverage_90_families"
# What the paper reports of the real device that a platform simulates: (table, subject, metric)
_PAPER_DEVICE = {"dpu_zcu102": "ZCU102", "ncs2": "NCS2"}
_PAPER = {
    "table2_mape": ("table5", "networks", "mape"),
    "nasbench_spearman": ("table6", "networks", "spearman"),
    "nasbench_mape": ("table6", "networks", "mape"),
    "convolution_mape": ("table3", "convolution", "mape"),
}


@dataclass(frozen=True, slots=True)
class Results:
    """What one platform's results folder holds for the table; frames as their modules say.

    `noise` are the halves of networks and layers, `noise_source` says what they are.
    """

    platform: str
    networks: pd.DataFrame
    layers: pd.DataFrame
    noise: tuple[pd.DataFrame, pd.DataFrame]
    noise_source: str
    factor: float
    points: pd.DataFrame
    intervals: pd.DataFrame | None = None
    families: tuple[FamilyCoverage, ...] = ()


def find_platforms(folder: Path) -> list[Path]:
    """Folders of platforms that were evaluated, by name; ArtefactError where there is none."""
    found = sorted(path.parent.parent for path in folder.glob("*/evaluation/networks.parquet"))
    if not found:
        raise ArtefactError(
            f"{folder}: no platform was evaluated; `make run` writes <platform>/evaluation"
        )
    return found


def read_results(folder: Path) -> Results:
    """All inputs of one platform; ArtefactError or SchemaError names the file at fault."""
    model = load_platform_model(folder / f"{folder.name}.strata")
    networks, layers, source = noise_of(folder)
    return Results(
        platform=folder.name,
        networks=read_table(folder / "evaluation" / "networks.parquet", check_networks),
        layers=read_table(folder / "evaluation" / "layers.parquet", check_layers),
        noise=(networks, layers),
        noise_source=source,
        factor=fitted_factor(folder / "tables", model),
        points=points_per_layer_type(folder / "tables"),
        intervals=_intervals(folder / "evaluation" / "intervals.parquet"),
        families=family_coverage(folder / "tables" / "calibration.parquet", model),
    )


def _intervals(path: Path) -> pd.DataFrame | None:
    """Intervals of the evaluated networks; None where the model has none."""
    if not path.exists():
        return None
    frame = read_table(path, check_coverage)
    return frame if len(frame) else None


def paper_value(platform: str, figure: str) -> float:
    """ANNETTE's mixed model on the device that the platform simulates; NaN where it says none."""
    if platform not in _PAPER_DEVICE or figure not in _PAPER:
        return float("nan")
    numbers = paper_numbers()
    wanted = dict(zip(("table", "subject", "metric"), _PAPER[figure], strict=True))
    wanted |= {"device": _PAPER_DEVICE[platform], "model": JUDGED}
    for column, value in wanted.items():
        numbers = numbers[numbers[column] == value]
    return float(numbers["value"].iloc[0]) if len(numbers) else float("nan")


def _by_kind(figure: Figure, frame: pd.DataFrame) -> dict[str, float]:
    """The figure by kind, with the oracle mapping by kind and "_oracle"."""
    values = {}
    for (kind, mapping), rows in figure.chosen(frame).groupby(["kind", "mapping"]):
        name = f"{kind}{ORACLE if mapping == 'oracle' else ''}"
        values[name] = figure.value(rows["measured_s"], rows["estimated_s"])
    return values


def _floor(figure: Figure, noise: tuple[pd.DataFrame, pd.DataFrame]) -> float:
    rows = figure.chosen(noise[0] if figure.operation is None else noise[1])
    known = rows.dropna(subset=["first_s", "second_s"])
    known = known[(known["first_s"] > 0) & (known["second_s"] > 0)]
    return figure.value(known["first_s"], known["second_s"])


def _better(figure: Figure, value: float, baseline: float) -> bool:
    return value > baseline if figure.name in AT_LEAST else value < baseline


def _verdict(figure: str, value: float, aim: float | None) -> str:
    if aim is None:
        return ""
    return "reached" if reaches(figure, value, aim) else "MISSED"


def figure_row(figure: Figure, results: Results) -> dict[str, Any] | None:
    """One row of the table; None where the platform has no such network or layer."""
    frame = results.networks if figure.operation is None else results.layers
    chosen = figure.chosen(frame)
    judged = chosen[(chosen["kind"] == JUDGED) & (chosen["mapping"] == "predicted")]
    if judged.empty:
        return None
    values = _by_kind(figure, frame)
    baseline = _by_kind(figure, scaled(frame, results.factor)) if results.factor > 0 else {}
    value, below = values[JUDGED], baseline.get(SCALED, float("nan"))
    aim = aims_of(results.platform).get(figure.name)
    return {
        "platform": results.platform,
        "figure": figure.name,
        "text": figure.text,
        "n": len(judged),
        **values,
        SCALED: below,
        "noise_floor": _floor(figure, results.noise),
        "aim": aim,
        "paper": paper_value(results.platform, figure.name),
        "verdict": _verdict(figure.name, value, aim),
        "beats_scaled_roofline": "" if below != below else _yes(_better(figure, value, below)),
    }


def _yes(beats: bool) -> str:
    return "yes" if beats else "NO"


def _row(figure: str, text: str, n: int, value: float, platform: str) -> dict[str, Any]:
    """A row of the mixed model alone, without baselines."""
    aim = aims_of(platform).get(figure)
    return {
        "platform": platform,
        "figure": figure,
        "text": text,
        "n": n,
        JUDGED: value,
        "aim": aim,
        "verdict": _verdict(figure, value, aim),
        "beats_scaled_roofline": "",
    }


def points_row(results: Results) -> dict[str, Any]:
    """The layer type with the most points; what is counted is in `evaluation.points`."""
    most = results.points.iloc[0]
    text = f"points per layer type, the most ({most['layer_type']})"
    return _row(POINTS, text, int(most["rows"]), float(most["points"]), results.platform)


def coverage_row(results: Results) -> dict[str, Any] | None:
    """Share of all networks' totals inside their 90% interval, predicted mapping, in percent."""
    if results.intervals is None:
        return None
    subject = "intervals/networks/predicted"
    for row in coverage_scores(results.intervals, results.platform):
        if (row.data_set, row.subject, row.metric) == (EVERY_SET, subject, COVERAGE):
            text = "networks inside their 90% interval (%)"
            return _row(COVERAGE, text, row.n, row.value, results.platform)
    return None


def families_row(results: Results) -> dict[str, Any] | None:
    """The same of calibration networks, each family's by intervals that stand on the others."""
    if not results.families:
        return None
    text = "networks inside their 90% interval, families left out in turn (%)"
    networks = sum(each.networks for each in results.families)
    covered = 100 * pooled_coverage(results.families)
    return _row(FAMILIES, text, networks, covered, results.platform)


def platform_rows(results: Results) -> list[dict[str, Any]]:
    """All rows of one platform."""
    rows = [figure_row(figure, results) for figure in FIGURES]
    rows += [points_row(results), coverage_row(results), families_row(results)]
    return [row for row in rows if row is not None]


def incomplete(results: Results) -> int:
    """Networks whose totals lack layers of unknown time."""
    judged = results.networks[results.networks["kind"] == JUDGED]
    lacking = judged[(judged["mapping"] == "predicted") & (judged[UNTIMED] > 0)]
    return len(lacking)


def accuracy_frame(every: Sequence[Results]) -> pd.DataFrame:
    """The table of all platforms: one row per platform and figure, columns in reading order."""
    frame = pd.DataFrame([row for results in every for row in platform_rows(results)])
    kinds = [kind for kind in KIND_ORDER if kind in frame.columns]
    order = [
        *("platform", "figure", "text", "n", JUDGED, f"{JUDGED}{ORACLE}", "aim", "verdict"),
        *("noise_floor", SCALED, "beats_scaled_roofline", "paper"),
        *(name for kind in kinds if kind != JUDGED for name in (kind, f"{kind}{ORACLE}")),
    ]
    return frame.reindex(columns=order)
