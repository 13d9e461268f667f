"""What the importer asks of OpenVINO's nodes: shapes, constants, consumers, bits."""

from math import prod
from typing import Any

import numpy as np

from strata import operations as op

Node = Any  # openvino.Node: OpenVINO is imported only where a model is read
Output = Any  # openvino.Output

_SHAPE_READERS = frozenset({"ShapeOf"})
_LOW_LEVELS = 256  # FakeQuantize levels that fit 8 bits


def shape_of(output: Output) -> op.Shape:
    """Shape of an output; a dynamic axis counts with its upper bound, or 1 where it has none."""
    partial = output.get_partial_shape()
    if partial.rank.is_dynamic:
        return ()
    return tuple(
        axis.get_length() if axis.is_static else max(axis.get_max_length(), 1) for axis in partial
    )


def is_static(output: Output) -> bool:
    """Whether OpenVINO knows every axis of an output."""
    return bool(output.get_partial_shape().is_static)


def constant_names(nodes: list[Node]) -> frozenset[str]:
    """Names of nodes that depend on no input, so that a toolchain folds them away.

    The shape of a tensor of static shape is a constant too.
    """
    found: set[str] = set()
    for node in nodes:
        kind = node.get_type_name()
        if kind in ("Parameter", "Result"):
            continue
        sources = node.input_values()
        fixed_shape = kind in _SHAPE_READERS and is_static(sources[0])
        if fixed_shape or all(source.get_node().get_name() in found for source in sources):
            found.add(node.get_name())
    return frozenset(found)


def constant_value(output: Output) -> np.ndarray | None:
    """Value of a constant output where OpenVINO has folded it, looking through Converts."""
    node = output.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def integers(output: Output) -> tuple[int, ...] | None:
    """A folded constant as whole numbers, flattened."""
    value = constant_value(output)
    return None if value is None else tuple(int(number) for number in value.ravel())


def scalar(output: Output) -> float | None:
    """The one number a folded constant holds (whatever its rank), else None."""
    if prod(shape_of(output)) != 1:
        return None
    value = constant_value(output)
    return None if value is None else float(value.ravel()[0])


def consumers(output: Output) -> list[Node]:
    """Nodes that read an output, once per reading input."""
    return [target.get_node() for target in output.get_target_inputs()]


def used_ports(node: Node) -> list[int]:
    """Indices of the outputs somebody reads."""
    return [i for i, output in enumerate(node.outputs()) if output.get_target_inputs()]


def same_output(first: Output, second: Output) -> bool:
    """Whether two output handles are the same tensor."""
    return output_key(first) == output_key(second)


def output_key(output: Output) -> tuple[str, int]:
    """A hashable identity of an output within its model."""
    return output.get_node().get_name(), output.get_index()


def is_low_quantiser(node: Node) -> bool:
    """Whether a node rounds to at most 256 levels."""
    return (
        node.get_type_name() == "FakeQuantize"
        and int(node.get_attributes().get("levels", 0)) <= _LOW_LEVELS
    )


def element_bits(output: Output) -> int:
    """8 for 8-bit element types; 32 for all others (floats are executed as f32)."""
    element = output.get_element_type()
    return 8 if element.bitwidth == 8 and element.to_string() in ("i8", "u8") else 32


def weight_bits(output: Output) -> int:
    """Bits of a constant's elements as stored or quantised: 8, else 32."""
    pending, seen = [output], set()
    while pending:
        current = pending.pop()
        if output_key(current) in seen:
            continue
        seen.add(output_key(current))
        node = current.get_node()
        if is_low_quantiser(node):
            return 8
        if node.get_type_name() == "Constant" and prod(shape_of(current)) > 1:
            if element_bits(current) == 8:
                return 8
            continue
        pending.extend(node.input_values())
    return 32
