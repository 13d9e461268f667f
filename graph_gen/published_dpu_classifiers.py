"""Classifiers of the Vitis AI model zoo that no other module has, written from their papers.

"Slim" means the variants of TensorFlow's slim library, which the zoo quantised: 1001 classes, and
ResNets whose stages stride in their last block.
"""

from graph_gen.network_parts import classifier, convolution_unit, convolutional_classifier
from graph_gen.networks_inception import Branch, Pool, Unit, module, sequence
from graph_gen.networks_resnet import BOTTLENECK_DEPTHS
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_SLIM_CLASSES = 1001
_VGG_STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def covering_padding(size: op.Pair, kernel: int, stride: int) -> op.Padding:
    """Bottom and right padding with which a pooling reads all of its input, as in Caffe."""
    bottom, right = (-(extent - kernel) % stride for extent in size)
    return 0, 0, bottom, right


def covering_pool(builder: GraphBuilder, source: str, kernel: int, name: str) -> str:
    """Maximum pooling of stride 2 whose output size is rounded up."""
    height, width = builder.shape(source)[2:]
    padding = covering_padding((height, width), kernel, 2)
    return builder.pooling(source, "max", kernel, 2, padding, name=name)


def vgg_features(builder: GraphBuilder, image: str, depth: int = 16) -> list[str]:
    """VGG's (Simonyan and Zisserman 2015) last convolution of each stage, before its pooling."""
    features, ends = image, []
    for stage, count in enumerate(_VGG_STAGES[depth], 1):
        if stage > 1:
            features = covering_pool(builder, features, 2, f"pool{stage - 1}")
        for number in range(1, count + 1):
            features = builder.convolution(
                features,
                min(32 * 2**stage, 512),
                3,
                activation="relu",
                name=f"conv{stage}_{number}",
            )
        ends.append(features)
    return ends


def vgg(depth: int = 16, size: int = 224, classes: int = 1000) -> Graph:
    """VGG-16 or VGG-19, slim's: dense layers as convolutions, the first one 7x7."""
    builder = GraphBuilder(f"vgg{depth}")
    features = vgg_features(builder, builder.input(1, 3, size, size, name="image"), depth)[-1]
    features = builder.pooling(features, "max", 2, name="pool5")
    features = builder.convolution(
        features, 4096, 7, padding="valid", activation="relu", name="fc6"
    )
    features = builder.convolution(features, 4096, 1, activation="relu", name="fc7")
    logits = builder.convolution(features, classes, 1, name="fc8")
    flat = builder.add(op.Flatten(), logits, name="flatten")
    builder.add(op.Softmax(), flat, name="softmax")
    return builder.build()


# SqueezeNet 1.1: (squeeze, expand) filters of the fire modules; pools stand before 2, 4 and 6.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def squeezenet(size: int = 227, classes: int = 1000) -> Graph:
    """SqueezeNet 1.1 (Iandola et al. 2016, its later release); 3x3 pools as Caffe rounds them."""
    builder = GraphBuilder("squeezenet")
    features = builder.input(1, 3, size, size, name="image")
    features = builder.convolution(features, 64, 3, 2, 0, activation="relu", name="conv1")
    for number, (squeeze, expand) in enumerate(_FIRES, 2):
        if number in (2, 4, 6):
            features = covering_pool(builder, features, 3, f"pool{number}")
        name = f"fire{number}"
        features = builder.convolution(
            features, squeeze, 1, activation="relu", name=f"{name}/squeeze1x1"
        )
        ends = [
            builder.convolution(
                features, expand, kernel, activation="relu", name=f"{name}/expand{kernel}x{kernel}"
            )
            for kernel in (1, 3)
        ]
        features = builder.add(op.Concat(1), *ends, name=f"{name}/concat")
    features = builder.convolution(features, classes, 1, activation="relu", name="conv10")
    features = builder.add(op.GlobalPooling("average"), features, name="pool10")
    flat = builder.add(op.Flatten(), features, name="flatten")
    builder.add(op.Softmax(), flat, name="softmax")
    return builder.build()


def _subsample(builder: GraphBuilder, source: str, stride: int, name: str) -> str:
    if stride == 1:
        return source
    return builder.pooling(source, "max", 1, stride, name=f"{name}/subsample")


def _slim_block(
    builder: GraphBuilder, source: str, width: int, stride: int, preactivated: bool, name: str
) -> str:
    """A bottleneck block (He et al. 2016; pre-activated: 2016b) striding in its 3x3 convolution."""
    start = source
    if preactivated:
        start = builder.add(op.BatchNormalization(), source, name=f"{name}/normalise")
        start = builder.add(op.Activation("relu"), start, name=f"{name}/preactivation")
    if builder.shape(source)[1] == 4 * width:
        shortcut = _subsample(builder, source, stride, name)
    elif preactivated:
        shortcut = builder.convolution(start, 4 * width, 1, stride, name=f"{name}/shortcut")
    else:
        shortcut = convolution_unit(
            builder, source, 4 * width, 1, stride, activation=None, name=f"{name}/shortcut"
        )
    inner = convolution_unit(builder, start, width, 1, name=f"{name}/conv1")
    inner = convolution_unit(builder, inner, width, 3, stride, "same", name=f"{name}/conv2")
    if preactivated:
        inner = builder.convolution(inner, 4 * width, 1, name=f"{name}/conv3")
        return builder.add(op.Elementwise("add"), shortcut, inner, name=f"{name}/add")
    inner = convolution_unit(builder, inner, 4 * width, 1, activation=None, name=f"{name}/conv3")
    total = builder.add(op.Elementwise("add"), shortcut, inner, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu")


def slim_resnet(depth: int, preactivated: bool = False, size: int = 224) -> Graph:
    """Slim's ResNet of 50, 101 or 152 layers, "V1" or pre-activated "V2"."""
    builder = GraphBuilder(f"slim_resnet{depth}_v{2 if preactivated else 1}")
    features = builder.convolution(
        builder.input(1, 3, size, size, name="image"),
        64,
        7,
        2,
        bias=preactivated,
        normalise=not preactivated,
        activation=None if preactivated else "relu",
        name="stem/conv",
    )
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    for stage, count in enumerate(BOTTLENECK_DEPTHS[depth], 1):
        for block in range(1, count + 1):
            stride = 2 if block == count and stage < 4 else 1
            name = f"stage{stage}/block{block}"
            features = _slim_block(builder, features, 32 * 2**stage, stride, preactivated, name)
    if preactivated:
        features = builder.add(op.BatchNormalization(), features, name="last/normalise")
        features = builder.add(op.Activation("relu"), features, name="last/relu")
    convolutional_classifier(
        builder, features, _SLIM_CLASSES if preactivated else _SLIM_CLASSES - 1
    )
    return builder.build()


_STRIDED: Branch = [Pool("max", 2, "valid")]
_IR2_STEM: Branch = (
    Unit(32, 3, 2, "valid"),
    Unit(32, 3, 1, "valid"),
    Unit(64, 3),
    Pool("max", 2, "valid"),
    Unit(80),
    Unit(192, 3, 1, "valid"),
    Pool("max", 2, "valid"),
)
_IR2_FIRST: list[Branch] = [
    [Unit(96)],
    [Unit(48), Unit(64, 5)],
    [Unit(64), Unit(96, 3), Unit(96, 3)],
    [Pool("average"), Unit(64)],
]
_IR2_REDUCTION_A: list[Branch] = [
    [Unit(384, 3, 2, "valid")],
    [Unit(256), Unit(256, 3), Unit(384, 3, 2, "valid")],
    _STRIDED,
]
_IR2_REDUCTION_B: list[Branch] = [
    [Unit(256), Unit(384, 3, 2, "valid")],
    [Unit(256), Unit(288, 3, 2, "valid")],
    [Unit(256), Unit(288, 3), Unit(320, 3, 2, "valid")],
    _STRIDED,
]
_IR2_A: list[Branch] = [
    [Unit(32)],
    [Unit(32), Unit(32, 3)],
    [Unit(32), Unit(48, 3), Unit(64, 3)],
]
_IR2_B: list[Branch] = [[Unit(192)], [Unit(128), Unit(160, (1, 7)), Unit(192, (7, 1))]]
_IR2_C: list[Branch] = [[Unit(192)], [Unit(192), Unit(224, (1, 3)), Unit(256, (3, 1))]]


def _residual_module(
    builder: GraphBuilder, source: str, branches: list[Branch], relu: bool, name: str
) -> str:
    inner = module(builder, source, branches, name, normalise=True)
    inner = builder.convolution(inner, builder.shape(source)[1], 1, name=f"{name}/expand")
    # the constant scale of the residual goes into the expansion's weights
    total = builder.add(op.Elementwise("add"), source, inner, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu") if relu else total


def inception_resnet_v2() -> Graph:
    """Inception-ResNet V2 (Szegedy et al. 2017) as slim has it, 299x299."""
    builder = GraphBuilder("inception_resnet_v2")
    image = builder.input(1, 3, 299, 299, name="image")
    (features,) = sequence(builder, image, _IR2_STEM, "stem", normalise=True)
    features = module(builder, features, _IR2_FIRST, "mixed_5b", normalise=True)
    for number in range(1, 11):
        features = _residual_module(builder, features, _IR2_A, True, f"block35_{number}")
    features = module(builder, features, _IR2_REDUCTION_A, "mixed_6a", normalise=True)
    for number in range(1, 21):
        features = _residual_module(builder, features, _IR2_B, True, f"block17_{number}")
    features = module(builder, features, _IR2_REDUCTION_B, "mixed_7a", normalise=True)
    for number in range(1, 11):
        features = _residual_module(builder, features, _IR2_C, number < 10, f"block8_{number}")
    features = convolution_unit(builder, features, 1536, 1, name="last/conv")
    classifier(builder, features, _SLIM_CLASSES)
    return builder.build()


# SphereFace (Liu et al. 2017, table 2): residual units per stage of 64 to 512 filters.
_SPHERE_UNITS = {20: (1, 2, 4, 1), 64: (3, 8, 16, 3)}


def sphereface(depth: int = 20, size: op.Pair = (112, 96)) -> Graph:
    """SphereFace of 20 or 64 layers: strided 3x3 convolutions, units of two more, 512 features."""
    builder = GraphBuilder(f"sphereface{depth}")
    features = builder.input(1, 3, *size, name="image")
    for stage, units in enumerate(_SPHERE_UNITS[depth], 1):
        filters = 32 * 2**stage
        features = builder.convolution(
            features, filters, 3, 2, 1, activation="relu", name=f"conv{stage}_1"
        )
        for unit in range(units):
            inner = features
            for number in (2 * unit + 2, 2 * unit + 3):
                inner = builder.convolution(
                    inner, filters, 3, activation="relu", name=f"conv{stage}_{number}"
                )
            features = builder.add(
                op.Elementwise("add"), features, inner, name=f"add{stage}_{unit + 1}"
            )
    flat = builder.add(op.Flatten(), features, name="flatten")
    builder.dense(flat, 512, name="fc5")
    return builder.build()
