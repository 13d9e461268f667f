"""Networks with an answer per pixel: a feature pyramid for segmentation, OpenPose for key points.

Both as published in the Xilinx Model Zoo, which ANNETTE (section 7, Table 2) measured.
"""

from graph_gen.networks_inception import STEM_V1, module, modules_v1, sequence
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_PYRAMID_WIDTH = 32
_CITYSCAPES_CLASSES = 19


def _upsample(builder: GraphBuilder, source: str, filters: int, name: str) -> str:
    """Twice the height and width by a learned 4x4 transposed convolution."""
    parameters = op.TransposedConvolution(filters, (4, 4), (2, 2), padding=(1, 1, 1, 1))
    return builder.add(parameters, source, name=name)


def _backbone(builder: GraphBuilder, image: str) -> list[str]:
    """GoogLeNet without its classifier: outputs of strides 4, 8, 16 and 32."""
    (features,) = sequence(builder, image, STEM_V1, "stem", normalise=False)
    ends = []
    for label, branches in modules_v1():
        if len(branches) == 1:
            ends.append(features)
            (features,) = sequence(builder, features, branches[0], label, normalise=False)
        else:
            features = module(builder, features, branches, label, normalise=False)
    return [*ends, features]


def fpn_cityscapes() -> Graph:
    """Feature pyramid (Lin et al. 2017) on GoogLeNet, 256x512 (height, width), 19 maps 128x256."""
    builder = GraphBuilder("fpn_cityscapes")
    *sides, top = _backbone(builder, builder.input(1, 3, 256, 512, name="image"))
    features = builder.convolution(top, _PYRAMID_WIDTH, 1, name="pyramid5/lateral")
    for level, side in zip((4, 3, 2), reversed(sides), strict=True):
        name = f"pyramid{level}"
        lateral = builder.convolution(side, _PYRAMID_WIDTH, 1, name=f"{name}/lateral")
        above = _upsample(builder, features, _PYRAMID_WIDTH, f"{name}/upsample")
        features = builder.add(op.Elementwise("add"), above, lateral, name=f"{name}/add")
        if level > 2:
            features = builder.convolution(features, _PYRAMID_WIDTH, 3, name=f"{name}/smooth")
    _upsample(builder, features, _CITYSCAPES_CLASSES, "segmentation")
    return builder.build()


# Widths after pruning: no formula gives them, they come from the published network.
_TRUNK = ((58, 52), (90, 78), (256, 256, 256, 256), (512, 512, 232, 128))
_AFFINITY_MAPS, _CONFIDENCE_MAPS = 26, 15  # 13 limbs times 2; 14 key points and the background
_POSE_STAGES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((52, 40, 64, 256), (26, 78, 40, 104)),
    ((104, 64, 116, 52, 90, 78), (116, 90, 52, 78, 116, 116)),
    ((116, 40, 78, 64, 90, 128), (128, 64, 116, 52, 128, 104)),
    ((104, 128, 104, 90, 90, 128), (116, 104, 90, 104, 116, 116)),
    ((90, 116, 90, 128, 128, 64), (78, 90, 104, 128, 128, 26)),
    ((78, 104, 116, 128, 128, 116), (128, 128, 128, 128, 128, 104)),
)


def _pose_branch(
    builder: GraphBuilder, source: str, widths: tuple[int, ...], kernel: int, maps: int, name: str
) -> str:
    """Convolutions of `kernel`, the last of `widths` 1x1, then the maps."""
    for number, width in enumerate(widths, 1):
        size = 1 if number == len(widths) else kernel
        source = builder.convolution(
            source, width, size, activation="relu", name=f"{name}/conv{number}"
        )
    return builder.convolution(source, maps, 1, name=f"{name}/maps")


def _pose_stage(builder: GraphBuilder, source: str, stage: int) -> tuple[str, str]:
    """Limb affinity maps and key point confidence maps of one stage, counted from 1."""
    affinity, confidence = _POSE_STAGES[stage - 1]
    kernel = 3 if stage == 1 else 7
    name = f"stage{stage}"
    return (
        _pose_branch(builder, source, affinity, kernel, _AFFINITY_MAPS, f"{name}/affinity"),
        _pose_branch(builder, source, confidence, kernel, _CONFIDENCE_MAPS, f"{name}/confidence"),
    )


def openpose() -> Graph:
    """OpenPose (Cao et al. 2017), 368x368, six stages of two branches on 46x46, pruned widths."""
    builder = GraphBuilder("openpose")
    features = builder.input(1, 3, 368, 368, name="image")
    for trunk, widths in enumerate(_TRUNK, 1):
        for number, width in enumerate(widths, 1):
            features = builder.convolution(
                features, width, 3, activation="relu", name=f"trunk{trunk}/conv{number}"
            )
        if trunk < len(_TRUNK):
            features = builder.pooling(features, "max", 2, name=f"trunk{trunk}/pooling")
    maps = _pose_stage(builder, features, 1)
    for stage in range(2, len(_POSE_STAGES) + 1):
        source = builder.add(op.Concat(1), *maps, features, name=f"stage{stage}/concat")
        maps = _pose_stage(builder, source, stage)
    return builder.build(maps)
