"""Command: measure one chunk of a plan on one platform."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from benchmark.config import load_platform
from benchmark.plan import chunk as chunk_of
from benchmark.plan import nests, read_plan
from benchmark.runner import measure_cases
from benchmark.turns import Job
from strata.console import exits_cleanly


@exits_cleanly
def measure_chunk(
    plan: Annotated[Path, typer.Option(help="Plan that make_plan wrote.")],
    platform_file: Annotated[Path, typer.Option(help="config/platforms/NAME.yaml")],
    output: Annotated[Path, typer.Option(help="Shard to write, one line per case.")],
    chunk: Annotated[int, typer.Option(help="Which chunk, from 0.")] = 0,
    chunks: Annotated[int, typer.Option(help="Into how many chunks the plan is cut.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs per graph.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs before them.")] = 2,
    device_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Run more often until the device had this share.")
    ] = 0.65,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds one case may take.")] = 60.0,
) -> None:
    """Measure a chunk of a plan; started again after a kill, it measures only what is missing.

    Example: python -m benchmark.measure_chunk --plan plan.jsonl --chunk 0 --chunks 4
    --platform-file config/platforms/openvino_cpu.yaml --output shard-0.jsonl
    """
    platform = load_platform(platform_file)
    cases = list(chain.from_iterable(chunk_of(nests(read_plan(plan)), chunk, chunks)))
    job = Job(
        platform.module,
        dict(platform.options),
        repeats,
        warmup,
        time_limit,
        device_share,
        platform.together,
    )
    summary = measure_cases(cases, job, output, platform.name)
    points = max(summary.points, 1)
    typer.echo(
        f"{summary.points} points, {summary.refused} refused, {summary.resumed} resumed; "
        f"{summary.wall_s / points:.3f} s per point, "
        f"{summary.device_s / max(summary.wall_s, 1e-12):.0%} of it on the device: {output}",
        err=True,
    )
    if summary.refused and summary.refused == summary.points:
        typer.echo(f"every point was refused, most often with: {summary.reason}", err=True)


if __name__ == "__main__":
    typer.run(measure_chunk)
