"""What the DPU's instruction set cannot express, and why: such layers are left to the host.

Limits: UG1414 (Vitis AI 1.4.1), table of supported operators, DPUCZDX8G_ISA0_B4096_MAX_BG2; the
numbers are in the hardware description.
"""

from math import prod

from simulators.dpu.hardware_model import Dpu
from strata import operations as op
from strata.layer import Layer

FUSED_ACTIVATIONS = ("relu", "relu6", "leaky_relu")
_NO_INSTRUCTION = {
    op.Softmax: "softmax",
    op.MatMul: "products of two activations",
    op.Lstm: "recurrent layers",
    op.Transpose: "transpositions",
    op.Slice: "slices",
    op.Reorder: "layout conversions",
}


def host_reason(layer: Layer, hardware: Dpu) -> str | None:
    """Why the layer cannot run on the DPU; None if it can."""
    for operation, what in _NO_INSTRUCTION.items():
        if isinstance(layer.parameters, operation):
            return f"the instruction set has no {what}"
    match layer.parameters:
        case op.Convolution():
            return _convolution(layer, layer.parameters, hardware)
        case op.TransposedConvolution():
            return _transposed(layer, layer.parameters, hardware)
        case op.Pooling(kind=kind, kernel=kernel, stride=stride):
            return _pooling(kind, kernel, stride, layer.output_shape[1], hardware)
        case op.GlobalPooling(kind=kind):
            height, width = layer.input_shapes[0][2:]
            return _pooling(kind, (height, width), (1, 1), layer.input_shapes[0][1], hardware)
        case op.Elementwise():
            return _elementwise(layer, layer.parameters, hardware)
        case op.Activation(kind=kind) if kind not in FUSED_ACTIVATIONS:
            return f"the instruction set has no {kind}"
        case op.BatchNormalization():
            return _feature_map(layer.input_shapes[0][1], hardware)
        case op.Resize(kind=kind, size=size):
            return _resize(kind, size, layer.input_shapes[0], hardware)
        case op.Pad(before=before, after=after):
            spatial = len(before) == 4 and not any((*before[:2], *after[:2]))
            return None if spatial else "padding of other axes than height and width"
    return None


def _window(kernel: op.Pair, stride: op.Pair, kernel_limit: int, stride_limit: int) -> str | None:
    if max(kernel) > kernel_limit:
        return f"kernel {kernel[0]} x {kernel[1]} is larger than {kernel_limit} x {kernel_limit}"
    if max(stride) > stride_limit:
        return f"stride {stride[0]} x {stride[1]} is larger than {stride_limit} x {stride_limit}"
    return None


def _feature_map(channels: int, hardware: Dpu) -> str | None:
    limit = hardware.channel_groups_limit * hardware.channel_parallel
    return f"{channels} channels are more than {limit}" if channels > limit else None


def _channels(channels: int, filters: int, kernel_taps: int, hardware: Dpu) -> str | None:
    """Words of a filter in its weight bank, and filters a tensor may have."""
    words = kernel_taps * -(-channels // hardware.channel_parallel)
    if words > hardware.bank_words:
        return f"a filter takes {words} words of a weight bank that has {hardware.bank_words}"
    return _feature_map(filters, hardware)


def _convolution(layer: Layer, p: op.Convolution, hardware: Dpu) -> str | None:
    channels = layer.input_shapes[0][1]
    depthwise = layer.operation == "depthwise_convolution"
    if p.groups > 1 and not depthwise:
        return f"a convolution in {p.groups} groups"
    if depthwise and p.filters != channels:
        return f"a depthwise convolution of {p.filters // channels} filters per channel"
    limit = hardware.channel_groups_limit * hardware.channel_parallel
    if max(p.dilation) * channels > limit:
        return f"dilation {max(p.dilation)} times {channels} channels is more than {limit}"
    return _window(p.kernel, p.stride, hardware.kernel_limit, hardware.stride_limit) or _channels(
        channels, p.filters, prod(p.kernel), hardware
    )


def _transposed(layer: Layer, p: op.TransposedConvolution, hardware: Dpu) -> str | None:
    if p.groups > 1:
        return f"a transposed convolution in {p.groups} groups"
    if max(p.dilation) > 1:
        return f"a transposed convolution with dilation {max(p.dilation)}"
    phase = (-(-p.kernel[0] // p.stride[0]), -(-p.kernel[1] // p.stride[1]))
    limit = hardware.kernel_limit
    return _window(phase, p.stride, limit, limit) or _channels(
        layer.input_shapes[0][1], p.filters, prod(phase), hardware
    )


def _pooling(
    kind: str, kernel: op.Pair, stride: op.Pair, channels: int, hardware: Dpu
) -> str | None:
    if kind == "average" and kernel[0] != kernel[1]:
        return f"average pooling over {kernel[0]} x {kernel[1]}, not a square"
    limit = hardware.pooling_kernel_limit
    return _window(kernel, stride, limit, hardware.stride_limit) or _feature_map(channels, hardware)


def _elementwise(layer: Layer, p: op.Elementwise, hardware: Dpu) -> str | None:
    if p.kind != "add":
        return f"the instruction set has no elementwise {p.kind}"
    if p.constant_shape is not None:
        return "an addition of a constant"
    if len(set(layer.input_shapes)) > 1:
        return "an addition that broadcasts"
    shape = layer.output_shape
    return _feature_map(shape[1] if len(shape) == 4 else shape[-1], hardware)


def _resize(kind: str, size: op.Pair, shape: op.Shape, hardware: Dpu) -> str | None:
    if kind == "cubic":
        return "cubic interpolation"
    height, width = shape[2:]
    if size[0] % height or size[1] % width:
        return f"a change of size from {height} x {width} to {size[0]} x {size[1]}, no whole factor"
    return _feature_map(shape[1], hardware)
