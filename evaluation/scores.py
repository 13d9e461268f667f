"""From checked tables to tidy scores: rows of summary.csv.

Every printed table and every entry of summary.csv comes from here, so the two cannot differ.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from evaluation.frames import COUNTS, KINDS, UNTIMED
from evaluation.metrics import Confusion, f1, mae, mape, mcc, rmspe, spearman
from evaluation.summary import SummaryRow
from strata.errors import StrataError

ALL_SETS = "table2+keras"
POOLING = ("max_pooling", "average_pooling")


def grouped(frame: pd.DataFrame, *keys: str) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """The groups of `keys` as text, in order of appearance."""
    for key, group in frame.groupby(list(keys), sort=False):
        yield [str(part) for part in key], group


def in_order(values: pd.Series, order: tuple[str, ...]) -> list[str]:
    """The distinct values: those of `order` first, then the others as they come."""
    found = list(dict.fromkeys(values))
    return [name for name in order if name in found] + [n for n in found if n not in order]


def _time_scores(key: tuple[str, str, str, str], group: pd.DataFrame) -> Iterator[SummaryRow]:
    """Scores of times in seconds; `key` is platform, data set, subject, model."""
    measured, estimated = group["measured_s"].to_numpy(), group["estimated_s"].to_numpy()
    try:
        scores = (
            ("mae", mae(measured, estimated), "s"),
            ("rmspe", rmspe(measured, estimated), "%"),
            ("mape", mape(measured, estimated), "%"),
            ("spearman", spearman(measured, estimated).value, "1"),
        )
    except StrataError as error:
        raise StrataError(f"{' '.join(key)}: {error}") from None
    for metric, value, unit in scores:
        yield SummaryRow(*key, metric, value, unit, len(group))


def _with_union(networks: pd.DataFrame) -> pd.DataFrame:
    """The networks, and once more those of both named sets under the name of their union."""
    both = networks[networks["set"].isin(("table2", "keras"))]
    if both["set"].nunique() < 2:
        return networks
    return pd.concat([networks, both.assign(set=ALL_SETS)], ignore_index=True)


def network_scores(networks: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """MAE (s), RMSPE, MAPE (%) and Spearman per set, mapping and model kind.

    Subject "networks/<mapping>"; the sets table2 and keras also together as "table2+keras".
    `incomplete` counts networks whose totals lack layers without a known time: they are in the
    errors as they are, a lower bound.
    """
    rows: list[SummaryRow] = []
    for key, group in grouped(_with_union(networks), "set", "mapping", "kind"):
        data_set, mapping, kind = key
        place = (platform, data_set, f"networks/{mapping}", kind)
        rows += _time_scores(place, group)
        lacking = float((group[UNTIMED] > 0).sum())
        rows.append(SummaryRow(*place, "incomplete", lacking, "1", len(group)))
    return rows


def single_network_scores(networks: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """Measured and estimated seconds, the signed error in % and the untimed layers of a network.

    Subject "network/<name>/<mapping>"; the measured time has subject "network/<name>" and model
    "measured".
    """
    rows = []
    for row in networks.to_dict("records"):
        key = (platform, row["set"], f"network/{row['network']}/{row['mapping']}", row["kind"])
        measured_s, estimated_s = float(row["measured_s"]), float(row["estimated_s"])
        rows.append(SummaryRow(*key, "estimated", estimated_s, "s", 1))
        rows.append(SummaryRow(*key, "signed_error", 100 * (estimated_s / measured_s - 1), "%", 1))
        rows.append(SummaryRow(*key, UNTIMED, float(row[UNTIMED]), "1", 1))
    for row in networks.drop_duplicates(["set", "network"]).to_dict("records"):
        key = (platform, row["set"], f"network/{row['network']}", "measured")
        rows.append(SummaryRow(*key, "measured", float(row["measured_s"]), "s", 1))
    return rows


def noise_scores(networks: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """Median and largest half-to-half difference of the measured networks, in %, per set."""
    rows = []
    single = networks.drop_duplicates(["set", "network"]).dropna(subset=["spread"])
    for (data_set,), group in grouped(single, "set"):
        spread = 100 * np.abs(group["spread"].to_numpy(dtype=np.float64))
        key = (platform, data_set, "networks", "measured")
        rows.append(SummaryRow(*key, "spread_median", float(np.median(spread)), "%", len(group)))
        rows.append(SummaryRow(*key, "spread_max", float(np.max(spread)), "%", len(group)))
    return rows


def layer_scores(layers: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """MAE (s), RMSPE, MAPE (%) and Spearman per set, mapping, operation and model kind.

    Subject "layers/<operation>/<mapping>". Matched layers only; layers whose measured time is
    zero (below the profiler's resolution) have no percentage error and are counted apart, as
    metric "unresolved", and so are those that are estimated without a time, as "untimed".
    """
    rows = []
    either = layers[layers["status"].isin(("matched", UNTIMED))]
    for key, group in grouped(either, "set", "mapping", "operation", "kind"):
        data_set, mapping, operation, kind = key
        place = (platform, data_set, f"layers/{operation}/{mapping}", kind)
        matched = group[group["status"] == "matched"]
        timed = matched[matched["measured_s"] > 0]
        for metric, count in (
            ("unresolved", len(matched) - len(timed)),
            (UNTIMED, len(group) - len(matched)),
        ):
            if count:
                rows.append(SummaryRow(*place, metric, float(count), "1", len(group)))
        if len(timed):
            rows += _time_scores(place, timed)
    return rows


def confusions(mapping: pd.DataFrame) -> dict[tuple[str, str, str], Confusion]:
    """(set, producer, consumer) -> counts; consumer "pooling" sums max and average pooling."""
    pooled = mapping[mapping["consumer_operation"].isin(POOLING)]
    rows = pd.concat([mapping, pooled.assign(consumer_operation="pooling")], ignore_index=True)
    counts: dict[tuple[str, str, str], Confusion] = {}
    for row in rows.to_dict("records"):
        key = (row["set"], row["producer_operation"], row["consumer_operation"])
        one = Confusion(*(int(row[name]) for name in COUNTS))
        counts[key] = counts[key] + one if key in counts else one
    return counts


def mapping_scores(mapping: pd.DataFrame, platform: str) -> list[SummaryRow]:
    """Samples, F1 and MCC per set and pair; subject "mapping/<producer>-><consumer>"."""
    rows = []
    for (data_set, producer, consumer), counts in confusions(mapping).items():
        key = (platform, data_set, f"mapping/{producer}->{consumer}", "mapping")
        rows.append(SummaryRow(*key, "samples", float(counts.samples), "1", counts.samples))
        rows.append(SummaryRow(*key, "f1", f1(counts).value, "1", counts.samples))
        rows.append(SummaryRow(*key, "mcc", mcc(counts).value, "1", counts.samples))
    return rows


def all_scores(
    platform: str,
    networks: pd.DataFrame,
    layers: pd.DataFrame | None = None,
    mapping: pd.DataFrame | None = None,
) -> list[SummaryRow]:
    """Every score of the checked tables, ready for `append_summary`."""
    rows = network_scores(networks, platform) + single_network_scores(networks, platform)
    rows += noise_scores(networks, platform)
    if layers is not None:
        rows += layer_scores(layers, platform)
    if mapping is not None:
        rows += mapping_scores(mapping, platform)
    return rows


def pivot(rows: list[SummaryRow], data_set: str, subject: str) -> pd.DataFrame:
    """model x metric of one data set and subject, model kinds in the papers' order.

    Times in ms. Column `n` counts the values; empty where nothing was scored.
    """
    chosen = [row for row in rows if (row.data_set, row.subject) == (data_set, subject)]
    table: dict[str, dict[str, float]] = {}
    for row in chosen:
        value = 1e3 * row.value if row.unit == "s" else row.value
        table.setdefault(row.model, {})[row.metric] = value
        table[row.model]["n"] = row.n
    frame = pd.DataFrame.from_dict(table, orient="index")
    return frame.reindex([kind for kind in (*KINDS, "mapping") if kind in table])
