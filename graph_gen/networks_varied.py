"""Networks of families that no evaluation network belongs to: layer shapes to measure near.

RegNet X and Y (Radosavovic et al. 2020), ShuffleNet V2 (Ma et al. 2018), VoVNet (Lee et al. 2019),
ConvNeXt (Liu et al. 2022), and for super-resolution FSRCNN (Dong et al. 2016), ESPCN (Shi et al.
2016) and EDSR (Lim et al. 2017). Operations that only rearrange data (channel shuffle, pixel
shuffle) and layer normalisation are left out: no kernel is sampled near them.
"""

from graph_gen.network_parts import classifier, convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

# Depths, widths, group width; squeeze and excitation in Y only (appendix D, tables of models).
REGNETS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "regnet_x_200mf": ((1, 1, 4, 7), (24, 56, 152, 368), 8),
    "regnet_x_400mf": ((1, 2, 7, 12), (32, 64, 160, 384), 16),
    "regnet_x_600mf": ((1, 3, 5, 7), (48, 96, 240, 528), 24),
    "regnet_x_800mf": ((1, 3, 7, 5), (64, 128, 288, 672), 16),
    "regnet_x_1600mf": ((2, 4, 10, 2), (72, 168, 408, 912), 24),
    "regnet_x_3200mf": ((2, 6, 15, 2), (96, 192, 432, 1008), 48),
    "regnet_y_400mf": ((1, 3, 6, 6), (48, 104, 208, 440), 8),
    "regnet_y_800mf": ((1, 3, 8, 2), (64, 128, 320, 768), 16),
    "regnet_y_1600mf": ((2, 6, 17, 2), (48, 120, 336, 888), 24),
}
# Widths of the three stages and of the last convolution (table 5).
SHUFFLENETS = {
    "shufflenet_v2_0.5": (48, 96, 192, 1024),
    "shufflenet_v2_1.0": (116, 232, 464, 1024),
    "shufflenet_v2_1.5": (176, 352, 704, 1024),
    "shufflenet_v2_2.0": (244, 488, 976, 2048),
}
# Per stage: filters of the 3x3 convolutions, filters after concatenation, modules (table 1).
VOVNETS = {
    "vovnet_27_slim": ((64, 128, 1), (80, 256, 1), (96, 384, 1), (112, 512, 1)),
    "vovnet_39": ((128, 256, 1), (160, 512, 1), (192, 768, 2), (224, 1024, 2)),
}
CONVNEXTS = {
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}
_MODULE_CONVOLUTIONS = 5


def _image(name: str, size: op.Pair = (224, 224), channels: int = 3) -> tuple[GraphBuilder, str]:
    builder = GraphBuilder(name)
    return builder, builder.input(1, channels, *size, name="image")


def _squeezed(builder: GraphBuilder, source: str, narrow: int, name: str) -> str:
    pooled = builder.add(op.GlobalPooling("average"), source, name=f"{name}/pooled")
    wide = builder.shape(source)[1]
    gate = builder.convolution(pooled, narrow, 1, activation="relu", name=f"{name}/reduce")
    gate = builder.convolution(gate, wide, 1, activation="sigmoid", name=f"{name}/expand")
    return builder.add(op.Elementwise("multiply"), source, gate, name=f"{name}/scale")


def _regnet_block(
    builder: GraphBuilder, source: str, width: int, groups: int, stride: int, se: bool, name: str
) -> str:
    """Bottleneck without bottleneck: 1x1, grouped 3x3, 1x1, all of the stage's width."""
    entering = builder.shape(source)[1]
    branch = convolution_unit(builder, source, width, 1, name=f"{name}/a")
    branch = builder.convolution(
        branch, width, 3, stride, groups=groups, bias=False, activation="relu", name=f"{name}/b"
    )
    if se:
        branch = _squeezed(builder, branch, round(entering / 4), f"{name}/se")
    branch = convolution_unit(builder, branch, width, 1, activation=None, name=f"{name}/c")
    if stride > 1 or entering != width:
        source = convolution_unit(
            builder, source, width, 1, stride, activation=None, name=f"{name}/shortcut"
        )
    total = builder.add(op.Elementwise("add"), source, branch, name=f"{name}/add")
    return builder.add(op.Activation("relu"), total, name=f"{name}/relu")


def regnet(name: str, size: op.Pair = (224, 224)) -> Graph:
    """A RegNet of REGNETS on images of `size`."""
    depths, widths, group_width = REGNETS[name]
    builder, image = _image(name, size)
    features = convolution_unit(builder, image, 32, 3, 2, name="stem")
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        for block in range(depth):
            features = _regnet_block(
                *(builder, features, width, width // group_width, 1 if block else 2),
                se="_y_" in name,
                name=f"stage{stage}/block{block}",
            )
    classifier(builder, features)
    return builder.build()


def _shuffle_branch(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    branch = convolution_unit(builder, source, width, 1, name=f"{name}/in")
    branch = builder.depthwise(branch, 3, stride=stride, bias=False, name=f"{name}/depthwise")
    return convolution_unit(builder, branch, width, 1, name=f"{name}/out")


def _shuffle_unit(builder: GraphBuilder, source: str, width: int, stride: int, name: str) -> str:
    half = width // 2
    if stride == 1:
        size = builder.shape(source)
        left, right = (
            builder.add(
                op.Slice((0, start, 0, 0), (1, start + half, *size[2:]), (1, 1, 1, 1)),
                source,
                name=f"{name}/{side}",
            )
            for side, start in (("left", 0), ("right", half))
        )
    else:
        right = source
        left = builder.depthwise(source, 3, stride=2, bias=False, name=f"{name}/left_depthwise")
        left = convolution_unit(builder, left, half, 1, name=f"{name}/left_out")
    right = _shuffle_branch(builder, right, half, stride, f"{name}/branch")
    return builder.add(op.Concat(1), left, right, name=f"{name}/concat")


def shufflenet_v2(name: str) -> Graph:
    """A ShuffleNet V2 of SHUFFLENETS on 224 pixels, without the shuffles."""
    *widths, last = SHUFFLENETS[name]
    builder, image = _image(name)
    features = convolution_unit(builder, image, 24, 3, 2, name="stem")
    features = builder.pooling(features, "max", 3, 2, "same", name="stem/pooling")
    for stage, (width, repeats) in enumerate(zip(widths, (4, 8, 4), strict=True), 2):
        for unit in range(repeats):
            stride = 1 if unit else 2
            features = _shuffle_unit(builder, features, width, stride, f"stage{stage}/unit{unit}")
    classifier(builder, convolution_unit(builder, features, last, 1, name="last"))
    return builder.build()


def vovnet(name: str, size: op.Pair = (224, 224)) -> Graph:
    """A VoVNet of VOVNETS on images of `size`: one-shot aggregation of five 3x3 convolutions."""
    builder, features = _image(name, size)
    for number, (filters, stride) in enumerate(((64, 2), (64, 1), (128, 2)), 1):
        features = convolution_unit(builder, features, filters, 3, stride, name=f"stem{number}")
    for stage, (filters, joined, modules) in enumerate(VOVNETS[name], 2):
        if stage > 2:
            features = builder.pooling(features, "max", 3, 2, "same", name=f"stage{stage}/pooling")
        for module in range(modules):
            ends = [features]
            for i in range(_MODULE_CONVOLUTIONS):
                unit = f"stage{stage}/module{module}/conv{i}"
                ends.append(convolution_unit(builder, ends[-1], filters, 3, name=unit))
            where = f"stage{stage}/module{module}"
            features = builder.add(op.Concat(1), *ends, name=f"{where}/concat")
            features = convolution_unit(builder, features, joined, 1, name=f"{where}/join")
    classifier(builder, features)
    return builder.build()


def convnext(name: str) -> Graph:
    """A ConvNeXt of CONVNEXTS on 224 pixels, its dense layers per pixel as 1x1 convolutions."""
    depths, widths = CONVNEXTS[name]
    builder, features = _image(name)
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        edge = 4 if stage == 1 else 2
        features = builder.convolution(features, width, edge, edge, name=f"stage{stage}/down")
        for block in range(depth):
            where = f"stage{stage}/block{block}"
            branch = builder.depthwise(features, 7, name=f"{where}/depthwise")
            wide = builder.convolution(
                branch, 4 * width, 1, activation="gelu", name=f"{where}/expand"
            )
            branch = builder.convolution(wide, width, 1, name=f"{where}/project")
            features = builder.add(op.Elementwise("add"), features, branch, name=f"{where}/add")
    classifier(builder, features)
    return builder.build()


def fsrcnn(size: op.Pair = (180, 320)) -> Graph:
    """FSRCNN (d = 56, s = 12, m = 4) for twice the edge of a grey image of `size`."""
    builder, image = _image("fsrcnn", size, 1)
    layers = ((56, 5), (12, 1), (12, 3), (12, 3), (12, 3), (12, 3), (56, 1))
    features = image
    for number, (filters, kernel) in enumerate(layers):
        features = builder.convolution(
            features, filters, kernel, activation="relu", name=f"conv{number}"
        )
    large = op.TransposedConvolution(1, (9, 9), (2, 2), (1, 1), (4, 4, 4, 4), (1, 1))
    builder.add(large, features, name="enlarge")
    return builder.build()


def espcn(size: op.Pair = (270, 480)) -> Graph:
    """ESPCN for three times the edge of a grey image of `size`."""
    builder, features = _image("espcn", size, 1)
    for number, (filters, kernel) in enumerate(((64, 5), (32, 3), (9, 3))):
        features = builder.convolution(
            features, filters, kernel, activation="tanh" if number < 2 else None, name=f"c{number}"
        )
    return builder.build()


def edsr(size: op.Pair = (120, 160)) -> Graph:
    """EDSR's baseline (16 blocks of 64 filters) for twice the edge of an image of `size`."""
    builder, image = _image("edsr", size)
    first = features = builder.convolution(image, 64, 3, name="head")
    for block in range(16):
        where = f"block{block}"
        branch = builder.convolution(features, 64, 3, activation="relu", name=f"{where}/a")
        branch = builder.convolution(branch, 64, 3, name=f"{where}/b")
        features = builder.add(op.Elementwise("add"), features, branch, name=f"{where}/add")
    features = builder.convolution(features, 64, 3, name="tail")
    features = builder.add(op.Elementwise("add"), features, first, name="skip")
    features = builder.convolution(features, 256, 3, name="upsample")
    large = op.Resize("nearest", (2 * size[0], 2 * size[1]))
    features = builder.convolution(features, 64, 1, name="upsample/fold")  # pixel shuffle's width
    features = builder.add(large, features, name="upsample/shuffle")
    builder.convolution(features, 3, 3, name="last")
    return builder.build()
