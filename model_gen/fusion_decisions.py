"""Are two layers fused? Decided by what they take apart and together, or declared undecided.

ANNETTE, section 5.2: fused are two layers of which T_total is not T_1 + T_2. Profilers that name
one layer of a group only leave such pairs POSSIBLY_FUSED. They are measured again: the producer's
group alone, the consumer alone, and both together, in rounds. In each round

    d = T_producer + (1 - m) T_consumer - T_together

is above 0 if more than the share m of the consumer's time is saved, which counts as fused.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from model_gen.network_tables import FLAGS, FUSED, NOT_FUSED, POSSIBLY_FUSED
from strata.atomic import replacing
from strata.errors import ArtefactError, FitError

# An addition that joins a convolution still reads its other operand: of three tensors it saves
# two. A cache that still holds the tensor between two separate layers saves less than a third.
LEAST_SAVING = 0.3
SIGNIFICANCE = 0.01  # chance that a pair is decided wrongly, over all looks together
LOOKS = (3, 6, 12)  # rounds after which to look; who looks more often needs more evidence each time
_LAYERS = ("producer", "consumer")
FORMAT, VERSION = "strata-fusion-decisions", 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What rounds of measurement say of one pair.

    `saved` is the share of the consumer's time that is saved together, [`low`, `high`] the range
    that holds it with the confidence of the look; times in seconds, means over the rounds.
    """

    flag: str
    saved: float
    low: float
    high: float
    rounds: int
    producer_s: float
    consumer_s: float
    together_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FusionDecision:
    """A verdict on one POSSIBLY_FUSED row: its case and the names of its two layers."""

    case_id: str
    producer: str
    consumer: str
    verdict: Verdict

    @property
    def key(self) -> tuple[str, str, str]:
        """What a row of the mapping table is found by."""
        return self.case_id, self.producer, self.consumer


def decide(
    producer_s: Sequence[float], consumer_s: Sequence[float], together_s: Sequence[float]
) -> Verdict:
    """FUSED, NOT_FUSED, or POSSIBLY_FUSED where the rounds so far do not tell.

    One time per round and graph, in seconds, (rounds,) each; a round's three stand together, so
    that slow drift of the machine cancels. Student's t on the d of each round, one-sided at
    SIGNIFICANCE over the number of looks. FitError for unequal lengths or times not above 0.
    """
    times = [np.asarray(each, np.float64) for each in (producer_s, consumer_s, together_s)]
    if len({each.shape for each in times}) > 1 or times[0].ndim != 1 or times[0].size < 2:
        raise FitError("fusion test: one time per round and graph is needed, two rounds or more")
    if not all(np.all(np.isfinite(each) & (each > 0)) for each in times):
        raise FitError("fusion test: a time is not finite and above 0")
    producer, consumer, together = times
    margin = (producer + (1 - LEAST_SAVING) * consumer - together) / consumer.mean()
    mean, reach = float(margin.mean()), _reach(margin)
    flag, reason = POSSIBLY_FUSED, "the saving may lie on either side of the limit"
    if abs(mean) > reach:
        flag, reason = FUSED if mean > 0 else NOT_FUSED, ""
    saved = mean + LEAST_SAVING
    return Verdict(
        flag,
        saved,
        saved - reach,
        saved + reach,
        len(producer),
        float(producer.mean()),
        float(consumer.mean()),
        float(together.mean()),
        reason,
    )


def undecided(reason: str) -> Verdict:
    """Nothing could be measured, and why."""
    return Verdict(POSSIBLY_FUSED, 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0.0, reason)


def _reach(values: np.ndarray) -> float:
    """Half the width of the confidence interval of a mean; 0 where every round gave the same."""
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    level = SIGNIFICANCE / len(LOOKS)
    return float(stats.t.ppf(1 - level, len(values) - 1)) * error


def write_decisions(decisions: Iterable[FusionDecision], path: Path) -> None:
    """Write the decisions as JSON, whole or not at all."""
    rows = [
        {
            "case_id": each.case_id,
            "producer": each.producer,
            "consumer": each.consumer,
            **asdict(each.verdict),
        }
        for each in decisions
    ]
    data = {
        "format": FORMAT,
        "version": VERSION,
        "least_saving": LEAST_SAVING,
        "significance": SIGNIFICANCE,
        "decisions": rows,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False), encoding="utf-8")


def read_decisions(path: Path) -> list[FusionDecision]:
    """What `write_decisions` wrote; ArtefactError for a file that is missing or anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (data["format"], data["version"]) != (FORMAT, VERSION):
            raise ValueError("another format or version")
        return [_decision(dict(row)) for row in data["decisions"]]
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such file of fusion decisions") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: not a file of fusion decisions: {error}") from None


def _decision(row: dict[str, Any]) -> FusionDecision:
    case_id, producer, consumer = (row.pop(name) for name in ("case_id", "producer", "consumer"))
    verdict = Verdict(**row)
    if verdict.flag not in FLAGS:
        raise ValueError(f"unknown flag {verdict.flag!r}")
    return FusionDecision(str(case_id), str(producer), str(consumer), verdict)


def apply_decisions(
    table: pd.DataFrame, decisions: Sequence[FusionDecision]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The mapping table with POSSIBLY_FUSED rows flagged as decided, and what stays undecided.

    The latter are JSON-ready: pair, case and layers where the table has them, and the verdict's
    statistics, or that none was measured. Rows with another flag stay as the profiler told them.
    """
    open_rows = table["flag"] == POSSIBLY_FUSED
    if not open_rows.any():
        return table, []
    found: Mapping[tuple[str, str, str], Verdict] = {each.key: each.verdict for each in decisions}
    named = table.assign(**{name: "" for name in _LAYERS if name not in table.columns})
    flags, rest = table["flag"].to_numpy(copy=True), []
    for place in np.flatnonzero(open_rows):
        row = named.iloc[place]
        key = (str(row["case_id"]), str(row["producer"]), str(row["consumer"]))
        verdict = found.get(key, undecided("not measured again"))
        if verdict.flag != POSSIBLY_FUSED:
            flags[place] = verdict.flag
            continue
        rest.append(
            {
                "pair": f"{row['producer_operation']}->{row['consumer_operation']}",
                **dict(zip(("case_id", *_LAYERS), key, strict=True)),
                **asdict(verdict),
            }
        )
    return table.assign(flag=flags), rest
