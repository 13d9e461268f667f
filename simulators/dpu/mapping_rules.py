"""Which layer joins the node before it.

What published profiles show: batch normalisation, ReLU, 2 x 2 pooling, an addition and a depthwise
convolution vanish into the convolution before them (FCN-8 and ProxylessNAS on ZCU102), a second
addition and an addition behind a transposed convolution do not. Windows of 3 x 3 are assumed to
pool in place too.
"""

from simulators.dpu.hardware_model import Dpu
from simulators.dpu.limits import FUSED_ACTIVATIONS, host_reason
from simulators.grouping import Candidate
from strata import operations as op
from strata.execution import make_executed
from strata.layer import Layer

_ARRAY = (op.Convolution, op.TransposedConvolution, op.Dense)
_LARGEST_FUSED_POOLING = 3  # 2 x 2 and 3 x 3 windows stay within two row tiles


def joins(candidate: Candidate, hardware: Dpu) -> bool:
    """Whether the candidate's layer runs in the node of its producer."""
    layer, group = candidate.layer, candidate.group
    root = make_executed(group).root
    if isinstance(layer.parameters, op.Concat):
        return _concat(candidate, root, hardware)
    if not candidate.only_consumer or isinstance(candidate.producer.parameters, op.Concat):
        return False
    if isinstance(root.parameters, op.Pad):
        return _after_pad(root, layer, hardware)
    if host_reason(root, hardware) is not None:
        return False
    match layer.parameters:
        case op.BatchNormalization():
            return isinstance(candidate.producer.parameters, _ARRAY)
        case op.Activation(kind=kind):
            return _activation(candidate, root, kind)
        case op.Elementwise():
            return _addition(candidate, root, hardware)
        case op.Pooling(kind=kind, kernel=kernel):
            whole = kernel == layer.input_shapes[0][2:]
            small = max(kernel) <= _LARGEST_FUSED_POOLING
            fits = small if kind == "max" else whole
            return fits and _one_more_pass(candidate, root, hardware)
        case op.GlobalPooling(kind="average"):
            return _one_more_pass(candidate, root, hardware)
        case op.Convolution():
            depthwise = layer.operation == "depthwise_convolution"
            return depthwise and _one_more_pass(candidate, root, hardware)
    return False


def _concat(candidate: Candidate, root: Layer, hardware: Dpu) -> bool:
    """Feature maps side by side along the channels need no copy."""
    p = candidate.layer.parameters
    assert isinstance(p, op.Concat)
    channels = len(candidate.layer.output_shape) == 4 and p.axis in (1, -3)
    inside = isinstance(candidate.producer.parameters, op.Concat)
    return (
        channels
        and candidate.only_consumer
        and not inside
        and not isinstance(root.parameters, op.Pad)
        and host_reason(root, hardware) is None
    )


def _after_pad(root: Layer, layer: Layer, hardware: Dpu) -> bool:
    """A convolution pads by itself."""
    own = isinstance(layer.parameters, op.Convolution)
    return own and not (host_reason(root, hardware) or host_reason(layer, hardware))


def _activation(candidate: Candidate, root: Layer, kind: str) -> bool:
    """ReLU and ReLU6 at the end of convolutions and additions, leaky ReLU of convolutions."""
    if kind not in FUSED_ACTIVATIONS:
        return False
    last = candidate.producer.parameters
    if isinstance(root.parameters, _ARRAY):
        if kind == "leaky_relu" and root.operation == "depthwise_convolution":
            return False
        return isinstance(last, (*_ARRAY, op.BatchNormalization, op.Elementwise))
    return (
        isinstance(root.parameters, op.Elementwise) and kind == "relu" and last is root.parameters
    )


def _on_chip(layer: Layer, hardware: Dpu) -> bool:
    """Whether a row tile of the layer's input and the rows around it fit into a bank group."""
    _, channels, _, width = layer.input_shapes[0]
    rows = hardware.pixel_parallel
    match layer.parameters:
        case op.Convolution(kernel=kernel) | op.Pooling(kernel=kernel):
            rows += kernel[0] - 1
    groups = -(-channels // hardware.channel_parallel)
    return rows * width * groups <= hardware.image_words


def _plain_convolution(candidate: Candidate, root: Layer) -> bool:
    """A convolution of the array with nothing after it but normalisation and activation."""
    own = isinstance(root.parameters, op.Convolution) and root.operation == "convolution"
    others = (layer for layer in candidate.group if layer is not root)
    return own and all(
        isinstance(layer.parameters, op.BatchNormalization | op.Activation | op.Pad)
        for layer in others
    )


def _one_more_pass(candidate: Candidate, root: Layer, hardware: Dpu) -> bool:
    """Work on a convolution's rows while they are on chip."""
    return (
        _plain_convolution(candidate, root)
        and host_reason(candidate.layer, hardware) is None
        and _on_chip(candidate.layer, hardware)
    )


def _addition(candidate: Candidate, root: Layer, hardware: Dpu) -> bool:
    """Two feature maps, the one just computed and another, added before they leave the chip."""
    maps = len(candidate.layer.output_shape) == 4 and len(set(candidate.layer.inputs)) == 2
    return maps and _one_more_pass(candidate, root, hardware)
