"""Nested graphs: what is measured of a device that only tells how long a whole network takes.

Every micro-kernel row stands in graphs of 1, 4, ... equal kernels. What is around the kernels is
the same in all of them, so it cancels in the difference of two end-to-end times, and so does what a
run costs beside its layers. A convolution of unequal channels is followed by its mirror image,
which brings the channels back. A layer that cannot stand in a chain is padded by its benchmark (a
convolution feeds a pooling, a global pooling ends a branch): such padding grows with the kernels
and is taken off by its own model (`model_gen.black_box`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.plan import BenchmarkCase, case_id, make_case, unique
from graph_gen.benchmarks import BENCHMARKS, build
from strata.errors import SchemaError

_OF_A_KIND = 12  # chains with an activation, unless that is more than a part of all samples
_PART_OF_A_KIND = 20


def nest_id(benchmark: str, settings: Mapping[str, Any]) -> str:
    """What graphs of the same kernels have in common: the case without their number."""
    return case_id(benchmark, {key: settings[key] for key in settings if key != "kernels"})


def _legal(benchmark: str, settings: Mapping[str, Any]) -> bool:
    try:
        build(benchmark, settings)
    except SchemaError:
        return False
    return True


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


def _activated(cases: Sequence[BenchmarkCase]) -> list[BenchmarkCase]:
    """More samples of convolutions, so that every kind of activation stands in some chains.

    Which kinds are layers of their own is told by kernels; real networks have all of them.
    """
    samples = [
        case
        for case in cases
        if case.benchmark == "convolution" and case.settings.get("stride", 1) == 1
        if not case.tags.get("sweep")
    ]
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


def nested_cases(cases: Iterable[BenchmarkCase], kernels: Sequence[int]) -> list[BenchmarkCase]:
    """The cases, every micro-kernel row once per number of kernels, whatever number it had.

    A number that the benchmark's limits forbid is halved until they allow it; networks of several
    layers stay as they are.
    """
    found: list[BenchmarkCase] = []
    planned = list(cases)
    for case in [*planned, *_activated(planned)]:
        if "kernels" not in BENCHMARKS[case.benchmark].settings:
            found.append(case)
            continue
        for settings in _settings(case):
            for wanted in kernels:
                number = wanted
                while number > 1 and not _legal(case.benchmark, {**settings, "kernels": number}):
                    number //= 2
                found.append(make_case(case.benchmark, {**settings, "kernels": number}, case.tags))
    return unique(found)
