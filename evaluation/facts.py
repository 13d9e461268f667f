"""What the numbers stand on: machine, toolchain, cost per point, noise, refused points."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.paper_tables import SET_TEXT
from evaluation.summary import SummaryRow
from evaluation.table_format import Table
from strata.errors import ArtefactError
from strata.platform_model import Header

MOST_REASONS = 20
LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class Facts:
    """Provenance of one platform's evaluation.

    `points` benchmark cases were measured, `refused` {reason: cases} were not; `wall_s` and
    `device_s` are seconds per measured case, in all and inside runs, (points,) each.
    `networks_refused` {network: reason}.
    """

    platform: str
    run: str
    code_version: str
    created: str
    host: dict[str, str] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    points: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    wall_s: tuple[float, ...] = ()
    device_s: tuple[float, ...] = ()
    networks_refused: dict[str, str] = field(default_factory=dict)

    @property
    def refused_points(self) -> int:
        """Cases that gave no measurement."""
        return sum(self.refused.values())

    @property
    def median_wall_s(self) -> float:
        """Median seconds that a measured case cost in all; NaN without any."""
        return float(np.median(self.wall_s)) if self.wall_s else float("nan")

    @property
    def device_share(self) -> float:
        """Part of the cases' wall time inside runs on the device; NaN without any."""
        total_s = sum(self.wall_s)
        return sum(self.device_s) / total_s if total_s else float("nan")


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such table") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable table ({error})") from None


def _short(reason: object) -> str:
    text = " ".join(str(reason).split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def gather_facts(header: Header, tables: Path, evaluation: Path) -> Facts:
    """Facts from a platform model's header, the benchmark's tables and the evaluation's.

    Reads networks.parquet, calibration.parquet if it is there, and refusals.parquet of `tables`,
    refused.parquet of `evaluation`; ArtefactError for a file that is missing or unreadable.
    """
    cases = _read(tables / "networks.parquet")
    if (calibration := tables / "calibration.parquet").exists():
        cost = ["case_id", "wall_s", "device_s"]
        cases = pd.concat([cases[cost], _read(calibration)[cost]])
    timed = cases.dropna(subset=["wall_s", "device_s"])
    refusals = _read(tables / "refusals.parquet")
    networks = _read(evaluation / "refused.parquet")
    return Facts(
        platform=header.platform,
        run=header.run,
        code_version=header.code_version,
        created=header.created,
        host=dict(header.host),
        toolchain=dict(header.toolchain),
        points=len(cases),
        refused=dict(Counter(map(_short, refusals["reason"])).most_common()),
        wall_s=tuple(timed["wall_s"]),
        device_s=tuple(timed["device_s"]),
        networks_refused=dict(
            zip(networks["network"], map(_short, networks["reason"]), strict=True)
        ),
    )


def cost_scores(facts: Facts) -> list[SummaryRow]:
    """Cost per point (s), share of device time (%), measured and refused points."""
    key = (facts.platform, "benchmarks", "points", "measurement")
    timed = len(facts.wall_s)
    every = facts.points + facts.refused_points
    return [
        SummaryRow(*key, "wall_median", facts.median_wall_s, "s", timed),
        SummaryRow(*key, "device_share", 100 * facts.device_share, "%", timed),
        SummaryRow(*key, "measured", float(facts.points), "1", every),
        SummaryRow(*key, "refused", float(facts.refused_points), "1", every),
    ]


def provenance_table(facts: Facts) -> Table:
    """Machine and toolchain, one property per row."""
    rows = [
        ("Platform", facts.platform),
        ("Run", facts.run),
        ("Platform model made", facts.created),
        ("Code version", facts.code_version),
        *((f"Host: {name}", value) for name, value in sorted(facts.host.items())),
        *((f"Toolchain: {name}", value) for name, value in sorted(facts.toolchain.items())),
    ]
    frame = pd.DataFrame(rows, columns=["Property", "Value"])
    return Table("provenance", "Machine and toolchain", frame)


def refusal_table(facts: Facts) -> Table:
    """Refused benchmark points per reason, most frequent first, and refused networks."""
    rows = list(facts.refused.items())
    shown, rest = rows[:MOST_REASONS], rows[MOST_REASONS:]
    lines = [("benchmark points", reason, count) for reason, count in shown]
    if rest:
        count = sum(count for _, count in rest)
        lines.append(("benchmark points", f"{len(rest)} further reasons", count))
    lines += [(f"network {name}", why, 1) for name, why in facts.networks_refused.items()]
    frame = pd.DataFrame(lines, columns=["What", "Reason", "Points"])
    return Table("refused", "Refused by the toolchain, crashed or out of time", frame)


def noise_table(networks: pd.DataFrame) -> Table:
    """Noise floor of the measured networks per set: half-to-half difference in percent."""
    single = networks.drop_duplicates(["set", "network"])
    rows = []
    for data_set, group in single.groupby("set", sort=False):
        spread = 100 * group["spread"].to_numpy(dtype=np.float64)
        known = spread[np.isfinite(spread)]
        rows.append(
            {
                "Networks": SET_TEXT.get(str(data_set), str(data_set)),
                "n": len(group),
                "Rounds": int(group["rounds"].min()),
                "Median (%)": float(np.median(known)) if len(known) else float("nan"),
                "Largest (%)": float(known.max()) if len(known) else float("nan"),
            }
        )
    notes = (
        "Relative difference between the halves of the rounds, or of the run's parts, that were "
        "measured; an error below it is noise. "
        "Rounds is the fewest of any network of the set; a dash means too few to be halved.",
    )
    return Table("noise", "Noise floor of the measured networks", pd.DataFrame(rows), notes)
