"""MobileNets of any width and size, and EfficientNet-EdgeTPU: backbones of the Edge TPU's tables.

MobileNetV1 Howard et al. 2017, V2 Sandler et al. 2018, both as in TensorFlow's slim; MobileNet- and
EfficientNet-EdgeTPU Gupta and Akin 2020 (arXiv:2003.02838) and their TensorFlow definitions.
"""

from dataclasses import dataclass
from math import ceil, prod

from graph_gen.network_parts import classifier, convolution_unit, convolutional_classifier
from graph_gen.networks_mobilenet import V1_BLOCKS, V2_STAGES, V2_STRIDES, scaled
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

BACKGROUND_CLASSES = 1001  # 1000 and the background class of TensorFlow's published networks
# V2, table 2: (expansion, filters, repeats, stride) per stage.
_V2_STAGES = tuple((*stage, stride) for stage, stride in zip(V2_STAGES, V2_STRIDES, strict=True))


@dataclass(frozen=True, slots=True)
class Features:
    """A backbone's tensors: `blocks` after every block, `expanded` inside it before it strides."""

    blocks: tuple[str, ...]
    expanded: tuple[str, ...]


def published_image(builder: GraphBuilder, size: op.Pair) -> str:
    """The input (1, 3, height, width)."""
    return builder.input(1, 3, *size, name="image")


@dataclass(frozen=True, slots=True)
class _Inverted:
    """An inverted residual block; a fused one expands by a full convolution, not a depthwise."""

    hidden: int
    filters: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    fused: bool = False
    expands: bool = True
    residual: bool = True
    activation: str = "relu6"


def _inverted(builder: GraphBuilder, source: str, block: _Inverted, name: str) -> tuple[str, str]:
    """Output of the block, and its tensor before the striding convolution."""
    expanded = source
    if block.fused:
        hidden = convolution_unit(
            builder,
            source,
            block.hidden,
            block.kernel,
            block.stride,
            activation=block.activation,
            name=f"{name}/expand",
        )
    else:
        if block.expands:
            expanded = convolution_unit(
                builder, source, block.hidden, 1, activation=block.activation, name=f"{name}/expand"
            )
        hidden = builder.depthwise(
            expanded,
            block.kernel,
            stride=block.stride,
            dilation=block.dilation,
            bias=False,
            normalise=True,
            activation=block.activation,
            name=f"{name}/depthwise",
        )
    output = convolution_unit(
        builder, hidden, block.filters, 1, activation=None, name=f"{name}/project"
    )
    if block.residual and builder.shape(output) == builder.shape(source):
        output = builder.add(op.Elementwise("add"), source, output, name=f"{name}/add")
    return output, expanded


def mobilenet_v1_features(
    builder: GraphBuilder,
    image: str,
    width: float,
    output_stride: int = 32,
    widest: int = 1024,
) -> Features:
    """The 13 blocks; from `output_stride` on (8 to 32) blocks dilate where they would stride.

    No block has more than `widest` filters before the width multiplier.
    """
    channels = max(8, int(32 * width))
    features = convolution_unit(
        builder, image, channels, 3, 2, activation="relu6", name="stem/conv"
    )
    blocks: list[str] = []
    reached, dilation = 2, 1
    for number, (filters, stride) in enumerate(V1_BLOCKS, 1):
        if reached == output_stride:
            step, rate, dilation = 1, dilation, dilation * stride
        else:
            step, rate, reached = stride, 1, reached * stride
        hidden = builder.depthwise(
            features,
            3,
            stride=step,
            dilation=rate,
            bias=False,
            normalise=True,
            activation="relu6",
            name=f"block{number}/depthwise",
        )
        features = convolution_unit(
            builder,
            hidden,
            max(8, int(min(filters, widest) * width)),
            1,
            activation="relu6",
            name=f"block{number}/pointwise",
        )
        blocks.append(features)
    return Features(tuple(blocks), tuple(blocks))


def mobilenet_v2_features(
    builder: GraphBuilder,
    image: str,
    width: float,
    output_stride: int = 32,
    stem_stride: int = 2,
) -> Features:
    """The 17 blocks; from `output_stride` on (16 or 32) blocks dilate where they would stride."""
    features = convolution_unit(
        builder, image, scaled(32, width), 3, stem_stride, activation="relu6", name="stem/conv"
    )
    blocks: list[str] = []
    inside: list[str] = []
    reached, dilation = stem_stride, 1
    for expansion, channels, repeats, first_stride in _V2_STAGES:
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            if reached == output_stride:
                step, rate, dilation = 1, dilation, dilation * stride
            else:
                step, rate, reached = stride, 1, reached * stride
            hidden = expansion * builder.shape(features)[1]
            block = _Inverted(hidden, scaled(channels, width), 3, step, rate, expands=expansion > 1)
            features, expanded = _inverted(builder, features, block, f"block{len(blocks) + 1}")
            blocks.append(features)
            inside.append(expanded)
    return Features(tuple(blocks), tuple(inside))


def last_convolution_v2(builder: GraphBuilder, source: str, width: float) -> str:
    """V2's last 1x1 convolution: widened by the multiplier, never narrowed."""
    filters = scaled(1280, max(1.0, width))
    return convolution_unit(builder, source, filters, 1, activation="relu6", name="last/conv")


def published_mobilenet_v1(
    width: float, size: op.Pair, classes: int | None = BACKGROUND_CLASSES
) -> Graph:
    """MobileNetV1; without classes it ends in its pooled features (an embedding extractor)."""
    builder = GraphBuilder(f"mobilenet_v1_{width:g}_{size[0]}")
    features = mobilenet_v1_features(builder, published_image(builder, size), width).blocks[-1]
    _head(builder, features, classes)
    return builder.build()


def published_mobilenet_v2(
    width: float, size: op.Pair, classes: int | None = BACKGROUND_CLASSES
) -> Graph:
    """MobileNetV2; without classes it ends in its pooled features."""
    builder = GraphBuilder(f"mobilenet_v2_{width:g}_{size[0]}")
    features = mobilenet_v2_features(builder, published_image(builder, size), width).blocks[-1]
    _head(builder, last_convolution_v2(builder, features, width), classes)
    return builder.build()


def mobilenet_v2_without_top(size: op.Pair) -> Graph:
    """Keras' MobileNetV2 with `include_top=False`: its output is the last feature map."""
    builder = GraphBuilder(f"mobilenet_v2_features_{size[0]}")
    features = mobilenet_v2_features(builder, published_image(builder, size), 1.0).blocks[-1]
    last_convolution_v2(builder, features, 1.0)
    return builder.build()


def _head(builder: GraphBuilder, features: str, classes: int | None) -> None:
    if classes is None:
        builder.add(op.GlobalPooling("average"), features, name="embedding/pooling")
    else:
        convolutional_classifier(builder, features, classes)


# (fused, repeats, kernel, stride, expansion, expanded width of the first, filters).
_EFFICIENTNET_EDGETPU = (
    (True, 1, 3, 1, 4, 24, 24),
    (True, 2, 3, 2, 8, 24, 32),
    (True, 4, 3, 2, 8, 32, 48),
    (False, 5, 5, 2, 8, 48, 96),
    (False, 4, 5, 1, 8, 96, 144),
    (False, 2, 5, 2, 8, 144, 192),
)
# Width and depth multipliers, and the side of the input.
EFFICIENTNET_EDGETPU = {"S": (1.0, 1.0, 224), "M": (1.0, 1.1, 240), "L": (1.2, 1.4, 300)}


def efficientnet_edgetpu(variant: str, size: op.Pair | None = None) -> Graph:
    """EfficientNet-EdgeTPU S, M or L: ReLU, no squeeze-and-excitation, 1000 classes.

    The first block widens the 24 channels its definition states, not the stem's 32, and has no
    residual connection.
    """
    width, depth, side = EFFICIENTNET_EDGETPU[variant]
    builder = GraphBuilder(f"efficientnet_edgetpu_{variant.lower()}")
    image = published_image(builder, size or (side, side))
    features = convolution_unit(builder, image, scaled(32, width), 3, 2, name="stem/conv")
    for stage, (fused, repeats, kernel, stride, expansion, inputs, filters) in enumerate(
        _EFFICIENTNET_EDGETPU, 1
    ):
        for repeat in range(ceil(repeats * depth)):
            channels = builder.shape(features)[1] if repeat else scaled(inputs, width)
            block = _Inverted(
                channels * expansion,
                scaled(filters, width),
                kernel,
                1 if repeat else stride,
                fused=fused,
                residual=stage > 1,
                activation="relu",
            )
            features, _ = _inverted(builder, features, block, f"stage{stage}/block{repeat + 1}")
    features = convolution_unit(builder, features, scaled(1280, width), 1, name="last/conv")
    classifier(builder, features)
    return builder.build()


# (fused, kernel, stride, filters, first expansion, repeats, residual in the first block).
_MOBILENET_EDGETPU = (
    (True, 3, 2, 32, 8, 4),
    (True, 3, 2, 48, 8, 4),
    (False, 3, 2, 96, 8, 4),
    (False, 3, 1, 96, 8, 4),
    (False, 5, 2, 160, 8, 4),
    (False, 3, 1, 192, 8, 1),
)


def mobilenet_edgetpu(width: float, size: op.Pair, classes: int = BACKGROUND_CLASSES) -> Graph:
    """MobileNet-EdgeTPU (slim's V3_EDGETPU): the first block of a stage expands 8, others 4.

    A stage's first block has no residual connection, even where it keeps the shape.
    """
    builder = GraphBuilder(f"mobilenet_edgetpu_{width:g}_{size[0]}")
    features = published_image(builder, size)
    features = convolution_unit(builder, features, scaled(32, width), 3, 2, name="stem/conv")
    features = convolution_unit(builder, features, scaled(16, width), 1, name="stem/pointwise")
    for stage, (fused, kernel, stride, filters, expansion, repeats) in enumerate(
        _MOBILENET_EDGETPU, 1
    ):
        for repeat in range(repeats):
            block = _Inverted(
                builder.shape(features)[1] * (4 if repeat else expansion),
                scaled(filters, width),
                kernel,
                1 if repeat else stride,
                fused=fused,
                residual=repeat > 0,
                activation="relu",
            )
            features, _ = _inverted(builder, features, block, f"stage{stage}/block{repeat + 1}")
    features = convolution_unit(builder, features, 1280, 1, name="last/conv")
    convolutional_classifier(builder, features, classes)
    return builder.build()


def parameters(graph: Graph) -> int:
    """Weights and biases of convolutions and dense layers, a normalisation's folded into them."""
    kernels = biases = 0
    for layer in graph.layers:
        match layer.parameters:
            case op.Convolution(filters=filters, kernel=kernel, groups=groups) | (
                op.TransposedConvolution(filters=filters, kernel=kernel, groups=groups)
            ):
                kernels += layer.input_shapes[0][1] // groups * filters * prod(kernel)
                biases += filters
            case op.Dense(units=units):
                kernels += layer.input_shapes[0][-1] * units
                biases += units
    return kernels + biases
