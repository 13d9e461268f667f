"""From an OpenVINO report to a Profile: times out of cumulative counters, names out of labels.

Pure functions on the recorded report; docs/openvino_cpu.md gives the reasons and the evidence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardware_modules.node_layers import recover_root
from hardware_modules.openvino_builder import layer_of, node_name
from strata.errors import MatchError
from strata.graph import Graph
from strata.profile import ExecutedNode, Profile

_US = 1e-6
_NOT_EXECUTED = ("Input", "Output", "Const")
_NO_PRIMITIVE = ("unknown", "undef")
# A node of one of these kinds computes one of these operations, named or not.
_REQUIRED = {
    "Convolution": ("convolution", "depthwise_convolution"),
    "Deconvolution": ("transposed_convolution",),
    "FullyConnected": ("dense", "matmul"),
    "MatMul": ("dense", "matmul"),
}
_INSERTED = ("Reorder", "Transpose", "Convert")


def window_mean_us(counters_us: Sequence[int], inferences: Sequence[int], first: int) -> float:
    """Mean time of one inference after the first `first` samples, microseconds.

    `inferences[k]` counts those of sample k; `counters_us[k]` is c_k, the whole microseconds of
    the mean over all up to its end, so that the sum over these n lies in [n c_k, n (c_k + 1)).
    The window's sum is the difference of two such intervals; the result is the middle of what is
    possible and not negative: (N (c_N + 1/2) - w (c_w + 1/2)) / (N - w) for w inferences before
    and N in all, unless the lower end would be below 0.
    """
    total, before_n = sum(inferences), sum(inferences[:first])
    before = counters_us[first - 1] if first else 0
    last = counters_us[-1]
    lowest = total * last - before_n * (before + 1 if first else 0)
    highest = total * (last + 1) - before_n * before
    if highest <= 0:
        raise MatchError(f"cumulative counters {before} to {last} us cannot come from one history")
    return (max(lowest, 0) + highest) / 2 / (total - before_n)


def wall_times_ns(runs: Sequence[Mapping[str, Any]]) -> tuple[int, float, float]:
    """(leading warm-up runs, median of the timed runs, that median / window mean).

    The window is what the counters can be read for: all runs after the leading warm-ups, later
    warm-ups of a round-robin included. MatchError without a timed run.
    """
    timed = [run["wall_ns"] for run in runs if not run["warmup"]]
    if not timed:
        raise MatchError("the report has no timed run")
    first = next(index for index, run in enumerate(runs) if not run["warmup"])
    median_ns = float(np.median(timed))
    window = runs[first:]
    window_mean = np.average(
        [run["wall_ns"] for run in window], weights=[run["inferences"] for run in window]
    )
    return first, median_ns, median_ns / float(window_mean)


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
    _recover_nameless(held, executed, graph, claimed)
    return [tuple(layers) for layers in held]


def parse_report(report: Mapping[str, Any], graph: Graph) -> Profile:
    """Profile of one report. MatchError if the report is inconsistent.

    A node's time is its window mean (`window_mean_us`) times median / mean of the wall times of
    the same runs; the network's time is the median of the timed runs' wall times.
    """
    first, median_ns, robustness = wall_times_ns(report["runs"])
    inferences = [run["inferences"] for run in report["runs"]]
    nodes = {node["name"]: node for node in report["nodes"]}
    names = {node_name(layer.name): layer.name for layer in graph.layers}
    pairs = zip(report["nodes"], report["counters_us"], strict=True)
    running = [(node, counters) for node, counters in pairs if _executed(node, counters)]
    executed = {node["name"] for node, _ in running}
    layers = _layers_of_nodes([node for node, _ in running], graph, names)
    return Profile(
        platform="openvino_cpu",
        nodes=tuple(
            ExecutedNode(
                name=node["name"],
                kind=node["layer_type"],
                layers=held,
                producers=_producers(node, nodes, executed, names),
                output_shape=tuple(node["output_shape"]) if node["output_shape"] else None,
                time_s=window_mean_us(counters, inferences, first) * robustness * _US,
                readings_s=tuple(counter * _US for counter in counters),
            )
            for (node, counters), held in zip(running, layers, strict=True)
        ),
        samples_s=tuple(run["wall_ns"] * 1e-9 for run in report["runs"] if not run["warmup"]),
        time_s=median_ns * 1e-9,
        host=dict(report["host"]),
        toolchain=dict(report["toolchain"]),
    )
