"""Networks of Xilinx's tutorials (github.com/Xilinx/Vitis-AI-Tutorials), measured on its DPU.

Convolutions are named as the published profiles name them (Keras numbers its layers in the order
of their creation), so that a node of a profile finds its layer. Drop-out is gone, and so is the
softmax where the published time leaves it to the host.
"""

from collections.abc import Sequence

from graph_gen.published_dpu_classifiers import covering_pool
from graph_gen.published_family import Family
from strata import operations as op
from strata.builder import GraphBuilder, pair
from strata.errors import SchemaError
from strata.graph import Graph
from strata.operations import Pair


class _Keras(GraphBuilder):
    """A builder that numbers layers as Keras does and names them as TensorFlow's graph does."""

    def __init__(self, name: str, *, bias: bool = True) -> None:
        super().__init__(name)
        self._bias = bias
        self._convolutions = self._denses = 0

    def unit(
        self,
        source: str,
        filters: int,
        kernel: int | Sequence[int],
        stride: int = 1,
        padding: int | str = "same",
        activation: str | None = "relu",
        *,
        normalise: bool = True,
        name: str | None = None,
    ) -> str:
        """Convolution, batch normalisation and activation."""
        self._convolutions += 1
        return self.convolution(
            source,
            filters,
            kernel,
            stride,
            padding,
            bias=self._bias,
            normalise=normalise,
            activation=activation,
            name=name or f"conv2d_{self._convolutions}_convolution",
        )

    def full(self, source: str, units: int, normalise: bool = False, relu: bool = False) -> str:
        """Dense layer of a flat tensor."""
        self._denses += 1
        layer = self.add(op.Dense(units), source, name=f"dense_{self._denses}_MatMul")
        return self._tail(layer, "relu" if relu else None, normalise)

    def softmax(self, source: str) -> str:
        """Softmax over the classes."""
        return self.add(op.Softmax(), source, name="softmax")

    def flat(self, source: str) -> str:
        """One vector."""
        return self.add(op.Flatten(), source, name="flatten")


_VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def _fcn8_top(builder: _Keras, features: str, learned: bool, classes: int) -> str:
    """What the deepest maps contribute, four times as large."""
    if learned:
        for name, kernel in (("conv6", 7), ("conv7", 1)):
            features = builder.unit(
                features, 512, kernel, normalise=False, name=f"{name}_convolution"
            )
        return _enlarge(builder, features, classes, 4, "conv2d_transpose_1_conv2d_transpose")
    for name, kernel in (("conv7_4a", 7), ("conv7_4b", 1)):
        features = builder.unit(
            features, classes, kernel, normalise=False, name=f"{name}_convolution"
        )
    return _nearest(builder, features, 4, "up_sampling2d_1")


def _enlarge(builder: GraphBuilder, source: str, filters: int, factor: int, name: str) -> str:
    """Transposed convolution whose windows do not overlap."""
    window = (factor, factor)
    return builder.add(
        op.TransposedConvolution(filters, window, window, bias=False), source, name=name
    )


def _nearest(builder: GraphBuilder, source: str, factor: int, name: str) -> str:
    height, width = builder.shape(source)[2:]
    return builder.add(op.Resize("nearest", (factor * height, factor * width)), source, name=name)


def fcn8(learned: bool = True, size: int = 224, classes: int = 12) -> Graph:
    """FCN-8 (Long et al. 2015) on VGG-16; `learned` upsampling, or nearest neighbours but last.

    The tutorial's convolutions 6 and 7 have 512 filters, as the published operations confirm.
    """
    builder = _Keras("fcn8" if learned else "fcn8ups")
    features = builder.input(1, 3, size, size, name="image")
    pools = []
    for block, (filters, count) in enumerate(_VGG16, 1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}_convolution"
            features = builder.unit(features, filters, 3, normalise=False, name=name)
        features = builder.pooling(features, "max", 2, name=f"block{block}_pool")
        pools.append(features)
    top = _fcn8_top(builder, features, learned, classes)
    middle = builder.unit(pools[3], classes, 1, normalise=False, name="pool4_11_convolution")
    if learned:
        middle = _enlarge(builder, middle, classes, 2, "conv2d_transpose_2_conv2d_transpose")
    else:
        middle = builder.unit(middle, classes, 1, normalise=False, name="pool411_b_convolution")
        middle = _nearest(builder, middle, 2, "up_sampling2d_2")
    side = builder.unit(pools[2], classes, 1, normalise=False, name="pool3_11_convolution")
    total = builder.add(op.Elementwise("add"), middle, side, name="add_layer_add")
    total = builder.add(op.Elementwise("add"), total, top, name="add_layer_add_1")
    last = 3 if learned else 1
    _enlarge(builder, total, classes, 8, f"conv2d_transpose_{last}_conv2d_transpose")
    return builder.build()


def _double(builder: _Keras, source: str, filters: int) -> str:
    return builder.unit(builder.unit(source, filters, 3), filters, 3)


def unet(version: int = 2, size: int = 224, classes: int = 12) -> Graph:
    """U-Net (Ronneberger et al. 2015) of 64 to 1024 filters, bilinear upsampling.

    Version 1 concatenates the enlarged maps, 2 passes them through a 2x2 convolution, 3 enlarges
    by transposed 3x3 convolutions instead.
    """
    builder = _Keras(f"unet_v{version}")
    features = builder.input(1, 3, size, size, name="image")
    skips = []
    for level in range(4):
        features = _double(builder, features, 64 * 2**level)
        skips.append(features)
        features = builder.pooling(features, "max", 2, name=f"pool{level + 1}")
    features = _double(builder, features, 1024)
    for level in reversed(range(4)):
        features = _unet_up(builder, features, 64 * 2**level, version, 4 - level)
        features = builder.add(
            op.Concat(1), features, skips[level], name=f"concatenate_{4 - level}_concat"
        )
        features = _double(builder, features, 64 * 2**level)
    builder.unit(features, classes, 3, normalise=False)
    return builder.build()


def _unet_up(builder: _Keras, source: str, filters: int, version: int, number: int) -> str:
    height, width = builder.shape(source)[2:]
    if version == 3:
        parameters = op.TransposedConvolution(
            filters, (3, 3), (2, 2), padding=(0, 0, 1, 1), output_padding=(0, 0)
        )
        return builder.add(parameters, source, name=f"conv2d_transpose_{number}_conv2d_transpose")
    twice = op.Resize("linear", (2 * height, 2 * width))
    large = builder.add(twice, source, name=f"up_sampling2d_{number}")
    return builder.unit(large, filters, 2, normalise=False) if version == 2 else large


def mini_vggnet(classes: int = 10) -> Graph:
    """MiniVGGNet (Rosebrock, Deep Learning for Computer Vision), 32x32."""
    builder = _Keras("minivggnet", bias=False)
    features = builder.input(1, 3, 32, 32, name="image")
    for block, filters in enumerate((32, 64), 1):
        features = _double(builder, features, filters)
        features = builder.pooling(features, "max", 2, name=f"max_pooling2d_{block}")
    features = builder.full(builder.flat(features), 512, normalise=True, relu=True)
    builder.softmax(builder.full(features, classes))
    return builder.build()


def _pair_module(builder: _Keras, source: str, one: int, three: int, number: int) -> str:
    ends = builder.unit(source, one, 1), builder.unit(source, three, 3)
    return builder.add(op.Concat(1), *ends, name=f"concatenate_{number}_concat")


def _downsample(builder: _Keras, source: str, filters: int, number: int) -> str:
    strided = builder.unit(source, filters, 3, 2, "valid")
    pooled = builder.pooling(source, "max", 3, 2, name=f"max_pooling2d_{number}")
    return builder.add(op.Concat(1), strided, pooled, name=f"concatenate_{number}_concat")


# (1x1 filters, 3x3 filters) of a module; filters of a module that halves the maps.
_MINI_GOOGLENET: tuple[tuple[int, int] | int, ...] = (
    (32, 32),
    (32, 48),
    80,
    (112, 48),
    (96, 64),
    (80, 80),
    (48, 96),
    96,
    (176, 160),
    (176, 160),
)


def mini_googlenet(classes: int = 10) -> Graph:
    """MiniGoogLeNet (Zhang et al. 2017, "Understanding deep learning ..."), 32x32."""
    builder = _Keras("minigooglenet")
    features = builder.unit(builder.input(1, 3, 32, 32, name="image"), 96, 3)
    for number, widths in enumerate(_MINI_GOOGLENET, 1):
        if isinstance(widths, int):
            features = _downsample(builder, features, widths, number)
        else:
            features = _pair_module(builder, features, *widths, number)
    features = builder.pooling(features, "average", 7, name="average_pooling2d_1")
    builder.softmax(builder.full(builder.flat(features), classes))
    return builder.build()


def _normalised(builder: GraphBuilder, source: str, name: str) -> str:
    layer = builder.add(op.BatchNormalization(), source, name=f"{name}/normalise")
    return builder.add(op.Activation("relu"), layer, name=f"{name}/relu")


def mini_resnet(classes: int = 10, depth: int = 9) -> Graph:
    """A pre-activation ResNet (He et al. 2016b) of three stages for 32x32."""
    builder = _Keras("miniresnet", bias=False)
    image = builder.input(1, 3, 32, 32, name="image")
    start = builder.add(op.BatchNormalization(), image, name="image/normalise")
    features = builder.unit(start, 64, 3, normalise=False, activation=None)
    for stage, filters in enumerate((64, 128, 256)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            name = f"stage{stage + 1}/block{block + 1}"
            ready = _normalised(builder, features, name)
            inner = builder.unit(ready, filters // 4, 1)
            inner = builder.unit(inner, filters // 4, 3, stride)
            inner = builder.unit(inner, filters, 1, normalise=False, activation=None)
            if not block:
                features = builder.unit(ready, filters, 1, stride, normalise=False, activation=None)
            features = builder.add(op.Elementwise("add"), inner, features, name=f"{name}/add")
    features = _normalised(builder, features, "last")
    features = builder.pooling(features, "average", 8, name="average_pooling2d_1")
    builder.softmax(builder.full(builder.flat(features), classes))
    return builder.build()


def lenet(classes: int = 10) -> Graph:
    """The tutorial's LeNet, 32x32; its first convolution is read by nobody and thus absent."""
    builder = _Keras("lenet")
    image = builder.input(1, 3, 32, 32, name="image")
    features = builder.unit(image, 50, 5, name="conv2d_2_convolution")
    features = builder.pooling(features, "max", 2, name="max_pooling2d_2")
    features = builder.full(builder.flat(features), 500, relu=True)
    builder.softmax(builder.full(features, classes))
    return builder.build()


# Filters of the five convolutions, as published and after the tutorial's pruning.
_ALEXNET = (96, 256, 384, 384, 256)
_ALEXNET_PRUNED = (78, 180, 40, 40, 26)


def alexnet(widths: tuple[int, ...] = _ALEXNET, classes: int = 2) -> Graph:
    """AlexNet with batch normalisation, 227x227: no groups, 8x8 kernels first, two classes."""
    builder = GraphBuilder("alexnet")
    features = builder.input(1, 3, 227, 227, name="data")
    shapes = ((8, 4, 0), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
    for number, (filters, (kernel, stride, padding)) in enumerate(
        zip(widths, shapes, strict=True), 1
    ):
        features = builder.convolution(
            features,
            filters,
            kernel,
            stride,
            padding,
            normalise=number <= 2,
            activation="relu",
            name=f"conv{number}",
        )
        if number in (1, 2, 5):
            features = covering_pool(builder, features, 3, f"pool{number}")
    features = builder.add(op.Flatten(), features, name="flatten")
    features = builder.dense(features, 4096, "relu", name="fc6")
    features = builder.add(op.Dense(4096), features, name="fc7")
    features = _normalised(builder, features, "fc7")
    builder.dense(features, classes, name="fc8")
    return builder.build()


def _custom_block(builder: _Keras, source: str, filters: int, number: int) -> str:
    inner = source
    for _ in range(3):
        inner = builder.unit(inner, filters, 3)
    skip = builder.unit(source, filters, 3)
    total = builder.add(op.Elementwise("add"), skip, inner, name=f"add_{number}_add")
    return builder.unit(total, filters, 3, 2)


def custom_cnn(size: Pair = (200, 250), classes: int = 2) -> Graph:
    """The tutorials' cats and dogs network: blocks of three convolutions beside one."""
    builder = _Keras("customcnn")
    features = builder.input(1, 3, *pair(size), name="image")
    widths = (8, 16, 32, 64, 128)
    for number, filters in enumerate((*widths, (widths[-1] // 2 - classes) // 2), 1):
        features = _custom_block(builder, features, filters, number)
    height, width = builder.shape(features)[2:]
    features = builder.unit(
        features, classes, (height, width), width, "valid", None, normalise=False
    )
    builder.softmax(builder.flat(features))
    return builder.build()


def densenetx(classes: int = 10, growth: int = 12, depths: Sequence[int] = (16, 16, 16)) -> Graph:
    """A DenseNet (Huang et al. 2017) for 32x32 that normalises after its convolutions."""
    builder = _Keras("densenetx", bias=False)
    features = builder.unit(builder.input(1, 3, 32, 32, name="image"), 2 * growth, 3)
    number = 0
    for block, depth in enumerate(depths, 1):
        for _ in range(depth):
            number += 1
            new = builder.unit(builder.unit(features, 4 * growth, 1), growth, 3)
            features = builder.add(op.Concat(1), features, new, name=f"concatenate_{number}_concat")
        if block < len(depths):
            features = builder.unit(features, builder.shape(features)[1] // 2, 1)
            features = builder.pooling(features, "average", 2, name=f"average_pooling2d_{block}")
    features = builder.add(op.GlobalPooling("average"), features, name="global_pooling")
    builder.softmax(builder.full(builder.flat(features), classes))
    return builder.build()


def _unpublished(name: str) -> Graph:
    raise SchemaError(f"'{name}' is pruned, and its widths are not published")


FAMILIES = (
    Family(r"fcn8(_vgg16)?(_keras)?(_\d+x\d+)?", lambda match: fcn8(), "fcn8"),
    Family(r"fcn8ups(_\w+)?", lambda match: fcn8(learned=False), "fcn8ups"),
    Family(
        r"unet_?v?(?P<version>[123])(_\w+)?", lambda match: unet(int(match["version"])), "unet_v2"
    ),
    Family(r"minivggnet(_\w+)?", lambda match: mini_vggnet(), "miniVggNet_cifar10"),
    Family(r"minigooglenet(_\w+)?", lambda match: mini_googlenet(), "miniGoogleNet_cifar10"),
    Family(r"miniresnet(_\w+)?", lambda match: mini_resnet(), "miniResNet_cifar10"),
    Family(r"lenet(_\w+)?", lambda match: lenet(), "LeNet_cifar10"),
    Family(
        r"alexnetbnnolrn_pruned\w*",
        lambda match: alexnet(_ALEXNET_PRUNED),
        "alexnetBNnoLRN_pruned",
        "Widths of the tutorial's pruned network.",
    ),
    Family(
        r"alexnetbnnolrn(_baseline)?(_\d+x\d+)?", lambda match: alexnet(), "alexnetBNnoLRN_baseline"
    ),
    Family(
        r"alexnet_tf_pruned",
        lambda match: _unpublished("alexnet_tf_pruned"),
        "alexnet_tf_pruned",
        "Not built: the widths after pruning are not published.",
    ),
    Family(r"customcnn\w*", lambda match: custom_cnn(), "customcnn_cats_dogs"),
    Family(r"densenetx\w*", lambda match: densenetx(), "densenetx_cifar10"),
)
