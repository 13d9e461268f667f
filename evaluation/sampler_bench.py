"""What the comparison of samplers measures and fits: convolutions on a platform that computes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import Any

import numpy as np
import pandas as pd

from benchmark.adaptive import Measured
from benchmark.config import Sampling
from benchmark.matcher import match
from benchmark.plan import BenchmarkCase, make_case
from benchmark.rounds import Round, choose
from benchmark.sampling import named_generator, sample_case, with_kernels
from benchmark.tables import Rows, add_match
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from model_gen.peaks import fit_peaks
from model_gen.statistical import ForestSettings, efficiency, fit_forest
from model_gen.tables import table_matrix, table_times
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError
from strata.graph import Graph, with_bits
from strata.layer import Layer
from strata.layer_models import Refined, Statistical

KERNEL = "convolution"
# The grid of ANNETTE's benchmarks; aspect at most 2, tensors of at most 16 M elements.
GRID_EXTENTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
GRID_CHANNELS = (3, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 1536, 2048, 4096)
GRID_KERNELS = (1, 3, 5, 7)
_GRID_ELEMENTS = 16_000_000
_UNIFORM = {"extent": (1, 1024), "channels": (1, 4096), "kernel": (1, 7), "stride": (1, 2)}
_FIRST_SHARE = 2 / 3  # of the smallest budget is drawn, the rest is chosen in rounds
_MOST_GROWTH = 1.35  # of the number of points in one round
_HELD_OUT = 0.15

Draw = Callable[[int, int], list[BenchmarkCase]]  # (count, seed) -> cases


def _grid_row(generator: np.random.Generator) -> dict[str, Any] | None:
    height, width = (int(generator.choice(GRID_EXTENTS)) for _ in range(2))
    channels, filters = (int(generator.choice(GRID_CHANNELS)) for _ in range(2))
    largest = height * width * max(channels, filters)
    if max(height, width) > 2 * min(height, width) or largest > _GRID_ELEMENTS:
        return None
    kernel = int(generator.choice(GRID_KERNELS))
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "filters": filters,
        "kernel": kernel,
        "stride": 1,
    }


def _uniform_row(generator: np.random.Generator) -> dict[str, Any] | None:
    """Extents and channels log-uniform, each by itself; aspect as the grid's."""

    def size(low: int, high: int) -> int:
        return round(exp(generator.uniform(log(low), log(high))))

    height, width = size(*_UNIFORM["extent"]), size(*_UNIFORM["extent"])
    if max(height, width) > 2 * min(height, width):
        return None
    channels, filters = size(*_UNIFORM["channels"]), size(*_UNIFORM["channels"])
    low, high = _UNIFORM["kernel"]
    least, most = _UNIFORM["stride"]
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "filters": filters,
        "kernel": int(generator.integers(low, high + 1)),
        "stride": int(generator.integers(least, most + 1)),
    }


def _drawn_rows(
    row: Callable[[np.random.Generator], dict[str, Any] | None], name: str, sampling: Sampling
) -> Draw:
    """Different legal cases of a way to draw rows, within the sampling's limits."""

    def draw(count: int, seed: int) -> list[BenchmarkCase]:
        generator = named_generator(seed, "compare", name)
        found: dict[str, BenchmarkCase] = {}
        while len(found) < count:
            drawn = row(generator)
            complete = with_kernels(KERNEL, drawn, sampling) if drawn else None
            if complete is not None:
                case = make_case(KERNEL, complete)
                found.setdefault(case.case_id, case)
        return list(found.values())

    return draw


def _sampled(sampling: Sampling, stream: str = "compare") -> Draw:
    def draw(count: int, seed: int) -> list[BenchmarkCase]:
        found: dict[str, BenchmarkCase] = {}
        index = 0
        while len(found) < count:
            case = sample_case(KERNEL, index, seed, sampling, {}, stream)
            found.setdefault(case.case_id, case)
            index += 1
        return list(found.values())

    return draw


def draws(sampling: Sampling) -> dict[str, Draw]:
    """The ways to draw that need no measurement, by name."""
    return {
        "grid": _drawn_rows(_grid_row, "grid", sampling),
        "random": _drawn_rows(_uniform_row, "random", sampling),
        **{name: _sampled(drawing(sampling, name)) for name in ("shapes", "distribution", "both")},
    }


def drawing(sampling: Sampling, draw: str) -> Sampling:
    """The sampling with another way to draw; no data set: points stay as drawn."""
    return sampling.model_copy(update={"draw": draw, "data_set": "base"})


@dataclass(slots=True)
class Bench:
    """A platform whose times are computed, and the layer rows measured on it so far."""

    module: HardwareModule
    refused: int = 0
    _rows: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def rows_of(self, graph: Graph, name: str) -> list[dict[str, Any]]:
        """Convolution rows of a graph; none if the platform refuses it."""
        if self.module.supports(graph):
            self.refused += 1
            return []
        report = self.module.profile(self.module.compile(graph), 1, 0)
        profile = self.module.parse(report, graph)
        graph, rows = with_bits(graph, profile.bits), Rows()
        case = {"case_id": name, "benchmark": KERNEL, "settings": {}}
        try:
            add_match(rows, {"case": case}, graph, profile, match(graph, profile))
        except MatchError:
            self.refused += 1
        return rows.layers[KERNEL]

    def _case_row(self, case: BenchmarkCase) -> dict[str, Any] | None:
        if case.case_id not in self._rows:
            graph = build(case.benchmark, case.settings)
            rows = [row for row in self.rows_of(graph, case.case_id) if row["layer"] == "kernel_0"]
            self._rows[case.case_id] = rows[0] if rows else None
        return self._rows[case.case_id]

    def table(self, cases: Sequence[BenchmarkCase]) -> pd.DataFrame:
        """One row per case that the platform runs in its own way."""
        return pd.DataFrame([row for case in cases if (row := self._case_row(case)) is not None])

    def measured(self, cases: Sequence[BenchmarkCase]) -> Measured:
        """The same as the rounds see it."""
        rows = [(case, row) for case in cases if (row := self._case_row(case)) is not None]
        times = np.array([row["time_s"] for _, row in rows], dtype=np.float64)
        return Measured(tuple(case for case, _ in rows), times)


def fit(table: pd.DataFrame, seed: int) -> Statistical:
    """Gradient boosting of ln(u), equation 5: one learner for all samplers."""
    peaks = fit_peaks(table)
    matrix, time_s = table_matrix(table), table_times(table)
    utilisation = efficiency(matrix, time_s, Refined(peaks.ceiling))
    found = fit_forest(matrix, utilisation, seed, ForestSettings(learner="boosting"))
    return Statistical(peaks.ceiling, found.forest, found.feature_names)


def budgets_on_the_way(start: int, budgets: Sequence[int]) -> Iterator[int]:
    """Numbers of points after each round, all budgets among them."""
    points = start
    for budget in budgets:
        while points < budget:
            points = min(budget, int(points * _MOST_GROWTH))
            yield points


def with_rounds(
    bench: Bench, sampling: Sampling, seed: int, budgets: Sequence[int], steps: float
) -> dict[int, list[BenchmarkCase]]:
    """Cases by budget: first drawn, then added in rounds as `benchmark.rounds` chooses them."""
    cases = _sampled(sampling)(int(_FIRST_SHARE * budgets[0]), seed)
    found = {}
    for number, points in enumerate(budgets_on_the_way(len(cases), budgets), 1):
        turn = Round(number, seed, _HELD_OUT, steps, target_error_percent=1e-9)

        def candidates(count: int, number: int = number) -> list[BenchmarkCase]:
            return [
                sample_case(KERNEL, index, seed, sampling, {}, f"compare round {number}")
                for index in range(count)
            ]

        wanted = points - len(cases)
        cases += choose(bench.measured(cases), wanted, turn, sampling, candidates).cases
        if points in budgets:
            found[points] = list(cases)
    return found


def _activation(graph: Graph, layer: Layer) -> op.Activation | None:
    """The activation behind a convolution, through batch normalisation."""
    for reader in graph.layers:
        if layer.name in reader.inputs:
            if isinstance(reader.parameters, op.Activation):
                return reader.parameters
            if isinstance(reader.parameters, op.BatchNormalization):
                return _activation(graph, reader)
    return None


def alone(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Every convolution of a network in a graph of its own, with its activation: (key, graph).

    Equal keys are equal layers. A global pooling ends the graph, as in the micro-kernels.
    """
    for layer in graph.layers:
        if layer.operation != KERNEL:
            continue
        kind, shape = _activation(graph, layer), layer.input_shapes[0]
        builder = GraphBuilder("alone")
        end = builder.add(layer.parameters, builder.input(*shape, name="input"), name="kernel_0")
        if kind is not None:
            end = builder.add(kind, end, name=f"kernel_0/{kind.kind}")
        builder.add(op.GlobalPooling("average"), end, name="tail_0")
        yield f"{layer.parameters} {shape} {kind}", builder.build()


@dataclass(frozen=True, slots=True)
class Judges:
    """Layers that no sampler saw: those of evaluation networks alone, and of benchmark networks.

    `networks` gives per network the rows of its convolutions, as positions in `alone`.
    """

    alone: pd.DataFrame
    networks: dict[str, list[int]]
    inside: pd.DataFrame

    def errors(self, model: Statistical) -> dict[str, float]:
        """Percent: of a layer alone, of the sum of a network's layers, of a layer inside."""
        estimated, measured = self._times(model, self.alone)
        sums = [
            abs(estimated[rows].sum() / measured[rows].sum() - 1) for rows in self.networks.values()
        ]
        inside, true = self._times(model, self.inside)
        return {
            "layers_alone": float(100 * np.mean(np.abs(estimated / measured - 1))),
            "network_sums": float(100 * np.mean(sums)),
            "layers_inside": float(100 * np.mean(np.abs(inside / true - 1))),
        }

    @staticmethod
    def _times(model: Statistical, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        return model.time_s(table_matrix(table)), table_times(table)


def make_judges(
    bench: Bench, networks: Iterable[tuple[str, Graph]], sampling: Sampling, cells: int, seed: int
) -> Judges:
    """What the samplers are judged by, measured; `cells` networks are drawn by their own seed."""
    rows: list[dict[str, Any]] = []
    places: dict[str, int | None] = {}
    layers: dict[str, list[int]] = {}
    for name, graph in networks:
        for key, single in alone(graph):
            if key not in places:
                found = [row for row in bench.rows_of(single, key) if row["layer"] == "kernel_0"]
                places[key] = len(rows) if found else None
                rows += found[:1]
            if (place := places[key]) is not None:
                layers.setdefault(name, []).append(place)
    inside = [
        row
        for index in range(cells)
        for case in [sample_case("cells", index, seed, sampling, {}, "judges")]
        for row in bench.rows_of(build(case.benchmark, case.settings), case.case_id)
    ]
    return Judges(pd.DataFrame(rows), layers, pd.DataFrame(inside))
