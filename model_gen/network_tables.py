"""The tables beside those of the layers: mapping decisions, placements, whole networks.

Each is read and checked before anything is fitted to it: one line names table, column and row.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from model_gen.tables import read_parquet
from strata.edges import EDGE_FEATURES
from strata.errors import FitError, legal
from strata.execution import PLACEMENTS
from strata.placement import PLACEMENT_FEATURES
from strata.profile import FUSED, NOT_FUSED, POSSIBLY_FUSED

FLAGS = (FUSED, NOT_FUSED, POSSIBLY_FUSED)
ROLES = ("fusion", "insertion")
_NETWORK_NUMBERS = ("time_s", "layers_s", "executed_layers", "input_bytes", "output_bytes", "bits")
_ABOVE_ZERO = ("time_s", "bits")


def check_mapping(table: pd.DataFrame, where: str = "mapping table") -> pd.DataFrame:
    """The table itself if trees can be fitted to it: one row per decision of the toolchain.

    FitError names `where` and what is wrong: all columns, known flags and roles, finite features.
    """
    texts = ("case_id", "role", "producer_operation", "consumer_operation", "flag")
    _check_columns(table, (*texts, *EDGE_FEATURES), where)
    _check_known(table, "flag", FLAGS, where)
    _check_known(table, "role", ROLES, where)
    for name in texts:
        _check_there(table, name, where)
    _check_finite(table, EDGE_FEATURES, where)
    return table


def check_placements(table: pd.DataFrame, where: str = "placement table") -> pd.DataFrame:
    """The table itself if placements can be fitted to it: one row per executed layer.

    FitError as `check_mapping`.
    """
    texts = ("case_id", "operation", "placement")
    _check_columns(table, (*texts, *PLACEMENT_FEATURES), where)
    _check_known(table, "placement", ("", *PLACEMENTS), where)
    for name in texts:
        _check_there(table, name, where)
    _check_finite(table, PLACEMENT_FEATURES, where)
    return table


def check_networks(table: pd.DataFrame, where: str = "networks table") -> pd.DataFrame:
    """The table itself if overheads can be fitted to it: one row per measured graph, at least one.

    FitError as `check_mapping`; times must be finite and above 0, host and toolchain JSON objects.
    """
    texts = ("case_id", "benchmark", "strides_moved", "host", "toolchain")
    _check_columns(table, (*texts, *_NETWORK_NUMBERS), where)
    if table.empty:
        raise FitError(f"{where}: no rows, at least 1 is needed")
    _check_numbers(table, _NETWORK_NUMBERS, where)
    for name in ("host", "toolchain"):
        _check_objects(table[name], name, where)
    return table


def check_calibration(table: pd.DataFrame, where: str = "calibration table") -> pd.DataFrame:
    """The table itself if intervals can be calibrated on it; it may have no row.

    FitError as `check_networks`; graphs are looked at by who reads them.
    """
    _check_columns(table, ("case_id", "time_s", "graph"), where)
    _check_there(table, "case_id", where)
    _check_numbers(table, ("time_s",), where)
    return table


def read_mapping(path: Path) -> pd.DataFrame:
    """The mapping table of a file, checked; ArtefactError if it is unreadable."""
    return check_mapping(read_parquet(path, "mapping table"), str(path))


def read_placements(path: Path) -> pd.DataFrame:
    """The placement table of a file, checked; ArtefactError if it is unreadable."""
    return check_placements(read_parquet(path, "placement table"), str(path))


def read_networks(path: Path) -> pd.DataFrame:
    """The networks table of a file, checked; ArtefactError if it is unreadable."""
    return check_networks(read_parquet(path, "networks table"), str(path))


def read_calibration(path: Path) -> pd.DataFrame | None:
    """The calibration table of a file, checked; None without the file: not every run has one.

    ArtefactError if it is unreadable.
    """
    if not path.exists():
        return None
    return check_calibration(read_parquet(path, "calibration table"), str(path))


def _check_columns(table: pd.DataFrame, names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise FitError(f"{where}: column(s) {', '.join(missing)} missing")


def _check_there(table: pd.DataFrame, name: str, where: str) -> None:
    absent = np.flatnonzero(table[name].isna())
    if absent.size:
        raise FitError(f"{where}: {name} of row {int(absent[0])} is missing")


def _check_known(table: pd.DataFrame, name: str, known: Sequence[str], where: str) -> None:
    unknown = np.flatnonzero(~table[name].isin(known))
    if unknown.size:
        row = int(unknown[0])
        raise FitError(
            f"{where}: {name} of row {row} is {table[name].iloc[row]!r}, legal: {legal(known)}"
        )


def _check_finite(table: pd.DataFrame, names: Sequence[str], where: str) -> None:
    for name in names:
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            row = int(bad[0])
            raise FitError(
                f"{where}: {name} of row {row} is {table[name].iloc[row]}, not a finite number"
            )


def _check_numbers(table: pd.DataFrame, names: Sequence[str], where: str) -> None:
    """Finite, at least 0, and above 0 where a value must be."""
    _check_finite(table, names, where)
    for name in names:
        values = table[name].to_numpy(np.float64)
        bad = np.flatnonzero(values <= 0 if name in _ABOVE_ZERO else values < 0)
        if bad.size:
            row, rule = int(bad[0]), "above 0" if name in _ABOVE_ZERO else "at least 0"
            raise FitError(f"{where}: {name} of row {row} is {values[row]}, must be {rule}")


def _check_objects(texts: pd.Series, name: str, where: str) -> None:
    for text in texts.unique():
        try:
            known = isinstance(json.loads(text), dict)
        except (TypeError, ValueError):
            known = False
        if not known:
            raise FitError(f"{where}: {name} holds {text!r}, must be a JSON object")
