"""Strides of 1x1 convolutions moved upstream, as some mapping toolchains do.

A 1x1 convolution with stride 2 reads one input element in four. A toolchain that sees this lets
the producer compute only those: executed shapes then differ from the graph's, for convolutions
before a strided shortcut among others. Whether a platform does so is learned (`MappingModel`);
what it means for the graph is written here.
"""

from dataclasses import replace

from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph, make_graph
from strata.layer import Layer

_ONE = (1, 1)
# Activations that toolchains do not treat as plain element-wise arithmetic.
_OPAQUE_ACTIVATIONS = ("swish", "leaky_relu", "other")


def _is_dense_convolution(layer: Layer) -> bool:
    return isinstance(layer.parameters, op.Convolution) and layer.parameters.groups == 1


def _passes_through(layer: Layer) -> bool:
    match layer.parameters:
        case op.Activation(kind=kind):
            return kind not in _OPAQUE_ACTIVATIONS
        case op.Elementwise() | op.BatchNormalization():
            return True
    return False


def _product(first: op.Pair, second: op.Pair) -> op.Pair:
    return first[0] * second[0], first[1] * second[1]


def _common(demands: list[op.Pair | None]) -> op.Pair | None:
    """The stride all consumers ask for, if there is one and it is not (1, 1)."""
    first = demands[0] if demands else None
    return first if first not in (None, _ONE) and all(d == first for d in demands) else None


class _Demands:
    """Strides asked for on (consumer, producer) edges while walking from the outputs up."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.successors = graph.successors
        self.edges: dict[tuple[str, str], op.Pair] = {}
        self.strides: dict[str, op.Pair] = {}
        self.pools: dict[tuple[str, str], op.Pair] = {}

    def settle(self, producer: str) -> None:
        """Give strides back where the producer cannot take them."""
        for consumer in self.successors[producer]:
            stride = self.edges.get((consumer, producer), _ONE)
            if stride == _ONE:
                continue
            if _is_dense_convolution(self.graph[consumer]):
                self.strides[consumer] = stride
            else:
                self.pools[consumer, producer] = stride

    def visit(self, layer: Layer) -> None:
        demands = [self.edges.get((c, layer.name)) for c in self.successors[layer.name]]
        wanted = None if layer.name in self.graph.outputs else _common(demands)
        if _is_dense_convolution(layer):
            own = layer.parameters.stride  # type: ignore[union-attr]
            if wanted is None:
                self.settle(layer.name)
            total = own if wanted is None else _product(own, wanted)
            if layer.parameters.kernel == _ONE:  # type: ignore[union-attr]
                self.strides[layer.name] = _ONE
                self.edges[layer.name, layer.inputs[0]] = total
            else:
                self.strides[layer.name] = total
        elif wanted is not None and _passes_through(layer):
            for producer in layer.inputs:
                self.edges[layer.name, producer] = wanted
        else:
            self.settle(layer.name)


def move_strides(graph: Graph) -> Graph:
    """The graph with strides of 1x1 convolutions moved to whoever can take them.

    Convolutions without groups take a stride, element-wise layers pass it on to all their
    producers if every consumer asks for the same; where a stride meets anything else it goes back
    to its convolution, or, on an element-wise layer's edge, becomes a 1x1 pooling named
    "<consumer>/strided_<producer>". Returns `graph` itself where nothing moves.
    """
    demands = _Demands(graph)
    for layer in reversed(graph.layers):
        demands.visit(layer)
    moved: list[Layer] = []
    changed = bool(demands.pools)
    for layer in graph.layers:
        inputs = list(layer.inputs)
        for i, producer in enumerate(layer.inputs):
            stride = demands.pools.get((layer.name, producer))
            if stride is not None:
                name = f"{layer.name}/strided_{producer}"
                pooling = op.Pooling("max", _ONE, stride)
                if not any(existing.name == name for existing in moved):
                    moved.append(replace(layer, name=name, parameters=pooling, inputs=(producer,)))
                inputs[i] = name
        parameters = layer.parameters
        stride = demands.strides.get(layer.name)
        if stride is not None and stride != parameters.stride:  # type: ignore[union-attr]
            parameters = replace(parameters, stride=stride)  # type: ignore[arg-type]
            changed = True
        moved.append(replace(layer, parameters=parameters, inputs=tuple(inputs)))
    if not changed:
        return graph
    try:
        return make_graph(graph.name, moved, graph.outputs)
    except SchemaError:  # a padded 1x1, an operand of another size: no such graph would run either
        return graph
