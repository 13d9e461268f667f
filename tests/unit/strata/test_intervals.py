"""Intervals and regions of a platform model, as estimates show them, and bundles that break rules.

The hand-made platform's convolution has half-widths of log 1.1, 1.2, 1.5, 2.0 and its region holds
one layer: the one of the small network.
"""

import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_platform import leaf, network, platform, rows, with_opaque

from strata.errors import ArtefactError, SchemaError
from strata.estimate import estimate
from strata.intervals import (
    LEVELS,
    Intervals,
    NetworkSpread,
    Widening,
    Widths,
    interval,
    intervals_from_dict,
    intervals_to_dict,
    network_terms,
)
from strata.platform_model import (
    NetworkOverhead,
    PlatformModel,
    load_platform_model,
    save_platform_model,
)
from strata.plot import save_plot
from strata.report import as_dict, csv_text, table_text
from strata.traffic import Trees
from strata.validity import Region, Validity

WIDTHS = (log(1.1), log(1.2), log(1.5), log(2.0))
WIDE = (log(2.0), log(4.0), log(6.0), log(8.0))
RANGES = {
    "convolution": {"filters": (16.0, 64.0)},
    "max_pooling": {"channels": (1.0, 64.0)},
}


def region(channels: float = 8.0, sparse: float = 2.0) -> Region:
    """One measured layer, a unit of log 2 wide."""
    point = np.array([[np.log1p(channels)]], dtype=np.float32)
    return Region(("channels",), (1.0,), point, log(2.0), sparse)


def intervals(**changes) -> Intervals:
    found = Intervals(
        kind="roofline",
        layers={"convolution": (Widths(None, WIDTHS),), "max_pooling": (Widths(None, WIDTHS),)},
        unmeasured=WIDE,
        widening=Widening((0.0, 1.0), (1.0, 3.0), outside=2.0),
        network=NetworkSpread(1.0, 0.0, 0.0, (Widths(None, (1.0, 2.0, 3.0, 4.0)),)),
    )
    return replace(found, **changes)


def model(validity: Validity | None = None, ranges=RANGES, **changes) -> PlatformModel:
    plain = platform(ranges=ranges)
    regions = validity or Validity({"convolution": region(), "max_pooling": region(16)})
    return replace(plain, validity=regions, intervals=intervals(**changes))


def test_layers_and_total_by_hand():
    found = estimate(network(), model(), "roofline")
    layers = rows(found)
    # 1 ms with a half-width of log 1.5 at 90%
    assert layers["convolution"].interval_s() == pytest.approx((1e-3 / 1.5, 1.5e-3))
    assert layers["convolution"].interval_s(0.5) == pytest.approx((1e-3 / 1.1, 1.1e-3))
    # the activation was never measured: the wide interval of such layers
    assert layers["relu"].interval_s() == pytest.approx((1.6e-3 / 6, 9.6e-3))
    assert layers["flatten"].intervals_s == {}
    # spreads are the half-widths of 80%; their mean, 3.6 ms of 1, 1.6 and 1 ms
    scale = (2 * log(1.2) + 1.6 * log(4.0)) / 3.6
    assert found.interval_s() == pytest.approx(interval(found.total_s, 3 * scale))


def test_short_layers_and_the_floor_add_to_the_scale_by_their_squares():
    # 0.36 ms on each of three layers of 3.6 ms are 0.3 of the total
    spread = NetworkSpread(0.0, 0.36e-3, 0.4, (Widths(None, (1.0, 2.0, 3.0, 4.0)),))
    found = estimate(network(), model(network=spread), "roofline")
    assert found.interval_s() == pytest.approx(interval(found.total_s, 3 * 0.5))


def test_what_a_network_costs_beside_its_layers_counts_as_certain():
    plain = estimate(network(), model(), "roofline")
    beside = replace(model(), overhead=NetworkOverhead(per_network_s=plain.total_s))
    found = estimate(network(), beside, "roofline")
    scale = (2 * log(1.2) + 1.6 * log(4.0)) / 7.2
    assert found.interval_s() == pytest.approx(interval(2 * plain.total_s, 3 * scale))


def test_levels_contain_each_other_and_the_estimate():
    found = estimate(network(), model(), "roofline")
    for of in (found, *(layer for layer in found.layers if layer.intervals_s)):
        time_s = of.total_s if of is found else of.time_s
        ends = [of.intervals_s[level] for level in LEVELS]
        assert all(low <= time_s <= high for low, high in ends)
        assert [low for low, _ in ends] == sorted((low for low, _ in ends), reverse=True)
        assert [high for _, high in ends] == sorted(high for _, high in ends)


def test_far_from_all_measured_is_flagged_and_wider():
    near = rows(estimate(network(), model(), "roofline"))["convolution"]
    far_away = Validity({"convolution": region(channels=100, sparse=2.0)})
    far = rows(estimate(network(), model(far_away), "roofline"))["convolution"]
    assert (near.in_range, near.note) == (True, "")
    assert (far.in_range, far.note) == (False, "sparse: nothing near was measured")
    assert far.interval_s() == pytest.approx(interval(1e-3, 3 * log(1.5)))
    assert far.time_s == near.time_s


def test_beyond_a_range_is_wider_still_and_keeps_its_note():
    ranges = RANGES | {"convolution": {"filters": (32.0, 64.0)}}
    layer = rows(estimate(network(), model(ranges=ranges), "roofline"))["convolution"]
    assert (layer.in_range, layer.note) == (False, "out of range: filters")
    assert layer.interval_s() == pytest.approx(interval(1e-3, 2 * log(1.5)))


def test_difficulty_scales_a_layers_width():
    trees = Trees(leaf(0.5), ("channels",))
    layer = rows(estimate(network(), model(difficulty={"convolution": trees}), "roofline"))
    assert layer["convolution"].interval_s() == pytest.approx(interval(1e-3, 0.5 * log(1.5)))


def test_where_nothing_is_known_nothing_is_said():
    for found in (
        estimate(network(), platform(), "roofline"),  # a model of an older version
        estimate(network(), model(), "refined"),  # intervals are those of another kind
    ):
        assert (found.intervals_s, found.interval_s()) == ({}, None)
        assert all(layer.intervals_s == {} for layer in found.layers)
        assert "interval" not in table_text(found) + csv_text(found)
        assert "intervals_s" not in as_dict(found)
    # one layer without an interval: none of the total
    found = estimate(network(), model(unmeasured=()), "roofline")
    assert rows(found)["convolution"].intervals_s
    assert found.intervals_s == {}


def test_unknown_level_names_the_legal_ones():
    with pytest.raises(SchemaError, match=r"no interval of level 0.99; legal: 0.5, 0.8, 0.9, 0.95"):
        estimate(network(), model(), "roofline").interval_s(0.99)


def test_reports_show_them(tmp_path):
    found = estimate(network(), model(), "roofline")
    low, high = found.interval_s()
    text = table_text(found)
    assert f"90% interval of the total {low * 1e3:.3f} to {high * 1e3:.3f} ms" in text
    assert "0.6667–1.5000" in text
    assert "0.6667–1.5000" not in table_text(found, width=100)
    data = json.loads(json.dumps(as_dict(found)))
    assert data["intervals_s"]["0.9"] == [low, high]
    assert data["layers"][0]["intervals_s"]["0.5"] == pytest.approx([1e-3 / 1.1, 1.1e-3])
    header, first, *_, last = csv_text(found).splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(cells["high_90_s"]) == pytest.approx(1.5e-3)
    assert "90% interval of the total" in last
    save_plot(found, tmp_path / "plot.svg")
    save_plot(estimate(with_opaque(), model(), "roofline"), tmp_path / "plot.png")


def saved_and_loaded(found: PlatformModel, path) -> PlatformModel:
    save_platform_model(found, path)
    return load_platform_model(path)


def test_round_trip(tmp_path):
    trees = Trees(leaf(0.5), ("channels",))
    before = model(difficulty={"convolution": trees})
    after = saved_and_loaded(before, tmp_path / "toy.strata")
    for name in ("kind", "levels", "layers", "pooled", "unmeasured", "widening", "network"):
        assert getattr(after.intervals, name) == getattr(before.intervals, name)
    assert estimate(network(), after, "roofline") == estimate(network(), before, "roofline")


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(data):
        for key in path:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("levels", [0.9, 0.5, 0.8, 0.95]), "must rise"),
        (put("levels", [0.5, 0.8, 0.9, 1.0]), "levels holds 1.0"),
        (put("layers", "sorcery", []), "unknown operation 'sorcery'"),
        (put("layers", "convolution", []), "must rise and end with null"),
        (put("layers", "convolution", 0, "up_to", 1.0), "must rise and end with null"),
        (put("layers", "convolution", 0, "half_widths", [1.0]), "1 half-widths, must have 4"),
        (put("layers", "convolution", 0, "half_widths", [4, 3, 2, 1]), "must rise from 0"),
        (put("layers", "convolution", 0, "half_widths", [1, 2, 3, float("nan")]), "holds nan"),
        (put("layers", 3), "intervals"),
        (put("difficulty", "convolution", {"forest": "f9", "feature_names": []}), "f9"),
        (put("unmeasured", [1, 2]), "2 half-widths"),
        (put("widening", "factors", [1.0]), "as many and rise"),
        (put("widening", "factors", [0.5, 1.0]), "must be 1 or more"),
        (put("widening", "outside", 0.5), "must be 1 or more"),
        (put("network", "common", -1.0), "must be 0 or more"),
        (put("network", {}), "lacks or refers to unknown 'common'"),
        (put("network", "widths", 0, "half_widths", [True, 2, 3, 4]), "holds True"),
    ],
)
def test_sections_that_break_rules_are_one_line(change, named):
    data = json.loads(json.dumps(intervals_to_dict(intervals(), str)))
    change(data)
    with pytest.raises(ArtefactError, match=named) as caught:
        intervals_from_dict(data, {}, "toy.strata: intervals")
    assert str(caught.value).startswith("toy.strata: intervals: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"feature_names": ("hue",)}, "unknown feature 'hue'"),
        ({"points": np.zeros((0, 1), dtype=np.float32)}, "at least one"),
        ({"points": np.zeros((3, 2), dtype=np.float32)}, "row of 1 columns"),
        ({"points": np.full((1, 1), np.inf, dtype=np.float32)}, "points must be finite"),
        ({"points": np.zeros((1, 1), dtype=np.int64)}, "must be floats"),
        ({"unit": 0.0}, "unit is 0.0"),
        ({"sparse": "x"}, "sparse is 'x'"),
        ({"scales": (-1.0,)}, "scale of channels is -1.0"),
        ({"scales": (1.0, 1.0)}, "scales"),
    ],
)
def test_regions_that_break_rules_are_refused(changes, named):
    with pytest.raises(ArtefactError, match=named):
        replace(region(), **changes)


def test_bad_regions_of_a_bundle_name_the_file(tmp_path):
    """A model that would not load is not written; what is altered is refused with one line."""
    bad = Validity({"sorcery": region()})
    with pytest.raises(ArtefactError, match=r"bad\.strata: validity: unknown operation 'sorcery'"):
        save_platform_model(model(bad), tmp_path / "bad.strata")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1.0, 50.0), min_size=2, max_size=6),
    st.floats(1.0, 10.0),
    st.floats(0.0, 100.0),
    st.floats(0.0, 100.0),
)
def test_no_layer_farther_away_or_outside_is_narrower(factors, outside, one, other):
    factors = sorted(factors)
    widening = Widening(tuple(map(float, range(len(factors)))), tuple(factors), outside)
    near, far = sorted((one, other))
    found = widening.of(np.array([near, far, far]), np.array([False, False, True]))
    assert factors[0] <= found[0] <= found[1] <= found[2]
    # a distance that nobody knows counts as the largest
    assert widening.of(np.array([np.nan]), np.array([False]))[0] == factors[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=8), st.floats(0.0, 2.0))
def test_a_total_is_at_most_as_uncertain_as_its_worst_layer(spreads, beside_s):
    times_s = np.linspace(1.0, 2.0, len(spreads))
    total_s = float(times_s.sum()) + beside_s
    spread, layers_per_s = network_terms(times_s, np.array(spreads), total_s)
    assert min(spreads) * times_s.sum() / total_s <= spread * (1 + 1e-9)
    assert spread <= max(spreads) * (1 + 1e-9)
    assert layers_per_s == pytest.approx(len(spreads) / total_s)
