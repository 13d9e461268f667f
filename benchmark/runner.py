"""Measuring a chunk of cases so that no single one can spoil the rest.

A worker process holds the hardware module; this process watches the clock. A case that is refused,
crashes the worker or hangs becomes a row with its reason, the worker is replaced, and the rest
goes on. Finished rows go to a journal beside the output: a restart measures only what is missing.
"""

import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from benchmark.plan import BenchmarkCase
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from hardware_modules.device_lock import device_lock
from hardware_modules.registry import create
from strata.atomic import replacing
from strata.errors import StrataError
from strata.graph import Graph
from strata.profile import Profile
from strata.profile_json import profile_to_dict

# Runs of one graph that differ more than this (median over lower quartile) were disturbed.
STEADY_SPREAD = 1.15
_MOST_ATTEMPTS = 3
_MOST_EXTRA_RUNS = 5  # times `repeats`: every reading is kept, so records must stay small
_START_LIMIT_S = 120.0

Build = Callable[[str, Mapping[str, Any]], Graph]
Create = Callable[[str, Mapping[str, Any]], HardwareModule]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """How to measure: the module and its options, runs per graph, seconds per case.

    A graph runs more often, up to five times `repeats` beside them, until the device has had
    `device_share` of the time the graph cost: what was built with effort is measured well.
    `create` and `build` must be importable functions, since the worker is a fresh process.
    """

    module: str
    options: dict[str, Any]
    repeats: int = 20
    warmup: int = 2
    time_limit_s: float = 60.0
    device_share: float = 0.0
    create: Create = create
    build: Build = build

    @property
    def fingerprint(self) -> str:
        """Changes when rows measured before would not be comparable."""
        rule = [self.module, self.options, self.repeats, self.warmup, self.device_share]
        text = json.dumps(rule, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a chunk; times in seconds, over the rows measured now and before.

    `reason` is the commonest one of the refusals, empty without any.
    """

    points: int
    refused: int
    reason: str
    resumed: int
    wall_s: float
    device_s: float


def spread(samples_s: Sequence[float]) -> float:
    """Median over lower quartile of the timed runs; 1 when there are none."""
    if not samples_s:
        return 1.0
    lower, median = np.quantile(samples_s, [0.25, 0.5])
    return float(median / lower) if lower > 0 else 1.0


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


def _extra_runs(job: Job, device_s: float, other_s: float) -> int:
    """Runs still missing until the device has had its share."""
    wanted_s = other_s * job.device_share / (1.0 - job.device_share)
    if device_s >= wanted_s:
        return 0
    run_s = device_s / (job.repeats + job.warmup)
    return min(_MOST_EXTRA_RUNS * job.repeats, math.ceil((wanted_s - device_s) / run_s))


def _attempt(module: HardwareModule, graph: Graph, job: Job, begun: float) -> tuple[Profile, float]:
    """One fresh compile and its runs; seconds inside the runs. `begun`: when the case was."""
    compiled = module.compile(graph)
    start = time.perf_counter()
    report = module.profile(compiled, job.repeats, job.warmup)
    if not module.simulated:
        extra = _extra_runs(job, time.perf_counter() - start, start - begun)
        if extra:
            report = module.profile(compiled, extra, 0)
    device_s = time.perf_counter() - start
    return module.parse(report, graph), device_s


def _steadiest(
    module: HardwareModule, graph: Graph, job: Job, start: float
) -> tuple[Profile, float, int]:
    """Measure again while the runs disagree and time allows; profile, device seconds, attempts."""
    best, device_s = _attempt(module, graph, job, start)
    attempts = 1
    while (
        not module.simulated
        and spread(best.samples_s) > STEADY_SPREAD
        and attempts < _MOST_ATTEMPTS
        and 2 * (time.perf_counter() - start) < job.time_limit_s
    ):
        again, more_s = _attempt(module, graph, job, time.perf_counter())
        device_s += more_s
        attempts += 1
        if spread(again.samples_s) < spread(best.samples_s):
            best = again
    return best, device_s, attempts


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else "no message"
    return line if isinstance(error, StrataError) else f"{type(error).__name__}: {line}"


def _measure(module: HardwareModule, job: Job, benchmark: str, settings: Mapping[str, Any]) -> Row:
    """The measured part of a row; whatever the toolchain raises becomes a refusal."""
    start, own_s, busy_s = time.perf_counter(), time.process_time(), _busy_core_s()
    device_s, attempts = 0.0, 0
    try:
        graph = job.build(benchmark, settings)
        if reason := module.supports(graph):
            profile = Profile(module.name, refusal=reason)
        else:
            profile, device_s, attempts = _steadiest(module, graph, job, start)
    except Exception as error:
        profile = Profile(module.name, refusal=_first_line(error))
    wall_s = time.perf_counter() - start
    load = None
    if not module.simulated:
        load = _other_core_load(busy_s, time.process_time() - own_s, wall_s)
    return {
        "profile": profile_to_dict(profile),
        "wall_s": wall_s,
        "device_s": device_s,
        "attempts": attempts,
        "other_core_load": load,
    }


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(pipe: Connection, job: Job) -> None:
    """Worker's main: one module, one case after another, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        module = job.create(job.module, job.options)
    except Exception as error:
        pipe.send(("failed", _first_line(error)))
        return
    pipe.send(("ready", module.name))
    with suppress(EOFError):
        while True:
            pipe.send(_measure(module, job, *pipe.recv()))


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        hint = ", perhaps out of memory" if exit_code == -signal.SIGKILL else ""
        return f"worker died with signal {-exit_code} ({signal.strsignal(-exit_code)}{hint})"
    return f"worker died with exit code {exit_code}"


class Worker:
    """A child process with the module in it; replaced when it hangs or dies."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.module_name = job.module
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self.job), daemon=True)
        self._process.start()
        theirs.close()
        state, text = self._answer(_START_LIMIT_S) or ("failed", "worker did not start in time")
        if state == "failed":
            self.close()
            raise StrataError(f"hardware module '{self.job.module}': {text}")
        self.module_name = text

    def _answer(self, limit_s: float) -> Any:
        """What the worker sends; None after the limit; a failure if it died."""
        try:
            return self._pipe.recv() if self._pipe.poll(limit_s) else None
        except (EOFError, ConnectionError):
            self._process.join()
            return ("failed", _death(self._process.exitcode))

    def _refusal(self, reason: str, wall_s: float) -> Row:
        return {
            "profile": profile_to_dict(Profile(self.module_name, refusal=reason)),
            "wall_s": wall_s,
            "device_s": 0.0,
            "attempts": 1,
            "other_core_load": None,
        }

    def measure(self, case: BenchmarkCase) -> Row:
        """The case's row; a hang or a crash is a refusal, and a new worker stands ready."""
        start = time.perf_counter()
        try:
            self._pipe.send((case.benchmark, case.settings))
            answer = self._answer(self.job.time_limit_s)
        except ConnectionError:
            self._process.join()
            answer = ("failed", _death(self._process.exitcode))
        if isinstance(answer, dict):
            measured = answer
        else:
            reason = answer[1] if answer else f"timeout after {self.job.time_limit_s:g} s"
            measured = self._refusal(reason, time.perf_counter() - start)
            self.close()
            self._start()
        return {"case": case.to_dict(), "tags": case.tags, **measured}

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


class Journal:
    """Finished rows beside the output, one per line; survives a kill at any moment."""

    def __init__(self, output: Path, fingerprint: str) -> None:
        self.path = output.with_name(output.name + ".journal")
        self.rows: dict[str, Row] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._head = {"journal": 1, "job": fingerprint}
        kept = self._read()
        if self.path.exists():
            os.truncate(self.path, kept)
        self._file = self.path.open("a", encoding="utf-8")
        if kept == 0:
            self._append(self._head)

    def _read(self) -> int:
        """Take over complete rows of the same job; the number of bytes that are worth keeping."""
        if not self.path.exists():
            return 0
        kept = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                record = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or (kept == 0 and record != self._head):
                break
            if kept:
                self.rows[record["case"]["case_id"]] = record
            kept += len(line)
        return kept

    def _append(self, record: Row) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def add(self, row: Row) -> None:
        """Keep a finished row."""
        self.rows[row["case"]["case_id"]] = row
        self._append(row)

    def close(self) -> None:
        """Close the file, keep it."""
        self._file.close()


@contextmanager
def _progress(total: int, label: str) -> Iterator[Callable[[], None]]:
    """Call the result once per point: a bar on a terminal, else one line per tenth."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total)
            yield lambda: bar.advance(task)
        return
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            print(f"{label}: {done} of {total}", file=sys.stderr, flush=True)

    yield advance


def _write(rows: Sequence[Row], output: Path) -> None:
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


def _measure_missing(
    missing: Sequence[BenchmarkCase], job: Job, journal: Journal, device: str
) -> None:
    with device_lock(device), _progress(len(missing), f"measuring {device}") as advance:
        worker = Worker(job)
        try:
            for case in missing:
                journal.add(worker.measure(case))
                advance()
        finally:
            worker.close()


def measure_cases(cases: Sequence[BenchmarkCase], job: Job, output: Path, device: str) -> Summary:
    """Measure every case once and write the shard, one JSON line per case, in the plan's order.

    `device` names the lock held while measuring. Rows: case, tags, profile (or its refusal),
    wall_s (build, compile and runs), device_s (inside runs, warm-up included), attempts,
    other_core_load. `<output>.journal` holds finished rows until the shard is complete. Raises
    StrataError if the module itself cannot be created; nothing is written then.
    """
    journal = Journal(output, job.fingerprint)
    wanted = {case.case_id: case for case in cases}
    missing = [case for key, case in wanted.items() if key not in journal.rows]
    try:
        if missing:
            _measure_missing(missing, job, journal, device)
    finally:
        journal.close()
    # tags belong to the plan, which may have been made anew since
    rows = [{**journal.rows[key], "tags": case.tags} for key, case in wanted.items()]
    _write(rows, output)
    journal.path.unlink()
    refusals = Counter(row["profile"]["refusal"] for row in rows)
    del refusals[None]
    return Summary(
        points=len(rows),
        refused=refusals.total(),
        reason=max(refusals, key=refusals.__getitem__, default=""),
        resumed=len(wanted) - len(missing),
        wall_s=sum(row["wall_s"] for row in rows),
        device_s=sum(row["device_s"] for row in rows),
    )
