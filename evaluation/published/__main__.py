"""Command: simulated platforms against published measurements."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evaluation.published.data_set import DataSet
from evaluation.published.ncs2_mapping_tables import write_ncs2_mapping
from evaluation.published.platforms import missing_toolchain
from evaluation.published.registry import DATA_SETS, SHIPPED
from evaluation.published.results import Result, evaluate_data_set
from evaluation.published.tables import write_mapping, write_result, write_summary
from strata.console import exits_cleanly
from strata.errors import SchemaError, legal

_SHOWN_REASONS = 5
_VERDICTS = {None: "no aim", True: "[green]reached[/]", False: "[red]not reached[/]"}


def _chosen(names: list[str] | None, folder: Path) -> list[DataSet]:
    """The data sets asked for; without names, those whose file lies in the folder."""
    if names:
        for name in names:
            if name not in DATA_SETS:
                raise SchemaError(f"data set '{name}' is unknown; legal: {legal(DATA_SETS)}")
        return [DATA_SETS[name] for name in dict.fromkeys(names)]
    found = [data_set for data_set in DATA_SETS.values() if (folder / data_set.file).exists()]
    if not found:
        files = legal({data_set.file for data_set in DATA_SETS.values()})
        raise SchemaError(f"{folder}: holds no file of published measurements; legal: {files}")
    return found


def _say(console: Console, line: str) -> None:
    """One line as it is, however narrow the console."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _with_toolchain(chosen: list[DataSet], console: Console) -> list[DataSet]:
    """The sets whose platform has its toolchain; one line per platform that lacks it."""
    lacks = {one.platform: missing_toolchain(one.platform) for one in chosen}
    for platform, reason in lacks.items():
        if reason is not None:
            names = ", ".join(one.name for one in chosen if one.platform == platform)
            _say(console, f"{names}: skipped, {reason}")
    kept = [one for one in chosen if lacks[one.platform] is None]
    if not kept:
        raise SchemaError("no data set is left whose platform has its toolchain")
    return kept


def _show(result: Result, console: Console) -> None:
    error = result.mape_percent(result.unseen.simulated_s)
    ranked = result.spearman(result.unseen.simulated_s).value
    console.print(
        f"{result.data_set.name}: n {len(result.cases)}, MAPE {error:.1f}%, Spearman {ranked:.3f}, "
        f"{_VERDICTS[result.reached]}; not built: {len(result.refusals)}",
        soft_wrap=True,
    )
    counts = Counter(refusal.reason for refusal in result.refusals)
    for reason, count in counts.most_common(_SHOWN_REASONS):
        _say(console, f"  {count} x {reason}")
    if len(counts) > _SHOWN_REASONS:
        _say(console, f"  and {len(counts) - _SHOWN_REASONS} more reasons in not_built.md")


@exits_cleanly
def published(
    output: Annotated[Path, typer.Option(help="Folder for tables, plots and the summary.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder of CSV files with published measurements.",
            show_default="those that ship with Strata",
        ),
    ] = SHIPPED,
    data_set: Annotated[
        list[str] | None, typer.Option(help="Data set to evaluate; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds.")] = 0,
) -> None:
    """Hold simulated platforms against published measurements.

    Constants that a hardware description assumes are calibrated without the network they predict
    (leave one network out, five folds for large sets). Files in another folder must have the
    columns of the shipped ones; more columns and other rows are fine.

    Example: python -m evaluation.published --data-set dpu_nodes --output results/published
    """
    console = Console(file=sys.stderr)
    results = []
    chosen = _with_toolchain(_chosen(data_set, data), console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        every = progress.add_task("data sets", total=len(chosen))
        for one in chosen:
            folds = progress.add_task(f"{one.name}: folds", total=None)
            result = evaluate_data_set(one, data, seed, partial(progress.advance, folds))
            progress.remove_task(folds)
            write_result(result, output / one.name)
            results.append(result)
            progress.advance(every)
            _show(result, console)
    if not data_set:
        write_mapping(data, output / "edge_tpu_mapping")
        _say(console, write_ncs2_mapping(data, output / "ncs2_mapping"))
    _, markdown = write_summary(results, output)
    typer.echo(markdown)


if __name__ == "__main__":
    typer.run(published)
