"""Estimated against counted bytes per memory, for platforms whose toolchain counts them.

| column | meaning |
| --- | --- |
| set, network | as in the networks table |
| layer, operation | an executed layer that the estimate has too; "" for the network's total |
| memory, mapping | one of MEMORIES; predicted or oracle |
| counted_bytes | what the toolchain says; NaN where it says nothing of a part |
| estimated_bytes | NaN for a layer whose traffic is unknown; a total lacks such layers |
| unknown_layers | how many layers a total lacks; 0 or 1 for a layer |
| baseline_bytes | every byte of the executed layers moved once, as if activations fitted on the chip |
"""  # noqa: E501

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from benchmark.matcher import Match
from evaluation.frames import MAPPINGS
from evaluation.metrics import mape
from evaluation.paper_tables import SET_TEXT
from evaluation.report import Section
from evaluation.scores import grouped
from evaluation.summary import SummaryRow
from evaluation.table_format import Table
from strata.errors import SchemaError, legal
from strata.estimate import Estimate
from strata.profile import MEMORIES, Profile
from strata.traffic import every_byte_once, summed

COLUMNS = (
    *("set", "network", "layer", "operation", "memory", "mapping"),
    *("counted_bytes", "estimated_bytes", "unknown_layers", "baseline_bytes"),
)
MODELS = {"model": "estimated_bytes", "every_byte_once": "baseline_bytes"}
_LEAST_BYTES = 1024  # of a layer whose relative error says anything


def traffic_rows(
    record: Mapping[str, Any],
    profile: Profile,
    found: Match,
    estimates: Iterable[tuple[str, Estimate]],
) -> Iterator[dict[str, Any]]:
    """Rows of COLUMNS of one network; none for a platform that tells no traffic.

    `estimates` by mapping; all kinds of time models share the traffic, so one each is enough.
    """
    executed = {layer.executed.name: layer for layer in found.layers}
    counted = summed(node.traffic_bytes for node in profile.nodes)
    for mapping, estimate in dict(estimates).items():
        once = {
            name: every_byte_once(layer.executed.work, estimate.memories)
            for name, layer in executed.items()
        }
        for memory in estimate.memories:
            place = {"set": record["set"], "network": record["network"]}
            place |= {"memory": memory, "mapping": mapping}
            yield place | {
                "layer": "",
                "operation": "",
                "counted_bytes": counted.get(memory, nan),
                "estimated_bytes": estimate.traffic_bytes[memory],
                "unknown_layers": estimate.traffic_unknown[memory],
                "baseline_bytes": sum(each[memory] for each in once.values()),
            }
            for layer in estimate.layers:
                if layer.name in executed:
                    moved = layer.traffic_bytes[memory]
                    yield place | {
                        "layer": layer.name,
                        "operation": layer.operation,
                        "counted_bytes": executed[layer.name].traffic_bytes.get(memory, nan),
                        "estimated_bytes": nan if moved is None else moved,
                        "unknown_layers": int(moved is None),
                        "baseline_bytes": once[layer.name][memory],
                    }


def check_traffic(frame: pd.DataFrame, where: str = "traffic") -> pd.DataFrame:
    """The table as it is, or SchemaError naming the first broken rule; bytes may be NaN."""
    if absent := [name for name in COLUMNS if name not in frame.columns]:
        raise SchemaError(f"{where}: no column {', '.join(absent)}; needs {', '.join(COLUMNS)}")
    for column, values in (("memory", MEMORIES), ("mapping", MAPPINGS)):
        if odd := set(frame[column]) - set(values):
            raise SchemaError(f"{where}: {column} is {legal(odd)}, must be one of {legal(values)}")
    for column in COLUMNS[-4:]:
        bad = ~(frame[column].isna() | (np.isfinite(frame[column]) & (frame[column] >= 0)))
        if bad.any():
            row = frame[bad].iloc[0]
            raise SchemaError(
                f"{where}: {column} of {row['network']}/{row['layer']} is {row[column]}, must be "
                "finite and 0 or more, or empty"
            )
    return frame


def traffic_scores(frame: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """Errors in % per set, memory and mapping, of the models and of `every_byte_once`.

    Subject "traffic/<memory>/<mapping>": `mape` of the networks' totals (layers of unknown traffic
    count as misses), `incomplete` networks that lack such layers, and `left_out` networks whose
    total is not counted, or 0. Subject "traffic_layers/<memory>/<mapping>":
    `sum_error` (sum of absolute errors over sum of bytes), `mape` of layers of more than 1 KiB,
    and `left_out` layers whose traffic is not known on both sides.
    """
    rows: list[SummaryRow] = []
    for (data_set, memory, mapping), group in grouped(frame, "set", "memory", "mapping"):
        totals, layers = group[group["layer"] == ""], group[group["layer"] != ""]
        for model, column in MODELS.items():
            subject = f"{memory}/{mapping}"
            key = (platform, data_set, f"traffic/{subject}", model)
            rows += _total_scores(key, totals, column)
            key = (platform, data_set, f"traffic_layers/{subject}", model)
            rows += _layer_scores(key, layers, column)
    return rows


_Key = tuple[str, str, str, str]


def _total_scores(key: _Key, totals: pd.DataFrame, column: str) -> Iterator[SummaryRow]:
    known = totals[totals["counted_bytes"] > 0]
    lacking = float((known["unknown_layers"] > 0).sum())
    value = mape(known["counted_bytes"].to_numpy(), known[column].to_numpy()) if len(known) else nan
    yield SummaryRow(*key, "mape", value, "%", len(known))
    yield SummaryRow(*key, "incomplete", lacking, "1", len(known))
    yield SummaryRow(*key, "left_out", float(len(totals) - len(known)), "1", len(totals))


def _layer_scores(key: _Key, layers: pd.DataFrame, column: str) -> Iterator[SummaryRow]:
    known = layers[layers["counted_bytes"].notna() & layers[column].notna()]
    error, whole = (known[column] - known["counted_bytes"]).abs(), known["counted_bytes"].sum()
    share = float(100 * error.sum() / whole) if whole else nan
    yield SummaryRow(*key, "sum_error", share, "%", len(known))
    large = known[known["counted_bytes"] > _LEAST_BYTES]
    value = mape(large["counted_bytes"].to_numpy(), large[column].to_numpy()) if len(large) else nan
    yield SummaryRow(*key, "mape", value, "%", len(large))
    yield SummaryRow(*key, "left_out", float(len(layers) - len(known)), "1", len(layers))


def traffic_section(scores: Sequence[SummaryRow]) -> Section:
    """The errors of the predicted mapping, one row per set of networks and memory."""
    found = {row.key[1:]: row for row in scores}
    lines = []
    for data_set, subject in dict.fromkeys((row.data_set, row.subject) for row in scores):
        stem, _, rest = subject.partition("/")
        memory, _, mapping = rest.partition("/")
        if stem != "traffic" or mapping != "predicted":
            continue
        layers = (data_set, f"traffic_layers/{rest}")
        total, once = (found[data_set, subject, model, "mape"] for model in MODELS)
        layers_once = found[*layers, "every_byte_once", "mape"]
        lines.append(
            {
                "Networks": SET_TEXT.get(data_set, data_set),
                "Memory": memory,
                "n": total.n,
                "Incomplete": int(found[data_set, subject, "model", "incomplete"].value),
                "Left out": int(found[data_set, subject, "model", "left_out"].value),
                "Total, MAPE (%)": total.value,
                "Every byte once, as if on chip (%)": once.value,
                "Layers": found[*layers, "model", "sum_error"].n,
                "Layers left out": int(found[*layers, "model", "left_out"].value),
                "Layers, sum error (%)": found[*layers, "model", "sum_error"].value,
                "Layers, MAPE (%)": found[*layers, "model", "mape"].value,
                "Every byte once, as if on chip: layers, MAPE (%)": layers_once.value,
            }
        )
    notes = (
        "Bytes read and written per inference, as the platform's toolchain counts them. Every byte "
        "once, as if on chip: of the layers as executed, weights read once from where they are "
        "kept, activations read and written once as if they fitted on the chip (in SRAM where the "
        "platform has one). Where a platform keeps activations in DRAM, it has only weights for "
        "DRAM and too much for SRAM, and is easily beaten.",
        "Incomplete are networks with layers of unknown traffic, which their totals lack; left out "
        "those whose total is not counted or 0, and layers whose traffic is not counted or "
        "unknown. The layers' MAPE is over those of more than 1 KiB, their sum error (sum of "
        "absolute errors over sum of bytes) over all.",
    )
    table = Table("traffic", "Bytes per memory", pd.DataFrame(lines), notes)
    return Section("Memory traffic", (), (table,))
