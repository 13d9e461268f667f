"""Command: which of ANNETTE's three data sets makes the best models, platform by platform.

Section 5.1.2: data set 1 holds points of utilisation 1, data set 2 Gaussian noise around them in
the unrolled parameters, data set 3 both. The paper finds data set 1 with the mixed model best.
Here, models of convolutions are fitted to as many points of each and asked for layers of networks
and of multi-layer benchmarks that are in none of them. The paper's models learn u from its own
features; our mixed model stands beside them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from benchmark.config import RunConfig, load_config, load_platform, platform_file
from benchmark.matcher import match
from benchmark.sampling import read_unrolling as read_sizes
from benchmark.sampling import sample_case
from benchmark.shards import read_shard
from benchmark.tables import Rows, add_match, add_record
from evaluation.metrics import mape
from evaluation.table_format import Table, to_text, write_table
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from hardware_modules.registry import create
from model_gen.learned import fit_models
from model_gen.statistical import DEFAULT_FOREST, FEWEST_ROWS, ForestSettings
from model_gen.tables import inside_networks, read_table, table_matrix, table_times, undisturbed
from model_gen.unrolling import UnrollingFit, identified, read_unrolling
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import FitError, MatchError, StrataError
from strata.graph import with_bits
from strata.graph_json import graph_from_dict
from strata.layer_models import LayerModel, Refined, Roofline, Unrolling
from strata.profile_json import profile_from_dict, profile_to_dict

RUN = Path(__file__).resolve().parents[1] / "config" / "default.yaml"
OPERATION = "convolution"
ALIGNED, NOISY = "aligned", "noisy"
SETS = {1: (ALIGNED,), 2: (NOISY,), 3: (ALIGNED, NOISY)}
MOST_HELD_OUT = 3000
FEWEST = 2 * FEWEST_ROWS  # data set 3 takes half of each sort, and a forest wants its rows
SPARE = 1.25  # points per data set beyond those of one seed, so that seeds differ in their points
STATISTICAL, PAPERS, OURS = "statistical", "mixed-annette", "mixed"


@dataclass(frozen=True, slots=True)
class Result:
    """Error of one model: fitted to `points` of a data set, judged on `layers` layers, in percent.

    `deviation` is the standard deviation over the seeds.
    """

    platform: str
    judged_on: str
    data_set: int
    model: str
    mape: float
    deviation: float
    points: int
    layers: int


def measured_points(
    module: HardwareModule,
    run: RunConfig,
    sizes: Mapping[str, int],
    count: int,
) -> pd.DataFrame:
    """At most `count` points of data sets 1 and 2 each, as a layer table; for modules that only
    compute. What the sampler has in neither set, and what the platform refuses, is no point.
    """
    rows = Rows()
    console = Console(file=sys.stderr)
    for data_set in (ALIGNED, NOISY):
        sampling = run.sampling.model_copy(update={"data_set": data_set, "grouped_share": 0.0})
        for index in track(range(count), f"points {data_set}", console=console, transient=True):
            case = sample_case(OPERATION, index, run.seed, sampling, sizes)
            if case.tags["data_set"] != data_set:
                continue
            graph = build(case.benchmark, case.settings)
            try:
                report = module.profile(module.compile(graph), 1, 0)
            except StrataError:  # a graph that the platform refuses is no point
                continue
            profile = profile_to_dict(module.parse(report, graph))
            record = {"case": case.to_dict(), "tags": case.tags, "profile": profile}
            add_record(rows, record, build, case.case_id)
    return pd.DataFrame(rows.layers[OPERATION])


def tabled_points(table: pd.DataFrame) -> pd.DataFrame:
    """The points of data sets 1 and 2 in a run's layer table; FitError if it has none."""
    if "data_set" not in table.columns:
        raise FitError("table of convolution: lacks column data_set; make the tables anew")
    return table[table["data_set"].isin((ALIGNED, NOISY))]


def network_layers(shard: Path, data_set: str) -> pd.DataFrame:
    """Convolutions of measured networks as they were executed, as a layer table."""
    rows = Rows()
    for number, record in enumerate(read_shard(shard), 1):
        if record["set"] != data_set:
            continue
        where = f"{shard}, line {number}"
        profile = profile_from_dict(record["profile"], where)
        graph = with_bits(graph_from_dict(record["graph"], where), profile.bits)
        case = {"case_id": record["network"], "benchmark": data_set}
        try:
            add_match(rows, {"case": case}, graph, profile, match(graph, profile))
        except MatchError:
            continue
    return pd.DataFrame(rows.layers[OPERATION])


def judge(
    points: pd.DataFrame,
    held_out: Mapping[str, pd.DataFrame],
    unrolling: Sequence[UnrollingFit],
    count: int,
    seeds: int,
    platform: str,
    settings: ForestSettings = DEFAULT_FOREST,
) -> list[Result]:
    """Errors of statistical and mixed models by data set, over `seeds` draws of `count` points."""
    if count < FEWEST:
        raise FitError(f"data sets: {count} points of each; legal: at least {FEWEST}")
    dimensions = identified(unrolling)
    errors: dict[tuple[str, int, str], list[float]] = {}
    for seed in range(seeds):
        for number, names in SETS.items():
            chosen = pd.concat([_draw(points, name, count // len(names), seed) for name in names])
            chosen = chosen.reset_index(drop=True)
            for kind, model in _models(chosen, dimensions, seed, settings).items():
                for judged_on, table in held_out.items():
                    estimated = model.time_s(table_matrix(table))
                    error = mape(table_times(table), estimated)
                    errors.setdefault((judged_on, number, kind), []).append(error)
    return [
        Result(
            platform,
            judged_on,
            number,
            kind,
            float(np.mean(found)),
            float(np.std(found, ddof=1)) if seeds > 1 else 0.0,
            count,
            len(held_out[judged_on]),
        )
        for (judged_on, number, kind), found in errors.items()
    ]


def _models(
    points: pd.DataFrame, dimensions: tuple[Unrolling, ...], seed: int, settings: ForestSettings
) -> dict[str, LayerModel]:
    """The paper's two models on its own features, and ours.

    Its statistical model (equation 5) is its mixed one (equation 6) without unrolling.
    """
    points = points.drop(columns="data_set")  # by which fitting would choose among them
    fitted = fit_models(points, dimensions, seed, settings, (PAPERS, OURS)).models
    alone = fit_models(points, (), seed, settings, (PAPERS,)).models
    return {STATISTICAL: alone[PAPERS], PAPERS: fitted[PAPERS], OURS: fitted[OURS]}


def _draw(points: pd.DataFrame, name: str, count: int, seed: int) -> pd.DataFrame:
    pool = points[points["data_set"] == name]
    if len(pool) < count:
        raise FitError(f"data set of {name} points: {len(pool)} rows; legal: at least {count}")
    return pool.sample(count, random_state=seed)


def aligned_share(points: pd.DataFrame, unrolling: Sequence[UnrollingFit]) -> dict[str, float]:
    """Part of the points of each sort whose utilisation by equation 4 is 1."""
    refined = Refined(Roofline(1.0, 1.0, 1.0), identified(unrolling))
    return {
        str(name): float(np.mean(refined.efficiency(table_matrix(rows)) > 1 - 1e-9))
        for name, rows in points.groupby("data_set")
    }


def finding(results: Sequence[Result], judged_on: str) -> str:
    """Whether data set 1 with the paper's mixed model is the best of the six, and by how much."""
    papers_own = [r for r in results if r.judged_on == judged_on and r.model != OURS]
    those = sorted(papers_own, key=lambda r: r.mape)
    best = those[0]
    papers = next(r for r in those if r.data_set == 1 and r.model == PAPERS)
    noise = float(np.hypot(best.deviation, papers.deviation))
    if best is papers:
        second = those[1]
        clear = second.mape - best.mape > float(np.hypot(best.deviation, second.deviation))
        word = "holds" if clear else "holds within the scatter of the seeds only"
        return f"{judged_on}: the paper's finding {word}: {best.mape:.2f}%, next {second.mape:.2f}%"
    word = "does not hold" if papers.mape - best.mape > noise else "is not decided"
    return (
        f"{judged_on}: the paper's finding {word}: data set {best.data_set} with {best.model} "
        f"{best.mape:.2f}%, data set 1 with {papers.model} {papers.mape:.2f}%"
    )


def results_table(results: Sequence[Result], notes: Sequence[str], platform: str) -> Table:
    """Rows by what was judged and data set, columns by model."""
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for each in results:
        line = lines.setdefault(
            (each.judged_on, each.data_set),
            {
                "Judged on": each.judged_on,
                "n": each.layers,
                "Data set": str(each.data_set),
                "Points": each.points,
            },
        )
        line[f"{each.model} (%)"] = f"{each.mape:.2f} ± {each.deviation:.2f}"
    title = f"MAPE of convolutions by data set, {platform}"
    return Table(f"data_sets_{platform}", title, pd.DataFrame(list(lines.values())), tuple(notes))


def _points(
    platform: str, config: Path, tables: Path, unrolling: Path, count: int
) -> tuple[pd.DataFrame, int, str]:
    """Points of data sets 1 and 2, how many of each to fit to, and where they come from."""
    table, _ = undisturbed(read_table(tables / "layers" / f"{OPERATION}.parquet"))
    sets = table.get("data_set", pd.Series(dtype=str)).value_counts()
    file = platform_file(config, platform)
    described = load_platform(file)
    there = int(min(sets.get(ALIGNED, 0), sets.get(NOISY, 0)))
    # a black box tells nothing of a graph's layers, and replaying nothing that was not measured
    hidden = described.black_box is not None or described.module == "replay"
    wanted = there < count and not hidden
    module = create(described.module, described.options) if wanted else None
    if module is None or not module.simulated:
        return tabled_points(table), min(there, count), "those of the run's tables"
    run = described.apply(load_config(config), file)
    sizes = read_sizes(unrolling).get(OPERATION, {})
    pool = int(SPARE * count)
    found = measured_points(module, run, sizes, pool)
    there = int(found["data_set"].value_counts().min())
    return found, min(there, count), f"{pool} of each, measured for this"


def _held_out(networks: Path, tables: Path) -> dict[str, pd.DataFrame]:
    table = read_table(tables / "layers" / f"{OPERATION}.parquet")
    inside = table[inside_networks(table)]
    if len(inside) > MOST_HELD_OUT:
        inside = inside.sample(MOST_HELD_OUT, random_state=0)
    found = {name: network_layers(networks, name) for name in ("table2", "nasbench")}
    found["multi-layer benchmarks"] = inside
    return {name: rows for name, rows in found.items() if len(rows)}


@exits_cleanly
def command(
    platform: Annotated[str, typer.Argument(help="A platform in config/platforms.")],
    results: Annotated[Path, typer.Option(help="Its folder of a run: results/RUN/PLATFORM.")],
    config: Annotated[Path, typer.Option(help="Run configuration that it was made with.")] = RUN,
    points: Annotated[
        int,
        typer.Option(min=FEWEST, help="Most points per data set and fit; fewer where there are."),
    ] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of points and forests.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Folder for table and JSON.")] = None,
) -> None:
    """Compare models fitted to the data sets of section 5.1.2, at equal numbers of points.

    Points are those of the run's tables; a platform whose times are computed measures its own
    where the tables have too few: milliseconds each, or as long as its compiler takes.

    Example: python -m evaluation.data_sets dpu_zcu102 --results results/default/dpu_zcu102
    """
    tables = results / "tables"
    unrolling = read_unrolling(results / "unrolling.json").get(OPERATION, [])
    found, used, told = _points(platform, config, tables, results / "unrolling.json", points)
    settings = replace(DEFAULT_FOREST, learner="forest")
    scores = judge(
        found,
        _held_out(results / "networks.jsonl", tables),
        unrolling,
        used,
        seeds,
        platform,
        settings,
    )
    notes = [f"Mean and standard deviation over {seeds} seeds. Points: {told}."]
    if not identified(unrolling):
        notes.append("No unrolling is identified: the three data sets are one distribution.")
    shares = aligned_share(found, unrolling)
    notes.append(
        "Utilisation 1: " + ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
    )
    notes += [finding(scores, name) for name in dict.fromkeys(each.judged_on for each in scores)]
    table = results_table(scores, notes, platform)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_table(table, output)
        with replacing(output / f"{table.name}.json") as draft:
            draft.write_text(json.dumps([asdict(each) for each in scores], indent=1), "utf-8")
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
