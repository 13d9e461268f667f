"""Command: tables in, platform model out (ANNETTE, figure 6: the stack)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from joblib import Parallel, delayed

from model_gen.calibration_networks import (
    WholeNetwork,
    calibration_networks,
    calibration_totals,
    sound_calibration,
)
from model_gen.conformal import HeldOut
from model_gen.fusion_decisions import FusionDecision, apply_decisions, read_decisions
from model_gen.interval_fit import IntervalFit, LayerErrors, fit_intervals
from model_gen.layer_fit import LayerFit, fit_layer, rows_beside, unrolling_of
from model_gen.learned import layers_are_cut
from model_gen.learner import Learner
from model_gen.mapping_fit import PairScore
from model_gen.mapping_model import NetworkTables, fit_mapping_model, multi_layer
from model_gen.network_tables import (
    check_calibration,
    check_mapping,
    check_networks,
    check_placements,
    read_calibration,
    read_mapping,
    read_networks,
    read_placements,
)
from model_gen.overhead import fit_overhead
from model_gen.statistical import DEFAULT_FOREST, ForestSettings
from model_gen.tables import (
    REQUIRED,
    TRAFFIC,
    check_extents,
    check_table,
    distinct,
    read_table,
    table_matrix,
    undisturbed,
)
from model_gen.total_fit import FEWEST_NETWORKS, Total, executed_totals
from model_gen.traffic_fit import fit_traffic
from model_gen.unrolling import UnrollingFit, identified, read_unrolling
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import ArtefactError, FitError
from strata.execution import OWN_FEATURES
from strata.intervals import Intervals
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel, save_platform_model
from strata.validity import Validity, check_model_key

_NO_CALIBRATION = (
    "too few networks measured for their totals (key calibration): intervals of totals come from "
    "random networks as they were executed, and do not know what the mapping gets wrong"
)

# Columns that models are fitted to. Lists of names and samples are most of what sending a table to
# another process costs.
_FITTED = (*REQUIRED, "benchmark", "data_set", *TRAFFIC.values())
# Rows in all from which a second process pays for its start.
_ROWS_OF_TWO_PROCESSES = 8_000


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _common(texts: Sequence[str]) -> dict[str, str]:
    """What all of the JSON dictionaries say alike: some hold what is true of one graph only."""
    first, *rest = (json.loads(text) for text in dict.fromkeys(texts))
    return {key: value for key, value in first.items() if all(r.get(key) == value for r in rest)}


def _ranges(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return {name: (float(table[name].min()), float(table[name].max())) for name in OWN_FEATURES}


def _sound_tables(
    layer_tables: dict[str, pd.DataFrame], unrolling: dict[str, list[UnrollingFit]]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Each table's rows, once each, that were measured undisturbed; notes on what was left out.

    Of columns those that are fitted to.

    FitError for a table that no model can be fitted to, or of what is no operation.
    """
    if not layer_tables:
        raise FitError("no layer table: a platform model needs at least one")
    found, notes = {}, []
    for key, table in layer_tables.items():
        try:
            check_model_key(key)
        except ArtefactError as error:
            raise FitError(f"table of {key}: {error}") from None
        check_table(table, f"table of {key}")
        unrolled = [each.feature for each in identified(unrolling_of(key, unrolling))]
        check_extents(table, unrolled, f"table of {key}")
        once, repeated = distinct(table)
        kept, disturbed = undisturbed(once)
        found[key] = kept[[name for name in kept.columns if name in _FITTED]]
        notes += [f"{key}: {note}" for note in (repeated, disturbed) if note]
    return found, notes


def _sound_networks(
    mapping: pd.DataFrame,
    placements: pd.DataFrame,
    networks: pd.DataFrame,
    decisions: Sequence[FusionDecision],
) -> tuple[NetworkTables, list[dict[str, Any]], list[str]]:
    """The tables beside the layers', checked and decided; pairs undecided, and notes."""
    check_networks(networks)
    check_placements(placements)
    mapping, undecided = apply_decisions(check_mapping(mapping), decisions)
    networks, disturbed = undisturbed(networks)
    notes = [f"networks: {disturbed}"] if disturbed else []
    return NetworkTables(mapping, placements, networks), undecided, notes


def _whole_networks(
    calibration: pd.DataFrame | None,
) -> tuple[Sequence[WholeNetwork], list[str]]:
    """The networks of a calibration table, and notes."""
    if calibration is None:
        return (), []
    sound, notes = sound_calibration(check_calibration(calibration))
    return calibration_networks(sound), notes


def _record(
    header: Mapping[str, Any],
    layer_tables: Mapping[str, pd.DataFrame],
    networks: pd.DataFrame,
    metrics: dict[str, Any],
    notes: Sequence[str],
) -> Header:
    latest = networks.iloc[-1]
    return Header(
        **header,
        code_version=version("strata"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fit_metrics=metrics,
        host=json.loads(latest["host"]),
        toolchain=_common(list(networks["toolchain"])),
        bits=int(latest["bits"]),
        ranges={operation: _ranges(table) for operation, table in layer_tables.items()},
        counts={operation: len(table) for operation, table in layer_tables.items()},
        notes=tuple(notes),
    )


def _size(table: pd.DataFrame) -> int:
    """Rows times features that vary: what a forest sorts."""
    return len(table) * int((np.ptp(table_matrix(table), axis=0) > 0).sum())


def _convolutions_are_cut(
    tables: Mapping[str, pd.DataFrame], unrolling: Mapping[str, Sequence[UnrollingFit]]
) -> bool:
    key = "convolution"
    return key in tables and layers_are_cut(tables[key], identified(unrolling_of(key, unrolling)))


def _fit_parts(
    tables: Mapping[str, pd.DataFrame],
    beside: NetworkTables,
    unrolling: Mapping[str, Sequence[UnrollingFit]],
    seed: int,
    settings: ForestSettings,
) -> tuple[dict[str, LayerFit], dict[str, LayerErrors], MappingModel, list[PairScore]]:
    """All that needs no other part: layer models, errors of layers, mapping model, its scores.

    Large tables in two processes, the largest first, the mapping last.
    """
    settings = replace(settings, cut=settings.cut and _convolutions_are_cut(tables, unrolling))
    order = sorted(tables, key=lambda key: -_size(tables[key]))
    processes = 2 if sum(map(len, tables.values())) > _ROWS_OF_TWO_PROCESSES else 1
    layers = [
        delayed(fit_layer)(
            tables[key],
            key,
            unrolling_of(key, unrolling),
            seed,
            settings,
            rows_beside(key, tables),
        )
        for key in order
    ]
    *found, mapped = Parallel(n_jobs=processes)([*layers, delayed(fit_mapping_model)(beside, seed)])
    by_key = dict(zip(order, found, strict=True))
    fits, errors = ({key: by_key[key][part] for key in tables} for part in (0, 1))
    return fits, errors, *mapped


def _fit_around(
    stack: PlatformModel,
    tables: Mapping[str, pd.DataFrame],
    errors: Mapping[str, LayerErrors],
    beside: NetworkTables,
    calibration: Sequence[WholeNetwork],
) -> tuple[IntervalFit, list[str]]:
    """Regions and intervals of a stack that has none yet, and notes."""
    notes: list[str] = []

    def totals_of(
        rows: Mapping[str, HeldOut], intervals: Intervals, validity: Validity
    ) -> list[Total]:
        model = replace(stack, intervals=intervals, validity=validity)
        totals = calibration_totals(calibration, model)
        if len(totals) >= FEWEST_NETWORKS:
            return totals
        notes.append(f"networks: {_NO_CALIBRATION}")
        return executed_totals(rows, intervals, multi_layer(beside.networks), stack.overhead)

    rooflines = {key: kinds[Roofline.kind].peaks for key, kinds in stack.layer_models.items()}
    return fit_intervals(tables, errors, rooflines, totals_of, stack.header.seed), notes


def fit_platform(
    layer_tables: dict[str, pd.DataFrame],
    mapping_table: pd.DataFrame,
    placements: pd.DataFrame,
    networks: pd.DataFrame,
    unrolling: dict[str, list[UnrollingFit]],
    header: dict[str, Any],
    settings: ForestSettings = DEFAULT_FOREST,
    decisions: Sequence[FusionDecision] = (),
    calibration: pd.DataFrame | None = None,
) -> tuple[PlatformModel, dict[str, Any]]:
    """The stacked platform model, and a JSON-serialisable report of how it was fitted.

    `header` holds the run's own fields of `Header` (platform, run, seed, data_hashes), `decisions`
    what was measured again of POSSIBLY_FUSED pairs, `calibration` the networks whose totals
    intervals stand on. Raises FitError for tables nothing can be fitted to, before anything is.
    """
    seed = header["seed"]
    whole, disturbed = _whole_networks(calibration)
    tables, notes = _sound_tables(layer_tables, unrolling)
    beside, undecided, more = _sound_networks(mapping_table, placements, networks, decisions)
    notes += disturbed
    fits, errors, mapping, scores = _fit_parts(tables, beside, unrolling, seed, settings)
    # single-kind graphs tell nothing of what a network costs beside its layers
    overhead = fit_overhead(multi_layer(beside.networks))
    traffic = fit_traffic(tables, int(beside.networks["bits"].iloc[-1]), seed, settings)
    metrics = {key: fit.metrics | traffic.metrics.get(key, {}) for key, fit in fits.items()}
    notes += [*more, *(note for fit in fits.values() for note in fit.notes), *traffic.notes]
    record = _record(header, layer_tables, beside.networks, metrics, notes)
    models = {key: fit.models for key, fit in fits.items()}
    stack = PlatformModel(record, models, mapping, overhead, traffic.traffic)
    around, more = _fit_around(stack, tables, errors, beside, whole)
    notes = [*record.notes, *more]
    stack = replace(stack, header=replace(record, notes=tuple(notes)))
    report = {
        "layers": metrics,
        "notes": notes,
        "mapping": [asdict(score) for score in scores],
        "undecided": undecided,
        "moves_strides": mapping.moves_strides,
        "operand_order": mapping.operand_order,
        "joins_shared": mapping.joins_shared,
        "memory": asdict(mapping.memory) if mapping.memory else None,
        "overhead": asdict(overhead),
        "intervals": around.report,
    }
    return replace(stack, validity=around.validity, intervals=around.intervals), report


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
    decisions: Annotated[
        Path | None, typer.Option(help="Pairs measured again, from fusion_tests.")
    ] = None,
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
        read_mapping(tables / "mapping.parquet"),
        read_placements(tables / "placements.parquet"),
        read_networks(tables / "networks.parquet"),
        read_unrolling(unrolling),
        {"platform": platform, "run": run, "seed": seed, "data_hashes": hashes},
        ForestSettings(trees=trees, minimum_leaf=minimum_leaf, learner=learner),
        read_decisions(decisions) if decisions else (),
        read_calibration(tables / "calibration.parquet"),
    )
    save_platform_model(model, output)
    with replacing(report) as temporary:
        temporary.write_text(json.dumps(fit_report, indent=1), encoding="utf-8")
    typer.echo(f"platform model: {output}")


if __name__ == "__main__":
    typer.run(command)
