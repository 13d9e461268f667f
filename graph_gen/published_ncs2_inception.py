"""Inceptions profiled on the NCS2, layers named as the published reports name them.

GoogLeNet (Szegedy et al. 2015) and Inception V3 (Szegedy et al. 2016) as Caffe networks, and
Inception V1 of TensorFlow's slim. Batch normalisation is folded into the convolutions, as the
importer of that time did; the Caffe GoogLeNet has no local response normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graph_gen.networks_inception import V1_WIDTHS
from graph_gen.published_dpu_classifiers import covering_padding
from strata import operations as op
from strata.builder import GraphBuilder, pair
from strata.graph import Graph


@dataclass(frozen=True, slots=True)
class Unit:
    """Convolution with bias, and its ReLU under `relu` (named after the convolution if empty)."""

    name: str
    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | str | tuple[int, int, int, int] = "same"
    relu: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling. Caffe rounds sizes up: padding at the end stands for that where windows overhang."""

    name: str
    kind: Literal["max", "average"] = "max"
    kernel: int = 3
    stride: int = 1
    padding: int | Literal["ceil"] = 1


Step = Unit | Pool
Branch = Sequence[Step | tuple[Unit, ...]]  # a tuple of units: all read the step before


def _pool(builder: GraphBuilder, source: str, step: Pool, name: str) -> str:
    height, width = builder.shape(source)[2:]
    if step.padding == "ceil":
        padding = covering_padding((height, width), step.kernel, step.stride)
    else:
        padding = (step.padding,) * 4
    # Caffe divides an average by the whole window, padding included
    counts = step.kind == "average" and any(padding)
    parameters = op.Pooling(step.kind, pair(step.kernel), pair(step.stride), padding, counts)
    return builder.add(parameters, source, name=name)


def _step(builder: GraphBuilder, source: str, step: Step, prefix: str) -> str:
    name = prefix + step.name
    if isinstance(step, Pool):
        return _pool(builder, source, step, name)
    features = builder.convolution(
        source, step.filters, step.kernel, step.stride, step.padding, name=name
    )
    relu = prefix + step.relu if step.relu else f"{name}_relu"
    return builder.add(op.Activation("relu"), features, name=relu)


def _branch(builder: GraphBuilder, source: str, steps: Branch, prefix: str) -> list[str]:
    """The steps one after the other; several ends where the last one forks."""
    ends = [source]
    for step in steps:
        parallel = step if isinstance(step, tuple) else (step,)
        (tail,) = ends
        ends = [_step(builder, tail, one, prefix) for one in parallel]
    return ends


def _module(
    builder: GraphBuilder, source: str, branches: Sequence[Branch], prefix: str, concat: str
) -> str:
    """Branches side by side, their channels concatenated under `concat`."""
    ends = [end for steps in branches for end in _branch(builder, source, steps, prefix)]
    return builder.add(op.Concat(1), *ends, name=prefix + concat)


def _caffe_classifier(builder: GraphBuilder, source: str, dense: str, softmax: str) -> Graph:
    """Dense layer of 1000 classes on the flattened maps, softmax.

    Caffe's dense layer takes the maps as they are; the flattening has no name of its own there.
    """
    flat = builder.add(op.Flatten(), source, name=f"{dense}/flatten")
    builder.add(op.Softmax(), builder.dense(flat, 1000, name=dense), name=softmax)
    return builder.build()


def _caffe_unit(name: str, filters: int, kernel: int = 1) -> Unit:
    return Unit(name, filters, kernel, relu=f"relu_{name}")


def caffe_inception_v1() -> Graph:
    """GoogLeNet in Caffe, 224x224, 1000 classes."""
    builder = GraphBuilder("cf_inceptionv1")
    image = builder.input(1, 3, 224, 224, name="data")
    stem: Branch = (
        Unit("conv1/7x7_s2", 64, 7, 2, 3, relu="conv1/relu_7x7"),
        Pool("pool1/3x3_s2", stride=2, padding="ceil"),
        Unit("conv2/3x3_reduce", 64, relu="conv2/relu_3x3_reduce"),
        Unit("conv2/3x3", 192, 3, relu="conv2/relu_3x3"),
        Pool("pool2/3x3_s2", stride=2, padding="ceil"),
    )
    (features,) = _branch(builder, image, stem, "")
    for label, (one, reduce3, three, reduce5, five, projection) in V1_WIDTHS.items():
        if label in ("4a", "5a"):
            pool = Pool(f"pool{int(label[0]) - 1}/3x3_s2", stride=2, padding="ceil")
            features = _step(builder, features, pool, "")
        branches: list[Branch] = [
            [_caffe_unit("1x1", one)],
            [_caffe_unit("3x3_reduce", reduce3), _caffe_unit("3x3", three, 3)],
            [_caffe_unit("5x5_reduce", reduce5), _caffe_unit("5x5", five, 5)],
            [Pool("pool"), _caffe_unit("pool_proj", projection)],
        ]
        features = _module(builder, features, branches, f"inception_{label}/", "output")
    features = _step(builder, features, Pool("pool5/7x7_s1", "average", 7, padding=0), "")
    return _caffe_classifier(builder, features, "loss3/classifier", "loss3/loss3")


_SCOPE = "InceptionV1/InceptionV1/"
# Slim counts the modules of a stage from b on.
_SLIM_LABELS = dict(
    zip(V1_WIDTHS, ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"), strict=True)
)
_SLIM_POOLS = {"4b": ("MaxPool_4a_3x3", 3), "5b": ("MaxPool_5a_2x2", 2)}


def _slim_unit(name: str, filters: int, kernel: int = 1, stride: int = 1) -> Unit:
    return Unit(f"{name}/Conv2D", filters, kernel, stride, relu=f"{name}/Relu")


def _slim_pool(name: str, kernel: int = 3) -> Pool:
    return Pool(f"{name}/MaxPool", "max", kernel, 2, "ceil")


def tensorflow_inception_v1() -> Graph:
    """Inception V1 of slim, 224x224, 1001 classes: 3x3 convolutions in the place of 5x5.

    What the importer added behind the last convolution is kept: the turn to channels last, and
    two reshapes.
    """
    builder = GraphBuilder("tf_inceptionv1")
    image = builder.input(1, 3, 224, 224, name="input")
    stem: Branch = (
        _slim_unit("Conv2d_1a_7x7", 64, 7, 2),
        _slim_pool("MaxPool_2a_3x3"),
        _slim_unit("Conv2d_2b_1x1", 64),
        _slim_unit("Conv2d_2c_3x3", 192, 3),
        _slim_pool("MaxPool_3a_3x3"),
    )
    (features,) = _branch(builder, image, stem, _SCOPE)
    for paper, (one, reduce3, three, reduce5, five, projection) in V1_WIDTHS.items():
        label = _SLIM_LABELS[paper]
        if label in _SLIM_POOLS:
            features = _step(builder, features, _slim_pool(*_SLIM_POOLS[label]), _SCOPE)
        # one convolution of slim has a name of its own
        third = "Conv2d_0a_3x3" if label == "5b" else "Conv2d_0b_3x3"
        branches: list[Branch] = [
            [_slim_unit("Branch_0/Conv2d_0a_1x1", one)],
            [
                _slim_unit("Branch_1/Conv2d_0a_1x1", reduce3),
                _slim_unit("Branch_1/Conv2d_0b_3x3", three, 3),
            ],
            [
                _slim_unit("Branch_2/Conv2d_0a_1x1", reduce5),
                _slim_unit(f"Branch_2/{third}", five, 3),
            ],
            [
                Pool("Branch_3/MaxPool_0a_3x3/MaxPool"),
                _slim_unit("Branch_3/Conv2d_0b_1x1", projection),
            ],
        ]
        features = _module(builder, features, branches, f"{_SCOPE}Mixed_{label}/", "concat")
    return _slim_classifier(builder, features, 1001)


def _slim_classifier(builder: GraphBuilder, source: str, classes: int) -> Graph:
    top = "InceptionV1/Logits/"
    pooled = builder.pooling(source, "average", 7, 1, name=f"{top}AvgPool_0a_7x7/AvgPool")
    logits = builder.convolution(pooled, classes, 1, name=f"{top}Conv2d_0c_1x1/Conv2D")
    turned = builder.add(
        op.Transpose((0, 2, 3, 1)), logits, name=f"{top}Conv2d_0c_1x1/Conv2D/Transpose"
    )
    flat = op.Reshape((1, classes))
    squeezed = builder.add(flat, turned, name=f"{top}SpatialSqueeze")
    reshaped = builder.add(flat, squeezed, name=f"{top}Predictions/Reshape")
    builder.add(op.Softmax(), reshaped, name=f"{top}Predictions/Softmax")
    return builder.build()


_ROW, _COLUMN = (1, 7), (7, 1)
_STEM_V3: Branch = (
    Unit("conv1_3x3_s2", 32, 3, 2, 0, relu="conv1_3x3_relu"),
    Unit("conv2_3x3_s1", 32, 3, 1, 0, relu="conv2_3x3_relu"),
    Unit("conv3_3x3_s1", 64, 3, 1, 1, relu="conv3_3x3_relu"),
    Pool("pool1_3x3_s2", stride=2, padding="ceil"),
    Unit("conv4_3x3_reduce", 80, relu="conv4_relu_3x3_reduce"),
    Unit("conv4_3x3", 192, 3, 1, 0, relu="conv4_relu_3x3"),
    Pool("pool2_3x3_s2", stride=2, padding="ceil"),
)


def _a_v3(projection: int) -> list[Branch]:
    return [
        [Unit("1x1", 64)],
        [Unit("5x5_reduce", 48), Unit("5x5", 64, 5)],
        [Unit("3x3_reduce", 64), Unit("3x3_1", 96, 3), Unit("3x3_2", 96, 3)],
        [Pool("pool", "average"), Unit("pool_proj", projection)],
    ]


def _b_v3(width: int) -> list[Branch]:
    return [
        [Unit("1x1_2", 192)],
        [Unit("1x7_reduce", width), Unit("1x7", width, _ROW), Unit("7x1", 192, _COLUMN)],
        [
            Unit("7x1_reduce", width),
            Unit("7x1_2", width, _COLUMN),
            Unit("1x7_2", width, _ROW),
            Unit("7x1_3", width, _COLUMN),
            Unit("1x7_3", 192, _ROW),
        ],
        [Pool("pool_ave", "average"), Unit("1x1", 192)],
    ]


def _c_v3(kind: Literal["max", "average"]) -> list[Branch]:
    return [
        [Unit("1x1_2", 320)],
        [Unit("1x3_reduce", 384), (Unit("1x3", 384, (1, 3)), Unit("3x1", 384, (3, 1)))],
        [
            Unit("3x3_reduce", 448),
            Unit("3x3", 384, 3),
            (Unit("1x3_2", 384, (1, 3)), Unit("3x1_2", 384, (3, 1))),
        ],
        [Pool("pool", kind), Unit("1x1", 192)],
    ]


_REDUCTION_POOL = Pool("pool", stride=2, padding="ceil")
_REDUCTION_A: list[Branch] = [
    [Unit("3x3", 384, 3, 2, 0)],
    [Unit("3x3_2_reduce", 64), Unit("3x3_2", 96, 3), Unit("3x3_3", 96, 3, 2, 0)],
    [_REDUCTION_POOL],
]
_REDUCTION_B: list[Branch] = [
    [Unit("3x3_reduce", 192), Unit("3x3", 320, 3, 2, 0)],
    [
        Unit("1x7_reduce", 192),
        Unit("1x7", 192, _ROW),
        Unit("7x1", 192, _COLUMN),
        Unit("3x3_2", 192, 3, 2, 0),
    ],
    [_REDUCTION_POOL],
]


def caffe_inception_v3() -> Graph:
    """Inception V3 in Caffe, 299x299, 1000 classes."""
    builder = GraphBuilder("cf_inceptionv3")
    image = builder.input(1, 3, 299, 299, name="data")
    (features,) = _branch(builder, image, _STEM_V3, "")
    modules = [
        *((f"inception_a{i}_", _a_v3(width), "output") for i, width in enumerate((32, 64, 64), 1)),
        ("reduction_a_", _REDUCTION_A, "concat"),
        *(
            (f"inception_b{i}_", _b_v3(width), "concat")
            for i, width in enumerate((128, 160, 160, 192), 1)
        ),
        ("reduction_b_", _REDUCTION_B, "concat"),
        ("inception_c1_", _c_v3("average"), "concat"),
        ("inception_c2_", _c_v3("max"), "concat"),
    ]
    for prefix, branches, concat in modules:
        features = _module(builder, features, branches, prefix, concat)
    features = _step(builder, features, Pool("pool_8x8_s1", "average", 8, padding=0), "")
    return _caffe_classifier(builder, features, "classifier", "prob")
