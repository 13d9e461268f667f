"""Networks pruned to published operations whose widths were not published: all thinned alike.

An approximation: a pruner thins a layer by how little its channels matter. The operations of the
whole agree with what was published, their distribution over the layers is a guess.
"""

from dataclasses import replace
from math import prod

from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph, make_graph
from strata.layer import Layer, make_layer

_WEIGHTED = (op.Convolution, op.TransposedConvolution, op.Dense)
_HALVINGS = 30


def _last_weighted(graph: Graph) -> set[str]:
    """Layers with weights whose result reaches an output of the network past no other such layer.

    Their filters are what the network answers: maps, boxes, classes.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(graph.outputs)
    while waiting:
        layer = graph[waiting.pop()]
        if layer.name not in seen:
            seen.add(layer.name)
            if isinstance(layer.parameters, _WEIGHTED):
                found.add(layer.name)
            else:
                waiting += layer.inputs
    return found


def _thinned(layer: Layer, shapes: tuple[op.Shape, ...], factor: float) -> op.Parameters:
    """The layer's parameters when its inputs have `shapes`."""
    match layer.parameters:
        case op.Convolution() | op.TransposedConvolution() as convolution:
            if layer.operation == "depthwise_convolution":
                channels = shapes[0][1]
                multiplier = convolution.filters // convolution.groups
                return replace(convolution, filters=multiplier * channels, groups=channels)
            return replace(convolution, filters=max(1, round(convolution.filters * factor)))
        case op.Reshape(shape=shape):
            # batch, channels, ...: what the channels become keeps the number of elements
            rest = shape[0] * prod(shape[2:])
            return op.Reshape((shape[0], prod(shapes[0]) // rest, *shape[2:]))
    return layer.parameters


def thin(graph: Graph, factor: float) -> Graph:
    """The network with all filters but the last times `factor`, rounded, at least one.

    Depthwise convolutions follow their input; dense layers keep their units.
    """
    kept = _last_weighted(graph)
    shapes: dict[str, op.Shape] = {}
    layers = []
    for layer in graph.layers:
        inputs = tuple(shapes[producer] for producer in layer.inputs)
        parameters = _thinned(layer, inputs, 1.0 if layer.name in kept else factor)
        thinned = make_layer(layer.name, parameters, layer.inputs, inputs)
        shapes[layer.name] = thinned.output_shape
        layers.append(thinned)
    return make_graph(graph.name, layers, graph.outputs)


def prune(graph: Graph, ops: float) -> Graph:
    """The network thinned until its convolutions and dense layers have `ops` operations.

    Two operations per multiply-accumulate. SchemaError where the network has fewer unthinned.
    """
    if ops > 2 * graph.work.macs:
        raise SchemaError(
            f"network '{graph.name}' has {2 * graph.work.macs / 1e9:.2f} G operations, "
            f"pruning cannot raise them to {ops / 1e9:.2f} G"
        )
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        factor = (low + high) / 2
        if 2 * thin(graph, factor).work.macs < ops:
            low = factor
        else:
            high = factor
    return thin(graph, high)
