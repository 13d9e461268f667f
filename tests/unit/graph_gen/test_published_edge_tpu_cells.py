"""NAS-Bench-201 networks from architecture strings."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graph_gen.published_edge_tpu_cells import (
    OPERATIONS,
    live_edges,
    nas_bench_201,
    parse_architecture,
    published_cell_macs,
)
from strata.errors import SchemaError

CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"


def text(operations):
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


# Cells of the published table with the MACs it gives, in millions.
@pytest.mark.parametrize(
    ("architecture", "macs_m"),
    [
        (
            "|none~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|",
            106.16832,
        ),
        (
            "|nor_conv_1x1~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1"
            "|nor_conv_3x3~2|",
            145.48992,
        ),
        # the 3x3 convolution into node 2, which nobody reads, is counted
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_3x3~0|nor_conv_3x3~1"
            "|none~2|",
            141.55776,
        ),
    ],
)
def test_cell_macs_are_the_published_ones(architecture, macs_m):
    assert published_cell_macs(parse_architecture(architecture)) / 1e6 == pytest.approx(macs_m)


def test_a_chain_of_two_convolutions_by_hand():
    graph = nas_bench_201(CHAIN)
    cells = [layer for layer in graph.layers if "/cell" in layer.name]
    # per cell: rectifier, convolution, normalisation, twice; a stage's first rectifier is named
    # after the stem or the reduction that it reads
    assert len(cells) == 15 * 6 - 3
    stem, last = 32 * 32 * 27 * 16, 64 * 10
    reductions = sum(
        (half // 2) ** 2 * (9 * half_width * width + 9 * width**2 + half_width * width)
        for half, half_width, width in ((32, 16, 32), (16, 32, 64))
    )
    assert graph.work.macs == stem + 15 * 10 * 512**2 + reductions + last
    assert graph["classifier/pooling"].input_shapes[0] == (1, 64, 8, 8)


def test_operations_on_one_tensor_share_its_rectifier():
    graph = nas_bench_201(text(("nor_conv_3x3",) * 6))
    first = [layer for layer in graph.layers if layer.name.startswith("stage1/cell1/")]
    assert sum(layer.operation == "convolution" for layer in first) == 6
    rectifiers = [layer for layer in graph.layers if layer.name.endswith("/rectified")]
    assert len(rectifiers) == 15 * 3  # nodes 0, 1 and 2 of every cell


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.sampled_from(OPERATIONS)] * 6))
def test_what_is_left_is_read_and_reached(operations):
    edges = parse_architecture(text(operations))
    try:
        live = live_edges(edges)
    except SchemaError:
        assume(False)
    assert all(edge.operation != "none" for edge in live)
    for edge in live:
        assert edge.source == 0 or any(other.target == edge.source for other in live)
        assert edge.target == 3 or any(other.source == edge.target for other in live)
    graph = nas_bench_201(text(operations))
    assert graph.outputs == ("classifier/dense",)
    convolutions = sum(edge.operation.startswith("nor_conv") for edge in live)
    found = [layer for layer in graph.layers if layer.name.startswith("stage3/cell5/")]
    assert sum(layer.operation == "convolution" for layer in found) == convolutions


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("|none~0|+|none~0|none~1|", ["2 nodes"]),
        (CHAIN.replace("none~1", "none~2"), ["node 3", "0 to 2"]),
        (CHAIN.replace("skip_connect", "max_pool"), ["max_pool", "avg_pool_3x3"]),
        (text(("skip_connect",) * 3 + ("none",) * 3), ["no path"]),
    ],
)
def test_faulty_cells(architecture, words):
    with pytest.raises(SchemaError) as caught:
        nas_bench_201(architecture)
    assert all(word in str(caught.value) for word in words)
