"""What dominates the error: the signed error of the network totals, split by where it arises.

ANNETTE, section 6: the network's time is the sum of its layers' times, so the error of the total
is the sum of the layers' errors plus what is in one sum and not in the other.
"""

import numpy as np
import pandas as pd

from evaluation.frames import UNTIMED, check_layers, check_networks
from evaluation.summary import SummaryRow
from strata.errors import SchemaError, legal

REMAINDER = "outside the layers"
UNKNOWN_TIME = "unknown time:"
STATUS_TEXT = {
    "inserted": "inserted",
    "missing": "missing group:",
    "extra": "extra group:",
    UNTIMED: UNKNOWN_TIME,
}


def _sources(layers: pd.DataFrame) -> pd.Series:
    """Operation of a matched layer; what kind of mismatch and which operation otherwise."""
    prefix = layers["status"].map(STATUS_TEXT)
    mismatch = prefix + " " + layers["operation"]
    return layers["operation"].where(layers["status"] == "matched", mismatch)


def _error_s(table: pd.DataFrame) -> pd.Series:
    """Estimated less measured; all that was measured where no time is known, as in the total."""
    return table["estimated_s"].fillna(0.0) - table["measured_s"]


def _chosen(
    networks: pd.DataFrame, layers: pd.DataFrame, kind: str, mapping: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    def of_kind(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["kind"] == kind) & (frame["mapping"] == mapping)]

    networks, layers = of_kind(check_networks(networks)), of_kind(check_layers(layers))
    if networks.empty or layers.empty:
        raise SchemaError(
            f"error contributions: no rows of kind {kind} with {mapping} mapping in both tables"
        )
    known = layers.merge(networks[["set", "network"]], on=["set", "network"])
    totals = networks.merge(known[["set", "network"]].drop_duplicates(), on=["set", "network"])
    if totals.empty:
        raise SchemaError(
            "error contributions: no network is in both tables; layers has "
            f"{legal(layers['network'].unique())}"
        )
    return totals, known


def network_contributions(
    networks: pd.DataFrame, layers: pd.DataFrame, kind: str = "mixed", mapping: str = "predicted"
) -> pd.DataFrame:
    """Signed error per network and source, for one model kind and mapping.

    Columns: set, network, source, layers (how many), measured_s, estimated_s, error_s
    (estimated - measured), contribution (error_s over the network's measured total). The source
    is an operation, an inserted node, a missing or extra group, layers of unknown time (see
    `evaluation.frames`), or "outside the layers": time of the total that no layer row holds, which
    is the overhead per node and between nodes. The contributions of a network add up to its signed
    relative error: layers of unknown time, whose `estimated_s` is NaN, contribute all that was
    measured of them, which the total lacks.
    """
    totals, known = _chosen(networks, layers, kind, mapping)
    known = known.assign(source=_sources(known))
    keys = ["set", "network"]
    parts = known.groupby([*keys, "source"], sort=False, as_index=False).agg(
        layers=("layer", "size"),
        measured_s=("measured_s", "sum"),
        estimated_s=("estimated_s", lambda times_s: times_s.sum(min_count=1)),
    )
    held = parts.groupby(keys)[["measured_s", "estimated_s"]].sum()
    whole = totals.set_index(keys)[["measured_s", "estimated_s"]]
    rest = (whole - held).reset_index().assign(source=REMAINDER, layers=0)
    table = pd.concat([parts, rest], ignore_index=True)
    table["error_s"] = _error_s(table)
    total_s = whole["measured_s"].loc[list(zip(table["set"], table["network"], strict=True))]
    table["contribution"] = table["error_s"] / total_s.to_numpy()
    return table


def error_contributions(
    networks: pd.DataFrame, layers: pd.DataFrame, kind: str = "mixed", mapping: str = "predicted"
) -> pd.DataFrame:
    """`network_contributions` averaged over the networks, largest mean magnitude first.

    Columns: source, layers, share_of_time (mean share of the measured totals), mean_contribution
    (signed; the column adds up to the mean signed error), mean_magnitude, worst_network and
    worst_contribution. A network without the source counts as zero.
    """
    table = network_contributions(networks, layers, kind, mapping)
    totals = table.groupby(["set", "network"])["measured_s"].transform("sum")
    table = table.assign(share=table["measured_s"] / totals, size=table["contribution"].abs())
    count = len(table[["set", "network"]].drop_duplicates())
    rows = []
    for source, group in table.groupby("source", sort=False):
        worst = group.iloc[int(group["size"].to_numpy().argmax())]
        rows.append(
            {
                "source": source,
                "layers": int(group["layers"].sum()),
                "share_of_time": group["share"].sum() / count,
                "mean_contribution": group["contribution"].sum() / count,
                "mean_magnitude": group["size"].sum() / count,
                "worst_network": worst["network"],
                "worst_contribution": worst["contribution"],
            }
        )
    frame = pd.DataFrame(rows).sort_values("mean_magnitude", ascending=False, kind="stable")
    return frame.reset_index(drop=True)


def contribution_scores(
    networks: pd.DataFrame, layers: pd.DataFrame, platform: str, kind: str = "mixed"
) -> list[SummaryRow]:
    """Mean signed contribution and mean magnitude per source in %, predicted mapping.

    Data set: the sets of `networks` joined by "+"; subject "error/<source>".
    """
    data_set = "+".join(dict.fromkeys(networks["set"]))
    count = len(networks[["set", "network"]].drop_duplicates())
    rows = []
    for line in error_contributions(networks, layers, kind).to_dict("records"):
        key = (platform, data_set, f"error/{line['source']}", kind)
        for metric in ("mean_contribution", "mean_magnitude"):
            rows.append(SummaryRow(*key, metric, 100 * float(line[metric]), "%", count))
    return rows


def worst_layers(
    layers: pd.DataFrame, kind: str = "mixed", mapping: str = "predicted", count: int = 15
) -> pd.DataFrame:
    """The layers with the largest absolute error in seconds: candidates for the outlier diary.

    That of a layer of unknown time is all that was measured of it, which the total lacks.
    """
    layers = check_layers(layers)
    chosen = layers[(layers["kind"] == kind) & (layers["mapping"] == mapping)]
    error_s = _error_s(chosen)
    order = np.argsort(-error_s.abs().to_numpy(), kind="stable")[:count]
    return chosen.assign(error_s=error_s).iloc[order].reset_index(drop=True)
