"""Command: what fitting all models of one platform costs at so many points per layer type.

Tables that were measured are grown to the number of rows and handed to the command that fits, in
a process of its own on as many cores as the aim allows. Rows are drawn with replacement; sizes and
times are shaken a little, since a tree of equal rows would stay small and the cost look less than
it is. What such a model says is of no use and is thrown away.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Annotated, Any

import numpy as np
import pandas as pd
import psutil
import typer
from rich.console import Console

from evaluation.aims import aims_source, fitting_aim
from evaluation.table_format import Table, to_text, write_table
from model_gen.tables import read_table
from strata.console import exits_cleanly
from strata.errors import ArtefactError, FitError
from strata.execution import FEATURES

# Sizes below are codes and windows, which stay what they are.
_SMALLEST_SIZE = 16
_SHAKEN = 0.1
_TIME_SIGMA = 0.02
_EVERY_S = 0.2
_OTHERS = ("mapping", "placements", "networks", "calibration")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process and its own took: wall and processor seconds, most bytes of memory at a time.

    Memory is the sum over the processes, looked at every `_EVERY_S`; what they share counts in
    each. `load` is the machine's load average at the start: above 0, others shared the cores.
    """

    wall_s: float
    processor_s: float
    memory_bytes: int
    load: float


def grown(table: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """`rows` rows like those of a layer table; a part of it where it has more.

    The measured rows are all there, under their own cases. A row that is drawn again belongs to a
    copy of its case, as another measurement of the graph would.
    """
    random = np.random.default_rng(seed)
    if len(table) >= rows:
        return table.iloc[np.sort(random.choice(len(table), rows, replace=False))]
    again = random.integers(len(table), size=rows - len(table))
    places = np.concatenate([np.arange(len(table)), again])
    drawn = table.iloc[places].reset_index(drop=True)
    copy = pd.Series(places).groupby(places).cumcount()
    own = copy.eq(0).to_numpy()
    cases = drawn["case_id"].where(own, drawn["case_id"] + "/" + copy.astype(str))
    changed: dict[str, Any] = {"case_id": cases}
    for name in FEATURES:
        values = drawn[name].to_numpy(np.float64)
        shaken = np.round(values * random.uniform(1 - _SHAKEN, 1 + _SHAKEN, rows))
        changed[name] = np.where(~own & (values >= _SMALLEST_SIZE), shaken, values)
    noise = np.where(own, 1.0, np.exp(random.normal(0.0, _TIME_SIGMA, rows)))
    return drawn.assign(**changed, time_s=drawn["time_s"] * noise)


def grow_tables(tables: Path, folder: Path, rows: int, seed: int = 0) -> dict[str, int]:
    """Write every layer table of a folder with `rows` rows, the others as they are.

    Measured rows by layer type. ArtefactError without layer tables.
    """
    paths = sorted((tables / "layers").glob("*.parquet"))
    if not paths:
        raise ArtefactError(f"{tables / 'layers'}: no layer tables; make_tables writes them")
    (folder / "layers").mkdir(parents=True)
    measured = {}
    for path in paths:
        table = read_table(path)
        measured[path.stem] = len(table)
        grown(table, rows, seed).to_parquet(folder / "layers" / path.name, index=False)
    for name in _OTHERS:
        beside = tables / f"{name}.parquet"
        if beside.exists() or name != "calibration":  # not every run calibrates
            copyfile(beside, folder / beside.name)
    return measured


def _resident_bytes(process: psutil.Process) -> int:
    """Memory of a process and of all that it started, as far as they still live."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.Error:  # one of them ended meanwhile
        pass
    return total


def cost_of(command: list[str], cores: int) -> Cost:
    """Run a command on so many cores and wait for it; FitError with its last line if it fails."""
    load, begin = os.getloadavg()[0], time.perf_counter()
    before = psutil.Process().cpu_times()
    with tempfile.TemporaryFile("w+") as told:
        process = psutil.Popen(command, stdout=told, stderr=told)
        process.cpu_affinity(process.cpu_affinity()[:cores])  # its threads will inherit them
        memory_bytes = 0
        while process.poll() is None:
            memory_bytes = max(memory_bytes, _resident_bytes(process))
            time.sleep(_EVERY_S)
        wall_s = time.perf_counter() - begin
        if process.returncode:
            told.seek(0)
            last = (told.read().strip().splitlines() or ["it said nothing"])[-1]
            raise FitError(f"{' '.join(command[1:4])} ended with {process.returncode}: {last}")
    after = psutil.Process().cpu_times()
    spent = after.children_user + after.children_system
    return Cost(wall_s, spent - before.children_user - before.children_system, memory_bytes, load)


def fitting_command(folder: Path, unrolling: Path) -> list[str]:
    """The command that fits a platform from the tables of `folder`, and writes into it."""
    return [
        *(sys.executable, "-m", "model_gen.fit_platform", str(folder)),
        *("--unrolling", str(unrolling), "--platform", "fit_cost"),
        *("--output", str(folder / "model.strata"), "--report", str(folder / "fit.json")),
    ]


def cost_table(cost: Cost, measured: dict[str, int], rows: int, platform: str) -> Table:
    """The cost beside the aim, one property per row; no verdict at another number of rows."""
    aim = fitting_aim()
    judged = rows >= aim["rows"]

    def verdict(value: float, most: float) -> str:
        if not judged:
            return ""
        return "reached" if value <= most else "MISSED"

    gibibytes, most = cost.memory_bytes / 2**30, aim["memory_bytes"]
    lines = [
        ("Wall time (s)", cost.wall_s, float(aim["wall_s"]), verdict(cost.wall_s, aim["wall_s"])),
        ("Processor time (s)", cost.processor_s, None, ""),
        ("Memory, most at a time (GiB)", gibibytes, most / 2**30, verdict(gibibytes, most / 2**30)),
        ("Load average before", cost.load, None, ""),
        ("Layer types", float(len(measured)), None, ""),
        ("Rows per layer type", float(rows), float(aim["rows"]), ""),
        ("Rows measured, all types", float(sum(measured.values())), None, ""),
    ]
    frame = pd.DataFrame(lines, columns=["What", "Value", "Aim", "Verdict"])
    notes = (
        f"Aim: {aims_source()}. Cores: {aim['cores']}.",
        "Tables are measured ones grown by drawing rows again, sizes and times shaken a little.",
    )
    return Table("fit_cost", f"Fitting all models of {platform}", frame, notes)


@exits_cleanly
def command(
    results: Annotated[Path, typer.Argument(help="A platform's results: tables, unrolling.json.")],
    rows: Annotated[
        int, typer.Option(min=100, help="Rows per layer type.", show_default="the aim's")
    ] = fitting_aim()["rows"],
    output: Annotated[Path | None, typer.Option(help="Folder of the table.")] = None,
) -> None:
    """Measure what fitting all models of a platform costs in time and memory.

    Example: python -m evaluation.fit_cost results/default/dpu_zcu102 --output results/fit_cost
    """
    with tempfile.TemporaryDirectory() as name, Console(stderr=True).status("growing") as status:
        folder = Path(name) / "tables"
        measured = grow_tables(results / "tables", folder, rows)
        status.update(f"fitting {len(measured)} layer types, {rows} rows each")
        cost = cost_of(fitting_command(folder, results / "unrolling.json"), fitting_aim()["cores"])
    table = cost_table(cost, measured, rows, results.name)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_table(table, output)
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
