"""ProxylessNAS for mobile phones at width 0.5, as profiled on a DPU (github.com/zzzDavid/OFA-FPGA).

The profile publishes the operations of every node. With the block structure of ProxylessNAS (Cai
et al. 2019) they leave one solution, tabled here: each node's operations come out to all published
digits. What is inferred: that blocks of equal shape and stride 1 have a shortcut (as in the paper),
and ReLU6 as activation. A node of the profile is a 1x1 convolution with the depthwise convolution
after it, which has no number of its own.
"""

from graph_gen.network_parts import convolution_unit
from graph_gen.published_family import Family
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_STEM, _FIRST, _LAST, _CLASSES = 16, 8, 1280, 1000
# (expansion, kernel of the depthwise convolution, filters, stride) per inverted residual block.
_BLOCKS = (
    (3, 5, 16, 2),
    (3, 3, 16, 1),
    (3, 7, 24, 2),
    (3, 3, 24, 1),
    *((3, 5, 24, 1),) * 2,
    (6, 7, 40, 2),
    *((3, 5, 40, 1),) * 3,
    (6, 5, 48, 1),
    *((3, 5, 48, 1),) * 3,
    (6, 7, 96, 2),
    (6, 7, 96, 1),
    *((3, 7, 96, 1),) * 2,
    (6, 7, 160, 1),
)


def proxyless_mobile_half() -> Graph:
    """The network, 224x224: convolutions numbered from 1, depthwise ones included."""
    prefix = "proxylessmobile05"
    builder = GraphBuilder("proxyless_mobile_0.5")
    number = 0

    def unit(source: str, filters: int, kernel: int = 1, stride: int = 1, relu: bool = True) -> str:
        nonlocal number
        number += 1
        return convolution_unit(
            builder,
            source,
            filters,
            kernel,
            stride,
            kernel // 2,
            "relu6" if relu else None,
            name=f"{prefix}_conv_{number}",
        )

    def depthwise(source: str, kernel: int, stride: int) -> str:
        nonlocal number
        number += 1
        return builder.depthwise(
            source,
            kernel,
            stride=stride,
            padding=kernel // 2,
            bias=False,
            normalise=True,
            activation="relu6",
            name=f"{prefix}_conv_{number}",
        )

    features = unit(builder.input(1, 3, 224, 224, name="image"), _STEM, 3, 2)
    features = unit(depthwise(features, 3, 1), _FIRST, relu=False)
    for block, (expansion, kernel, filters, stride) in enumerate(_BLOCKS, 1):
        channels = builder.shape(features)[1]
        inner = depthwise(unit(features, expansion * channels), kernel, stride)
        inner = unit(inner, filters, relu=False)
        if stride == 1 and channels == filters:
            inner = builder.add(op.Elementwise("add"), features, inner, name=f"block{block}/add")
        features = inner
    features = unit(features, _LAST)
    features = builder.add(op.GlobalPooling("average"), features, name="pooling")
    features = builder.add(op.Flatten(), features, name="flatten")
    builder.dense(features, _CLASSES, name=f"{prefix}_fc_1")
    return builder.build()


FAMILIES = (
    Family(
        r"proxyless_?mobile_?0\.?5(_224x224)?",
        lambda match: proxyless_mobile_half(),
        "proxyless_mobile_0.5_224x224",
        "Block table solved from the published operations per node.",
    ),
)
