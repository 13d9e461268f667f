"""Tangles: legal for every seed, the same every time, and without the habits of real networks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from graph_gen.benchmarks import build
from strata import operations as op
from strata.graph import Graph

SOME = [build("tangles", {"seed": seed, "layers": 24}) for seed in range(60)]


@given(seed=st.integers(0, 2**63 - 1), layers=st.integers(4, 64))
@settings(max_examples=40, deadline=None)
def test_any_seed_gives_the_same_connected_graph_twice(seed, layers):
    graph = build("tangles", {"seed": seed, "layers": layers})
    assert graph == build("tangles", {"seed": seed, "layers": layers})
    assert len(graph.layers) > layers
    assert all(isinstance(graph[name].parameters, op.GlobalPooling) for name in graph.outputs)


def positions(graph: Graph) -> dict[str, int]:
    return {layer.name: place for place, layer in enumerate(graph.layers)}


def test_operands_of_concatenations_stand_in_any_order():
    ascending = set()
    for graph in SOME:
        place = positions(graph)
        for layer in graph.layers:
            if isinstance(layer.parameters, op.Concat):
                made = [place[name] for name in layer.inputs]
                ascending.add(made == sorted(made))
    assert ascending == {True, False}


def test_bare_and_pooled_convolutions_are_added_and_concatenated():
    """What networks have seldom or never, and trees must have seen to tell rule from habit."""
    before = {"Elementwise": set(), "Concat": set()}
    for graph in SOME:
        for layer in graph.layers:
            kind = type(layer.parameters).__name__
            if kind in before and len(layer.inputs) > 1:
                before[kind] |= {type(graph[name].parameters).__name__ for name in layer.inputs}
    for makers in before.values():
        assert {"Convolution", "BatchNormalization", "Activation", "Pooling"} <= makers


def test_tensors_are_read_once_and_several_times():
    readers = {
        min(len(graph.successors[layer.name]), 3)
        for graph in SOME
        for layer in graph.layers
        if layer.name not in graph.outputs
    }
    assert readers == {1, 2, 3}
