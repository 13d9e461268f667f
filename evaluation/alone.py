"""Layers of benchmark networks measured again on their own, each as a network of one.

Benchmark points are random, so that hardly any configuration is measured both ways by chance. Here
layers that were measured inside multi-layer benchmark networks are cut out, with what they absorbed
and with inputs of their own, and given to the platform's module.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from benchmark.matcher import MatchedLayer, match
from benchmark.measure_networks import open_module
from benchmark.shards import read_shard
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from hardware_modules.device_lock import device_lock
from model_gen.tables import MULTI_LAYER
from strata import operations as op
from strata.errors import MatchError, SchemaError, StrataError
from strata.execution import ExecutedLayer, features
from strata.graph import Graph, make_graph, with_bits
from strata.layer import make_layer
from strata.profile_json import profile_from_dict

REPEATS, WARMUP = 20, 2
MOST_NETWORKS = 100
_DESCRIBED_BITS = 32  # of benchmark networks; a module computes in its own
COLUMNS = ("operation", "alone_s", "inside_s", "ops", "bytes")


@dataclass(frozen=True, slots=True)
class Inside:
    """A configuration found in benchmark networks: one of its layers, and its times there, s."""

    executed: ExecutedLayer
    times_s: tuple[float, ...]


def alone_graph(executed: ExecutedLayer) -> Graph:
    """A network of one executed layer: its parts, and an input for every tensor that it reads."""
    inner = {layer.name for layer in executed.layers}
    inputs = {
        producer: make_layer(producer, op.Input(shape), activation_bits=layer.activation_bits)
        for layer in executed.layers
        for producer, shape in zip(layer.inputs, layer.input_shapes, strict=True)
        if producer not in inner
    }
    return make_graph(f"alone_{executed.name}", [*inputs.values(), *executed.layers])


def _multi_layer_matches(shards: Sequence[Path]) -> Iterator[tuple[MatchedLayer, ...]]:
    """Layers of each multi-layer benchmark network that was measured with all its times."""
    seen = 0
    for shard in shards:
        for number, record in enumerate(read_shard(shard), 1):
            case = record["case"]
            if case["benchmark"] not in MULTI_LAYER or seen >= MOST_NETWORKS:
                continue
            profile = profile_from_dict(record["profile"], f"{shard}, line {number}")
            if profile.refusal is not None or profile.untimed:
                continue
            graph = with_bits(build(case["benchmark"], case["settings"]), profile.bits)
            seen += 1
            try:
                yield match(graph, profile).layers
            except MatchError:
                continue


def _own(executed: ExecutedLayer) -> tuple[float, ...]:
    return tuple(features(executed).values())


def layers_inside(shards: Sequence[Path], count: int, seed: int = 0) -> list[Inside]:
    """Up to `count` distinct configurations per layer type, drawn from benchmark networks.

    Layers that a host runs or whose weights are streamed are left out: those are decisions about
    the network. SchemaError where no shard has a multi-layer network.
    """
    found: dict[str, dict[tuple[float, ...], list[MatchedLayer]]] = defaultdict(dict)
    for layers in _multi_layer_matches(shards):
        for layer in layers:
            root = layer.executed
            if layer.time_s > 0 and not root.placement and root.operation != "reorder":
                found[root.operation].setdefault(_own(root), []).append(layer)
    if not found:
        raise SchemaError(f"{len(shards)} shards: no multi-layer benchmark network to cut up")
    random = np.random.default_rng(seed)
    chosen = []
    for of_type in found.values():
        groups = list(of_type.values())
        for index in random.permutation(len(groups))[:count].tolist():
            times_s = tuple(layer.time_s for layer in groups[index])
            chosen.append(Inside(groups[index][0].executed, times_s))
    return chosen


def measure_alone(module: HardwareModule, executed: ExecutedLayer) -> float | None:
    """Seconds of a layer as a network of its own; None where it is refused or executed otherwise.

    Conversions of its input and output are not in it: inside a network they are their own layers.
    """
    try:
        graph = with_bits(alone_graph(executed), _DESCRIBED_BITS)
        compiled = module.compile(graph)
        profile = module.parse(module.profile(compiled, REPEATS, WARMUP), graph)
        found = match(with_bits(graph, profile.bits), profile).layers
    except (StrataError, RuntimeError):
        return None
    layers = [layer for layer in found if layer.executed.operation != "reorder"]
    same = len(layers) == 1 and _own(layers[0].executed) == _own(executed)
    return layers[0].time_s if same and layers[0].time_s > 0 else None


def measured_both_ways(platform_file: Path, shards: Sequence[Path], count: int) -> pd.DataFrame:
    """COLUMNS: layers of benchmark networks measured alone, on the platform's module.

    `inside_s` is the median of a configuration's times in networks.
    """
    platform, module = open_module(platform_file)
    chosen = layers_inside(shards, count)
    console, rows = Console(file=sys.stderr), []
    with device_lock(platform):
        for each in track(chosen, "measuring alone", console=console, transient=True):
            alone_s = measure_alone(module, each.executed)
            if alone_s is not None:
                work = each.executed.work
                inside_s = float(np.median(each.times_s))
                rows.append((each.executed.operation, alone_s, inside_s, work.ops, work.bytes))
    return pd.DataFrame(rows, columns=list(COLUMNS))
