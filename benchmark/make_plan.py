"""Command: write which cases a phase of a run measures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark.black_box_plan import nested_cases
from benchmark.config import RunConfig, load_config, load_platform, platform_file
from benchmark.plan import MAPPING_ONLY, TOTAL_ONLY, BenchmarkCase, unique, write_plan
from benchmark.sampling import plan_apart, plan_samples, read_unrolling
from benchmark.sweep import plan_sweeps
from strata.console import exits_cleanly


class Phase(StrEnum):
    """Sweeps come first: what is fitted to them steers the samples."""

    SWEEPS = "sweeps"
    SAMPLES = "samples"
    MAPPING = "mapping"


def plan_cases(
    config: RunConfig, phase: Phase | None, unrolling: Path | None
) -> list[BenchmarkCase]:
    """Cases of one phase, or of all that is timed without one.

    Samples know the fitted unrolling if given.
    """
    if phase == Phase.MAPPING:
        return plan_apart(config.mapping, MAPPING_ONLY, config.seed, config.sampling)
    cases: list[BenchmarkCase] = []
    if phase != Phase.SAMPLES:
        cases += plan_sweeps({str(name): sweep for name, sweep in config.sweeps.items()})
    if phase != Phase.SWEEPS:
        sizes = read_unrolling(unrolling) if unrolling else None
        cases += plan_samples(
            {str(name): count for name, count in config.samples.items()},
            config.multi_layer,
            config.seed,
            config.sampling,
            sizes,
        )
        cases += plan_apart(config.calibration, TOTAL_ONLY, config.seed, config.sampling)
    return unique(cases)


@exits_cleanly
def make_plan(
    config: Annotated[Path, typer.Option(help="Run configuration, YAML.")],
    platform: Annotated[str, typer.Option(help="A file's name in platforms/ beside it.")],
    output: Annotated[Path, typer.Option(help="Plan to write, one case per line.")],
    phase: Annotated[Phase | None, typer.Option(help="Only this phase.")] = None,
    unrolling: Annotated[
        Path | None, typer.Option(help="Fitted unrolling: sample at its multiples.")
    ] = None,
) -> None:
    """Write which graphs a run measures; the same configuration gives the same bytes.

    Example: python -m benchmark.make_plan --config config/tiny.yaml --platform openvino_cpu
    --phase sweeps --output sweeps.jsonl
    """
    run = load_config(config)
    file = platform_file(config, platform)
    described = load_platform(file)
    applied = described.apply(run, file)
    cases = plan_cases(applied, phase, unrolling)
    if described.black_box is not None:
        asked = described.black_box
        limit = applied.sampling.weights_limit
        cases = nested_cases(cases, asked.kernels, limit, asked.filled)
    write_plan(cases, output)
    kernels = sum(case.settings.get("kernels", 0) for case in cases)
    typer.echo(f"{len(cases)} graphs, {kernels} micro-kernels in them: {output}", err=True)


if __name__ == "__main__":
    typer.run(make_plan)
