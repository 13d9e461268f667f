"""Command: which way of choosing points gives the best convolution model at equal budget.

The paper's grid, plain random, today's rules of thumb, the layer distribution of real networks,
and that with rounds of points where models disagree or times jump, on a platform whose times are
computed. docs/sampling.md has the result and what it is worth.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from benchmark.config import Sampling, load_config, load_platform, platform_file
from benchmark.plan import BenchmarkCase
from evaluation.plot_style import new_figure, plain_log_ticks, save_figure, styled
from evaluation.sampler_bench import (
    Bench,
    Judges,
    drawing,
    draws,
    fit,
    make_judges,
    with_rounds,
)
from evaluation.table_format import Table, to_text, write_table
from hardware_modules.registry import create
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import SchemaError
from strata.graph import Graph
from strata.importer import load_network

# drawn how at first and as candidates, largest share of a round for steps
ROUNDS = {
    "distribution, rounds": ("distribution", 0.25),
    "both, rounds": ("both", 0.25),
}
METRICS = {
    "layers_alone": "layers of evaluation networks, alone",
    "network_sums": "sums over each network's layers",
    "layers_inside": "layers of multi-layer benchmarks",
}
_COLOURS = (
    *("#E69F00", "#999999", "#0072B2", "#009E73", "#56B4E9", "#D55E00", "#7F3C8D", "#222222"),
)
_MARKERS = "sxD^ov*P"


def chosen_cases(
    bench: Bench, sampling: Sampling, name: str, seed: int, budgets: Sequence[int]
) -> dict[int, list[BenchmarkCase]]:
    """Cases by budget of a sampler; a larger budget holds the cases of a smaller one."""
    if name in ROUNDS:
        draw, steps = ROUNDS[name]
        return with_rounds(bench, drawing(sampling, draw), seed, budgets, steps)
    cases = draws(sampling)[name](budgets[-1], seed)
    return {budget: cases[:budget] for budget in budgets}


def compare(
    bench: Bench,
    judges: Judges,
    sampling: Sampling,
    budgets: Sequence[int],
    seeds: Sequence[int],
    path: Path,
) -> pd.DataFrame:
    """One row per sampler, budget and seed: `points` (those the platform ran) and the metrics.

    Rows are kept in a CSV file as they come; what it holds of all budgets is not done again. Where
    a budget is missing all are done anew, since rounds go another way to other budgets.
    """
    found = pd.read_csv(path) if path.exists() else pd.DataFrame()
    keys = ["sampler", "budget", "seed"]
    done = set(found[keys].itertuples(index=False, name=None)) if len(found) else set()
    jobs = [(seed, name) for seed in seeds for name in (*draws(sampling), *ROUNDS)]
    for seed, name in track(jobs, "comparing samplers", console=Console(stderr=True)):
        if all((name, budget, seed) in done for budget in budgets):
            continue
        rows = []
        for budget, cases in chosen_cases(bench, sampling, name, seed, budgets).items():
            table = bench.table(cases)
            row = {"sampler": name, "budget": budget, "seed": seed, "points": len(table)}
            rows.append(row | judges.errors(fit(table, seed)))
        if len(found):
            found = found[(found["sampler"] != name) | (found["seed"] != seed)]
        found = pd.concat([found, pd.DataFrame(rows)], ignore_index=True)
        with replacing(path) as draft:
            found.to_csv(draft, index=False, lineterminator="\n")
    return found


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread (standard deviation over seeds) in percent per sampler and budget."""
    grouped = found.groupby(["sampler", "budget"], sort=False)
    parts: dict[str, pd.Series] = {"seeds": grouped["seed"].nunique()}
    for metric in METRICS:
        parts[f"{metric} (%)"] = grouped[metric].mean()
        parts[f"{metric} ± (%)"] = grouped[metric].std()
    return pd.DataFrame(parts).reset_index()


def figure(found: pd.DataFrame, platform: str) -> Figure:
    """Error against points, a panel per metric, bars over the seeds."""
    with styled():
        drawing = new_figure(11, 3.6)
        panels = drawing.subplots(1, len(METRICS))
        for panel, (metric, title) in zip(panels, METRICS.items(), strict=True):
            names = list(dict.fromkeys(found["sampler"]))
            for name, colour, marker in zip(names, _COLOURS, _MARKERS, strict=False):
                part = found[found["sampler"] == name].groupby("budget")[metric]
                mean, spread = part.mean(), part.std().fillna(0.0)
                panel.errorbar(
                    *(mean.index, mean, spread),
                    label=name,
                    color=colour,
                    marker=marker,
                    markersize=4,
                    capsize=2,
                )
            panel.set(xscale="log", yscale="log", title=title, xlabel="convolutions measured")
            plain_log_ticks(panel, x=True, y=True)
        panels[0].set_ylabel("mean absolute error (%)")
        panels[-1].legend()
        drawing.suptitle(f"Which points to measure: {platform}")
    return drawing


def read_networks(folder: Path) -> list[tuple[str, Graph]]:
    """Networks of a run's folder, all groups; SchemaError if there are none."""
    paths = [path for path in sorted(folder.glob("*/*")) if path.suffix in (".json", ".xml")]
    if not paths:
        raise SchemaError(f"{folder}: holds no networks; legal: results/RUN/networks of a run")
    return [(f"{path.parent.name}/{path.stem}", load_network(path)) for path in paths]


def _numbers(text: str, what: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise SchemaError(f"{what} is '{text}'; legal: whole numbers from 1, such as 300,1000")
    return numbers


@exits_cleanly
def command(
    networks: Annotated[Path, typer.Argument(help="Networks to judge by: results/RUN/networks")],
    platform: Annotated[str, typer.Option(help="Platform whose module computes its times.")],
    output: Annotated[Path, typer.Option(help="Folder of CSV files, table and figure.")],
    config: Annotated[Path, typer.Option(help="Run configuration, YAML.")] = Path(
        "config/default.yaml"
    ),
    budgets: Annotated[str, typer.Option(help="Numbers of convolutions.")] = "300,1000,3000",
    seeds: Annotated[str, typer.Option(help="Seeds; one or more, each a whole repetition.")] = (
        "1,2,3"
    ),
    cells: Annotated[int, typer.Option(min=1, help="Multi-layer networks to judge by.")] = 40,
) -> None:
    """Compare the ways to choose points at equal budget (half an hour on one core).

    Example: python -m evaluation.samplers results/default/networks --platform dpu_zcu102
    --output results/samplers
    """
    file = platform_file(config, platform)
    described = load_platform(file)
    module = create(described.module, described.options)
    if not module.simulated:
        raise SchemaError(f"platform '{platform}' takes its times; legal: one that computes them")
    sampling = described.apply(load_config(config), file).sampling
    sampling = sampling.model_copy(update={"kernels_limit": 1})  # equal kernels give equal rows
    bench = Bench(module)
    judges = make_judges(bench, read_networks(networks), sampling, cells, seed=2**31)
    output.mkdir(parents=True, exist_ok=True)
    numbers = (_numbers(budgets, "budgets"), _numbers(seeds, "seeds"))
    found = compare(bench, judges, sampling, *numbers, output / f"{platform}.csv")
    layers = f"{len(judges.alone)} layers alone of {len(judges.networks)} networks"
    note = f"{layers}, {len(judges.inside)} layers inside {cells} benchmark networks."
    table = Table(f"{platform}_summary", f"Samplers on {platform}", summary(found), (note,))
    write_table(table, output)
    save_figure(figure(found, platform), output, platform)
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
