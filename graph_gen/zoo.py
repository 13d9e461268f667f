"""The 12 networks of ANNETTE's Table 2, written from their papers. See docs/zoo.md."""

from collections.abc import Callable
from dataclasses import dataclass

from graph_gen.networks_dense_prediction import fpn_cityscapes, openpose
from graph_gen.networks_inception import inception_v1, inception_v2, inception_v3, inception_v4
from graph_gen.networks_mobilenet import mobilenet_v1, mobilenet_v2
from graph_gen.networks_resnet import resnet18, resnet50
from graph_gen.networks_yolo import yolo_v2, yolo_v3
from strata.graph import Graph


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A network of the zoo.

    `build` makes the graph (batch 1), `table_ops` is its entry in Table 2 (operations, two per
    MAC), `note` says what differs from the paper's network or from the table; empty if nothing.
    """

    build: Callable[[], Graph]
    table_ops: float | None
    note: str = ""


ZOO: dict[str, ZooEntry] = {
    "inception_v1": ZooEntry(
        inception_v1, 3.2e9, "Without local response normalisation, like the published graph."
    ),
    "inception_v2": ZooEntry(
        inception_v2, 4.0e9, "BN-Inception; the first convolution is full, not separable."
    ),
    "inception_v3": ZooEntry(inception_v3, 11.4e9),
    "inception_v4": ZooEntry(inception_v4, 24.5e9),
    "resnet18": ZooEntry(
        resnet18,
        3.7e9,
        "The first block's shortcut is a projection, like in the published graph; with the "
        "paper's identity there it would be 3.63 G.",
    ),
    "resnet50": ZooEntry(resnet50, 7.7e9),
    "fpn_cityscapes": ZooEntry(
        fpn_cityscapes,
        8.9e9,
        "The published graph has 8.76 G: 8.51 G in convolutions, 0.25 G in transposed "
        "convolutions. How the table came to 8.9 G is not said.",
    ),
    "openpose": ZooEntry(
        openpose, 189.7e9, "Channels pruned as published (Xilinx Model Zoo, ratio 0.3)."
    ),
    "mobilenet_v1": ZooEntry(mobilenet_v1, 1.1e9),
    "mobilenet_v2": ZooEntry(mobilenet_v2, 1.2e9, "Width multiplier 1.4; width 1 would be 0.60 G."),
    "yolo_v2": ZooEntry(yolo_v2, 34.0e9, "34.05 G, which rounds to 34.1."),
    "yolo_v3": ZooEntry(yolo_v3, 65.4e9),
}
