"""Whole networks: a model file is measured as the toolchain reads it, not as we rebuild it."""

import numpy as np
import openvino
import openvino.opset13 as ops

from benchmark.measure_networks import measure_round_robin
from hardware_modules.registry import create
from strata import operations as op
from strata.builder import GraphBuilder
from strata.graph_json import save_graph


def test_a_file_with_a_layer_that_cannot_be_mapped_is_measured_all_the_same(tmp_path):
    source = ops.parameter([1, 8, 16, 16], np.float32, name="in")
    weights = np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)
    convolution = ops.convolution(source, ops.constant(weights), [1, 1], [1, 1], [1, 1], [1, 1])
    summed = ops.cum_sum(convolution, ops.constant(np.int64(1)))
    path = tmp_path / "odd.xml"
    openvino.save_model(openvino.Model([ops.result(summed)], [source], "odd"), str(path))
    module = create("openvino_cpu", {})
    ((graph, profile),) = measure_round_robin(module, [path], rounds=2, quiet=True)
    assert len(graph.opaque) == 1
    assert profile.refusal is None
    assert profile.time_s > 0
    assert any("CumSum" in node.kind for node in profile.nodes)


def test_what_cannot_be_built_from_its_graph_is_a_refusal_beside_the_others(tmp_path):
    builder = GraphBuilder("narrow")
    builder.convolution(builder.input(1, 8, 8, 8), 8, 3)
    save_graph(builder.build(), tmp_path / "fine.json")
    narrow = GraphBuilder("eight bits")
    source = narrow.input(1, 8, 8, 8)
    narrow.add(op.Activation("relu"), source, bits=8)
    save_graph(narrow.build(), tmp_path / "narrow.json")
    module = create("openvino_cpu", {})
    files = [tmp_path / "narrow.json", tmp_path / "fine.json"]
    (_, refused), (_, measured) = measure_round_robin(module, files, rounds=2, quiet=True)
    assert refused.refusal
    assert measured.refusal is None
    assert len(measured.samples_s) == 2
