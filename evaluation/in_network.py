"""Command: what a layer costs inside a network against alone, and which part of a model knows it.

Two tables per platform. The ablation fits models to isolated kernels only and adds one thing at a
time: rows of multi-layer benchmark networks, the place in the network as features, overhead, and
the rules of inserted conversions and moved strides. Each stage estimates the evaluation networks,
to which nothing is ever fitted. The ratios set layers that were measured both ways side by side.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from benchmark.config import load_config, load_platform, platform_file
from benchmark.shards import read_shard
from benchmark.tables import read_layer_tables
from evaluation.alone import measured_both_ways
from evaluation.metrics import mape, spearman
from evaluation.plot_style import new_figure, styled
from evaluation.report import Picture, Section
from evaluation.report import write_report as write_files
from evaluation.table_format import Table, to_text
from model_gen.layer_fit import rows_beside, unrolling_of
from model_gen.learned import fit_models
from model_gen.statistical import ForestSettings
from model_gen.tables import inside_networks, undisturbed
from model_gen.unrolling import UnrollingFit, identified, read_unrolling
from strata.console import exits_cleanly
from strata.context import CONTEXT_FEATURES
from strata.errors import SchemaError
from strata.estimate import estimate_executed
from strata.execution import OWN_FEATURES
from strata.graph import Graph, with_bits
from strata.graph_json import graph_from_dict
from strata.layer_models import LayerModel
from strata.mapping import apply_mapping
from strata.platform_model import NetworkOverhead, PlatformModel, load_platform_model
from strata.profile_json import profile_from_dict

KIND = "mixed"
CARRIED = ("activation", *(name for name in OWN_FEATURES if name.startswith("absorbed_")))
STAGES = (
    "isolated kernels",
    "+ layers of benchmark networks",
    "+ place in the network",
    "+ overhead",
    "+ inserted conversions, moved strides",
)
WITHOUT_CARRIED = "all, without activation and absorbed layers"
Tables = Mapping[str, pd.DataFrame]
Models = dict[str, dict[str, LayerModel]]


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation network and its measured seconds."""

    data_set: str
    graph: Graph
    time_s: float


def isolated_only(tables: Tables) -> dict[str, pd.DataFrame]:
    """Rows of kernels measured alone; operations that never were are left out."""
    kept = {key: table[~inside_networks(table)] for key, table in tables.items()}
    return {key: table for key, table in kept.items() if len(table)}


def blinded(tables: Tables, features: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables with features that say nothing: a column of zeros is in no tree."""
    return {key: table.assign(**dict.fromkeys(features, 0.0)) for key, table in tables.items()}


def fitted_models(
    tables: Tables, unrolling: Mapping[str, list[UnrollingFit]], settings: ForestSettings
) -> Models:
    """Layer models of the kind as `model_gen.fit_platform` fits them, and those below it."""
    console = Console(file=sys.stderr)
    models: Models = {}
    for key, table in track(tables.items(), "fitting", console=console, transient=True):
        dimensions = identified(unrolling_of(key, unrolling))
        beside = rows_beside(key, tables)
        quiet = undisturbed(table)[0]
        models[key] = fit_models(quiet, dimensions, 0, settings, (KIND,), beside).models
    return models


def stages(
    model: PlatformModel, tables: Tables, fit: Callable[[Tables], Models]
) -> Iterator[tuple[str, PlatformModel]]:
    """Each stage's platform model; mapping and overhead are those of `model`.

    Fusion and placement are the fitted ones throughout. Without the rules strides stay where they
    are and no conversion is executed.
    """
    plain = replace(
        model,
        mapping=replace(model.mapping, insertion={}, moves_strides=False),
        overhead=NetworkOverhead(),
    )
    alone = blinded(isolated_only(tables), CONTEXT_FEATURES)
    yield STAGES[0], replace(plain, layer_models=fit(alone))
    yield STAGES[1], replace(plain, layer_models=fit(blinded(tables, CONTEXT_FEATURES)))
    whole = fit(tables)
    yield STAGES[2], replace(plain, layer_models=whole)
    yield STAGES[3], replace(plain, layer_models=whole, overhead=model.overhead)
    yield STAGES[4], replace(model, layer_models=whole)
    yield WITHOUT_CARRIED, replace(model, layer_models=fit(blinded(tables, CARRIED)))


def read_networks(path: Path) -> list[Measured]:
    """The networks of a file of `benchmark.measure_networks` with all their times."""
    found = []
    for number, record in enumerate(read_shard(path), 1):
        where = f"{path}, line {number}"
        profile = profile_from_dict(record["profile"], where)
        if profile.refusal is None and not profile.untimed:
            graph = with_bits(graph_from_dict(record["graph"], where), profile.bits)
            found.append(Measured(record["set"], graph, profile.time_s))
    if not found:
        raise SchemaError(f"{path}: holds no network with all its times")
    return found


def estimates(networks: Sequence[Measured], model: PlatformModel) -> pd.DataFrame:
    """set, measured_s, estimated_s, layers, fell_back (layers without a model of the kind)."""
    rows = []
    for network in networks:
        executed = apply_mapping(network.graph, model.mapping)
        found = estimate_executed(network.graph, executed, model, KIND)
        counts = (len(found.layers), found.fell_back)
        rows.append((network.data_set, network.time_s, found.total_s, *counts))
    return pd.DataFrame(rows, columns=["set", "measured_s", "estimated_s", "layers", "fell_back"])


def stage_row(stage: str, found: pd.DataFrame) -> dict[str, object]:
    """MAPE and mean signed error per set in percent, Spearman of the sampled networks."""
    row: dict[str, object] = {"Model": stage}
    for data_set, rows in found.groupby("set", sort=False):
        measured, estimated = rows["measured_s"].to_numpy(), rows["estimated_s"].to_numpy()
        row[f"{data_set} MAPE (%)"] = mape(measured, estimated)
        row[f"{data_set} bias (%)"] = 100 * float(np.mean(estimated / measured - 1))
        if data_set == "nasbench":
            row["Spearman's ρ"] = spearman(measured, estimated).value
    row["Layers without model (%)"] = 100 * found["fell_back"].sum() / found["layers"].sum()
    return row


def ablation(
    model: PlatformModel,
    tables: Tables,
    networks: Sequence[Measured],
    fit: Callable[[Tables], Models],
) -> pd.DataFrame:
    """One row per stage."""
    every = stages(model, tables, fit)
    return pd.DataFrame([stage_row(stage, estimates(networks, each)) for stage, each in every])


def twins(tables: Tables) -> pd.DataFrame:
    """Configurations measured alone and in a benchmark network: operation, alone_s, inside_s.

    The same OWN_FEATURES; each side is the median of its rows.
    """
    found = []
    for key, table in tables.items():
        inside = inside_networks(table)
        sides = [
            table[rows].groupby(list(OWN_FEATURES), sort=False)["time_s"].median()
            for rows in (~inside, inside)
        ]
        both = pd.concat(sides, axis=1, join="inner", keys=["alone_s", "inside_s"])
        found.append(both.reset_index(drop=True).assign(operation=key))
    return pd.concat(found, ignore_index=True)


def ratio_table(pairs: pd.DataFrame, fewest: int = 3) -> pd.DataFrame:
    """Per operation how many configurations, and the quantiles of inside over alone."""
    ratio = pairs.assign(ratio=pairs["inside_s"] / pairs["alone_s"])
    rows = []
    for operation, group in ratio.groupby("operation"):
        if len(group) >= fewest:
            low, middle, high = group["ratio"].quantile([0.1, 0.5, 0.9]).tolist()
            total = group["inside_s"].sum() / group["alone_s"].sum()
            rows.append((operation, len(group), low, middle, high, total))
    columns = ["Layer type", "n", "10%", "Median", "90%", "Of all time"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("n", ascending=False, kind="stable").reset_index(drop=True)


def ablation_figure(frame: pd.DataFrame) -> Figure:
    """MAPE per stage and set."""
    with styled():
        figure = new_figure(7.5, 0.4 * len(frame) + 1.4)
        axes = figure.subplots()
        for marker, column in zip(
            "o^sD", [str(name) for name in frame if "MAPE" in str(name)], strict=False
        ):
            label = column.removesuffix(" MAPE (%)")
            axes.plot(frame[column], frame["Model"], marker=marker, linewidth=1, label=label)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("MAPE of the network total (%)")
        axes.legend()
    return figure


def ratio_figure(frame: pd.DataFrame) -> Figure:
    """Median and 10% to 90% of inside over alone, per layer type."""
    with styled():
        figure = new_figure(7.5, 0.35 * len(frame) + 1.2)
        axes = figure.subplots()
        spread = [frame["Median"] - frame["10%"], frame["90%"] - frame["Median"]]
        axes.errorbar(frame["Median"], frame["Layer type"], xerr=spread, fmt="o", color="#0072B2")
        axes.axvline(1.0, color="#222222", linewidth=1)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("time inside a network / time alone")
    return figure


def settings_of(config: Path, platform: str) -> ForestSettings:
    """How the run fits this platform's models."""
    file = platform_file(config, platform)
    fit = load_platform(file).apply(load_config(config), file).fit
    return ForestSettings(fit.trees, fit.minimum_leaf, learner=fit.learner)


def write_in_network(
    platform: str, stages_frame: pd.DataFrame, ratios: pd.DataFrame, folder: Path
) -> tuple[Table, Table]:
    """Write both tables and figures with a page around them; the tables."""
    notes = (
        "Mixed model, predicted mapping, networks that are in no benchmark. Bias is the mean "
        "signed error. Layers without a model take the roofline of extremes.",
        "Isolated kernels leave operations without a model that are only measured in networks.",
    )
    first = Table(
        "in_network", f"{platform}: what the models know of networks", stages_frame, notes
    )
    told = ("Same own features, medians. Of all time: sum inside over sum alone.",)
    second = Table("in_network_ratios", f"{platform}: inside a network / alone", ratios, told)
    pictures = [Picture("in_network", "Error by stage.", ablation_figure(stages_frame))]
    if len(ratios):
        pictures.append(Picture("in_network_ratios", told[0], ratio_figure(ratios)))
    section = Section("In-network effects", (), (first, second), tuple(pictures))
    write_files(f"{platform}: layers inside networks", [section], folder)
    return first, second


@exits_cleanly
def command(
    results: Annotated[Path, typer.Argument(help="A platform's results: results/<run>/<name>.")],
    config: Annotated[Path, typer.Option(help="The run's configuration.")] = Path(
        "config/default.yaml"
    ),
    alone: Annotated[
        int,
        typer.Option(
            min=0,
            help="Layers of each type, from benchmark networks, to measure alone on the platform; "
            "0: only those that the benchmark happened to measure both ways.",
        ),
    ] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="RESULTS/in_network")
    ] = None,
) -> None:
    """Show what each part of a platform model adds inside networks, and layers measured both ways.

    Example: python -m evaluation.in_network results/default/dpu_zcu102 --alone 40
    """
    model = load_platform_model(results / f"{results.name}.strata")
    unrolling = read_unrolling(results / "unrolling.json")
    settings = settings_of(config, results.name)
    tables = read_layer_tables(results / "tables")

    def fit(chosen: Tables) -> Models:
        return fitted_models(chosen, unrolling, settings)

    frame = ablation(model, tables, read_networks(results / "networks.jsonl"), fit)
    pairs = twins(tables)
    if alone:
        shards = sorted((results / "shards").glob("samples-*.jsonl"))
        pairs = measured_both_ways(platform_file(config, results.name), shards, alone)
    ratios = ratio_table(pairs)
    written = write_in_network(results.name, frame, ratios, output or results / "in_network")
    typer.echo("\n\n".join(map(to_text, written)))


if __name__ == "__main__":
    typer.run(command)
