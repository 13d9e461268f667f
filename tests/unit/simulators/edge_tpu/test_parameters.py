"""Parameter sizes and which layers stay on the chip, against what edgetpu_compiler reported."""

import pytest

from graph_gen.published_edge_tpu_chains import convolution_chain, dense_chain
from graph_gen.published_edge_tpu_cifar import cifar_resnet, synthetic, wide_resnet
from graph_gen.published_edge_tpu_mobilenets import published_mobilenet_v1, published_mobilenet_v2
from simulators.edge_tpu import EdgeTpu, EdgeTpuExecutable, compile_graph, load
from strata.builder import GraphBuilder
from strata.graph import Graph

MIB = 2**20


@pytest.fixture(scope="module")
def coral() -> EdgeTpu:
    return load("coral_pcie_card")


def sizes_mib(executable: EdgeTpuExecutable) -> tuple[float, float]:
    return executable.cached_bytes / MIB, executable.streamed_bytes / MIB


def test_filters_pad_to_the_cells_and_channels_to_their_products(coral: EdgeTpu) -> None:
    """2 x Conv3x3(100) on 3 channels: 9 * 4 * 128 + 9 * 100 * 128 weights, 2 * 128 * 8 for biases;
    the compiler reported 0.1162109375 MiB (published chains, repository not recorded)."""
    executable = compile_graph(convolution_chain(2, 100, 3, (64, 64, 3)), coral)
    assert executable.cached_bytes == 9 * 4 * 128 + 9 * 100 * 128 + 2 * 128 * 8
    assert executable.cached_bytes / MIB == 0.1162109375


def test_dense_parameters_have_no_bytes_for_biases(coral: EdgeTpu) -> None:
    """Dense(102), Dense(10) on 6912 inputs: reported 0.85009765625 MiB."""
    executable = compile_graph(dense_chain(1, 102, 6912, "tanh", 10), coral)
    assert executable.cached_bytes == 6912 * 128 + 104 * 64
    assert executable.cached_bytes / MIB == 0.85009765625


@pytest.mark.parametrize(
    ("count", "filters", "cached_mib", "streamed_mib"),
    [
        (2, 37, 0.025146484375, 0.0),
        (5, 442, 6.86, 0.0),
        (5, 460, 6.10, 2.03),
        (5, 512, 6.78, 2.25),
        (5, 520, 5.17, 5.15),
        (5, 632, 6.98, 6.95),
        (5, 642, 3.93, 11.69),
        (5, 742, 4.94, 14.73),
        (2, 800, 5.75, 0.0),
    ],
)
def test_chains_of_convolutions_are_split_as_reported(
    coral: EdgeTpu, count: int, filters: int, cached_mib: float, streamed_mib: float
) -> None:
    executable = compile_graph(convolution_chain(count, filters, 3, (64, 64, 3)), coral)
    assert sizes_mib(executable) == pytest.approx((cached_mib, streamed_mib), abs=0.04)


@pytest.mark.parametrize(
    ("count", "units", "inputs", "cached_mib", "streamed_mib"),
    [
        (4, 1580, 64, 7.43, 0.0),
        (4, 1650, 64, 5.45, 2.62),
        (4, 2000, 64, 7.81, 4.06),  # two large layers first, so that the first layer is streamed
        (4, 2020, 64, 4.19, 7.89),
        (1, 1102, 6912, 0.0673828125, 7.59),
        (1, 2002, 6912, 0.122314453125, 13.5),
    ],
)
def test_chains_of_dense_layers_are_split_as_reported(
    coral: EdgeTpu, count: int, units: int, inputs: int, cached_mib: float, streamed_mib: float
) -> None:
    executable = compile_graph(dense_chain(count, units, inputs, "tanh", 10), coral)
    assert sizes_mib(executable) == pytest.approx((cached_mib, streamed_mib), abs=0.05)


@pytest.mark.parametrize(
    ("graph", "reported_bytes", "tolerance"),
    [
        (published_mobilenet_v1(0.25, (128, 128)), 518656, 0.02),
        (published_mobilenet_v1(0.5, (160, 160)), 1425024, 0.01),
        (published_mobilenet_v1(0.75, (192, 192)), 2729344, 0.01),
        (published_mobilenet_v2(1.0, (224, 224)), 2824448 + 1076416, 0.01),
    ],
)
def test_test_models_have_the_compilers_sizes(
    coral: EdgeTpu, graph: Graph, reported_bytes: int, tolerance: float
) -> None:
    """google-coral/test_data, cached + streamed bytes in the compiled files."""
    executable = compile_graph(graph, coral)
    assert executable.cached_bytes == pytest.approx(reported_bytes, rel=tolerance)
    assert executable.streamed_bytes == 0


@pytest.mark.parametrize(
    ("graph", "cached_mib", "streamed_mib"),
    [
        (cifar_resnet(18, (32, 32)), 7.65, 3.11),
        (cifar_resnet(50, (32, 32)), 7.66, 15.26),
        (wide_resnet(28, 10, (32, 32)), 7.65, 27.74),
        (synthetic("sequential", 32, 32, (96, 96)), 7.71, 16.72),
        (synthetic("sequential", 32, 32, (768, 768)), 3.91, 20.81),
    ],
)
def test_large_networks_are_split_nearly_as_reported(
    coral: EdgeTpu, graph: Graph, cached_mib: float, streamed_mib: float
) -> None:
    """github.com/mouad-zouhdi/sparta-edgetpu; large maps leave less room for parameters."""
    cached, streamed = sizes_mib(compile_graph(graph, coral))
    assert cached == pytest.approx(cached_mib, rel=0.1)
    assert streamed == pytest.approx(streamed_mib, rel=0.1)


def test_a_layer_is_cached_or_streamed_as_a_whole(coral: EdgeTpu) -> None:
    executable = compile_graph(convolution_chain(5, 520, 3, (64, 64, 3)), coral)
    for layer in executable.layers:
        assert (layer.cached_bytes > 0) != (layer.streamed_bytes > 0)


def test_early_compilers_crowd_dense_layers_into_the_first_tiles(coral: EdgeTpu) -> None:
    """Each Dense(400) has 7 blocks of 25,600 bytes; with every layer's first block in tile 0 only
    516,096 // 25,600 = 20 such layers fit, balanced over 16 tiles many more."""
    chain = dense_chain(100, 400, 12, "relu", None)
    crowded = compile_graph(chain, coral.changed(balanced_placement=0))
    balanced = compile_graph(chain, coral)
    cached = sum(layer.cached_bytes > 0 for layer in crowded.layers[1:])
    assert cached == 20
    assert sum(layer.cached_bytes > 0 for layer in balanced.layers[1:]) == 20 * 16 // 7


def test_small_filter_counts_are_streamed_without_full_padding(coral: EdgeTpu) -> None:
    """A streamed Dense(10) is padded to 16 filters, a cached one to 64: reports of chains of dense
    layers whose last one did not fit any more show both."""
    tiny = coral.changed(tile_parameter_bytes=0)
    builder = GraphBuilder("last")
    builder.dense(builder.input(1, 100), 10)
    executable = compile_graph(builder.build(), tiny)
    assert executable.streamed_bytes == 100 * 16
    assert compile_graph(builder.build(), coral).cached_bytes == 100 * 64
