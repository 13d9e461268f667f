"""The plan that Intel's compiler makes of a network: stages in execution order and their operands.

Read from the compiler's own dump (`hardware_modules.ncs2_dump`), never computed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as a stage sees it. `dims` and `strides` (bytes) by axis, innermost axis first.

    `location` is where it lies: CMX (on chip), BSS (DDR), Input, Output, Blob (weights, DDR), or
    empty for none. `usage` is Input, Output, Intermediate, Const, Temp or Fake.
    """

    name: str
    usage: str
    precision: str
    dims: Mapping[str, int]
    strides: Mapping[str, int]
    location: str = ""

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.dims.values())

    @property
    def bytes(self) -> int:
        """Bytes it spans with its strides, padding of rows included."""
        if not self.strides:
            return 0
        return max(self.dims[axis] * stride for axis, stride in self.strides.items())

    @property
    def on_chip(self) -> bool:
        """Whether it lies in CMX."""
        return self.location == "CMX"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. Stages of equal `execution` run together (a copy injected into an operation).

    `layer` and `layer_type` are the original layer's, empty where the compiler added the stage.
    `attributes` are the compiler's, nested as it prints them, numbers as numbers: hwOpType,
    kernelSizeX, kernelStride, tiling (mode, numDescr, outChansPerDescr, cost), withReLU, ...
    """

    execution: int
    name: str
    type: str
    layer: str
    layer_type: str
    shaves: int
    attributes: Mapping[str, Any]
    inputs: tuple[Operand, ...] = ()
    outputs: tuple[Operand, ...] = ()
    injected_into: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it does anything."""
        return self.execution >= 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in execution order. `attributes` of the whole: resources, usedMemory (bytes).

    A stage that does nothing (StubConcat, Reshape, ...) has execution -1.
    """

    network: str
    stages: tuple[Stage, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
