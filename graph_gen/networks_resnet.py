"""ResNets (He et al. 2016, table 1), by default 224x224 and 1000 classes."""

from collections.abc import Callable

from graph_gen.network_parts import classifier, convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder, pair
from strata.graph import Graph

BOTTLENECK_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
Residual = Callable[[GraphBuilder, str, int, int, str], str]


def basic(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    first = convolution_unit(builder, source, width, 3, stride, 1, name=f"{name}/conv1")
    return convolution_unit(builder, first, width, 3, 1, 1, None, name=f"{name}/conv2")


def bottleneck(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    # As first published, the first 1x1 convolution strides; later variants stride at the 3x3.
    first = convolution_unit(builder, source, width, 1, stride, 0, name=f"{name}/conv1")
    second = convolution_unit(builder, first, width, 3, 1, 1, name=f"{name}/conv2")
    return convolution_unit(builder, second, 4 * width, 1, 1, 0, None, name=f"{name}/conv3")


def _block(
    builder: GraphBuilder,
    source: str,
    residual: Residual,
    width: int,
    stride: int,
    project: bool,
    name: str,
) -> str:
    branch = residual(builder, source, width, stride, name)
    shortcut = source
    if project:
        channels = builder.shape(branch)[1]
        shortcut = convolution_unit(
            builder, source, channels, 1, stride, 0, None, name=f"{name}/shortcut"
        )
    total = builder.add(op.Elementwise("add"), shortcut, branch, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu")


def bottleneck_later(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    # The later variant ("V1.5"): the 3x3 convolution strides.
    first = convolution_unit(builder, source, width, 1, 1, 0, name=f"{name}/conv1")
    second = convolution_unit(builder, first, width, 3, stride, 1, name=f"{name}/conv2")
    return convolution_unit(builder, second, 4 * width, 1, 1, 0, None, name=f"{name}/conv3")


def resnet_features(
    builder: GraphBuilder, image: str, residual: Residual, depths: tuple[int, ...]
) -> list[str]:
    """Outputs of the stages of `depths` blocks, widths 64, 128, ...; first blocks project."""
    features = convolution_unit(builder, image, 64, 7, 2, 3, name="stem/conv")
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    ends = []
    for stage, depth in enumerate(depths, 1):
        for block in range(1, depth + 1):
            first = block == 1
            features = _block(
                builder,
                features,
                residual,
                width=32 * 2**stage,
                stride=2 if first and stage > 1 else 1,
                project=first,
                name=f"stage{stage}/block{block}",
            )
        ends.append(features)
    return ends


def _resnet(
    name: str,
    residual: Residual,
    depths: tuple[int, ...],
    size: int | op.Pair = 224,
    classes: int = 1000,
) -> Graph:
    builder = GraphBuilder(name)
    image = builder.input(1, 3, *pair(size), name="image")
    classifier(builder, resnet_features(builder, image, residual, depths)[-1], classes)
    return builder.build()


def resnet18(size: int | op.Pair = 224, classes: int = 1000) -> Graph:
    """ResNet-18 with a projection in the first block too (the paper has an identity there)."""
    return _resnet("resnet18", basic, (2, 2, 2, 2), size, classes)


def resnet50() -> Graph:
    """ResNet-50, stride in the first convolution of a block."""
    return _resnet("resnet50", bottleneck, BOTTLENECK_DEPTHS[50])


def resnet50_later(size: int | op.Pair = 224, classes: int = 1000) -> Graph:
    """ResNet-50 "V1.5", stride in the 3x3 convolution of a block."""
    return _resnet("resnet50_later", bottleneck_later, BOTTLENECK_DEPTHS[50], size, classes)
