"""The error of a total, split: the parts must add up."""

from math import isnan, nan

import pandas as pd
import pytest

from evaluation.contributions import (
    REMAINDER,
    contribution_scores,
    error_contributions,
    network_contributions,
    worst_layers,
)
from strata.errors import SchemaError


def network(name: str, measured_s: float, estimated_s: float) -> dict:
    return {
        **{"set": "table2", "network": name, "kind": "mixed", "mapping": "predicted"},
        **{"measured_s": measured_s, "estimated_s": estimated_s},
        **{"ops": 1, "rounds": 20, "spread": 0.01},
    }


def layer(name: str, operation: str, measured_s: float, estimated_s: float, status: str) -> dict:
    return {
        **{"set": "table2", "network": name, "layer": f"{operation}1", "operation": operation},
        **{"kind": "mixed", "measured_s": measured_s, "estimated_s": estimated_s},
        **{"share": 0.5, "status": status},
    }


@pytest.fixture
def two() -> tuple[pd.DataFrame, pd.DataFrame]:
    """a: 10 s estimated 9 s; b: 4 s estimated 5 s."""
    networks = pd.DataFrame([network("a", 10, 9), network("b", 4, 5)])
    layers = pd.DataFrame(
        [
            layer("a", "convolution", 7, 6, "matched"),
            layer("a", "reorder", 1, 0, "missing"),
            layer("a", "add", 0, 0.5, "extra"),
            layer("b", "convolution", 3, 4, "matched"),
        ]
    )
    return networks, layers


def test_by_hand(two):
    table = network_contributions(*two).set_index(["network", "source"])["contribution"]
    assert table.to_dict() == pytest.approx(
        {
            ("a", "convolution"): -0.1,
            ("a", "missing group: reorder"): -0.1,
            ("a", "extra group: add"): 0.05,
            # measured 10 - 8 = 2 s, estimated 9 - 6.5 = 2.5 s
            ("a", REMAINDER): 0.05,
            ("b", "convolution"): 0.25,
            ("b", REMAINDER): 0.0,
        }
    )


def test_means_count_absent_sources_as_zero(two):
    table = error_contributions(*two).set_index("source")
    # convolution: (-0.1 + 0.25) / 2 signed, (0.1 + 0.25) / 2 in magnitude
    assert table.loc["convolution", "mean_contribution"] == pytest.approx(0.075)
    assert table.loc["convolution", "mean_magnitude"] == pytest.approx(0.175)
    assert table.loc["convolution", "worst_network"] == "b"
    assert table.loc["missing group: reorder", "mean_contribution"] == pytest.approx(-0.05)
    # 7/10 and 3/4 of the time
    assert table.loc["convolution", "share_of_time"] == pytest.approx(0.725)
    assert table.index[0] == "convolution"


def test_parts_add_up_to_the_error_of_the_totals(networks, layers):
    for kind in ("roofline", "mixed"):
        parts = network_contributions(networks, layers, kind)
        sums = parts.groupby("network")["contribution"].sum()
        chosen = networks[(networks.kind == kind) & (networks.mapping == "predicted")]
        totals = (chosen["estimated_s"] / chosen["measured_s"] - 1).set_axis(chosen["network"])
        assert sums.to_dict() == pytest.approx(totals.to_dict())


def test_layers_without_status_count_as_matched(two):
    networks, layers = two
    table = error_contributions(networks, layers.drop(columns="status"))
    assert set(table["source"]) == {"convolution", "reorder", "add", REMAINDER}


def test_what_is_missing_for_want_of_a_time_has_a_source_of_its_own(two):
    networks, layers = two
    # b: 4 s, of which a resize of 1 s has no time: at least 4 s
    unknown = layer("b", "resize", 1, nan, "untimed")
    layers = pd.concat([layers, pd.DataFrame([unknown])], ignore_index=True)
    networks = pd.DataFrame(
        [network("a", 10, 9) | {"untimed": 0}, network("b", 4, 4) | {"untimed": 1}]
    )
    table = network_contributions(networks, layers).set_index(["network", "source"])
    resize = table.loc[("b", "unknown time: resize")]
    assert isnan(resize["estimated_s"])
    assert (resize["error_s"], resize["contribution"]) == (-1, -0.25)
    assert table.loc["b"]["contribution"].to_dict() == pytest.approx(
        {"convolution": 0.25, "unknown time: resize": -0.25, REMAINDER: 0.0}
    )
    worst = worst_layers(layers, count=4).set_index("operation")
    assert worst.loc["resize", "error_s"] == -1
    assert isnan(worst.loc["resize", "estimated_s"])
    assert "add" not in worst.index  # 0.5 s


def test_worst_layers_first(two):
    worst = worst_layers(two[1], count=2)
    assert worst["error_s"].abs().tolist() == [1, 1]


def test_summary_rows_are_percentages(two):
    rows = {(r.subject, r.metric): r for r in contribution_scores(*two, "cpu")}
    row = rows["error/convolution", "mean_contribution"]
    assert (row.value, row.unit, row.n) == (pytest.approx(7.5), "%", 2)


def test_kind_without_rows_is_named(two):
    with pytest.raises(SchemaError, match="no rows of kind roofline"):
        error_contributions(*two, kind="roofline")


def test_tables_of_different_networks_are_refused(two):
    networks, layers = two
    with pytest.raises(SchemaError, match="no network is in both"):
        error_contributions(networks, layers.assign(network="c"))
