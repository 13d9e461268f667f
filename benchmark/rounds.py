"""One round of added points: from what was measured so far to the next cases, and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import adaptive
from benchmark.adaptive import Ensemble, Measured
from benchmark.config import RunConfig, Sampling
from benchmark.plan import BenchmarkCase, make_case, unique
from benchmark.sampling import Sizes, named_generator, sample_case, with_kernels
from graph_gen.benchmarks import BENCHMARKS
from model_gen.tables import read_table
from strata.errors import ArtefactError, SchemaError

# Candidates of a round and benchmark. Their number stays, so that more points keep the fewer.
CANDIDATES = 1000

Candidates = Callable[[int], list[BenchmarkCase]]


@dataclass(frozen=True, slots=True)
class Round:
    """What every benchmark of a round shares; `points` are those of all benchmarks together."""

    number: int
    seed: int
    held_out: float
    step_share: float
    target_error_percent: float

    def generator(self, benchmark: str, *purpose: str) -> np.random.Generator:
        """Random numbers that depend on run seed, round, benchmark and purpose only."""
        return named_generator(self.seed, "round", self.number, benchmark, *purpose)

    def judges_only(self, case: BenchmarkCase) -> bool:
        """Whether a case is held out."""
        return adaptive.is_held_out(case, self.seed, self.held_out)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Cases of one benchmark for the next round, and one line that says why."""

    cases: list[BenchmarkCase]
    note: str


def split(points: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Points per benchmark in proportion, each rounded by itself: a larger budget takes none away.

    The sum may differ from `points` by the rounding.
    """
    total = sum(shares.values())
    return {name: int(points * share / total + 0.5) for name, share in shares.items() if total}


def measured_kernels(
    plans: Sequence[BenchmarkCase], tables: Path, benchmark: str
) -> Measured | None:
    """Kernels of a benchmark in the tables, by the plans' cases; None if none was measured.

    ArtefactError or FitError for a table that cannot be read or lacks columns.
    """
    path = tables / "layers" / f"{benchmark}.parquet"
    if not path.exists():
        return None
    table = read_table(path)
    if "layer" not in table.columns or "benchmark" not in table.columns:
        raise ArtefactError(f"{path}: lacks column layer or benchmark; make the tables anew")
    kernels = table[table["layer"].str.startswith("kernel") & (table["benchmark"] == benchmark)]
    mean_s = kernels.groupby("case_id")["time_s"].mean().to_dict()
    cases = [case for case in plans if case.case_id in mean_s]
    if not cases:
        return None
    return Measured(tuple(cases), np.array([mean_s[case.case_id] for case in cases]))


def _step_cases(
    known: Measured, score: np.ndarray, quota: int, turn: Round, sampling: Sampling
) -> list[BenchmarkCase]:
    """Up to `quota` cases: halfway of suspected steps, then (half at most) probes for new ones."""
    benchmark = known.cases[0].benchmark
    taken = {case.case_id for case in known.cases}
    found: dict[str, BenchmarkCase] = {}

    def add(rows: Sequence[dict[str, Any]], reason: str, most: int) -> None:
        tags = {"data_set": "base", "round": str(turn.number), "reason": reason}
        for row in rows:
            if len(found) >= most:
                return
            complete = with_kernels(benchmark, row, sampling)
            if complete is None:
                continue
            case = make_case(benchmark, complete, tags)
            if case.case_id not in taken and not turn.judges_only(case):
                found.setdefault(case.case_id, case)

    add([gap.middle for gap in adaptive.gaps(known)], "step", quota)
    rows = adaptive.probes(known, score, turn.generator(benchmark, "probes"))
    add(rows, "probe", min(quota, len(found) + (quota + 1) // 2))
    return list(found.values())


def _disagreement_cases(
    known: Measured, ensemble: Ensemble, count: int, turn: Round, candidates: Candidates
) -> list[BenchmarkCase]:
    """Up to `count` candidates where the members disagree."""
    benchmark = known.cases[0].benchmark
    taken = {case.case_id for case in known.cases}
    pool = [
        case
        for case in unique(candidates(max(CANDIDATES, count)))
        if case.case_id not in taken and not turn.judges_only(case)
    ]
    if not pool:
        return []
    score = adaptive.interest(ensemble, adaptive.case_matrix(pool))
    picked = adaptive.pick(score, count, turn.generator(benchmark, "pick"))
    why = {"round": str(turn.number), "reason": "disagreement"}
    return [
        make_case(benchmark, pool[int(i)].settings, {**pool[int(i)].tags, **why}) for i in picked
    ]


def choose(
    measured: Measured, count: int, turn: Round, sampling: Sampling, candidates: Candidates
) -> Chosen:
    """The next `count` cases of one benchmark, none where the target is reached.

    `candidates(n)` gives the first n of a sequence of cases, of which some are taken.
    """
    judging = np.array([turn.judges_only(case) for case in measured.cases])
    known, held_out = measured.where(~judging), measured.where(judging)
    name = measured.cases[0].benchmark
    if len(known.cases) < adaptive.FEWEST_POINTS:
        note = f"{name}: {len(known.cases)} points measured, an ensemble needs"
        return Chosen([], f"{note} {adaptive.FEWEST_POINTS}: nothing planned")
    matrix = adaptive.case_matrix(known.cases)
    ensemble = adaptive.fit_ensemble(matrix, known.time_s, turn.generator(name, "ensemble"))
    error = adaptive.error_percent(ensemble, held_out)
    judged = f"{len(held_out.cases)} held-out points"
    if error is None:
        state = f"{name}: {judged} are too few to judge"
    else:
        state = f"{name}: error {error:.1f}% on {judged}"
        if error <= turn.target_error_percent:
            reached = f"target of {turn.target_error_percent:g}% reached"
            return Chosen([], f"{state}, {reached}: nothing planned")
    quota = int(turn.step_share * count)
    score = adaptive.interest(ensemble, matrix)
    steps = _step_cases(known, score, quota, turn, sampling) if quota else []
    others = _disagreement_cases(known, ensemble, count - len(steps), turn, candidates)
    cases = unique([*steps, *others])
    by_reason = {each: sum(case.tags["reason"] == each for case in cases) for each in _REASONS}
    parts = ", ".join(f"{count} {_REASONS[each]}" for each, count in by_reason.items() if count)
    return Chosen(cases, f"{state}: {len(cases)} points ({parts})")


_REASONS = {
    "disagreement": "where models disagree",
    "step": "between neighbours whose times jump",
    "probe": "beside measured points",
}


def plan_round(
    run: RunConfig,
    number: int,
    plans: Sequence[BenchmarkCase],
    tables: Path,
    unrolling: Mapping[str, Sizes] | None = None,
) -> tuple[list[BenchmarkCase], list[str]]:
    """Cases of round `number` (from 1) and the reasons, a line per benchmark.

    `plans` are the cases planned so far, `tables` what was measured of them, `unrolling` maps
    operation -> feature -> s. SchemaError for a round that the run does not have.
    """
    rounds = run.rounds
    if not 1 <= number <= rounds.count:
        raise SchemaError(f"round {number} of rounds.count {rounds.count}; legal: 1 to that")
    if not tables.is_dir():
        raise ArtefactError(f"{tables}: no such folder of tables")
    turn = Round(number, run.seed, rounds.held_out, rounds.step_share, rounds.target_error_percent)
    shares = {
        str(name): count
        for name, count in run.samples.items()
        if count and BENCHMARKS[name].operation is not None
    }
    cases: list[BenchmarkCase] = []
    notes = []
    for benchmark, count in split(rounds.points, shares).items():
        measured = measured_kernels(plans, tables, benchmark)
        if measured is None:
            notes.append(f"{benchmark}: nothing was measured, nothing planned")
            continue

        def candidates(
            n: int, benchmark: str = benchmark, stream: str = f"round {number}"
        ) -> list[BenchmarkCase]:
            sizes = dict((unrolling or {}).get(benchmark, {}))
            return [
                sample_case(benchmark, index, run.seed, run.sampling, sizes, stream)
                for index in range(n)
            ]

        chosen = choose(measured, count, turn, run.sampling, candidates)
        cases += chosen.cases
        notes.append(chosen.note)
    return cases, [f"round {number}: {len(cases)} points planned", *notes]
