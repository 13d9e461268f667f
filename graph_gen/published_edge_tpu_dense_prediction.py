"""Detection, segmentation and pose networks of the Edge TPU's published tables.

SSD (Liu et al. 2016) as in TensorFlow's Object Detection API, DeepLab V3 (Chen et al. 2017), the
U-Net of TensorFlow's segmentation tutorial, PoseNet and BodyPix (Papandreou et al. 2018). What only
the host runs (post-processing, ArgMax) is an opaque layer under the name of its TFLite operation.
"""

from graph_gen.network_parts import convolution_unit
from graph_gen.published_edge_tpu_mobilenets import (
    last_convolution_v2,
    mobilenet_v1_features,
    mobilenet_v2_features,
    published_image,
)
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_COCO_CLASSES = 91  # 90 and the background
_BOX = 4
_DETECTIONS = 10
_SSD_ANCHORS = (3, 6, 6, 6, 6, 6)
_SSD_EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))  # 1x1, then 3x3 of stride 2


def _predictions(builder: GraphBuilder, maps: list[str], values: int, name: str) -> str:
    """1x1 convolutions on every map, as one tensor (batch, anchors of all maps, values)."""
    parts = []
    for number, (source, anchors) in enumerate(zip(maps, _SSD_ANCHORS, strict=True), 1):
        height, width = builder.shape(source)[2:]
        raw = builder.convolution(source, anchors * values, 1, name=f"{name}{number}/conv")
        shape = (1, anchors * height * width, values)
        parts.append(builder.add(op.Reshape(shape), raw, name=f"{name}{number}/reshape"))
    return builder.add(op.Concat(1), *parts, name=f"{name}/concat")


def ssd_mobilenet(version: int, size: op.Pair, classes: int = _COCO_CLASSES) -> Graph:
    """SSD on MobileNet V1 or V2 with six maps; its post-processing is the host's."""
    builder = GraphBuilder(f"ssd_mobilenet_v{version}")
    image = published_image(builder, size)
    if version == 1:
        features = mobilenet_v1_features(builder, image, 1.0)
        maps = [features.blocks[10], features.blocks[12]]
    else:
        features = mobilenet_v2_features(builder, image, 1.0)
        maps = [features.expanded[13], last_convolution_v2(builder, features.blocks[-1], 1.0)]
    for number, (squeeze, filters) in enumerate(_SSD_EXTRA, 1):
        name = f"extra{number}"
        hidden = convolution_unit(
            builder, maps[-1], squeeze, 1, activation="relu6", name=f"{name}/conv1"
        )
        maps.append(
            convolution_unit(
                builder, hidden, filters, 3, 2, activation="relu6", name=f"{name}/conv2"
            )
        )
    boxes = _predictions(builder, maps, _BOX, "boxes")
    logits = _predictions(builder, maps, classes, "classes")
    scores = builder.add(op.Activation("sigmoid"), logits, name="classes/sigmoid")
    post = op.Opaque("TFLite_Detection_PostProcess", (1, _DETECTIONS, _BOX))
    builder.add(post, boxes, scores, name="post_processing")
    return builder.build()


_DEEPLAB_WIDTH = 256


def deeplab_v3(width: float, size: op.Pair, classes: int = 21) -> Graph:
    """DeepLab V3 on MobileNetV2, output stride 16: an image-pooling and a 1x1 branch.

    As exported, the class maps are resized twice (to their own size, then to the image's), and an
    ArgMax ends the network.
    """
    builder = GraphBuilder(f"deeplab_v3_mobilenet_v2_{width:g}")
    image = published_image(builder, size)
    features = mobilenet_v2_features(builder, image, width, output_stride=16).blocks[-1]
    height, across = builder.shape(features)[2:]
    pooled = builder.add(op.GlobalPooling("average"), features, name="image/pooling")
    pooled = convolution_unit(builder, pooled, _DEEPLAB_WIDTH, 1, name="image/conv")
    pooled = builder.add(op.Resize("linear", (height, across)), pooled, name="image/resize")
    local = convolution_unit(builder, features, _DEEPLAB_WIDTH, 1, name="local/conv")
    both = builder.add(op.Concat(1), pooled, local, name="concat")
    hidden = convolution_unit(builder, both, _DEEPLAB_WIDTH, 1, name="projection")
    logits = builder.convolution(hidden, classes, 1, name="logits")
    logits = builder.add(op.Resize("linear", (height, across)), logits, name="resize1")
    logits = builder.add(op.Resize("linear", size), logits, name="resize2")
    builder.add(op.Opaque("ARG_MAX", (1, 1, *size)), logits, name="argmax")
    return builder.build()


# Blocks of MobileNetV2, counted from 0, whose widened tensors the decoder reads; decoder widths.
_UNET_SKIPS = (13, 6, 3, 1)
_UNET_WIDTHS = (512, 256, 128, 64)
_UP = {"kernel": (3, 3), "stride": (2, 2), "padding": (0, 0, 1, 1)}  # twice height and width


def unet_mobilenet_v2(size: op.Pair, classes: int = 3) -> Graph:
    """TensorFlow's tutorial U-Net: MobileNetV2 down to stride 32, transposed convolutions up."""
    builder = GraphBuilder(f"unet_mobilenet_v2_{size[0]}")
    encoder = mobilenet_v2_features(builder, published_image(builder, size), 1.0)
    features = encoder.blocks[-1]
    for number, (skip, width) in enumerate(zip(_UNET_SKIPS, _UNET_WIDTHS, strict=True), 1):
        name = f"up{number}"
        up = op.TransposedConvolution(width, **_UP, bias=False)  # type: ignore[arg-type]
        features = builder.add(up, features, name=f"{name}/conv")
        features = builder.add(op.BatchNormalization(), features, name=f"{name}/normalise")
        features = builder.add(op.Activation("relu"), features, name=f"{name}/relu")
        features = builder.add(
            op.Concat(1), features, encoder.expanded[skip], name=f"{name}/concat"
        )
    last = op.TransposedConvolution(classes, **_UP)  # type: ignore[arg-type]
    builder.add(last, features, name="maps")
    return builder.build()


_KEY_POINTS, _LIMBS, _BODY_PARTS = 17, 16, 24


def posenet(
    width: float,
    size: op.Pair,
    output_stride: int = 16,
    body_parts: bool = False,
    decoder: bool = True,
) -> Graph:
    """PoseNet, or BodyPix with `body_parts`, on MobileNetV1.

    Key point maps, short offsets, and limb offsets there and back; BodyPix adds segments, parts and
    long offsets. With `decoder` the poses are decoded by the host. Below width 1 the last two
    blocks stay at 512 filters times the width: so the published parameter bytes say.
    """
    builder = GraphBuilder(f"{'bodypix' if body_parts else 'posenet'}_{width:g}_{size[0]}")
    image = published_image(builder, size)
    widest = 1024 if width >= 1 else 512
    features = mobilenet_v1_features(builder, image, width, output_stride, widest).blocks[-1]

    def maps(count: int, name: str) -> str:
        return builder.convolution(features, count, 1, name=name)

    limbs = [maps(2 * _LIMBS, f"limbs/{way}") for way in ("forward", "backward")]
    ends = [
        maps(_KEY_POINTS, "key_points"),
        maps(2 * _KEY_POINTS, "short_offsets"),
        builder.add(op.Concat(1), *limbs, name="limbs/concat"),
    ]
    if body_parts:
        ends += [
            maps(1, "segments"),
            maps(_BODY_PARTS, "parts"),
            maps(2 * _KEY_POINTS, "long_offsets"),
        ]
    if decoder:
        shape = (1, _DETECTIONS, _KEY_POINTS, 2)
        ends = [builder.add(op.Opaque("PosenetDecoderOp", shape), *ends, name="decoder")]
    return builder.build(tuple(ends))
