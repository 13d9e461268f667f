"""Several OpenVINO nodes that are one layer: gated activations, GELU, bias, batch normalisation.

OpenVINO's own fusions leave some of these apart, depending on the front-end that wrote them.
"""

from dataclasses import dataclass, field

from strata import operations as op
from strata.openvino_values import (
    Node,
    Output,
    consumers,
    output_key,
    same_output,
    scalar,
    shape_of,
)

_WEIGHTED = frozenset(
    {
        "Convolution",
        "GroupConvolution",
        "ConvolutionBackpropData",
        "GroupConvolutionBackpropData",
        "MatMul",
    }
)
_ARITHMETIC = frozenset({"Add", "Multiply", "Subtract", "Divide"})


@dataclass(slots=True)
class Patterns:
    """What was found, by node name.

    `activations`: root of a pattern -> its kind and the output it reads. `normalisations`: the
    shifting Add of a batch normalisation -> the output that is scaled. `biases`: the Add -> the
    output of the layer whose bias it is. `biased`: the layers that have one. `absorbed`: inner
    nodes that become no layer of their own.
    """

    activations: dict[str, tuple[str, Output]] = field(default_factory=dict)
    normalisations: dict[str, Output] = field(default_factory=dict)
    biases: dict[str, Output] = field(default_factory=dict)
    biased: set[str] = field(default_factory=set)
    absorbed: set[str] = field(default_factory=set)


def _operands(node: Node, constants: frozenset[str]) -> tuple[Output | None, Output | None]:
    """(activation, constant) of a node with one of each, else (None, None)."""
    values = node.input_values()
    fixed = [value.get_node().get_name() in constants for value in values]
    if len(values) != 2 or fixed[0] == fixed[1]:
        return None, None
    return (values[1], values[0]) if fixed[0] else (values[0], values[1])


def _scaled(output: Output, constants: frozenset[str]) -> tuple[Output, list[Node]]:
    """The activation behind products with scalar constants that only this reader uses."""
    node, passed = output.get_node(), []
    while node.get_type_name() in ("Multiply", "Divide") and len(consumers(output)) == 1:
        source, constant = _operands(node, constants)
        if source is None or constant is None or scalar(constant) is None:
            break
        passed.append(node)
        output, node = source, source.get_node()
    return output, passed


def _shifted_clamp(
    output: Output, constants: frozenset[str]
) -> tuple[Output, list[Node]] | tuple[None, None]:
    """The x of relu6(x + 3), and the nodes in between."""
    node = output.get_node()
    if node.get_type_name() != "Clamp" or len(consumers(output)) != 1:
        return None, None
    limits = node.get_attributes()
    shift = node.input_value(0).get_node()
    if (limits["min"], limits["max"]) != (0.0, 6.0) or shift.get_type_name() != "Add":
        return None, None
    source, constant = _operands(shift, constants)
    if source is None or constant is None or scalar(constant) != 3.0:
        return None, None
    return (source, [node, shift]) if len(consumers(shift.output(0))) == 1 else (None, None)


def _gate(
    output: Output, constants: frozenset[str]
) -> tuple[str, Output, list[Node]] | tuple[None, None, list[Node]]:
    """Which gate an output is of which source: (swish | hard_swish, source, inner nodes)."""
    node = output.get_node()
    kind = {"Sigmoid": "swish", "HSigmoid": "hard_swish", "HardSigmoid": "hard_swish"}.get(
        node.get_type_name()
    )
    if kind and len(consumers(output)) == 1:
        return kind, node.input_value(0), [node]
    unscaled, passed = _scaled(output, constants)
    source, inner = _shifted_clamp(unscaled, constants)
    if source is None or inner is None:
        return None, None, []
    return "hard_swish", source, passed + inner


def _gated(node: Node, constants: frozenset[str]) -> tuple[str, Output, list[Node]] | None:
    """x * gate(x): swish or hard swish."""
    if node.get_type_name() != "Multiply":
        return None
    first, second = node.input_values()
    for source, gate in ((first, second), (second, first)):
        kind, origin, inner = _gate(gate, constants)
        if kind and origin is not None and same_output(origin, source):
            return kind, source, inner
    return None


def _scaled_after(node: Node, constants: frozenset[str]) -> Node:
    """The scalar division by six that may follow x * relu6(x + 3), else the node itself."""
    readers = consumers(node.output(0))
    if len(readers) != 1 or readers[0].get_type_name() not in ("Multiply", "Divide"):
        return node
    _, constant = _operands(readers[0], constants)
    value = None if constant is None else scalar(constant)
    sixth = value is not None and (abs(value - 1 / 6) < 1e-3 or value == 6.0)
    return readers[0] if sixth else node


def _gelu(erf: Node, constants: frozenset[str]) -> tuple[Node, Output, list[Node]] | None:
    """0.5 * x * (1 + erf(x / sqrt(2))) in any order of its products: root, x, inner nodes."""
    source, inner = _scaled(erf.input_value(0), constants)
    inner = [*inner, erf]
    node, met = erf, False
    while len(readers := consumers(node.output(0))) == 1:
        reader = readers[0]
        if reader.get_type_name() not in _ARITHMETIC:
            break
        other = next((v for v in reader.input_values() if not same_output(v, node.output(0))), None)
        if other is None:
            break
        if other.get_node().get_name() in constants:
            if scalar(other) is None:
                break
        else:
            origin, passed = _scaled(other, constants)
            direct = same_output(other, source)
            if met or not (direct or same_output(origin, source)):
                break
            met = True
            inner += [] if direct else passed
        inner.append(reader)
        node = reader
    return (node, source, inner[:-1]) if met else None


def _per_channel(constant: Output, shape: op.Shape, axis: int) -> bool:
    """Whether a constant has one value per channel and broadcasts along all other axes."""
    given = shape_of(constant)
    if len(given) > len(shape):
        return False
    padded = (1,) * (len(shape) - len(given)) + given
    axis %= len(shape)
    return padded[axis] == shape[axis] and all(
        size == 1 for i, size in enumerate(padded) if i != axis
    )


def _affine(
    node: Node, kind: str, constants: frozenset[str], last_axis: bool = False
) -> Output | None:
    """The activation that a per-channel Multiply or Add works on, else None."""
    if node.get_type_name() != kind:
        return None
    source, constant = _operands(node, constants)
    shape = shape_of(node.output(0))
    if source is None or constant is None or len(shape) < 2 or shape_of(source) != shape:
        return None
    axis = -1 if last_axis else 1
    return source if _per_channel(constant, shape, axis) else None


def _bias(node: Node, constants: frozenset[str]) -> Output | None:
    """The layer's output an Add is the bias of, else None."""
    if node.get_type_name() != "Add":
        return None
    source, _ = _operands(node, constants)
    if source is None or source.get_node().get_type_name() not in _WEIGHTED:
        return None
    producer = source.get_node()
    if producer.input_value(1).get_node().get_name() not in constants:
        return None
    dense = producer.get_type_name() == "MatMul"
    return source if _affine(node, "Add", constants, last_axis=dense) else None


def find_patterns(nodes: list[Node], constants: frozenset[str]) -> Patterns:
    """All patterns of a model; `nodes` in topological order, `constants` by name."""
    found = Patterns()
    for node in nodes:
        name = node.get_name()
        if name in constants or name in found.absorbed:
            continue
        _find_activation(node, constants, found)
        source = _bias(node, constants)
        if source is not None and len(consumers(source)) == 1:
            found.biases[name] = source
            found.biased.add(output_key(source)[0])
            continue
        source = _affine(node, "Add", constants)
        if source is None or len(consumers(source)) != 1:
            continue
        scale = source.get_node()
        origin = _affine(scale, "Multiply", constants)
        if origin is not None and scale.get_name() not in found.activations:
            found.normalisations[name] = origin
            found.absorbed.add(scale.get_name())
    return found


def _find_activation(node: Node, constants: frozenset[str], found: Patterns) -> None:
    gated = _gated(node, constants)
    if gated:
        kind, source, inner = gated
        root = _scaled_after(node, constants) if kind == "hard_swish" and len(inner) == 2 else node
        if root is not node:
            inner = [*inner, node]
    elif node.get_type_name() == "Erf" and (gelu := _gelu(node, constants)):
        kind, (root, source, inner) = "gelu", gelu
    else:
        return
    found.activations[root.get_name()] = kind, source
    found.absorbed.update(inner_node.get_name() for inner_node in inner)
