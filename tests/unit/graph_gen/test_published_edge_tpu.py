"""Networks of the Edge TPU's published tables against published counts."""

import pytest

from graph_gen.published_edge_tpu import FAMILIES, build_edge_tpu
from graph_gen.published_edge_tpu_mobilenets import parameters
from strata import operations as op
from strata.errors import SchemaError

MIB = 2**20


# MACs in millions and parameters in millions: the networks' papers, TensorFlow's slim and model
# garden tables, and (EfficientNet-EdgeTPU) the definition's own count without normalisation.
@pytest.mark.parametrize(
    ("name", "macs_m", "parameters_m"),
    [
        ("Coral MobileNet v1 224x224", 569, 4.24),
        ("Coral MobileNet v1 0.75 192x192", 239, 2.59),
        ("Coral MobileNet v1 0.5 160x160", 77, 1.34),
        ("Coral MobileNet V1 0.25 128x128", 13.6, 0.47),
        ("Coral MobileNet v2 224x224", 300, 3.47),
        ("Coral EfficientNet-EdgeTpu-S 224x224", 1790, 5.39),
        ("Coral EfficientNet-EdgeTpu-M 240x240", 3010, 6.83),
        ("Coral EfficientNet-EdgeTpu L 300x300", 7940, 10.5),
        ("Coral MobileNet-EdgeTPU 224x224", 990.7, 4.05),
        ("Coral Inception v1 224x224", 1500, 6.62),
        ("Coral Inception-ResNet V2 299x299", 13_200, 55.8),
        ("Coral ResNet-50 224x224", 3480, 25.6),
        ("Coral ResNet-152 V2 299x299", 20_200, 60.2),
        ("Coral VGG16 224x224", 15_500, 138.4),
        ("Coral VGG19 224x224", 19_600, 143.7),
        ("Coral SqueezeNet 224x224", 837, 1.25),
        ("Coral SqueezeNet 1.1 224x224", 350, 1.24),
        ("Coral DenseNet 224x224", 2850, 7.98),
    ],
)
def test_counts_are_the_published_ones(name, macs_m, parameters_m):
    graph = build_edge_tpu(name)
    assert graph.work.macs / 1e6 == pytest.approx(macs_m, rel=0.03)
    assert parameters(graph) / 1e6 == pytest.approx(parameters_m, rel=0.015)


# Sizes of the int8 files, MiB; the small network's file holds 12% of scales and graph structure.
@pytest.mark.parametrize(
    ("name", "size_mib", "structure"),
    [
        ("ResNet-18", 10.84, 0.03),
        ("ResNet-50", 23.3, 0.035),
        ("VGG-19", 19.3, 0.03),
        ("WRN-28-10", 35.13, 0.03),
        ("MobileNetV2", 2.7, 0.2),
    ],
)
def test_cifar_networks_fill_their_int8_files(name, size_mib, structure):
    size = parameters(build_edge_tpu(f"SPARTA {name} 32x32x3")) / MIB
    assert size_mib * (1 - structure) < size < size_mib


def test_both_synthetic_families_have_the_published_weights():
    sequential = build_edge_tpu("SPARTA sequential_d32_w32_r96")
    residual = build_edge_tpu("SPARTA residual_d16_w32_r96")
    # 7.71 MiB in on-chip memory and 16.72 MiB streamed, at 96 pixels
    assert parameters(sequential) / MIB == pytest.approx(7.71 + 16.72, rel=0.01)
    assert parameters(residual) == parameters(sequential)
    assert residual.work.macs == sequential.work.macs


@pytest.mark.parametrize("family", ["dense", "branched_2way", "branched_4way"])
def test_synthetic_stages_halve_the_map_and_double_the_width(family):
    graph = build_edge_tpu(f"SPARTA {family}_d4_w16_r96")
    shapes = [graph[f"transition{stage}"].input_shapes[0][1:] for stage in (2, 3, 4)]
    assert shapes == [(16, 24, 24), (32, 12, 12), (64, 6, 6)]
    assert graph["classifier/dense"].output_shape == (1, 100)


@pytest.mark.parametrize("version", [1, 2])
def test_a_detector_has_1917_anchors_and_leaves_the_rest_to_the_host(version):
    graph = build_edge_tpu(f"Coral MobileNet v{version} SSD 224x224")
    assert graph["image"].output_shape == (1, 3, 300, 300)
    assert graph["boxes/concat"].output_shape == (1, 1917, 4)
    assert graph["classes/concat"].output_shape == (1, 1917, 91)
    assert [layer.parameters.type_name for layer in graph.opaque] == [
        "TFLite_Detection_PostProcess"
    ]


def test_deep_lab_ends_in_what_its_compiled_file_leaves_to_the_host():
    graph = build_edge_tpu("Coral DeepLab V3 513x513")
    counts = {
        kind: sum(layer.operation == kind for layer in graph.layers)
        for kind in ("convolution", "depthwise_convolution", "add", "resize", "concat", "opaque")
    }
    # the operations of deeplabv3_mnv2_pascal_quant.tflite
    assert counts == {
        "convolution": 38,
        "depthwise_convolution": 17,
        "add": 10,
        "resize": 3,
        "concat": 1,
        "opaque": 1,
    }
    assert graph["local/conv"].output_shape == (1, 256, 33, 33)
    assert max(
        layer.parameters.dilation
        for layer in graph.layers
        if "depthwise" in layer.name and isinstance(layer.parameters, op.Convolution)
    ) == (2, 2)


def test_the_decoder_of_the_u_net_gives_a_map_of_the_image():
    graph = build_edge_tpu("Coral Unet Mv2 128x128")
    assert graph["maps"].output_shape == (1, 3, 128, 128)
    joined = [graph[f"up{number}/concat"].output_shape for number in (1, 2, 3, 4)]
    # the tutorial's skips: 576, 192, 144 and 96 channels
    assert joined == [(1, 1088, 8, 8), (1, 448, 16, 16), (1, 272, 32, 32), (1, 160, 64, 64)]


@pytest.mark.parametrize(
    ("file", "operations"),
    [
        ("mobilenet_v1_0.25_128_quant_edgetpu", {"convolution": 15, "depthwise_convolution": 13}),
        ("mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu", {"convolution": 14}),
        ("mobilenet_v2_1.0_224_quant_edgetpu", {"convolution": 36, "add": 10}),
        ("mobilenet_edgetpu_0.75_224_post_training_quant_edgetpu", {"convolution": 46, "add": 15}),
        (
            "posenet_mobilenet_v1_075_353_481_quant_decoder_edgetpu",
            {"convolution": 18, "concat": 1, "opaque": 1},
        ),
        ("bodypix_mobilenet_v1_075_1280_720_16_quant_decoder_edgetpu", {"convolution": 21}),
        ("bodypix_mobilenet_v1_075_1280_720_16_per_tensor_quant_edgetpu", {"opaque": 0}),
        ("keras_lstm_mnist_ptq_edgetpu", {"lstm": 1, "dense": 1}),
    ],
)
def test_files_have_the_operations_listed_for_them(file, operations):
    graph = build_edge_tpu(f"{file}.tflite")
    for kind, count in operations.items():
        assert sum(layer.operation == kind for layer in graph.layers) == count


def test_a_file_compiled_with_others_holds_its_first_network():
    alone = build_edge_tpu("mobilenet_v1_0.5_160_quant_edgetpu.tflite")
    together = build_edge_tpu("mobilenet_v1_0.5_160_quant_cocompiled_with_3quant_edgetpu.tflite")
    assert together.content_hash == alone.content_hash


# 4096 pixels x 9 taps x F x (3 + (layers - 1) F)
@pytest.mark.parametrize(
    ("count", "filters", "macs"), [(2, 100, 379_699_200), (5, 300, 13_304_217_600)]
)
def test_convolution_chains_have_the_published_macs(count, filters, macs):
    text = f"Keras Sequential: {count}x Conv2D({filters},3x3,same,relu), input 64x64x3, output"
    assert build_edge_tpu(text).work.macs == macs


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("Dense(1702,tanh) x1, Dense(10); input 6912", 11_781_244),
        ("Dense(120,tanh) x4, Dense(10); input 64", 52_080),
        ("Dense(82,tanh) x6, Dense(10); input 6912", 601_224),
        ("Dense(100,relu) x2; input 50", 15_000),  # 50 x 100 + 100 x 100, no last layer
    ],
)
def test_dense_chains_have_the_published_macs(text, macs):
    assert build_edge_tpu(f"Keras Sequential: {text}").work.macs == macs


def test_sweeps_have_the_published_macs_and_sizes():
    convolutions = build_edge_tpu(
        "ZeroPad 2x2x3->128x128x3, 10x Conv2D(32,7x7,same,relu), 1x1 conv stride 128 (input 12 B)"
    )
    collapse = 32  # the last convolution reads one pixel
    assert convolutions.work.macs == 7_475_822_592 + collapse
    assert convolutions["collapse"].output_shape == (1, 1, 1, 1)
    dense = build_edge_tpu("Flatten 2x2x3, 100x Dense(100,relu), Dense(1)")
    assert dense.work.macs == 991_300
    into = build_edge_tpu("input transfer test: text 1x1x3 -> 128x64x3")
    assert into["image"].output_shape == (1, 3, 128, 64)
    assert into["collapse"].output_shape == (1, 1, 1, 1)
    out = build_edge_tpu("output transfer test: text 2x2x3 -> 2x2x3 -> 64x64x3")
    assert (out["image"].output_shape, out["pad"].output_shape) == ((1, 3, 2, 2), (1, 3, 64, 64))


def test_names_are_read_whatever_their_case_and_hyphens():
    hashes = {
        build_edge_tpu(name).content_hash
        for name in (
            "Coral ResNet-50 V1 299x299",
            "coral resnet 50 v1 299x299",
            "CORAL ResNet_50_v1 (TF2) 299x299",
        )
    }
    assert len(hashes) == 1


def test_every_family_builds_its_example():
    for family in FAMILIES:
        assert build_edge_tpu(family.example).layers


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Coral NoNet 224x224", ["NoNet", "SqueezeNet"]),
        ("Coral Inception v4 224x224", ["Inception V4", "299x299"]),
        ("SPARTA ResNet-18 pruned 40% random 32x32x3", ["pruned", "unpruned"]),
        ("SPARTA ResNet-34b 32x32x3", ["ResNet-34b"]),
        ("movenet_edgetpu.tflite", ["movenet"]),
        ("some network", ["some network", "Coral MobileNet"]),
    ],
)
def test_unknown_names_say_what_can_be_built(name, words):
    with pytest.raises(SchemaError) as caught:
        build_edge_tpu(name)
    assert all(word in str(caught.value) for word in words)
