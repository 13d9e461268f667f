"""MobileNetV1 (Howard et al. 2017) and V2 (Sandler et al. 2018), by default 224x224, 1001 classes.

1001 is 1000 plus the background class of TensorFlow's published networks.
"""

from collections.abc import Sequence

from graph_gen.network_parts import convolution_unit, convolutional_classifier, depthwise_unit
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_CLASSES = 1001
# V1, table 1: (filters of the pointwise convolution, stride of the depthwise one) per block.
V1_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
# V2, table 2: (expansion t, channels c, repeats n) and stride s per stage.
V2_STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
V2_STRIDES = (1, 2, 2, 2, 1, 2, 1)


def mobilenet_v1_features(builder: GraphBuilder, image: str, width: float = 1.0) -> list[str]:
    """Outputs of the 13 blocks of MobileNetV1, every channel count times `width`."""
    features = convolution_unit(
        builder, image, int(32 * width), 3, 2, activation="relu6", name="stem/conv"
    )
    ends = []
    for number, (filters, stride) in enumerate(V1_BLOCKS, 1):
        name = f"block{number}"
        features = depthwise_unit(builder, features, stride, "relu6", name=f"{name}/depthwise")
        features = convolution_unit(
            builder, features, int(filters * width), 1, activation="relu6", name=f"{name}/pointwise"
        )
        ends.append(features)
    return ends


def mobilenet_v1(width: float = 1.0, size: int = 224, classes: int = _CLASSES) -> Graph:
    """MobileNetV1 of a width multiplier, on a square image of `size` pixels a side."""
    builder = GraphBuilder("mobilenet_v1")
    image = builder.input(1, 3, size, size, name="image")
    convolutional_classifier(builder, mobilenet_v1_features(builder, image, width)[-1], classes)
    return builder.build()


def scaled(channels: int, width: float) -> int:
    """Channels times the width multiplier, to the nearest 8 and never below 90% of the product."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _inverted_residual(
    builder: GraphBuilder, source: str, expansion: int, filters: int, stride: int, name: str
) -> str:
    channels = builder.shape(source)[1]
    hidden = source
    if expansion > 1:
        hidden = convolution_unit(
            builder, source, expansion * channels, 1, activation="relu6", name=f"{name}/expand"
        )
    hidden = depthwise_unit(builder, hidden, stride, "relu6", name=f"{name}/depthwise")
    output = convolution_unit(builder, hidden, filters, 1, activation=None, name=f"{name}/project")
    if stride > 1 or channels != filters:
        return output
    return builder.add(op.Elementwise("add"), source, output, name=f"{name}/add")


def mobilenet_v2_features(
    builder: GraphBuilder, image: str, width: float = 1.0, strides: Sequence[int] = V2_STRIDES
) -> tuple[list[str], str]:
    """(outputs of the blocks, the last convolution's); that one is widened, never narrowed.

    `strides` are those of the seven stages.
    """
    features = convolution_unit(
        builder, image, scaled(32, width), 3, 2, activation="relu6", name="stem/conv"
    )
    ends = []
    stages = zip(V2_STAGES, strides, strict=True)
    for stage, ((expansion, channels, repeats), stride) in enumerate(stages, 1):
        for block in range(1, repeats + 1):
            features = _inverted_residual(
                builder,
                features,
                expansion,
                scaled(channels, width),
                stride if block == 1 else 1,
                f"stage{stage}/block{block}",
            )
            ends.append(features)
    last = convolution_unit(
        builder, features, scaled(1280, max(1.0, width)), 1, activation="relu6", name="last/conv"
    )
    return ends, last


def mobilenet_v2(width: float = 1.4, size: int = 224, classes: int = _CLASSES) -> Graph:
    """MobileNetV2 of a width multiplier, on a square image of `size` pixels a side."""
    builder = GraphBuilder("mobilenet_v2")
    image = builder.input(1, 3, size, size, name="image")
    convolutional_classifier(builder, mobilenet_v2_features(builder, image, width)[1], classes)
    return builder.build()
