"""Command: the papers' tables and figures beside ours, as a report, and their summary rows."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from evaluation.coverage import check_coverage
from evaluation.facts import gather_facts
from evaluation.frames import check_layers, check_mapping, check_networks, read_table
from evaluation.report import write_report as write_files
from evaluation.report_sections import Evaluation, report_sections
from evaluation.summary import append_summary
from evaluation.traffic import check_traffic
from evaluation.unrolling_section import read_sweeps
from model_gen.unrolling import read_unrolling
from strata.console import exits_cleanly
from strata.errors import ArtefactError
from strata.platform_model import load_platform_model


def _no_check(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    return frame


def load_evaluation(
    evaluation: Path,
    tables: Path,
    platform: Path,
    unrolling: Path | None = None,
    sweeps: Path | None = None,
) -> Evaluation:
    """Read and check all inputs; ArtefactError or SchemaError names the file at fault."""
    model = load_platform_model(platform)
    convolutions = tables / "layers" / "convolution.parquet"
    traffic, intervals = (evaluation / f"{name}.parquet" for name in ("traffic", "intervals"))
    return Evaluation(
        facts=gather_facts(model.header, tables, evaluation),
        networks=read_table(evaluation / "networks.parquet", check_networks),
        layers=read_table(evaluation / "layers.parquet", check_layers),
        mapping=read_table(evaluation / "mapping.parquet", check_mapping),
        platform=model,
        convolutions=read_table(convolutions, _no_check) if convolutions.exists() else None,
        traffic=read_table(traffic, check_traffic) if traffic.exists() else None,
        intervals=read_table(intervals, check_coverage) if intervals.exists() else None,
        unrolling=read_unrolling(unrolling) if unrolling else None,
        sweeps=read_sweeps(sweeps) if sweeps else {},
    )


@exits_cleanly
def write_report(
    evaluation: Annotated[
        Path, typer.Option(help="Folder with networks, layers, mapping and refused .parquet.")
    ],
    tables: Annotated[Path, typer.Option(help="Folder of the benchmark's tables.")],
    platform: Annotated[Path, typer.Option(help="Platform model, a .strata file.")],
    summary: Annotated[Path, typer.Option(help="CSV to which every number is added.")],
    output: Annotated[Path, typer.Option(help="The page to write: .../report/index.html.")],
    unrolling: Annotated[Path | None, typer.Option(help="Fitted unrolling.")] = None,
    sweeps: Annotated[Path | None, typer.Option(help="Folder of the sweeps' tables.")] = None,
) -> None:
    """Write the report of one platform: index.html, report.md, tables/, figures/.

    Example: python -m evaluation.write_report --evaluation results/tiny/null/evaluation
    --tables results/tiny/null/tables --platform results/tiny/null/null.strata
    --summary results/tiny/evaluation/summary.csv --output results/tiny/null/report/index.html
    """
    if output.name != "index.html":
        raise ArtefactError(f"--output {output}: must be a path that ends with index.html")
    found = load_evaluation(evaluation, tables, platform, unrolling, sweeps)
    scores = found.scores
    title = f"{found.facts.platform}: estimated against measured"
    if times := found.facts.toolchain.get("times"):
        title += f" (measured means here: {times})"
    sections = report_sections(found, scores)
    append_summary(summary, scores)
    typer.echo(write_files(title, sections, output.parent))


if __name__ == "__main__":
    typer.run(write_report)
