"""Networks of Xilinx's Vitis AI model zoo, built from the zoo's own names.

A name states framework, architecture, data set, input height and width, where it was pruned the
share of operations removed, and the operations that are left (two per multiply-accumulate):
cf_inceptionv1_imagenet_224_224_3.16G, dk_yolov2_voc_448_448_0.66_11.56G. A graph whose operations
are not what its name says is refused: it would be another network.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from graph_gen import networks_inception, networks_mobilenet, networks_resnet, networks_yolo
from graph_gen import published_dpu_classifiers as classifiers
from graph_gen import published_dpu_detectors as detectors
from graph_gen.networks_dense_prediction import fpn_cityscapes, openpose
from graph_gen.published_dpu_pruning import prune
from graph_gen.published_family import Family
from strata.errors import SchemaError
from strata.graph import Graph
from strata.operations import Pair

# How far a graph's operations may be from its name's: the zoo rounds, and counts some networks
# with their biases, poolings or without their classifier.
TOLERANCE = 0.04
_CLASSES = {"voc": 20, "bdd": 10, "coco": 80, "cityscapes": 8, "adas": 3}
_PATTERN = (
    r"(?P<framework>cf|tf2?|dk|pt)_(?P<architecture>[a-z][\w.-]*?)"
    r"_(?P<height>\d+)_(?P<width>\d+)(_(?P<pruned>0?\.\d+))?"
    r"_(?P<ops>\d+(\.\d+)?)(?P<unit>[GM])(_\d\.\d)?"
)


@dataclass(frozen=True, slots=True)
class ZooName:
    """What the name of a network of the zoo says. `ops` are operations, `pruned` a share of 1."""

    framework: str
    architecture: str
    data: str
    height: int
    width: int
    pruned: float | None
    ops: float

    @property
    def size(self) -> Pair:
        """Input height and width, pixels."""
        return self.height, self.width

    @property
    def classes(self) -> int:
        """Object classes of the data set."""
        return _CLASSES.get(self.data, 20)


def parse_name(match: re.Match[str]) -> ZooName:
    """The parts of a name that the zoo's pattern matched."""
    words = match["architecture"].lower()
    prefix = "mlperf_" if words.startswith("mlperf_") else ""
    architecture, _, data = words.removeprefix(prefix).partition("_")
    architecture = prefix + architecture
    if re.fullmatch(r"\d(\.\d+)?|\d+", data.split("_")[0]):
        variant, _, data = data.partition("_")
        architecture = f"{architecture}_{variant}"
    pruned = match["pruned"]
    return ZooName(
        match["framework"].lower(),
        architecture,
        data,
        int(match["height"]),
        int(match["width"]),
        float(pruned) if pruned else None,
        float(match["ops"]) * (1e9 if match["unit"].upper() == "G" else 1e6),
    )


def _only(size: Pair, build: Callable[[], Graph]) -> Callable[[ZooName], Graph]:
    """A network that exists for one input size."""

    def checked(name: ZooName) -> Graph:
        if name.size != size:
            raise SchemaError(
                f"'{name.architecture}' is built for {size[0]}x{size[1]} inputs, "
                f"not {name.height}x{name.width}"
            )
        return build()

    return checked


def _square(name: ZooName) -> int:
    if name.height != name.width:
        raise SchemaError(
            f"'{name.architecture}' is built for square inputs, not {name.height}x{name.width}"
        )
    return name.height


def _mobilenet_v1(name: ZooName) -> Graph:
    width = float(name.architecture.partition("_")[2] or 1)
    return networks_mobilenet.mobilenet_v1(width, _square(name))


def _mobilenet_v2(name: ZooName) -> Graph:
    stated = name.architecture.partition("_")[2]
    # without a width in the name, its operations tell: 0.6 G is width 1, 1.17 G is width 1.4
    width = float(stated) if stated else (1.4 if name.ops > 0.9e9 else 1.0)
    classes = 1000 if name.framework == "cf" else 1001
    return networks_mobilenet.mobilenet_v2(width, _square(name), classes)


def _slim(preactivated: bool) -> Callable[[ZooName], Graph]:
    def build(name: ZooName) -> Graph:
        depth = int(name.architecture.partition("_")[2] or 50)
        return classifiers.slim_resnet(depth, preactivated, _square(name))

    return build


# First match wins: (framework and architecture, builder).
_ARCHITECTURES: tuple[tuple[str, Callable[[ZooName], Graph]], ...] = (
    (r"tf_(inceptionv1|googlenet)", _only((224, 224), networks_inception.inception_v1_normalised)),
    (r"\w+_(inceptionv1|googlenet)", _only((224, 224), networks_inception.inception_v1)),
    (r"\w+_inceptionv2", _only((224, 224), networks_inception.inception_v2)),
    (r"\w+_inceptionv3", _only((299, 299), networks_inception.inception_v3)),
    (r"\w+_inceptionv4", _only((299, 299), networks_inception.inception_v4)),
    (r"\w+_inceptionresnetv2", _only((299, 299), classifiers.inception_resnet_v2)),
    (r"\w+_mobilenetv1(_[\d.]+)?", _mobilenet_v1),
    (r"\w+_mobilenetv2(_[\d.]+)?", _mobilenet_v2),
    (r"\w+_resnet18", lambda name: networks_resnet.resnet18(name.size)),
    (r"\w+_(reid|personreid-res18)", lambda name: networks_resnet.resnet18(name.size)),
    (r"tf_resnet(v1_)?50", _slim(False)),
    (r"tf_resnetv1_(101|152)", _slim(False)),
    (r"tf_resnetv2_(50|101|152)", _slim(True)),
    (
        r"(tf_mlperf_resnet50|pt_resnet50|pt_personreid-res50)",
        lambda name: networks_resnet.resnet50_later(name.size),
    ),
    (r"(cf|tf2)_resnet50", _only((224, 224), networks_resnet.resnet50)),
    (r"\w+_vgg_?16", lambda name: classifiers.vgg(16, _square(name))),
    (r"\w+_vgg_?19", lambda name: classifiers.vgg(19, _square(name))),
    (r"\w+_squeeze(net)?", lambda name: classifiers.squeezenet(_square(name))),
    (r"\w+_facerec-resnet20", lambda name: classifiers.sphereface(20, name.size)),
    (r"\w+_facerec-resnet64", lambda name: classifiers.sphereface(64, name.size)),
    (r"\w+_yolov2", lambda name: networks_yolo.yolo_v2(_square(name), name.classes)),
    (r"\w+_yolov3", lambda name: networks_yolo.yolo_v3(name.size, name.classes)),
    (r"\w+_tiny-?yolov3", lambda name: networks_yolo.tiny_yolo_v3(name.size, name.classes)),
    (r"\w+_ssdmobilenetv1", lambda name: detectors.ssd_mobilenet_v1(_square(name))),
    (r"tf_ssdmobilenetv2", lambda name: detectors.ssd_mobilenet_v2(_square(name))),
    (r"cf_ssdmobilenetv2", lambda name: detectors.ssd_mobilenet_v2_caffe(name.size, 11)),
    (r"cf_refinedet", lambda name: detectors.refinedet_vgg(name.size, 2)),
    (r"\w+_ssdresnet50v1", lambda name: detectors.ssd_resnet50_fpn(_square(name))),
    (r"cf_ssd(pedestrian|adas|traffic)", lambda name: detectors.ssd_vgg(name.size, 4)),
    (r"\w+_fpn", _only((256, 512), fpn_cityscapes)),
    (r"\w+_openpose", _only((368, 368), openpose)),
)
# Networks whose pruned widths are known: built as published, not thinned again.
_PUBLISHED_PRUNED = ("openpose",)


def is_thinned(name: str) -> bool:
    """Whether a network of the zoo is built by thinning: its true widths are not published."""
    match = re.fullmatch(_PATTERN, name, re.IGNORECASE)
    if match is None:
        return False
    parts = parse_name(match)
    return parts.pruned is not None and parts.architecture not in _PUBLISHED_PRUNED


def zoo_group(name: str) -> str:
    """What frameworks, prunings and roundings of one network have in common: its architecture.

    tf_resnet50_imagenet_224_224_6.97G, tf_resnetv1_50_... and cf_resnet50_... give one group. A
    name that is not of the zoo's form is its own group.
    """
    match = re.fullmatch(_PATTERN, name, re.IGNORECASE)
    if match is None:
        return name
    parts = parse_name(match)
    plain = re.sub(r"[_-]|v1(?=_?\d\d)", "", parts.architecture)
    plain = re.sub(r"(mobilenetv[12])$", r"\g<1>1.4" if parts.ops > 1.15e9 else r"\g<1>1.0", plain)
    return f"{plain} {parts.height}x{parts.width}"


def _build(match: re.Match[str]) -> Graph:
    name = parse_name(match)
    key = f"{name.framework}_{name.architecture}"
    build = next((b for pattern, b in _ARCHITECTURES if re.fullmatch(pattern, key)), None)
    if build is None:
        raise SchemaError(f"no published structure of '{match[0]}' is built here")
    graph = build(name)
    if is_thinned(match[0]):
        return prune(graph, name.ops)
    ops = 2 * graph.work.macs
    if abs(ops / name.ops - 1) > TOLERANCE:
        raise SchemaError(
            f"'{match[0]}': the graph has {ops / 1e9:.4g} G operations, its name says "
            f"{name.ops / 1e9:.4g} G: another variant of the architecture"
        )
    return graph


FAMILIES = (
    Family(
        _PATTERN,
        _build,
        "cf_inceptionv1_imagenet_224_224_3.16G",
        "Pruned networks without published widths are thinned uniformly.",
    ),
)
