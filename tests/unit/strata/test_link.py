"""Bytes that leave an accelerator for its host, by hand."""

from strata import operations as op
from strata.builder import GraphBuilder
from strata.execution import make_executed
from strata.link import leaving_bytes

ELEMENT_BYTES = 4


def test_what_the_host_reads_leaves_once_and_what_it_computes_does_not():
    """in -> a -> (b, c on the host) -> b + c on the host; a -> d, an output."""
    builder = GraphBuilder("net")
    a = builder.convolution(builder.input(1, 2, 4, 4), 3, 1, name="a")
    b = builder.convolution(a, 5, 1, name="b")
    c = builder.convolution(a, 5, 1, name="c")
    builder.add(op.Elementwise("add"), b, c, name="sum")
    builder.convolution(a, 7, 1, name="d")
    graph = builder.build()
    places = {"a": "", "b": "host", "c": "host", "sum": "host", "d": "streamed"}
    run = [make_executed([graph[name]], place) for name, place in places.items()]
    assert leaving_bytes(graph, run) == (3 + 7) * 16 * ELEMENT_BYTES
    whole = [make_executed([graph[name]], "") for name in places]
    assert leaving_bytes(graph, whole) == graph.output_bytes == (5 + 7) * 16 * ELEMENT_BYTES
    hosted = [make_executed([graph[name]], "host") for name in places]
    assert leaving_bytes(graph, hosted) == 0


def test_a_view_is_the_tensor_it_looks_at():
    """in -> a -> flatten -> dense on the host; flatten has no executed layer of its own."""
    builder = GraphBuilder("net")
    a = builder.convolution(builder.input(1, 2, 4, 4), 3, 1, name="a")
    flat = builder.add(op.Flatten(), a, name="flat")
    builder.add(op.Dense(7), flat, name="b")
    graph = builder.build()
    run = [make_executed([graph["a"]], ""), make_executed([graph["b"]], "host")]
    assert leaving_bytes(graph, run) == 3 * 16 * ELEMENT_BYTES
    run.insert(1, make_executed([graph["flat"]], "host"))
    assert leaving_bytes(graph, run) == 3 * 16 * ELEMENT_BYTES


def test_what_was_computed_before_the_run_leaves_nothing():
    """A layer that no executed layer holds was folded away: its result lies on the host."""
    builder = GraphBuilder("net")
    folded = builder.convolution(builder.input(1, 2, 4, 4), 3, 1, name="folded")
    builder.convolution(folded, 5, 1, name="b")
    graph = builder.build()
    assert leaving_bytes(graph, [make_executed([graph["b"]], "host")]) == 0
