"""Points near the layers of real networks: whose layers, legal, deterministic, and no copies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.config import MultiLayer, Sampling, load_config
from benchmark.layer_distribution import (
    COLUMNS,
    draw,
    kernel_row,
    move,
    read_layers,
    real_layers,
    snapshot,
)
from benchmark.layer_sources import SOURCES, Source, excluded_family
from benchmark.sampling import plan_samples
from graph_gen.benchmarks import build
from graph_gen.keras_networks import KERAS_NETWORKS
from graph_gen.zoo import ZOO
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError

ROOT = Path(__file__).parents[3]
KERNELS = (
    "convolution",
    "depthwise_convolution",
    "max_pooling",
    "average_pooling",
    "dense",
    "add",
    "concat",
)


def test_every_evaluation_network_belongs_to_an_excluded_family():
    evaluated = [*ZOO, *KERAS_NETWORKS, "NASBench-101 cell 3"]
    for config in (ROOT / "config").glob("*.yaml"):
        run = load_config(config)
        evaluated += [*run.evaluation.networks, *run.evaluation.keras]
    for name in evaluated:
        assert excluded_family(name) is not None, name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Inception-ResNet V2", "inception"),
        ("cf_facerec-resnet20", "resnet"),
        ("ResNeXt-50", "resnet"),
        ("ssd_mobilenet_v2", "mobilenet"),
        ("DeepLab V3 mnv2", "mobilenet"),
        ("tiny_yolo_v3", "yolo"),
        ("fcn8_vgg16_keras", "vgg"),
        ("miniVggNet_cifar10", "vgg"),
        ("densenetx_cifar10", "densenet"),
        ("EfficientNet-EdgeTpu-S", "efficientnet"),
        ("MnasNet-A1", "efficientnet"),
        ("NASNetLarge", "nasnet"),
        ("nasbench_1_3", "nasbench101"),
        ("nas-bench-201 |x|", None),
        ("regnet_x_400mf", None),
    ],
)
def test_families_are_told_by_name(name, family):
    assert excluded_family(name) == family


def test_no_network_drawn_from_is_of_an_evaluated_family():
    drawn = pd.read_csv(ROOT / "benchmark" / "data" / "layers.csv")
    assert set(drawn["network"]) == {source.name for source in SOURCES}
    for name in {*drawn["network"], *drawn["family"]}:
        assert excluded_family(name) is None, name


def test_the_snapshot_is_that_of_the_sources():
    kept = pd.read_csv(ROOT / "benchmark" / "data" / "layers.csv")
    pd.testing.assert_frame_equal(kept, snapshot(), check_dtype=False)


def test_families_networks_and_layers_count_alike():
    def network(count):
        builder = GraphBuilder("net")
        end = builder.input(1, 8, 16, 16)
        for _ in range(count):
            end = builder.convolution(end, 8, 3)
        builder.convolution(end, 16, 1)
        return builder.build()

    sources = (
        Source("a1", "a", lambda: network(3)),
        Source("a2", "a", lambda: network(1)),
        Source("b1", "b", lambda: network(1)),
    )
    frame = snapshot(sources)
    assert len(frame) == 6
    layers = _read(frame)["convolution"]
    shares = {}
    for row, share in zip(layers.rows, layers.shares, strict=True):
        shares.setdefault(row["kernel"], []).append(share)
    # family a: half; a1 (3 of 4 layers are 3x3): a quarter; b1: half, its two layers alike
    assert sorted(shares[3]) == pytest.approx([0.125, 0.1875, 0.25])
    assert sorted(shares[1]) == pytest.approx([0.0625, 0.125, 0.25])


def _read(frame, folder=None):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.csv"
        frame.to_csv(path, index=False)
        return read_layers(path)


@pytest.mark.parametrize("benchmark", KERNELS)
def test_draws_are_legal_deterministic_and_no_copies(benchmark):
    sampling = Sampling(draw="distribution", data_set="base")
    cases = plan_samples({benchmark: 60}, MultiLayer(), 5, sampling)
    assert cases == plan_samples({benchmark: 60}, MultiLayer(), 5, sampling)
    assert cases[:20] == plan_samples({benchmark: 20}, MultiLayer(), 5, sampling)
    assert cases != plan_samples({benchmark: 60}, MultiLayer(), 6, sampling)
    real = real_layers()[benchmark].rows
    for case in cases:
        assert build(benchmark, case.settings).work.bytes > 0
        settings = {
            name: value
            for name, value in case.settings.items()
            if name not in ("kernels", "activation")
        }
        assert settings not in real


def test_what_cannot_vary_stays():
    generator = np.random.default_rng(0)
    image = {"height": 224, "width": 224, "channels": 3, "filters": 64, "kernel": 7, "stride": 2}
    squeezed = {"height": 1, "width": 1, "channels": 96, "filters": 24, "kernel": 1, "stride": 1}
    grouped = {**image, "channels": 64, "groups": 8}
    chained = {**squeezed, "height": 14, "width": 14, "filters": 96}
    classes = {"channels": 512, "filters": 1000}
    for _ in range(50):
        assert move("convolution", image, generator, Sampling())["channels"] == 3
        moved = move("convolution", squeezed, generator, Sampling())
        assert (moved["height"], moved["width"]) == (1, 1)
        moved = move("convolution", grouped, generator, Sampling())
        assert moved["channels"] % 8 == moved["filters"] % 8 == 0
        moved = move("convolution", chained, generator, Sampling())
        assert moved["channels"] == moved["filters"]
        assert move("dense", classes, generator, Sampling())["filters"] == 1000


def test_draws_come_from_where_real_layers_are():
    generator = np.random.default_rng(1)
    rows = [draw("depthwise_convolution", generator, Sampling()) for _ in range(300)]
    kernels = {row["kernel"] for row in rows}
    assert {3, 7} <= kernels  # ShuffleNet's and ConvNeXt's
    large = [row for row in rows if row["height"] > 100]
    deep = [row for row in rows if row["channels"] >= 384]
    assert not large or np.median([row["channels"] for row in large]) < 384
    assert np.median([row["height"] for row in deep]) < 30


def test_layers_without_a_micro_kernel_are_left_out():
    builder = GraphBuilder("net")
    image = builder.input(1, 16, 8, 8)
    flat = builder.convolution(image, 16, (1, 7), name="flat")
    wide = builder.depthwise(flat, 3, multiplier=2, name="wide")
    builder.add(op.Elementwise("multiply"), wide, wide, name="product")
    builder.convolution(wide, 16, 3, dilation=2, groups=4, name="kept")
    found = {layer.name: kernel_row(layer) for layer in builder.build().layers}
    assert found["flat"] is found["wide"] is found["product"] is None
    row = {"height": 8, "width": 8, "channels": 32, "filters": 16, "kernel": 3, "stride": 1}
    assert found["kept"] == ("convolution", {**row, "dilation": 2, "groups": 4})


@pytest.mark.parametrize("text", ["", "benchmark,family\n", "a,b\n1,2\n", ",".join(COLUMNS) + "\n"])
def test_a_bad_snapshot_is_one_line(tmp_path, text):
    path = tmp_path / "layers.csv"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"layers\.csv: not a snapshot of layers") as caught:
        read_layers(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtefactError):
        read_layers(tmp_path / "none.csv")
