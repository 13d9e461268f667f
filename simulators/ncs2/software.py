"""Time of stages beside the engine: DMA copies, and software on the SHAVE cores."""

from math import prod, sqrt

from simulators.ncs2.engine import rows_of
from simulators.ncs2.hardware_model import Ncs2
from simulators.ncs2.plan import Operand, Stage

COPY_STAGE = "Copy"
# Which number of the description an element of a software stage costs.
_KINDS = {
    "convert_cycles": ("Convert",),
    "softmax_cycles": ("SoftMax", "LogSoftmax"),
    "elementwise_cycles": (
        *("Sum", "Prod", "Max", "Min", "Sub", "Div", "SquaredDiff", "Bias", "Scale", "ScaleShift"),
        "Power",  # scale and shift by one number
    ),
    "activation_cycles": (
        *("Relu", "LeakyRelu", "PRelu", "Clamp", "BiasRelu", "BiasLeakyRelu", "Pad"),
    ),
    "function_cycles": (
        *("Sigmoid", "TanH", "Swish", "HSwish", "HSigmoid", "Elu", "Gelu", "Mish", "Exp", "Log"),
        *("SoftPlus", "Erf"),
    ),
    "resize_cycles": ("Resample", "Interp", "Upsampling"),
    "permute_cycles": ("Permute",),
}
_CYCLES = {stage: number for number, stages in _KINDS.items() for stage in stages}
# Stages whose work is a window or a product per output element.
_WINDOWS = ("Conv", "DepthConv", "Deconvolution", "DepthDeconv", "Im2ColConvolution", "StubConv")
_PRODUCTS = ("FC", "GEMM", "FullyConnected")
_POOLINGS = ("StubMaxPool", "MaxPool", "AvgPool", "StubAvgPool")
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "Norm", "LRN", "MVN")


def copy_s(stage: Stage, hardware: Ncs2) -> float:
    """A copy by the DMA engine alone, row by row; a row's padding moves with it."""
    rows, row_bytes = rows_of(stage.inputs[0])
    moved_s = rows * (hardware.copy_row_s + row_bytes / hardware.copy_bytes_per_s)
    return hardware.copy_start_s + moved_s


def _depth(first: Operand, second: Operand, product: Operand) -> float:
    """The inner dimension k of a product of (batch, m, k) and (batch, k, n), either transposed or
    not: elements are b m k, b k n and b m n. Without rows and columns the batch is m.
    """
    planes = {"W", "H"} & product.dims.keys()
    batch = prod(size for axis, size in product.dims.items() if axis not in planes and planes)
    return sqrt(first.elements * second.elements / (product.elements * max(batch, 1)))


def _taps(stage: Stage, output: Operand) -> float:
    """Multiply-accumulates, or window elements, per output element."""
    if stage.type in _WINDOWS and len(stage.inputs) > 1:
        return max(stage.inputs[1].elements / max(output.dims.get("C", 1), 1), 1.0)
    if stage.type in _PRODUCTS and len(stage.inputs) > 1:
        return max(_depth(stage.inputs[0], stage.inputs[1], output), 1.0)
    if stage.type in _POOLINGS:
        return float(max(prod(stage.attributes.get(f"kernelSize{axis}", 1) for axis in "XY"), 1))
    if stage.type in _REDUCTIONS:
        return max(stage.inputs[0].elements / max(output.elements, 1), 1.0)
    return 0.0


def work_s(stage: Stage, hardware: Ncs2) -> float:
    """A stage on the SHAVE cores that the compiler gave it, without its start."""
    output = stage.outputs[0]
    cycles = getattr(hardware, _CYCLES.get(stage.type, "other_cycles"))
    elements = max([output.elements, *(each.elements for each in stage.inputs[:1])])
    if taps := _taps(stage, output):
        elements, cycles = output.elements, cycles + taps * hardware.tap_cycles
    return elements * cycles / (max(stage.shaves, 1) * hardware.clock_hz)


def software_s(stage: Stage, hardware: Ncs2) -> float:
    """A software stage alone."""
    convert = stage.type == "Convert"
    start_s = hardware.convert_start_s if convert else hardware.software_start_s
    return start_s + work_s(stage, hardware)


def beside_s(stage: Stage, hardware: Ncs2) -> float:
    """Time of any stage that the engine does not run, alone."""
    if stage.type == COPY_STAGE:
        return copy_s(stage, hardware)
    return software_s(stage, hardware)
