"""One frozen record of parameters per operation: what a layer *is*, apart from where it stands.

Tensors are (batch, channels, height, width) or, without space, (batch, ..., features).
Pairs are (height, width); paddings are (top, left, bottom, right). All sizes are elements.
"""

from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

# In the order of their cost on a processor: the feature "activation" counts in it.
ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "hard_sigmoid",
    "hard_swish",
    "sigmoid",
    "swish",
    "tanh",
    "gelu",
    "elu",
    "other",
)
ELEMENTWISE = ("add", "multiply", "subtract", "divide", "maximum", "minimum")


@dataclass(frozen=True, slots=True)
class Input:
    """A network input: no work, its shape is its parameter."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Convolution:
    """2-D convolution; with `groups` equal to the input channels it is depthwise."""

    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, slots=True)
class TransposedConvolution:
    """2-D transposed convolution; `output_padding` rows and columns are added at the end."""

    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    output_padding: Pair = (0, 0)
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Dense:
    """Matrix product of the last axis with constant weights."""

    units: int
    bias: bool = True


@dataclass(frozen=True, slots=True)
class MatMul:
    """Product of two activations over their last two axes, leading axes broadcast."""

    transpose_a: bool = False
    transpose_b: bool = False


@dataclass(frozen=True, slots=True)
class Pooling:
    """Windowed maximum or average over height and width."""

    kind: Literal["max", "average"]
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    count_padding: bool = False


@dataclass(frozen=True, slots=True)
class GlobalPooling:
    """Maximum or average over all of height and width."""

    kind: Literal["max", "average"]
    keep_dimensions: bool = True


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Broadcasting arithmetic on two activations, or on one and a constant of `constant_shape`."""

    kind: Literal["add", "multiply", "subtract", "divide", "maximum", "minimum"]
    constant_shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Concat:
    """Concatenation along one axis."""

    axis: int = 1


@dataclass(frozen=True, slots=True)
class Activation:
    """A pointwise non-linearity."""

    kind: Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "sigmoid",
        "hard_sigmoid",
        "swish",
        "hard_swish",
        "tanh",
        "gelu",
        "elu",
        "other",
    ]


@dataclass(frozen=True, slots=True)
class BatchNormalization:
    """Scale and shift per channel with constants."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax along one axis."""

    axis: int = -1


@dataclass(frozen=True, slots=True)
class Resize:
    """Change of height and width by interpolation to `size`."""

    kind: Literal["nearest", "linear", "cubic"]
    size: Pair


@dataclass(frozen=True, slots=True)
class Pad:
    """Constant padding, one count per axis before and after."""

    before: Shape
    after: Shape


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements under another shape."""

    shape: Shape


@dataclass(frozen=True, slots=True)
class Flatten:
    """All axes from `axis` on become one."""

    axis: int = 1


@dataclass(frozen=True, slots=True)
class Transpose:
    """A permutation of axes."""

    permutation: Shape


# The same elements under another name or shape: no data moves.
VIEWS = (Input, Reshape, Flatten)

# Between channels first and channels last. What lies in memory need not move: a toolchain that
# keeps one order throughout drops such a transpose.
LAYOUT_PERMUTATIONS: tuple[Shape, ...] = ((0, 3, 1, 2), (0, 2, 3, 1))


@dataclass(frozen=True, slots=True)
class Slice:
    """A strided box of a tensor: [start, stop) by step on every axis."""

    start: Shape
    stop: Shape
    step: Shape


@dataclass(frozen=True, slots=True)
class Lstm:
    """Long short-term memory over (batch, steps, features); two directions are concatenated."""

    hidden_size: int
    directions: Literal[1, 2] = 1
    return_sequence: bool = True


@dataclass(frozen=True, slots=True)
class Reorder:
    """A memory layout conversion that a mapping toolchain inserted; no network asks for it."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """What an importer could not map: kept in the graph under its own type, its work unknown."""

    type_name: str
    shape: Shape


Parameters = (
    Input
    | Convolution
    | TransposedConvolution
    | Dense
    | MatMul
    | Pooling
    | GlobalPooling
    | Elementwise
    | Concat
    | Activation
    | BatchNormalization
    | Softmax
    | Resize
    | Pad
    | Reshape
    | Flatten
    | Transpose
    | Slice
    | Lstm
    | Reorder
    | Opaque
)
