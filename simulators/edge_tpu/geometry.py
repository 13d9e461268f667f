"""What an executable layer asks of the array: sizes only, no times.

A node is one `Task`: an output map of rows x columns positions, at each of which the array does
the same work. Layers without space are maps of one position, (1, N, C) a map of N rows.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from strata import operations as op
from strata.execution import ExecutedLayer, geometry
from strata.layer import Layer
from strata.work import weight_elements

# Passes over the tensor: swish is a sigmoid and a product, a hard sigmoid a sum, ReLU6, product.
ACTIVATION_PASSES = {
    "relu": 1,
    "relu6": 1,
    "sigmoid": 1,
    "tanh": 1,
    "swish": 2,
    "hard_sigmoid": 3,
}
_RESIZE_TAPS = {"nearest": 1, "linear": 4, "cubic": 16}


@dataclass(frozen=True, slots=True)
class Task:
    """Work of one node for the array.

    `rows` x `columns` positions hold `filters` outputs each. At a position and for one output, a
    layer with weights multiplies `taps` x `channels` inputs (per group; `groups` of them run one
    after the other), one without weights reads `taps` inputs. All of it happens `repeats` times,
    each waiting for the one before. A window reads `halo_rows` more input rows than `stride` times
    its output rows. Sizes are elements, at one byte each.
    """

    engine: str
    rows: int
    columns: int
    filters: int
    channels: int
    groups: int
    taps: int
    stride: int
    halo_rows: int
    input_elements: int
    output_elements: int
    macs: int
    input_channels: int
    input_positions: int
    repeats: int = 1
    has_bias: bool = False
    in_place: bool = False

    @property
    def positions(self) -> int:
        """Positions of the output map."""
        return self.rows * self.columns


def _map(shape: op.Shape) -> tuple[int, int, int]:
    """(channels, rows, columns) of a shape; a batch multiplies the rows."""
    batch, channels, rows, columns = geometry(shape)
    if len(shape) == 4:
        rows *= batch
    elif len(shape) > 2:
        rows = prod(shape[:-1])
    elif len(shape) == 2:
        rows = batch
    return channels, rows, columns


def _windowed(layer: Layer) -> tuple[int, int, int]:
    """Taps, stride and halo rows of a layer with a window."""
    match layer.parameters:
        case op.Convolution(kernel=kernel, stride=stride, dilation=dilation):
            reach = dilation[0] * (kernel[0] - 1) + 1
            return prod(kernel), stride[0], max(reach - stride[0], 0)
        case op.Pooling(kernel=kernel, stride=stride):
            return prod(kernel), stride[0], max(kernel[0] - stride[0], 0)
    return 1, 1, 0


def _shared(root: Layer) -> dict[str, int | bool]:
    """What the operation says of channels, groups, taps and repeats, where it is not 1."""
    parameters, shapes = root.parameters, root.input_shapes
    match parameters:
        case op.Convolution(groups=groups, bias=bias):
            return {"channels": shapes[0][1] // groups, "groups": groups, "has_bias": bias}
        case op.TransposedConvolution(kernel=kernel, groups=groups, bias=bias):
            # every input position adds `taps` products into the output map
            channels = shapes[0][1] // groups
            return {
                "channels": channels, "groups": groups, "taps": prod(kernel), "has_bias": bias
            }  # fmt: skip
        case op.Dense(bias=bias):
            return {"channels": shapes[0][-1], "has_bias": bias}
        case op.Lstm(hidden_size=hidden, directions=directions):
            _, steps, features = shapes[0]
            return {
                "channels": features + hidden, "filters": 4 * hidden,
                "repeats": steps * directions, "has_bias": True,
            }  # fmt: skip
        case op.Elementwise():
            return {"taps": max(len(shapes), 1)}
        case op.Activation(kind=kind):
            return {"taps": ACTIVATION_PASSES.get(kind, 1)}
        case op.BatchNormalization():
            return {"taps": 2}  # multiply, add
        case op.Resize(kind=kind):
            return {"taps": _RESIZE_TAPS[kind]}
    return {}


def _positions(root: Layer) -> tuple[int, int, int]:
    """(filters, rows, columns) of the map over which the array walks."""
    filters, rows, columns = _map(root.output_shape)
    match root.parameters:
        case op.TransposedConvolution():
            return filters, *_map(root.input_shapes[0])[1:]
        case op.GlobalPooling():
            return _map(root.input_shapes[0])
        case op.Lstm():
            return filters, root.input_shapes[0][0], 1
    return filters, rows, columns


def task_of(executed: ExecutedLayer, engine: str) -> Task:
    """The work of a node that runs on the given engine."""
    root = executed.root
    shape = root.input_shapes[0] if root.input_shapes else root.output_shape
    input_channels, in_rows, in_columns = _map(shape)
    filters, rows, columns = _positions(root)
    taps, stride, halo = _windowed(root)
    normalised = any(
        isinstance(layer.parameters, op.BatchNormalization) for layer in executed.absorbed
    )
    sizes: dict[str, Any] = {
        "filters": filters, "channels": 1, "groups": 1, "taps": taps, **_shared(root),
    }  # fmt: skip
    if normalised:
        sizes["has_bias"] = True
    return Task(
        engine=engine,
        rows=max(rows, 1),
        columns=max(columns, 1),
        stride=stride,
        halo_rows=halo,
        input_elements=sum(map(prod, root.input_shapes)),
        output_elements=prod(executed.output_shape),
        macs=executed.work.macs,
        input_channels=input_channels,
        input_positions=in_rows * in_columns,
        in_place=root.input_shapes == (root.output_shape,),
        **sizes,
    )


def constants(executed: ExecutedLayer) -> int:
    """Constants of a node that are no weights of a window: elements."""
    return sum(weight_elements(layer.parameters, layer.input_shapes) for layer in executed.layers)
