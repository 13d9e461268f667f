"""The papers' tables: ours computed as the metrics say, theirs as printed."""

from math import isnan, nan

import pandas as pd
import pytest

from evaluation import paper_tables
from evaluation.contributions import error_contributions
from evaluation.metrics import mape
from evaluation.scores import all_scores, confusions
from evaluation.table_format import Table, format_value, to_markdown, write_table


@pytest.fixture(scope="module")
def scores(networks, layers, mapping):
    return all_scores("cpu", networks, layers, mapping)


def ours(table: Table) -> pd.DataFrame:
    return table.frame[table.frame["Work"] == "Strata"]


def test_paper_numbers_are_complete():
    numbers = paper_tables.paper_numbers()
    # 12 networks; 2 quoted + 8 x 3; 4 x 3; 10 x 2; 4 x 3
    assert numbers.groupby("table").size().to_dict() == {
        **{"table2": 12, "table3": 26, "table4": 12, "table5": 20, "table6": 12}
    }
    assert not numbers.duplicated(["table", "subject", "device", "model", "metric", "by"]).any()
    best = numbers.query("table == 'table5' and device == 'ZCU102' and model == 'mixed'")
    assert best.set_index("metric")["value"].to_dict() == {"mae": 0.87, "mape": 3.47}


def test_table2_sets_operations_side_by_side(networks):
    frame = paper_tables.table2(networks).frame.set_index("Network")
    assert len(frame) == 12
    assert frame.loc["resnet50", "ANNETTE (Gop)"] == 7.7
    assert frame["Ratio"].tolist() == pytest.approx([1.0] * 12)


def test_table2_keeps_networks_that_were_not_measured(networks):
    frame = paper_tables.table2(networks[networks["network"] != "yolo_v3"]).frame
    row = frame.set_index("Network").loc["yolo_v3"]
    assert isnan(row["Operations (Gop)"])
    assert row["ANNETTE (Gop)"] == 65.4


def test_table3_scores_convolutions_of_table2(scores, layers):
    table = ours(paper_tables.table3(scores, "cpu"))
    assert table["Model type"].tolist()[:4] == ["Roofline", "Ref. roofline", "Statistical", "Mixed"]
    assert set(table["n"]) == {12}
    rows = layers[
        (layers["set"] == "table2")
        & (layers["operation"] == "convolution")
        & (layers["kind"] == "mixed")
        & (layers["mapping"] == "predicted")
    ]
    mixed = table[(table["Model type"] == "Mixed") & (table["Mapping"] == "predicted")]
    assert mixed["MAPE (%)"].item() == pytest.approx(mape(rows.measured_s, rows.estimated_s))
    error_s = (rows.estimated_s - rows.measured_s).abs().mean()
    assert mixed["MAE (ms)"].item() == pytest.approx(1e3 * error_s)


def test_table3_holds_what_annette_compared_with(scores):
    table = paper_tables.table3(scores, "cpu")
    titan = table.frame[table.frame["Device"] == "Titan X"]
    assert titan["RMSPE (%)"].tolist() == [58.29, 39.97]
    assert "RMSPE lies below" in table.notes[0]


def test_table4_sums_pooling_and_says_why_there_is_no_score(mapping):
    table = ours(paper_tables.table4(mapping, "cpu"))
    rows = table.set_index(["Data set", "Layer type"])
    pooling = rows.loc[("20% of the benchmarks", "pooling")]
    assert pooling["Total samples"] == 150
    assert isnan(pooling["F1 score"])
    assert pooling["Remark"] == "no fused pair in the samples; no pair predicted fused"
    # TP 80, FP 5, FN 15: 160 / 180
    add = rows.loc[("20% of the benchmarks", "add")]
    assert add["F1 score"] == pytest.approx(160 / 180)
    assert ("Evaluation networks", "add") in rows.index
    # neither other producers nor insertion belong here
    assert "dense" not in to_markdown(table)
    assert "concat" not in to_markdown(table)


def test_confusions_of_a_pair_are_added_per_set(mapping):
    counts = confusions(pd.concat([mapping, mapping]))
    assert counts["validation", "convolution", "add"].true_positive == 160
    assert counts["networks", "convolution", "add"].samples == 200


def test_table5_has_each_set_their_union_and_both_mappings(scores):
    table = ours(paper_tables.table5(scores, "cpu"))
    assert table.groupby(["Mapping", "Networks"])["n"].first().to_dict() == {
        ("oracle", "Both sets"): 16,
        ("oracle", "Keras applications"): 4,
        ("oracle", "Networks of table 2"): 12,
        ("predicted", "Both sets"): 16,
        ("predicted", "Keras applications"): 4,
        ("predicted", "Networks of table 2"): 12,
    }


def test_table6_has_spearman(scores):
    table = paper_tables.table6(scores, "cpu")
    assert set(ours(table)["n"]) == {34}
    assert ours(table)["Spearman's ρ"].between(0.9, 1).all()
    theirs = table.frame[table.frame["Work"] == "ANNETTE"]
    assert theirs["Spearman's ρ"].tolist() == [0.971, 0.971, 0.988, 0.988]


def test_tables_without_our_numbers_still_show_the_papers(networks):
    scores = all_scores("cpu", networks[networks["set"] == "keras"])
    assert ours(paper_tables.table3(scores, "cpu")).empty
    assert ours(paper_tables.table6(scores, "cpu")).empty
    assert len(paper_tables.table6(scores, "cpu").frame) == 4


def test_layers_timed_at_zero_are_counted_not_scored(networks, layers):
    layers = layers.copy()
    first = layers.index[0]
    layers.loc[first, "measured_s"] = 0.0
    found = [r for r in all_scores("cpu", networks, layers) if r.metric == "unresolved"]
    assert [(r.subject, r.value, r.n) for r in found] == [("layers/convolution/predicted", 1.0, 12)]


def incomplete(networks, layers):
    """Inception v1's convolution without a time, in all of its rows."""
    is_it = layers["network"] == "inception_v1"
    lost = is_it & (layers["operation"] == "convolution")
    layers = layers.copy()
    layers.loc[lost, "status"] = "untimed"
    layers.loc[lost, "estimated_s"] = nan
    return networks.assign(untimed=(networks["network"] == "inception_v1").astype(int)), layers


def test_totals_that_lack_layers_stay_in_the_errors_and_are_counted(networks, layers, scores):
    found = all_scores("cpu", *incomplete(networks, layers))
    for table in (paper_tables.table5, paper_tables.table6):
        whole = table(scores, "cpu")
        assert "Incomplete" not in whole.frame
        assert not any("Incomplete" in note for note in whole.notes)
    table = paper_tables.table5(found, "cpu")
    counts = ours(table).groupby("Networks")["Incomplete"].agg(["min", "max"])
    assert counts.loc["Networks of table 2"].tolist() == [1, 1]
    assert counts.loc["Keras applications"].tolist() == [0, 0]
    assert set(ours(table)["n"]) == {4, 12, 16}
    whole = ours(paper_tables.table5(scores, "cpu"))
    assert ours(table)["MAPE (%)"].tolist() == whole["MAPE (%)"].tolist()
    assert "Incomplete are networks" in table.notes[-1]
    assert "| 1 | 12 |" in to_markdown(table.frame)
    assert "Incomplete" not in paper_tables.table6(found, "cpu").frame
    (one,) = (
        row.value
        for row in found
        if row.subject == "network/inception_v1/predicted"
        if (row.model, row.metric) == ("mixed", "untimed")
    )
    assert one == 1


def test_layers_of_unknown_time_are_in_no_error_and_counted(networks, layers):
    networks, layers = incomplete(networks, layers)
    table = paper_tables.table3(all_scores("cpu", networks, layers), "cpu")
    assert set(ours(table)["n"]) == {11}
    assert set(ours(table)["Untimed"]) == {1}
    assert "Untimed are layers" in table.notes[-1]
    by_operation = paper_tables.layers_by_operation(all_scores("cpu", networks, layers), "cpu")
    rows = by_operation.frame.set_index(["Networks", "Layer type"])[["Untimed", "n"]]
    assert rows.loc[("Networks of table 2", "convolution")].tolist() == [1, 11]
    assert rows.loc[("Networks of table 2", "concat")].tolist() == [0, 12]
    # an operation without any time is no row of zeros
    only = layers["network"] == "inception_v1"
    scores = all_scores("cpu", networks[networks["network"] == "inception_v1"], layers[only])
    (row,) = (
        row
        for row in paper_tables.layers_by_operation(scores, "cpu").frame.to_dict("records")
        if row["Layer type"] == "convolution"
    )
    assert (isnan(row["Mixed (%)"]), row["Untimed"], row["n"]) == (True, 1, 0)
    assert ours(paper_tables.table3(scores, "cpu"))["MAPE (%)"].isna().all()


def test_error_sources_of_unknown_time_are_explained(networks, layers):
    sums = error_contributions(*incomplete(networks, layers))
    table = paper_tables.contribution_table(sums, "mixed", "predicted")
    assert "unknown time: convolution" in set(table.frame["Source"])
    assert "does not know" in table.notes[-1]


@pytest.mark.parametrize(
    ("value", "heading", "text"),
    [
        (float("nan"), "MCC", "–"),
        (None, "MCC", "–"),
        (0.98765, "MCC", "0.988"),
        (12.0, "n", "12"),
        (31733.0, "Total samples", "31,733"),
        (3.466, "MAPE (%)", "3.47"),
        ("text", "n.a.", "text"),
    ],
)
def test_cells(value, heading, text):
    assert format_value(value, heading) == text


def test_written_tables_keep_full_precision_and_notes(tmp_path):
    frame = pd.DataFrame({"Work": ["a|b"], "MAPE (%)": [1 / 3]})
    csv, markdown = write_table(Table("t", "Title", frame, ("Note.",)), tmp_path)
    assert pd.read_csv(csv)["MAPE (%)"].item() == pytest.approx(1 / 3, abs=1e-15)
    assert markdown.read_text() == (
        "### Title\n\n| Work | MAPE (%) |\n| --- | ---: |\n| a\\|b | 0.33 |\n\nNote.\n"
    )
