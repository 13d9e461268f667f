"""Measuring a chunk of cases so that no single one can spoil the rest.

A worker process holds the hardware module and measures cases in turns (`benchmark.turns`); this
process watches the clock. A case that is refused, crashes the worker or hangs becomes a row with
its reason, the worker is replaced, and the rest goes on. Finished rows go to a journal beside the
output: a restart measures only what is missing.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from benchmark.plan import BenchmarkCase, nests
from benchmark.turns import Job, Row, first_line, measure_in_turns, row_of
from hardware_modules.device_lock import device_lock
from hardware_modules.time_limit import answers_in_time
from strata.atomic import replacing
from strata.errors import StrataError
from strata.profile import Profile

_START_LIMIT_S = 120.0


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


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(pipe: Connection, job: Job) -> None:
    """Worker's main: one module, one batch of cases after another, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        module = job.create(job.module, job.options)
    except Exception as error:
        pipe.send(("failed", first_line(error)))
        return
    pipe.send(("ready", module.name, module.simulated))
    with suppress(EOFError):
        while True:
            measure_in_turns(module, job, pipe.recv(), pipe.send)


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        hint = ", perhaps out of memory" if exit_code == -signal.SIGKILL else ""
        return f"worker died with signal {-exit_code} ({signal.strsignal(-exit_code)}{hint})"
    return f"worker died with exit code {exit_code}"


def _row(case: BenchmarkCase, measured: Row) -> Row:
    return {"case": case.to_dict(), "tags": case.tags, **measured}


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
        state, *told = self._answer(_START_LIMIT_S) or ("failed", "worker did not start in time")
        if state == "failed":
            self.close()
            raise StrataError(f"hardware module '{self.job.module}': {told[0]}")
        self.module_name, simulated = told
        self.together = 1 if simulated else self.job.together

    def _answer(self, limit_s: float) -> Any:
        """What the worker sends; None after the limit; a failure if it died."""
        try:
            told = answers_in_time(self._process.pid or 0, limit_s, self._pipe.poll)
            return self._pipe.recv() if told else None
        except (EOFError, ConnectionError):
            self._process.join()
            return ("failed", _death(self._process.exitcode))

    def measure(self, cases: Sequence[BenchmarkCase]) -> Iterator[Row]:
        """The cases' rows as they are measured, in turns; a hang or a crash is a refusal.

        The others are then measured by a new worker, without the case that stopped the old one.
        If it died in company it gets a trial alone: memory may have been what all needed.
        """
        together, alone = list(cases), list[BenchmarkCase]()
        while together or alone:
            batch = together or [alone.pop()]
            together, stopped = [], None
            left = dict(enumerate(batch))
            if not self._process.is_alive():  # killed since the last answer: no case is to blame
                self.close()
                self._start()
            current, since = 0, time.perf_counter()
            with suppress(ConnectionError):  # the first answer will be that it died
                self._pipe.send([(case.benchmark, case.settings) for case in batch])
            while left and stopped is None:
                told: Any = self._answer(self.job.time_limit_s) or ("failed", self.job.timeout)
                if told[0] == "working":
                    current, since = told[1], time.perf_counter()
                elif told[0] == "row":
                    yield _row(left.pop(told[1]), told[2])
                else:
                    stopped = told[1]
            if stopped is None:
                continue
            case = left.pop(current, None)  # None: it died between two cases
            if case is not None and len(batch) > 1 and stopped != self.job.timeout:
                alone.append(case)
            elif case is not None:
                refused = Profile(self.module_name, refusal=stopped)
                yield _row(case, row_of(refused, time.perf_counter() - since))
            together = list(left.values())
            self.close()
            self._start()

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


def _batches(cases: Sequence[BenchmarkCase], size: int) -> Iterator[Sequence[BenchmarkCase]]:
    """The cases in the plan's order, about `size` at a time, no batch much smaller.

    What is compared with each other stays together.
    """
    number = -(-len(cases) // size)
    whole = nests(cases) if size > 1 else [[case] for case in cases]
    bounds = [len(whole) * each // number for each in range(number + 1)]
    return (list(chain.from_iterable(whole[start:end])) for start, end in pairwise(bounds))


def _measure_missing(
    missing: Sequence[BenchmarkCase], job: Job, journal: Journal, device: str
) -> None:
    with device_lock(device), _progress(len(missing), f"measuring {device}") as advance:
        worker = Worker(job)
        try:
            for batch in _batches(missing, worker.together):
                for row in worker.measure(batch):
                    journal.add(row)
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
