"""The shipped descriptions against a few published times: coarse, to notice a broken machine.

The full comparison, on networks that a calibration did not see, is `evaluation.published`.
"""

import pytest

from graph_gen.published_edge_tpu_chains import convolution_chain, dense_chain, inner_size
from graph_gen.published_edge_tpu_cifar import synthetic
from graph_gen.published_edge_tpu_classic import slim_resnet, vgg
from graph_gen.published_edge_tpu_dense_prediction import deeplab_v3
from graph_gen.published_edge_tpu_mobilenets import efficientnet_edgetpu, published_mobilenet_v1
from simulators.edge_tpu import analyse, compile_graph, load, network_s, simulate
from strata.graph import Graph

# https://coral.ai/docs/edgetpu/benchmarks/, mouad-zouhdi/sparta-edgetpu, and synthetic chains
PUBLISHED = [
    ("coral_usb3", published_mobilenet_v1(1.0, (224, 224)), 2.4),
    ("coral_usb3", slim_resnet(50, 1, (299, 299)), 49.0),
    ("coral_usb3", vgg(16, (224, 224)), 296.0),
    ("coral_usb3", efficientnet_edgetpu("S"), 5.1),
    ("coral_pcie", slim_resnet(50, 1, (299, 299)), 56.0),
    ("coral_pcie", vgg(16, (224, 224)), 343.0),
    ("coral_pcie", deeplab_v3(1.0, (513, 513)), 241.0),
    ("coral_pcie_card", convolution_chain(5, 442, 3, (64, 64, 3)), 41.3),
    ("coral_pcie_card", convolution_chain(5, 512, 3, (64, 64, 3)), 69.7),
    ("coral_pcie_card", convolution_chain(5, 662, 3, (64, 64, 3)), 240.1),
    ("coral_pcie_card", convolution_chain(5, 742, 3, (64, 64, 3)), 395.8),
    ("coral_pcie_card", dense_chain(4, 2540, 64, "tanh", 10), 34.1),
    ("coral_pcie_card", synthetic("sequential", 32, 32, (96, 96)), 48.2),
    ("coral_pcie_card", synthetic("sequential", 32, 32, (768, 768)), 99.8),
]


def network_ms(graph: Graph, name: str, stepwise: bool) -> float:
    machine = load(name)
    executable = compile_graph(graph, machine)
    layers = simulate(executable, machine) if stepwise else analyse(executable, machine)
    return 1e3 * network_s([layer.time_s for layer in layers], executable, machine)


@pytest.mark.parametrize("stepwise", [False, True], ids=["closed form", "step by step"])
@pytest.mark.parametrize(("name", "graph", "published_ms"), PUBLISHED)
def test_published_times_within_ten_percent(
    name: str, graph: Graph, published_ms: float, stepwise: bool
) -> None:
    assert network_ms(graph, name, stepwise) == pytest.approx(published_ms, rel=0.1)


def test_a_seven_by_seven_convolution_of_32_filters_fills_half_of_the_array() -> None:
    """Published: 10 of them take 7.82 ms, 50 take 40.7 ms with a few bytes in and out; 0.822 ms
    per layer."""
    name = "coral_usb3_jetson_nano"
    few = network_ms(inner_size((2, 2), (128, 128), 3, 10, 32, 7), name, False)
    many = network_ms(inner_size((2, 2), (128, 128), 3, 50, 32, 7), name, False)
    assert (many - few) / 40 == pytest.approx(0.822, rel=0.02)
