"""A TFLite file -> the graph of its operators, for toolchains that read the file themselves.

Each layer has the name of its tensor in the file, so that what a toolchain tells of an operator
belongs to a layer. What has no record of its own in a graph becomes an opaque layer. The bindings
of the schema are those that ship with Arm's Vela.
"""

from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from hardware_modules.tflite_rules import MANY_INPUTS, RULES, Operator, Tensor, graph_shape
from strata import operations as op
from strata.errors import ArtefactError, SchemaError
from strata.graph import Graph, make_graph
from strata.layer import Layer, make_layer

_BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "UINT8": 8, "INT64": 64, "INT16": 16, "INT8": 8}
_NUMBERS = {"INT32": np.int32, "INT64": np.int64}
_RELABELS = ("QUANTIZE", "DEQUANTIZE")  # the same values on another grid: no layer of a graph
_OF_SHAPES = ("SHAPE", "RANK")  # what they give is known before anything runs


def _table(name: str) -> Any:
    return getattr(import_module(f"ethosu.vela.tflite.{name}"), name)


@cache
def _names(enumeration: str) -> dict[int, str]:
    """Names of a schema's enumeration by number."""
    return {value: key for key, value in vars(_table(enumeration)).items() if key.isupper()}


@dataclass(slots=True)
class _Network:
    """Layers by name, those of each operator, and the layer behind each computed tensor."""

    layers: dict[str, Layer] = field(default_factory=dict)
    operators: list[tuple[str, ...]] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)

    def add(self, name: str, parameters: op.Parameters, reads: tuple[str, ...], bits: int) -> str:
        free, number = name, 1
        while free in self.layers:
            number += 1
            free = f"{name}#{number}"
        shapes = tuple(self.layers[each].output_shape for each in reads)
        self.layers[free] = make_layer(free, parameters, reads, shapes, bits, bits)
        return free

    def operator(self, each: Operator) -> None:
        computed = [t for t in each.inputs if t is not None and id(t) in self.values]
        reads = tuple(self.values[id(tensor)] for tensor in computed)
        made: list[str] = []
        for output in each.outputs if reads and each.code not in _OF_SHAPES else ():
            if each.code in _RELABELS:
                self.values[id(output)] = reads[0]
            else:
                made += self.chain(each, output, reads)
                self.values[id(output)] = made[-1]
        self.operators.append(tuple(made))

    def chain(self, each: Operator, output: Tensor, reads: tuple[str, ...]) -> list[str]:
        """The layers behind one output; an opaque one if its shape is not the file's."""
        bits, before = _BITS.get(output.type, 32), set(self.layers)
        made: list[str] = []
        wanted = graph_shape(output.shape)
        try:
            for suffix, parameters in RULES[each.code](each, output):
                source = (made[-1],) if made else reads if each.code in MANY_INPUTS else reads[:1]
                made.append(self.add(f"{output.name}{suffix}", parameters, source, bits))
            if self.layers[made[-1]].output_shape == wanted:
                return made
        except (LookupError, SchemaError, ValueError):  # no record fits what the file says
            pass
        for name in set(self.layers) - before:
            del self.layers[name]
        return [self.add(output.name, op.Opaque(each.code, wanted), reads, bits)]


def _tensors(model: Any, subgraph: Any) -> list[Tensor]:
    found = []
    for place in range(subgraph.TensorsLength()):
        tensor = subgraph.Tensors(place)
        kind = _names("TensorType").get(tensor.Type(), "?")
        shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength())) or (1,)
        buffer = model.Buffers(tensor.Buffer())
        fixed = buffer is not None and buffer.DataLength() > 0
        constant = None
        if fixed and kind in _NUMBERS:
            constant = np.frombuffer(bytes(buffer.DataAsNumpy()), _NUMBERS[kind])
        name = (tensor.Name() or b"").decode("utf-8", "replace") or f"tensor_{place}"
        found.append(Tensor(name, shape, kind, fixed, constant))
    return found


def _code(model: Any, index: int) -> str:
    code = model.OperatorCodes(index)
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = _names("BuiltinOperator").get(number, f"operator {number}")
    return (code.CustomCode() or b"CUSTOM").decode() if name == "CUSTOM" else name


def _operator(model: Any, tensors: list[Tensor], operator: Any) -> Operator:
    def options(name: str) -> Any:
        union, table = operator.BuiltinOptions(), _table(name)()
        if union is None:
            raise LookupError(name)
        table.Init(union.Bytes, union.Pos)
        return table

    inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
    outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
    return Operator(
        _code(model, operator.OpcodeIndex()),
        tuple(tensors[i] if i >= 0 else None for i in inputs),
        tuple(tensors[i] for i in outputs),
        options,
    )


def read_content(path: Path) -> bytes:
    """The bytes of a file; ArtefactError, one line, if it is missing or not TFLite's."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    if content[4:8] != b"TFL3":
        raise ArtefactError(f"{path}: cannot be read as a .tflite file: its mark TFL3 is missing")
    return content


def read_graph(content: bytes, path: Path) -> tuple[Graph, tuple[tuple[str, ...], ...]]:
    """The graph of a TFLite model, named after its file, and the layers of each of its operators.

    ArtefactError, one line, for a file that cannot be read or that has not one subgraph.
    """
    try:
        model = _table("Model").GetRootAs(content, 0)
        if (count := model.SubgraphsLength()) != 1:
            raise ArtefactError(f"{path}: holds {count} subgraphs; legal: 1")
        subgraph = model.Subgraphs(0)
        tensors, network = _tensors(model, subgraph), _Network()
        for place in range(subgraph.InputsLength()):
            tensor = tensors[subgraph.Inputs(place)]
            record = op.Input(graph_shape(tensor.shape))
            bits = _BITS.get(tensor.type, 32)
            network.values[id(tensor)] = network.add(tensor.name, record, (), bits)
        for place in range(subgraph.OperatorsLength()):
            network.operator(_operator(model, tensors, subgraph.Operators(place)))
        ends = [tensors[subgraph.Outputs(i)] for i in range(subgraph.OutputsLength())]
        outputs = dict.fromkeys(
            network.values[id(end)] for end in ends if id(end) in network.values
        )
        graph = make_graph(path.stem, network.layers.values(), tuple(outputs))
    except ArtefactError:
        raise
    except Exception as error:  # whatever a damaged flatbuffer provokes: one line, no traceback
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtefactError(f"{path}: cannot be read as a .tflite file: {reason}") from None
    return graph, tuple(network.operators)
