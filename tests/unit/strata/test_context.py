"""What stands around a layer, worked out by hand on a small network."""

from dataclasses import replace

import pytest

from strata import operations as op
from strata.builder import GraphBuilder
from strata.context import CONTEXT_FEATURES, contexts
from strata.execution import FEATURES, OWN_FEATURES, feature_matrix, make_executed
from strata.graph import with_bits


@pytest.fixture
def branches():
    """in (4x8x8) -> a (conv, 8x8x8) -> b (conv, 8x8x8) -> add(a, b) -> pool; one byte each."""
    builder = GraphBuilder("branches")
    x = builder.input(1, 4, 8, 8, name="in")
    a = builder.convolution(x, 8, 3, name="a")
    b = builder.convolution(a, 8, 3, name="b")
    added = builder.add(op.Elementwise("add"), a, b, name="add")
    builder.pooling(added, "max", 2, name="pool")
    return with_bits(builder.build(), 8)


def by_name(executed):
    rows = contexts(executed)
    return {
        layer.name: dict(zip(CONTEXT_FEATURES, row, strict=True))
        for layer, row in zip(executed, rows, strict=True)
    }


def executed_alone(graph):
    return [make_executed([layer]) for layer in graph.layers if layer.inputs]


def test_neighbours_are_those_of_the_order_of_execution(branches):
    rows = by_name(executed_alone(branches))
    # a: 8x8 places, 8 filters, 3x3x4 each; b: 3x3x8 each
    assert rows["a"]["previous_macs"] == 0
    assert rows["b"]["previous_macs"] == 64 * 8 * 36
    assert rows["a"]["following_macs"] == 64 * 8 * 72
    assert rows["pool"]["following_bytes"] == 0
    assert rows["pool"]["previous_bytes"] == 3 * 512  # the sum reads two tensors, writes one


def test_inputs_and_outputs_of_the_network(branches):
    rows = by_name(executed_alone(branches))
    assert {name: row["reads_input"] for name, row in rows.items()} == {
        "a": 1, "b": 0, "add": 0, "pool": 0,
    }  # fmt: skip
    assert [name for name, row in rows.items() if row["writes_output"]] == ["pool"]


def test_how_long_tensors_are_kept(branches):
    rows = by_name(executed_alone(branches))
    assert rows["a"]["readers"] == 2
    assert rows["a"]["output_reach"] == 2
    assert rows["add"]["input_age"] == 2
    assert rows["b"]["input_age"] == 1


def test_bytes_alive_while_a_layer_runs(branches):
    rows = by_name(executed_alone(branches))
    assert {name: row["live_bytes"] for name, row in rows.items()} == {
        "a": 256 + 512,  # the input and a
        "b": 512 + 512,
        "add": 3 * 512,
        "pool": 512 + 128,
    }


def test_size_of_the_network_is_that_of_all_its_layers_in_half_octaves(branches):
    rows = by_name(executed_alone(branches))
    # weights of a and b with biases 880; read and written 768 + 1,024 + 1,536 + 640; 1,536 at most
    # alive, at the sum: 4,848 and 2,416 bytes, which lie next to 2^12 and 2^11 (up to 2,435)
    assert {row["network_bytes"] for row in rows.values()} == {2**12}
    assert {row["network_footprint"] for row in rows.values()} == {2**11}


def test_fused_layers_are_one_and_their_inner_tensors_are_nowhere(branches):
    a, b, added, pool = (layer for layer in branches.layers if layer.inputs)
    rows = by_name([make_executed([a]), make_executed([b, added]), make_executed([pool])])
    assert rows["b"]["live_bytes"] == 512 + 512  # a, and the sum
    assert rows["b"]["readers"] == 1
    assert rows["a"]["output_reach"] == 1
    # 880 of weights, 768 + 1,024 + 640 of tensors: the group reads a once, its inner one nowhere
    assert rows["b"]["network_bytes"] == pytest.approx(2**11.5)  # of 3,312
    assert rows["b"]["network_footprint"] == pytest.approx(2**11)  # of 1,904


def test_of_no_layers_nothing_stands_around():
    assert contexts([]) == []


def test_networks_of_nearly_one_size_have_the_same_size():
    """A channel more or less of 64 is nothing that a cache could tell."""
    sizes = set()
    for channels in (63, 64, 65):
        builder = GraphBuilder("one")
        builder.convolution(builder.input(1, channels, 8, 8), 64, 3)
        graph = with_bits(builder.build(), 8)
        (row,) = by_name(executed_alone(graph)).values()
        sizes.add((row["network_bytes"], row["network_footprint"]))
    assert len(sizes) == 1


def test_renaming_alone_moves_nothing():
    builder = GraphBuilder("view")
    builder.add(op.Flatten(), builder.input(1, 4, 8, 8))
    (row,) = by_name(executed_alone(builder.build())).values()
    assert row["network_bytes"] == 0


def test_a_layer_alone_reads_the_input_and_writes_the_output(branches):
    layer = next(layer for layer in branches.layers if layer.name == "b")
    (row,) = by_name([make_executed([layer])]).values()
    assert row["reads_input"] == 1
    assert row["writes_output"] == 1
    assert row["readers"] == 0
    assert row["live_bytes"] == 1024
    assert row["previous_bytes"] == row["following_bytes"] == 0
    assert row["network_bytes"] == row["network_footprint"] == pytest.approx(2**10.5)  # of 1,608


def test_the_feature_matrix_ends_with_the_context(branches):
    executed = executed_alone(branches)
    matrix = feature_matrix(executed)
    assert matrix.shape == (len(executed), len(FEATURES))
    assert matrix[:, len(OWN_FEATURES) :].tolist() == [
        [float(value) for value in row] for row in contexts(executed)
    ]


def test_bytes_follow_the_precision(branches):
    executed = executed_alone(branches)
    wide = [
        make_executed([replace(each.root, activation_bits=32, weight_bits=32)]) for each in executed
    ]
    narrow = by_name(executed)["add"]
    for name in ("live_bytes", "network_bytes", "network_footprint"):
        assert by_name(wide)["add"][name] == pytest.approx(4 * narrow[name])
