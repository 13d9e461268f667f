"""Command: write which points a round adds, knowing what was measured so far."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.config import load_config, load_platform, platform_file
from benchmark.plan import read_plan, write_plan
from benchmark.rounds import plan_round
from benchmark.sampling import read_unrolling
from strata.console import exits_cleanly


@exits_cleanly
def command(
    plans: Annotated[list[Path], typer.Argument(help="Plans of all phases before.")],
    config: Annotated[Path, typer.Option(help="Run configuration, YAML.")],
    platform: Annotated[str, typer.Option(help="A file's name in platforms/ beside it.")],
    number: Annotated[int, typer.Option("--round", min=1, help="Which round, from 1.")],
    tables: Annotated[Path, typer.Option(help="Tables of everything measured before.")],
    output: Annotated[Path, typer.Option(help="Plan to write; lines with # say why.")],
    unrolling: Annotated[
        Path | None, typer.Option(help="Fitted unrolling: sample at its multiples.")
    ] = None,
) -> None:
    """Plan a round of points where models disagree or a step is suspected; none at the target.

    Example: python -m benchmark.plan_round plan/sweeps.jsonl plan/samples.jsonl
    --config config/tiny.yaml --platform openvino_cpu --round 1 --tables round_tables/1
    --output plan/round1.jsonl
    """
    run = load_config(config)
    file = platform_file(config, platform)
    described = load_platform(file)
    sizes = read_unrolling(unrolling) if unrolling else None
    before = [case for plan in plans for case in read_plan(plan)]
    cases, notes = plan_round(described.apply(run, file), number, before, tables, sizes)
    write_plan(cases, output, notes)
    for note in notes:
        typer.echo(note, err=True)


if __name__ == "__main__":
    typer.run(command)
