"""Which cases to measure, as data: the plan file, its case ids and its chunks."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from strata.atomic import replacing
from strata.errors import ArtefactError, SchemaError

# The tag `purpose` of a case of which only the mapping counts, and of one whose total only does.
MAPPING_ONLY = "mapping"
TOTAL_ONLY = "calibration"
Settings = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class BenchmarkCase:
    """One graph to measure: a benchmark and its settings row.

    `tags` say why it is measured: `sweep` (the feature swept, "" for samples), `sweep_group`
    (cases of one sweep share it), `data_set` (how a sample was drawn), of a round `round` and
    `reason`, and `purpose` (MAPPING_ONLY: its times are
    not used; TOTAL_ONLY: intervals are calibrated on its total, and nothing is fitted to it).
    """

    case_id: str
    benchmark: str
    settings: Settings
    tags: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What shards keep of it beside the tags."""
        return {
            "case_id": self.case_id,
            "benchmark": self.benchmark,
            "settings": self.settings,
        }


def purpose_of(record: Mapping[str, Any]) -> str | None:
    """What a shard's record was measured for alone; None for one that serves every fit."""
    return (record.get("tags") or {}).get("purpose")


def case_id(benchmark: str, settings: Mapping[str, Any]) -> str:
    """First 16 hex digits of SHA-256 over the canonical JSON of [benchmark, settings]."""
    text = json.dumps([benchmark, dict(settings)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_case(
    benchmark: str, settings: Mapping[str, Any], tags: Mapping[str, str] | None = None
) -> BenchmarkCase:
    """A case with its id; equal benchmark and settings give equal ids, whatever the tags."""
    row = dict(settings)
    given = {"sweep": "", "sweep_group": "", **(tags or {})}
    return BenchmarkCase(case_id(benchmark, row), benchmark, row, given)


def unique(cases: Iterable[BenchmarkCase]) -> list[BenchmarkCase]:
    """The cases without later duplicates: a point where two sweeps cross is measured once."""
    return list({case.case_id: case for case in reversed(list(cases))}.values())[::-1]


def nests(cases: Iterable[BenchmarkCase]) -> list[list[BenchmarkCase]]:
    """Neighbours that differ in their number of kernels alone, whose times are compared."""

    def row(case: BenchmarkCase) -> tuple[str, Settings]:
        return case.benchmark, {
            key: case.settings[key] for key in case.settings if key != "kernels"
        }

    return [list(nest) for _, nest in groupby(cases, key=row)]


def chunk(items: Sequence[Item], index: int, count: int) -> Sequence[Item]:
    """Items index, index + count, ...: every chunk sees all kinds of cases.

    Raises SchemaError unless 0 <= index < count.
    """
    if count < 1 or not 0 <= index < count:
        raise SchemaError(f"chunk {index} of {count}: legal: 0 to {max(count, 1) - 1}")
    return items[index::count]


def write_plan(cases: Iterable[BenchmarkCase], path: Path, notes: Iterable[str] = ()) -> None:
    """Write one case per line, whole or not at all; equal cases give equal bytes.

    `notes` stand before them, each a line that begins with "#".
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        lines.writelines(f"# {note}\n" for note in notes)
        for case in cases:
            record = {**case.to_dict(), "tags": case.tags}
            lines.write(json.dumps(record, sort_keys=True) + "\n")


def read_plan(path: Path) -> list[BenchmarkCase]:
    """The cases of a plan file; ArtefactError names the file and line that is none."""
    cases = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot be read as a plan: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        try:
            data = json.loads(line)
            case = make_case(data["benchmark"], data["settings"], data["tags"])
        except (ValueError, TypeError, KeyError) as error:
            raise ArtefactError(f"{path}, line {number}: no benchmark case: {error}") from None
        if case.case_id != data.get("case_id"):
            raise ArtefactError(
                f"{path}, line {number}: case_id is not that of its settings; make the plan anew"
            )
        cases.append(case)
    return cases
