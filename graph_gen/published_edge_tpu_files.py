"""Graphs of the compiled test files in google-coral's repositories, by their names."""

import re
from collections.abc import Callable

from graph_gen import published_edge_tpu_classic as classic
from graph_gen import published_edge_tpu_dense_prediction as dense_prediction
from graph_gen import published_edge_tpu_mobilenets as mobilenets
from graph_gen.networks_inception import inception_v2, inception_v3, inception_v4
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError
from strata.graph import Graph

_WIDTH_AND_SIDE = r"_(?P<width>\d\.\d+)_(?P<side>\d+)"
# What follows a network's own name: how it was quantised, what it was compiled together with.
_TAIL = r"(?:_cocompiled_with_\w[\w.]*|_(?:imagenet|ptq|quant|post_training|edgetpu))*"
_INATURALIST = {"bird": 965, "insect": 1022, "plant": 2102}


def _side(match: re.Match[str]) -> op.Pair:
    side = int(match["side"])
    return side, side


def _mobilenet_v1(match: re.Match[str]) -> Graph:
    classes = None if match["embedding"] else mobilenets.BACKGROUND_CLASSES
    return mobilenets.published_mobilenet_v1(float(match["width"]), _side(match), classes)


def _mobilenet_v2(match: re.Match[str]) -> Graph:
    classes = _INATURALIST.get(match["species"] or "", mobilenets.BACKGROUND_CLASSES)
    return mobilenets.published_mobilenet_v2(float(match["width"]), _side(match), classes)


def _poses(match: re.Match[str]) -> Graph:
    return dense_prediction.posenet(
        int(match["percent"]) / 100,
        (int(match["height"]), int(match["across"])),
        body_parts=match["kind"] == "bodypix",
        decoder=bool(match["decoder"]),
    )


def _lstm(_: re.Match[str]) -> Graph:
    """Keras' MNIST classifier: rows of 28 pixels as steps, 20 hidden units, 10 classes."""
    builder = GraphBuilder("lstm_mnist")
    rows = builder.input(1, 28, 28, name="image")
    sequence = builder.add(op.Lstm(20), rows, name="lstm")
    flat = builder.add(op.Flatten(), sequence, name="flatten")
    logits = builder.dense(flat, 10, name="dense")
    builder.add(op.Softmax(), logits, name="softmax")
    return builder.build()


_FILES: tuple[tuple[str, Callable[[re.Match[str]], Graph]], ...] = (
    (
        rf"(?:tf2_)?mobilenet_v1{_WIDTH_AND_SIDE}(?P<quant>_quant)?(?P<embedding>_embedding_extractor)?",
        _mobilenet_v1,
    ),
    (
        rf"(?:tf2_)?mobilenet_v2{_WIDTH_AND_SIDE}(?:_inat_(?P<species>bird|insect|plant))?",
        _mobilenet_v2,
    ),
    (
        rf"mobilenet_edgetpu{_WIDTH_AND_SIDE}",
        lambda m: mobilenets.mobilenet_edgetpu(float(m["width"]), _side(m)),
    ),
    (
        r"(?:coco_)?ssd_mobilenet_v(?P<version>[12])(?:_coco)?(?:_quant)?(?:_postprocess)?",
        lambda m: dense_prediction.ssd_mobilenet(int(m["version"]), (300, 300)),
    ),
    (
        r"deeplabv3_mnv2(?:_dm(?P<percent>\d+))?_pascal",
        lambda m: dense_prediction.deeplab_v3(
            float(f"0.{m['percent'].lstrip('0')}") if m["percent"] else 1.0, (513, 513)
        ),
    ),
    (
        r"(?:keras_post_training_)?unet_mv2_(?P<side>\d+)",
        lambda m: dense_prediction.unet_mobilenet_v2(_side(m)),
    ),
    (
        r"(?P<kind>posenet|bodypix)_mobilenet_v1_(?P<percent>\d+)_(?P<height>\d+)_(?P<across>\d+)"
        r"(?:_16)?(?:_per_tensor)?(?:_quant)?(?P<decoder>_decoder)?",
        _poses,
    ),
    (r"inception_v1_(?P<side>224)", lambda m: classic.slim_inception_v1(_side(m))),
    (r"inception_v2_224", lambda m: inception_v2()),
    (r"inception_v3_299", lambda m: inception_v3()),
    (r"inception_v4_299", lambda m: inception_v4()),
    (r"(?:tfhub_)?(?:tf2_)?resnet_?50", lambda m: classic.slim_resnet(50, 1, (224, 224))),
    (
        r"efficientnet-edgetpu-(?P<variant>[sml])",
        lambda m: mobilenets.efficientnet_edgetpu(m["variant"].upper()),
    ),
    (r"keras_lstm_mnist", _lstm),
)


def build_coral_file(name: str) -> Graph:
    """The graph behind a file of compiled test models, its name without ".tflite".

    A file compiled together with others holds the network it begins with. SchemaError where the
    network is not known.
    """
    for pattern, build in _FILES:
        if match := re.fullmatch(pattern + _TAIL, name.lower()):
            return build(match)
    raise SchemaError(f"no graph is known for the file '{name}.tflite' of Coral's test models")
