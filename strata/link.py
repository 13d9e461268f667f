"""What leaves an accelerator over the link to its host.

Where a layer is left to the host, what it reads leaves the accelerator as the network's outputs
do, and what the host computes is there already. No layer pays for that: it is part of what a
network costs beside its layers.
"""

from collections.abc import Sequence

from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.operations import VIEWS


def leaving_bytes(graph: Graph, executed: Sequence[ExecutedLayer]) -> int:
    """Bytes of the tensors that the executed layers of `graph` hand over to the host.

    Those are the network's outputs and what layers of the host read, as far as the accelerator
    computed them; a tensor that is read several times, or through views, leaves once.
    """
    on_host = dict.fromkeys(graph.inputs, True) | {
        layer.name: run.placement == "host"
        for run in executed
        for layer in run.layers
        if layer.name in graph and not isinstance(layer.parameters, VIEWS)
    }
    wanted = {_seen(graph, name) for name in graph.outputs}
    for name, there in on_host.items():
        if there:
            wanted |= {_seen(graph, source) for source in graph[name].inputs}
    # what is in no executed layer was computed before the run
    return graph.tensor_bytes(name for name in wanted if not on_host.get(name, True))


def _seen(graph: Graph, name: str) -> str:
    """The tensor that a name stands for: a view is another name for what it looks at."""
    while isinstance(graph[name].parameters, VIEWS) and graph[name].inputs:
        name = graph[name].inputs[0]
    return name
