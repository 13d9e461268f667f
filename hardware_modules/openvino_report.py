"""From an OpenVINO report to a Profile: times out of cumulative counters, names out of labels.

Pure functions on the recorded report; docs/openvino_cpu.md gives the reasons and the evidence.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from math import sqrt
from typing import Any

import numpy as np

from hardware_modules.node_layers import recover_root
from hardware_modules.openvino_builder import layer_of, node_name
from strata import operations as op
from strata.errors import MatchError
from strata.graph import Graph
from strata.profile import ExecutedNode, Profile

_US = 1e-6
# A mean whose rounding is a larger share of it is too coarse.
_FINE = 0.02
_NOT_EXECUTED = ("Input", "Output", "Const")
_NO_PRIMITIVE = ("unknown", "undef")
# A node of one of these kinds computes one of these operations, named or not.
_REQUIRED = {
    "Convolution": ("convolution", "depthwise_convolution"),
    "Deconvolution": ("transposed_convolution",),
    "FullyConnected": ("dense", "matmul"),
    "MatMul": ("dense", "matmul"),
}
# Kinds that are a reshape, a transpose and a reshape of the network.
_REGROUPED = ("ShuffleChannels", "DepthToSpace", "SpaceToDepth")
# The first of some samples, and the one after their last.
Span = tuple[int, int]
_INSERTED = ("Reorder", "Transpose", "Convert")


def span_mean_us(
    counters_us: Sequence[int], inferences: Sequence[int], spans: Sequence[Span]
) -> tuple[float, float]:
    """Mean time of one inference within spans of samples, and its rounding, microseconds.

    `inferences[k]` counts those of sample k; `counters_us[k]` is c_k, the whole microseconds of
    the mean over all up to its end, so that the sum over these n lies in [n c_k, n (c_k + 1)).
    A span's sum is the difference of two such intervals; it is taken for the middle of what is
    possible and not negative: N (c_N + 1/2) - w (c_w + 1/2) for w inferences before and N up to
    its end, unless the lower end would be below 0. The rounding is the standard deviation of the
    mean if every sum is anywhere in its interval.
    """
    counts = [0, *accumulate(inferences)]
    total_us, variance, inside = 0.0, 0.0, 0
    for first, last in spans:
        before_n, count = counts[first], counts[last]
        before, after = counters_us[first - 1] if first else 0, counters_us[last - 1]
        lowest = count * after - before_n * (before + 1 if first else 0)
        highest = count * (after + 1) - before_n * before
        if highest <= 0:
            raise MatchError(
                f"cumulative counters {before} to {after} us cannot come from one history"
            )
        total_us += (max(lowest, 0) + highest) / 2
        variance += (highest - max(lowest, 0)) ** 2 / 12
        inside += count - before_n
    return total_us / inside, sqrt(variance) / inside


def timed_spans(runs: Sequence[Mapping[str, Any]]) -> list[Span]:
    """The stretches of timed runs, first and beyond last. MatchError without a timed run."""
    spans = []
    for warmup, stretch in groupby(range(len(runs)), key=lambda index: runs[index]["warmup"]):
        first, *rest = stretch
        if not warmup:
            spans.append((first, first + len(rest) + 1))
    if not spans:
        raise MatchError("the report has no timed run")
    return spans


def _mean_wall_ns(runs: Sequence[Mapping[str, Any]], spans: Sequence[Span]) -> float:
    inside = [run for first, last in spans for run in runs[first:last]]
    times, weights = zip(*((run["wall_ns"], run["inferences"]) for run in inside), strict=True)
    return float(np.average(times, weights=weights))


def node_times_us(
    runs: Sequence[Mapping[str, Any]], counters_us: Sequence[Sequence[int]]
) -> list[float]:
    """One inference of each node, microseconds: its mean over the timed runs (`span_mean_us`).

    Where warm-ups in between leave too little between the counters' whole microseconds, the mean
    is that over all runs after the first warm-ups. Both are brought to the median run: times
    median / mean of the wall times of the same runs.
    """
    timed = timed_spans(runs)
    median_ns = median_wall_ns(runs)
    inferences = [run["inferences"] for run in runs]
    choices = [
        (spans, median_ns / _mean_wall_ns(runs, spans))
        for spans in (timed, [(timed[0][0], len(runs))])
    ]
    times = []
    for counters in counters_us:
        (fine, rounding), (whole, _) = (
            span_mean_us(counters, inferences, spans) for spans, _ in choices
        )
        exact = rounding <= _FINE * fine
        times.append(fine * choices[0][1] if exact else whole * choices[1][1])
    return times


def median_wall_ns(runs: Sequence[Mapping[str, Any]]) -> float:
    """Median of the timed runs' wall times, nanoseconds; NaN without any."""
    return float(np.median([run["wall_ns"] for run in runs if not run["warmup"]]))


def _executed(node: Mapping[str, Any], counters_us: Sequence[int]) -> bool:
    """Whether a node ran: it was timed, or has a primitive and is only too fast to be timed.

    Zero also stands for a reorder that became a view, so an untimed Reorder does not count.
    """
    if node["layer_type"] in _NOT_EXECUTED:
        return False
    if counters_us[-1] > 0:
        return True
    return node["layer_type"] != "Reorder" and not node["primitive"].startswith(_NO_PRIMITIVE)


def _producers(
    node: Mapping[str, Any], nodes: Mapping[str, Any], executed: set[str], names: dict[str, str]
) -> tuple[str, ...]:
    """Executed nodes and inputs a node reads, looking through nodes that did not run."""
    found: dict[str, None] = {}
    pending = list(reversed(node["producers"]))
    while pending:
        name = pending.pop()
        if name in executed:
            found[name] = None
        elif nodes[name]["layer_type"] == "Input":
            found[f"input:{names.get(name, name)}"] = None
        else:
            pending.extend(reversed(nodes[name]["producers"]))
    return tuple(found)


def _owners(executed: Sequence[Mapping[str, Any]], names: dict[str, str]) -> dict[str, str]:
    """The node that holds each layer: the first that names it, else the first with a part of it.

    Nodes the toolchain inserted hold nothing, whatever names they inherited.
    """
    owner: dict[str, str] = {}
    for node in executed:
        for original in node["original_names"] if node["layer_type"] != "Reorder" else ():
            if original in names:
                owner.setdefault(names[original], node["name"])
    for node in executed:
        for original in node["original_names"] if node["layer_type"] not in _INSERTED else ():
            if layer := layer_of(original, names):
                owner.setdefault(layer, node["name"])
    return owner


def _recover_nameless(
    held: list[list[str]], executed: Sequence[Mapping[str, Any]], graph: Graph, claimed: set[str]
) -> None:
    """Give a nameless convolution the layer that a later node reads and no node names.

    Happens when batch normalisation's scale is folded and its shift stays behind.
    """
    index = {node["name"]: position for position, node in enumerate(executed)}
    successors = graph.successors
    holder = {layer: position for position, layers in enumerate(held) for layer in layers}
    for layer in graph.layers:
        consumers = [holder[name] for name in successors[layer.name] if name in holder]
        if layer.name in claimed or not consumers:
            continue
        pending = list(executed[consumers[0]]["producers"])
        while pending:
            position = index.get(pending.pop())
            if position is None or held[position]:
                continue
            if layer.operation in _REQUIRED.get(executed[position]["layer_type"], ()):
                held[position] = [layer.name]
                claimed.add(layer.name)
                break
            pending.extend(executed[position]["producers"])


def _regrouped(held: list[str], graph: Graph, claimed: set[str]) -> list[str]:
    """What a node of _REGROUPED holds: the last reshape, whose name it keeps, and before it the
    transpose and the reshape that no other node holds.
    """
    names = [held[0]]
    for kind in (op.Transpose, op.Reshape):
        before = graph[names[0]].inputs[0]
        if before in claimed or not isinstance(graph[before].parameters, kind):
            break
        names.insert(0, before)
    return [*names, *held[1:]]


def _layers_of_nodes(
    executed: Sequence[Mapping[str, Any]], graph: Graph, names: dict[str, str]
) -> list[tuple[str, ...]]:
    """Graph layers each executed node holds, in the profiler's order, unique.

    A layer is held by one node; only an LSTM's two directions are two nodes of one layer.
    """
    owner = _owners(executed, names)
    held = []
    for node in executed:
        found = dict.fromkeys(layer_of(original, names) for original in node["original_names"])
        shared = node["layer_type"] == "RNNSeq"
        held.append(
            [layer for layer in found if layer and (shared or owner.get(layer) == node["name"])]
        )
    claimed = {layer for layers in held for layer in layers}
    for index, node in enumerate(executed):
        if held[index] and (required := _REQUIRED.get(node["layer_type"])):
            held[index] = recover_root(held[index], required, graph, claimed)
        if held[index] and node["layer_type"] in _REGROUPED:
            held[index] = _regrouped(held[index], graph, claimed)
            claimed.update(held[index])
    _recover_nameless(held, executed, graph, claimed)
    return [tuple(layers) for layers in held]


def parse_report(report: Mapping[str, Any], graph: Graph) -> Profile:
    """Profile of one report. MatchError if the report is inconsistent.

    Nodes have the times of `node_times_us`; the network's is the median of the timed runs' wall
    times.
    """
    nodes = {node["name"]: node for node in report["nodes"]}
    names = {node_name(layer.name): layer.name for layer in graph.layers}
    pairs = zip(report["nodes"], report["counters_us"], strict=True)
    running = [(node, counters) for node, counters in pairs if _executed(node, counters)]
    executed = {node["name"] for node, _ in running}
    layers = _layers_of_nodes([node for node, _ in running], graph, names)
    times_us = node_times_us(report["runs"], [counters for _, counters in running])
    return Profile(
        platform="openvino_cpu",
        nodes=tuple(
            ExecutedNode(
                name=node["name"],
                kind=node["layer_type"],
                layers=held,
                producers=_producers(node, nodes, executed, names),
                output_shape=tuple(node["output_shape"]) if node["output_shape"] else None,
                time_s=time_us * _US,
                readings_s=tuple(counter * _US for counter in counters),
            )
            for (node, counters), held, time_us in zip(running, layers, times_us, strict=True)
        ),
        samples_s=tuple(run["wall_ns"] * 1e-9 for run in report["runs"] if not run["warmup"]),
        time_s=median_wall_ns(report["runs"]) * 1e-9,
        host=dict(report["host"]),
        toolchain=dict(report["toolchain"]),
    )
