"""Seeded sample points for the statistical models (ANNETTE, section 5.1.2).

Shapes are drawn as real networks have them: small images with many channels, channels mostly
divisible by 8, kernels mostly 1 or 3. Data set 1 then rounds the settings that the array unrolls
to multiples of their fitted s, data set 2 adds Gaussian noise to them, data set 3 is their union.
A point depends only on (run seed, benchmark, index): order and parallelism change nothing.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import MultiLayer, Sampling
from benchmark.plan import BenchmarkCase, make_case
from benchmark.sweep import SWEPT_FEATURE
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import ArtefactError, SchemaError
from strata.work import Work, weight_elements

Row = dict[str, Any]
Sizes = Mapping[str, int]  # feature -> fitted s

_COMMON_EXTENTS = (7, 8, 10, 13, 14, 16, 17, 19, 20, 26, 28, 32, 35, 40, 52, 56, 64, 80, 112, 128)
_COMMON_SHARE = 0.6
_SQUARE_SHARE = 0.8
_SMALL_SHARE = 0.1
# In ResNet, MobileNet, Inception and VGG the product of image edge and channels stays near this.
_EDGE_TIMES_CHANNELS = 4500.0
_CHANNEL_SPREAD = 0.9  # standard deviation of ln(channels) around it
_FREE_CHANNELS_SHARE = 0.15
_FIRST_LAYER_SHARE = 0.05
_SQUEEZE_EXCITE_SHARE = 0.08
_RESIDUAL_SHARE = 0.2
_UNUSUAL_SHARE = 0.03  # dilated, and grouped convolutions
_CLASSIFIER_SHARE = 0.3
_LONG_SHARE = 0.5
_ACTIVATIONS = {
    "none": 0.25,
    "relu": 0.45,
    "relu6": 0.05,
    "leaky_relu": 0.04,
    "sigmoid": 0.04,
    "swish": 0.07,
    "hard_swish": 0.05,
    "tanh": 0.02,
    "gelu": 0.03,
}
_NODE_S = 3e-6
_TRIES = 1000


def named_generator(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the run's seed and the names only."""
    digest = hashlib.sha256(json.dumps([seed, *map(str, names)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> int:
    return round(math.exp(generator.uniform(math.log(low), math.log(high))))


def _choose(generator: np.random.Generator, values: Mapping[int, float]) -> int:
    return int(generator.choice(list(values), p=list(values.values())))


def _extents(generator: np.random.Generator, largest: int = 512) -> tuple[int, int]:
    """Height and width; the longer at most twice the shorter."""
    if generator.random() < _COMMON_SHARE:
        height = int(generator.choice(_COMMON_EXTENTS))
    else:
        height = _log_uniform(generator, 1 if generator.random() < _SMALL_SHARE else 5, largest)
    if generator.random() < _SQUARE_SHARE:
        return height, height
    width = round(height * 2.0 ** generator.uniform(-1, 1))
    low, high = math.ceil(height / 2), min(512, 2 * height)
    return height, min(max(width, low, 1), high)


def _round_channels(generator: np.random.Generator, value: float, sampling: Sampling) -> int:
    if generator.random() < sampling.aligned_channels:
        value = max(8, 8 * round(value / 8))
    return int(min(max(round(value), 1), 2048))


def _channels(generator: np.random.Generator, edge: int, sampling: Sampling) -> int:
    if generator.random() < _FREE_CHANNELS_SHARE:
        value = float(_log_uniform(generator, 3, 2048))
    else:
        centre = math.log(_EDGE_TIMES_CHANNELS / max(edge, 4))
        value = math.exp(generator.normal(centre, _CHANNEL_SPREAD))
    return _round_channels(generator, value, sampling)


def _activation(generator: np.random.Generator) -> str:
    return str(generator.choice(list(_ACTIVATIONS), p=list(_ACTIVATIONS.values())))


def _first_layer(generator: np.random.Generator) -> Row:
    edge = _log_uniform(generator, 32, 512)
    return {
        "height": edge,
        "width": edge,
        "channels": _choose(generator, {1: 0.2, 3: 0.8}),
        "filters": 8 * int(generator.integers(1, 13)),
        "kernel": _choose(generator, {3: 0.6, 5: 0.1, 7: 0.3}),
        "stride": _choose(generator, {1: 0.3, 2: 0.7}),
    }


def _squeeze_excite(generator: np.random.Generator, sampling: Sampling) -> Row:
    wide = _log_uniform(generator, 16, 2048)
    narrow = wide / _choose(generator, {4: 0.4, 16: 0.3, 24: 0.3})
    sizes = [_round_channels(generator, value, sampling) for value in (wide, narrow)]
    channels, filters = sizes if generator.random() < 0.5 else sizes[::-1]
    fixed = {"height": 1, "width": 1, "kernel": 1, "stride": 1}
    return {**fixed, "channels": channels, "filters": filters}


def _inner_convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    height, width = _extents(generator)
    row: Row = {
        "height": height,
        "width": width,
        "channels": _channels(generator, height, sampling),
        "filters": _channels(generator, height, sampling),
        "kernel": _choose(generator, {1: 0.48, 3: 0.38, 5: 0.08, 7: 0.06}),
        "stride": _choose(generator, {1: 0.8, 2: 0.2}) if min(height, width) > 1 else 1,
    }
    if generator.random() < _RESIDUAL_SHARE:
        row["filters"] = row["channels"]  # stands in a chain, as in a residual branch
    if row["kernel"] == 3 and generator.random() < _UNUSUAL_SHARE:
        row["dilation"] = 2
    elif generator.random() < _UNUSUAL_SHARE:
        row["groups"] = _choose(generator, {2: 0.3, 4: 0.3, 8: 0.2, 32: 0.2})
        row["channels"] = row["groups"] * max(2, round(row["channels"] / row["groups"]))
        row["filters"] = row["groups"] * max(2, round(row["filters"] / row["groups"]))
    return row


def _convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    kind = generator.random()
    if kind < _FIRST_LAYER_SHARE:
        row = _first_layer(generator)
    elif kind < _FIRST_LAYER_SHARE + _SQUEEZE_EXCITE_SHARE:
        row = _squeeze_excite(generator, sampling)
    else:
        row = _inner_convolution(generator, sampling)
    return {**row, "activation": _activation(generator)}


def _depthwise_convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    height, width = _extents(generator, 256)
    return {
        "height": height,
        "width": width,
        "channels": _channels(generator, height, sampling),
        "kernel": _choose(generator, {3: 0.65, 5: 0.27, 7: 0.08}),
        "stride": _choose(generator, {1: 0.75, 2: 0.25}),
        "activation": _activation(generator),
    }


def _pooling(generator: np.random.Generator, sampling: Sampling) -> Row:
    height, width = _extents(generator, 256)
    return {
        "height": height,
        "width": width,
        "channels": _channels(generator, height, sampling),
        "kernel": _choose(generator, {2: 0.4, 3: 0.5, 5: 0.06, 7: 0.04}),
        "stride": _choose(generator, {1: 0.35, 2: 0.65}),
    }


def _dense(generator: np.random.Generator, sampling: Sampling) -> Row:
    channels = _log_uniform(generator, 16, 16384)
    filters = _log_uniform(generator, 8, 4096)
    if generator.random() < _CLASSIFIER_SHARE:
        filters = _choose(generator, {10: 0.3, 100: 0.2, 1000: 0.5})
    elif generator.random() < sampling.aligned_channels:
        channels, filters = (max(8, 8 * round(value / 8)) for value in (channels, filters))
    return {"channels": channels, "filters": filters, "activation": _activation(generator)}


def _add(generator: np.random.Generator, sampling: Sampling) -> Row:
    height, width = _extents(generator, 256)
    channels = _channels(generator, height, sampling)
    return {"height": height, "width": width, "channels": channels}


def _concat(generator: np.random.Generator, sampling: Sampling) -> Row:
    row = _add(generator, sampling)
    row["filters"] = _channels(generator, int(row["height"]), sampling)
    return {**row, "inputs": _choose(generator, {2: 0.5, 3: 0.2, 4: 0.3})}


def _convnet(generator: np.random.Generator, sampling: Sampling) -> Row:
    edge = _log_uniform(generator, 7, 224)
    pool = _choose(generator, {2: 0.5, 3: 0.5})
    return {
        "height": edge,
        "width": edge,
        "channels": _channels(generator, edge, sampling),
        "filters": _channels(generator, edge, sampling),
        "kernel": _choose(generator, {1: 0.3, 3: 0.5, 5: 0.2}),
        "stride": _choose(generator, {1: 0.7, 2: 0.3}),
        "pool_kernel": pool,
        "pool_stride": _choose(generator, {1: 0.2, 2: 0.8}),
        "units": _choose(generator, {10: 0.3, 100: 0.3, 1000: 0.4}),
    }


def _pooled(generator: np.random.Generator, sampling: Sampling) -> Row:
    """Half of the maps are long in one direction, beyond what row buffers may hold."""
    height, width = _extents(generator, 256)
    channels, filters = (_channels(generator, height, sampling) for _ in range(2))
    if generator.random() < _LONG_SHARE:
        height, width = _log_uniform(generator, 8, 96), _log_uniform(generator, 200, 1200)
        channels, filters = (8 * int(generator.integers(1, 9)) for _ in range(2))
        if generator.random() < 0.5:
            height, width = width, height
    pool = _choose(generator, {2: 0.6, 3: 0.4})
    return {
        "height": max(height, 6),
        "width": max(width, 6),
        "channels": channels,
        "filters": filters,
        "kernel": _choose(generator, {1: 0.2, 3: 0.55, 5: 0.15, 7: 0.1}),
        "stride": _choose(generator, {1: 0.85, 2: 0.15}),
        "activation": _activation(generator),
        "kind": str(generator.choice(["max", "average"], p=[0.8, 0.2])),
        "pool_kernel": pool,
        "pool_stride": _choose(generator, {1: 0.15, 2: 0.85}),
        "padding": str(generator.choice(["same", "valid"])),
    }


def _fcnet(generator: np.random.Generator, sampling: Sampling) -> Row:
    edge = _log_uniform(generator, 4, 56)
    return {
        "height": edge,
        "width": edge,
        "channels": _channels(generator, edge, sampling),
        "filters": _channels(generator, edge, sampling),
        "kernel": _choose(generator, {1: 0.5, 3: 0.5}),
        "units": max(8, 8 * round(_log_uniform(generator, 8, 4096) / 8)),
        "layers": int(generator.integers(1, 6)),
        "classes": _choose(generator, {10: 0.3, 100: 0.3, 1000: 0.4}),
    }


def _cells(generator: np.random.Generator, sampling: Sampling) -> Row:
    legal = BENCHMARKS["cells"].settings["megamacs"]
    most = sampling.network_macs_limit // 1_000_000
    megamacs = min(max(most, legal.minimum or 0), legal.maximum or most)
    return {"seed": int(generator.integers(0, 2**31)), "megamacs": megamacs}


_DRAWS: dict[str, Callable[[np.random.Generator, Sampling], Row]] = {
    "convolution": _convolution,
    "depthwise_convolution": _depthwise_convolution,
    "max_pooling": _pooling,
    "average_pooling": _pooling,
    "dense": _dense,
    "add": _add,
    "concat": _concat,
    "cells": _cells,
    "convnet": _convnet,
    "fcnet": _fcnet,
    "pooled": _pooled,
}


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
    weights = sum(weight_elements(layer.parameters, layer.input_shapes) for layer in graph.layers)
    largest = max(math.prod(layer.output_shape) for layer in graph.layers)
    return _Cost(graph.work, weights, largest)


def _with_kernels(benchmark: str, row: Row, sampling: Sampling) -> Row | None:
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
    """The row as drawn; None if the network is above its limit."""
    cost = _cost(benchmark, row)
    return row if cost and cost.work.macs <= sampling.network_macs_limit else None


def _data_set(generator: np.random.Generator, sampling: Sampling) -> str:
    if sampling.data_set != "union":
        return sampling.data_set
    return "noisy" if generator.random() < sampling.noisy_share else "aligned"


def sample_case(
    benchmark: str, index: int, seed: int, sampling: Sampling, sizes: Sizes
) -> BenchmarkCase:
    """Sample point `index` of a micro-kernel benchmark.

    `sizes` maps features to their fitted s. SchemaError if the limits leave nothing to draw.
    """
    generator = named_generator(seed, benchmark, index)
    is_kernel = BENCHMARKS[benchmark].operation is not None
    data_set = _data_set(generator, sampling) if is_kernel else "base"
    finish = _with_kernels if is_kernel else _network
    for _ in range(_TRIES):
        drawn = _DRAWS[benchmark](generator, sampling)
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
