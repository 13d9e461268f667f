"""Coverage and width of intervals, worked out by hand, and what reports make of them."""

import pandas as pd
import pytest

from evaluation.coverage import (
    COLUMNS,
    EVERY_SET,
    check_coverage,
    coverage_rows,
    coverage_scores,
    coverage_section,
)
from evaluation.report import render_markdown
from strata.errors import SchemaError


def row(data_set, layer, measured_s, width, level=0.9, in_range=True, operation="convolution"):
    """An estimate of 1 s with an interval from 1 / width to width."""
    return {
        **{"set": data_set, "network": "net", "layer": layer, "mapping": "predicted"},
        **{"operation": operation if layer else "", "level": level, "in_range": in_range},
        **{"measured_s": measured_s, "estimated_s": 1.0, "low_s": 1 / width, "high_s": width},
    }


@pytest.fixture
def frame():
    return pd.DataFrame(
        [
            row("table2", "", 1.05, 1.1),
            row("table2", "", 1.2, 1.1),
            row("keras", "", 0.8, 1.5),
            row("keras", "", 0.8, 1.1, level=0.5),
            row("table2", "a", 1.9, 2.0),
            row("table2", "b", 2.1, 2.0, in_range=False),
            row("keras", "c", 1.0, 1.2, operation="add"),
        ],
        columns=list(COLUMNS),
    )


def scores(frame):
    return {row.key[1:]: (row.value, row.n) for row in coverage_scores(frame, "toy")}


def test_coverage_and_width_by_hand(frame):
    found = scores(frame)
    networks = ("intervals/networks/predicted", "mixed")
    assert found["table2", *networks, "coverage_90"] == (50.0, 2)
    assert found["keras", *networks, "coverage_90"] == (100.0, 1)
    assert found["keras", *networks, "coverage_50"] == (0.0, 1)
    assert found[EVERY_SET, *networks, "coverage_90"] == (pytest.approx(200 / 3), 3)
    assert found[EVERY_SET, *networks, "width_90"] == (pytest.approx(10.0), 3)
    layers = (EVERY_SET, "intervals/layers/predicted", "mixed", "coverage_90")
    assert found[layers] == (pytest.approx(200 / 3), 3)
    out = (EVERY_SET, "intervals/layers_out_of_range/predicted", "mixed", "coverage_90")
    assert found[out] == (0.0, 1)
    add = (EVERY_SET, "intervals/layers/add/predicted", "mixed", "width_90")
    assert found[add] == (pytest.approx(20.0), 1)


def test_report_says_them(frame):
    section = coverage_section(frame, coverage_scores(frame, "toy"))
    networks, layers = section.tables
    assert networks.frame["n"].tolist() == [2, 1, 3]
    assert networks.frame["Coverage (%)"].tolist() == pytest.approx([50, 100, 200 / 3])
    assert layers.frame["Layer type"].tolist() == [
        "layers",
        "layers_out_of_range",
        "convolution",
        "add",
    ]
    assert "interval_calibration" in render_markdown("toy", [section])


def test_estimates_without_intervals_give_no_rows():
    class Plain:
        """An estimate of an older platform model."""

        intervals_s: dict = {}  # noqa: RUF012
        total_s, layers = 1.0, ()

    class Measured:
        """A profile of one second."""

        time_s = 1.0

    record = {"set": "keras", "network": "net"}
    assert list(coverage_rows(record, Measured(), None, [("predicted", Plain())])) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mapping": "guessed"}, "mapping is guessed"),
        ({"low_s": -1.0}, "low_s of net/ is -1.0"),
        ({"high_s": float("nan")}, "high_s of net/ is nan"),
    ],
)
def test_tables_that_break_rules_are_refused(frame, change, named):
    with pytest.raises(SchemaError, match=named):
        check_coverage(frame.assign(**change))
    with pytest.raises(SchemaError, match="no column level"):
        check_coverage(frame.drop(columns="level"))
