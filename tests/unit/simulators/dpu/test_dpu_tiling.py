import pytest
from dpu_graphs import BOARD, convolution_node
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.dpu.node import Alu, Node, Window
from simulators.dpu.tiling import (
    Schedule,
    Step,
    array_of,
    make_schedule,
    strips,
    taps,
    weight_words,
)

ARRAY = array_of(BOARD)


def total(schedule: Schedule, field: str) -> float:
    """Sum of a field over all steps."""
    return sum(
        run.repeats * step.number * getattr(step, field)
        for part in schedule.parts
        for run in part.runs
        for step in run.steps
    )


def all_steps(schedule: Schedule) -> list[Step]:
    return [
        step for part in schedule.parts for run in part.runs for step in run.steps * run.repeats
    ]


def test_cycles_of_a_layer_that_fills_the_array():
    # 56 rows = 7 tiles of 8; 56 columns, 9 positions, 4 channel groups, 4 filter groups
    schedule = make_schedule(convolution_node(), ARRAY)
    assert total(schedule, "array_cycles") == 7 * 56 * 9 * 4 * 4


def test_cycles_of_rows_channels_and_filters_that_do_not_fill_it():
    # 28 rows = 3.5 tiles, 17 channels = 1.06 groups, 33 filters = 2.06 groups
    node = convolution_node(28, 28, channels=17, filters=33, kernel=1)
    assert total(make_schedule(node, ARRAY), "array_cycles") == 4 * 28 * 2 * 3


@pytest.mark.parametrize(("kernel", "cycles"), [(3, 3), (5, 5), (7, 14)])
def test_an_image_of_three_channels_lays_five_columns_side_by_side(kernel, cycles):
    node = convolution_node(channels=3, kernel=kernel, image=True)
    assert taps(node, ARRAY) == cycles


def test_only_the_image_is_augmented():
    assert taps(convolution_node(channels=3), ARRAY) == 9
    assert taps(convolution_node(channels=8, image=True), ARRAY) == 9


def test_a_large_kernel_leaves_no_room_for_double_buffering():
    # 7 x 7 x 512 / 16 = 1568 of 2048 words; 3 x 3 x 512 / 16 = 288
    large = convolution_node(7, 7, channels=512, filters=512, kernel=7)
    small = convolution_node(7, 7, channels=512, filters=512)
    assert weight_words(large, ARRAY) == 1568
    assert make_schedule(large, ARRAY).buffers == 1
    assert make_schedule(small, ARRAY).buffers == 2


def test_maps_wider_than_the_banks_are_cut_into_strips():
    # (10 rows + 8 of the next tile) x 224 x 4 = 16,128 of 16,384 words; 256 columns need 18,432
    assert strips(convolution_node(224, 224), ARRAY) == 1
    assert strips(convolution_node(224, 256), ARRAY) == 2


def test_weights_that_fit_are_read_once_and_rows_too():
    node = convolution_node(56, 56, channels=64, filters=64)
    schedule = make_schedule(node, ARRAY)
    assert total(schedule, "weight_bytes") == 9 * 64 * 64
    assert total(schedule, "input_bytes") == 56 * 56 * 64


def test_weights_that_do_not_fit_are_read_again_for_each_tile_if_that_is_less():
    # 2.4 MB of weights x 4 tiles against 0.4 MB of input x 32 filter groups
    node = convolution_node(28, 28, channels=512, filters=512)
    schedule = make_schedule(node, ARRAY)
    assert total(schedule, "weight_bytes") == 4 * 9 * 512 * 512
    assert total(schedule, "input_bytes") == 28 * 28 * 512


def test_an_input_that_fits_is_read_once_for_all_filters():
    node = convolution_node(14, 14, channels=512, filters=512)
    schedule = make_schedule(node, ARRAY)
    assert total(schedule, "weight_bytes") == 9 * 512 * 512
    assert total(schedule, "input_bytes") == 14 * 14 * 512


def test_depthwise_work_is_done_at_half_the_pixels():
    # 28 rows in tiles of 8, 8, 8 and 4: 7 passes of 4 rows; 25 positions, 2 channel groups
    alu = Alu(28, 28, 32, Window((5, 5)), weights=True)
    node = convolution_node(28, 28, channels=16, filters=32, kernel=1, alu=(alu,))
    schedule = make_schedule(node, ARRAY)
    assert total(schedule, "alu_cycles") == 7 * 28 * 25 * 2
    assert total(schedule, "alu_starts") == 4 * 2
    assert any(step.weights_late for step in all_steps(schedule))


def test_pooling_in_the_write_back_path_is_no_pass_of_its_own():
    pool = Alu(28, 28, 64, Window((2, 2), (2, 2)), inline=True)
    schedule = make_schedule(convolution_node(alu=(pool,)), ARRAY)
    assert total(schedule, "alu_cycles") == 0
    assert total(schedule, "inline_cycles") == 7 * 28 * 4 * 4


def test_an_added_tensor_takes_a_load_instruction_per_tile():
    # 4 row tiles, each with the operand of all 8 filter groups, and the first load of the input
    node = convolution_node(28, 28, channels=64, filters=128, kernel=1, residual=28 * 28 * 128)
    assert total(make_schedule(node, ARRAY), "transfers") == 4 + 1


SIZES = st.integers(1, 96)
NODES = st.builds(
    convolution_node,
    height=SIZES,
    width=SIZES,
    channels=st.integers(1, 600),
    filters=st.integers(1, 600),
    kernel=st.integers(1, 7),
)


@settings(deadline=None)
@given(NODES)
def test_everything_is_read_and_written(node: Node):
    schedule = make_schedule(node, ARRAY)
    weights = node.window.taps * node.channels * node.filters
    assert total(schedule, "store_bytes") == pytest.approx(node.stored)
    assert total(schedule, "weight_bytes") >= weights * (1 - 1e-9)
    assert total(schedule, "input_bytes") >= node.height * node.width * node.channels * (1 - 1e-9)


@settings(deadline=None)
@given(NODES)
def test_the_array_never_does_more_than_its_peak(node: Node):
    per_cycle = 8 * 16 * 16
    assert total(make_schedule(node, ARRAY), "array_cycles") * per_cycle >= node.array_macs


@settings(deadline=None)
@given(
    SIZES,
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from(["height", "channels", "filters"]),
)
def test_cycles_rise_in_steps_of_the_array(height, channels, filters, grown):
    sizes = {"height": height, "channels": channels, "filters": filters}
    granule = 8 if grown == "height" else 16

    def cycles(size: int) -> float:
        node = convolution_node(**{**sizes, grown: size})  # type: ignore[arg-type]
        return total(make_schedule(node, ARRAY), "array_cycles")

    full = -(-sizes[grown] // granule) * granule
    assert cycles(sizes[grown]) == cycles(full) < cycles(full + 1)
