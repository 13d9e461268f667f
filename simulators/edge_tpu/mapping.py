"""Which layers the Edge TPU compiler places on the device, which engine runs them, what it fuses.

The compiler cuts a model once: an operation that the device cannot run, and all that depends on
it, stay on the host. Rules: the compiler's table of supported operations
(https://coral.ai/docs/edgetpu/models-intro/#supported-operations, the same table at
https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/), and
what the compiler left on the CPU in Google's own test models
(https://github.com/google-coral/test_data).
"""

from math import prod

from simulators.grouping import Candidate
from strata import operations as op
from strata.layer import Layer

UNSUPPORTED = "Operation not supported"
LIMITED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
BEHIND_HOST = "More than one subgraph is not supported"

_SOFTMAX_ELEMENTS = 16000  # the compiler's table: one dimension, at most so many
_RESIZE_FACTOR = 8  # assumed; 2x is mapped in MoveNet, 33x and 15.5x are not in DeepLab v3
_ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh", "swish", "hard_sigmoid")
_FUSED_ACTIVATIONS = ("relu", "relu6")
_WEIGHTED = (op.Convolution, op.TransposedConvolution, op.Dense)


def host_reason(layer: Layer) -> str | None:
    """Why the compiler leaves a layer to the host: its own words, then what it met; or None."""
    parameters = layer.parameters
    shapes = (*layer.input_shapes, layer.output_shape)
    if any(len(shape) > 3 and prod(shape[:-3]) > 1 for shape in shapes):
        return f"{RANK}: a batch"
    match parameters:
        case op.Activation(kind=kind) if kind not in _ACTIVATIONS:
            return f"{UNSUPPORTED}: {kind}"
        case op.Elementwise(kind="divide"):
            return f"{UNSUPPORTED}: divide"
        case op.MatMul() | op.Reorder():
            return f"{UNSUPPORTED}: {layer.operation}"
        case op.Opaque(type_name=kind):  # published networks end in such: ARG_MAX, PosenetDecoderOp
            return f"{UNSUPPORTED}: {kind}"
        case op.Lstm(directions=2):
            return f"{LIMITED}: two directions"
        case op.Lstm() if layer.input_shapes[0][0] > 1:
            return f"{RANK}: a batch"
        case op.Dense() if prod(layer.output_shape[:-1]) > 1:
            return f"{LIMITED}: the output has more than one dimension"
        case op.Convolution(dilation=dilation) | op.TransposedConvolution(dilation=dilation) if (
            dilation[0] != dilation[1]
        ):
            return f"{LIMITED}: dilations differ"
        case op.Softmax() if prod(layer.output_shape) != max(layer.output_shape) or (
            prod(layer.output_shape) > _SOFTMAX_ELEMENTS
        ):
            return f"{LIMITED}: more than one dimension or {_SOFTMAX_ELEMENTS} elements"
        case op.Concat(axis=0) if len(layer.output_shape) > 1:
            return f"{LIMITED}: concatenation of batches"
        case op.Resize():
            return _resize_reason(parameters, layer.input_shapes[0])
    return None


def _resize_reason(parameters: op.Resize, given: op.Shape) -> str | None:
    if parameters.kind == "cubic":
        return f"{UNSUPPORTED}: cubic interpolation"
    sizes = zip(parameters.size, given[2:], strict=True)
    if any(new % old or new // old > _RESIZE_FACTOR for new, old in sizes):
        return f"{LIMITED}: no whole factor up to {_RESIZE_FACTOR}"
    return None


def engine_of(layer: Layer) -> str:
    """The part of the device that runs a group with this root."""
    match layer.parameters:
        case op.Convolution():
            return "depthwise" if layer.operation == "depthwise_convolution" else "convolution"
        case op.TransposedConvolution() | op.Dense() | op.Lstm():
            return "convolution"
        case op.Pooling() | op.GlobalPooling():
            return "pooling"
        case op.Softmax():
            return "softmax"
        case op.Elementwise() | op.Activation() | op.BatchNormalization() | op.Resize():
            return "elementwise"
    return "data_movement"  # concat, pad, slice, transpose


def joins(candidate: Candidate) -> bool:
    """Whether the toolchain merges a layer into the group it follows.

    TensorFlow Lite folds batch normalisation into weights and fuses a rectifier into the
    operation before it; both need that nobody else reads the tensor between.
    """
    if not candidate.only_consumer:
        return False
    kinds = [type(layer.parameters) for layer in candidate.group]
    activated = op.Activation in kinds
    match candidate.layer.parameters:
        case op.BatchNormalization():
            foldable = isinstance(
                candidate.producer.parameters, (*_WEIGHTED, op.BatchNormalization)
            )
            return foldable and kinds[0] in _WEIGHTED and not activated
        case op.Activation(kind=kind):
            fusible = kinds[0] in (*_WEIGHTED, op.Elementwise, op.BatchNormalization)
            return fusible and not activated and kind in _FUSED_ACTIVATIONS
    return False
