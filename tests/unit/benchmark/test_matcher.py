"""The graph matcher on ANNETTE's figure 5 and on the traps of real profiles."""

import pytest

from benchmark.matcher import match
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError
from strata.profile import ExecutedNode, Profile


def node(name, *layers, time_s=1.0, producers=(), shape=None):
    return ExecutedNode(name, "kind", layers, producers, shape, time_s, (time_s,))


def profile(*nodes):
    return Profile("test", nodes, (1.0,), 1.0)


def two_blocks():
    """Figure 5: two convolution blocks, one with pooling, joined by an addition."""
    builder = GraphBuilder("figure 5")
    x = builder.input(1, 8, 16, 16, name="in")
    a = builder.convolution(x, 8, 3, 2, name="conv1", activation="relu")
    b = builder.convolution(x, 8, 3, name="conv2", activation="relu")
    b = builder.pooling(b, "max", 2, name="pool")
    builder.add(op.Elementwise("add"), a, b, name="sum")
    return builder.build()


def flags(found):
    return {
        layer.executed.name: {name: flag for name, _, flag in layer.following}
        for layer in found.layers
    }


def test_figure_5_absent_addition_is_possibly_fused_in_both_blocks():
    found = match(two_blocks(), profile(node("conv1", "conv1"), node("conv2", "conv2")))
    assert flags(found) == {
        "conv1": {"conv1/relu": "FUSED", "sum": "POSSIBLY_FUSED"},
        "conv2": {"conv2/relu": "FUSED", "pool": "FUSED", "sum": "POSSIBLY_FUSED"},
    }


def test_fused_pooling_leaves_its_parameters_with_the_convolution():
    from strata.execution import features

    found = match(two_blocks(), profile(node("conv1", "conv1"), node("conv2", "conv2", "pool")))
    row = features(found.layers[1].executed)
    assert (row["absorbed_kernel"], row["absorbed_stride"]) == (2, 2)


def test_names_decide_where_the_profiler_gives_them():
    found = match(
        two_blocks(),
        profile(
            node("n1", "conv1", "conv1/relu"),
            node("n2", "conv2", "conv2/relu"),
            node("n3", "pool"),
            node("n4", "sum"),
        ),
    )
    assert flags(found)["conv2"] == {"conv2/relu": "FUSED", "pool": "NOT_FUSED"}
    assert flags(found)["pool"] == {"sum": "NOT_FUSED"}
    assert [layer.executed.name for layer in found.layers] == ["conv1", "conv2", "pool", "sum"]


def test_every_slice_of_a_tensor_is_a_decision_and_so_is_what_reads_it():
    builder = GraphBuilder("halves")
    builder.convolution(builder.input(1, 8, 16, 16, name="in"), 8, 3, name="conv")
    for name, start in (("low", 0), ("high", 4)):
        cut = op.Slice((0, start, 0, 0), (1, start + 4, 14, 14), (1, 1, 1, 1))
        builder.add(cut, "conv", name=name)
        builder.add(op.Activation("relu"), name, name=f"{name} relu")
    graph = builder.build()
    joined = match(graph, profile(node("n", "conv", "low", "low relu", "high", "high relu")))
    assert flags(joined) == {
        "conv": dict.fromkeys(("low", "low relu", "high", "high relu"), "FUSED")
    }
    nodes = (node("n1", "conv", "low"), node("n2", "high"), node("n3", "low relu", "high relu"))
    apart = flags(match(graph, profile(*nodes)))
    assert apart["conv"] == {"low": "FUSED", "low relu": "NOT_FUSED", "high": "NOT_FUSED"}
    assert apart["high"] == {"high relu": "NOT_FUSED"}


def test_nodes_that_share_a_layer_are_one_executed_layer_and_their_times_add_up():
    found = match(
        two_blocks(),
        profile(
            node("first half", "conv1", time_s=1.0),
            node("second half", "conv1", "conv1/relu", time_s=2.0),
            node("n2", "conv2", "pool", "sum"),
        ),
    )
    assert found.layers[0].time_s == pytest.approx(3.0)
    assert found.unmatched_s == pytest.approx(0.0)


def test_inserted_nodes_become_conversions_of_the_tensor_they_read():
    found = match(
        two_blocks(),
        profile(
            node("reorder", producers=("input:in",), time_s=0.5),
            node("c1", "conv1"),
            node("c2", "conv2", "pool"),
            node("s", "sum", producers=("c1", "c2")),
            node("out", producers=("s",), time_s=0.25),
        ),
    )
    by_name = {layer.executed.name: layer for layer in found.layers}
    assert by_name["in/reorder"].time_s == pytest.approx(0.5)
    assert by_name["sum/reorder"].executed.operation == "reorder"
    keys = {(row.key, row.flag) for row in found.insertions}
    assert ("input->convolution", "FUSED") in keys
    assert ("add->output", "FUSED") in keys
    assert ("convolution->add", "NOT_FUSED") in keys


def test_executed_shapes_tell_that_strides_were_moved():
    builder = GraphBuilder("strided")
    x = builder.input(1, 8, 16, 16, name="in")
    x = builder.convolution(x, 8, 3, name="a")
    builder.convolution(x, 8, 1, 2, name="b")
    graph = builder.build()
    moved = match(
        graph, profile(node("a", "a", shape=(1, 8, 8, 8)), node("b", "b", shape=(1, 8, 8, 8)))
    )
    kept = match(
        graph, profile(node("a", "a", shape=(1, 8, 16, 16)), node("b", "b", shape=(1, 8, 8, 8)))
    )
    assert (moved.strides_moved, kept.strides_moved) == (True, False)
    assert moved.layers[0].executed.output_shape == (1, 8, 8, 8)
    assert kept.layers[0].executed.output_shape == (1, 8, 16, 16)
    assert (moved.odd_shapes, kept.odd_shapes) == (0, 0)


def test_a_nameless_subsampling_node_executes_the_pooling_that_moving_strides_adds():
    builder = GraphBuilder("residual")
    x = builder.input(1, 8, 16, 16, name="in")
    x = builder.pooling(x, "max", 3, 1, 1, name="pool")
    y = builder.convolution(x, 8, 3, name="conv")
    y = builder.add(op.Elementwise("add"), y, x, name="sum")
    builder.convolution(y, 8, 1, 2, name="next")
    small = (1, 8, 8, 8)
    found = match(
        builder.build(),
        profile(
            node("pool", "pool", shape=(1, 8, 16, 16)),
            node("MaxPool_7", producers=("pool",), shape=small, time_s=0.1),
            node("conv", "conv", "sum", producers=("pool", "MaxPool_7"), shape=small),
            node("next", "next", producers=("conv",), shape=small),
        ),
    )
    times = {layer.executed.name: layer.time_s for layer in found.layers}
    assert times == {"pool": 1.0, "sum/strided_pool": 0.1, "conv": 1.0, "next": 1.0}


def test_a_layer_folded_into_how_the_input_is_read_is_fused_with_the_input():
    builder = GraphBuilder("channels last")
    x = builder.input(1, 8, 8, 3, name="in")
    x = builder.add(op.Transpose((0, 3, 1, 2)), x, name="transpose")
    builder.convolution(x, 8, 3, name="conv")
    found = match(
        builder.build(),
        profile(node("r", producers=("input:in",)), node("c", "conv", producers=("r",))),
    )
    assert [(row.key, row.flag) for row in found.fusions] == [
        ("input->transpose", "FUSED"),
        ("transpose->convolution", "NOT_FUSED"),
    ]
    assert [layer.executed.name for layer in found.layers] == ["transpose/reorder", "conv"]


def test_a_refusal_and_a_profile_without_known_names_are_match_errors():
    with pytest.raises(MatchError, match="out of memory"):
        match(two_blocks(), Profile("test", refusal="out of memory"))
    with pytest.raises(MatchError, match="names must survive"):
        match(two_blocks(), profile(node("Transpose_626", "Transpose_626")))


def test_a_node_without_a_time_leaves_its_layer_without_one():
    builder = GraphBuilder("left")
    first = builder.convolution(builder.input(1, 8, 16, 16, name="in"), 8, 3, name="first")
    builder.convolution(first, 8, 3, name="second")
    left = ExecutedNode("n", "left", ("second",), (), None, 0.0, placement="host", timed=False)
    found = match(builder.build(), profile(node("first", "first"), node("part", "second"), left))
    first, second = found.layers
    assert (first.timed, first.time_s) == (True, 1.0)
    assert (second.timed, second.executed.placement, second.kind) == (False, "host", "left")
