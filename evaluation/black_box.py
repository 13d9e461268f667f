"""Command: what is lost when a platform's profiler is hidden (docs/black_box.md).

A platform model is generated from end-to-end times, and what a toolchain tells of whole networks,
and set beside the one generated from profiles. Both estimate the same measured networks, none of
which either has seen; the profiler's times of single layers are used to judge, and only to judge.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from benchmark.black_box import Readings, read_times
from benchmark.make_black_box_tables import SHARE, fill_tables, reading, report, solve
from benchmark.matcher import match
from benchmark.shards import read_shard
from benchmark.tables import write_tables
from evaluation.metrics import mape, spearman
from graph_gen.benchmarks import build
from model_gen import fit_unrolling
from model_gen.fit_platform import fit_platform
from model_gen.tables import read_table
from model_gen.unrolling import read_unrolling
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import ArtefactError, MatchError
from strata.estimate import estimate
from strata.execution import OWN_FEATURES
from strata.graph import with_bits
from strata.graph_json import graph_from_dict
from strata.platform_model import PlatformModel, load_platform_model, save_platform_model
from strata.profile_json import profile_from_dict

PROFILED, DIFFERENCES, BLACK_BOX = "profiled", "differences only", "black box"
LONG_S = 50e-6


@dataclass(frozen=True, slots=True)
class Truth:
    """A measured network: its graph, its time, and its layers' times by name, in seconds."""

    data_set: str
    graph: Any
    time_s: float
    layers_s: Mapping[str, tuple[str, float]]


def read_truth(path: Path) -> list[Truth]:
    """Measured networks with the profiler's times of their layers, where there is a profiler."""
    found = []
    for number, record in enumerate(read_shard(path), 1):
        where = f"{path}, line {number}"
        profile = profile_from_dict(record["profile"], where)
        if profile.refusal or profile.untimed:
            continue
        graph = with_bits(graph_from_dict(record["graph"], where), profile.bits)
        layers_s = {}
        if not profile.whole:
            try:
                layers_s = {
                    layer.executed.name: (layer.executed.operation, layer.time_s)
                    for layer in match(graph, profile).layers
                }
            except MatchError:
                continue
        found.append(Truth(record["set"], graph, profile.time_s, layers_s))
    if not found:
        raise ArtefactError(f"{path}: no measured network; measure_networks writes them")
    return found


def _layer_pairs(truth: Truth, guess: Any) -> Iterator[tuple[float, float]]:
    """Measured and estimated seconds of convolutions, none depthwise, that both mappings have."""
    for layer in guess.layers:
        operation, time_s = truth.layers_s.get(layer.name, ("", 0.0))
        if operation == "convolution" and time_s > 0 and layer.time_s:
            yield time_s, layer.time_s


def judge(model: PlatformModel, truths: Sequence[Truth], label: str) -> list[dict[str, Any]]:
    """One row per data set, and one of all convolutions: errors in %, Spearman, counts."""
    totals: dict[str, list[tuple[float, float]]] = {}
    layers: list[tuple[float, float]] = []
    for truth in truths:
        guess = estimate(truth.graph, model)
        totals.setdefault(truth.data_set, []).append((truth.time_s, guess.total_s))
        layers += _layer_pairs(truth, guess)
    subjects = {f"networks/{data_set}": pairs for data_set, pairs in totals.items()}
    for subject, least_s in (("convolutions", 0.0), ("convolutions > 50 us", LONG_S)):
        subjects[subject] = [pair for pair in layers if pair[0] > least_s]
    return [_errors(label, subject, pairs) for subject, pairs in subjects.items() if pairs]


def _errors(label: str, subject: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """One row of `judge` from pairs of measured and estimated seconds."""
    measured, estimated = map(np.array, zip(*pairs, strict=True))
    return {
        "model": label,
        "subject": subject,
        "mape_percent": mape(measured, estimated),
        "bias_percent": 100 * float(np.median(estimated / measured) - 1),
        "spearman": spearman(measured, estimated).value,
        "n": len(pairs),
    }


def fit_tables(folder: Path, platform: str, seed: int) -> PlatformModel:
    """The platform model of a folder of tables, with the unrolling that its own sweeps tell."""
    fit_unrolling.command(folder, folder / "unrolling.json")
    model, _ = fit_platform(
        {path.stem: read_table(path) for path in sorted((folder / "layers").glob("*.parquet"))},
        pd.read_parquet(folder / "mapping.parquet"),
        pd.read_parquet(folder / "placements.parquet"),
        pd.read_parquet(folder / "networks.parquet"),
        read_unrolling(folder / "unrolling.json"),
        {"platform": platform, "run": BLACK_BOX, "seed": seed, "data_hashes": {}},
    )
    return model


def generate(readings: Readings, folder: Path, platform: str, seed: int) -> dict[str, Any]:
    """Tables and models from end-to-end times, with and without the joint refinement."""
    solution = solve(readings, seed=seed)
    found: dict[str, Any] = {}
    for label, times in ((BLACK_BOX, solution.refined), (DIFFERENCES, solution.isolated)):
        shares = label == BLACK_BOX
        rows, differences = fill_tables(
            solution.plan, times, solution.undecided, solution.placing, shares
        )
        place = folder / label.replace(" ", "_")
        write_tables(rows, place)
        found[label] = fit_tables(place, platform, seed)
        save_platform_model(found[label], place / f"{platform}.strata")
        if shares:
            differences.to_parquet(place / "differences.parquet")
            found["report"] = report(readings, solution, differences)
    return found


def kernel_errors(folder: Path, profiled: Path) -> list[dict[str, Any]]:
    """Black-box times of kernels against the profiler's own of equal layers, per operation."""
    rows, features = [], list(OWN_FEATURES)
    for path in sorted((folder / "layers").glob("*.parquet")):
        other = profiled / "layers" / path.name
        if not other.is_file():
            continue
        truth, guess = pd.read_parquet(other), pd.read_parquet(path)
        truth = truth[truth["layer"].str.startswith("kernel")]
        known = truth.groupby(features)["time_s"].median().rename("known_s").reset_index()
        guess = guess[(guess["kind"] != SHARE) & guess["layer"].str.startswith("kernel")]
        for kind, group in guess.merge(known, on=features).groupby("kind"):
            ratio = group["time_s"].to_numpy() / group["known_s"].to_numpy()
            rows.append(
                {
                    "model": f"{BLACK_BOX}, {kind}",
                    "subject": f"kernels/{path.stem}",
                    "mape_percent": 100 * float(np.mean(np.abs(ratio - 1))),
                    "bias_percent": 100 * float(np.median(ratio) - 1),
                    "spearman": float("nan"),
                    "n": len(group),
                }
            )
    return rows


def _shards(results: Path, platform: str, given: Sequence[Path]) -> list[Path]:
    """Those given, first; then the run's own of the black box, or those to hide the profiler of."""
    folders = [results / f"{platform}_black_box" / "shards", results / platform / "shards"]
    own = next((found for folder in folders if (found := sorted(folder.glob("*.jsonl")))), [])
    if not given and not own:
        raise ArtefactError(
            f"{folders[0]}: no shards; run the platform '{platform}_black_box', or give --shards"
        )
    return [*given, *own]


def _pairs_text(tests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for test in tests:
        yield (
            f"{test['pair']}: {test['verdict']}, costs {test['beta']:.2f} of its own time "
            f"({test['low']:.2f} to {test['high']:.2f}), {test['chains']} chains"
        )


@exits_cleanly
def command(
    results: Annotated[Path, typer.Option(help="A run's folder, as results/default.")],
    platform: Annotated[str, typer.Option(help="The platform with the profiler.")],
    output: Annotated[Path, typer.Option(help="Folder to write tables, models, result into.")],
    shards: Annotated[
        list[Path] | None, typer.Option(help="More shards, as of nested graphs.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the learners.")] = 0,
) -> None:
    """Generate a platform model with the profiler hidden, and compare it with the profiled one.

    Nested graphs come from the platform's black box in the same run (NAME_black_box), or from
    shards that are given. Writes black_box.csv and black_box.json beside the models.

    Example: python -m evaluation.black_box --results results/default --platform dpu_zcu102
    --output results/default/black_box/dpu_zcu102
    """
    truths = read_truth(results / platform / "networks.jsonl")
    files = _shards(results, platform, shards or [])
    with reading(files) as advance:
        readings = read_times(files, build, advance)
    told = generate(readings, output, platform, seed)
    models = {
        PROFILED: load_platform_model(results / platform / f"{platform}.strata"),
        **{label: told[label] for label in (DIFFERENCES, BLACK_BOX)},
    }
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    for label, model in track(models.items(), "estimating", console=console):
        rows += judge(model, truths, label)
    rows += kernel_errors(output / "black_box", results / platform / "tables")
    table = pd.DataFrame(rows)
    with replacing(output / "black_box.csv") as temporary:
        table.to_csv(temporary, index=False)
    with replacing(output / "black_box.json") as temporary:
        temporary.write_text(json.dumps(told["report"], indent=1), encoding="utf-8")
    typer.echo(table.round(3).to_string(index=False))
    for line in _pairs_text(told["report"]["pairs"]):
        typer.echo(line)
    for name in told["report"]["merged_with_their_kind"]:
        typer.echo(f"{name}: chains of it alone run merged and are not read, its pairs are")


if __name__ == "__main__":
    typer.run(command)
