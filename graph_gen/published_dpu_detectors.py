"""Detectors of the Vitis AI model zoo: single-shot ones on MobileNet, VGG-16 and ResNet-50.

Networks end in their prediction maps; decoding boxes is left to the host.
"""

from collections.abc import Sequence

from graph_gen.network_parts import convolution_unit
from graph_gen.networks_mobilenet import mobilenet_v1_features, mobilenet_v2_features
from graph_gen.networks_resnet import BOTTLENECK_DEPTHS, bottleneck, resnet_features
from graph_gen.published_dpu_classifiers import covering_pool, vgg_features
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_COCO_CLASSES = 91  # with the background
_BOX = 4
# (1x1 filters, filters of the strided 3x3 convolution) of the maps below the backbone.
_EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))


def _extras(builder: GraphBuilder, source: str) -> list[str]:
    ends = []
    for number, (narrow, wide) in enumerate(_EXTRAS, 1):
        name = f"extra{number}"
        source = convolution_unit(
            builder, source, narrow, 1, activation="relu6", name=f"{name}/reduce"
        )
        source = convolution_unit(
            builder, source, wide, 3, 2, activation="relu6", name=f"{name}/conv"
        )
        ends.append(source)
    return ends


def _predictors(
    builder: GraphBuilder,
    maps: Sequence[str],
    boxes: Sequence[int],
    classes: int,
    kernel: int,
) -> tuple[str, ...]:
    """Class and box maps of each feature map, `boxes` per position."""
    outputs = []
    for number, (source, count) in enumerate(zip(maps, boxes, strict=True), 1):
        for label, filters in (("boxes", count * _BOX), ("classes", count * classes)):
            outputs.append(
                builder.convolution(source, filters, kernel, name=f"predict{number}/{label}")
            )
    return tuple(outputs)


def ssd_mobilenet_v1(size: int = 300) -> Graph:
    """SSD (Liu et al. 2016) on MobileNetV1 for COCO, as in TensorFlow's detection API."""
    builder = GraphBuilder("ssd_mobilenet_v1")
    ends = mobilenet_v1_features(builder, builder.input(1, 3, size, size, name="image"))
    maps = [ends[10], ends[12], *_extras(builder, ends[12])]
    boxes = (3, 6, 6, 6, 6, 6)
    return builder.build(_predictors(builder, maps, boxes, _COCO_CLASSES, 1))


def ssd_mobilenet_v2(size: int = 300) -> Graph:
    """SSD on MobileNetV2 for COCO, as in TensorFlow's detection API: 3x3 predictors."""
    builder = GraphBuilder("ssd_mobilenet_v2")
    _, last = mobilenet_v2_features(builder, builder.input(1, 3, size, size, name="image"))
    # the expansion of the first block of stage 6, before it strides
    maps = ["stage6/block1/expand/relu6", last, *_extras(builder, last)]
    boxes = (3, 6, 6, 6, 6, 6)
    return builder.build(_predictors(builder, maps, boxes, _COCO_CLASSES, 3))


# Strides of the seven stages in the Caffe release that the zoo's SSD stands on.
_CAFFE_STRIDES = (1, 2, 2, 1, 2, 2, 1)


def ssd_mobilenet_v2_caffe(size: op.Pair, classes: int) -> Graph:
    """SSD on the Caffe release of MobileNetV2: maps of strides 8 to 128, 3x3 predictors."""
    builder = GraphBuilder("ssd_mobilenet_v2_caffe")
    image = builder.input(1, 3, *size, name="image")
    _, features = mobilenet_v2_features(builder, image, strides=_CAFFE_STRIDES)
    maps = ["stage5/block1/expand/relu6", "stage6/block1/expand/relu6", features]
    for number, (narrow, wide) in enumerate(_EXTRAS[:2], 1):
        name = f"extra{number}"
        features = convolution_unit(builder, features, narrow, 1, name=f"{name}/reduce")
        features = convolution_unit(builder, features, wide, 3, 2, name=f"{name}/conv")
        maps.append(features)
    return builder.build(_predictors(builder, maps, (8, 6, 6, 6, 6), classes, 3))


def _tower(builder: GraphBuilder, source: str, filters: int, name: str) -> str:
    for number in range(1, 5):
        source = convolution_unit(
            builder, source, 256, 3, activation="relu6", name=f"{name}/conv{number}"
        )
    return builder.convolution(source, filters, 3, name=f"{name}/predict")


def ssd_resnet50_fpn(size: int = 640) -> Graph:
    """RetinaNet-like SSD on ResNet-50 with a feature pyramid (Lin et al. 2017), for COCO."""
    builder = GraphBuilder("ssd_resnet50_fpn")
    image = builder.input(1, 3, size, size, name="image")
    stages = resnet_features(builder, image, bottleneck, BOTTLENECK_DEPTHS[50])
    above, pyramid = "", list[str]()
    for level in (5, 4, 3):
        lateral = builder.convolution(stages[level - 2], 256, 1, name=f"level{level}/lateral")
        if above:
            height, width = builder.shape(lateral)[2:]
            large = builder.add(
                op.Resize("nearest", (height, width)), above, name=f"level{level}/resize"
            )
            lateral = builder.add(op.Elementwise("add"), lateral, large, name=f"level{level}/add")
        above = lateral
        if level < 5:
            lateral = convolution_unit(
                builder, above, 256, 3, activation="relu6", name=f"level{level}/smooth"
            )
        pyramid.insert(0, lateral)
    for level in (6, 7):
        pyramid.append(
            convolution_unit(
                builder, pyramid[-1], 256, 3, 2, activation="relu6", name=f"level{level}/conv"
            )
        )
    anchors = 6  # two scales, three shapes
    outputs = []
    for level, source in enumerate(pyramid, 3):
        outputs.append(_tower(builder, source, anchors * _BOX, f"boxes{level}"))
        outputs.append(_tower(builder, source, anchors * _COCO_CLASSES, f"classes{level}"))
    return builder.build(tuple(outputs))


def ssd_vgg(size: op.Pair, classes: int) -> Graph:
    """SSD on VGG-16: stage 4, the dilated "fc" convolutions, four pairs of smaller maps."""
    builder = GraphBuilder("ssd_vgg16")
    stages = vgg_features(builder, builder.input(1, 3, *size, name="image"))
    features = builder.pooling(stages[4], "max", 3, 1, "same", name="pool5")
    features = builder.convolution(features, 1024, 3, dilation=6, activation="relu", name="fc6")
    features = builder.convolution(features, 1024, 1, activation="relu", name="fc7")
    maps = [stages[3], features]
    for number, (narrow, wide, stride, padding) in enumerate(
        ((256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 1, 0), (128, 256, 1, 0)), 6
    ):
        features = builder.convolution(
            features, narrow, 1, activation="relu", name=f"conv{number}_1"
        )
        features = builder.convolution(
            features, wide, 3, stride, padding, activation="relu", name=f"conv{number}_2"
        )
        maps.append(features)
    return builder.build(_predictors(builder, maps, (4, 6, 6, 6, 4, 4), classes, 3))


def _relu_conv(builder: GraphBuilder, source: str, filters: int, kernel: int, name: str) -> str:
    return builder.convolution(source, filters, kernel, activation="relu", name=name)


def _connection(builder: GraphBuilder, source: str, above: str, name: str) -> str:
    """RefineDet's transfer connection block: a map of 256 channels joined by the coarser one's."""
    features = _relu_conv(builder, source, 256, 3, f"{name}/conv1")
    features = builder.convolution(features, 256, 3, name=f"{name}/conv2")
    if above:
        height, width = builder.shape(source)[2:]
        spare = [
            2 * coarse - fine
            for coarse, fine in zip(builder.shape(above)[2:], (height, width), strict=True)
        ]
        enlarge = op.TransposedConvolution(256, (2, 2), (2, 2), padding=(0, 0, *spare))  # type: ignore[arg-type]
        large = builder.add(enlarge, above, name=f"{name}/enlarge")
        features = builder.add(op.Elementwise("add"), features, large, name=f"{name}/add")
    features = builder.add(op.Activation("relu"), features, name=f"{name}/relu")
    return _relu_conv(builder, features, 256, 3, f"{name}/conv3")


def refinedet_vgg(size: op.Pair, classes: int) -> Graph:
    """RefineDet (Zhang et al. 2018) on VGG-16: anchors refined on four maps, then detection."""
    builder = GraphBuilder("refinedet_vgg16")
    stages = vgg_features(builder, builder.input(1, 3, *size, name="image"))
    features = covering_pool(builder, stages[4], 2, "pool5")
    features = builder.convolution(features, 1024, 3, dilation=3, activation="relu", name="fc6")
    last = _relu_conv(builder, features, 1024, 1, "fc7")
    features = _relu_conv(builder, last, 256, 1, "conv6_1")
    features = builder.convolution(features, 512, 3, 2, 1, activation="relu", name="conv6_2")
    maps = [stages[3], stages[4], last, features]
    outputs, above = [], ""
    for number, source in reversed(list(enumerate(maps, 1))):
        above = _connection(builder, source, above, f"connection{number}")
        for label, where, filters in (
            ("anchors", source, 3 * _BOX),
            ("objects", source, 3 * 2),
            ("boxes", above, 3 * _BOX),
            ("classes", above, 3 * classes),
        ):
            outputs.append(builder.convolution(where, filters, 3, name=f"predict{number}/{label}"))
    return builder.build(tuple(outputs))
