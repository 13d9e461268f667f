"""What a toolchain makes of a graph: executed layers, each a root layer and what it absorbed.

The graph matcher builds these from a real profile, the mapping model predicts them; the layer
models see both through the same `feature_matrix`, so training and estimation cannot differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from operator import add

import numpy as np

from strata import operations as op
from strata.context import CONTEXT_FEATURES, contexts
from strata.layer import Layer, tensor_bytes
from strata.work import Work, weight_elements

# How a toolchain may run a layer other than in its ordinary way: on the accelerator's host, or
# with weights that its memory cannot keep and that are fetched in every run.
PLACEMENTS = ("host", "streamed")


@dataclass(frozen=True, slots=True)
class ExecutedLayer:
    """A root layer and the layers fused with it, with executed shapes. See `make_executed`.

    `placement` is one of PLACEMENTS, or empty where the layer runs in the platform's own way.
    """

    root: Layer
    absorbed: tuple[Layer, ...] = ()
    placement: str = ""

    @property
    def name(self) -> str:
        """The root's name."""
        return self.root.name

    @property
    def operation(self) -> str:
        """The root's operation."""
        return self.root.operation

    @property
    def model_key(self) -> str:
        """Operation and placement: picks the table and the layer model."""
        return f"{self.operation}@{self.placement}" if self.placement else self.operation

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Root and absorbed layers."""
        return (self.root, *self.absorbed)

    @property
    def outputs(self) -> tuple[Layer, ...]:
        """Layers of the group that no other layer of it reads."""
        read = {producer for layer in self.layers for producer in layer.inputs}
        return tuple(layer for layer in self.layers if layer.name not in read)

    @property
    def output_shape(self) -> op.Shape:
        """Shape of what leaves the group."""
        return self.outputs[-1].output_shape

    @property
    def work(self) -> Work:
        """Operations and weights add up; tensors inside the group are not transferred.

        ANNETTE, section 5.2: for fused layers D_n is corrected.
        """
        if not self.absorbed:
            return self.root.work
        if all(isinstance(layer.parameters, op.VIEWS) for layer in self.layers):
            return Work()
        inner = {layer.name for layer in self.layers}
        works = [layer.work for layer in self.layers]
        read = {
            producer: tensor_bytes(shape, layer)
            for layer in self.layers
            for producer, shape in zip(layer.inputs, layer.input_shapes, strict=True)
            if producer not in inner
        }
        written = sum(tensor_bytes(layer.output_shape, layer) for layer in self.outputs)
        return Work(
            sum(work.macs for work in works),
            sum(work.other_ops for work in works),
            sum(read.values()),
            sum(work.weight_bytes for work in works),
            written,
        )


# Which layer of a group gives it its name and model: the one that does the heavy work.
_ROOT_ORDER = (
    (op.Convolution, op.TransposedConvolution, op.Dense, op.MatMul, op.Lstm),
    (op.Pooling, op.GlobalPooling, op.Softmax, op.Resize, op.Opaque),
    (op.Elementwise, op.Concat),
    (op.Activation, op.BatchNormalization, op.Pad, op.Slice, op.Transpose),
)


_RANKS = {kind: rank for rank, kinds in enumerate(_ROOT_ORDER) for kind in kinds}


def _rank(layer: Layer) -> int:
    return _RANKS.get(type(layer.parameters), len(_ROOT_ORDER))


def make_executed(layers: Sequence[Layer], placement: str = "") -> ExecutedLayer:
    """A group from its layers in topological order; its root is the first of the heaviest kind."""
    root = min(layers, key=_rank)
    return ExecutedLayer(root, tuple(layer for layer in layers if layer is not root), placement)


def geometry(shape: op.Shape) -> tuple[int, int, int, int]:
    """(batch, channels, height, width) of any shape; without space, the last axis is channels."""
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    if len(shape) == 1:
        return 1, shape[0], 1, 1
    return shape[0], shape[-1], prod(shape[1:-1]), 1


def _window(layer: Layer) -> tuple[int, int, int, int, int]:
    """Kernel, stride and dilation of a layer; ones where it has none."""
    match layer.parameters:
        case (
            op.Convolution(kernel=kernel, stride=stride, dilation=dilation)
            | op.TransposedConvolution(kernel=kernel, stride=stride, dilation=dilation)
        ):
            return *kernel, *stride, max(dilation)
        case op.Pooling(kernel=kernel, stride=stride):
            return *kernel, *stride, 1
        case op.GlobalPooling():
            return *geometry(layer.input_shapes[0])[2:], 1, 1, 1
    return 1, 1, 1, 1, 1


def _window_ends(executed: ExecutedLayer) -> tuple[int, int]:
    """How far the padding before and after the root's window differs, and inputs at the end that no
    window reaches, the most of both axes each; zeros where it has no window.

    An absorbed padding of what the root reads counts as its own. Sizes alone do not tell them: an
    engine that pads both sides alike runs one layer as it is and needs a padded copy of another.
    """
    root = executed.root
    match root.parameters:
        case op.Convolution(dilation=dilation):
            pass
        case op.TransposedConvolution() | op.Pooling():
            dilation = (1, 1)
        case _:
            return 0, 0
    window, padding = root.parameters, root.parameters.padding
    before, after, size = padding[:2], padding[2:], root.input_shapes[0][2:]
    for layer in executed.absorbed:
        if isinstance(layer.parameters, op.Pad) and layer.name == root.inputs[0]:
            before = tuple(map(add, before, layer.parameters.before[2:]))
            after = tuple(map(add, after, layer.parameters.after[2:]))
            size = layer.input_shapes[0][2:]
    uneven, unread = 0, 0
    for axis, made in enumerate(root.output_shape[2:]):
        uneven = max(uneven, abs(after[axis] - before[axis]))
        reach = (made - 1) * window.stride[axis] + (window.kernel[axis] - 1) * dilation[axis] + 1
        unread = max(unread, size[axis] + before[axis] - reach)
    return uneven, 0 if isinstance(window, op.TransposedConvolution) else unread


def alignment(size: int) -> int:
    """The largest power of two, up to 64, that divides a size: machines work in blocks, and a
    threshold on the size itself cannot ask whether it fills them. 0 for 0.
    """
    return min(size & -size, 64)


def _activation_code(executed: ExecutedLayer) -> int:
    """0 without activation, else 1 + its place in ACTIVATIONS; the most expensive if several."""
    kinds = [
        layer.parameters.kind
        for layer in executed.layers
        if isinstance(layer.parameters, op.Activation)
    ]
    return max((1 + op.ACTIVATIONS.index(kind) for kind in kinds), default=0)


# An engine beside the array slides the window in the same pass, or in one of its own.
_WINDOW_KINDS = (
    "max_pooling",
    "average_pooling",
    "global_average_pooling",
    "depthwise_convolution",
)


def absorbed_window(executed: ExecutedLayer) -> tuple[int, int, int]:
    """Kind, kernel and stride of an absorbed pooling (ANNETTE, section 4) or convolution.

    Zeros without one; a global pooling's kernel is its whole map. The kind counts in
    _WINDOW_KINDS from 1; others come after them.
    """
    for layer in executed.absorbed:
        if isinstance(layer.parameters, op.Pooling | op.GlobalPooling | op.Convolution):
            kernel_h, kernel_w, stride_h, stride_w, _ = _window(layer)
            known = layer.operation in _WINDOW_KINDS
            kind = _WINDOW_KINDS.index(layer.operation) if known else len(_WINDOW_KINDS)
            return 1 + kind, max(kernel_h, kernel_w), max(stride_h, stride_w)
    return 0, 0, 0


def count_absorbed(executed: ExecutedLayer, *operations: str) -> int:
    """Number of absorbed layers of these operations."""
    return sum(layer.operation in operations for layer in executed.absorbed)


def _groups(layer: Layer) -> int:
    match layer.parameters:
        case op.Convolution(groups=groups) | op.TransposedConvolution(groups=groups):
            return groups
    return 1


def features(executed: ExecutedLayer) -> dict[str, float]:
    """The feature vector x_n of ANNETTE's Table 1, with f_n (`ops`) and D_n (`bytes`) in it.

    What the layer is by itself, in the order of OWN_FEATURES.
    """
    root, work = executed.root, executed.work
    # networks' inputs have no producer; every other layer reads at least one tensor
    inputs = root.input_shapes or (root.output_shape,)
    batch, channels, height, width = geometry(inputs[0])
    _, filters, out_height, out_width = geometry(root.output_shape)
    kernel_h, kernel_w, stride_h, stride_w, dilation = _window(root)
    window_kind, absorbed_kernel, absorbed_stride = absorbed_window(executed)
    uneven_padding, unread = _window_ends(executed)
    groups = _groups(root)
    # blocks lie within a group, but for depthwise ones: theirs hold many groups of one channel
    apart = groups if groups < channels else 1
    return {
        "batch": batch,
        "height": height,
        "width": width,
        "channels": channels,
        "filters": filters,
        "output_height": out_height,
        "output_width": out_width,
        "kernel_height": kernel_h,
        "kernel_width": kernel_w,
        "stride_height": stride_h,
        "stride_width": stride_w,
        "dilation": dilation,
        "uneven_padding": uneven_padding,
        "unread": unread,
        "groups": groups,
        "inputs": len(root.inputs),
        "rank": len(inputs[0]),
        "ops": work.ops,
        "macs": work.macs,
        "bytes": work.bytes,
        "ops_per_byte": work.ops / max(work.bytes, 1),
        "input_elements": sum(prod(shape) for shape in inputs),
        "output_elements": prod(executed.output_shape),
        "weight_elements": weight_elements(root.parameters, root.input_shapes),
        "activation": _activation_code(executed),
        "absorbed_count": len(executed.absorbed),
        "absorbed_add": count_absorbed(executed, "add"),
        "absorbed_multiply": count_absorbed(executed, "multiply"),
        "absorbed_window": window_kind,
        "absorbed_kernel": absorbed_kernel,
        "absorbed_stride": absorbed_stride,
        "height_alignment": alignment(height),
        "width_alignment": alignment(width),
        "channels_alignment": alignment(channels // apart),
        "filters_alignment": alignment(filters // apart),
        "macs_per_output": root.work.macs / max(prod(root.output_shape), 1),
    }


OWN_FEATURES: tuple[str, ...] = (
    "batch",
    "height",
    "width",
    "channels",
    "filters",
    "output_height",
    "output_width",
    "kernel_height",
    "kernel_width",
    "stride_height",
    "stride_width",
    "dilation",
    "uneven_padding",
    "unread",
    "groups",
    "inputs",
    "rank",
    "ops",
    "macs",
    "bytes",
    "ops_per_byte",
    "input_elements",
    "output_elements",
    "weight_elements",
    "activation",
    "absorbed_count",
    "absorbed_add",
    "absorbed_multiply",
    "absorbed_window",
    "absorbed_kernel",
    "absorbed_stride",
    "height_alignment",
    "width_alignment",
    "channels_alignment",
    "filters_alignment",
    "macs_per_output",
)


FEATURES: tuple[str, ...] = (*OWN_FEATURES, *CONTEXT_FEATURES)


def feature_matrix(executed: Sequence[ExecutedLayer]) -> np.ndarray:
    """(len(executed), len(FEATURES)) floats, columns in the order of FEATURES.

    `executed` are all layers of one network in their order: what stands around a layer counts.
    """
    rows = [
        [*features(layer).values(), *around]
        for layer, around in zip(executed, contexts(executed), strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))
