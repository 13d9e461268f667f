"""A TFLite model in memory, and its file: a flatbuffer written through generated bindings.

The bindings are those that ship with Arm's Vela (`ethosu.vela.tflite`): TensorFlow's own cost
seconds to import. The schema is TensorFlow Lite's, version 3.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np

from strata.operations import Shape

_SCHEMA = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # bytes, of a buffer's data
_SPARE_BYTES = 1 << 16
_TYPES = {"int8": 9, "int32": 2}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor; `data` makes it a constant. real = scale * (integer - zero_point).

    `scale` holds one number, or one per index of `axis`; it is empty for sizes and indices.
    """

    name: str
    shape: Shape
    type: str = "int8"
    scale: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    zero_point: int = 0
    axis: int = 0
    data: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """A builtin operator, its options by their names in the schema."""

    code: str
    version: int
    inputs: tuple[Tensor, ...]
    output: Tensor
    options_type: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def _table(name: str) -> ModuleType:
    return import_module(f"ethosu.vela.tflite.{name}")


def _constant(table: str, name: str) -> int:
    return int(getattr(getattr(_table(table), table), name))


def options_number(field_name: str, value: Any) -> Any:
    """A value of an operator's options; names of the schema's enumerations become numbers."""
    match field_name:
        case "Padding":
            return _constant("Padding", value)
        case "FusedActivationFunction":
            return _constant("ActivationFunctionType", value)
    return value


class _File:
    """The flatbuffer under construction; every method returns an offset in it."""

    def __init__(self, size_bytes: int) -> None:
        self.builder = flatbuffers.Builder(size_bytes)

    def table(self, name: str, **fields: Any) -> int:
        """A table of numbers and of offsets made before."""
        module = _table(name)
        module.Start(self.builder)
        for key, value in fields.items():
            if value is not None:
                getattr(module, f"Add{key}")(self.builder, value)
        return int(module.End(self.builder))

    def numbers(self, values: Iterable[int] | np.ndarray, kind: type) -> int:
        return int(self.builder.CreateNumpyVector(np.asarray(values, kind)))

    def offsets(self, values: Sequence[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())

    def data(self, values: np.ndarray) -> int:
        """Little-endian bytes at an aligned place."""
        content = np.ascontiguousarray(values).view(np.uint8).ravel()
        builder = self.builder
        builder.StartVector(1, content.size, _ALIGNMENT)
        start = builder.head = builder.head - content.size
        builder.Bytes[start : start + content.size] = content.data
        builder.vectorNumElems = content.size
        return int(builder.EndVector())

    def tensor(self, tensor: Tensor, buffer: int) -> int:
        quantization = None
        if tensor.scale.size:
            scale = self.numbers(tensor.scale, np.float32)
            zeros = np.full(tensor.scale.size, tensor.zero_point)
            quantization = self.table(
                "QuantizationParameters",
                Scale=scale,
                ZeroPoint=self.numbers(zeros, np.int64),
                QuantizedDimension=tensor.axis,
            )
        shape = self.numbers(tensor.shape, np.int32)
        name = self.builder.CreateString(tensor.name)
        return self.table(
            "Tensor",
            Shape=shape,
            Type=_TYPES[tensor.type],
            Buffer=buffer,
            Name=name,
            Quantization=quantization,
        )

    def operator(self, operator: Operator, code: int, places: Mapping[int, int]) -> int:
        inputs = self.numbers([places[id(each)] for each in operator.inputs], np.int32)
        outputs = self.numbers([places[id(operator.output)]], np.int32)
        options = None
        if operator.options_type:
            options = self.table(operator.options_type, **operator.options)
        return self.table(
            "Operator",
            OpcodeIndex=code,
            Inputs=inputs,
            Outputs=outputs,
            BuiltinOptions=options,
            BuiltinOptionsType=_constant("BuiltinOptions", operator.options_type or "NONE"),
        )

    def code(self, name: str, version: int) -> int:
        number = _constant("BuiltinOperator", name)
        return self.table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, 127),
            BuiltinCode=number,
            Version=version,
        )


def _tensors(inputs: Sequence[Tensor], operators: Sequence[Operator]) -> list[Tensor]:
    """Every tensor once, in the order of first use."""
    found = {id(tensor): tensor for tensor in inputs}
    for operator in operators:
        for tensor in (*operator.inputs, operator.output):
            found.setdefault(id(tensor), tensor)
    return list(found.values())


def serialise(
    name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], operators: Sequence[Operator]
) -> bytes:
    """The content of a .tflite file of one subgraph; operators are in order of execution."""
    tensors = _tensors(inputs, operators)
    file = _File(_SPARE_BYTES + sum(t.data.nbytes for t in tensors if t.data is not None))
    buffers = [file.table("Buffer")]  # the first one is empty: that of all that is computed
    written: list[int] = []
    for tensor in tensors:
        written.append(len(buffers) if tensor.data is not None else 0)
        if tensor.data is not None:
            buffers.append(file.table("Buffer", Data=file.data(tensor.data)))
    places = {id(tensor): index for index, tensor in enumerate(tensors)}
    kinds = list(dict.fromkeys((each.code, each.version) for each in operators))
    made = [file.tensor(*pair) for pair in zip(tensors, written, strict=True)]
    calls = [
        file.operator(each, kinds.index((each.code, each.version)), places) for each in operators
    ]
    ends = [
        file.numbers([places[id(each)] for each in side], np.int32) for side in (inputs, outputs)
    ]
    subgraph = file.table(
        "SubGraph",
        Tensors=file.offsets(made),
        Inputs=ends[0],
        Outputs=ends[1],
        Operators=file.offsets(calls),
        Name=file.builder.CreateString(name),
    )
    model = file.table(
        "Model",
        Version=_SCHEMA,
        OperatorCodes=file.offsets([file.code(*kind) for kind in kinds]),
        Subgraphs=file.offsets([subgraph]),
        Description=file.builder.CreateString("Strata"),
        Buffers=file.offsets(buffers),
    )
    file.builder.Finish(model, _IDENTIFIER)
    return bytes(memoryview(file.builder.Bytes)[file.builder.Head() :])
