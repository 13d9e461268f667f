"""Networks with NCS2 measurements against what was published of them, layer by layer."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluation.published.data_set import read_rows
from evaluation.published.ncs2_mapping import FILES
from evaluation.published.registry import SHIPPED
from graph_gen import write_networks
from graph_gen.published import build_published
from graph_gen.published_ncs2 import PROFILED, UNSEEN
from strata.graph import Graph
from strata.graph_json import load_graph

# Figures of the profiled graphs, channels last, -1 for the batch; operations are two per MAC.
FIXTURE = Path(__file__).parent / "data" / "ncs2_layers.csv"
ROWS = list(csv.DictReader(FIXTURE.open(encoding="utf-8")))
build = cache(build_published)


def channels_last(shape: tuple[int, ...]) -> list[int]:
    return [-1, *shape[2:], shape[1]]


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['network']}-{row['layer']}")
def test_a_profiled_layer_has_the_published_shapes_and_operations(row: dict[str, str]) -> None:
    layer = build(row["network"])[row["layer"]]
    parameters: Any = layer.parameters
    assert channels_last(layer.input_shapes[0]) == numbers(row["input"])
    assert channels_last(layer.output_shape) == numbers(row["output"])
    if row["type"] == "Conv":
        kernel = [*parameters.kernel, layer.input_shapes[0][1], parameters.filters]
        assert kernel == numbers(row["kernel"])
        assert 2 * layer.work.macs == int(row["operations"])
    if row["type"] == "Pool":
        assert [1, *parameters.kernel, 1] == numbers(row["kernel"])
    if row["type"] in ("Conv", "Pool"):
        assert [1, *parameters.stride, 1] == numbers(row["strides"])


def test_every_row_of_a_shipped_report_is_a_layer() -> None:
    checked = set()
    for file in FILES:
        if (SHIPPED / file).exists():
            for row in read_rows(SHIPPED / file, ("network", "layer")):
                network, layer = row.text("network"), row.text("layer")
                checked.add(network)
                assert layer == "<Extra>" or layer in build(network)
    assert "annette_bench1" in checked
    assert checked <= set(PROFILED)


def test_the_benchmark_is_the_published_graph_of_one_pixel() -> None:
    graph = build("annette_bench1")
    assert graph["x"].output_shape == (1, 3, 1, 1)
    assert graph["concat"].output_shape == (1, 6, 1, 1)
    assert graph["separable_conv2d/separable_conv2d/depthwise"].operation == "depthwise_convolution"
    assert graph["fully_conn_1/Softmax"].output_shape == (1, 3)


def gigaoperations(graph: Graph) -> float:
    return 2e-9 * graph.work.macs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # MobileOne's paper, table 1: 275 million MACs; torchvision: 1.814 G MACs
        ("MobileOne-S0 224", 2 * 0.275),
        ("ResNet18 224", 2 * 1.814),
        # the projects' own tables at 640 pixels
        ("YOLOv6n 640", 11.4),
        ("YOLOv8n 640", 8.7),
        ("YOLOv6n 416", 11.4 * (416 / 640) ** 2),
        ("YOLOv8n 416", 8.7 * (416 / 640) ** 2),
    ],
)
def test_networks_of_the_rvc2_page_have_their_known_operations(name: str, expected: float) -> None:
    assert gigaoperations(build(name)) == pytest.approx(expected, rel=0.01)


def test_the_unseen_networks_have_their_known_operations() -> None:
    known = {  # from their papers and the usual tables, two operations per MAC
        "vgg16": 30.9,
        "squeezenet_1.1": 0.7,
        "densenet121": 5.67,
        "resnet34": 7.33,
        "tiny_yolo_v3": 5.5,
    }
    for name, expected in known.items():
        assert gigaoperations(UNSEEN[name]()) == pytest.approx(expected, rel=0.02)
    assert len(UNSEEN) == 10


def test_the_unseen_networks_are_written(tmp_path):
    done = CliRunner().invoke(write_networks.commands, ["unseen", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = {path.stem: load_graph(path) for path in tmp_path.glob("*.json")}
    assert written.keys() == UNSEEN.keys()
    assert written["resnet34"].work.macs > 3.6e9
