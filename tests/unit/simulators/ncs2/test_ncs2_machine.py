"""Times worked out by hand on a machine of round numbers: every expected value is derived here."""

import time
from dataclasses import replace

import pytest
from ncs2_stages import ROUND, convolution, other, pooling, tensor, times

from simulators import ncs2
from simulators.ncs2.plan import Operand, Plan
from strata.errors import MatchError

NS = 1e-9
START = 1000  # ns, of a hardware stage


def one(stage):
    (seconds,) = times(stage)
    return seconds / NS


def test_convolution_on_chip_takes_cost_times_pixels_plus_what_the_hardware_adds():
    stage = convolution(
        tensor((64, 56, 56)), tensor((64, 56, 56)), cost=155, kernel=3, weight_bytes=1000
    )
    # 56 rows of 100 + 56 x (155 + 10) cycles, and 1000 bytes of weights
    assert one(stage) == pytest.approx(START + 56 * (100 + 56 * 165) + 1000)


def test_each_descriptor_loads_its_weights_and_computes_its_channels():
    stage = convolution(
        tensor((64, 4, 10)), tensor((96, 4, 10)), cost=60, descriptors=3, weight_bytes=600
    )
    # per descriptor: cost 20, 4 rows of 10 pixels, 200 bytes
    assert one(stage) == pytest.approx(START + 3 * (4 * (100 + 10 * 30) + 200))


def test_an_input_in_ddr_delays_the_first_pixel_by_its_first_rows():
    source = tensor((8, 10, 32), "BSS")
    stage = convolution(source, tensor((8, 10, 32)), cost=1)
    # 80 rows of 64 bytes take 10 + 32 ns each; kernel 1 and stride 1 need 4 of 10 rows before
    load = 80 * 42
    compute = 10 * (100 + 32 * 11)
    assert compute > 0.6 * load
    assert one(stage) == pytest.approx(START + 0.4 * load + compute)


def test_an_input_in_ddr_binds_where_reading_takes_longer_than_computing():
    source = tensor((80, 10, 32), "BSS")
    stage = convolution(source, tensor((8, 10, 32)), cost=1)
    assert one(stage) == pytest.approx(START + 800 * 42)


def test_a_narrow_input_needs_one_row_more_and_rows_are_padded_to_16_bytes():
    stage = convolution(tensor((100, 10, 7), "BSS"), tensor((8, 10, 7)), cost=30, kernel=3)
    # 1000 rows of 16 bytes (7 values fill 14) take 10 + 8 ns; 3 + 1 + 2 + 1 of 10 rows first
    load, compute = 1000 * 18, 10 * (100 + 7 * 40)
    assert 0.3 * load > compute
    assert one(stage) == pytest.approx(START + 0.7 * load + 0.3 * load)
    wide = convolution(tensor((100, 10, 9), "BSS"), tensor((8, 10, 9)), cost=300, kernel=3)
    load, compute = 1000 * (10 + 32 / 2), 10 * (100 + 9 * 310)
    assert one(wide) == pytest.approx(START + 0.6 * load + compute)


def test_a_short_input_is_read_whole_before_computing():
    stage = convolution(tensor((10, 2, 16), "BSS"), tensor((8, 2, 16)), cost=5, descriptors=2)
    load, compute = 20 * (10 + 16), 2 * (100 + 16 * 12.5)
    assert one(stage) == pytest.approx(START + 2 * (load + compute))


def test_merged_pooling_costs_the_pixels_of_the_convolution():
    merged = convolution(tensor((16, 8, 8)), tensor((16, 4, 4)), cost=20, pool=2)
    plain = convolution(tensor((16, 8, 8)), tensor((16, 8, 8)), cost=20)
    assert one(merged) == one(plain)


@pytest.mark.parametrize(("kind", "per_tap"), [("MAX", 1), ("AVG", 2)])
def test_pooling_counts_descriptors_pixels_and_taps(kind, per_tap):
    stage = pooling(tensor((64, 12, 12)), tensor((64, 10, 10)), kind=kind, kernel=3, descriptors=4)
    assert one(stage) == pytest.approx(START + 4 * (200 + 100 * (4 + 9 * per_tap)))


def test_pooling_of_an_input_in_ddr_is_bound_by_reading():
    stage = pooling(
        tensor((64, 50, 50), "BSS"), tensor((64, 2, 2)), kind="MAX", kernel=3, descriptors=4
    )
    # 3200 rows of 112 bytes (100 padded)
    assert one(stage) == pytest.approx(START + 3200 * (10 + 56))


def test_a_copy_costs_its_rows_and_their_padding():
    stage = other("Copy", [tensor((6, 5, 9))], [tensor((6, 5, 9), "BSS")])
    # 30 rows of 32 bytes (18 padded)
    assert one(stage) == pytest.approx(2000 + 30 * (20 + 8))


def test_a_vector_of_channels_is_copied_value_by_value():
    stage = other("Copy", [tensor((1000, 1, 1))], [tensor((1000, 1, 1), "BSS")])
    assert one(stage) == pytest.approx(2000 + 1000 * (20 + 0.5))


@pytest.mark.parametrize(
    ("kind", "cycles"),
    [("Sum", 3), ("Relu", 1), ("Swish", 8), ("SoftMax", 50), ("NewKindOfStage", 4)],
)
def test_software_shares_its_elements_among_its_shaves(kind, cycles):
    stage = other(kind, [tensor((4, 10, 10))] * 2, [tensor((4, 10, 10))], shaves=2)
    assert one(stage) == pytest.approx(20_000 + 400 * cycles / 2)


def test_conversion_has_its_own_start():
    stage = other("Convert", [tensor((3, 10, 10), "Input")], [tensor((3, 10, 10))], shaves=3)
    assert one(stage) == pytest.approx(30_000 + 300 * 2 / 3)


def test_windows_in_software_count_their_taps():
    kernel = Operand("w", "Const", "FP16", {"W": 16, "H": 8, "C": 9}, {"W": 2}, "Blob")
    stage = other("Conv", [tensor((16, 4, 4)), kernel], [tensor((8, 4, 4))], shaves=1)
    # 16 channels x 9 elements of a window per value
    assert one(stage) == pytest.approx(20_000 + 128 * (4 + 144 * 0.5))


@pytest.mark.parametrize("heads", [1, 8])
@pytest.mark.parametrize("turned", [False, True])
def test_products_count_their_inner_dimension_in_every_batch(heads, turned):
    # 64 x 128 by 128 x 32, the second perhaps transposed
    second = (heads, 32, 128) if turned else (heads, 128, 32)
    stage = other(
        "GEMM", [tensor((heads, 64, 128)), tensor(second)], [tensor((heads, 64, 32))], shaves=1
    )
    assert one(stage) == pytest.approx(20_000 + heads * 64 * 32 * (4 + 128 * 0.5))


def test_a_dense_layer_in_software_counts_its_inputs():
    # 100 inputs, 10 outputs, two vectors
    rows = [
        Operand(n, "x", "FP16", {"C": c, "N": 2}, {"C": 2}, "CMX")
        for n, c in (("a", 100), ("c", 10))
    ]
    kernel = Operand("w", "Const", "FP16", {"C": 1000}, {"C": 2}, "Blob")
    stage = other("FC", [rows[0], kernel], [rows[1]], shaves=1)
    assert one(stage) == pytest.approx(20_000 + 20 * (4 + 100 * 0.5))


def test_stages_that_do_nothing_take_no_time():
    stub = other("StubConcat", [tensor((4, 4, 4))], [tensor((4, 4, 4))], execution=-1)
    relu = other("Relu", [tensor((1, 1, 1))], [tensor((1, 1, 1))], shaves=1, execution=0)
    assert times(stub, relu) == pytest.approx((0.0, 20_001 * NS))


def beside(host, injected):
    """Seconds of both in ns, and what the host takes alone."""
    (alone,) = times(host)
    together = times(host, replace(injected, injected_into=host.name))
    assert together[1] == 0
    return alone / NS, together[0] / NS


def test_a_copy_beside_an_engine_that_works_on_chip_is_hidden():
    host = convolution(tensor((16, 20, 20)), tensor((16, 20, 20)), cost=100)
    alone, together = beside(host, other("Copy", [tensor((4, 4, 8))], [tensor((4, 4, 8), "BSS")]))
    assert together == alone


def test_a_copy_longer_than_its_host_ends_the_stage():
    host = convolution(tensor((1, 1, 1)), tensor((1, 1, 1)), cost=1)
    _, together = beside(host, other("Copy", [tensor((64, 64, 8))], [tensor((64, 64, 8), "BSS")]))
    assert together == pytest.approx(2000 + 4096 * (20 + 4))


def test_a_copy_to_ddr_delays_an_engine_that_waits_for_ddr():
    host = convolution(
        tensor((8, 10, 32)), tensor((8, 10, 32)), cost=200, weight_bytes=1500, kernel=3
    )
    copy = other("Copy", [tensor((4, 4, 8))], [tensor((4, 4, 8), "BSS")])
    # the copy takes 2000 + 16 x (20 + 4) ns; the engine loads weights for 1500 of them
    alone, together = beside(host, copy)
    assert together == pytest.approx(alone + 1500)
    on_chip = other("Copy", [tensor((4, 4, 8))], [tensor((4, 4, 8))])
    assert beside(host, on_chip)[1] == alone


def test_a_copy_uses_the_slack_of_an_engine_that_streams_from_ddr():
    # as above: 3360 ns of reading, 1344 of them before the first pixel, 4520 of computing
    host = convolution(tensor((8, 10, 32), "BSS"), tensor((8, 10, 32)), cost=1)
    copy = other("Copy", [tensor((30, 1, 32))], [tensor((30, 1, 32), "BSS")])
    copy_ns = 2000 + 30 * (20 + 16)
    slack = 4520 - 0.6 * 3360
    delay = 1344 + max(min(copy_ns, 3360) - 1344 - slack, 0)
    alone, together = beside(host, copy)
    assert together == pytest.approx(alone + delay)


def test_injected_software_holds_its_host_up():
    host = convolution(tensor((16, 40, 40)), tensor((16, 40, 40)), cost=100)
    add = other("Sum", [tensor((4, 4, 4))] * 2, [tensor((4, 4, 4))], shaves=2)
    alone, together = beside(host, add)
    assert together == pytest.approx(alone + 5000)


def test_injected_software_longer_than_its_host_ends_the_stage():
    host = convolution(tensor((1, 1, 1)), tensor((1, 1, 1)), cost=1)
    add = other("Sum", [tensor((64, 8, 8))] * 2, [tensor((64, 8, 8))], shaves=2)
    _, together = beside(host, add)
    assert together == pytest.approx(4096 * 3 / 2 + 5000)


def test_latency_is_start_link_and_stages():
    image = tensor((3, 10, 10), "Input", "Input", "image")
    scores = tensor((5, 1, 1), "Output", "Output", "scores")
    plan = Plan(
        "by hand",
        (
            other("Convert", [image], [tensor((3, 10, 10))], shaves=1),
            other("Convert", [tensor((5, 1, 1))], [scores], shaves=1),
        ),
    )
    # 300 bytes there and 20 back at 100 bytes per us
    assert ncs2.network_s([1e-5, 2e-5], plan, ROUND) == pytest.approx(1e-3 + 3.2e-6 + 3e-5)


@pytest.mark.parametrize("tiling", [{}, {"numDescr": 1}, {"numDescr": 1, "cost": "many"}])
def test_a_hardware_stage_without_the_compilers_numbers_is_named(tiling):
    stage = convolution(tensor((1, 1, 1)), tensor((1, 1, 1)), cost=1, name="odd")
    stage = replace(stage, attributes={**stage.attributes, "tiling": tiling})
    with pytest.raises(MatchError, match="stage 'odd': no number"):
        times(stage)


def test_a_plan_of_five_hundred_stages_is_timed_in_milliseconds():
    stage = convolution(tensor((8, 10, 32), "BSS"), tensor((8, 10, 32)), cost=1)
    stages = tuple(replace(stage, name=f"stage{i}", execution=i) for i in range(500))
    start = time.perf_counter()
    times(*stages)
    assert time.perf_counter() - start < 0.05
