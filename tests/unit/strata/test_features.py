"""Features of a window's ends, worked by hand."""

import pytest

from strata.builder import GraphBuilder
from strata.execution import feature_matrix, features, make_executed
from strata.layer_models import Refined, Roofline, Unrolling, tiles
from strata.operations import Activation, Pad, TransposedConvolution


def ends(size, add) -> tuple[float, float]:
    """The features of what is added to an input of eight channels, as one executed layer."""
    builder = GraphBuilder("one")
    add(builder, builder.input(1, 8, *size))
    found = features(make_executed(builder.build().layers[1:]))
    return found["uneven_padding"], found["unread"]


# height and width, kernel, stride, padding (top, left, bottom, right); the padding's difference
# and the rows or columns that no window reaches
WINDOWS = [
    ((14, 14), 3, 1, (1, 1, 1, 1), (0, 0)),
    ((14, 14), 3, 2, (0, 0, 1, 1), (1, 0)),
    ((14, 14), 3, 2, (1, 1, 1, 1), (0, 0)),  # a row of padding stays unread, none of the input
    ((15, 15), 3, 2, (1, 1, 1, 1), (0, 0)),
    ((14, 14), 3, 2, (0, 0, 0, 0), (0, 1)),
    ((14, 14), 1, 2, (0, 0, 0, 0), (0, 1)),
    ((14, 15), 2, 2, (0, 0, 0, 0), (0, 1)),
    ((14, 15), 2, 2, (0, 0, 0, 1), (1, 0)),
    ((12, 12), 3, 5, (0, 0, 0, 0), (0, 4)),
]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "expected"), WINDOWS)
def test_convolutions_and_poolings(size, kernel, stride, padding, expected):
    window = kernel, stride, padding
    assert ends(size, lambda builder, x: builder.convolution(x, 8, *window)) == expected
    assert ends(size, lambda builder, x: builder.pooling(x, "max", *window)) == expected


def test_dilated_windows_reach_further():
    # windows of five begin at 0, 3, 6 and 9; of three they end at 11
    none = (0, 0, 0, 0)
    assert ends((14, 14), lambda builder, x: builder.convolution(x, 8, 3, 3, none, 2)) == (0, 0)
    uneven = ends((14, 14), lambda builder, x: builder.convolution(x, 8, 3, 3, none, (1, 2)))
    assert uneven == (0, 2)


@pytest.mark.parametrize(
    ("before", "after", "expected"), [((0, 0), (1, 1), (1, 0)), ((1, 1), (1, 1), (0, 0))]
)
def test_a_padding_that_is_absorbed_is_the_windows_own(before, after, expected):
    """Keras's ZeroPadding2D before a convolution without any."""

    def add(builder, source):
        padded = builder.add(Pad((0, 0, *before), (0, 0, *after)), source)
        builder.convolution(padded, 8, 3, 2, (0, 0, 0, 0))

    assert ends((28, 28), add) == expected


def test_a_transposed_convolution_reads_all_of_its_input():
    grown = TransposedConvolution(8, (4, 4), (2, 2), padding=(0, 1, 1, 1))
    assert ends((14, 14), lambda builder, x: builder.add(grown, x)) == (1, 0)


def test_layers_without_a_window():
    assert ends((14, 14), lambda builder, x: builder.add(Activation("relu"), x)) == (0, 0)


@pytest.mark.parametrize(
    ("groups", "channels", "expected"),
    [(1, 96, 32), (2, 96, 16), (3, 96, 32), (12, 96, 8), (96, 96, 32), (5, 15, 1)],
)
def test_blocks_fill_groups_but_those_of_depthwise_convolutions(groups, channels, expected):
    """96 channels are 3 x 32; of two groups each 48, 3 x 16; of twelve 8; 15 in five 3 each."""
    builder = GraphBuilder("one")
    source = builder.input(1, channels, 8, 8)
    builder.convolution(source, channels, 3, groups=groups)
    found = features(make_executed(builder.build().layers[1:]))
    assert (found["channels_alignment"], found["filters_alignment"]) == (expected, expected)


def test_a_grouped_convolution_fills_an_array_one_group_at_a_time():
    """Groups of 8 and of 24 on an array of 16 filters: u_eff 1/2 and 3/4 by equation 3."""
    unrolling = (Unrolling("filters", 16, 0.0),)

    def row(groups):
        builder = GraphBuilder("one")
        source = builder.input(1, 96, 8, 8)
        builder.convolution(source, 96, 3, groups=groups)
        return feature_matrix([make_executed(builder.build().layers[1:])])

    refined = Refined(Roofline(1e9, 1e9, 1e-6), unrolling)
    filled = {groups: float(refined.efficiency(row(groups))[0]) for groups in (1, 4, 12, 96)}
    # 96 filters fill six rows whole, depthwise or not
    assert filled == pytest.approx({1: 1.0, 4: 0.75, 12: 0.5, 96: 1.0})
    found = {groups: tuple(tiles(row(groups), unrolling)[0]) for groups in (1, 4, 12, 96)}
    assert found == {1: (6, 0), 4: (8, 0.5), 12: (12, 0.5), 96: (6, 0)}
    # only channels and filters are a group's: 8 columns in blocks of 3 leave 2 over, grouped or not
    two = (Unrolling("output_width", 3, 0.0), *unrolling)
    assert tuple(tiles(row(12), two)[0]) == pytest.approx((3, 2 / 3, 12, 0.5))
    assert tiles(row(12)[:0], two).shape == (0, 4)


def test_groups_of_a_transposed_convolution_are_groups_and_a_multiplier_makes_none():
    builder = GraphBuilder("one")
    source = builder.input(1, 96, 8, 8)
    builder.add(TransposedConvolution(48, (2, 2), (2, 2), groups=4), source)
    found = features(make_executed(builder.build().layers[1:]))
    assert (found["channels_alignment"], found["filters_alignment"]) == (8, 4)
    builder = GraphBuilder("two")
    builder.convolution(builder.input(1, 24, 8, 8), 72, 3, groups=24)
    found = features(make_executed(builder.build().layers[1:]))
    assert (found["channels_alignment"], found["filters_alignment"]) == (8, 8)
