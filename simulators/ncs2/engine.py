"""Time of a stage on the neural compute engine: convolution, merged pooling, pooling.

A convolution is a row of descriptors, each with its share of the output channels. A descriptor
loads its weights, then the first rows of the input; then computing and loading the other rows run
side by side. Cycles per output pixel are the compiler's own `cost` (steps over blocks of input
channels times kernel elements, plus the mode's cost) plus what the hardware adds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulators.ncs2.hardware_model import Ncs2
from simulators.ncs2.plan import Operand, Stage
from strata.errors import MatchError

HARDWARE_STAGE = "MyriadXHwOp"


@dataclass(frozen=True, slots=True)
class EngineTime:
    """Seconds of a stage alone.

    `ddr_s` of them the engine reads DDR; for `unhidden_s` it does nothing else meanwhile, and for
    `slack_s` it computes with nothing left to read.
    """

    total_s: float
    ddr_s: float = 0.0
    unhidden_s: float = 0.0
    slack_s: float = 0.0


def rows_of(operand: Operand) -> tuple[int, float]:
    """Rows of a tensor and bytes of one with its padding: a row is contiguous memory."""
    width = operand.dims.get("W", 1)
    rows = operand.elements // max(width, 1)
    compact = width * operand.strides.get("W", 2)
    stride = operand.strides.get("H", compact)
    return rows, float(max(stride, compact) if operand.dims.get("H", 1) > 1 else compact)


def input_s(operand: Operand, hardware: Ncs2) -> float:
    """Seconds for the engine to read a tensor once."""
    rows, row_bytes = rows_of(operand)
    if operand.on_chip:
        return rows * row_bytes / hardware.cmx_bytes_per_s
    return rows * (hardware.ddr_row_s + row_bytes / hardware.ddr_bytes_per_s)


def _number(stage: Stage, values: Mapping[str, Any], key: str) -> float:
    try:
        return float(values[key])
    except (KeyError, TypeError, ValueError):
        raise MatchError(f"plan, stage '{stage.name}': no number '{key}'") from None


def _output(stage: Stage) -> tuple[int, int, int]:
    """Batch, height, width of what the engine writes."""
    dims = stage.outputs[0].dims
    return dims.get("N", 1), dims.get("H", 1), dims.get("W", 1)


def _weight_bytes(stage: Stage) -> int:
    return sum(each.bytes for each in stage.inputs[1:] if each.usage == "Const")


def convolution(stage: Stage, hardware: Ncs2) -> EngineTime:
    """A CONV, CONV_POOL or FC stage."""
    attributes = stage.attributes
    tiling = attributes.get("tiling", {})
    batch, height, width = _output(stage)
    height *= int(attributes.get("poolKernelSizeY", 1))
    width *= int(attributes.get("poolKernelSizeX", 1))
    descriptors = max(_number(stage, tiling, "numDescr"), 1.0)
    cycles = (
        _number(stage, tiling, "cost") * height * width
        + descriptors * height * (hardware.row_cycles + width * hardware.pixel_cycles)
    ) / descriptors
    compute_s = cycles / hardware.clock_hz
    tensor = stage.inputs[0]
    load_s = input_s(tensor, hardware) / batch
    first_s = load_s * _first_rows(stage, tensor, hardware)
    weights_s = _weight_bytes(stage) / descriptors / hardware.weight_bytes_per_s
    rest_s = load_s - first_s
    once_s = weights_s + first_s + max(compute_s, rest_s)
    times = batch * descriptors
    total_s = hardware.stage_start_s + times * once_s
    if tensor.on_chip:
        return EngineTime(total_s, times * weights_s, times * weights_s)
    slack_s = max(compute_s - rest_s, 0.0)
    unhidden_s = weights_s + first_s
    return EngineTime(total_s, times * (weights_s + load_s), times * unhidden_s, times * slack_s)


def _first_rows(stage: Stage, tensor: Operand, hardware: Ncs2) -> float:
    """Share of the input's rows that must be there before the first output pixel.

    As many rows as the compiler demands that the engine's own memory holds.
    """
    kernel = int(stage.attributes.get("kernelSizeY", 1))
    stride = int(stage.attributes.get("kernelStride", 1))
    rows = kernel + stride + hardware.ahead_rows
    if tensor.dims.get("W", 1) <= hardware.narrow_columns:
        rows += hardware.narrow_rows
    return min(rows / max(tensor.dims.get("H", 1), 1), 1.0)


def pooling(stage: Stage, hardware: Ncs2) -> EngineTime:
    """A POOL stage: descriptors of sixteen channels; loading and pooling run side by side."""
    attributes = stage.attributes
    batch, height, width = _output(stage)
    descriptors = max(_number(stage, attributes.get("tiling", {}), "numDescr"), 1.0)
    taps = _number(stage, attributes, "kernelSizeX") * _number(stage, attributes, "kernelSizeY")
    maximum = str(attributes.get("poolType", "MAX")).startswith("MAX")
    tap_cycles = hardware.maximum_tap_cycles if maximum else hardware.average_tap_cycles
    pixel_cycles = hardware.pool_pixel_cycles + taps * tap_cycles
    cycles = hardware.pool_descriptor_cycles + height * width * pixel_cycles
    compute_s = batch * descriptors * cycles / hardware.clock_hz
    load_s = input_s(stage.inputs[0], hardware)
    total_s = hardware.stage_start_s + max(compute_s, load_s)
    if stage.inputs[0].on_chip:
        return EngineTime(total_s)
    return EngineTime(total_s, load_s, slack_s=max(compute_s - load_s, 0.0))


def engine_time(stage: Stage, hardware: Ncs2) -> EngineTime:
    """Time of a hardware stage without what is injected into it."""
    if stage.attributes.get("hwOpType") == "POOL":
        return pooling(stage, hardware)
    return convolution(stage, hardware)
