"""Command: tables in, platform model out (ANNETTE, figure 6: the stack)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from model_gen.layer_fit import fit_layer_models
from model_gen.mapping_fit import fit_mapping, fit_placement
from model_gen.memory_fit import fit_memory
from model_gen.overhead import fit_overhead
from model_gen.statistical import DEFAULT_FOREST, ForestSettings, Learner
from model_gen.tables import MULTI_LAYER, read_table, undisturbed
from model_gen.traffic_fit import fit_traffic
from model_gen.unrolling import read_unrolling
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import ArtefactError
from strata.execution import OWN_FEATURES
from strata.platform_model import Header, PlatformModel, save_platform_model


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _common(texts: Sequence[str]) -> dict[str, str]:
    """What all of the JSON dictionaries say alike: some hold what is true of one graph only."""
    first, *rest = (json.loads(text) for text in dict.fromkeys(texts))
    return {key: value for key, value in first.items() if all(r.get(key) == value for r in rest)}


def _ranges(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return {name: (float(table[name].min()), float(table[name].max())) for name in OWN_FEATURES}


def _undisturbed_tables(
    layer_tables: dict[str, pd.DataFrame],
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Each table's rows that were measured undisturbed, and notes on what was left out."""
    found = {operation: undisturbed(table) for operation, table in layer_tables.items()}
    notes = [f"{operation}: {note}" for operation, (_, note) in found.items() if note]
    return {operation: table for operation, (table, _) in found.items()}, notes


def fit_platform(
    layer_tables: dict[str, pd.DataFrame],
    mapping_table: pd.DataFrame,
    placements: pd.DataFrame,
    networks: pd.DataFrame,
    unrolling: dict[str, list[Any]],
    header: dict[str, Any],
    settings: ForestSettings = DEFAULT_FOREST,
) -> tuple[PlatformModel, dict[str, Any]]:
    """The stacked platform model, and a JSON-serialisable report of how it was fitted.

    `header` holds the run's own fields of `Header` (platform, run, seed, data_hashes). Raises
    FitError for tables nothing can be fitted to.
    """
    seed = header["seed"]
    quiet, disturbed = _undisturbed_tables(layer_tables)
    fits = {
        operation: fit_layer_models(table, operation, unrolling.get(operation, []), seed, settings)
        for operation, table in quiet.items()
    }
    networks, note = undisturbed(networks)
    disturbed += [f"networks: {note}"] if note else []
    mapping, scores = fit_mapping(mapping_table, networks, seed)
    placing, placing_scores = fit_placement(placements, seed)
    memory = fit_memory(placements)
    mapping = replace(mapping, placement=placing, memory=memory)
    scores += placing_scores
    # single-kind graphs tell nothing of what a network costs beside its layers
    overhead = fit_overhead(networks[networks["benchmark"].isin(MULTI_LAYER)])
    latest = networks.iloc[-1]
    bits = int(latest["bits"])
    traffic = fit_traffic(quiet, bits, seed, settings)
    metrics = {key: fit.metrics | traffic.metrics.get(key, {}) for key, fit in fits.items()}
    record = Header(
        **header,
        code_version=version("strata"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fit_metrics=metrics,
        host=json.loads(latest["host"]),
        toolchain=_common(list(networks["toolchain"])),
        bits=bits,
        ranges={operation: _ranges(table) for operation, table in layer_tables.items()},
        counts={operation: len(table) for operation, table in layer_tables.items()},
        notes=(*disturbed, *(n for fit in fits.values() for n in fit.notes), *traffic.notes),
    )
    models = {operation: fit.models for operation, fit in fits.items()}
    report = {
        "layers": metrics,
        "notes": record.notes,
        "mapping": [asdict(score) for score in scores],
        "moves_strides": mapping.moves_strides,
        "memory": asdict(memory) if memory else None,
        "overhead": asdict(overhead),
    }
    return PlatformModel(record, models, mapping, overhead, traffic.traffic), report


def _table_paths(folder: Path) -> Sequence[Path]:
    paths = sorted((folder / "layers").glob("*.parquet"))
    if not paths:
        raise ArtefactError(f"{folder / 'layers'}: no layer tables; make_tables writes them")
    return paths


@exits_cleanly
def command(
    tables: Annotated[Path, typer.Argument(help="Folder that make_tables wrote.")],
    unrolling: Annotated[Path, typer.Option(help="Fitted unrolling, from fit_unrolling.")],
    platform: Annotated[str, typer.Option(help="Name of the platform.")],
    output: Annotated[Path, typer.Option(help="Platform model to write (.strata).")],
    report: Annotated[Path, typer.Option(help="JSON report of the fit to write.")],
    run: Annotated[str, typer.Option(help="Name of the run's configuration.")] = "manual",
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    trees: Annotated[int, typer.Option(min=1, help="Trees of a forest.")] = DEFAULT_FOREST.trees,
    minimum_leaf: Annotated[
        int, typer.Option(min=1, help="Fewest rows in a leaf.")
    ] = DEFAULT_FOREST.minimum_leaf,
    learner: Annotated[
        Learner, typer.Option(help="The paper's random forest, or gradient boosting.")
    ] = DEFAULT_FOREST.learner,
) -> None:
    """Fit layer models, mapping model and overhead, and stack them into a platform model.

    Example: python -m model_gen.fit_platform tables --unrolling unrolling.json
    --platform openvino_cpu --output openvino_cpu.strata --report fit.json
    """
    paths = _table_paths(tables)
    hashes = {
        str(path.relative_to(tables)): _digest(path) for path in sorted(tables.rglob("*.parquet"))
    }
    model, fit_report = fit_platform(
        {path.stem: read_table(path) for path in paths},
        pd.read_parquet(tables / "mapping.parquet"),
        pd.read_parquet(tables / "placements.parquet"),
        pd.read_parquet(tables / "networks.parquet"),
        read_unrolling(unrolling),
        {"platform": platform, "run": run, "seed": seed, "data_hashes": hashes},
        ForestSettings(trees=trees, minimum_leaf=minimum_leaf, learner=learner),
    )
    save_platform_model(model, output)
    with replacing(report) as temporary:
        temporary.write_text(json.dumps(fit_report, indent=1), encoding="utf-8")
    typer.echo(f"platform model: {output}")


if __name__ == "__main__":
    typer.run(command)
