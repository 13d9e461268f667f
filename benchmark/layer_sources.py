"""Networks whose layers the sampler draws near, and the rule that keeps evaluation apart.

The rule: a network belongs to a family, told by its name; no source is of a family that an
evaluation network of any configuration belongs to, nor of one that FAMILIES calls a close
variant. Whole families are left out, all depths, widths and input sizes, and networks that have
one of them as their backbone (detectors and segmentation on MobileNet, VGG or ResNet).
Keras' applications beside the evaluated ones are of these families too, but for ConvNeXt, which
is written in `graph_gen.networks_varied`.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from graph_gen import networks_varied as varied
from graph_gen import published_dpu_tutorials as tutorials
from graph_gen import published_edge_tpu_classic as classic
from graph_gen.published import build_published
from graph_gen.published_edge_tpu_cells import nas_bench_201, working_architecture
from graph_gen.published_edge_tpu_cifar import synthetic
from graph_gen.published_ncs2_rvc2 import mobileone_s0
from strata.graph import Graph

# Family -> what its networks' names hold, names in small letters without separators. The searched
# mobile networks (MnasNet, GhostNet) share EfficientNet's and MobileNetV3's widths.
EXCLUDED_FAMILIES: dict[str, str] = {
    "inception": r"inception|googlenet",
    "resnet": r"resnet|resnext|wrn|wideres|personreid",
    "mobilenet": r"mobilenet|ssd|deeplab|posenet|bodypix|mv2|mnv2|ghostnet",
    "yolo": r"yolo|darknet",
    "vgg": r"vgg|fcn8|refinedet",
    "densenet": r"densenet",
    "efficientnet": r"efficientnet|mnasnet",
    "xception": r"xception",
    "nasnet": r"(?<!m)nasnet",
    "nasbench101": r"nasbench(?!201)",
    "openpose": r"openpose",
    "fpn": r"fpn|retinanet",
}

_CELL_NETWORKS = 12


@dataclass(frozen=True, slots=True)
class Source:
    """A network to draw near: its name, its family, and how its graph is built."""

    name: str
    family: str
    build: Callable[[], Graph]


def excluded_family(name: str) -> str | None:
    """The family, of those evaluated or close to them, that a network's name belongs to."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for family, pattern in EXCLUDED_FAMILIES.items():
        if re.search(pattern, plain):
            return family
    return None


def _architectures() -> list[str]:
    """NAS-Bench-201 cells in which every edge computes, drawn once and for all."""
    generator = random.Random(201)
    return [working_architecture(generator.choice) for _ in range(_CELL_NETWORKS)]


def _named(family: str, build: Callable[[str], Graph], names: object) -> list[Source]:
    def source(name: str) -> Source:
        return Source(name, family, lambda: build(name))

    return [source(name) for name in names]  # type: ignore[attr-defined]


def _cell(architecture: str) -> Source:
    return Source(
        f"nas-bench-201 {architecture}", "nasbench201", lambda: nas_bench_201(architecture)
    )


def _chain(kind: str, depth: int, width: int, edge: int) -> Source:
    return Source(
        f"synthetic_{kind}_d{depth}_w{width}_r{edge}",
        f"synthetic_{kind}",
        lambda: synthetic(kind, depth, width, (edge, edge)),
    )


SOURCES: tuple[Source, ...] = (
    *_named("regnet", varied.regnet, varied.REGNETS),
    *_named("shufflenet", varied.shufflenet_v2, varied.SHUFFLENETS),
    *_named("vovnet", varied.vovnet, varied.VOVNETS),
    *_named("convnext", varied.convnext, varied.CONVNEXTS),
    Source("fsrcnn", "super_resolution", varied.fsrcnn),
    Source("espcn", "super_resolution", varied.espcn),
    Source("edsr", "super_resolution", varied.edsr),
    Source("squeezenet_1.0", "squeezenet", lambda: classic.squeezenet("1.0", (224, 224))),
    Source("squeezenet_1.1", "squeezenet", lambda: classic.squeezenet("1.1", (224, 224))),
    Source("unet_v1", "unet", lambda: tutorials.unet(1)),
    Source("unet_v2", "unet", lambda: tutorials.unet(2)),
    Source("unet_v3", "unet", lambda: tutorials.unet(3)),
    Source("alexnet", "alexnet", tutorials.alexnet),
    Source("lenet", "lenet", tutorials.lenet),
    Source("customcnn", "customcnn", tutorials.custom_cnn),
    Source("proxyless_mobile_0.5", "proxyless", lambda: build_published("proxyless_mobile_0.5")),
    Source("mobileone_s0", "mobileone", mobileone_s0),
    *map(_cell, _architectures()),
    _chain("sequential", 3, 48, 224),
    _chain("branched_4way", 2, 96, 224),
)
