"""Whole networks: a model file is measured as the toolchain reads it, not as we rebuild it."""

from dataclasses import replace

import numpy as np
import openvino
import openvino.opset13 as ops
import pytest

from benchmark.measure_networks import measure_round_robin
from hardware_modules.null import NullModule
from hardware_modules.registry import create
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
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


def test_a_network_with_a_layer_of_unknown_time_is_a_refusal_in_the_toolchain_s_words(tmp_path):
    class Leaving(NullModule):
        def parse(self, report, graph):
            whole = NullModule.parse(self, report, graph)
            left = replace(whole.nodes[0], kind="left on the CPU: too wide", timed=False)
            return replace(whole, nodes=(left, *whole.nodes[1:]))

    builder = GraphBuilder("left")
    builder.convolution(builder.input(1, 8, 8, 8), 8, 3, name="wide")
    save_graph(builder.build(), tmp_path / "left.json")
    module = Leaving.from_options({})
    ((_, profile),) = measure_round_robin(module, [tmp_path / "left.json"], rounds=2, quiet=True)
    assert profile.refusal.endswith("left on the CPU: too wide")
    assert profile.refusal.startswith("no time is known: ")
    assert not profile.nodes


def test_a_module_that_reads_tflite_files_gives_their_graph_too(tmp_path):
    class Reading(NullModule):
        def compile_tflite(self, path):
            if path.stem == "odd":
                raise UnsupportedLayer(f"no room for {path.stem}")
            return graph, self.compile(graph)

    builder = GraphBuilder("of the file")
    builder.convolution(builder.input(1, 8, 8, 8, name="in"), 8, 3, name="wide")
    graph = builder.build()
    for name in ("fine", "odd"):
        (tmp_path / f"{name}.tflite").write_bytes(write_int8(graph).content)
    files = [tmp_path / "fine.tflite", tmp_path / "odd.tflite"]
    (read, measured), (_, refused) = measure_round_robin(
        Reading.from_options({}), files, rounds=2, quiet=True
    )
    assert read is graph
    assert measured.refusal is None
    assert measured.nodes[0].layers
    assert refused.refusal == "no room for odd"


def test_of_a_file_that_nobody_can_read_the_module_s_words_are_told(tmp_path):
    class Refusing(NullModule):
        def compile_tflite(self, path):
            raise UnsupportedLayer(f"null: {path}: ended with signal 11: cannot load")

    path = tmp_path / "cut.tflite"
    path.write_bytes(b"no network")
    with pytest.raises(UnsupportedLayer, match=r"^null: .*cut.tflite: ended with signal") as told:
        measure_round_robin(Refusing.from_options({}), [path], rounds=1, quiet=True)
    assert "\n" not in str(told.value)
