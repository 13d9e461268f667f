"""Errors of traffic by hand, and the chapter that only platforms with traffic have."""

from math import inf, isnan, nan

import numpy as np
import pandas as pd
import pytest

from benchmark.matcher import match
from evaluation.facts import Facts
from evaluation.report import render_markdown
from evaluation.report_sections import Evaluation, report_sections
from evaluation.traffic import (
    COLUMNS,
    check_traffic,
    traffic_rows,
    traffic_scores,
    traffic_section,
)
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.estimate import estimate_executed
from strata.forest import Forest
from strata.graph import with_bits
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel
from strata.profile import ExecutedNode, Profile
from strata.traffic import Traffic, TrafficModel, Trees

RECORD = {"set": "table2", "network": "small"}


def trees(factor: float) -> Trees:
    zero = np.array([0])
    leaf = Forest(np.array([-1]), np.array([0.0]), zero, zero, np.array([np.log(factor)]), zero)
    return Trees(leaf, ("bytes",))


def network():
    """At 8 bits: 128 read, 584 weights, 512 written; then 512 and 128."""
    build = GraphBuilder("small")
    source = build.input(1, 2, 8, 8, name="in")
    build.convolution(source, 8, 6, name="convolution", padding="same")
    build.pooling("convolution", "max", 2, name="pooling")
    return with_bits(build.build(), 8)


def rows(pooling_flash: float | None = 0.0, known: bool = True) -> pd.DataFrame:
    graph = network()
    traffic = {"sram": 1000.0, "flash": 600.0}
    second = {"sram": 2000.0} | ({} if pooling_flash is None else {"flash": pooling_flash})
    nodes = (
        ExecutedNode("a", "k", ("convolution",), (), None, 1.0, (), "", traffic),
        ExecutedNode("b", "k", ("pooling",), ("a",), None, 1.0, (), "", second),
    )
    profile = Profile("told", nodes, (2.0,), 2.0, bits=8)
    found = match(graph, profile)
    models = {
        "convolution": {
            "sram": TrafficModel({"input_elements": 1.0}, trees(10.0)),
            "flash": TrafficModel({"weight_elements": 1.0}, trees(1.0)),
        },
        "max_pooling": {"sram": TrafficModel({"bytes": 1.0}, trees(2.0)), "flash": TrafficModel()},
    }
    header = Header("told", "0", "2025-01-01T00:00:00+00:00", "test", 0, bits=8)
    if not known:
        del models["max_pooling"]
    roofs = {
        name: {"roofline": Roofline(1e9, 1e9, 1e-6)} for name in ("convolution", "max_pooling")
    }
    model = PlatformModel(header, roofs, MappingModel(), traffic=Traffic(("sram", "flash"), models))
    executed = [layer.executed for layer in found.layers]
    estimates = [
        (mapping, estimate_executed(graph, executed, model, kind))
        for mapping in ("predicted", "oracle")
        for kind in ("roofline", "mixed")
    ]
    return check_traffic(pd.DataFrame(traffic_rows(RECORD, profile, found, estimates)))


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row["counted_bytes"], row["estimated_bytes"], row["baseline_bytes"]


def test_rows_of_a_network_and_its_layers():
    frame = rows()
    assert tuple(sorted(frame.columns)) == tuple(sorted(COLUMNS))
    assert len(frame) == 2 * 2 * 3  # mappings, memories, total and two layers
    place = {"mapping": "predicted"}
    layer = one(frame, layer="convolution", memory="sram", **place)
    assert layer == pytest.approx((1000, 1280, 128 + 512))
    assert one(frame, layer="convolution", memory="flash", **place) == pytest.approx(
        (600, 584, 584)
    )
    assert one(frame, layer="", memory="sram", **place) == pytest.approx((3000, 2560, 1280))
    assert one(frame, layer="", memory="flash", **place) == pytest.approx((600, 584, 584))


def test_what_the_toolchain_does_not_count_is_unknown_in_the_total():
    counted, estimated, _ = one(rows(None), layer="", memory="flash", mapping="oracle")
    assert isnan(counted)
    assert estimated == pytest.approx(584)


def value(scores, subject, model, metric):
    (row,) = (s for s in scores if (s.subject, s.model, s.metric) == (subject, model, metric))
    return row.value, row.n


def test_scores_by_hand():
    scores = traffic_scores(rows(), "told")
    total = "traffic/sram/predicted"
    assert value(scores, total, "model", "mape") == (pytest.approx(100 * 440 / 3000), 1)
    assert value(scores, total, "every_byte_once", "mape") == (pytest.approx(100 * 172 / 300), 1)
    layers = "traffic_layers/sram/predicted"
    # 1,280 for 1,000 and 1,280 for 2,000; only the second has more than 1 KiB
    assert value(scores, layers, "model", "sum_error") == (pytest.approx(100 * 1000 / 3000), 2)
    assert value(scores, layers, "model", "mape") == (pytest.approx(36.0), 1)
    # the pooling's 0 bytes of flash are right, and part of no relative error
    assert value(scores, "traffic_layers/flash/oracle", "model", "sum_error") == (
        pytest.approx(100 * 16 / 600),
        2,
    )
    mape, n = value(scores, "traffic_layers/flash/oracle", "model", "mape")
    assert (isnan(mape), n) == (True, 0)


def test_totals_that_are_not_counted_are_left_out():
    frame = pd.concat([rows(), rows(None).assign(network="other")])
    scores = traffic_scores(frame, "told")
    assert value(scores, "traffic/flash/predicted", "model", "mape")[1] == 1
    assert value(scores, "traffic/flash/predicted", "model", "left_out") == (1.0, 2)
    assert value(scores, "traffic_layers/flash/predicted", "model", "left_out") == (1.0, 4)


def test_layers_of_unknown_traffic_are_misses_of_the_total_and_counted():
    scores = traffic_scores(rows(known=False), "told")
    total = "traffic/sram/predicted"
    # only the convolution's 1,280 of 3,000 are estimated
    assert value(scores, total, "model", "mape") == (pytest.approx(100 * 1720 / 3000), 1)
    assert value(scores, total, "model", "incomplete") == (1.0, 1)
    layers = "traffic_layers/sram/predicted"
    assert value(scores, layers, "model", "left_out") == (1.0, 2)
    assert value(scores, layers, "model", "sum_error") == (pytest.approx(28.0), 1)


def test_the_chapter_has_a_row_per_set_and_memory():
    frame = pd.concat([rows(), rows().assign(set="nasbench")])
    section = traffic_section(traffic_scores(frame, "told"))
    (table,) = section.tables
    assert table.frame["Memory"].tolist() == ["sram", "flash"] * 2
    assert table.frame["Total, MAPE (%)"].tolist()[0] == pytest.approx(14.667, abs=1e-3)
    assert "| Networks of table 2 | sram | 1 | 0 | 0 | 14.67 |" in render_markdown("T", [section])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "vram"}, "memory is vram, must be one of dram, flash, sram"),
        ({"mapping": "mine"}, "mapping is mine"),
        ({"counted_bytes": -1.0}, "counted_bytes of small/ is -1.0, must be finite"),
        ({"estimated_bytes": inf}, "estimated_bytes of small/ is inf"),
    ],
)
def test_a_broken_table_is_named(change, message):
    with pytest.raises(SchemaError, match=f"here: {message}"):
        check_traffic(rows().assign(**change), "here")
    with pytest.raises(SchemaError, match="here: no column memory, baseline_bytes"):
        check_traffic(rows().drop(columns=["memory", "baseline_bytes"]), "here")
    assert len(check_traffic(rows().assign(counted_bytes=nan))) == 12


def test_only_platforms_with_traffic_have_the_chapter(
    networks, layers, mapping, convolution_models
):
    header = Header("told", "0", "2025-01-01T00:00:00+00:00", "test", 0)
    model = PlatformModel(header, {"convolution": convolution_models}, MappingModel())
    silent = Evaluation(Facts("told", "r", "0", "now"), networks, layers, mapping, model)
    titles = [section.title for section in report_sections(silent, silent.scores)]
    assert "Memory traffic" not in titles
    assert not any("traffic" in row.subject for row in silent.scores)
    told = Evaluation(silent.facts, networks, layers, mapping, model, traffic=rows())
    assert "Memory traffic" in [s.title for s in report_sections(told, told.scores)]
