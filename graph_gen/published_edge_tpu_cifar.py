"""CIFAR-100 networks and the synthetic family of the SPARTA measurements on Coral's Edge TPU.

Definitions: github.com/mouad-zouhdi/sparta-edgetpu (mono_tpu, synthetic/src). ResNets, VGG-19 and
the wide ResNet (Zagoruyko and Komodakis 2016) are made for 32x32 pixels; the other networks are
torchvision's with a stem of stride 1.
"""

from collections.abc import Callable

from graph_gen.network_parts import convolution_unit
from graph_gen.networks_inception import module, modules_v1
from graph_gen.published_edge_tpu_classic import three_by_three
from graph_gen.published_edge_tpu_mobilenets import (
    last_convolution_v2,
    mobilenet_v2_features,
    published_image,
)
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, legal
from strata.graph import Graph

_CLASSES = 100


def _classified(builder: GraphBuilder, features: str) -> Graph:
    """Pooled over all pixels and classified; no softmax."""
    pooled = builder.add(op.GlobalPooling("average"), features, name="classifier/pooling")
    flat = builder.add(op.Flatten(), pooled, name="classifier/flatten")
    builder.dense(flat, _CLASSES, name="classifier/dense")
    return builder.build()


def _residual_block(
    builder: GraphBuilder, source: str, width: int, stride: int, bottleneck: bool, name: str
) -> str:
    if bottleneck:
        hidden = convolution_unit(builder, source, width, 1, name=f"{name}/conv1")
        hidden = convolution_unit(builder, hidden, width, 3, stride, name=f"{name}/conv2")
        branch = convolution_unit(
            builder, hidden, 4 * width, 1, activation=None, name=f"{name}/conv3"
        )
    else:
        hidden = convolution_unit(builder, source, width, 3, stride, name=f"{name}/conv1")
        branch = convolution_unit(builder, hidden, width, 3, activation=None, name=f"{name}/conv2")
    shortcut = source
    if builder.shape(branch) != builder.shape(source):
        channels = builder.shape(branch)[1]
        shortcut = convolution_unit(
            builder, source, channels, 1, stride, activation=None, name=f"{name}/shortcut"
        )
    total = builder.add(op.Elementwise("add"), branch, shortcut, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu")


def cifar_resnet(depth: int, size: op.Pair) -> Graph:
    """ResNet-18 (basic blocks) or ResNet-50 (bottlenecks): 3x3 stem, no pooling after it."""
    depths = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
    if depth not in depths:
        raise SchemaError(f"CIFAR ResNet of {depth} layers; legal: {legal(map(str, depths))}")
    builder = GraphBuilder(f"cifar_resnet{depth}")
    features = convolution_unit(builder, published_image(builder, size), 64, 3, name="stem/conv")
    for stage, repeats in enumerate(depths[depth]):
        for block in range(repeats):
            features = _residual_block(
                builder,
                features,
                64 * 2**stage,
                2 if stage and not block else 1,
                depth == 50,
                f"stage{stage + 1}/block{block + 1}",
            )
    return _classified(builder, features)


def cifar_vgg19(size: op.Pair) -> Graph:
    """VGG-19 with normalisation, one dense layer; the fourth stage is not pooled."""
    builder = GraphBuilder("cifar_vgg19")
    features = published_image(builder, size)
    stages = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
    for stage, (width, repeats) in enumerate(stages, 1):
        for number in range(1, repeats + 1):
            features = convolution_unit(
                builder, features, width, 3, name=f"stage{stage}/conv{number}"
            )
        if stage <= 3:
            features = builder.pooling(features, "max", 2, name=f"stage{stage}/pooling")
    return _classified(builder, features)


def _activated(builder: GraphBuilder, source: str, name: str) -> str:
    normalised = builder.add(op.BatchNormalization(), source, name=f"{name}/normalise")
    return builder.add(op.Activation("relu"), normalised, name=f"{name}/relu")


def wide_resnet(depth: int, factor: int, size: op.Pair) -> Graph:
    """WRN-depth-factor: three groups of (depth - 4) / 6 pre-activated blocks."""
    if (depth - 4) % 6:
        raise SchemaError(f"wide ResNet of {depth} layers; legal: 6 n + 4")
    builder = GraphBuilder(f"wrn_{depth}_{factor}")
    features = builder.convolution(
        published_image(builder, size), 16, 3, bias=False, name="stem/conv"
    )
    for group in range(3):
        width = 16 * 2**group * factor
        for block in range((depth - 4) // 6):
            name, stride = f"group{group + 1}/block{block + 1}", 2 if group and not block else 1
            active = _activated(builder, features, name)
            hidden = convolution_unit(builder, active, width, 3, stride, name=f"{name}/conv1")
            branch = builder.convolution(hidden, width, 3, bias=False, name=f"{name}/conv2")
            if builder.shape(branch) != builder.shape(features):
                features = builder.convolution(
                    active, width, 1, stride, bias=False, name=f"{name}/shortcut"
                )
            features = builder.add(op.Elementwise("add"), branch, features, name=f"{name}/add")
    return _classified(builder, _activated(builder, features, "last"))


def cifar_mobilenet_v2(size: op.Pair) -> Graph:
    """torchvision's MobileNetV2 of width 1, stem of stride 1."""
    builder = GraphBuilder("cifar_mobilenet_v2")
    features = mobilenet_v2_features(builder, published_image(builder, size), 1.0, stem_stride=1)
    return _classified(builder, last_convolution_v2(builder, features.blocks[-1], 1.0))


def cifar_googlenet(size: op.Pair) -> Graph:
    """torchvision's GoogLeNet (normalised, 3x3 for 5x5): stem of stride 1, no first pooling."""
    builder = GraphBuilder("cifar_googlenet")
    features = convolution_unit(builder, published_image(builder, size), 64, 7, name="stem/conv1")
    features = convolution_unit(builder, features, 64, 1, name="stem/conv2")
    features = convolution_unit(builder, features, 192, 3, name="stem/conv3")
    for label, branches in modules_v1():
        if len(branches) == 1:
            kernel = 2 if label == "pool5" else 3
            features = builder.pooling(features, "max", kernel, 2, "same", name=label)
        else:
            changed = [three_by_three(branch) for branch in branches]
            features = module(builder, features, changed, label, normalise=True)
    return _classified(builder, features)


def cifar_squeezenet(size: op.Pair) -> Graph:
    """torchvision's SqueezeNet 1.1, stem of stride 1; its poolings round sizes up."""
    builder = GraphBuilder("cifar_squeezenet1_1")
    image = published_image(builder, size)
    features = builder.convolution(image, 64, 3, 1, "valid", activation="relu", name="stem/conv")
    for number, width in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        name = f"fire{number}"
        if number in (2, 4, 6):
            features = _pooled_up(builder, features, f"{name}/pooling")
        squeezed = builder.convolution(features, width, 1, activation="relu", name=f"{name}/s")
        ends = [
            builder.convolution(squeezed, 4 * width, k, activation="relu", name=f"{name}/e{k}")
            for k in (1, 3)
        ]
        features = builder.add(op.Concat(1), *ends, name=f"{name}/concat")
    maps = builder.convolution(features, _CLASSES, 1, activation="relu", name="classifier/conv")
    pooled = builder.add(op.GlobalPooling("average"), maps, name="classifier/pooling")
    builder.add(op.Flatten(), pooled, name="classifier/flatten")
    return builder.build()


def _pooled_up(builder: GraphBuilder, source: str, name: str) -> str:
    """3x3 maximum of stride 2 whose last window may reach over the edge."""
    below, right = ((1 if (size - 3) % 2 else 0) for size in builder.shape(source)[2:])
    return builder.pooling(source, "max", 3, 2, (0, 0, below, right), name=name)


Block = Callable[[GraphBuilder, str, int, str], str]


def _unit(
    builder: GraphBuilder, source: str, width: int, kernel: int, name: str, stride: int = 1
) -> str:
    return convolution_unit(builder, source, width, kernel, stride, activation="relu6", name=name)


def _sequential(builder: GraphBuilder, source: str, width: int, name: str) -> str:
    return _unit(builder, source, width, 3, f"{name}/conv")


def _residual(builder: GraphBuilder, source: str, width: int, name: str) -> str:
    hidden = _unit(builder, source, width, 3, f"{name}/conv1")
    branch = convolution_unit(builder, hidden, width, 3, activation=None, name=f"{name}/conv2")
    total = builder.add(op.Elementwise("add"), branch, source, name=f"{name}/add")
    return builder.add(op.Activation("relu6"), total, name=f"{name}/relu6")


def _dense(builder: GraphBuilder, source: str, width: int, name: str) -> str:
    grown = _unit(builder, source, max(width // 4, 1), 3, f"{name}/conv")
    return builder.add(op.Concat(1), source, grown, name=f"{name}/concat")


def _branched_2way(builder: GraphBuilder, source: str, width: int, name: str) -> str:
    ends = [
        _unit(builder, source, width // 2, 1, f"{name}/branch1"),
        _unit(builder, source, width - width // 2, 3, f"{name}/branch2"),
    ]
    return builder.add(op.Concat(1), *ends, name=f"{name}/concat")


def _branched_4way(builder: GraphBuilder, source: str, width: int, name: str) -> str:
    quarter = max(width // 4, 1)
    ends = []
    for branch, kernels in enumerate(((1,), (1, 3), (1, 3, 3)), 1):
        end = source
        for number, kernel in enumerate(kernels, 1):
            end = _unit(builder, end, quarter, kernel, f"{name}/branch{branch}_{number}")
        ends.append(end)
    pooled = builder.pooling(source, "average", 3, 1, "same", name=f"{name}/pooling")
    ends.append(_unit(builder, pooled, width - 3 * quarter, 1, f"{name}/branch4"))
    return builder.add(op.Concat(1), *ends, name=f"{name}/concat")


SYNTHETIC_BLOCKS: dict[str, Block] = {
    "sequential": _sequential,
    "residual": _residual,
    "dense": _dense,
    "branched_2way": _branched_2way,
    "branched_4way": _branched_4way,
}


def synthetic(family: str, depth: int, base_width: int, size: op.Pair) -> Graph:
    """Stem of stride 4, four stages of `depth` blocks with base width times 1, 2, 4 and 8.

    A stage of dense blocks ends in a 1x1 convolution back to the stage's width.
    """
    if family not in SYNTHETIC_BLOCKS:
        raise SchemaError(f"synthetic family '{family}'; legal: {legal(SYNTHETIC_BLOCKS)}")
    builder = GraphBuilder(f"{family}_d{depth}_w{base_width}_r{size[0]}")
    features = _unit(builder, published_image(builder, size), base_width, 3, "stem/conv", 2)
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    for stage in range(4):
        width = base_width * 2**stage
        if stage:
            features = _unit(builder, features, width, 3, f"transition{stage + 1}", 2)
        for block in range(1, depth + 1):
            name = f"stage{stage + 1}/block{block}"
            features = SYNTHETIC_BLOCKS[family](builder, features, width, name)
        if family == "dense":
            features = _unit(builder, features, width, 1, f"stage{stage + 1}/project")
    return _classified(builder, features)
