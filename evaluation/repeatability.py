"""Command: measure the same layers in two processes, one after the other, and compare.

The figure is the noise under every model: no estimate can be better than what a second
measurement says of the first.
"""

import subprocess
import sys
import tempfile
from itertools import islice, zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmark.matcher import match
from benchmark.plan import read_plan, write_plan
from benchmark.shards import read_shard
from evaluation.summary import SummaryRow, append_summary
from graph_gen.benchmarks import build
from strata.console import exits_cleanly
from strata.errors import SchemaError
from strata.profile_json import profile_from_dict


def kernel_times(shard: Path) -> dict[str, float]:
    """Seconds by case: the median over the kernels of each graph of a shard."""
    times: dict[str, float] = {}
    for number, record in enumerate(read_shard(shard), 1):
        profile = profile_from_dict(record["profile"], f"{shard}, line {number}")
        if profile.refusal is None:
            case = record["case"]
            found = match(build(case["benchmark"], case["settings"]), profile)
            kernels = [
                layer.time_s for layer in found.layers if layer.executed.name.startswith("kernel")
            ]
            if kernels:
                times[case["case_id"]] = float(np.median(kernels))
    return times


def differences(first: dict[str, float], second: dict[str, float]) -> np.ndarray:
    """Absolute differences of the layers both measured, relative to the mean of the two."""
    shared = sorted(first.keys() & second.keys())
    pairs = np.array([(first[case], second[case]) for case in shared]).reshape(-1, 2)
    return np.abs(pairs[:, 0] - pairs[:, 1]) / pairs.mean(axis=1)


@exits_cleanly
def command(
    plan: Annotated[Path, typer.Argument(help="Plan to take layers from (make_plan).")],
    platform_file: Annotated[Path, typer.Option(help="config/platforms/NAME.yaml")],
    layers: Annotated[int, typer.Option(min=1, help="Number of micro-kernel cases.")] = 30,
    summary: Annotated[Path | None, typer.Option(help="summary.csv to append to.")] = None,
) -> None:
    """Measure the first micro-kernel cases of a plan twice, in processes of their own.

    Example: python -m evaluation.repeatability results/default/openvino_cpu/plan/samples.jsonl
    --platform-file config/platforms/openvino_cpu.yaml
    """
    kernels = ("convolution", "depthwise_convolution", "max_pooling", "average_pooling", "dense")
    by_kind = [[case for case in read_plan(plan) if case.benchmark == kind] for kind in kernels]
    in_turn = (case for row in zip_longest(*by_kind) for case in row if case is not None)
    cases = list(islice(in_turn, layers))
    if not cases:
        raise SchemaError(f"{plan}: holds no micro-kernel cases")
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "plan.jsonl"
        write_plan(cases, chosen)
        shards = [Path(folder) / f"{attempt}.jsonl" for attempt in ("first", "second")]
        for shard in shards:
            measuring = [sys.executable, "-m", "benchmark.measure_chunk", "--plan", str(chosen)]
            files = ["--platform-file", str(platform_file), "--output", str(shard)]
            subprocess.run([*measuring, *files], check=True)
        found = differences(*map(kernel_times, shards))
    median, worst = float(np.median(found)), float(found.max())
    typer.echo(
        f"{len(found)} layers in two processes: median difference {median:.2%}, largest {worst:.2%}"
    )
    if summary is not None:
        row = SummaryRow(
            platform=platform_file.stem,
            data_set="repeatability",
            subject="layers in two processes",
            model="measurement",
            metric="median_difference",
            value=100 * median,
            unit="%",
            n=len(found),
        )
        append_summary(summary, [row])


if __name__ == "__main__":
    typer.run(command)
