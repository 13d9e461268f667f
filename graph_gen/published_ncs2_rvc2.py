"""Networks published for the RVC2 (Myriad X on a camera board), written from their definitions.

MobileOne-S0 as deployed (Vasu et al. 2023), ResNet-18 (He et al. 2016), YOLOv6-n (Li et al. 2023)
and YOLOv8-n. Detectors end in their raw maps per scale, class scores through a sigmoid: boxes are
decoded on the host.
"""

from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_CLASSES = 80


def _unit(
    builder: GraphBuilder,
    source: str,
    filters: int,
    kernel: int = 3,
    stride: int = 1,
    activation: str | None = "relu",
    *,
    name: str,
) -> str:
    """Convolution with bias (normalisation and parallel branches folded in) and activation."""
    return builder.convolution(
        source, filters, kernel, stride, kernel // 2, activation=activation, name=name
    )


def _classifier(builder: GraphBuilder, source: str) -> Graph:
    pooled = builder.add(op.GlobalPooling("average"), source, name="pooling")
    builder.dense(builder.add(op.Flatten(), pooled, name="flatten"), 1000, name="logits")
    return builder.build()


# MobileOne-S0: (blocks, filters) per stage; every stage's first block strides.
_MOBILEONE_S0 = ((2, 48), (8, 128), (10, 256), (1, 1024))


def mobileone_s0(size: int = 224) -> Graph:
    """MobileOne-S0, its parallel branches merged into one convolution each."""
    builder = GraphBuilder("mobileone_s0")
    image = builder.input(1, 3, size, size, name="image")
    features = _unit(builder, image, 48, 3, 2, name="stage0")
    for stage, (blocks, filters) in enumerate(_MOBILEONE_S0, 1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}/block{block}"
            stride = 2 if block == 1 else 1
            features = builder.depthwise(
                features, 3, stride=stride, padding=1, activation="relu", name=f"{name}/depthwise"
            )
            features = _unit(builder, features, filters, 1, name=f"{name}/pointwise")
    return _classifier(builder, features)


_RESNET_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def resnet_basic(depth: int, size: int = 224) -> Graph:
    """ResNet-18 or -34 with identity shortcuts in the first stage, normalisation folded in."""
    builder = GraphBuilder(f"resnet{depth}")
    image = builder.input(1, 3, size, size, name="image")
    features = _unit(builder, image, 64, 7, 2, name="stem")
    features = builder.pooling(features, "max", 3, 2, 1, name="stem/pooling")
    for stage, blocks in enumerate(_RESNET_DEPTHS[depth], 1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            name, width = f"stage{stage}/block{block}", 32 * 2**stage
            inner = _unit(builder, features, width, 3, stride, name=f"{name}/conv1")
            inner = _unit(builder, inner, width, 3, activation=None, name=f"{name}/conv2")
            if stride > 1:
                features = _unit(
                    builder, features, width, 1, 2, activation=None, name=f"{name}/shortcut"
                )
            total = builder.add(op.Elementwise("add"), inner, features, name=f"{name}/add")
            features = builder.add(op.Activation("relu"), total, name=f"{name}/relu")
    return _classifier(builder, features)


def _concat(builder: GraphBuilder, *sources: str, name: str) -> str:
    return builder.add(op.Concat(1), *sources, name=name)


def _chain(builder: GraphBuilder, source: str, filters: int, count: int, *, name: str) -> str:
    """A stage of re-parameterised 3x3 convolutions."""
    for number in range(1, count + 1):
        source = _unit(builder, source, filters, name=f"{name}/conv{number}")
    return source


def _pyramid_v6(builder: GraphBuilder, source: str, filters: int, *, name: str) -> str:
    """SimCSPSPPF: three 5x5 poolings in a row beside a short path, at half the filters."""
    half = filters // 2
    deep = _unit(builder, source, half, 1, name=f"{name}/cv1")
    short = _unit(builder, source, half, 1, name=f"{name}/cv2")
    deep = _unit(builder, deep, half, 3, name=f"{name}/cv3")
    ends = [_unit(builder, deep, half, 1, name=f"{name}/cv4")]
    for number in range(1, 4):
        ends.append(builder.pooling(ends[-1], "max", 5, 1, 2, name=f"{name}/pool{number}"))
    deep = _concat(builder, *ends, name=f"{name}/concat")
    deep = _unit(builder, deep, half, 1, name=f"{name}/cv5")
    deep = _unit(builder, deep, half, 3, name=f"{name}/cv6")
    both = _concat(builder, short, deep, name=f"{name}/join")
    return _unit(builder, both, filters, 1, name=f"{name}/cv7")


def _fuse_v6(
    builder: GraphBuilder, coarse: str, middle: str, fine: str, filters: int, *, name: str
) -> str:
    """BiFusion: three neighbouring scales brought to the middle one."""
    enlarge = op.TransposedConvolution(filters, (2, 2), (2, 2))
    up = builder.add(enlarge, coarse, name=f"{name}/upsample")
    same = _unit(builder, middle, filters, 1, name=f"{name}/cv1")
    down = _unit(builder, fine, filters, 1, name=f"{name}/cv2")
    down = _unit(builder, down, filters, 3, 2, name=f"{name}/downsample")
    joined = _concat(builder, up, same, down, name=f"{name}/concat")
    return _unit(builder, joined, filters, 1, name=f"{name}/cv3")


def _backbone_v6(builder: GraphBuilder, image: str) -> list[str]:
    """Outputs of strides 4 to 32; 16 to 256 filters."""
    features = _unit(builder, image, 16, 3, 2, name="stem")
    ends = []
    for stage, (filters, blocks) in enumerate(((32, 2), (64, 4), (128, 6), (256, 2)), 2):
        name = f"stage{stage}"
        features = _unit(builder, features, filters, 3, 2, name=f"{name}/downsample")
        features = _chain(builder, features, filters, blocks, name=name)
        ends.append(features)
    ends[-1] = _pyramid_v6(builder, ends[-1], 256, name="pyramid")
    return ends


def _neck_v6(builder: GraphBuilder, ends: list[str]) -> list[str]:
    """Three scales (strides 8, 16, 32) after the way down and up again."""
    p2, p3, p4, p5 = ends
    top = _unit(builder, p5, 64, 1, name="neck/reduce0")
    middle = _fuse_v6(builder, top, p4, p3, 64, name="neck/fuse0")
    middle = _chain(builder, middle, 64, 4, name="neck/p4")
    middle = _unit(builder, middle, 32, 1, name="neck/reduce1")
    fine = _fuse_v6(builder, middle, p3, p2, 32, name="neck/fuse1")
    fine = _chain(builder, fine, 32, 4, name="neck/p3")
    down = _unit(builder, fine, 32, 3, 2, name="neck/downsample2")
    joined = _concat(builder, down, middle, name="neck/concat1")
    medium = _chain(builder, joined, 64, 4, name="neck/n3")
    down = _unit(builder, medium, 64, 3, 2, name="neck/downsample1")
    joined = _concat(builder, down, top, name="neck/concat2")
    return [fine, medium, _chain(builder, joined, 128, 4, name="neck/n4")]


def _scores(builder: GraphBuilder, source: str, name: str) -> str:
    scores = builder.convolution(source, _CLASSES, 1, name=name)
    return builder.add(op.Activation("sigmoid"), scores, name=f"{name}/sigmoid")


def yolo_v6_nano(size: int) -> Graph:
    """YOLOv6-n (release 3), re-parameterised."""
    builder = GraphBuilder(f"yolov6n_{size}")
    image = builder.input(1, 3, size, size, name="image")
    outputs = []
    for number, features in enumerate(_neck_v6(builder, _backbone_v6(builder, image)), 1):
        name, filters = f"head{number}", builder.shape(features)[1]
        stem = _unit(builder, features, filters, 1, activation="swish", name=f"{name}/stem")
        scored = _unit(builder, stem, filters, 3, activation="swish", name=f"{name}/classes")
        boxed = _unit(builder, stem, filters, 3, activation="swish", name=f"{name}/boxes")
        scores = _scores(builder, scored, f"{name}/classes/predict")
        boxes = builder.convolution(boxed, 4, 1, name=f"{name}/boxes/predict")
        outputs.append(_concat(builder, boxes, scores, name=f"{name}/concat"))
    return builder.build(tuple(outputs))


def _swish(
    builder: GraphBuilder, source: str, filters: int, kernel: int = 3, stride: int = 1, *, name: str
) -> str:
    return _unit(builder, source, filters, kernel, stride, "swish", name=name)


def _split(builder: GraphBuilder, source: str, name: str) -> list[str]:
    """Both halves of the channels."""
    batch, channels, height, width = builder.shape(source)
    step = (1, 1, 1, 1)
    return [
        builder.add(
            op.Slice((0, start, 0, 0), (batch, start + channels // 2, height, width), step),
            source,
            name=f"{name}/split{number}",
        )
        for number, start in enumerate((0, channels // 2), 1)
    ]


def _c2f(
    builder: GraphBuilder, source: str, filters: int, blocks: int, shortcut: bool, *, name: str
) -> str:
    """YOLOv8's block: half of the channels go on, every bottleneck's output is kept."""
    features = _swish(builder, source, filters, 1, name=f"{name}/cv1")
    ends = _split(builder, features, name)
    for number in range(1, blocks + 1):
        inner = _swish(builder, ends[-1], filters // 2, name=f"{name}/block{number}/cv1")
        inner = _swish(builder, inner, filters // 2, name=f"{name}/block{number}/cv2")
        if shortcut:
            inner = builder.add(
                op.Elementwise("add"), ends[-1], inner, name=f"{name}/block{number}/add"
            )
        ends.append(inner)
    joined = _concat(builder, *ends, name=f"{name}/concat")
    return _swish(builder, joined, filters, 1, name=f"{name}/cv2")


def _pyramid_v8(builder: GraphBuilder, source: str, filters: int, *, name: str) -> str:
    ends = [_swish(builder, source, filters // 2, 1, name=f"{name}/cv1")]
    for number in range(1, 4):
        ends.append(builder.pooling(ends[-1], "max", 5, 1, 2, name=f"{name}/pool{number}"))
    joined = _concat(builder, *ends, name=f"{name}/concat")
    return _swish(builder, joined, filters, 1, name=f"{name}/cv2")


def _up_v8(builder: GraphBuilder, source: str, skip: str, filters: int, *, name: str) -> str:
    height, width = builder.shape(skip)[2:]
    large = builder.add(op.Resize("nearest", (height, width)), source, name=f"{name}/resize")
    joined = _concat(builder, large, skip, name=f"{name}/join")
    return _c2f(builder, joined, filters, 1, False, name=name)


def _down_v8(builder: GraphBuilder, source: str, skip: str, filters: int, *, name: str) -> str:
    channels = builder.shape(source)[1]
    small = _swish(builder, source, channels, 3, 2, name=f"{name}/downsample")
    joined = _concat(builder, small, skip, name=f"{name}/join")
    return _c2f(builder, joined, filters, 1, False, name=name)


def _features_v8(builder: GraphBuilder, image: str) -> list[str]:
    """Three scales after backbone and neck: 64, 128, 256 channels at strides 8, 16, 32."""
    features = _swish(builder, image, 16, 3, 2, name="stem")
    ends = []
    for stage, (filters, blocks) in enumerate(((32, 1), (64, 2), (128, 2), (256, 1)), 1):
        name = f"stage{stage}"
        features = _swish(builder, features, filters, 3, 2, name=f"{name}/downsample")
        features = _c2f(builder, features, filters, blocks, True, name=name)
        ends.append(features)
    top = _pyramid_v8(builder, ends[-1], 256, name="pyramid")
    middle = _up_v8(builder, top, ends[2], 128, name="up1")
    fine = _up_v8(builder, middle, ends[1], 64, name="up2")
    medium = _down_v8(builder, fine, middle, 128, name="down1")
    return [fine, medium, _down_v8(builder, medium, top, 256, name="down2")]


def yolo_v8_nano(size: int) -> Graph:
    """YOLOv8-n; boxes as distributions over 16 bins per side."""
    builder = GraphBuilder(f"yolov8n_{size}")
    image = builder.input(1, 3, size, size, name="image")
    outputs = []
    for number, features in enumerate(_features_v8(builder, image), 1):
        ends = []
        for part, filters, maps in (("boxes", 64, 64), ("classes", _CLASSES, _CLASSES)):
            name = f"head{number}/{part}"
            inner = _swish(builder, features, filters, name=f"{name}/conv1")
            inner = _swish(builder, inner, filters, name=f"{name}/conv2")
            if part == "classes":
                ends.append(_scores(builder, inner, f"{name}/predict"))
            else:
                ends.append(builder.convolution(inner, maps, 1, name=f"{name}/predict"))
        outputs.append(_concat(builder, *ends, name=f"head{number}/concat"))
    return builder.build(tuple(outputs))
