"""A layer: an operation's parameters at a place in a graph."""

from dataclasses import dataclass, replace
from math import prod

from strata import operations as op
from strata.errors import SchemaError
from strata.shapes import output_shape
from strata.work import Work, layer_work

_NAMES: dict[type, str] = {
    op.Input: "input",
    op.TransposedConvolution: "transposed_convolution",
    op.Dense: "dense",
    op.MatMul: "matmul",
    op.Concat: "concat",
    op.Activation: "activation",
    op.BatchNormalization: "batch_normalization",
    op.Softmax: "softmax",
    op.Resize: "resize",
    op.Pad: "pad",
    op.Reshape: "reshape",
    op.Flatten: "flatten",
    op.Transpose: "transpose",
    op.Slice: "slice",
    op.Lstm: "lstm",
    op.Reorder: "reorder",
    op.Opaque: "opaque",
}

OPERATIONS = (
    "convolution",
    "depthwise_convolution",
    "max_pooling",
    "average_pooling",
    "global_max_pooling",
    "global_average_pooling",
    *op.ELEMENTWISE,
    *_NAMES.values(),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a graph.

    Shapes are elements per axis, one input shape per producer. Build layers with `make_layer`,
    which infers the output shape.
    """

    name: str
    parameters: op.Parameters
    inputs: tuple[str, ...]
    input_shapes: tuple[op.Shape, ...]
    output_shape: op.Shape
    activation_bits: int = 32
    weight_bits: int = 32

    @property
    def operation(self) -> str:
        """The layer type: the name of its table and of its layer model."""
        match self.parameters:
            case op.Convolution(groups=groups):
                depthwise = groups > 1 and groups == self.input_shapes[0][1]
                return "depthwise_convolution" if depthwise else "convolution"
            case op.Pooling(kind=kind):
                return f"{kind}_pooling"
            case op.GlobalPooling(kind=kind):
                return f"global_{kind}_pooling"
            case op.Elementwise(kind=kind):
                return kind
        return _NAMES[type(self.parameters)]

    @property
    def work(self) -> Work:
        """Work of this layer executed alone."""
        return layer_work(self)


def tensor_bytes(shape: op.Shape, layer: Layer) -> int:
    """Bytes of an activation tensor at the layer's precision, rounded up to whole bytes."""
    return -(-prod(shape) * layer.activation_bits // 8)


def make_layer(
    name: str,
    parameters: op.Parameters,
    inputs: tuple[str, ...] = (),
    input_shapes: tuple[op.Shape, ...] = (),
    activation_bits: int = 32,
    weight_bits: int = 32,
) -> Layer:
    """A layer with its output shape inferred; SchemaError names the layer and the broken rule."""
    if not name:
        raise SchemaError("a layer has an empty name")
    for field, bits in (("activation_bits", activation_bits), ("weight_bits", weight_bits)):
        if not 1 <= bits <= 64:
            raise SchemaError(f"layer '{name}': {field} is {bits}, must be 1 to 64")
    try:
        shape = output_shape(parameters, input_shapes)
    except SchemaError as error:
        raise SchemaError(f"layer '{name}': {error}") from None
    return Layer(name, parameters, inputs, input_shapes, shape, activation_bits, weight_bits)


def with_inputs(layer: Layer, input_shapes: tuple[op.Shape, ...], **changes: object) -> Layer:
    """The layer under other input shapes (and parameters), its output inferred anew."""
    layer = replace(layer, **changes)  # type: ignore[arg-type]
    return replace(
        layer, input_shapes=input_shapes, output_shape=output_shape(layer.parameters, input_shapes)
    )
