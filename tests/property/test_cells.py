import subprocess
import sys
from collections import Counter
from functools import cache
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_gen.benchmarks import build
from strata import operations as op
from strata.graph import make_graph
from strata.work import weight_elements

SEEDS = range(200)


@cache
def networks():
    return [build("cells", {"seed": seed}) for seed in SEEDS]


def layers():
    return [layer for graph in networks() for layer in graph.layers]


def test_every_operation_appears():
    found = {layer.operation for layer in layers()}
    assert found >= {
        *("convolution", "depthwise_convolution", "transposed_convolution", "dense", "matmul"),
        *("max_pooling", "average_pooling", "global_average_pooling", "global_max_pooling"),
        *("add", "multiply", "concat", "activation", "batch_normalization", "softmax"),
        *("resize", "pad", "reshape", "flatten", "transpose", "slice", "lstm"),
    }


def test_every_activation_appears_and_the_common_ones_dominate():
    kinds = Counter(layer.parameters.kind for layer in layers() if layer.operation == "activation")
    assert set(kinds) == set(op.ACTIVATIONS) - {"other"}
    common = sum(kinds[kind] for kind in ("relu", "relu6", "swish", "leaky_relu", "hard_swish"))
    assert common > 0.7 * kinds.total()


def test_convolutions_cover_what_networks_hold():
    convolutions = [layer for layer in layers() if isinstance(layer.parameters, op.Convolution)]
    parameters = [layer.parameters for layer in convolutions]
    assert {kernel for item in parameters for kernel in item.kernel} >= {1, 3, 5, 7}
    assert any(item.kernel[0] != item.kernel[1] for item in parameters)
    assert any(item.padding[0] != item.padding[2] for item in parameters)
    assert any(item.dilation != (1, 1) for item in parameters)
    grouped = [layer for layer in convolutions if layer.parameters.groups > 1]
    assert {layer.operation for layer in grouped} == {"convolution", "depthwise_convolution"}
    assert any(layer.input_shapes[0][2:] == (1, 1) for layer in convolutions)
    assert sum(item.filters % 8 == 0 for item in parameters) > 0.85 * len(parameters)


def test_limits():
    for graph in networks():
        weights = sum(
            weight_elements(layer.parameters, layer.input_shapes) for layer in graph.layers
        )
        assert weights <= 40_000_000
        assert graph.work.macs <= 1_500_000_000
        assert max(prod(layer.output_shape) for layer in graph.layers) <= 2**24
    mean = sum(graph.work.macs for graph in networks()) / len(networks())
    assert 0.1e9 < mean < 0.6e9


def test_graphs_are_valid_and_different():
    for graph in networks():
        assert make_graph(graph.name, graph.layers, graph.outputs) == graph
    assert len({graph.content_hash for graph in networks()}) == len(networks())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63 - 1), st.sampled_from([0, 32, 64, 100, 224]))
def test_any_seed_and_size_builds_the_same_network_twice(seed, size):
    row = {"seed": seed, "size": size}
    first = build("cells", row)
    assert first == build("cells", row)
    if size:
        assert size in first[first.inputs[0]].output_shape[1:3]  # channels may come last
    assert first.work.macs <= 1.5e9


def test_fewer_megamacs_are_obeyed():
    assert all(build("cells", {"seed": s, "megamacs": 100}).work.macs <= 1e8 for s in range(10))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_draws_the_same_networks(hash_seed):
    code = (
        "from graph_gen.benchmarks import build;"
        "print(*(build('cells', {'seed': s}).content_hash for s in range(5)))"
    )
    environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [graph.content_hash for graph in networks()[:5]]
