"""Adjustments: what is scaled by what, and what of a bundle's section is refused."""

from dataclasses import replace

import pytest
from small_platform import network, platform, rows

from strata.adjustment import (
    FORMS,
    Adjustment,
    MeasuredNetwork,
    adjustment_from_dict,
    adjustment_to_dict,
    layer_part,
)
from strata.errors import ArtefactError
from strata.estimate import estimate
from strata.platform_model import NetworkOverhead, load_platform_model, save_platform_model
from strata.report import headline, json_text

ADJUSTMENT = Adjustment(
    form="parts and constants",
    factor=2.0,
    original="board",
    sha256="ab",
    kind="mixed",
    networks=(MeasuredNetwork("one", 1e-3), MeasuredNetwork("two", 2e-3)),
    before_percent=40.0,
    after_percent=3.0,
    scales={"compute": 3.0, "memory/pooling": 5.0, "per_network": 0.5},
    per_network_s=1e-3,
    per_layer_s=1e-4,
    interval_factor=1.5,
)


def test_finer_parts_win_and_unnamed_ones_take_the_common_factor():
    assert ADJUSTMENT.scale("compute/convolution") == 3.0
    assert ADJUSTMENT.scale("memory/pooling") == 5.0
    assert ADJUSTMENT.scale("memory/dense") == 2.0
    assert ADJUSTMENT.scale("host") == 2.0


def test_layers_belong_to_where_they_run_then_to_what_bounds_them():
    assert layer_part("convolution", "host", "compute") == "host"
    assert layer_part("transposed_convolution", "", "compute") == "compute/convolution"
    assert layer_part("max_pooling", "", "memory") == "memory/pooling"
    assert layer_part("relu6 of the future", "", "overhead") == "small/other"


def test_overhead_is_scaled_and_constants_come_on_top():
    found = ADJUSTMENT.overhead(NetworkOverhead(4e-3, 2e-4, 1e-9, 3e-9))
    assert found == NetworkOverhead(4e-3 * 0.5 + 1e-3, 2e-4 * 2 + 1e-4, 2e-9, 6e-9)


def test_estimates_are_those_of_the_new_set_up():
    # by hand (small_platform): convolution 1 ms, compute; pooling 1 ms, memory; no time else
    model = replace(platform(overhead=NetworkOverhead(4e-3)), adjustment=ADJUSTMENT)
    found = estimate(network(), model, "roofline")
    times = {name: row.time_s for name, row in rows(found).items()}
    assert times["convolution"] == pytest.approx(3e-3, rel=1e-2)
    assert times["pooling"] == pytest.approx(5e-3, rel=1e-2)
    timed = sum(bool(time_s) for time_s in times.values())
    assert found.overhead_s == pytest.approx(4e-3 * 0.5 + 1e-3 + 1e-4 * timed)
    assert found.total_s == pytest.approx(sum(times.values()) + found.overhead_s)
    shares = sum(row.share for row in found.layers)
    assert shares == pytest.approx(1 - found.overhead_s / found.total_s)


def test_a_bundle_keeps_it_and_every_report_says_so(tmp_path):
    original = platform()
    header = replace(original.header, recalibrated=ADJUSTMENT.summary)
    save_platform_model(
        replace(original, header=header, adjustment=ADJUSTMENT), tmp_path / "a.strata"
    )
    loaded = load_platform_model(tmp_path / "a.strata")
    assert loaded.adjustment == ADJUSTMENT
    assert loaded.header == header
    found = estimate(network(), loaded, "roofline")
    assert "recalibrated from board with 2 measured networks" in headline(found)
    assert '"recalibrated": "board' in json_text(found)
    plain = estimate(network(), original, "roofline")
    assert "recalibrated" not in headline(plain) + json_text(plain)


def test_round_trip():
    assert adjustment_from_dict(adjustment_to_dict(ADJUSTMENT), "here") == ADJUSTMENT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": "magic"}, f"legal: {', '.join(sorted(FORMS))}"),
        ({"factor": 0.0}, "factor is 0.0, must be a number above 0"),
        ({"factor": float("nan")}, "factor is nan"),
        ({"factor": True}, "factor is True"),
        ({"factor": "2"}, "factor is '2'"),
        ({"scales": {"compute": -1.0}}, "scale of compute is -1.0"),
        ({"scales": {"engine": 1.0}}, "unknown part 'engine', legal: compute"),
        ({"scales": {"host/convolution": 1.0}}, "unknown part"),
        ({"scales": [1.0]}, "items"),
        ({"per_layer_s": -1e-9}, "per_layer_s is -1e-09, must be a number >= 0"),
        ({"interval_factor": 0.5}, "interval_factor is 0.5"),
        ({"networks": [{"name": "n", "time_s": 0}]}, "time_s is 0"),
        ({"networks": [{"name": "n"}]}, "time_s"),
        ({"networks": 3}, "int"),
        ({"surprise": 3}, "surprise"),
        ({"sha256": 3}, "sha256 is 3, must be text"),
    ],
)
def test_what_is_not_legal_is_refused_in_one_line(change, said):
    with pytest.raises(ArtefactError) as caught:
        adjustment_from_dict(adjustment_to_dict(ADJUSTMENT) | change, "here: adjustment")
    assert said in str(caught.value)
    assert str(caught.value).startswith("here: adjustment: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "text", {}])
def test_what_is_no_adjustment_is_refused(data):
    with pytest.raises(ArtefactError, match="here: "):
        adjustment_from_dict(data, "here")
