"""YOLOv2 (Redmon and Farhadi 2017) and YOLOv3 (2018), by default for the 20 classes of VOC.

Up to the prediction maps; decoding boxes is not part of the network.
"""

from graph_gen.network_parts import convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder, pair
from strata.graph import Graph

_CLASSES = 20
_BOX = 5  # four coordinates and objectness
_ANCHORS_V2 = 5
_ANCHORS_V3 = 3  # per scale
_DEPTHS_V3 = (1, 2, 8, 8, 4)  # residual blocks per stage of Darknet-53


def _unit(
    builder: GraphBuilder, source: str, filters: int, kernel: int, stride: int = 1, *, name: str
) -> str:
    """Darknet's convolution: padded by half the kernel, normalised, leaky ReLU."""
    return convolution_unit(
        builder, source, filters, kernel, stride, kernel // 2, "leaky_relu", name=name
    )


def _alternating(builder: GraphBuilder, source: str, width: int, count: int, name: str) -> str:
    """3x3 convolutions of `width`, 1x1 convolutions of half that between them."""
    for number in range(1, count + 1):
        filters, kernel = (width, 3) if number % 2 else (width // 2, 1)
        source = _unit(builder, source, filters, kernel, name=f"{name}/conv{number}")
    return source


def _space_to_depth(builder: GraphBuilder, source: str, name: str) -> str:
    """Darknet's reorg: every 2x2 patch becomes four channels."""
    batch, channels, height, width = builder.shape(source)
    half = (height // 2, width // 2)
    split = builder.add(
        op.Reshape((batch, channels, half[0], 2, half[1], 2)), source, name=f"{name}/split"
    )
    moved = builder.add(op.Transpose((0, 3, 5, 1, 2, 4)), split, name=f"{name}/transpose")
    return builder.add(op.Reshape((batch, 4 * channels, *half)), moved, name=f"{name}/merge")


def yolo_v2(size: int = 448, classes: int = _CLASSES) -> Graph:
    """YOLOv2: Darknet-19, pass-through from stride 16, by default 125 maps of 14x14."""
    builder = GraphBuilder("yolo_v2")
    features = builder.input(1, 3, size, size, name="image")
    fine = features
    for stage, count in enumerate((1, 1, 3, 3, 5, 5), 1):
        features = _alternating(builder, features, 16 * 2**stage, count, f"stage{stage}")
        if stage < 6:
            fine = features
            features = builder.pooling(features, "max", 2, name=f"stage{stage}/pooling")
    features = _unit(builder, features, 1024, 3, name="head/conv1")
    features = _unit(builder, features, 1024, 3, name="head/conv2")
    fine = _unit(builder, fine, 64, 1, name="passthrough/conv")
    fine = _space_to_depth(builder, fine, "passthrough")
    features = builder.add(op.Concat(1), fine, features, name="head/concat")
    features = _unit(builder, features, 1024, 3, name="head/conv3")
    maps = _ANCHORS_V2 * (_BOX + classes)
    builder.convolution(features, maps, 1, name="head/predict")
    return builder.build()


def _darknet53(builder: GraphBuilder, image: str) -> list[str]:
    """Outputs of the five stages, strides 2 to 32."""
    features = _unit(builder, image, 32, 3, name="stem/conv")
    ends = []
    for stage, depth in enumerate(_DEPTHS_V3, 1):
        width = 32 * 2**stage
        features = _unit(builder, features, width, 3, 2, name=f"stage{stage}/downsample")
        for block in range(1, depth + 1):
            name = f"stage{stage}/block{block}"
            inner = _unit(builder, features, width // 2, 1, name=f"{name}/conv1")
            inner = _unit(builder, inner, width, 3, name=f"{name}/conv2")
            features = builder.add(op.Elementwise("add"), features, inner, name=f"{name}/add")
        ends.append(features)
    return ends


def _head_v3(
    builder: GraphBuilder, source: str, width: int, classes: int, name: str
) -> tuple[str, str]:
    """(what the next scale reads, prediction maps) of one scale."""
    for number in range(1, 6):
        filters, kernel = (width, 1) if number % 2 else (2 * width, 3)
        source = _unit(builder, source, filters, kernel, name=f"{name}/conv{number}")
    last = _unit(builder, source, 2 * width, 3, name=f"{name}/conv6")
    maps = _ANCHORS_V3 * (_BOX + classes)
    return source, builder.convolution(last, maps, 1, name=f"{name}/predict")


def yolo_v3(size: int | op.Pair = 416, classes: int = _CLASSES) -> Graph:
    """YOLOv3: Darknet-53, by default 75 maps of 13x13, 26x26, 52x52; `size` may be a pair."""
    builder = GraphBuilder("yolo_v3")
    ends = _darknet53(builder, builder.input(1, 3, *pair(size), name="image"))
    features, maps = _head_v3(builder, ends[-1], 512, classes, "head1")
    outputs = [maps]
    for number, (width, skip) in enumerate(((256, ends[-2]), (128, ends[-3])), 2):
        name = f"upsample{number}"
        features = _unit(builder, features, width, 1, name=f"{name}/conv")
        height, breadth = builder.shape(skip)[2:]
        features = builder.add(
            op.Resize("nearest", (height, breadth)), features, name=f"{name}/resize"
        )
        features = builder.add(op.Concat(1), features, skip, name=f"{name}/concat")
        features, maps = _head_v3(builder, features, width, classes, f"head{number}")
        outputs.append(maps)
    return builder.build(tuple(outputs))


def tiny_yolo_v3(size: int | op.Pair = 416, classes: int = _CLASSES) -> Graph:
    """Tiny YOLOv3 (Darknet's yolov3-tiny): prediction maps of strides 32 and 16."""
    builder = GraphBuilder("tiny_yolo_v3")
    features = builder.input(1, 3, *pair(size), name="image")
    fine = features
    for stage, filters in enumerate((16, 32, 64, 128, 256, 512), 1):
        features = fine = _unit(builder, features, filters, 3, name=f"stage{stage}/conv")
        if stage < 6:
            features = builder.pooling(features, "max", 2, name=f"stage{stage}/pooling")
        if stage == 5:
            skip = fine
    features = builder.pooling(features, "max", 2, 1, "same", name="stage6/pooling")
    features = _unit(builder, features, 1024, 3, name="stage7/conv")
    features = _unit(builder, features, 256, 1, name="neck/conv")
    maps = _ANCHORS_V3 * (_BOX + classes)
    last = _unit(builder, features, 512, 3, name="head1/conv")
    coarse = builder.convolution(last, maps, 1, name="head1/predict")
    features = _unit(builder, features, 128, 1, name="upsample/conv")
    height, width = builder.shape(skip)[2:]
    features = builder.add(op.Resize("nearest", (height, width)), features, name="upsample/resize")
    features = builder.add(op.Concat(1), features, skip, name="upsample/concat")
    features = _unit(builder, features, 256, 3, name="head2/conv")
    return builder.build((coarse, builder.convolution(features, maps, 1, name="head2/predict")))
