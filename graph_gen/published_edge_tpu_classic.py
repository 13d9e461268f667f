"""Classifiers of Coral's benchmark page that are no MobileNets, as TensorFlow's slim defines them.

Inception V1 (Szegedy et al. 2015), Inception-ResNet V2 (Szegedy et al. 2017), ResNet V1 and V2
(He et al. 2016), VGG (Simonyan and Zisserman 2015), SqueezeNet (Iandola et al. 2016), DenseNet
(Huang et al. 2017).
"""

from collections.abc import Sequence

from graph_gen.network_parts import classifier, convolution_unit, convolutional_classifier
from graph_gen.networks_inception import (
    STEM_V1,
    Branch,
    Pool,
    Unit,
    module,
    modules_v1,
    sequence,
)
from graph_gen.published_edge_tpu_mobilenets import BACKGROUND_CLASSES, published_image
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

RESNET_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_ROW, _COLUMN = (1, 7), (7, 1)
_STRIDED_POOL: Branch = [Pool("max", 2, "valid")]


def _modules(
    builder: GraphBuilder, features: str, modules: Sequence[tuple[str, Sequence[Branch]]]
) -> str:
    for label, branches in modules:
        if len(branches) == 1:
            (features,) = sequence(builder, features, branches[0], label, normalise=True)
        else:
            features = module(builder, features, branches, label, normalise=True)
    return features


def three_by_three(branch: Branch) -> Branch:
    """The branch with 3x3 convolutions in the place of 5x5, as slim and torchvision have them."""
    return [Unit(s.filters, 3) if isinstance(s, Unit) and s.kernel == 5 else s for s in branch]


def slim_inception_v1(size: op.Pair) -> Graph:
    """Inception V1 as in slim: normalised, with 3x3 convolutions where the paper has 5x5."""
    builder = GraphBuilder("slim_inception_v1")
    image = published_image(builder, size)
    (features,) = sequence(builder, image, STEM_V1, "stem", normalise=True)
    modules = [
        (label, [three_by_three(branch) for branch in branches]) for label, branches in modules_v1()
    ]
    classifier(builder, _modules(builder, features, modules), BACKGROUND_CLASSES)
    return builder.build()


_STEM_RESNET_V2: Branch = (
    Unit(32, 3, 2, "valid"),
    Unit(32, 3, 1, "valid"),
    Unit(64, 3),
    *_STRIDED_POOL,
    Unit(80, 1, 1, "valid"),
    Unit(192, 3, 1, "valid"),
    *_STRIDED_POOL,
)
_MIXED_5B: list[Branch] = [
    [Unit(96)],
    [Unit(48), Unit(64, 5)],
    [Unit(64), Unit(96, 3), Unit(96, 3)],
    [Pool("average"), Unit(64)],
]
_MIXED_6A: list[Branch] = [
    [Unit(384, 3, 2, "valid")],
    [Unit(256), Unit(256, 3), Unit(384, 3, 2, "valid")],
    _STRIDED_POOL,
]
_MIXED_7A: list[Branch] = [
    [Unit(256), Unit(384, 3, 2, "valid")],
    [Unit(256), Unit(288, 3, 2, "valid")],
    [Unit(256), Unit(288, 3), Unit(320, 3, 2, "valid")],
    _STRIDED_POOL,
]
_BLOCK35: list[Branch] = [
    [Unit(32)],
    [Unit(32), Unit(32, 3)],
    [Unit(32), Unit(48, 3), Unit(64, 3)],
]
_BLOCK17: list[Branch] = [[Unit(192)], [Unit(128), Unit(160, _ROW), Unit(192, _COLUMN)]]
_BLOCK8: list[Branch] = [[Unit(192)], [Unit(192), Unit(224, (1, 3)), Unit(256, (3, 1))]]


def _inception_residual(
    builder: GraphBuilder, source: str, branches: Sequence[Branch], name: str, activated: bool
) -> str:
    """Branches, a linear 1x1 convolution back to the input's channels, and the sum.

    The constant that scales the branch is folded into the convolution, as the converter does.
    """
    mixed = module(builder, source, branches, name, normalise=True)
    up = builder.convolution(mixed, builder.shape(source)[1], 1, name=f"{name}/up")
    total = builder.add(op.Elementwise("add"), source, up, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu") if activated else total


def inception_resnet_v2(size: op.Pair) -> Graph:
    """Inception-ResNet V2 as in slim: 10, 20 and 10 residual modules, 1001 classes."""
    builder = GraphBuilder("inception_resnet_v2")
    image = published_image(builder, size)
    (features,) = sequence(builder, image, _STEM_RESNET_V2, "stem", normalise=True)
    features = module(builder, features, _MIXED_5B, "mixed_5b", normalise=True)
    for repeat in range(1, 11):
        features = _inception_residual(builder, features, _BLOCK35, f"block35_{repeat}", True)
    features = module(builder, features, _MIXED_6A, "mixed_6a", normalise=True)
    for repeat in range(1, 21):
        features = _inception_residual(builder, features, _BLOCK17, f"block17_{repeat}", True)
    features = module(builder, features, _MIXED_7A, "mixed_7a", normalise=True)
    for repeat in range(1, 11):
        features = _inception_residual(builder, features, _BLOCK8, f"block8_{repeat}", repeat < 10)
    features = convolution_unit(builder, features, 1536, 1, name="last/conv")
    classifier(builder, features, BACKGROUND_CLASSES)
    return builder.build()


def _subsampled(builder: GraphBuilder, source: str, stride: int, name: str) -> str:
    if stride == 1:
        return source
    return builder.pooling(source, "max", 1, stride, name=f"{name}/subsample")


def _unit_v1(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    first = convolution_unit(builder, source, width, 1, name=f"{name}/conv1")
    second = convolution_unit(builder, first, width, 3, stride, 1, name=f"{name}/conv2")
    branch = convolution_unit(builder, second, 4 * width, 1, activation=None, name=f"{name}/conv3")
    if builder.shape(source)[1] == 4 * width:
        shortcut = _subsampled(builder, source, stride, name)
    else:
        shortcut = convolution_unit(
            builder, source, 4 * width, 1, stride, activation=None, name=f"{name}/shortcut"
        )
    total = builder.add(op.Elementwise("add"), shortcut, branch, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu")


def _activated(builder: GraphBuilder, source: str, name: str) -> str:
    normalised = builder.add(op.BatchNormalization(), source, name=f"{name}/normalise")
    return builder.add(op.Activation("relu"), normalised, name=f"{name}/relu")


def _unit_v2(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    active = _activated(builder, source, f"{name}/preactivation")
    first = convolution_unit(builder, active, width, 1, name=f"{name}/conv1")
    second = convolution_unit(builder, first, width, 3, stride, 1, name=f"{name}/conv2")
    branch = builder.convolution(second, 4 * width, 1, name=f"{name}/conv3")
    if builder.shape(source)[1] == 4 * width:
        shortcut = _subsampled(builder, source, stride, name)
    else:
        shortcut = builder.convolution(active, 4 * width, 1, stride, name=f"{name}/shortcut")
    return builder.add(op.Elementwise("add"), shortcut, branch, name=f"{name}/add")


def slim_resnet(depth: int, version: int, size: op.Pair) -> Graph:
    """ResNet V1 (1000 classes) or V2 (1001, pre-activation) of 50, 101 or 152 layers.

    In slim the 3x3 convolution of a stage's last block strides, so the next stage starts small.
    """
    builder = GraphBuilder(f"slim_resnet_v{version}_{depth}")
    image = published_image(builder, size)
    if version == 1:
        features = convolution_unit(builder, image, 64, 7, 2, 3, name="stem/conv")
    else:
        features = builder.convolution(image, 64, 7, 2, 3, name="stem/conv")
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    unit = _unit_v1 if version == 1 else _unit_v2
    for stage, repeats in enumerate(RESNET_DEPTHS[depth], 1):
        for block in range(1, repeats + 1):
            stride = 2 if block == repeats and stage < 4 else 1
            name = f"stage{stage}/block{block}"
            features = unit(builder, features, 32 * 2**stage, stride, name)
    if version == 2:
        features = _activated(builder, features, "last")
    convolutional_classifier(builder, features, 1000 if version == 1 else BACKGROUND_CLASSES)
    return builder.build()


_VGG_REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(depth: int, size: op.Pair, units: int = 4096) -> Graph:
    """VGG-16 or VGG-19 without normalisation, two hidden dense layers, 1000 classes."""
    builder = GraphBuilder(f"vgg{depth}")
    features = published_image(builder, size)
    for stage, repeats in enumerate(_VGG_REPEATS[depth], 1):
        for number in range(1, repeats + 1):
            features = builder.convolution(
                features,
                min(32 * 2**stage, 512),
                3,
                activation="relu",
                name=f"stage{stage}/conv{number}",
            )
        features = builder.pooling(features, "max", 2, name=f"stage{stage}/pooling")
    features = builder.add(op.Flatten(), features, name="flatten")
    for number in (1, 2):
        features = builder.dense(features, units, "relu", name=f"dense{number}")
    logits = builder.dense(features, 1000, name="logits")
    builder.add(op.Softmax(), logits, name="softmax")
    return builder.build()


# Per version: stem (filters, kernel), and the fire modules after which the maximum is pooled.
_SQUEEZENET = {"1.0": ((96, 7), (4, 8)), "1.1": ((64, 3), (3, 5))}
_SQUEEZE_WIDTHS = (16, 16, 32, 32, 48, 48, 64, 64)


def squeezenet(version: str, size: op.Pair) -> Graph:
    """SqueezeNet 1.0 or 1.1: a fire module squeezes by 1x1, then expands by 1x1 and 3x3."""
    (filters, kernel), pooled_after = _SQUEEZENET[version]
    builder = GraphBuilder(f"squeezenet_{version}")
    image = published_image(builder, size)
    features = builder.convolution(image, filters, kernel, 2, activation="relu", name="stem/conv")
    features = builder.pooling(features, "max", 3, 2, name="stem/pooling")
    for number, width in enumerate(_SQUEEZE_WIDTHS, 2):
        name = f"fire{number}"
        squeezed = builder.convolution(features, width, 1, activation="relu", name=f"{name}/s")
        ends = [
            builder.convolution(squeezed, 4 * width, k, activation="relu", name=f"{name}/e{k}")
            for k in (1, 3)
        ]
        features = builder.add(op.Concat(1), *ends, name=f"{name}/concat")
        if number in pooled_after:
            features = builder.pooling(features, "max", 3, 2, name=f"{name}/pooling")
    logits = builder.convolution(
        features, BACKGROUND_CLASSES, 1, activation="relu", name="classifier/convolution"
    )
    pooled = builder.add(op.GlobalPooling("average"), logits, name="classifier/pooling")
    flat = builder.add(op.Flatten(), pooled, name="classifier/flatten")
    builder.add(op.Softmax(), flat, name="classifier/softmax")
    return builder.build()


_DENSENET = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
_GROWTH = 32


def densenet(depth: int, size: op.Pair) -> Graph:
    """DenseNet-121, -169 or -201: growth 32, compression 0.5, 1000 classes."""
    builder = GraphBuilder(f"densenet{depth}")
    image = published_image(builder, size)
    features = convolution_unit(builder, image, 64, 7, 2, 3, name="stem/conv")
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    for stage, repeats in enumerate(_DENSENET[depth], 1):
        if stage > 1:
            name = f"transition{stage}"
            active = _activated(builder, features, name)
            channels = builder.shape(active)[1] // 2
            features = builder.convolution(active, channels, 1, bias=False, name=f"{name}/conv")
            features = builder.pooling(features, "average", 2, name=f"{name}/pooling")
        for block in range(1, repeats + 1):
            name = f"stage{stage}/block{block}"
            active = _activated(builder, features, name)
            hidden = convolution_unit(builder, active, 4 * _GROWTH, 1, name=f"{name}/conv1")
            grown = builder.convolution(hidden, _GROWTH, 3, bias=False, name=f"{name}/conv2")
            features = builder.add(op.Concat(1), features, grown, name=f"{name}/concat")
    classifier(builder, _activated(builder, features, "last"))
    return builder.build()
