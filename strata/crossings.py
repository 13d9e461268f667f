"""What a network hands over inside between an accelerator and its host.

Where a layer is left to the host, its inputs cross the link, and what it computes crosses back if
the accelerator goes on with it. No layer pays for that: it is part of what a network costs beside
its layers, as its own inputs and outputs are.
"""

from collections.abc import Sequence

from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.operations import Input


def crossing_bytes(graph: Graph, executed: Sequence[ExecutedLayer]) -> int:
    """Bytes of the tensors of `graph` that are handed over between its executed layers.

    A tensor that several layers read is handed over once. Layers that a toolchain inserted stand
    where the tensor comes from.
    """
    on_host = {
        layer.name: run.placement == "host"
        for run in executed
        for layer in run.layers
        if layer.name in graph and not isinstance(layer.parameters, Input)
    }
    handed = {
        source
        for name, here in on_host.items()
        for source in graph[name].inputs
        if on_host.get(source, here) != here
    }
    return graph.tensor_bytes(handed)
