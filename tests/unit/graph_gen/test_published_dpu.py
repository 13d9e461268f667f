"""Published networks against what was published of them: operations per node, per network."""

import csv
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation.published
from graph_gen.networks_resnet import resnet18
from graph_gen.networks_yolo import yolo_v2
from graph_gen.published import FAMILIES, build_published, find_family
from graph_gen.published_dpu_pruning import prune, thin
from graph_gen.published_dpu_ultra96 import ultra96_network
from graph_gen.published_dpu_zoo import TOLERANCE, is_thinned, zoo_group
from strata.builder import GraphBuilder
from strata.errors import SchemaError, StrataError
from strata.graph import Graph
from strata.layer import Layer
from strata.work import weight_elements

DATA = Path(evaluation.published.__file__).parent / "data"
build = cache(build_published)


def rows(file: str) -> list[dict[str, str]]:
    with (DATA / file).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def ops(graph: Graph) -> int:
    return 2 * graph.work.macs


def stated_ops(name: str) -> float:
    last = name.split("_")[-1]
    return float(last[:-1]) * {"G": 1e9, "M": 1e6}[last[-1]]


def followed_by_depthwise(graph: Graph, layer: Layer) -> int:
    """Multiply-accumulates of a layer and of a depthwise convolution that reads only it."""
    successors = graph.successors
    macs = layer.work.macs
    while len(successors[layer.name]) == 1:
        layer = graph[successors[layer.name][0]]
        if layer.operation == "depthwise_convolution":
            return macs + layer.work.macs
        if layer.operation not in ("batch_normalization", "activation"):
            break
    return macs


NODES = [row for row in rows("dpu_layers.csv") if row["node"] != "__TOTAL__"]
TOTALS = [row for row in rows("dpu_layers.csv") if row["node"] == "__TOTAL__"]


@pytest.mark.parametrize("row", NODES, ids=lambda row: f"{row['network'][:8]}-{row['node']}")
def test_every_profiled_node_is_a_layer_with_the_published_operations(row):
    graph = build(row["network"])
    layer = graph[row["node"]]
    macs = layer.work.macs
    if row["network"].startswith("proxyless"):  # its nodes hold the depthwise convolution too
        macs = followed_by_depthwise(graph, layer)
    # printed with two or three decimals of 1e6 operations
    assert 2e-6 * macs == pytest.approx(float(row["workload_MOP"]), abs=0.006)


@pytest.mark.parametrize("row", TOTALS, ids=lambda row: row["network"])
def test_profiled_networks_have_the_published_total(row):
    expected = float(row["workload_MOP"]) * 1e6
    assert ops(build(row["network"])) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", sorted({row["name"] for row in rows("dpu_networks_e2e.csv")}))
def test_operations_agree_with_the_name(name):
    assert ops(build(name)) == pytest.approx(stated_ops(name), rel=TOLERANCE)


# Names of the public model zoo, releases 1.0 to 2.0, and how near their operations come.
@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("cf_resnet50_imagenet_224_224_7.7G", 0.003),
        ("cf_inceptionv2_imagenet_224_224_4G", 0.01),
        ("cf_inceptionv4_imagenet_299_299_24.5G", 0.003),
        ("tf_inceptionv4_imagenet_299_299_24.55G", 0.003),
        ("tf_inceptionresnetv2_imagenet_299_299_26.35G", 0.003),
        ("tf_mobilenetv1_0.25_imagenet_128_128_27.15M", 0.003),
        ("tf_mobilenetv2_1.4_imagenet_224_224_1.16G", 0.005),
        ("tf_mobilenetv2_imagenet_224_224_1.17G", 0.005),
        ("tf_resnetv1_101_imagenet_224_224_14.4G", 0.003),
        ("tf_resnetv1_152_imagenet_224_224_21.83G_1.2", 0.003),
        ("tf_resnetv2_50_imagenet_299_299_13.1G", 0.003),
        ("tf_resnetv2_152_imagenet_299_299_40.47G", 0.003),
        ("tf_mlperf_resnet50_imagenet_224_224_8.19G", 0.003),
        ("tf_vgg19_imagenet_224_224_39.28G", 0.003),
        ("tf_ssdmobilenetv1_coco_300_300_2.47G", 0.003),
        ("tf_ssdmobilenetv2_coco_300_300_3.75G", 0.02),
        ("tf_ssdresnet50v1_fpn_coco_640_640_178.4G", 0.003),
        ("cf_ssdmobilenetv2_bdd_360_480_6.57G", 0.02),
        ("tf_yolov3_voc_416_416_65.63G", 0.005),
        ("dk_yolov3_bdd_288_512_53.7G", 0.04),
        ("dk_tiny-yolov3_416_416_5.46G", 0.003),
        ("cf_facerec-resnet20_112_96_3.5G", 0.003),
        ("cf_fpn_cityscapes_256_512_8.9G", 0.02),
        ("pt_squeezenet_imagenet_224_224_703.5M", 0.01),
        ("cf_reid_market1501_160_80_0.95G", 0.03),
    ],
)
def test_more_of_the_model_zoo_can_be_built(name, relative):
    stated = stated_ops(name.removesuffix("_1.2"))
    assert ops(build(name)) == pytest.approx(stated, rel=relative)


def test_vgg16_has_the_papers_parameters():
    graph = build("tf_vgg16_imagenet_224_224_30.96G")
    parameters = sum(
        weight_elements(layer.parameters, layer.input_shapes) for layer in graph.layers
    )
    assert parameters == 138_357_544  # Simonyan and Zisserman: 138 million


def test_squeezenet_has_its_releases_parameters():
    graph = build("cf_squeeze_imagenet_227_227_0.76G")
    parameters = sum(
        weight_elements(layer.parameters, layer.input_shapes) for layer in graph.layers
    )
    assert parameters == 1_235_496


@pytest.mark.parametrize(
    "name",
    [
        "dk_yolov2_voc_448_448_0.66_11.56G",
        "dk_yolov3_cityscapes_256_512_0.9_5.46G",
        "cf_refinedet_coco_360_480_0.8_25G",
        "cf_ssdadas_bdd_360_480_0.95_6.3G",
        "cf_resnet50_imagenet_224_224_0.5_3.8G",
    ],
)
def test_pruned_networks_are_thinned_to_the_operations_left(name):
    assert is_thinned(name)
    assert ops(build(name)) == pytest.approx(stated_ops(name), rel=0.02)


def test_a_network_with_published_pruned_widths_is_not_thinned():
    assert not is_thinned("cf_openpose_aichallenger_368_368_0.3_189.7G")
    assert not is_thinned("cf_resnet18_imagenet_224_224_3.65G")


def test_thinning_keeps_what_a_network_answers():
    whole = yolo_v2()
    half = thin(whole, 0.5)
    assert half[half.outputs[0]].output_shape == (1, 125, 14, 14)
    # the reorganised side branch: 32 instead of 64 channels, times four
    assert half["head/concat"].output_shape[1] == 4 * 32 + 512
    assert 0.2 < ops(half) / ops(whole) < 0.3


def test_depthwise_convolutions_follow_a_thinned_input():
    builder = GraphBuilder("small")
    source = builder.convolution(builder.input(1, 3, 8, 8), 16, 3, name="first")
    source = builder.depthwise(source, 3, name="depthwise")
    builder.convolution(source, 10, 1, name="last")
    thinned = thin(builder.build(), 0.25)
    assert thinned["depthwise"].output_shape == (1, 4, 8, 8)
    assert thinned["last"].output_shape == (1, 10, 8, 8)


@settings(max_examples=15)
@given(share=st.floats(0.05, 1.0))
def test_pruning_hits_the_operations_asked_for(share):
    whole = resnet18(64)
    pruned = prune(whole, share * ops(whole))
    # one channel more or less in every layer
    assert ops(pruned) == pytest.approx(share * ops(whole), rel=0.08)
    assert ops(pruned) >= share * ops(whole)


def test_pruning_cannot_add_operations():
    with pytest.raises(SchemaError, match=r"cannot raise them to 5\.00 G"):
        prune(resnet18(), 5e9)


ULTRA96 = rows("dpu_ultra96_networks.csv")


def test_every_ultra96_network_has_the_published_multiply_accumulates():
    wrong = [
        (row["model"], row["size"], graph.work.macs)
        for row in ULTRA96
        if (
            graph := ultra96_network(
                row["model"],
                int(row["size"]),
                [int(word) for word in row["conv_channels"].split()],
                [int(word) for word in row["dense_units"].split()],
            )
        ).work.macs
        != int(float(row["macs"]))
    ]
    assert len(ULTRA96) > 300
    assert not wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg12", 32, (1,), (1,)), "family 'vgg12' is unknown; legal: alexnet, googlenet"),
        (("synthetic", 224, (8, 8, 8, 8), (4, 4, 4, 4)), "4 widths of convolutions are too few"),
        (("synthetic", 224, (8,) * 6, (4,) * 4), "6 widths of convolutions are 1 too many"),
        (("synthetic", 224, (8,) * 5, (4,) * 5), "5 widths of dense layers are 1 too many"),
        (("AlexNet", 20, (8,) * 5, (4,) * 3), "layer 'conv_4': height 1"),
    ],
)
def test_wrong_widths_and_small_images_are_refused(arguments, message):
    with pytest.raises(SchemaError, match=message):
        ultra96_network(*arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_of_mine", "no published network 'resnet_of_mine'"),
        ("cf_densebox_wider_320_320_0.49G", "no published structure of 'cf_densebox"),
        ("cf_facerec-resnet64_112_96_11G", "another variant of the architecture"),
        ("tf_vgg16_imagenet_224_448_30.96G", "square inputs, not 224x448"),
        ("tf_inceptionv3_imagenet_224_224_11.4G", "built for 299x299 inputs, not 224x224"),
        ("alexnet_tf_pruned", "widths are not published"),
    ],
)
def test_a_network_that_cannot_be_built_says_why(name, message):
    with pytest.raises(StrataError, match=message):
        build_published(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tf_resnet50_imagenet_224_224_6.97G", "cf_resnet50_imagenet_224_224_7.7G"),
        ("tf_resnetv1_50_imagenet_224_224_6.97G", "tf_resnet50_imagenet_224_224_6.97G"),
        ("cf_mobilenetv2_imagenet_224_224_0.59G", "tf_mobilenetv2_1.0_imagenet_224_224_0.59G"),
        ("tf_mobilenetv2_imagenet_224_224_1.17G", "tf_mobilenetv2_1.4_imagenet_224_224_1.16G"),
        ("dk_yolov2_voc_448_448_34G", "dk_yolov2_voc_448_448_0.66_11.56G"),
    ],
)
def test_names_of_one_network_share_a_group(one, other):
    assert zoo_group(one) == zoo_group(other)


def test_different_networks_have_different_groups():
    names = {
        "tf_mobilenetv2_1.0_imagenet_224_224_0.59G",
        "tf_mobilenetv2_1.4_imagenet_224_224_1.16G",
        "tf_mobilenetv1_1.0_imagenet_224_224_1.14G",
        "tf_mobilenetv1_0.5_imagenet_160_160_150.07M",
        "tf_resnetv1_50_imagenet_224_224_6.97G",
        "tf_resnetv1_101_imagenet_224_224_14.4G",
        "tf_resnetv2_50_imagenet_299_299_13.1G",
        "cf_resnet18_imagenet_224_224_3.65G",
    }
    assert len({zoo_group(name) for name in names}) == len(names)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.example[:40])
def test_every_family_has_an_example_that_it_builds(family):
    found, _ = find_family(family.example)
    assert found is family
    if family.note.startswith("Not built"):
        with pytest.raises(SchemaError, match="not published"):
            build(family.example)
    else:
        assert ops(build(family.example)) > 0
