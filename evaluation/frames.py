"""The tables that evaluation reads, checked once at the edge.

| table | one row per | columns |
| --- | --- | --- |
| networks | network, mapping, model kind | set, network, measured_s, kind, mapping, estimated_s, ops, rounds, spread; optional untimed |
| layers | layer of a network, model kind | set, network, layer, operation, measured_s, kind, estimated_s, share; optional mapping, executed_kind, status |
| mapping | pair of operations | set, producer_operation, consumer_operation, samples, the four confusion counts |

`status` of a layer says how measurement and estimate met: matched; inserted (a node the toolchain
added); missing (executed, not in the estimate); extra (estimated, not executed); untimed (in the
estimate without a time: nobody knows it, so `estimated_s` is empty). Without the column every layer
counts as matched. `untimed` of a network counts such layers, which its `estimated_s` lacks: it is
"at least". Without the column there are none.
"""  # noqa: E501

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from strata.errors import ArtefactError, SchemaError, legal

KINDS = ("roofline", "refined", "statistical", "mixed-annette", "mixed")
MAPPINGS = ("predicted", "oracle")
UNTIMED = "untimed"
STATUSES = ("matched", "inserted", "missing", "extra", UNTIMED)
COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative")
NETWORK_COLUMNS = (
    *("set", "network", "measured_s", "kind", "mapping"),
    *("estimated_s", "ops", "rounds", "spread"),
)
LAYER_COLUMNS = (
    *("set", "network", "layer", "operation", "measured_s"),
    *("kind", "estimated_s", "share"),
)
MAPPING_COLUMNS = ("set", "producer_operation", "consumer_operation", "samples", *COUNTS)


def _need_columns(frame: pd.DataFrame, columns: Iterable[str], where: str) -> None:
    if absent := [name for name in columns if name not in frame.columns]:
        raise SchemaError(f"{where}: no column {', '.join(absent)}; needs {', '.join(columns)}")


def _need_values(frame: pd.DataFrame, column: str, values: tuple[str, ...], where: str) -> None:
    if odd := set(frame[column].dropna().unique()) - set(values):
        raise SchemaError(f"{where}: {column} is {legal(odd)}, must be one of {legal(values)}")
    if frame[column].isna().any():
        raise SchemaError(f"{where}: {column} is empty, must be one of {legal(values)}")


def _need_numbers(frame: pd.DataFrame, column: str, where: str, *, zero: bool) -> None:
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values) | (values < 0 if zero else values <= 0)
    if bad.any():
        row = frame.iloc[int(np.argmax(bad))]
        name = "/".join(str(row[key]) for key in ("network", "layer", "kind") if key in row)
        bound = "0 or more" if zero else "above 0"
        raise SchemaError(
            f"{where}: {column} of {name or 'a row'} is {row[column]}, must be finite and {bound}"
        )


def _need_empty(frame: pd.DataFrame, column: str, where: str) -> None:
    if frame[column].notna().any():
        row = frame[frame[column].notna()].iloc[0]
        raise SchemaError(
            f"{where}: {column} of {row['network']}/{row['layer']} is {row[column]}, must be empty "
            f"where the status is {row['status']}"
        )


def _need_unique(frame: pd.DataFrame, columns: list[str], where: str) -> None:
    doubled = frame.duplicated(columns)
    if doubled.any():
        row = frame[doubled].iloc[0]
        key = ", ".join(f"{name} {row[name]}" for name in columns)
        raise SchemaError(f"{where}: two rows for {key}; must be one")


def check_networks(frame: pd.DataFrame, where: str = "networks") -> pd.DataFrame:
    """The networks table with `untimed` filled in, or SchemaError naming the first broken rule.

    `spread` (relative half-to-half difference of the measurement) may be NaN where rounds are
    too few to be halved.
    """
    _need_columns(frame, NETWORK_COLUMNS, where)
    if UNTIMED not in frame.columns:
        frame = frame.assign(**{UNTIMED: 0})
    _need_values(frame, "kind", KINDS, where)
    _need_values(frame, "mapping", MAPPINGS, where)
    _need_numbers(frame, "measured_s", where, zero=False)
    _need_numbers(frame, "estimated_s", where, zero=False)
    _need_numbers(frame, UNTIMED, where, zero=True)
    _need_unique(frame, ["set", "network", "kind", "mapping"], where)
    return frame


def check_layers(frame: pd.DataFrame, where: str = "layers") -> pd.DataFrame:
    """The layers table with `mapping` and `status` filled in, or SchemaError."""
    _need_columns(frame, LAYER_COLUMNS, where)
    added = {
        name: value
        for name, value in (("mapping", "predicted"), ("status", "matched"))
        if name not in frame.columns
    }
    frame = frame.assign(**added)
    _need_values(frame, "kind", KINDS, where)
    _need_values(frame, "mapping", MAPPINGS, where)
    _need_values(frame, "status", STATUSES, where)
    _need_numbers(frame, "measured_s", where, zero=True)
    without = frame["status"] == UNTIMED
    _need_numbers(frame[~without], "estimated_s", where, zero=True)
    _need_empty(frame[without], "estimated_s", where)
    return frame


def check_mapping(frame: pd.DataFrame, where: str = "mapping") -> pd.DataFrame:
    """The mapping table as it is, or SchemaError; the four counts must add up to `samples`."""
    _need_columns(frame, MAPPING_COLUMNS, where)
    for column in ("samples", *COUNTS):
        _need_numbers(frame, column, where, zero=True)
    off = frame[list(COUNTS)].sum(axis=1) != frame["samples"]
    if off.any():
        row = frame[off].iloc[0]
        raise SchemaError(
            f"{where}: the four counts of {row['producer_operation']} > "
            f"{row['consumer_operation']} do not add up to samples {row['samples']}"
        )
    return frame


def read_table(path: Path, check: Callable[[pd.DataFrame, str], pd.DataFrame]) -> pd.DataFrame:
    """A Parquet or CSV table, checked; ArtefactError where the file cannot be read."""
    if not path.is_file():
        raise ArtefactError(f"{path}: no such table")
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtefactError(f"{path}: not a readable table ({reason})") from None
    return check(frame, str(path))
