"""Bytes handed over between host and accelerator, by hand."""

from strata import operations as op
from strata.builder import GraphBuilder
from strata.crossings import crossing_bytes
from strata.execution import make_executed

ELEMENT_BYTES = 4


def test_a_tensor_crosses_once_however_many_read_it():
    """in -> a -> (b on the host, c on the host); b + c -> d on the accelerator -> e."""
    builder = GraphBuilder("net")
    image = builder.input(1, 2, 4, 4)
    a = builder.convolution(image, 3, 1, name="a")
    b = builder.convolution(a, 5, 1, name="b")
    c = builder.convolution(a, 5, 1, name="c")
    d = builder.add(op.Elementwise("add"), b, c, name="d")
    builder.convolution(d, 7, 1, name="e")
    graph = builder.build()
    places = {"a": "", "b": "host", "c": "host", "d": "", "e": ""}
    run = [make_executed([graph[name]], place) for name, place in places.items()]
    assert crossing_bytes(graph, run) == (3 + 5 + 5) * 16 * ELEMENT_BYTES
    whole = [make_executed([graph[name]], "") for name in places]
    assert crossing_bytes(graph, whole) == 0


def test_streamed_weights_and_what_the_network_is_given_cross_nothing():
    builder = GraphBuilder("net")
    a = builder.convolution(builder.input(1, 2, 4, 4), 3, 1, name="a")
    builder.convolution(a, 5, 1, name="b")
    graph = builder.build()
    run = [make_executed([graph["a"]], "host"), make_executed([graph["b"]], "host")]
    assert crossing_bytes(graph, run) == 0
    run = [make_executed([graph["a"]], ""), make_executed([graph["b"]], "streamed")]
    assert crossing_bytes(graph, run) == 0
