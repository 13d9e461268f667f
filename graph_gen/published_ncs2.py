"""Networks with published NCS2 measurements, and networks on which its mapping models are judged.

Names of profiled networks are those of the reports: annette_bench1, cf_inceptionv1, tf_inceptionv1,
cf_inceptionv3. Those of the RVC2's page go with the input's side behind: `YOLOv8n 416`.
"""

import re
from collections.abc import Callable

from graph_gen import published_dpu_tutorials as tutorials
from graph_gen import published_edge_tpu_classic as classic
from graph_gen.networks_yolo import tiny_yolo_v3
from graph_gen.published_edge_tpu_mobilenets import efficientnet_edgetpu
from graph_gen.published_family import Family
from graph_gen.published_ncs2_inception import (
    caffe_inception_v1,
    caffe_inception_v3,
    tensorflow_inception_v1,
)
from graph_gen.published_ncs2_rvc2 import (
    mobileone_s0,
    resnet_basic,
    yolo_v6_nano,
    yolo_v8_nano,
)
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph import Graph

_PIXEL = (1, 3, 1, 1)


def _folded(builder: GraphBuilder, source: str, layer: str, stride: int = 1) -> str:
    """1x1 convolution of three filters and its ReLU; the report names bias and convolution both."""
    name = f"{layer}/BiasAdd/Add,{layer}/Conv2D"
    features = builder.convolution(source, 3, 1, stride, name=name)
    return builder.add(op.Activation("relu"), features, name=f"{layer}/Relu")


def annette_bench1() -> Graph:
    """The multi-layer benchmark of ANNETTE's figure 4 (1) on one pixel of three channels.

    Only the mapping is of interest: two additions, a depthwise and a pointwise convolution, a fork
    into a strided convolution and one with pooling, a concatenation and two dense layers.
    """
    builder = GraphBuilder("annette_bench1")
    image = builder.input(*_PIXEL, name="x")
    first = _folded(builder, image, "conv2d")
    second = _folded(builder, image, "conv2d_1")
    total = builder.add(op.Elementwise("add"), first, second, name="Add")
    third = _folded(builder, image, "conv2d_2")
    total = builder.add(op.Elementwise("add"), total, third, name="Add_1")
    scope = "separable_conv2d"
    deep = builder.depthwise(total, 1, bias=False, name=f"{scope}/{scope}/depthwise")
    pointwise = f"{scope}/BiasAdd/Add,{scope}/{scope}"
    mixed = builder.convolution(deep, 3, 1, name=pointwise)
    strided = _folded(builder, mixed, "conv2d_3", stride=2)
    pooled = _folded(builder, mixed, "conv2d_4")
    pooled = builder.pooling(pooled, "max", 2, 2, (0, 0, 1, 1), name="max_pool/MaxPool")
    both = builder.add(op.Concat(1), strided, pooled, name="concat")
    turned = builder.add(op.Transpose((0, 2, 3, 1)), both, name="concat/Transpose")
    flat = builder.add(op.Reshape((1, 6)), turned, name="flatten/Reshape")
    dense = builder.dense(flat, 3, name="flatten/Reshape,fully_conn/Add,fully_conn/MatMul")
    dense = builder.add(op.Activation("relu"), dense, name="fully_conn/Relu")
    dense = builder.dense(dense, 3, name="fully_conn_1/Add,fully_conn_1/MatMul")
    builder.add(op.Softmax(), dense, name="fully_conn_1/Softmax")
    return builder.build()


# Networks with a published report of every layer, in the order of the proof.
PROFILED: dict[str, Callable[[], Graph]] = {
    "annette_bench1": annette_bench1,
    "cf_inceptionv1": caffe_inception_v1,
    "tf_inceptionv1": tensorflow_inception_v1,
    "cf_inceptionv3": caffe_inception_v3,
}
_SIZED: dict[str, Callable[[int], Graph]] = {
    "MobileOne-S0": mobileone_s0,
    "ResNet18": lambda size: resnet_basic(18, size),
    "YOLOv6n": yolo_v6_nano,
    "YOLOv8n": yolo_v8_nano,
}
# Networks of no benchmark and of no other proof, for judging mapping models: plain chains, fire
# modules, dense and residual blocks, feature pyramids, inverted residuals.
UNSEEN: dict[str, Callable[[], Graph]] = {
    "vgg16": lambda: classic.vgg(16, (224, 224)),
    "squeezenet_1.1": lambda: classic.squeezenet("1.1", (224, 224)),
    "densenet121": lambda: classic.densenet(121, (224, 224)),
    "resnet34": lambda: resnet_basic(34),
    "tiny_yolo_v3": tiny_yolo_v3,
    "unet": lambda: tutorials.unet(1),
    "alexnet": tutorials.alexnet,
    "mini_vggnet": tutorials.mini_vggnet,
    "mini_googlenet": tutorials.mini_googlenet,
    "efficientnet_edgetpu_s": lambda: efficientnet_edgetpu("S"),
}


def _profiled(match: re.Match[str]) -> Graph:
    return PROFILED[match["network"].lower()]()


def _sized(match: re.Match[str]) -> Graph:
    build = next(b for name, b in _SIZED.items() if name.lower() == match["network"].lower())
    return build(int(match["size"]))


FAMILIES = (
    Family(
        rf"(?P<network>{'|'.join(PROFILED)})",
        _profiled,
        "cf_inceptionv1",
        "Batch normalisation is folded into the convolutions, as the reports have it.",
    ),
    Family(
        rf"(?P<network>{'|'.join(map(re.escape, _SIZED))}) (?P<size>\d+)",
        _sized,
        "YOLOv8n 416",
        "Detectors end in raw maps per scale; boxes are decoded on the host.",
    ),
)
