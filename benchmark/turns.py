"""Measuring cases in turns: every case sees the machine as all others of its batch do.

A machine that others share changes its speed within a fraction of a second, a case takes about as
long. Measured at a stretch it would catch the machine fast or slow; in turns, its runs are spread
over the whole batch and their median means the same for all, as for whole networks
(`benchmark.measure_networks`).
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from graph_gen.benchmarks import build
from hardware_modules.base import Compiled, HardwareModule, Report
from hardware_modules.registry import create
from strata.errors import StrataError
from strata.graph import Graph
from strata.profile import Profile
from strata.profile_json import profile_to_dict

# Runs of one graph that differ more than this (median over lower quartile) were disturbed.
STEADY_SPREAD = 1.15
_TURNS = 8
_MOST_ATTEMPTS = 3
_MOST_EXTRA_RUNS = 5  # times `repeats`: every reading is kept, so records must stay small

Build = Callable[[str, Mapping[str, Any]], Graph]
Create = Callable[[str, Mapping[str, Any]], HardwareModule]
Row = dict[str, Any]
# What to measure: the benchmark's name and its settings.
Asked = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """How to measure: the module and its options, runs per graph, seconds per case.

    A graph runs more often, up to five times `repeats` beside them, until the device has had
    `device_share` of the time the graph cost: what was built with effort is measured well.
    `together` cases are measured in turns, but on platforms whose times are computed.
    `create` and `build` must be importable functions, since the worker is a fresh process.
    """

    module: str
    options: dict[str, Any]
    repeats: int = 20
    warmup: int = 2
    time_limit_s: float = 60.0
    device_share: float = 0.0
    together: int = 1
    create: Create = create
    build: Build = build

    @property
    def fingerprint(self) -> str:
        """Changes when rows measured before would not be comparable."""
        runs = [self.repeats, self.warmup, self.device_share, self.together]
        text = json.dumps([self.module, self.options, *runs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def timeout(self) -> str:
        """The refusal of a case that takes too long."""
        return f"timeout after {self.time_limit_s:g} s"


def spread(samples_s: Sequence[float]) -> float:
    """Median over lower quartile of the timed runs; 1 when there are none."""
    if not samples_s:
        return 1.0
    lower, median = np.quantile(samples_s, [0.25, 0.5])
    return float(median / lower) if lower > 0 else 1.0


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its class too unless it is one of ours."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else "no message"
    return line if isinstance(error, StrataError) else f"{type(error).__name__}: {line}"


def row_of(profile: Profile, wall_s: float, device_s: float = 0.0, attempts: int = 1) -> Row:
    """The measured part of a row."""
    return {
        "profile": profile_to_dict(profile),
        "wall_s": wall_s,
        "device_s": device_s,
        "attempts": attempts,
        "other_core_load": None,
    }


@dataclass(slots=True)
class _Running:
    """A case between its compilation and its row; `runs` are those of a further turn."""

    graph: Graph | None = None
    compiled: Compiled = None
    report: Report | None = None
    profile: Profile | None = None
    runs: int = 0
    wall_s: float = 0.0
    device_s: float = 0.0
    attempts: int = 1


def _extra_runs(job: Job, run_s: float, other_s: float) -> int:
    """Runs beside the `repeats` until the device has had its share; the rest took `other_s`."""
    if not job.device_share or run_s <= 0:
        return 0
    wanted_s = other_s * job.device_share / (1.0 - job.device_share)
    missing = math.ceil(wanted_s / run_s) - job.repeats - job.warmup
    return min(max(missing, 0), _MOST_EXTRA_RUNS * job.repeats)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Cases of one worker that are measured in turns; `working` is told which is in hand."""

    module: HardwareModule
    job: Job
    cases: list[_Running]
    working: Callable[[int], None]

    @property
    def turns(self) -> int:
        """Into how many turns the runs of a case are spread."""
        return _TURNS if len(self.cases) > 1 and not self.module.simulated else 1

    @contextmanager
    def _piece(self, index: int) -> Iterator[_Running]:
        """One step of one case: it ends the case if it raises or if the case's time is over."""
        case, start = self.cases[index], time.perf_counter()
        self.working(index)
        reason = None
        try:
            yield case
        except Exception as error:
            reason = first_line(error)
        case.wall_s += time.perf_counter() - start
        if reason is None and case.profile is None and case.wall_s > self.job.time_limit_s:
            reason = self.job.timeout
        if reason is not None:
            self._end(case, Profile(self.module.name, refusal=reason))

    @staticmethod
    def _end(case: _Running, profile: Profile) -> None:
        case.profile, case.compiled, case.report = profile, None, None

    def going(self) -> list[int]:
        return [index for index, case in enumerate(self.cases) if case.profile is None]

    def compile(self, asked: Sequence[Asked]) -> None:
        """Build and compile every case."""
        for index, (benchmark, settings) in enumerate(asked):
            with self._piece(index) as case:
                case.graph = self.job.build(benchmark, settings)
                if reason := self.module.supports(case.graph):
                    self._end(case, Profile(self.module.name, refusal=reason))
                else:
                    case.compiled = self.module.compile(case.graph)

    def _run(self, case: _Running, repeats: int, warmup: int) -> None:
        start = time.perf_counter()
        case.report = self.module.profile(case.compiled, repeats, warmup)
        case.device_s += time.perf_counter() - start

    def first_turn(self) -> None:
        """Run every case, and see how often it can run in the turns that follow."""
        job = self.job
        repeats = math.ceil(job.repeats / self.turns)
        for index in self.going():
            with self._piece(index) as case:
                other_s = case.wall_s
                self._run(case, repeats, job.warmup)
                if not self.module.simulated:
                    run_s = case.device_s / (repeats + job.warmup)
                    left = job.repeats + _extra_runs(job, run_s, other_s) - repeats
                    case.runs = math.ceil(left / max(self.turns - 1, 1))

    def further_turns(self, turns: int) -> None:
        """Run every case that goes on so often, warm each time if another ran in between."""
        warmup = 1 if len(self.cases) > 1 else 0
        for _ in range(turns):
            for index in self.going():
                if self.cases[index].runs:
                    with self._piece(index) as case:
                        self._run(case, case.runs, warmup)

    def finish(self, last: bool) -> None:
        """Profiles of the cases whose runs agree, or of all at last or if time runs out."""
        for index in self.going():
            with self._piece(index) as case:
                profile = self.module.parse(case.report or {}, case.graph or Graph("", (), ()))
                steady = self.module.simulated or spread(profile.samples_s) <= STEADY_SPREAD
                if steady or last or 2 * case.wall_s > self.job.time_limit_s:
                    self._end(case, profile)
                else:
                    case.attempts += 1
                    case.runs = max(case.runs, math.ceil(self.job.repeats / self.turns))


def _busy_core_s() -> float | None:
    """Seconds all cores together have been busy since boot; None where Linux does not tell."""
    try:
        with open("/proc/stat", encoding="ascii") as text:
            user, nice, system, _, _, irq, softirq = map(int, text.readline().split()[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _other_core_load(before_s: float | None, own_s: float, wall_s: float) -> float | None:
    """How many other cores were kept busy on average; None where it cannot be known."""
    after_s, others = _busy_core_s(), (os.cpu_count() or 1) - 1
    if before_s is None or after_s is None or others < 1 or wall_s <= 0:
        return None
    return max(0.0, (after_s - before_s - own_s) / wall_s)


def measure_in_turns(
    module: HardwareModule, job: Job, asked: Sequence[Asked], working: Callable[[int], None]
) -> list[Row]:
    """The measured parts of all cases' rows; what a case or the toolchain raises is its refusal.

    The runs of a case are spread over turns in which all cases run; while those of a case
    disagree it gets as many turns again, twice at most. Several cases share one
    `other_core_load`, that of the whole batch.
    """
    start, own_s, busy_s = time.perf_counter(), time.process_time(), _busy_core_s()
    batch = _Batch(module, job, [_Running() for _ in asked], working)
    batch.compile(asked)
    batch.first_turn()
    batch.further_turns(max(batch.turns - 1, 1))
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        batch.finish(last=attempt == _MOST_ATTEMPTS)
        if not batch.going():
            break
        batch.further_turns(batch.turns)
    load = None
    if not module.simulated:
        wall_s = time.perf_counter() - start
        load = _other_core_load(busy_s, time.process_time() - own_s, wall_s)
    rows = []
    for case in batch.cases:
        assert case.profile is not None
        row = row_of(case.profile, case.wall_s, case.device_s, case.attempts)
        rows.append({**row, "other_core_load": load})
    return rows
