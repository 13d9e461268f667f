"""Command: match measured shards with their graphs and write the layer tables."""

from pathlib import Path
from typing import Annotated

import typer
from joblib import Parallel, delayed

from benchmark.tables import Rows, rows_of_shard, write_tables
from graph_gen.benchmarks import build
from strata.console import exits_cleanly


@exits_cleanly
def make_tables(
    shards: Annotated[list[Path], typer.Argument(help="Shards that measure_chunk wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the tables.")],
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Match executed layers with the input graphs: one Parquet table per layer type.

    Example: python -m benchmark.make_tables results/tiny/null/shards/*.jsonl --output tables
    """
    rows = Rows()
    for part in Parallel(n_jobs=jobs)(delayed(rows_of_shard)(shard, build) for shard in shards):
        rows.extend(part)
    write_tables(rows, output)
    layers = sum(map(len, rows.layers.values()))
    typer.echo(
        f"{len(rows.networks)} cases, {layers} executed layers of {len(rows.layers)} types, "
        f"{len(rows.mapping)} mapping decisions, {len(rows.calibration)} networks to calibrate on, "
        f"{len(rows.refusals)} refused"
    )


if __name__ == "__main__":
    typer.run(make_tables)
