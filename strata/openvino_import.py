"""From an OpenVINO model to a Graph: every node a layer, a part of one, or an opaque layer."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph, make_graph
from strata.layer import Layer, make_layer
from strata.openvino_patterns import find_patterns
from strata.openvino_rules import RULES, Chain
from strata.openvino_values import (
    Node,
    Output,
    constant_names,
    consumers,
    element_bits,
    is_low_quantiser,
    is_static,
    output_key,
    shape_of,
    used_ports,
    weight_bits,
)

_SINKS = frozenset({"Result", "Assign"})
_TRANSPARENT = frozenset({"Convert", "ConvertLike", "FakeQuantize", "Identity"})
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze"})
_DATA_MOVERS = (op.Reshape, op.Flatten, op.Transpose, op.Slice, op.Concat, op.Pad, op.Pooling)
_WEIGHTED = (
    op.Convolution,
    op.TransposedConvolution,
    op.Dense,
    op.Elementwise,
    op.BatchNormalization,
    op.Lstm,
)
_DEQUANTISERS = frozenset({"Subtract", "Multiply"})


@dataclass(frozen=True, slots=True)
class _Value:
    """The layer that makes a tensor, its bits, and whether it still lacks its 8-bit scale."""

    layer: str
    bits: int = 32
    raw: bool = False


class _Converter:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.constants = constant_names(nodes)
        self.patterns = find_patterns(nodes, self.constants)
        self.layers: dict[str, Layer] = {}
        self.values: dict[tuple[str, int], _Value] = {}

    def convert(self) -> None:
        for node in self.nodes:
            name = node.get_name()
            if name in self.constants or name in self.patterns.absorbed:
                continue
            if node.get_type_name() == "Parameter":
                self._add_input(node)
            elif node.get_type_name() not in _SINKS and not self._pass_through(node):
                self._add(node)

    def outputs(self) -> tuple[str, ...]:
        """Layers the model's results read."""
        found = [
            self.values[output_key(node.input_value(0))].layer
            for node in self.nodes
            if node.get_type_name() == "Result" and output_key(node.input_value(0)) in self.values
        ]
        return tuple(dict.fromkeys(found))

    def _sources(self, outputs: Iterable[Output]) -> list[_Value]:
        return [self.values[key] for key in map(output_key, outputs) if key in self.values]

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.layers:
            count += 1
            candidate = f"{name}#{count}"
        return candidate

    def _add_input(self, node: Node) -> None:
        name = self._unique(node.get_friendly_name())
        output = node.output(0)
        bits = element_bits(output)
        self.layers[name] = make_layer(
            name, op.Input(shape_of(output)), activation_bits=bits, weight_bits=bits
        )
        self.values[output_key(output)] = _Value(name, bits)

    def _pass_through(self, node: Node) -> bool:
        """Let a node without work of its own stand for its source; False if it has some."""
        kind = node.get_type_name()
        sources = self._sources(node.input_values())
        output = node.output(0)
        if node.get_name() in self.patterns.biases:
            bias_of = self.values[output_key(self.patterns.biases[node.get_name()])]
            self.values[output_key(output)] = bias_of
            return True
        if len(sources) != 1:
            return False
        (source,) = sources
        same_shape = (
            is_static(output) and shape_of(output) == self.layers[source.layer].output_shape
        )
        if kind in _TRANSPARENT:
            if is_low_quantiser(node):
                source = replace(source, bits=8)
            elif kind == "Convert" and element_bits(node.input_value(0)) == 8:
                source = replace(source, bits=8, raw=element_bits(output) != 8)
        elif kind in _DEQUANTISERS and source.raw and node.get_input_size() == 2:
            source = replace(source, raw=kind == "Subtract")
        elif kind not in _VIEWS or not same_shape:
            return False
        self.values[output_key(output)] = source
        return True

    def _chain(self, node: Node, port: int) -> tuple[Chain | None, list[Output]]:
        name = node.get_name()
        if name in self.patterns.activations:
            kind, source = self.patterns.activations[name]
            return (op.Activation(kind),), [source]  # type: ignore[arg-type]
        if name in self.patterns.normalisations:
            return (op.BatchNormalization(),), [self.patterns.normalisations[name]]
        rule = RULES.get(node.get_type_name())
        chain = None
        if rule and is_static(node.output(port)):
            with suppress(LookupError, ValueError):  # a rank or attribute the rule does not expect
                chain = rule(node, port, self.constants)
        if chain and name in self.patterns.biased:
            chain = (replace(cast(Any, chain[0]), bias=True), *chain[1:])
        return chain, node.input_values()

    def _add(self, node: Node) -> None:
        """One chain of layers per output that is read; a common first layer stands once."""
        base, first_layers = node.get_friendly_name(), dict[op.Parameters, str]()
        for port in used_ports(node) or [0]:
            name = base if not first_layers else f"{base}:{port}"
            output = node.output(port)
            chain, read = self._chain(node, port)
            sources = self._sources(read)
            if not sources:  # not even its inputs come from the network's: as good as a constant
                continue
            layers = self._layers(node, name, chain, sources, output, first_layers)
            for layer in layers:
                self.layers[layer.name] = layer
            last = layers[-1]
            moved = isinstance(last.parameters, _DATA_MOVERS)
            self.values[output_key(output)] = _Value(
                last.name, last.activation_bits if moved else 32
            )

    def _layers(
        self,
        node: Node,
        name: str,
        chain: Chain | None,
        sources: list[_Value],
        output: Output,
        shared: dict[op.Parameters, str],
    ) -> list[Layer]:
        """The chain as layers if their shapes end in OpenVINO's, else one opaque layer."""
        shape = shape_of(output)
        if chain is not None:
            try:
                layers = self._make(node, name, chain, sources, output, shared)
            except SchemaError:
                layers = []
            if layers and layers[-1].output_shape == shape:
                shared[chain[0]] = layers[0].name
                return layers
        opaque = op.Opaque(node.get_type_name(), shape)
        layers = self._make(node, name, (opaque,), sources, output, shared)
        shared[opaque] = layers[0].name
        return layers

    def _make(
        self,
        node: Node,
        name: str,
        chain: Chain,
        sources: list[_Value],
        output: Output,
        shared: dict[op.Parameters, str],
    ) -> list[Layer]:
        quantised = consumers(output) and all(map(is_low_quantiser, consumers(output)))
        bits = 8 if quantised else max(source.bits for source in sources)
        weights = bits
        if isinstance(chain[0], _WEIGHTED):
            fixed = [value for value in node.input_values() if self._fixed(value)]
            weights = min((weight_bits(value) for value in fixed), default=bits)
        producers = tuple(source.layer for source in sources)
        made: list[Layer] = []
        for position, parameters in enumerate(chain):
            if position == 0 and parameters in shared:
                made.append(self.layers[shared[parameters]])
            else:
                shapes = tuple(
                    made[-1].output_shape if made else self.layers[producer].output_shape
                    for producer in producers
                )
                suffix = f"/{type(parameters).__name__.lower()}" if position else ""
                full = self._unique(name + suffix)
                made.append(make_layer(full, parameters, producers, shapes, bits, weights))
            producers = (made[-1].name,)
        return made

    def _fixed(self, output: Output) -> bool:
        return output.get_node().get_name() in self.constants


def graph_from_openvino(model: object, name: str) -> Graph:
    """The graph of an openvino.Model, one layer per node that computes or moves something.

    Layers bear the nodes' friendly names; a node that needs several layers adds `/reshape` and the
    like, a further output of a node adds `:` and its number. Constants, conversions and
    quantisers vanish into their neighbours; a bias and the parts of a batch normalisation, swish,
    hard swish or GELU become one layer. What has no operation here, or whose inferred shape
    differs from OpenVINO's, becomes an `Opaque` layer with OpenVINO's shape (a dynamic axis
    counts with its upper bound, or 1).

    Raises SchemaError if the model computes nothing from its inputs or has an empty axis.
    """
    converter = _Converter(model.get_ordered_ops())  # type: ignore[attr-defined]
    converter.convert()
    outputs = converter.outputs()
    if not outputs:
        raise SchemaError(f"graph '{name}': no output depends on an input")
    return make_graph(name, converter.layers.values(), outputs)
