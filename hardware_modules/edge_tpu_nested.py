"""Times per layer from a device without a profiler: differences of nested graphs.

A network is cut after each of its nodes-to-be (a layer with the activations and normalisations
that only it feeds). The time of the graph up to a node, minus that up to the node before, is the
node's share of the whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from simulators.grouping import Candidate, group_layers
from strata import operations as op
from strata.graph import Graph, make_graph


@dataclass(frozen=True, slots=True)
class Prefix:
    """The graph up to and with one node: the node's layers, what it reads, and the graph."""

    name: str
    operation: str
    layers: tuple[str, ...]
    producers: tuple[str, ...]
    output_shape: op.Shape
    graph: Graph


@dataclass(frozen=True, slots=True)
class Difference:
    """A node's time in seconds: `raw_s` as subtracted, `time_s` the same or 0 where negative."""

    raw_s: float
    time_s: float

    @property
    def clipped(self) -> bool:
        """Whether the graph with the node was measured faster than the one without."""
        return self.raw_s < 0


def _joins(candidate: Candidate) -> bool:
    fused = isinstance(candidate.layer.parameters, op.Activation | op.BatchNormalization)
    return fused and candidate.only_consumer


def _with_ancestors(graph: Graph, wanted: set[str]) -> set[str]:
    """The layers and all they read, directly or not."""
    found = set(wanted)
    for layer in reversed(graph.layers):
        if layer.name in found:
            found.update(layer.inputs)
    return found


def prefixes(graph: Graph) -> tuple[Prefix, ...]:
    """The nested graphs, the whole one last, each one node longer than the one before."""
    groups = group_layers(graph, _joins)
    wanted: set[str] = set()
    found = []
    for number, group in enumerate(groups, start=1):
        executed = group.executed
        wanted.update(layer.name for layer in executed.layers)
        part = graph
        if number < len(groups):
            kept = _with_ancestors(graph, wanted)
            layers = [layer for layer in graph.layers if layer.name in kept]
            part = make_graph(f"{graph.name} up to {executed.name}", layers)
        found.append(
            Prefix(
                executed.name,
                executed.operation,
                tuple(layer.name for layer in graph.layers if layer in executed.layers),
                group.producers,
                executed.output_shape,
                part,
            )
        )
    return tuple(found)


def differences(times_s: Mapping[str, float]) -> dict[str, Difference]:
    """Each node's time from those of the nested graphs, given in their order, seconds.

    The first node keeps the whole time of its graph: what a run costs beside its layers is in it.
    """
    found, before_s = {}, 0.0
    for name, time_s in times_s.items():
        raw_s = time_s - before_s
        found[name] = Difference(raw_s, max(raw_s, 0.0))
        before_s = time_s
    return found
