"""Nested graphs: what is measured of a device that only tells how long a whole network takes.

Every micro-kernel row stands in graphs of 1, 4, ... equal kernels. What is around the kernels is
the same in all of them, so it cancels in the difference of two end-to-end times, and so does what a
run costs beside its layers. A convolution of unequal channels is followed by its mirror image,
which brings the channels back; an addition reads the two tensors before it. A layer that cannot
stand in a chain is padded by its benchmark (a convolution feeds a pooling, a global pooling ends a
branch): such padding grows with the kernels and is taken off by its own model
(`model_gen.black_box`). Pairs of a convolution and what follows it stand in chains as well, and so
do both alone: whether the second costs anything behind the first is what tells that they run
together (`benchmark.black_box_fusion`). Where a memory keeps weights on the chip, samples stand
also beside a layer that fills it (`filled`), so that theirs are fetched in every run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.plan import BenchmarkCase, case_id, make_case, unique
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import SchemaError

_OF_A_KIND = 12  # chains with an activation, unless that is more than a part of all samples
_PART_OF_A_KIND = 20
_CHAINS = {"add": "additions"}  # benchmarks of the same layer and settings without padding
PAIR = "pair"  # the benchmark of two layers in turns
FEWEST_CHAINS = 8  # that decide anything
_PAIRED = 16  # shapes of pairs, unless that is more than a part of all samples
_PART_PAIRED = 10
_LEAST_EXTENT = 6  # smaller maps are pooled whole, which may run in another way
PRODUCERS = ("convolution", "depthwise_convolution")
_FILLER_INPUTS = 128  # as the descriptions have it
_SMALLEST_BESIDE = 1 / 5000  # of a filler's weights
_SWEPT = 3 / 4  # of them, at most, in a graph of a sweep
# What may run in the pass of one of these before it, and windows that real networks give it.
FOLLOWERS = {
    "add": (1,),
    "max_pooling": (3, 2),
    "average_pooling": (3, 2),
    "depthwise_convolution": (3, 5),
}


def nest_id(benchmark: str, settings: Mapping[str, Any]) -> str:
    """What graphs of the same kernels have in common: the case without their number."""
    return case_id(benchmark, {key: settings[key] for key in settings if key != "kernels"})


def is_chain_of(case: Mapping[str, Any], operation: str) -> bool:
    """Whether a recorded case of nested graphs holds layers of the operation in a row."""
    chained = _CHAINS.get(operation, operation)
    return case["benchmark"] == chained and case["settings"].get("stride", 1) == 1


def _legal(benchmark: str, settings: Mapping[str, Any], weights_limit: float = math.inf) -> bool:
    try:
        graph = build(benchmark, settings)
    except SchemaError:
        return False
    return graph.weight_elements <= weights_limit


def _settings(case: BenchmarkCase) -> list[Mapping[str, Any]]:
    """The settings to measure, those of a convolution so that it stands in a chain, where it can.

    Else every kernel of unequal channels ends in a global pooling, which may take several times as
    long as the kernel. Where channels or filters are swept the mirror image has steps of its own,
    and what each of the two takes is told by the padded kernel: both are measured.
    """
    settings = {**case.settings, "back": "mirrored"}
    unequal = settings.get("channels") != settings.get("filters")
    if case.benchmark != "convolution" or not unequal:
        return [case.settings]
    if not _legal(case.benchmark, {**settings, "kernels": 1}):
        return [case.settings]
    mixing = case.tags.get("sweep") in ("channels", "filters")
    return [settings, case.settings] if mixing else [settings]


def _in_chains(cases: Sequence[BenchmarkCase]) -> list[BenchmarkCase]:
    """Samples of ordinary convolutions that stand in a chain."""
    return [
        case
        for case in cases
        if case.benchmark == "convolution" and case.settings.get("stride", 1) == 1
        if not case.tags.get("sweep") and case.settings.get("groups", 1) == 1
    ]


def _activated(cases: Sequence[BenchmarkCase]) -> list[BenchmarkCase]:
    """More samples of convolutions, so that every kind of activation stands in some chains.

    Which kinds are layers of their own is told by kernels; real networks have all of them.
    """
    samples = _in_chains(cases)
    wanted = min(_OF_A_KIND, len(samples) // _PART_OF_A_KIND)
    setting = BENCHMARKS["convolution"].settings["activation"]
    found: list[BenchmarkCase] = []
    for kind in setting.choices:
        others = [
            case for case in samples if case.settings.get("activation", setting.default) != kind
        ]
        missing = wanted - (len(samples) - len(others))
        for case in others[: max(missing, 0)]:
            settings = {**case.settings, "activation": kind}
            found.append(make_case(case.benchmark, settings, case.tags))
    return found


def _spread(items: Sequence[BenchmarkCase], most: int) -> Sequence[BenchmarkCase]:
    """At most so many of them, evenly."""
    return [items[place * len(items) // most] for place in range(min(most, len(items)))]


def _pairs(sample: Mapping[str, Any], place: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Benchmarks and settings of one shape: pairs, and the layers of each pair alone.

    Channels are as many on both sides as leave the sample's weights and MACs.
    """
    shape = {key: sample[key] for key in ("height", "width")}
    channels = max(round(math.sqrt(sample["channels"] * sample["filters"])), 2)
    shape["channels"] = channels
    activation = {"activation": ("none", "relu")[place // 2 % 2]}
    kernels = dict(zip(PRODUCERS, (sample["kernel"], max(sample["kernel"], 3)), strict=True))
    windows = {name: sizes[place % len(sizes)] for name, sizes in FOLLOWERS.items()}
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, window in windows.items():
        alone = {"activation": "none"} if name == "depthwise_convolution" else {}
        found.append((name, shape | alone | ({"kernel": window} if name != "add" else {})))
    for producer, kernel in kernels.items():
        row = shape | activation | {"kernel": kernel}
        found.append((producer, row | ({"filters": channels} if producer == "convolution" else {})))
        found += [
            (PAIR, {**row, "producer": producer, "follower": name, "window": window})
            for name, window in windows.items()
        ]
    return found


def _paired(cases: Sequence[BenchmarkCase]) -> list[BenchmarkCase]:
    """Pairs of layers in the shapes of sampled convolutions; what is no legal graph is left out.

    None where there are too few samples for as many shapes as decide anything.
    """
    samples = [
        case
        for case in _in_chains(cases)
        if min(case.settings["height"], case.settings["width"]) >= _LEAST_EXTENT
    ]
    shapes = _spread(samples, min(_PAIRED, len(samples) // _PART_PAIRED))
    if len(shapes) < FEWEST_CHAINS:
        return []
    return [
        make_case(benchmark, row, {**case.tags, "data_set": "base"})  # aligned no longer
        for place, case in enumerate(shapes)
        for benchmark, row in _pairs(case.settings, place)
        if _legal(benchmark, {**row, "kernels": 1})
    ]


def _beside_filler(cases: Sequence[BenchmarkCase], units: int) -> list[BenchmarkCase]:
    """Samples whose weights may stay on the chip, beside a layer that takes their room.

    Else only layers that are larger than the memory would be fetched in nested graphs. Not those
    that are so small that nothing of it is to be seen.
    """
    most = _FILLER_INPUTS * units
    found = []
    for case in cases:
        if "filled" not in BENCHMARKS[case.benchmark].settings or case.tags.get("sweep"):
            continue
        settings = {**case.settings, "kernels": 1}
        weights = build(case.benchmark, settings).weight_elements
        if _SMALLEST_BESIDE * most <= weights <= most:
            row = {**case.settings, "filled": units}
            found.append(make_case(case.benchmark, row, case.tags))
    return found


def nested_cases(
    cases: Iterable[BenchmarkCase],
    kernels: Sequence[int],
    weights_limit: float = math.inf,
    filled: int = 0,
) -> list[BenchmarkCase]:
    """The cases and pairs, every micro-kernel row once per number of kernels, whatever it had.

    A number that the benchmark's limits forbid, or whose graph holds more weights, is halved until
    they allow it; networks of several layers stay as they are. With `filled`, samples also stand
    beside a dense layer of so many units, and graphs of several swept kernels leave a part of its
    room: what is fetched in one and not in the other would be taken for a step.
    """
    filler = _FILLER_INPUTS * filled
    swept_limit = min(weights_limit, _SWEPT * filler if filled else math.inf)
    found: list[BenchmarkCase] = []
    planned = list(cases)
    beside = _beside_filler(planned, filled) if filled else []
    for case in [*planned, *_activated(planned), *_paired(planned), *beside]:
        if "kernels" not in BENCHMARKS[case.benchmark].settings:
            found.append(case)
            continue
        benchmark = _CHAINS.get(case.benchmark, case.benchmark)
        limit = swept_limit if case.tags.get("sweep") else weights_limit
        limit += filler + filled if case.settings.get("filled") else 0
        for settings in _settings(case):
            for wanted in kernels:
                number = wanted
                while number > 1 and not _legal(benchmark, {**settings, "kernels": number}, limit):
                    number //= 2
                found.append(make_case(benchmark, {**settings, "kernels": number}, case.tags))
    return unique(found)
