"""ResNet-18 and ResNet-50 (He et al. 2016, table 1), 224x224 input, 1000 classes."""

from collections.abc import Callable

from graph_gen.network_parts import classifier, convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

Residual = Callable[[GraphBuilder, str, int, int, str], str]


def _basic(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    first = convolution_unit(builder, source, width, 3, stride, 1, name=f"{name}/conv1")
    return convolution_unit(builder, first, width, 3, 1, 1, None, name=f"{name}/conv2")


def _bottleneck(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
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


def _resnet(name: str, residual: Residual, depths: tuple[int, ...]) -> Graph:
    """Four stages of `depths` blocks, widths 64 to 512; each stage's first block projects."""
    builder = GraphBuilder(name)
    image = builder.input(1, 3, 224, 224, name="image")
    features = convolution_unit(builder, image, 64, 7, 2, 3, name="stem/conv")
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
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
    classifier(builder, features)
    return builder.build()


def resnet18() -> Graph:
    """ResNet-18 with a projection in the first block too (the paper has an identity there)."""
    return _resnet("resnet18", _basic, (2, 2, 2, 2))


def resnet50() -> Graph:
    """ResNet-50, stride in the first convolution of a block."""
    return _resnet("resnet50", _bottleneck, (3, 4, 6, 3))
