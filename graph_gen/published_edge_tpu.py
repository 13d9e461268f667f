"""Networks whose times on the Edge TPU were published, by the names under which they were.

Names of Coral's pages are read in a tolerant way (case, blanks, hyphens, the order of words) after
the word "Coral", with the input's size behind: `Coral MobileNet v1 0.25 128x128`. So are the names
of Coral's compiled files. Chains and sweeps go by the sentence that describes them.
"""

import re
from collections.abc import Callable

from graph_gen import published_edge_tpu_chains as chains
from graph_gen import published_edge_tpu_cifar as cifar
from graph_gen import published_edge_tpu_classic as classic
from graph_gen import published_edge_tpu_dense_prediction as dense_prediction
from graph_gen import published_edge_tpu_mobilenets as mobilenets
from graph_gen.networks_inception import inception_v2, inception_v3, inception_v4
from graph_gen.published_edge_tpu_cells import nas_bench_201
from graph_gen.published_edge_tpu_files import build_coral_file
from graph_gen.published_family import Family
from strata import operations as op
from strata.errors import SchemaError
from strata.graph import Graph

Build = Callable[[re.Match[str], op.Pair | None], Graph]
_WIDTH = r"(?: (?:dm )?(?P<width>\d\.\d+)(?: depth multiplier)?)?"


def _square(side: int) -> op.Pair:
    return side, side


def _width(match: re.Match[str]) -> float:
    return float(match["width"] or 1)


def _fixed(build: Callable[[], Graph], name: str, side: int) -> Build:
    """A network that is defined for one size of its input."""

    def checked(_: re.Match[str], size: op.Pair | None) -> Graph:
        if size not in (None, _square(side)):
            raise SchemaError(f"{name} is defined for {side}x{side} pixels, not for {size}")
        return build()

    return checked


def _ssd(match: re.Match[str], size: op.Pair | None) -> Graph:
    # Coral's table gives 224x224 for its SSDs; the files it timed read 300x300.
    side = None if size == _square(224) else size
    classes = 2 if match["faces"] else 91
    default = 320 if match["faces"] else 300
    return dense_prediction.ssd_mobilenet(int(match["version"]), side or _square(default), classes)


_INATURALIST_CLASSES = {"bird": 965, "insect": 1022, "plant": 2102}


def _mobilenet(match: re.Match[str], size: op.Pair | None) -> Graph:
    build = (mobilenets.published_mobilenet_v1, mobilenets.published_mobilenet_v2)[
        int(match["version"]) - 1
    ]
    classes = mobilenets.BACKGROUND_CLASSES
    for kind, count in _INATURALIST_CLASSES.items():
        if kind in (match["set"] or ""):
            classes = count
    return build(_width(match), size or _square(224), classes)


def _poses(match: re.Match[str], size: op.Pair | None) -> Graph:
    body_parts = match["kind"] == "bodypix"
    width = float(match["width"] or 0.75)
    return dense_prediction.posenet(
        width, size or ((512, 512) if body_parts else (353, 481)), body_parts=body_parts
    )


# Patterns of a name in lower case whose words one blank separates, its size taken off.
_CORAL: tuple[tuple[str, Build], ...] = (
    (
        r"u ?net(?: (?:mobilenet ?v2|mv2))?",
        lambda m, s: dense_prediction.unet_mobilenet_v2(s or _square(128)),
    ),
    (
        rf"deep ?lab ?v3(?: (?:mnv2|mobilenet ?v2))?{_WIDTH}",
        lambda m, s: dense_prediction.deeplab_v3(_width(m), s or _square(513)),
    ),
    (
        r"inception resnet ?v2",
        lambda m, s: classic.inception_resnet_v2(s or _square(299)),
    ),
    (r"(?:inception ?v1|googlenet)", lambda m, s: classic.slim_inception_v1(s or _square(224))),
    (r"(?:inception ?v2|bn inception)", _fixed(inception_v2, "Inception V2", 224)),
    (r"inception ?v3", _fixed(inception_v3, "Inception V3", 299)),
    (r"inception ?v4", _fixed(inception_v4, "Inception V4", 299)),
    (
        r"(?=.*\bssd\b)(?:ssd ?)?(?:mobilenet )(?:ssd )?v(?P<version>[12])(?: ssd)?(?: coco)?"
        r"(?P<faces> faces?)?",
        _ssd,
    ),
    (
        rf"mobilenet ?v(?P<version>[12]){_WIDTH}"
        r"(?P<set> (?:inat(?:uralist)?|birds?|insects?|plants?|imagenet)+(?: \w+)?)?",
        _mobilenet,
    ),
    (
        rf"mobilenet edgetpu{_WIDTH}",
        lambda m, s: mobilenets.mobilenet_edgetpu(_width(m), s or _square(224)),
    ),
    (
        r"resnet ?(?P<depth>50|101|152)(?: ?v(?P<version>[12]))?",
        lambda m, s: classic.slim_resnet(
            int(m["depth"]), int(m["version"] or 1), s or _square(299 if m["version"] else 224)
        ),
    ),
    (
        r"squeezenet(?: ?v?(?P<version>1\.[01]))?",
        lambda m, s: classic.squeezenet(m["version"] or "1.0", s or _square(224)),
    ),
    (r"vgg ?(?P<depth>16|19)", lambda m, s: classic.vgg(int(m["depth"]), s or _square(224))),
    (
        r"densenet ?(?P<depth>121|169|201)?",
        lambda m, s: classic.densenet(int(m["depth"] or 121), s or _square(224)),
    ),
    (
        r"efficientnet ?edgetpu (?P<variant>[sml])",
        lambda m, s: mobilenets.efficientnet_edgetpu(m["variant"].upper(), s),
    ),
    (
        rf"(?P<kind>posenet|bodypix)(?: mobilenet ?v1)?{_WIDTH}",
        _poses,
    ),
)


def _words(text: str) -> str:
    """Lower case, without brackets and release names, one blank between words."""
    spaced = re.sub(r"[\s_()@,/-]+", " ", text.lower())
    return " ".join(word for word in spaced.split() if word not in ("tf1", "tf2", "keras"))


def build_coral(text: str) -> Graph:
    """The network that Coral's pages call `text`; its input's size HEIGHTxWIDTH may follow.

    Raises SchemaError where no network goes by this name.
    """
    name, size = _words(text), None
    if found := re.search(r" (\d{2,4}) ?x ?(\d{2,4})(?: ?x ?3)?$", name):
        name, size = name[: found.start()], (int(found[1]), int(found[2]))
    for pattern, build in _CORAL:
        if match := re.fullmatch(pattern, name):
            return build(match, size)
    raise SchemaError(
        f"no network of Coral's pages named '{text}' can be built; such can: U-Net, DeepLab V3, "
        "Inception V1 to V4, Inception-ResNet V2, MobileNet V1 and V2, their SSDs, ResNet, "
        "SqueezeNet, VGG, DenseNet, EfficientNet-EdgeTPU, MobileNet-EdgeTPU, PoseNet, BodyPix"
    )


def _integers(match: re.Match[str], *names: str) -> tuple[int, ...]:
    return tuple(int(match[name]) for name in names)


def _convolutions(match: re.Match[str]) -> Graph:
    count, filters, kernel, height, width, channels = _integers(
        match, "count", "filters", "kernel", "height", "width", "channels"
    )
    return chains.convolution_chain(count, filters, kernel, (height, width, channels))


def _dense(match: re.Match[str]) -> Graph:
    units, count, inputs = _integers(match, "units", "count", "inputs")
    last = int(match["last"]) if match["last"] else None
    return chains.dense_chain(count, units, inputs, match["activation"].lower(), last)


def _transfer(match: re.Match[str]) -> Graph:
    height, width, channels = _integers(match, "height", "width", "channels")
    if match["kind"].lower().startswith("input"):
        return chains.input_transfer((height, width), channels)
    if match["kind"].lower().startswith("output"):
        return chains.output_transfer((2, 2), (height, width), channels)
    return chains.inner_size((2, 2), (height, width), channels)


def _padded_convolutions(match: re.Match[str]) -> Graph:
    small, side, count, filters, kernel = _integers(
        match, "small", "side", "count", "filters", "kernel"
    )
    return chains.inner_size(_square(small), _square(side), 3, count, filters, kernel)


def _flattened(match: re.Match[str]) -> Graph:
    small, count, units, last = _integers(match, "small", "count", "units", "last")
    return chains.flattened_dense_chain(
        (small, small, 3), count, units, match["activation"].lower(), last
    )


_SPARTA: tuple[tuple[str, Build], ...] = (
    (r"mobilenet ?v2", lambda m, s: cifar.cifar_mobilenet_v2(s or _square(32))),
    (r"resnet ?(\d+)", lambda m, s: cifar.cifar_resnet(int(m[1]), s or _square(32))),
    (r"vgg ?19", lambda m, s: cifar.cifar_vgg19(s or _square(32))),
    (
        r"wrn ?(\d+) (\d+)",
        lambda m, s: cifar.wide_resnet(int(m[1]), int(m[2]), s or _square(32)),
    ),
    (r"googlenet", lambda m, s: cifar.cifar_googlenet(s or _square(32))),
    (r"squeezenet ?v?1[. ]?1?", lambda m, s: cifar.cifar_squeezenet(s or _square(32))),
)
_SYNTHETIC: tuple[tuple[str, Build], ...] = (
    # The two that the text offers have the same weights and the same MACs; the plain one is taken.
    (
        r"synthetic base width (\d+) weights fit (sequential) d(\d+) .*",
        lambda m, s: cifar.synthetic(m[2], int(m[3]), int(m[1]), s or _square(96)),
    ),
    (
        r"(sequential|residual|dense|branched 2way|branched 4way) d(\d+) w(\d+)(?: r(\d+))?",
        lambda m, s: cifar.synthetic(
            m[1].replace(" ", "_"), int(m[2]), int(m[3]), s or _square(int(m[4] or 96))
        ),
    ),
)


def build_sparta(text: str) -> Graph:
    """A network of the SPARTA measurements, HEIGHTxWIDTHx3 of its input behind its name."""
    name, size = _words(text), None
    if found := re.search(r" (\d{2,4})x(\d{2,4})x3$", name):
        name, size = name[: found.start()], (int(found[1]), int(found[2]))
    patterns = (*_SPARTA, *_SYNTHETIC) if size in (None, _square(32)) else _SYNTHETIC
    for pattern, build in patterns:
        if match := re.fullmatch(pattern, name):
            return build(match, size)
    if size not in (None, _square(32)):
        return build_coral(text.removesuffix("x3"))  # its ImageNet networks are common ones
    raise SchemaError(
        f"no SPARTA network named '{text}' can be built; such can: unpruned MobileNetV2, "
        "ResNet-18, ResNet-50, VGG-19, WRN-28-10, GoogLeNet, SqueezeNet 1.1, synthetic families"
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        r"coral (?P<name>.+)",
        lambda match: build_coral(match["name"]),
        "Coral MobileNet v1 224x224",
        "TensorFlow's slim definitions; SSD reads 300x300, SqueezeNet is version 1.0.",
    ),
    Family(
        r"(?P<file>\S+)\.tflite",
        lambda match: build_coral_file(match["file"]),
        "mobilenet_v1_1.0_224_quant_edgetpu.tflite",
        "Co-compiled files are the first network named.",
    ),
    Family(
        r"nas-bench-201 (?P<cell>\|.+\|)",
        lambda match: nas_bench_201(match["cell"]),
        "NAS-Bench-201 |nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    ),
    Family(
        r"sparta (?P<name>.+)",
        lambda match: build_sparta(match["name"]),
        "SPARTA ResNet-18 32x32x3",
        "Pruned networks cannot be built: their channel masks are not published.",
    ),
    Family(
        r"keras sequential: (?P<count>\d+)x conv2d\((?P<filters>\d+),(?P<kernel>\d+)x(?P=kernel),"
        r"same,relu\), input (?P<height>\d+)x(?P<width>\d+)x(?P<channels>\d+)(?:,.*)?",
        _convolutions,
        "Keras Sequential: 5x Conv2D(62,3x3,same,relu), input 64x64x3",
    ),
    Family(
        r"keras sequential: dense\((?P<units>\d+),(?P<activation>\w+)\) x(?P<count>\d+)"
        r"(?:, dense\((?P<last>\d+)\))?; input (?P<inputs>\d+)",
        _dense,
        "Keras Sequential: Dense(602,tanh) x1, Dense(10); input 6912",
    ),
    Family(
        r"(?P<kind>input transfer|output transfer|internal size) test: .* "
        r"(?P<height>\d+)x(?P<width>\d+)x(?P<channels>\d+)",
        _transfer,
        "input transfer test: Conv2D(1 filter,1x1,stride=WxH) on WxHx3 input 1x1x3 -> 64x64x3",
    ),
    Family(
        r"zeropad (?P<small>\d+)x(?P=small)x3->(?P<side>\d+)x(?P=side)x3, (?P<count>\d+)x "
        r"conv2d\((?P<filters>\d+),(?P<kernel>\d+)x(?P=kernel),same,relu\), 1x1 conv .*",
        _padded_convolutions,
        "ZeroPad 2x2x3->128x128x3, 10x Conv2D(32,7x7,same,relu), 1x1 conv stride 128",
    ),
    Family(
        r"flatten (?P<small>\d+)x(?P=small)x3, (?P<count>\d+)x dense\((?P<units>\d+),"
        r"(?P<activation>\w+)\), dense\((?P<last>\d+)\)",
        _flattened,
        "Flatten 2x2x3, 100x Dense(150,relu), Dense(1)",
    ),
    Family(
        r"keras mobilenetv2 (?P<side>\d+) without top.*",
        lambda match: mobilenets.mobilenet_v2_without_top(_square(int(match["side"]))),
        "keras MobileNetV2 224 without top",
    ),
    Family(
        r"keras mobilenetv2 (?P<side>\d+) with fc.*",
        lambda match: mobilenets.published_mobilenet_v2(1.0, _square(int(match["side"])), 1000),
        "keras MobileNetV2 224 with FC",
    ),
)


def build_edge_tpu(name: str) -> Graph:
    """The graph of a published network, batch 1, 32 bit; SchemaError where there is none."""
    for family in FAMILIES:
        if match := re.fullmatch(family.pattern, name, re.IGNORECASE):
            return family.build(match)
    examples = ", ".join(family.example for family in FAMILIES)
    raise SchemaError(f"no published network '{name}' can be built; such can: {examples}")
