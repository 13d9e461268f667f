"""The report's chapter on unrolling shows what was fitted, its rivals, and what was not found."""

import numpy as np
import pandas as pd
import pytest

from evaluation.report import render_markdown
from evaluation.unrolling_section import (
    read_sweeps,
    sweep_figure,
    unrolling_section,
    unrolling_table,
)
from model_gen.unrolling import fit_unrolling, sweep_curves
from strata.errors import FitError
from strata.execution import FEATURES


def sweeps(size=8, points=32) -> pd.DataFrame:
    """Time grows in steps of `size` channels, and evenly with filters."""
    rows = []
    for feature, step in (("channels", size), ("filters", 1)):
        for x in range(1, points + 1):
            row = dict.fromkeys(FEATURES, 1.0) | {feature: float(x), "ops": 1e6 * x, "bytes": 1e3}
            rows.append(
                row
                | {"time_s": 1e-5 * step * np.ceil(x / step), "sweep": feature}
                | {"sweep_group": f"convolution/{feature}/0", "layer": "kernel_0"}
            )
    return pd.DataFrame(rows).assign(case_id=[f"case{i}" for i in range(len(rows))])


@pytest.fixture
def fits():
    return {"convolution": fit_unrolling(sweeps(), ["channels", "filters"])}


def test_every_dimension_has_its_row_with_evidence_or_reason(fits):
    channels, filters = unrolling_table(fits).frame.to_dict("records")
    assert (channels["s"], channels["Points"], channels["Sweeps"]) == ("8", 32, "1")
    assert channels["alpha"] == pytest.approx(0.0, abs=0.01)
    assert channels["Next best s"] != "8"
    assert channels["its residual (%)"] > 1 > channels["Residual (%)"]
    assert channels["Without unrolling (%)"] > 1
    assert channels["Why not"] == ""
    assert filters["s"] == "not identified"
    assert np.isnan(filters["alpha"])
    assert filters["Why not"] == "no size explains the sweeps better than none"


def test_the_curve_lies_on_a_sweep_that_the_equation_explains(fits):
    (curve,) = sweep_curves(sweeps(), fits["convolution"][0])
    assert curve.group == "convolution/channels/0"
    assert curve.fitted_s == pytest.approx(curve.time_s, rel=0.01)
    # 9 channels take two passes of 8
    assert curve.fitted_s[curve.x == 9] == pytest.approx(2 * curve.fitted_s[curve.x == 8], rel=0.02)


def test_the_chapter_counts_and_draws(fits):
    section = unrolling_section(fits, {"convolution": sweeps()})
    assert section.paragraphs[0].startswith("1 of 2 swept dimensions")
    (picture,) = section.pictures
    assert len(picture.figure.axes) == 2
    assert "not identified" in render_markdown("report", [section])


def test_without_sweeps_it_says_so(fits):
    assert unrolling_section(fits, {}).pictures == ()
    assert "No sweep was measured" in unrolling_section({}, {}).paragraphs[0]
    assert sweep_figure(sweeps().iloc[:0], fits["convolution"], "none") is None


def test_sweeps_are_read_from_the_tables_of_kernels_only(tmp_path):
    (tmp_path / "layers").mkdir()
    table = sweeps()
    table.loc[0, "layer"] = "tail_0"  # not the layer that the sweep is about
    table.loc[1, "sweep"] = ""
    table.to_parquet(tmp_path / "layers" / "convolution.parquet")
    assert len(read_sweeps(tmp_path)["convolution"]) == len(table) - 2
    table.drop(columns="sweep").to_parquet(tmp_path / "layers" / "add.parquet")
    with pytest.raises(FitError, match=r"add\.parquet: lacks column sweep, without which"):
        read_sweeps(tmp_path)
