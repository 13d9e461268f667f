"""How the settings of a benchmark are drawn: shapes as real networks have them.

Small images with many channels, channels mostly divisible by 8, kernels mostly 1 or 3.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmark.config import Sampling
from graph_gen.architectures import FAMILIES
from graph_gen.benchmarks import BENCHMARKS

Row = dict[str, Any]

_COMMON_EXTENTS = (7, 8, 10, 13, 14, 16, 17, 19, 20, 26, 28, 32, 35, 40, 52, 56, 64, 80, 112, 128)
_HEAVY_EXTENTS = (14, 17, 19, 20, 26, 28, 35, 40, 46, 52, 56, 64, 80, 92, 104, 112, 147, 184, 224)
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
_USUAL_PAIR_SHARE = 0.55


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


def round_channels(generator: np.random.Generator, value: float, sampling: Sampling) -> int:
    """A whole number of channels near a value, mostly divisible by 8; 1 to 2048."""
    if generator.random() < sampling.aligned_channels:
        value = max(8, 8 * round(value / 8))
    return int(min(max(round(value), 1), 2048))


def _channels(generator: np.random.Generator, edge: int, sampling: Sampling) -> int:
    if generator.random() < _FREE_CHANNELS_SHARE:
        value = float(_log_uniform(generator, 3, 2048))
    else:
        centre = math.log(_EDGE_TIMES_CHANNELS / max(edge, 4))
        value = math.exp(generator.normal(centre, _CHANNEL_SPREAD))
    return round_channels(generator, value, sampling)


def activation(generator: np.random.Generator) -> str:
    """An activation, or "none", about as often as networks have them."""
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
    sizes = [round_channels(generator, value, sampling) for value in (wide, narrow)]
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


def _grouped_convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    """As many channels out as in, mostly. Half by a group's width, equal throughout a network
    (RegNet: 8 to 168), half by the number of groups (AlexNet 2, ShuffleNet to 8, ResNeXt 32).
    """
    height, width = _extents(generator, 128)
    channels = _channels(generator, height, sampling)
    if generator.random() < 0.5:
        multiple = _choose(generator, {4: 0.25, 8: 0.75})
        width_of_group = multiple * max(1, round(_log_uniform(generator, 4, 176) / multiple))
        groups = max(2, round(channels / width_of_group))
    else:
        groups = _choose(generator, {2: 0.25, 3: 0.1, 4: 0.25, 8: 0.2, 32: 0.2})
        width_of_group = max(2, round(channels / groups))
    widened = _choose(generator, {1: 0.8, 2: 0.1, 3: 0.1})
    return {
        "height": height,
        "width": width,
        "channels": groups * width_of_group,
        "filters": groups * width_of_group * widened,
        "kernel": _choose(generator, {1: 0.2, 3: 0.7, 5: 0.1}),
        "stride": _choose(generator, {1: 0.75, 2: 0.25}) if min(height, width) > 1 else 1,
        "groups": groups,
    }


def _heavy_convolution(generator: np.random.Generator) -> Row:
    """Wide layers on large maps: few in most networks, most of the time in some."""
    height = int(generator.choice(_HEAVY_EXTENTS))
    row: Row = {
        "height": height,
        "width": round(height * 2.0 ** generator.uniform(-0.5, 0.5))
        if generator.random() > _SQUARE_SHARE
        else height,
        "channels": 8 * round(_log_uniform(generator, 64, 1024) / 8),
        "filters": 8 * round(_log_uniform(generator, 64, 1024) / 8),
        "kernel": _choose(generator, {1: 0.2, 3: 0.65, 5: 0.05, 7: 0.1}),
        "stride": _choose(generator, {1: 0.85, 2: 0.15}),
    }
    if generator.random() < 2 * _RESIDUAL_SHARE:
        row["filters"] = row["channels"]
    return row


def _convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    if sampling.heavy_share and generator.random() < sampling.heavy_share:
        return {**_heavy_convolution(generator), "activation": activation(generator)}
    if sampling.grouped_share and generator.random() < sampling.grouped_share:
        return {**_grouped_convolution(generator, sampling), "activation": activation(generator)}
    kind = generator.random()
    if kind < _FIRST_LAYER_SHARE:
        row = _first_layer(generator)
    elif kind < _FIRST_LAYER_SHARE + _SQUEEZE_EXCITE_SHARE:
        row = _squeeze_excite(generator, sampling)
    else:
        row = _inner_convolution(generator, sampling)
    return {**row, "activation": activation(generator)}


def _depthwise_convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    height, width = _extents(generator, 256)
    return {
        "height": height,
        "width": width,
        "channels": _channels(generator, height, sampling),
        "kernel": _choose(generator, {3: 0.65, 5: 0.27, 7: 0.08}),
        "stride": _choose(generator, {1: 0.75, 2: 0.25}),
        "activation": activation(generator),
    }


def _transposed_convolution(generator: np.random.Generator, sampling: Sampling) -> Row:
    """Decoders halve or keep the channels; a last layer has as many filters as there are classes.
    Kernels are mostly multiples of the stride, which leave no checkerboard (Odena et al. 2016).
    """
    height, width = _extents(generator, 128)
    channels = _channels(generator, height, sampling)
    stride = _choose(generator, {2: 0.85, 4: 0.1, 8: 0.05})
    halves = _choose(generator, {2: 0.35, 3: 0.15, 4: 0.4, 5: 0.1})
    filters = _channels(generator, stride * height, sampling)
    if generator.random() < _CLASSIFIER_SHARE:
        filters = _log_uniform(generator, 1, 200)
    elif generator.random() < 0.5:
        filters = round_channels(generator, channels / int(generator.integers(1, 3)), sampling)
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "filters": filters,
        "kernel": halves * stride // 2,
        "stride": stride,
        "activation": str(generator.choice(["none", "relu"], p=[0.7, 0.3])),
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
    return {"channels": channels, "filters": filters, "activation": activation(generator)}


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
    """Mostly the pair that networks have most often, 3x3 and 2x2; half of the maps are long in one
    direction, beyond what row buffers may hold; most sizes are multiples of 4, some are odd.
    """
    height, width = _extents(generator, 256)
    channels, filters = (_channels(generator, height, sampling) for _ in range(2))
    if generator.random() < _LONG_SHARE:
        height, width = _log_uniform(generator, 8, 96), int(generator.integers(200, 1200))
        channels, filters = (8 * int(generator.integers(1, 9)) for _ in range(2))
        if generator.random() < 0.5:
            height, width = width, height
    multiple = _choose(generator, {4: 0.55, 2: 0.2, 1: 0.25})
    row: Row = {
        "height": max(multiple * (height // multiple), 8),
        "width": max(multiple * (width // multiple), 8),
        "channels": channels,
        "filters": filters,
        "kernel": 3,
        "stride": 1,
        "activation": str(generator.choice(["relu", "none"], p=[0.7, 0.3])),
        "kind": "max",
        "pool_kernel": 2,
        "pool_stride": 2,
        "padding": "valid",
        "readers": _choose(generator, {1: 0.75, 2: 0.25}),
    }
    if generator.random() < _USUAL_PAIR_SHARE:
        return row
    return row | {
        "kernel": _choose(generator, {1: 0.3, 3: 0.4, 5: 0.2, 7: 0.1}),
        "stride": _choose(generator, {1: 0.85, 2: 0.15}),
        "activation": activation(generator),
        "kind": str(generator.choice(["max", "average"], p=[0.75, 0.25])),
        "pool_kernel": _choose(generator, {2: 0.5, 3: 0.5}),
        "pool_stride": _choose(generator, {1: 0.2, 2: 0.8}),
        "padding": str(generator.choice(["same", "valid"])),
    }


_MOVES = ("truncate", "crop", "frame", "enlarge_nearest", "enlarge_linear", "rescale")
_READERS = ("convolution", "depthwise", "pooling", "average", "add", "concat")


def _moved(generator: np.random.Generator, sampling: Sampling) -> Row:
    """Every move before every reader; maps up to 112 pixels, where frames and crops stand."""
    height, width = _extents(generator, 112)
    return {
        "height": max(height, 4),
        "width": max(width, 4),
        "channels": _channels(generator, height, sampling),
        "filters": max(_channels(generator, height, sampling), 2),
        "kernel": _choose(generator, {1: 0.5, 3: 0.5}),
        "activation": str(generator.choice(["none", "relu", "relu6"], p=[0.4, 0.5, 0.1])),
        "pooled": _choose(generator, {0: 0.6, 1: 0.4}),
        "move": str(generator.choice([*_MOVES, "multiply", "subtract", "normalise", "shuffle"])),
        "factor": _choose(generator, {2: 0.8, 4: 0.2}),
        "reader": str(generator.choice(_READERS)),
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


def _tangles(generator: np.random.Generator, sampling: Sampling) -> Row:
    return {"seed": int(generator.integers(0, 2**31)), "layers": int(generator.integers(8, 33))}


def _architectures(generator: np.random.Generator, sampling: Sampling) -> Row:
    return {"seed": int(generator.integers(0, 2**31)), "family": str(generator.choice(FAMILIES))}


DRAWS: dict[str, Callable[[np.random.Generator, Sampling], Row]] = {
    "convolution": _convolution,
    "depthwise_convolution": _depthwise_convolution,
    "transposed_convolution": _transposed_convolution,
    "max_pooling": _pooling,
    "average_pooling": _pooling,
    "dense": _dense,
    "add": _add,
    "concat": _concat,
    "cells": _cells,
    "stems": _cells,
    "convnet": _convnet,
    "fcnet": _fcnet,
    "pooled": _pooled,
    "moved": _moved,
    "tangles": _tangles,
    "architectures": _architectures,
}
