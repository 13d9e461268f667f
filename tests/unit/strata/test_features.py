"""Features of a window's ends, worked by hand."""

import pytest

from strata.builder import GraphBuilder
from strata.execution import features, make_executed
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
