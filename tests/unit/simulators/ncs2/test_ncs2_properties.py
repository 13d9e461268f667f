"""What must hold for every stage: more work and slower memory never take less time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ncs2_stages import convolution, other, pooling, tensor, times

from simulators import ncs2

STICK = ncs2.load("myriad_x_ncs2")
sizes = st.tuples(st.integers(1, 64), st.integers(1, 40), st.integers(1, 40))
places = st.sampled_from(("CMX", "BSS"))


@st.composite
def convolutions(draw):
    shape, place = draw(sizes), draw(places)
    descriptors = draw(st.integers(1, 8))
    return convolution(
        tensor(shape, place),
        tensor(shape),
        cost=draw(st.integers(1, 300)) * descriptors,
        descriptors=descriptors,
        weight_bytes=draw(st.integers(0, 50_000)) * 2,
        kernel=draw(st.sampled_from((1, 3, 5))),
    )


def seconds(*stages, hardware=STICK):
    return sum(times(*stages, hardware=hardware))


def with_tiling(stage, **changes):
    tiling = {**stage.attributes["tiling"], **changes}
    return replace(stage, attributes={**stage.attributes, "tiling": tiling})


@given(stage=convolutions(), more=st.integers(1, 1000))
def test_more_cost_takes_longer_or_as_long(stage, more):
    cost = stage.attributes["tiling"]["cost"]
    assert seconds(with_tiling(stage, cost=cost + more)) >= seconds(stage)


@given(stage=convolutions(), rows=st.integers(1, 20))
def test_more_rows_take_longer(stage, rows):
    source, target = stage.inputs[0], stage.outputs[0]
    height = source.dims["H"] + rows
    grown = [
        tensor((each.dims["C"], height, each.dims["W"]), each.location) for each in (source, target)
    ]
    inputs = (grown[0], *stage.inputs[1:])
    assert seconds(replace(stage, inputs=inputs, outputs=(grown[1],))) > seconds(stage)


@given(stage=convolutions())
def test_an_input_in_ddr_never_takes_less_than_one_on_chip(stage):
    def located(place):
        source = replace(stage.inputs[0], location=place)
        return seconds(replace(stage, inputs=(source, *stage.inputs[1:])))

    assert located("BSS") >= located("CMX")


@settings(max_examples=30)
@given(stage=convolutions(), factor=st.floats(1.1, 10))
@pytest.mark.parametrize(
    "number",
    ["clock_hz", "weight_bytes_per_s", "ddr_bytes_per_s", "cmx_bytes_per_s", "copy_bytes_per_s"],
)
def test_a_faster_part_never_takes_longer(number, stage, factor):
    faster = STICK.changed(**{number: getattr(STICK, number) * factor})
    assert seconds(stage, hardware=faster) <= seconds(stage) * (1 + 1e-12)


@given(
    host=convolutions(),
    shape=sizes,
    target=places,
)
def test_an_injected_copy_adds_at_most_its_own_time(host, shape, target):
    copy = other("Copy", [tensor(shape)], [tensor(shape, target)], name="copy")
    beside = replace(copy, injected_into=host.name)
    together, alone = seconds(host, beside), seconds(host)
    assert alone <= together <= (alone + seconds(copy)) * (1 + 1e-12)


@given(shape=sizes, kernel=st.integers(1, 8), kind=st.sampled_from(("MAX", "AVG")))
def test_larger_windows_take_longer(shape, kernel, kind):
    def pooled(size):
        return seconds(pooling(tensor(shape), tensor(shape), kind=kind, kernel=size, descriptors=2))

    assert pooled(kernel + 1) > pooled(kernel)


@given(shape=sizes, shaves=st.integers(1, 7))
@pytest.mark.parametrize("kind", ["Sum", "Relu", "Sigmoid", "SoftMax", "Convert", "Interp"])
def test_more_shaves_never_take_longer(kind, shape, shaves):
    def shared(count):
        return seconds(other(kind, [tensor(shape)], [tensor(shape)], shaves=count))

    assert shared(shaves + 1) < shared(shaves)
