"""Command: would rounds have chosen better out of points that are measured already?

For devices whose times are taken, and cost: convolutions of a finished run are the pool. Points
drawn from it at random stand against points chosen in rounds where models disagree, at equal
budget, judged on a fifth of the pool that neither sees and on the layers of multi-layer benchmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from benchmark.adaptive import Measured, is_held_out
from benchmark.config import Sampling
from benchmark.plan import BenchmarkCase, read_plan
from benchmark.rounds import Round, choose, measured_kernels
from benchmark.sampling import named_generator
from evaluation.metrics import mape
from evaluation.sampler_bench import KERNEL, budgets_on_the_way, fit
from evaluation.table_format import Table, to_text, write_table
from model_gen.tables import inside_networks, read_table, table_matrix, table_times
from strata.console import exits_cleanly
from strata.errors import SchemaError

_JUDGES = 0.2
_HELD_OUT = 0.15
_FIRST_SHARE = 2 / 3


@dataclass(frozen=True, slots=True)
class Pool:
    """Measured convolutions to choose from, those that judge, and the table of all rows."""

    offered: Measured
    judges: Measured
    table: pd.DataFrame

    def kernels(self, cases: Sequence[BenchmarkCase]) -> pd.DataFrame:
        """Table rows of the cases' kernels."""
        chosen = self.table["case_id"].isin({case.case_id for case in cases})
        return self.table[chosen & self.table["layer"].str.startswith("kernel")]


def read_pool(tables: Path, plans: Sequence[Path], seed: int) -> Pool:
    """The pool of a run; SchemaError if it holds no sampled convolutions."""
    cases = [case for plan in plans for case in read_plan(plan) if not case.tags.get("sweep")]
    measured = measured_kernels(cases, tables, KERNEL)
    if measured is None:
        raise SchemaError(f"{tables}: holds no sampled {KERNEL} of these plans")
    judging = np.array([is_held_out(case, seed, _JUDGES) for case in measured.cases])
    table = read_table(tables / "layers" / f"{KERNEL}.parquet")
    return Pool(measured.where(~judging), measured.where(judging), table)


def _part(measured: Measured, cases: Sequence[BenchmarkCase]) -> Measured:
    chosen = {case.case_id for case in cases}
    return measured.where(np.array([case.case_id in chosen for case in measured.cases]))


def in_rounds(pool: Pool, seed: int, budgets: Sequence[int]) -> dict[int, list[BenchmarkCase]]:
    """Cases by budget: some at random, the rest where models disagree."""
    order = named_generator(seed, "pool").permutation(len(pool.offered.cases))
    every = [pool.offered.cases[int(i)] for i in order]
    cases = every[: int(_FIRST_SHARE * budgets[0])]
    found = {}
    for number, points in enumerate(budgets_on_the_way(len(cases), budgets), 1):
        turn = Round(number, seed, _HELD_OUT, step_share=0.0, target_error_percent=1e-9)
        wanted = points - len(cases)
        known = _part(pool.offered, cases)
        cases = cases + choose(known, wanted, turn, Sampling(), lambda count: every).cases
        if points in budgets:
            found[points] = cases
    return found


def at_random(pool: Pool, seed: int, budgets: Sequence[int]) -> dict[int, list[BenchmarkCase]]:
    """Cases by budget, drawn evenly; they begin as `in_rounds` does."""
    order = named_generator(seed, "pool").permutation(len(pool.offered.cases))
    return {points: [pool.offered.cases[int(i)] for i in order[:points]] for points in budgets}


def judge(pool: Pool, cases: Sequence[BenchmarkCase], seed: int) -> dict[str, float]:
    """MAPE in percent on judging kernels and on layers inside benchmark networks."""
    model = fit(pool.kernels(cases), seed)
    alone = pool.kernels(pool.judges.cases)
    inside = pool.table[inside_networks(pool.table)]
    errors = {}
    for name, rows in (("layers_alone", alone), ("layers_inside", inside)):
        if len(rows):
            errors[name] = mape(table_times(rows), model.time_s(table_matrix(rows)))
    return errors


@exits_cleanly
def command(
    plans: Annotated[list[Path], typer.Argument(help="Plans of the run: plan/samples.jsonl")],
    tables: Annotated[Path, typer.Option(help="Its tables.")],
    output: Annotated[Path, typer.Option(help="Folder of the CSV file and table.")],
    name: Annotated[str, typer.Option(help="Name of the files.")] = "pool",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, seeds from 1.")] = 3,
) -> None:
    """Compare rounds with random choice out of measured points, at a third and two thirds of them.

    Example: python -m evaluation.sampler_pool results/default/openvino_cpu/plan/samples.jsonl
    --tables results/default/openvino_cpu/tables --output results/samplers --name openvino_cpu
    """
    rows = []
    for seed in track(range(1, seeds + 1), "comparing", console=Console(stderr=True)):
        pool = read_pool(tables, plans, seed)
        budgets = [len(pool.offered.cases) // 3, 2 * len(pool.offered.cases) // 3]
        for way, choices in (("random", at_random), ("rounds", in_rounds)):
            for budget, cases in choices(pool, seed, budgets).items():
                share = f"{(budgets.index(budget) + 1)}/3 of the pool"
                row = {"chosen": way, "budget": share, "seed": seed, "points": len(cases)}
                rows.append(row | judge(pool, cases, seed))
    frame = pd.DataFrame(rows)
    output.mkdir(parents=True, exist_ok=True)
    frame.to_csv(output / f"{name}.csv", index=False, lineterminator="\n")
    grouped = frame.groupby(["budget", "chosen"], sort=False)
    metrics = [each for each in ("layers_alone", "layers_inside") if each in frame.columns]
    parts: dict[str, Any] = {"Points": grouped["points"].mean().round().astype(int)}
    for metric in metrics:
        parts[f"{metric} (%)"] = grouped[metric].mean()
        parts[f"{metric} ± (%)"] = grouped[metric].std()
    title = f"Choosing out of measured points: {name}"
    table = Table(f"{name}_summary", title, pd.DataFrame(parts).reset_index())
    write_table(table, output)
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
