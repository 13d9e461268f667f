"""What leaves an accelerator over the link to its host.

Where a layer is left to the host, what it reads leaves the accelerator as the network's outputs
do, and what the host computes is there already. No layer pays for that: it is part of what a
network costs beside its layers.
"""

from collections.abc import Sequence

from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.operations import Input


def leaving_bytes(graph: Graph, executed: Sequence[ExecutedLayer]) -> int:
    """Bytes of the tensors that the executed layers of `graph` hand over to the host.

    Those are the network's outputs and what layers of the host read, as far as the accelerator
    computed them; a tensor that is read several times leaves once.
    """
    on_host = dict.fromkeys(graph.inputs, True) | {
        layer.name: run.placement == "host"
        for run in executed
        for layer in run.layers
        if layer.name in graph and not isinstance(layer.parameters, Input)
    }
    wanted = set(graph.outputs)
    for name, there in on_host.items():
        if there:
            wanted |= set(graph[name].inputs)
    return graph.tensor_bytes(name for name in wanted if not on_host.get(name, False))
