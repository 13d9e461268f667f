"""A network: layers in topological order. Immutable; an edit returns a new graph."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from strata import operations as op
from strata.errors import SchemaError
from strata.layer import Layer, make_layer, tensor_bytes
from strata.work import Work, weight_elements


@dataclass(frozen=True, slots=True)
class Graph:
    """A named directed acyclic graph of layers. Build it with `make_graph` or a `GraphBuilder`."""

    name: str
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    _index: dict[str, Layer] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {layer.name: layer for layer in self.layers})

    def __getitem__(self, name: str) -> Layer:
        return self._index[name]

    def __contains__(self, name: str) -> bool:
        return name in self._index

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input layers."""
        return tuple(layer.name for layer in self.layers if isinstance(layer.parameters, op.Input))

    @property
    def successors(self) -> dict[str, tuple[str, ...]]:
        """Consumers of each layer's output, in topological order."""
        found: dict[str, list[str]] = {layer.name: [] for layer in self.layers}
        for layer in self.layers:
            for producer in dict.fromkeys(layer.inputs):
                found[producer].append(layer.name)
        return {name: tuple(consumers) for name, consumers in found.items()}

    @property
    def work(self) -> Work:
        """Sum over the layers, each as if executed alone."""
        return sum((layer.work for layer in self.layers), Work())

    @property
    def weight_elements(self) -> int:
        """Number of constants that all layers read."""
        return sum(weight_elements(each.parameters, each.input_shapes) for each in self.layers)

    @property
    def input_bytes(self) -> int:
        """Bytes of all inputs."""
        return self.tensor_bytes(self.inputs)

    @property
    def output_bytes(self) -> int:
        """Bytes of all outputs."""
        return self.tensor_bytes(self.outputs)

    def tensor_bytes(self, names: Iterable[str]) -> int:
        """Bytes of what these layers compute."""
        layers = [self[name] for name in names]
        return sum(tensor_bytes(layer.output_shape, layer) for layer in layers)

    @property
    def opaque(self) -> tuple[Layer, ...]:
        """Layers an importer could not map."""
        return tuple(layer for layer in self.layers if isinstance(layer.parameters, op.Opaque))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the structure: independent of the graph's name, not of its layers' names."""
        text = repr((self.layers, self.outputs))
        return hashlib.sha256(text.encode()).hexdigest()


def with_bits(graph: Graph, bits: int) -> Graph:
    """The graph as a platform that computes in `bits` per activation and weight runs it."""
    if all(layer.activation_bits == layer.weight_bits == bits for layer in graph.layers):
        return graph
    layers = (replace(each, activation_bits=bits, weight_bits=bits) for each in graph.layers)
    return replace(graph, layers=tuple(layers))


def _ordered(layers: list[Layer], graph: str) -> list[Layer]:
    index: dict[str, Layer] = {}
    for layer in layers:
        if layer.name in index:
            raise SchemaError(f"graph '{graph}': two layers are named '{layer.name}'")
        index[layer.name] = layer
    for layer in layers:
        for producer in layer.inputs:
            if producer not in index:
                raise SchemaError(
                    f"graph '{graph}': layer '{layer.name}' reads '{producer}', "
                    "which is no layer of the graph"
                )
    if _is_topological(layers):  # the given order is kept
        return layers
    try:
        order = TopologicalSorter({layer.name: layer.inputs for layer in layers}).static_order()
        names = list(order)
    except CycleError as error:
        raise SchemaError(f"graph '{graph}' has a cycle: {' -> '.join(error.args[1])}") from None
    position = {name: i for i, name in enumerate(names)}
    return sorted(layers, key=lambda layer: position[layer.name])


def _is_topological(layers: list[Layer]) -> bool:
    done: set[str] = set()
    for layer in layers:
        if any(producer not in done for producer in layer.inputs):
            return False
        done.add(layer.name)
    return True


def make_graph(name: str, layers: Iterable[Layer], outputs: tuple[str, ...] | None = None) -> Graph:
    """A checked graph: order, references and every shape; shapes are inferred anew.

    `outputs` defaults to the layers nobody reads. Raises SchemaError naming the graph and layer.
    """
    given = list(layers)
    if not given:
        raise SchemaError(f"graph '{name}' has no layers")
    shapes: dict[str, op.Shape] = {}
    checked = []
    for layer in _ordered(given, name):
        inferred = make_layer(
            layer.name,
            layer.parameters,
            layer.inputs,
            tuple(shapes[producer] for producer in layer.inputs),
            layer.activation_bits,
            layer.weight_bits,
        )
        shapes[layer.name] = inferred.output_shape
        checked.append(inferred)
    if outputs is None:
        read = {producer for layer in checked for producer in layer.inputs}
        outputs = tuple(layer.name for layer in checked if layer.name not in read)
    for output in outputs:
        if output not in shapes:
            raise SchemaError(f"graph '{name}': output '{output}' is no layer of the graph")
    return Graph(name, tuple(checked), outputs)
