"""Inception V1 to V4: modules of parallel branches, written down as data.

V1 Szegedy et al. 2015 (GoogLeNet), V2 Ioffe and Szegedy 2015 (BN-Inception), V3 Szegedy et al.
2016, V4 Szegedy et al. 2017. 1000 classes, no auxiliary classifiers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graph_gen.network_parts import classifier
from strata import operations as op
from strata.builder import GraphBuilder, pair
from strata.graph import Graph


@dataclass(frozen=True, slots=True)
class Unit:
    """Convolution and ReLU, with batch normalisation between in networks that normalise."""

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | str = "same"


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooling, 3x3."""

    kind: Literal["max", "average"]
    stride: int = 1
    padding: str = "same"


Step = Unit | Pool
Branch = Sequence[Step | tuple[Unit, ...]]  # a tuple of units: all read the step before


def _step(builder: GraphBuilder, source: str, step: Step, name: str, normalise: bool) -> str:
    if isinstance(step, Pool):
        return builder.pooling(source, step.kind, 3, step.stride, step.padding, name=f"{name}_pool")
    height, width = pair(step.kernel)
    return builder.convolution(
        source,
        step.filters,
        step.kernel,
        step.stride,
        step.padding,
        bias=not normalise,
        normalise=normalise,
        activation="relu",
        name=f"{name}_{height}x{width}",
    )


def sequence(
    builder: GraphBuilder, source: str, steps: Branch, name: str, normalise: bool
) -> list[str]:
    """The steps one after the other; several outputs where the last step forks."""
    ends = [source]
    for number, step in enumerate(steps, 1):
        parallel = step if isinstance(step, tuple) else (step,)
        (tail,) = ends
        ends = [_step(builder, tail, one, f"{name}/{number}", normalise) for one in parallel]
    return ends


def module(
    builder: GraphBuilder, source: str, branches: Sequence[Branch], name: str, normalise: bool
) -> str:
    """Branches side by side, their channels concatenated."""
    ends = [
        end
        for number, branch in enumerate(branches, 1)
        for end in sequence(builder, source, branch, f"{name}/branch{number}", normalise)
    ]
    return builder.add(op.Concat(1), *ends, name=f"{name}/concat")


def _inception(
    name: str,
    size: int,
    stem: Branch,
    modules: Sequence[tuple[str, Sequence[Branch]]],
    normalise: bool = True,
    classes: int = 1000,
) -> Graph:
    """Stem, modules in a row (one branch alone is a plain sequence), classifier."""
    builder = GraphBuilder(name)
    image = builder.input(1, 3, size, size, name="image")
    (features,) = sequence(builder, image, stem, "stem", normalise)
    for label, branches in modules:
        if len(branches) == 1:
            (features,) = sequence(builder, features, branches[0], label, normalise)
        else:
            features = module(builder, features, branches, label, normalise)
    classifier(builder, features, classes)
    return builder.build()


STEM_V1: Branch = (
    Unit(64, 7, 2, 3),
    Pool("max", 2),
    Unit(64),
    Unit(192, 3),
)
# V1, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
V1_WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def modules_v1(large: int = 5) -> list[tuple[str, Sequence[Branch]]]:
    """GoogLeNet after its stem, with the poolings before 3a, 4a and 5a.

    `large` is the kernel of the third branch: TensorFlow's published network has 3 there.
    """
    found: list[tuple[str, Sequence[Branch]]] = []
    for label, (one, reduce3, three, reduce5, five, projection) in V1_WIDTHS.items():
        if label.endswith("a"):
            found.append((f"pool{label[0]}", [[Pool("max", 2)]]))
        branches: list[Branch] = [
            [Unit(one)],
            [Unit(reduce3), Unit(three, 3)],
            [Unit(reduce5), Unit(five, large)],
            [Pool("max"), Unit(projection)],
        ]
        found.append((f"mixed_{label}", branches))
    return found


def inception_v1() -> Graph:
    """GoogLeNet, 224x224, without local response normalisation."""
    return _inception("inception_v1", 224, STEM_V1, modules_v1(), normalise=False)


def inception_v1_normalised() -> Graph:
    """TensorFlow's Inception V1, 224x224: batch normalisation, 3x3 for 5x5, 1001 classes."""
    return _inception("inception_v1_normalised", 224, STEM_V1, modules_v1(3), classes=1001)


def _mixed_v2(
    one: int, reduce3: int, three: int, reduce_double: int, double: int, projection: int
) -> list[Branch]:
    return [
        [Unit(one)],
        [Unit(reduce3), Unit(three, 3)],
        [Unit(reduce_double), Unit(double, 3), Unit(double, 3)],
        [Pool("average"), Unit(projection)],
    ]


def _reduction_v2(reduce3: int, three: int, reduce_double: int, double: int) -> list[Branch]:
    return [
        [Unit(reduce3), Unit(three, 3, 2, 1)],
        [Unit(reduce_double), Unit(double, 3), Unit(double, 3, 2, 1)],
        [Pool("max", 2)],
    ]


def inception_v2() -> Graph:
    """BN-Inception, 224x224, its first convolution a full one instead of a separable one."""
    last = _mixed_v2(352, 192, 320, 192, 224, 128)
    last[3] = [Pool("max"), Unit(128)]
    modules = [
        ("mixed_3a", _mixed_v2(64, 64, 64, 64, 96, 32)),
        ("mixed_3b", _mixed_v2(64, 64, 96, 64, 96, 64)),
        ("mixed_3c", _reduction_v2(128, 160, 64, 96)),
        ("mixed_4a", _mixed_v2(224, 64, 96, 96, 128, 128)),
        ("mixed_4b", _mixed_v2(192, 96, 128, 96, 128, 128)),
        ("mixed_4c", _mixed_v2(160, 128, 160, 128, 160, 96)),
        ("mixed_4d", _mixed_v2(96, 128, 192, 160, 192, 96)),
        ("mixed_4e", _reduction_v2(128, 192, 192, 256)),
        ("mixed_5a", _mixed_v2(352, 192, 320, 160, 224, 128)),
        ("mixed_5b", last),
    ]
    return _inception("inception_v2", 224, (*STEM_V1, Pool("max", 2)), modules)


_ROW, _COLUMN = (1, 7), (7, 1)
_FORK = ((1, 3), (3, 1))
_STRIDED_POOL: Branch = [Pool("max", 2, "valid")]
_STEM_V3_V4: Branch = (Unit(32, 3, 2, "valid"), Unit(32, 3, 1, "valid"), Unit(64, 3))


def _strided(filters: int) -> Unit:
    return Unit(filters, 3, 2, "valid")


def _fork(filters: int) -> tuple[Unit, ...]:
    return tuple(Unit(filters, kernel) for kernel in _FORK)


def _a_v3(projection: int) -> list[Branch]:
    return [
        [Unit(64)],
        [Unit(48), Unit(64, 5)],
        [Unit(64), Unit(96, 3), Unit(96, 3)],
        [Pool("average"), Unit(projection)],
    ]


def _b_v3(width: int) -> list[Branch]:
    long = [Unit(width), *(Unit(width, kernel) for kernel in (_COLUMN, _ROW, _COLUMN))]
    return [
        [Unit(192)],
        [Unit(width), Unit(width, _ROW), Unit(192, _COLUMN)],
        [*long, Unit(192, _ROW)],
        [Pool("average"), Unit(192)],
    ]


def _c_v3(kind: Literal["max", "average"]) -> list[Branch]:
    return [
        [Unit(320)],
        [Unit(384), _fork(384)],
        [Unit(448), Unit(384, 3), _fork(384)],
        [Pool(kind), Unit(192)],
    ]


def inception_v3() -> Graph:
    """Inception V3, 299x299; as in its first release the last module pools the maximum."""
    stem = (*_STEM_V3_V4, *_STRIDED_POOL, Unit(80), Unit(192, 3, 1, "valid"), *_STRIDED_POOL)
    reduction_a = [
        [_strided(384)],
        [Unit(64), Unit(96, 3), _strided(96)],
        _STRIDED_POOL,
    ]
    reduction_b = [
        [Unit(192), _strided(320)],
        [Unit(192), Unit(192, _ROW), Unit(192, _COLUMN), _strided(192)],
        _STRIDED_POOL,
    ]
    modules = [
        *((f"mixed_a{i}", _a_v3(width)) for i, width in enumerate((32, 64, 64), 1)),
        ("reduction_a", reduction_a),
        *((f"mixed_b{i}", _b_v3(width)) for i, width in enumerate((128, 160, 160, 192), 1)),
        ("reduction_b", reduction_b),
        ("mixed_c1", _c_v3("average")),
        ("mixed_c2", _c_v3("max")),
    ]
    return _inception("inception_v3", 299, stem, modules)


_STEM_V4: tuple[tuple[str, list[Branch]], ...] = (
    ("stem_a", [_STRIDED_POOL, [_strided(96)]]),
    (
        "stem_b",
        [
            [Unit(64), Unit(96, 3, 1, "valid")],
            [Unit(64), Unit(64, _ROW), Unit(64, _COLUMN), Unit(96, 3, 1, "valid")],
        ],
    ),
    ("stem_c", [[_strided(192)], _STRIDED_POOL]),
)
_A_V4: list[Branch] = [
    [Unit(96)],
    [Unit(64), Unit(96, 3)],
    [Unit(64), Unit(96, 3), Unit(96, 3)],
    [Pool("average"), Unit(96)],
]
_REDUCTION_A_V4: list[Branch] = [
    [_strided(384)],
    [Unit(192), Unit(224, 3), _strided(256)],
    _STRIDED_POOL,
]
_B_V4: list[Branch] = [
    [Unit(384)],
    [Unit(192), Unit(224, _ROW), Unit(256, _COLUMN)],
    [Unit(192), Unit(192, _COLUMN), Unit(224, _ROW), Unit(224, _COLUMN), Unit(256, _ROW)],
    [Pool("average"), Unit(128)],
]
_REDUCTION_B_V4: list[Branch] = [
    [Unit(192), _strided(192)],
    [Unit(256), Unit(256, _ROW), Unit(320, _COLUMN), _strided(320)],
    _STRIDED_POOL,
]
_C_V4: list[Branch] = [
    [Unit(256)],
    [Unit(384), _fork(256)],
    [Unit(384), Unit(448, (3, 1)), Unit(512, (1, 3)), _fork(256)],
    [Pool("average"), Unit(256)],
]


def inception_v4() -> Graph:
    """Inception V4, 299x299 (figures 3 to 9 of its paper)."""
    modules = [
        *_STEM_V4,
        *((f"mixed_a{i}", _A_V4) for i in range(1, 5)),
        ("reduction_a", _REDUCTION_A_V4),
        *((f"mixed_b{i}", _B_V4) for i in range(1, 8)),
        ("reduction_b", _REDUCTION_B_V4),
        *((f"mixed_c{i}", _C_V4) for i in range(1, 4)),
    ]
    return _inception("inception_v4", 299, _STEM_V3_V4, modules)
