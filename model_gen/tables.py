"""Layer tables as the benchmark writes them: one row per executed layer of one operation."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from strata.errors import ArtefactError, FitError, legal
from strata.execution import FEATURES
from strata.profile import MEMORIES

# benchmarks whose layers stand as in networks
MULTI_LAYER = ("cells", "stems", "convnet", "fcnet", "pooled", "moved", "tangles", "architectures")
REQUIRED = ("case_id", *FEATURES, "time_s")
TRAFFIC = {memory: f"{memory}_bytes" for memory in MEMORIES}
OPTIONAL = (
    "benchmark",
    "network",
    "sweep",
    "sweep_group",
    "data_set",
    "layer",
    "kind",
    "other_core_load",
    "samples_s",
    "absorbed",
    "following",
    *TRAFFIC.values(),
)


def inside_networks(table: pd.DataFrame) -> np.ndarray:
    """(rows,) booleans: rows of multi-layer benchmarks; all where the table does not say."""
    if "benchmark" not in table.columns:
        return np.ones(len(table), dtype=bool)
    return table["benchmark"].isin(MULTI_LAYER).to_numpy()


def hashed_share(text: str) -> float:
    """A number from 0 to 1 that depends on a text alone, evenly spread over texts.

    Cases whose number lies below a share are held out: the same ones whatever else there is. The
    text says what for, as well as which case: who holds out for two purposes wants two sets.
    """
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def read_parquet(path: str | Path, what: str) -> pd.DataFrame:
    """A Parquet file as it is; ArtefactError, with `what` it should be, if it is unreadable."""
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such {what}") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArtefactError(f"{path}: not a readable Parquet table: {reason}") from None


def read_table(path: str | Path) -> pd.DataFrame:
    """The table of a Parquet file, checked by `check_table`; ArtefactError if it is unreadable."""
    return check_table(read_parquet(path, "layer table"), str(path))


def check_table(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The table itself if models can be fitted to it.

    FitError names `where`, the column and the row: REQUIRED columns must be there, only OPTIONAL
    ones beside them; at least one row; features finite and at least 0; times finite, above 0;
    traffic empty where unknown, else finite and at least 0.
    """
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise FitError(f"{where}: lacks column {', '.join(missing)}")
    unknown = [str(name) for name in table.columns if name not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise FitError(
            f"{where}: unknown column {', '.join(unknown)}, legal: {legal((*REQUIRED, *OPTIONAL))}"
        )
    if table.empty:
        raise FitError(f"{where}: no rows, at least 1 is needed")
    for name in (*FEATURES, "time_s"):
        _check_column(table, name, where)
    for name in TRAFFIC.values():
        if name in table.columns:
            _check_traffic(table, name, where)
    if table["case_id"].isna().any():
        row = int(np.flatnonzero(table["case_id"].isna())[0])
        raise FitError(f"{where}: case_id of row {row} is missing")
    return table


def _check_column(table: pd.DataFrame, name: str, where: str) -> None:
    if not pd.api.types.is_numeric_dtype(table[name]):
        raise FitError(f"{where}: column {name} holds {table[name].dtype}, must be numbers")
    values = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    legal_values = values > 0 if name == "time_s" else values >= 0
    bad = np.flatnonzero(~(np.isfinite(values) & legal_values))
    if bad.size:
        rule = "above 0" if name == "time_s" else "at least 0"
        row = int(bad[0])
        raise FitError(f"{where}: {name} of row {row} is {values[row]}, must be finite, {rule}")


def _check_traffic(table: pd.DataFrame, name: str, where: str) -> None:
    """A layer of which the toolchain says nothing is empty; a column of those only has no type."""
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    known = table[name].notna().to_numpy()
    bad = np.flatnonzero(known & ~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        row = int(bad[0])
        found = table[name].iloc[row]
        raise FitError(
            f"{where}: {name} of row {row} is {found}, must be finite and at least 0, or empty"
        )


def table_traffic(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Bytes per memory that at least one row knows, (rows,) each, NaN where unknown."""
    columns = {
        memory: pd.to_numeric(table[name]).to_numpy(np.float64, na_value=np.nan)
        for memory, name in TRAFFIC.items()
        if name in table.columns
    }
    return {memory: values for memory, values in columns.items() if np.isfinite(values).any()}


def check_extents(table: pd.DataFrame, names: Iterable[str], where: str) -> None:
    """FitError for an extent of 0 among features that are unrolled: equation 4 divides by it."""
    for name in names:
        bad = np.flatnonzero(table[name].to_numpy(np.float64) <= 0)
        if bad.size:
            raise FitError(
                f"{where}: {name} of row {int(bad[0])} is 0, must be above 0: it is unrolled"
            )


def table_matrix(table: pd.DataFrame) -> np.ndarray:
    """(rows, len(FEATURES)) floats, columns in the order of `strata.execution.FEATURES`."""
    return table[list(FEATURES)].to_numpy(dtype=np.float64)


def table_times(table: pd.DataFrame) -> np.ndarray:
    """Measured times in seconds, (rows,)."""
    return table["time_s"].to_numpy(dtype=np.float64)


def distinct(table: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """The table without rows that repeat another's case, layer, features and time, and a note.

    The same measurement twice (a shard given twice) would count as two. Other measurements of the
    same point stay.
    """
    same = [name for name in ("case_id", "layer", *FEATURES, "time_s") if name in table.columns]
    repeated = table.duplicated(same)
    if not repeated.any():
        return table, None
    return table[~repeated], f"{repeated.sum()} rows that repeat another were left out"


BUSY = 0.3  # other cores kept busy; a second process costs 13 to 15% at the median


def undisturbed(table: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """The rows measured while the other cores were mostly idle, and a note on what was left out.

    Where that would leave less than half of the rows, all stay, and the note says so.
    """
    if "other_core_load" not in table.columns:
        return table, None
    busy = table["other_core_load"].fillna(0.0) > BUSY
    if not busy.any():
        return table, None
    if busy.mean() > 0.5:
        return table, f"{busy.mean():.0%} of the rows were measured beside other work, and used"
    return table[~busy], f"{busy.sum()} rows measured beside other work were left out"
