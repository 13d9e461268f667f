from dataclasses import replace

import pytest
from dpu_graphs import BOARD, compiled, convolution_node, two_convolutions
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators import dpu
from simulators.dpu.analytic import node_performance
from simulators.dpu.machine import node_steps
from simulators.dpu.node import Node
from simulators.performance import disagreements
from strata import operations as op
from strata.builder import GraphBuilder

NODES = st.builds(
    convolution_node,
    height=st.integers(1, 64),
    width=st.integers(1, 64),
    channels=st.integers(1, 600),
    filters=st.integers(1, 600),
    kernel=st.integers(1, 7),
)


def efficiency(node: Node, machine: dpu.Dpu = BOARD) -> float:
    return node.array_macs / machine.peak_macs_per_s / node_performance("n", node, machine).time_s


def test_a_large_aligned_layer_reaches_99_percent_of_the_peak():
    node = convolution_node(56, 56, channels=256, filters=256)
    assert 0.985 < efficiency(node) < 1
    assert node_performance("n", node, BOARD).binding == "peak"


def test_28_rows_reach_seven_eighths():
    node = convolution_node(28, 28, channels=512, filters=512)
    assert efficiency(node) == pytest.approx(0.875, abs=0.015)
    assert node_performance("n", node, BOARD).binding == "array fragmentation"


def test_a_dense_layer_waits_for_its_weights():
    node = convolution_node(1, 1, channels=4096, filters=512, kernel=1)
    assert node_performance("n", node, BOARD).binding == "weight-delivery bus"


def test_a_shallow_convolution_waits_for_its_activations():
    node = convolution_node(112, 112, channels=16, filters=16, kernel=1)
    assert node_performance("n", node, BOARD).binding == "activation bus"


def test_three_busy_cores_wait_for_the_memory():
    node = convolution_node(112, 112, channels=16, filters=16, kernel=1)
    crowded = BOARD.changed(active_cores=3)
    assert node_performance("n", node, crowded).binding == "DRAM"
    alone = node_performance("n", node, BOARD).time_s
    assert node_performance("n", node, crowded).time_s > 1.1 * alone


def test_a_kernel_too_large_for_two_buffers_adds_loading_to_computing():
    node = convolution_node(7, 7, channels=512, filters=512, kernel=7)
    found = node_performance("n", node, BOARD)
    assert found.binding == "on-chip memory"
    assert found.time_s > found.ceilings_s["weight-delivery bus"] + found.ceilings_s["peak"]


def test_a_tiny_node_is_mostly_start_up():
    assert (
        node_performance("n", convolution_node(4, 4, 16, 16), BOARD).binding == "instruction issue"
    )


@settings(deadline=None)
@given(NODES)
def test_both_levels_lie_between_the_longest_phase_and_their_sum(node):
    simulated = node_steps("n", node, BOARD)
    busy = simulated.busy_s
    longest = max(busy["compute"], busy["load"] + busy["store"])
    for time_s in (simulated.time_s, node_performance("n", node, BOARD).time_s):
        inner = time_s - BOARD.node_start_s
        assert longest * (1 - 1e-9) <= inner <= sum(busy.values()) * (1 + 1e-9)


@settings(deadline=None)
@given(NODES, st.sampled_from(["clock_hz", "read_bytes_per_s", "write_bytes_per_s"]))
def test_a_faster_machine_is_never_slower(node, field):
    faster = BOARD.changed(**{field: 1.3 * getattr(BOARD, field)})
    assert node_performance("n", node, faster).time_s <= node_performance("n", node, BOARD).time_s
    slow, fast = node_steps("n", node, BOARD).time_s, node_steps("n", node, faster).time_s
    assert fast <= slow * (1 + 1e-9)


def test_levels_agree_on_every_layer_of_a_network():
    builder = GraphBuilder("net")
    features = builder.convolution(builder.input(1, 3, 112, 112), 32, 3, 2, activation="relu")
    for filters in (64, 128, 256):
        features = builder.convolution(features, filters, 1, activation="relu")
        features = builder.convolution(features, filters, 3, 2, activation="relu")
    builder.dense(builder.add(op.GlobalPooling("average", False), features), 100)
    executable = compiled(builder)
    analytical, simulated = dpu.analyse(executable, BOARD), dpu.simulate(executable, BOARD)
    assert disagreements(analytical, simulated) == []


def test_strips_with_wide_borders_make_the_levels_disagree():
    # each strip begins with rows that the strip before it cannot prefetch, and the closed form
    # spreads them over all tiles
    builder = GraphBuilder("strips")
    image = builder.input(1, 538, 72, 113)
    builder.depthwise(image, 6, stride=2, dilation=4, name="d")
    executable = compiled(builder)
    analytical, simulated = dpu.analyse(executable, BOARD), dpu.simulate(executable, BOARD)
    assert [row.name for row in disagreements(analytical, simulated)] == ["d"]
    assert analytical[0].time_s < simulated[0].time_s


def test_a_batch_repeats_the_node():
    one = convolution_node()
    four = replace(one, batch=4)
    ratio = node_performance("n", four, BOARD).time_s / node_performance("n", one, BOARD).time_s
    assert ratio == pytest.approx(4, rel=0.05)


def test_an_inference_is_its_nodes_and_a_run():
    executable = dpu.compile_graph(two_convolutions(), BOARD)
    elements = 3 * 28 * 28
    expected = 3e-3 + BOARD.run_start_s + elements * BOARD.input_element_s
    assert dpu.network_s([1e-3, 2e-3], executable, BOARD) == pytest.approx(expected)


def test_an_input_read_twice_is_scaled_once():
    builder = GraphBuilder("branches")
    image = builder.input(1, 3, 28, 28)
    builder.convolution(image, 16, 3)
    builder.convolution(image, 16, 5)
    executable = compiled(builder)
    board = BOARD.changed(input_element_s=1.0)
    assert dpu.network_s([0.0, 0.0], executable, board) == pytest.approx(3 * 28 * 28, rel=1e-3)


def test_an_input_beside_a_feature_map_is_scaled():
    builder = GraphBuilder("second operand")
    image, skip = builder.input(1, 3, 28, 28), builder.input(1, 16, 28, 28)
    left = builder.convolution(image, 16, 3, name="left")
    summed = builder.add(op.Elementwise("add"), left, skip)  # absorbed by the convolution
    builder.add(op.Concat(2), builder.pooling(summed, "max", 2), builder.input(1, 16, 5, 14))
    executable = compiled(builder)
    assert executable.input_elements == 28 * 28 * (3 + 16) + 16 * 5 * 14


def test_an_input_behind_another_producer_of_a_concatenation_is_scaled():
    builder = GraphBuilder("concat")
    features = builder.convolution(builder.input(1, 4, 8, 8), 8, 3)
    builder.convolution(features, 8, 1)  # a second reader: the concatenation is a copy
    builder.add(op.Concat(1), features, builder.input(1, 3, 8, 8))
    assert compiled(builder).input_elements == (4 + 3) * 8 * 8


def test_ceilings_have_the_names_of_the_platform():
    builder = GraphBuilder("names")
    layer = builder.convolution(builder.input(1, 3, 28, 28), 16, 3)
    builder.add(op.Softmax(1), layer)
    for layer in dpu.analyse(compiled(builder), BOARD):
        assert set(layer.ceilings_s) <= set(dpu.CEILINGS)


def test_equal_nodes_keep_their_names():
    builder = GraphBuilder("twins")
    layer = builder.convolution(builder.input(1, 3, 28, 28), 16, 3)
    for name in ("first", "second"):
        layer = builder.convolution(layer, 16, 3, name=name)
    first, second = dpu.analyse(compiled(builder), BOARD)[1:]
    assert (first.name, second.name) == ("first", "second")
    assert first.time_s == second.time_s


def test_forgetting_changes_no_time():
    executable = dpu.compile_graph(two_convolutions(), BOARD)
    before = dpu.analyse(executable, BOARD)
    dpu.forget()
    assert dpu.analyse(executable, BOARD) == before
