"""The zoo against ANNETTE's Table 2 and against published counts."""

from collections import Counter
from functools import cache

import pytest

from graph_gen.networks_mobilenet import mobilenet_v2, scaled
from graph_gen.zoo import ZOO
from strata.graph import Graph
from strata.work import weight_elements

# Table 2 as printed; the zoo's entries must not drift from it.
TABLE_2 = {
    "inception_v1": 3.2e9,
    "inception_v2": 4.0e9,
    "inception_v3": 11.4e9,
    "inception_v4": 24.5e9,
    "resnet18": 3.7e9,
    "resnet50": 7.7e9,
    "fpn_cityscapes": 8.9e9,
    "openpose": 189.7e9,
    "mobilenet_v1": 1.1e9,
    "mobilenet_v2": 1.2e9,
    "yolo_v2": 34.0e9,
    "yolo_v3": 65.4e9,
}
# Operations (two per MAC) counted over the graphs that ANNETTE's authors publish.
PUBLISHED_OPS = {
    "inception_v1": 3_165_343_744,
    "inception_v2": 4_037_703_680,
    "inception_v3": 11_426_432_192,
    "inception_v4": 24_507_949_248,
    "resnet18": 3_653_836_800,
    "resnet50": 7_715_946_496,
    "fpn_cityscapes": 8_757_182_464,
    "openpose": 189_688_379_872,
    "mobilenet_v1": 1_137_482_752,
    "mobilenet_v2": 1_164_395_232,
    "yolo_v2": 34_051_039_232,
    "yolo_v3": 65_427_974_144,
}


@cache
def graph(name: str) -> Graph:
    return ZOO[name].build()


def parameters(network: Graph) -> int:
    return sum(weight_elements(layer.parameters, layer.input_shapes) for layer in network.layers)


def agrees_with_table(ops: float, table_ops: float) -> bool:
    """Within the table's rounding to 0.1 G, and 1% beyond it."""
    return abs(ops - table_ops) <= 0.05e9 + 0.01 * table_ops


def test_the_zoo_is_table_2():
    assert {name: entry.table_ops for name, entry in ZOO.items()} == TABLE_2


@pytest.mark.parametrize("name", TABLE_2)
def test_operations_are_those_of_the_published_graph(name):
    assert 2 * graph(name).work.macs == PUBLISHED_OPS[name]


@pytest.mark.parametrize("name", [name for name in TABLE_2 if name != "fpn_cityscapes"])
def test_operations_agree_with_table_2(name):
    assert agrees_with_table(2 * graph(name).work.macs, TABLE_2[name])


def test_the_feature_pyramid_has_less_than_table_2_and_says_so():
    pyramid = graph("fpn_cityscapes")
    # Learned upsampling, 4x4 kernels: 16 * 32 * 32 MACs on 8x16, 16x32 and 32x64 positions,
    # 16 * 32 * 19 on 64x128: 2,097,152 + 8,388,608 + 33,554,432 + 79,691,776 = 123,731,968.
    upsampling = sum(
        layer.work.macs for layer in pyramid.layers if layer.operation == "transposed_convolution"
    )
    assert upsampling == 123_731_968
    total = 2 * pyramid.work.macs
    assert not agrees_with_table(total, TABLE_2["fpn_cityscapes"])
    assert total == pytest.approx(8.76e9, rel=0.01)
    assert total - 2 * upsampling == pytest.approx(8.51e9, rel=0.01)
    for number in ("8.76 G", "8.51 G", "0.25 G"):
        assert number in ZOO["fpn_cityscapes"].note


def test_the_narrower_networks_that_the_notes_mention():
    # 300 M MACs: MobileNetV2 paper, table 4, width 1.
    assert 2 * mobilenet_v2(1.0).work.macs == pytest.approx(0.60e9, rel=0.01)
    # The projection that ResNet-18 need not have: 64 to 64 channels on 56x56.
    projection = graph("resnet18")["stage1/block1/shortcut"].work.macs
    assert projection == 64 * 64 * 56 * 56
    assert 2 * (graph("resnet18").work.macs - projection) == pytest.approx(3.63e9, rel=0.002)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Weights, biases, scale and shift of each normalised channel.
        ("inception_v1", 6_998_552),  # bvlc_googlenet without auxiliary classifiers
        ("inception_v3", 23_834_568),  # torchvision: 27,161,264 less its auxiliary classifier
        ("inception_v4", 42_679_816),  # timm: 42.68 M
        ("resnet18", 11_689_512 + 64 * 64 + 2 * 64),  # torchvision, and the added projection
        ("resnet50", 25_557_032),  # torchvision
        ("mobilenet_v1", 4_231_976 + 1025),  # Keras, trainable; and the 1001st class
    ],
)
def test_parameters_of_well_known_networks(name, count):
    assert parameters(graph(name)) == count


def test_parameters_of_mobilenet_v2():
    # 6.087 M with normalisation folded into a bias (Open Model Zoo, mobilenet-v2-1.4-224).
    network = graph("mobilenet_v2")
    channels = sum(
        layer.output_shape[1]
        for layer in network.layers
        if layer.operation == "batch_normalization"
    )
    assert round((parameters(network) - channels) / 1e6, 3) == 6.087


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("inception_v1", {"convolution": 57, "max_pooling": 13, "concat": 9, "dense": 1}),
        ("inception_v2", {"convolution": 69, "average_pooling": 7, "max_pooling": 5, "concat": 10}),
        ("inception_v3", {"convolution": 94, "average_pooling": 8, "max_pooling": 5, "concat": 11}),
        ("inception_v4", {"convolution": 149, "max_pooling": 4, "concat": 19}),
        ("resnet18", {"convolution": 21, "activation": 17, "add": 8, "max_pooling": 1}),
        ("resnet50", {"convolution": 53, "activation": 49, "add": 16, "max_pooling": 1}),
        ("fpn_cityscapes", {"convolution": 63, "transposed_convolution": 4, "add": 3}),
        ("openpose", {"convolution": 92, "activation": 80, "max_pooling": 3, "concat": 5}),
        ("mobilenet_v1", {"convolution": 15, "depthwise_convolution": 13, "dense": 0}),
        ("mobilenet_v2", {"convolution": 36, "depthwise_convolution": 17, "add": 10}),
        ("yolo_v2", {"convolution": 23, "max_pooling": 5, "reshape": 2, "transpose": 1}),
        ("yolo_v3", {"convolution": 75, "add": 23, "resize": 2, "concat": 2}),
    ],
)
def test_layers_by_type(name, counts):
    found = Counter(layer.operation for layer in graph(name).layers)
    assert {operation: found[operation] for operation in counts} == counts


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("inception_v1", "mixed_4e/concat", (1, 832, 14, 14)),
        ("inception_v2", "mixed_3c/concat", (1, 576, 14, 14)),
        ("inception_v3", "mixed_c2/concat", (1, 2048, 8, 8)),
        ("inception_v4", "stem_c/concat", (1, 384, 35, 35)),
        ("resnet50", "stage4/block3/add", (1, 2048, 7, 7)),
        ("fpn_cityscapes", "segmentation", (1, 19, 128, 256)),
        ("openpose", "stage6/affinity/maps", (1, 26, 46, 46)),
        ("openpose", "stage6/confidence/maps", (1, 15, 46, 46)),
        ("mobilenet_v1", "classifier/softmax", (1, 1001)),
        ("mobilenet_v2", "last/conv", (1, 1792, 7, 7)),
        ("yolo_v2", "passthrough/merge", (1, 256, 14, 14)),
        ("yolo_v2", "head/predict", (1, 125, 14, 14)),
        ("yolo_v3", "head3/predict", (1, 75, 52, 52)),
    ],
)
def test_hand_known_shapes(name, layer, shape):
    assert graph(name)[layer].output_shape == shape


@pytest.mark.parametrize("name", TABLE_2)
def test_normalised_convolutions_have_no_bias(name):
    network = graph(name)
    for layer in network.layers:
        if layer.operation == "batch_normalization":
            assert not network[layer.inputs[0]].parameters.bias
    normalised = any(layer.operation == "batch_normalization" for layer in network.layers)
    assert normalised == (name not in {"inception_v1", "fpn_cityscapes", "openpose"})


@pytest.mark.parametrize("name", TABLE_2)
def test_every_graph_bears_its_key_and_every_layer_leads_to_an_output(name):
    network = graph(name)
    assert network.name == name
    read = {name for name, consumers in network.successors.items() if consumers}
    assert {layer.name for layer in network.layers} - read == set(network.outputs)


def test_a_build_repeats():
    assert ZOO["yolo_v3"].build().content_hash == graph("yolo_v3").content_hash


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        (32, 1.4, 48),  # 44.8
        (24, 1.4, 32),  # 33.6
        (64, 1.4, 88),  # 89.6, to the nearest 8
        (16, 0.7, 16),  # 11.2: 8 would be below 90% of it
    ],
)
def test_scaled_channels_are_multiples_of_eight(channels, width, expected):
    assert scaled(channels, width) == expected
