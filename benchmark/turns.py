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
_PROTOCOL = 2  # changes when times mean something else: 2 are medians of runs in turns

Build = Callable[[str, Mapping[str, Any]], Graph]
Create = Callable[[str, Mapping[str, Any]], HardwareModule]
Row = dict[str, Any]
# What to measure: the benchmark's name and its settings.
Asked = tuple[str, Mapping[str, Any]]
# ("working", index) before each step of a case, ("row", index, row) once it is measured.
Message = tuple[Any, ...]


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
        runs = [_PROTOCOL, self.repeats, self.warmup, self.device_share, self.together]
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
    """A case between its compilation and its row; how often it ran, timed or only to be warm."""

    graph: Graph | None = None
    compiled: Compiled = None
    report: Report | None = None
    profile: Profile | None = None
    timed: int = 0
    warm: int = 0
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
    """Cases of one worker that are measured in turns, and whom to tell of them."""

    module: HardwareModule
    job: Job
    cases: list[_Running]
    tell: Callable[[Message], None]
    load: Callable[[], float | None]

    @property
    def turns(self) -> Sequence[int]:
        """Turns of an attempt: at each, how many are left to spread the missing runs over.

        Alone, a second turn makes up for what the first shows to be missing.
        """
        in_turns = len(self.cases) > 1 and not self.module.simulated
        return range(_TURNS, 0, -1) if in_turns else (1, 1)

    @contextmanager
    def _piece(self, index: int) -> Iterator[_Running]:
        """One step of one case; the last if it sets the profile, raises or the time is over."""
        case, start = self.cases[index], time.perf_counter()
        self.tell(("working", index))
        reason = None
        try:
            yield case
        except Exception as error:
            reason = first_line(error)
        case.wall_s += time.perf_counter() - start
        # of a device whose times are computed no step is repeated, and who watches the steps knows
        # better what a busy machine takes
        over = not self.module.simulated and case.wall_s > self.job.time_limit_s
        if reason is None and case.profile is None and over:
            reason = self.job.timeout
        if reason is not None:
            case.profile = Profile(self.module.name, refusal=reason)
        if case.profile is not None:
            case.compiled = case.report = None  # if that crashes, the case is to blame
            row = row_of(case.profile, case.wall_s, case.device_s, case.attempts)
            self.tell(("row", index, {**row, "other_core_load": self.load()}))

    def going(self) -> list[int]:
        return [index for index, case in enumerate(self.cases) if case.profile is None]

    def compile(self, asked: Sequence[Asked]) -> None:
        """Build and compile every case."""
        for index, (benchmark, settings) in enumerate(asked):
            with self._piece(index) as case:
                case.graph = self.job.build(benchmark, settings)
                if reason := self.module.supports(case.graph):
                    case.profile = Profile(self.module.name, refusal=reason)
                else:
                    case.compiled = self.module.compile(case.graph)

    def _wanted(self, case: _Running) -> int:
        """Timed runs of a case in all; what is known of its time grows with every turn."""
        if self.module.simulated:
            return self.job.repeats * case.attempts
        run_s = case.device_s / max(case.timed + case.warm, 1)
        extra = _extra_runs(self.job, run_s, case.wall_s - case.device_s) if case.timed else 0
        return (self.job.repeats + extra) * case.attempts

    def run(self) -> None:
        """The runs that are missing, in turns."""
        for left in self.turns:
            for index in self.going():
                missing = self._wanted(self.cases[index]) - self.cases[index].timed
                if missing > 0:
                    with self._piece(index) as case:
                        self._run(case, math.ceil(missing / left))

    def _run(self, case: _Running, repeats: int) -> None:
        # warm again if another ran in between
        again = 1 if len(self.cases) > 1 else 0
        warmup = again if case.timed else self.job.warmup
        start = time.perf_counter()
        case.report = self.module.profile(case.compiled, repeats, warmup)
        case.device_s += time.perf_counter() - start
        case.timed, case.warm = case.timed + repeats, case.warm + warmup

    def finish(self, last: bool) -> None:
        """End the cases whose runs agree, or all at last or if time runs out."""
        for index in self.going():
            with self._piece(index) as case:
                profile = self.module.parse(case.report or {}, case.graph or Graph("", (), ()))
                steady = self.module.simulated or spread(profile.samples_s) <= STEADY_SPREAD
                if steady or last or 2 * case.wall_s > self.job.time_limit_s:
                    case.profile = profile
                else:
                    case.attempts += 1


def _busy_core_s() -> float | None:
    """Seconds all cores together have been busy since boot; None where Linux does not tell."""
    try:
        with open("/proc/stat", encoding="ascii") as text:
            user, nice, system, _, _, irq, softirq = map(int, text.readline().split()[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _load_of_others() -> Callable[[], float | None]:
    """How many other cores were kept busy on average since; None where it cannot be known."""
    start, own_s, before_s = time.perf_counter(), time.process_time(), _busy_core_s()
    others = (os.cpu_count() or 1) - 1

    def load() -> float | None:
        after_s, wall_s = _busy_core_s(), time.perf_counter() - start
        if before_s is None or after_s is None or others < 1 or wall_s <= 0:
            return None
        return max(0.0, (after_s - before_s - (time.process_time() - own_s)) / wall_s)

    return load


def measure_in_turns(
    module: HardwareModule, job: Job, asked: Sequence[Asked], tell: Callable[[Message], None]
) -> None:
    """Tell the measured part of each case's row; what a case or the toolchain raises refuses it.

    The runs of a case are spread over turns in which all cases run; while those of a case
    disagree it gets as many again, twice at most. `other_core_load` is that of the whole batch:
    the system counts in hundredths of a second, too coarse for one case's share of it.
    """
    load = (lambda: None) if module.simulated else _load_of_others()
    batch = _Batch(module, job, [_Running() for _ in asked], tell, load)
    batch.compile(asked)
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        batch.run()
        batch.finish(last=attempt == _MOST_ATTEMPTS)
