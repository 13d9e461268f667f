"""The one tidy table of every evaluated number: results/<run>/evaluation/summary.csv.

Any figure quoted in a README or a note can be looked up here by its key.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from math import isinf
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from strata.atomic import replacing
from strata.errors import ArtefactError, SchemaError

LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One evaluated number; all but `value`, `unit` and `n` are its key.

    `data_set` says which networks or benchmarks, `subject` what of them was scored, `model` the
    model kind, `unit` "s", "%" or "1", `n` how many values stand behind it. A NaN value means
    that the measure is undefined for these data.
    """

    platform: str
    data_set: str
    subject: str
    model: str
    metric: str
    value: float
    unit: str
    n: int

    @property
    def key(self) -> tuple[str, ...]:
        """What a rerun replaces."""
        return (self.platform, self.data_set, self.subject, self.model, self.metric)


COLUMNS = tuple(field.name for field in fields(SummaryRow))
KEY = COLUMNS[:5]


def _checked(rows: Iterable[SummaryRow]) -> list[SummaryRow]:
    checked = list(rows)
    for row in checked:
        if not all(row.key) or not row.unit:
            raise SchemaError(f"summary row {row.key}: key and unit must not be empty")
        if isinf(row.value) or row.n < 0:
            raise SchemaError(
                f"summary row {row.key}: value {row.value}, n {row.n}; "
                "must be finite (or NaN) and 0 or more"
            )
    doubled = [key for key, count in Counter(row.key for row in checked).items() if count > 1]
    if doubled:
        raise SchemaError(f"summary rows: two rows for {doubled[0]}; must be one per key")
    return checked


def read_summary(path: Path) -> pd.DataFrame:
    """The table, empty where there is no file yet; ArtefactError where it is no summary."""
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys((*KEY, "unit"), str),
            keep_default_na=False,
            na_values={"value": ["nan"]},
            float_precision="round_trip",
        )
        if tuple(frame.columns) != COLUMNS:
            found, needed = ", ".join(frame.columns), ", ".join(COLUMNS)
            raise ArtefactError(f"{path}: columns are {found}, must be {needed}")
        return frame.astype({"value": float, "n": int})
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not a summary ({str(error).splitlines()[0]})") from None


def _merge(path: Path, fresh: list[SummaryRow]) -> None:
    merged = {
        tuple(str(record[name]) for name in KEY): record
        for record in read_summary(path).to_dict("records")
    }
    merged.update({row.key: asdict(row) for row in fresh})  # type: ignore[misc]
    frame = pd.DataFrame(list(merged.values()), columns=list(COLUMNS))
    with replacing(path) as draft:
        frame.to_csv(draft, index=False, na_rep="nan", lineterminator="\n")


def append_summary(path: Path, rows: Sequence[SummaryRow]) -> None:
    """Add rows to the table at `path`, replacing in place those of the same key.

    Safe against a crash (written beside, then renamed) and against two writers (a lock file).
    SchemaError for a bad or doubled row, ArtefactError for a file that is no summary.
    """
    fresh = _checked(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S):
            _merge(path, fresh)
    except Timeout:
        raise ArtefactError(
            f"{path}: locked by another writer for more than {LOCK_TIMEOUT_S:g} s"
        ) from None
