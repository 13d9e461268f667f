"""Seeded sample points for the statistical models (ANNETTE, section 5.1.2).

Shapes are drawn as real networks have them, by rules of thumb (`benchmark.draws`) or near their
layers (`benchmark.layer_distribution`). Data set 1 then rounds the settings that the array unrolls
to multiples of their fitted s, data set 2 adds Gaussian noise to them, data set 3 is their union.
Grouped convolutions, which the paper does not have, stay as drawn and are tagged "base".
A point depends only on (run seed, benchmark, index): order and parallelism change nothing.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import layer_distribution
from benchmark.config import MultiLayer, Sampling
from benchmark.draws import DRAWS, Row
from benchmark.plan import BenchmarkCase, make_case
from benchmark.sweep import SWEPT_FEATURE
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import ArtefactError, SchemaError
from strata.work import Work

Sizes = Mapping[str, int]  # feature -> fitted s

_NODE_S = 3e-6
_TRIES = 1000


def named_generator(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the run's seed and the names only."""
    digest = hashlib.sha256(json.dumps([seed, *map(str, names)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _unrolled(row: Row, sizes: Sizes) -> dict[str, int]:
    """Setting -> step that keeps its feature a multiple of s, for the settings drawn."""
    steps = {}
    for setting in row:
        feature = SWEPT_FEATURE.get(setting, setting)
        if (size := sizes.get(feature, 1)) > 1:
            steps[setting] = size * (row["stride"] if feature.startswith("output_") else 1)
    return steps


def place(
    row: Row, sizes: Sizes, data_set: str, noise: float, generator: np.random.Generator
) -> Row:
    """The row moved into a data set: "aligned" multiples of s, "noisy" ones around them.

    Settings with s = 1, those below half a step (an image's three channels are no choice), and
    all of them in data set "base", stay as drawn.
    """
    if data_set == "base":
        return row
    placed = dict(row)
    for setting, step in _unrolled(row, sizes).items():
        if 2 * row[setting] < step:
            continue
        value = step * max(1, round(row[setting] / step))
        if data_set == "noisy":
            value = max(1, round(generator.normal(value, noise * step)))
        placed[setting] = value
    return placed


@dataclass(frozen=True, slots=True)
class _Cost:
    work: Work
    weights: int
    largest: int  # elements of the largest tensor


def _cost(benchmark: str, row: Row) -> _Cost | None:
    """What a graph takes, or None where the benchmark allows no such settings."""
    try:
        graph = build(benchmark, row)
    except SchemaError:
        return None
    weights = graph.weight_elements
    largest = max(math.prod(layer.output_shape) for layer in graph.layers)
    return _Cost(graph.work, weights, largest)


def with_kernels(benchmark: str, row: Row, sampling: Sampling) -> Row | None:
    """As many kernels as run for about `graph_time_s`; None if not even one fits the limits."""
    cost = _cost(benchmark, {**row, "kernels": 1})
    if (
        cost is None
        or cost.work.macs > sampling.macs_limit
        or cost.weights > sampling.weights_limit
        or cost.largest > sampling.elements_limit
    ):
        return None
    work = cost.work
    kernel_s = _NODE_S + work.ops / sampling.ops_per_s + work.bytes / sampling.bytes_per_s
    most = min(sampling.kernels_limit, BENCHMARKS[benchmark].settings["kernels"].maximum or 1)
    if cost.weights:
        most = min(most, sampling.weights_limit // cost.weights)
    return {**row, "kernels": max(1, min(most, round(sampling.graph_time_s / kernel_s)))}


def _network(benchmark: str, row: Row, sampling: Sampling) -> Row | None:
    """The row as drawn; None if the network is above its limit.

    No limit holds for networks of published families: real networks are as large as they are.
    """
    if benchmark == "architectures":
        return row
    cost = _cost(benchmark, row)
    return row if cost and cost.work.macs <= sampling.network_macs_limit else None


def _data_set(generator: np.random.Generator, sampling: Sampling) -> str:
    if sampling.data_set != "union":
        return sampling.data_set
    return "noisy" if generator.random() < sampling.noisy_share else "aligned"


_NEAR_SHARE = {"shapes": 0.0, "both": 0.5, "distribution": 1.0}  # points near real layers


def _drawn(benchmark: str, generator: np.random.Generator, sampling: Sampling) -> Row:
    """Settings by the sampling's way of drawing; networks, and kernels that the snapshot of
    real layers does not have, know but rules of thumb.
    """
    known = benchmark in layer_distribution.real_layers()
    share = _NEAR_SHARE[sampling.draw] if known else 0.0
    # certain outcomes draw no number: points of earlier plans stay
    if share == 1.0 or (share and generator.random() < share):
        return layer_distribution.draw(benchmark, generator, sampling)
    return DRAWS[benchmark](generator, sampling)


def sample_case(
    benchmark: str, index: int, seed: int, sampling: Sampling, sizes: Sizes, stream: str = ""
) -> BenchmarkCase:
    """Sample point `index` of a benchmark; another `stream` is another sequence of points.

    `sizes` maps features to their fitted s. SchemaError if the limits leave nothing to draw.
    """
    names = (benchmark, stream, index) if stream else (benchmark, index)
    generator = named_generator(seed, *names)
    is_kernel = BENCHMARKS[benchmark].operation is not None
    wanted = _data_set(generator, sampling) if is_kernel else "base"
    finish = with_kernels if is_kernel else _network
    for _ in range(_TRIES):
        drawn = _drawn(benchmark, generator, sampling)
        # moved to multiples of s or off them, few rows had channels that their groups still divide
        data_set = "base" if drawn.get("groups", 1) > 1 else wanted
        row = place(drawn, sizes, data_set, sampling.noise, generator)
        if (complete := finish(benchmark, row, sampling)) is not None:
            return make_case(benchmark, complete, {"data_set": data_set})
    raise SchemaError(
        f"sampling: its limits leave no {benchmark} to draw; legal: larger macs_limit, "
        "network_macs_limit, elements_limit or weights_limit"
    )


def _distinct(draw: Callable[[int], BenchmarkCase], count: int, what: str) -> list[BenchmarkCase]:
    """The first `count` different cases of a sequence."""
    found: dict[str, BenchmarkCase] = {}
    for index in range(20 * count + 100):
        if len(found) == count:
            return list(found.values())
        case = draw(index)
        found.setdefault(case.case_id, case)
    raise SchemaError(f"samples.{what}: only {len(found)} different points; legal: at most those")


def plan_samples(
    samples: Mapping[str, int],
    multi_layer: MultiLayer,
    seed: int,
    sampling: Sampling,
    unrolling: Mapping[str, Sizes] | None = None,
) -> list[BenchmarkCase]:
    """Sample points of all micro-kernels, then multi-layer networks; tag `data_set`.

    `unrolling` maps operation -> feature -> s. A larger count keeps the points of a smaller one.
    """
    cases: list[BenchmarkCase] = []
    for benchmark, count in {**samples, **multi_layer.model_dump()}.items():
        sizes = dict((unrolling or {}).get(benchmark, {}))
        draw = partial(sample_case, benchmark, seed=seed, sampling=sampling, sizes=sizes)
        cases += _distinct(draw, count, benchmark)
    return cases


def plan_apart(
    networks: MultiLayer, purpose: str, seed: int, sampling: Sampling
) -> list[BenchmarkCase]:
    """Networks for one purpose, MAPPING_ONLY or TOTAL_ONLY; none of them is among the samples."""
    cases: list[BenchmarkCase] = []
    for benchmark, count in networks.model_dump().items():
        draw = partial(
            sample_case, benchmark, seed=seed, sampling=sampling, sizes={}, stream=purpose
        )
        found = _distinct(draw, count, benchmark)
        cases += [replace(case, tags=case.tags | {"purpose": purpose}) for case in found]
    return cases


def read_unrolling(path: Path) -> dict[str, dict[str, int]]:
    """Operation -> feature -> s, of the dimensions the fit identified.

    ArtefactError for a file that is missing or no unrolling file.
    """
    try:
        data: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return {
            operation: {str(fit["feature"]): int(fit["size"]) for fit in fits if fit["identified"]}
            for operation, fits in data.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: not an unrolling file: {error!r}") from None
