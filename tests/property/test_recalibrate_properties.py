"""What must hold for every recalibration and every adjustment."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gen.network_parts import NetworkParts, split_estimate
from model_gen.recalibrate import recalibrate
from strata import operations as op
from strata.adjustment import CLASSES, PARTS, Adjustment, layer_part
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, NetworkOverhead, PlatformModel

keys = st.sampled_from(
    [*PARTS, *(f"{p}/{c}" for p in ("compute", "memory", "small") for c in CLASSES)]
)
factors = st.floats(1e-3, 1e3)
seconds = st.dictionaries(keys, st.floats(1e-7, 10.0), min_size=1)
networks = st.lists(
    st.builds(NetworkParts, st.just("net"), seconds, st.integers(0, 500)), min_size=3, max_size=4
)

MODEL = PlatformModel(
    Header("board", "0", "2025-01-01T00:00:00+00:00", "test", 0),
    {
        "convolution": {"roofline": Roofline(36.864e6, 62.08e6, 1e-6)},
        "max_pooling": {"roofline": Roofline(2.56e6, 1.28e6, 1e-6)},
    },
    MappingModel(),
    NetworkOverhead(1e-3, 1e-5, 1e-9, 1e-9),
)


def network():
    build = GraphBuilder("small")
    build.convolution(build.input(1, 8, 4, 4), 16, 3, name="convolution")
    build.add(op.Activation("relu"), "convolution", name="relu")
    build.pooling("relu", "max", 2, name="pooling")
    return build.build()


def adjustment(factor=1.0, scales=None, per_network_s=0.0, per_layer_s=0.0):
    return Adjustment(
        form="parts",
        factor=factor,
        original="o",
        sha256="",
        kind="mixed",
        networks=(),
        before_percent=0.0,
        after_percent=0.0,
        scales=scales or {},
        per_network_s=per_network_s,
        per_layer_s=per_layer_s,
    )


@settings(max_examples=10, deadline=None)
@given(networks)
def test_its_own_estimates_change_nothing(parts):
    found = recalibrate(parts, [each.total_s for each in parts])
    assert found.candidate.form == "unchanged"
    assert (found.factor, found.scales) == (1.0, {})
    for each in parts:
        assert found.total_s(each) == pytest.approx(each.total_s, rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(networks, st.data())
def test_whatever_was_measured_times_stay_finite_and_positive(parts, data):
    measured_s = data.draw(st.lists(st.floats(1e-7, 1e3), min_size=len(parts), max_size=len(parts)))
    found = recalibrate(parts, measured_s)
    times = np.array([found.total_s(each) for each in parts])
    assert np.isfinite(times).all()
    assert (times > 0).all()
    assert np.isfinite([found.before_percent, found.after_percent]).all()
    assert found.after_percent <= found.before_percent or found.helps


@settings(max_examples=50, deadline=None)
@given(factors, st.dictionaries(keys, factors), st.floats(0, 1), st.floats(0, 1))
def test_rows_overhead_and_total_agree(factor, scales, per_network_s, per_layer_s):
    kept = adjustment(factor, scales, per_network_s, per_layer_s)
    before = estimate(network(), MODEL, "roofline")
    after = estimate(network(), replace(MODEL, adjustment=kept), "roofline")
    assert after.total_s == pytest.approx(
        sum(row.time_s for row in after.layers) + after.overhead_s
    )
    for old, new in zip(before.layers, after.layers, strict=True):
        scale = kept.scale(layer_part(old.operation, "", old.bound))
        assert new.time_s == pytest.approx(old.time_s * scale)
        assert new.share == pytest.approx(new.time_s / after.total_s)
        assert (new.bound, new.utilisation) == (old.bound, old.utilisation)


@settings(max_examples=20, deadline=None)
@given(factors, st.dictionaries(keys, factors), st.floats(0, 1), st.floats(0, 1))
def test_the_parts_add_up_to_the_estimate_of_either_model(factor, scales, network_s, layer_s):
    parts = split_estimate(network(), MODEL)
    assert parts.total_s == pytest.approx(estimate(network(), MODEL).total_s)
    kept = adjustment(factor, scales, network_s, layer_s)
    summed = sum(kept.scale(part) * s for part, s in parts.seconds.items())
    summed += network_s + layer_s * parts.layers
    moved = replace(MODEL, adjustment=kept)
    assert estimate(network(), moved).total_s == pytest.approx(summed)
    # what a model was moved by does not enter its parts
    assert split_estimate(network(), moved) == parts
