"""Command: which steps of an Ethos-U's array a sweep finds, and which drown in Vela's whole cycles.

An operation's cycles are the array's, with what Vela cannot hide behind them, or a memory's if
those are more. The unrolling of equation 4 is fitted to each. Estimates of Arm's compiler Vela.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from benchmark.config import load_config, load_platform, platform_file
from benchmark.matcher import match
from benchmark.plan import BenchmarkCase
from benchmark.sweep import plan_sweeps
from benchmark.tables import Rows, add_match
from evaluation.ethos_u_effects import CONFIGURATIONS, VENDOR, ethos_u_platform
from evaluation.table_format import Table, to_text, write_table
from graph_gen.benchmarks import build
from hardware_modules.ethos_u import EthosUModule
from hardware_modules.ethos_u_compiler import missing
from hardware_modules.ethos_u_report import operators_of, rows_of
from model_gen.tables import OPTIONAL, REQUIRED
from model_gen.unrolling import fit_unrolling
from strata.console import exits_cleanly
from strata.errors import MatchError, StrataError, UnsupportedLayer

# what is fitted, by the column of Vela's tables that holds its cycles
PARTS = {"op_cycles": "all", "npu_cycles": "accelerator", "mac_cycles": "array"}
_KERNEL = "kernel"  # how the swept layer of a benchmark is named


@dataclass(slots=True)
class Points:
    """Rows of the swept layers, the cycles of each by case and layer, how each was traversed."""

    rows: Rows = field(default_factory=Rows)
    cycles: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    traversals: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: int = 0


def kernel_cycles(
    answer: Mapping[str, Any], layers: Sequence[Sequence[str]]
) -> tuple[dict[str, dict[str, float]], set[str]]:
    """Cycles of PARTS by swept layer, over its NPU operations; how the array goes through them."""
    operators = operators_of(answer)
    blocks = {row["id"]: row for row in rows_of(answer, "perf_debug_main")}
    found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(PARTS, 0.0))
    traversals = set()
    for row in rows_of(answer, "perf"):
        block = blocks.get(row["id"], {})
        names = layers[operators[row["source_id"]]] if row["source_id"] in operators else ()
        # what is fused into the swept layer bears its name, too, and comes after it
        name = next((each for each in names if each.startswith(_KERNEL)), None)
        if name is not None and float(row["op_cycles"] or 0):
            for part in PARTS:
                found[name][part] += float({**row, **block}.get(part) or 0)
            traversals |= {block["traversal"]} if block else set()
    return dict(found), traversals


def add_case(points: Points, module: EthosUModule, case: BenchmarkCase) -> None:
    """Compile a case and keep its swept layers; a refusal is counted."""
    graph = build(case.benchmark, case.settings)
    try:
        compiled = module.compile(graph)
        profile = module.parse(module.profile(compiled, 1, 0), graph)
        found = match(graph, profile)
    except (UnsupportedLayer, MatchError):
        points.refused += 1
        return
    record = {"case": case.to_dict(), "tags": case.tags}
    add_match(points.rows, record, graph, profile, found)
    cycles, traversals = kernel_cycles(compiled.answer, compiled.layers)
    points.cycles |= {(case.case_id, name): each for name, each in cycles.items()}
    points.traversals.update((case.benchmark, each) for each in traversals)


def _swept(points: Points, operation: str, part: str) -> pd.DataFrame:
    """The operation's table with the cycles of a part for times; without rows that have none."""
    known = {*REQUIRED, *OPTIONAL}
    if not points.rows.layers[operation]:
        return pd.DataFrame()
    table = pd.DataFrame(points.rows.layers[operation])
    table = table[table["layer"].str.startswith(_KERNEL)]
    keys = zip(table["case_id"], table["layer"], strict=True)
    times = [points.cycles.get(key, {}).get(part, 0.0) for key in keys]
    table = table.assign(time_s=times)[[name for name in table.columns if name in known]]
    return table[table["time_s"] > 0]


def step_table(points: Points, operations: Iterable[str]) -> Table:
    """Per operation, swept feature and part of the cycles: the unrolling that fits best."""
    rows = []
    for operation in operations:
        for part, name in PARTS.items():
            table = _swept(points, operation, part)
            if table.empty:
                continue
            for fit in fit_unrolling(table, sorted(set(table["sweep"]) - {""})):
                rows.append(
                    {
                        "operation": operation,
                        "swept": fit.feature,
                        "cycles": name,
                        "n": fit.points,
                        "s": fit.size,
                        "alpha": fit.alpha,
                        "error (%)": 100 * fit.residual,
                        "without steps (%)": 100 * fit.no_unrolling_residual,
                        "identified": "yes" if fit.identified else "no",
                    }
                )
    bound = sum(each["op_cycles"] > each["npu_cycles"] for each in points.cycles.values())
    told = ", ".join(f"{b} {t} {n}" for (b, t), n in sorted(points.traversals.items()))
    notes = (
        f"{bound} of {len(points.cycles)} operations are bound by a memory.",
        f"How the array goes through them: {told}.",
        f"Refused: {points.refused}.",
    )
    return Table("steps", "Steps that sweeps find", pd.DataFrame(rows), notes)


@exits_cleanly
def command(
    config: Annotated[
        str, typer.Option(help="Platform in config/platforms whose module is ethos_u.")
    ] = "ethos_u55_256",
    output: Annotated[Path | None, typer.Option(help="Folder of the table.")] = None,
) -> None:
    """Fit the unrolling to the array's own cycles beside Vela's whole cycles (half a minute).

    Example: python -m evaluation.ethos_u_steps --config ethos_u65_512
    """
    module = ethos_u_platform(config)
    if reason := missing():
        raise StrataError(reason)
    file = platform_file(CONFIGURATIONS, config)
    sweeps = load_platform(file).apply(load_config(CONFIGURATIONS), file).sweeps
    cases, points = plan_sweeps({str(name): each for name, each in sweeps.items()}), Points()
    try:
        for case in track(cases, "sweeps", console=Console(file=sys.stderr), transient=True):
            add_case(points, module, case)
    finally:
        module.vela.close()
    table = step_table(points, list(sweeps))
    vendor = VENDOR.format(version=module.vela.version, name=config)
    whole = Table(table.name, table.title, table.frame, (*table.notes, vendor))
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_table(whole, output)
    typer.echo(to_text(whole))


if __name__ == "__main__":
    typer.run(command)
