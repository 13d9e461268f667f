"""The traps of the real toolchain, each shown on the machine that runs the tests."""

import os
from itertools import pairwise

import openvino
import pytest

from hardware_modules import openvino_cpu
from hardware_modules.openvino_builder import build_model
from hardware_modules.openvino_cpu import OpenvinoCompiled, OpenvinoCpuModule, compile_model, pin
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer

MODULE = OpenvinoCpuModule.from_options({"pin": False})


def measure(builder, outputs=None):
    graph = builder.build(outputs)
    return MODULE.parse(MODULE.profile(MODULE.compile(graph), 3, 1), graph)


def node_of(profile, layer):
    (node,) = [node for node in profile.nodes if layer in node.layers]
    return node


def started(name="net"):
    """A builder, and a 28 x 28 convolution to start from."""
    builder = GraphBuilder(name)
    source = builder.input(1, 32, 28, 28, name="in")
    return builder, builder.convolution(source, 32, 3, activation="relu", name="start")


def test_precision_everything_executes_in_f32():
    builder, source = started()
    pooled = builder.add(op.GlobalPooling("average", False), source, name="pool")
    builder.dense(pooled, 300, "relu", name="dense")
    compiled = MODULE.compile(builder.build())
    report = MODULE.profile(compiled, 1, 0)
    assert compiled.toolchain["precision"] == "f32"
    assert all(node["primitive"].endswith("f32") for node in report["nodes"])


def test_counters_are_means_since_compilation_not_of_the_last_run():
    builder, _ = started()
    report = MODULE.profile(MODULE.compile(builder.build()), 6, 0)
    (counters,) = [
        series
        for node, series in zip(report["nodes"], report["counters_us"], strict=True)
        if node["name"] == "start"
    ]
    # a mean over k runs moves by at most (longest run) / k from run to run
    longest_us = max(run["wall_ns"] for run in report["runs"]) / 1000
    for k, (before, after) in enumerate(pairwise(counters), start=2):
        assert abs(after - before) <= longest_us / k + 1


def test_profiling_again_continues_the_history():
    builder, _ = started()
    compiled = MODULE.compile(builder.build())
    MODULE.profile(compiled, 2, 1)
    report = MODULE.profile(compiled, 1, 1)
    assert [run["warmup"] for run in report["runs"]] == [True, False, False, True, False]
    assert {len(series) for series in report["counters_us"]} == {5}


class _Request:
    """Runs as long as it is told, milliseconds; only its first call finds cold caches."""

    profiling_info = ()

    def __init__(self, *times_ms):
        self.times_ms, self.count = times_ms, 0

    def infer(self, **_):
        self.latency = self.times_ms[min(self.count, len(self.times_ms) - 1)]
        self.count += 1


def test_a_sample_is_sized_by_the_fastest_run_so_far():
    # 0.5 ms are five runs of 0.1 ms, also where the warm-up before them took five times as long
    request = _Request(0.5, 0.1, *[0.1] * 5, 0.5, 0.1)
    compiled = OpenvinoCompiled("g", None, request, (), {})
    module = OpenvinoCpuModule.from_options({})
    module.profile(compiled, 1, 2)
    report = module.profile(compiled, 1, 1)
    inferences = [run["inferences"] for run in report["runs"]]
    assert inferences == [1, 1, 5, 1, 5]


def test_names_convolution_normalisation_and_activation_are_one_node():
    builder, source = started()
    for bias in (True, False):
        source = builder.convolution(
            source, 32, 3, bias=bias, normalise=True, activation="swish", name=f"bias_{bias}"
        )
    profile = measure(builder)
    for bias in ("True", "False"):
        node = node_of(profile, f"bias_{bias}")
        assert node.kind == "Convolution"
        assert node.layers == (
            f"bias_{bias}",
            f"bias_{bias}/normalise",
            f"bias_{bias}/swish",
        )


def test_names_inserted_reorders_hold_no_layer():
    builder, _ = started()
    reorders = [node for node in measure(builder).nodes if node.kind == "Reorder"]
    assert reorders
    assert all(node.layers == () for node in reorders)


def test_names_dense_layers_and_both_directions_of_an_lstm_keep_theirs():
    builder = GraphBuilder("sequence")
    source = builder.input(1, 12, 300, name="in")
    source = builder.add(op.Lstm(64, 2, False), source, name="lstm")
    builder.dense(source, 300, "relu", name="dense")
    profile = measure(builder)
    assert [n.kind for n in profile.nodes if n.layers == ("lstm",)] == ["RNNSeq", "RNNSeq"]
    assert node_of(profile, "dense").layers == ("dense", "dense/relu")


def test_small_dense_chains_are_one_node_with_all_layers():
    builder = GraphBuilder("chain")
    source = builder.input(1, 128, name="in")
    for index in range(2):
        source = builder.dense(source, 64, "relu", name=f"dense_{index}")
    (node,) = measure(builder).nodes
    assert node.kind == "Subgraph"
    assert node.layers == ("dense_0", "dense_0/relu", "dense_1", "dense_1/relu")


def residual(builder, source, name, own_input=False):
    """Bottleneck whose skip is the block's input (or the last convolution's own input)."""
    inner = source
    if not own_input:
        inner = builder.convolution(source, 32, 1, activation="relu", name=f"{name}_a")
    last = builder.convolution(inner, 32, 3, name=f"{name}_b")
    added = builder.add(op.Elementwise("add"), last, source, name=f"{name}_add")
    return builder.add(op.Activation("relu"), added, name=f"{name}_relu")


@pytest.mark.parametrize(("own_input", "fused"), [(False, True), (True, False)])
def test_an_addition_fuses_unless_the_skip_is_the_convolutions_own_input(own_input, fused):
    builder, source = started()
    residual(builder, source, "block", own_input)
    node = node_of(measure(builder), "block_add")
    expected = ("block_b", "block_add", "block_relu") if fused else ("block_add", "block_relu")
    assert node.layers == expected
    assert "start" in node.producers


def test_strides_of_1x1_convolutions_move_into_a_residual_block():
    builder, source = started()
    top = residual(builder, source, "block")
    first = builder.convolution(top, 16, 1, 2, padding=0, name="first")
    second = builder.convolution(top, 16, 1, 2, padding=0, name="second")
    profile = measure(builder, (first, second))
    assert builder.shape("block_b") == (1, 32, 28, 28)
    assert node_of(profile, "block_b").output_shape == (1, 32, 14, 14)
    assert node_of(profile, "block_a").output_shape == (1, 32, 28, 28)
    (inserted,) = [n for n in profile.nodes if n.kind == "Pooling"]
    assert (inserted.layers, inserted.producers) == ((), ("start",))
    assert inserted.output_shape == (1, 32, 14, 14)
    assert inserted.name in node_of(profile, "block_b").producers


@pytest.mark.parametrize(
    ("activation", "moves"), [("relu", True), ("hard_swish", True), ("swish", False)]
)
def test_strides_pass_elementwise_operations_but_not_swish(activation, moves):
    builder, source = started()
    middle = builder.convolution(source, 32, 3, activation=activation, name="middle")
    builder.convolution(middle, 16, 1, 2, padding=0, name="last")
    height = node_of(measure(builder), "middle").output_shape[2]
    assert height == (14 if moves else 28)


def test_strides_stay_where_readers_disagree():
    builder, source = started()
    middle = builder.convolution(source, 32, 3, activation="relu", name="middle")
    readers = (
        builder.convolution(middle, 16, 1, 2, padding=0, name="strided"),
        builder.convolution(middle, 16, 1, 1, name="dense"),
    )
    assert node_of(measure(builder, readers), "middle").output_shape[2] == 28


def test_a_network_file_is_measured_without_our_builder(tmp_path):
    builder, source = started()
    pooled = builder.add(op.GlobalPooling("average", False), source, name="pool")
    builder.dense(pooled, 300, "relu", name="dense")
    graph = builder.build()
    openvino.save_model(build_model(graph), tmp_path / "net.xml", compress_to_fp16=False)
    compiled = compile_model(openvino.Core().read_model(tmp_path / "net.xml"), {"pin": False})
    profile = MODULE.parse(MODULE.profile(compiled, 2, 1), graph)
    assert node_of(profile, "start").layers == ("start", "start/relu")
    assert node_of(profile, "dense").layers == ("dense", "dense/relu")


def test_a_dynamic_shape_is_refused_with_its_input():
    import openvino.opset13 as ops

    source = ops.parameter([-1, 4], name="tokens")
    model = openvino.Model([ops.result(ops.relu(source))], [source], "dynamic")
    with pytest.raises(UnsupportedLayer, match=r"'tokens' of 'dynamic' has the dynamic shape"):
        compile_model(model, {"pin": False})


def test_a_refusal_of_the_toolchain_is_one_line(monkeypatch):
    class Broken:
        def compile_model(self, *_):
            raise RuntimeError("Check failed\n  at line 3\n")

    monkeypatch.setattr(openvino_cpu, "_core", Broken)
    builder, _ = started()
    with pytest.raises(UnsupportedLayer, match=r"'net' does not compile: Check failed at line 3$"):
        MODULE.compile(builder.build())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_pinning_takes_the_last_core_by_default_and_refuses_one_that_is_not_there():
    before = os.sched_getaffinity(0)
    try:
        assert pin(None) == str(os.cpu_count() - 1)
        assert os.sched_getaffinity(0) == {os.cpu_count() - 1}
        assert pin(0) == "0"
        with pytest.raises(UnsupportedLayer, match="cannot bind to core 4000"):
            pin(4000)
    finally:
        os.sched_setaffinity(0, before)


def test_options_are_checked():
    with pytest.raises(SchemaError, match="'core' is 'last'; legal: int or null"):
        OpenvinoCpuModule.from_options({"core": "last"})
    with pytest.raises(SchemaError, match="'threads' is True; legal: int"):
        OpenvinoCpuModule.from_options({"threads": True})


def test_names_that_only_the_comma_tells_apart_are_refused():
    builder = GraphBuilder("names")
    source = builder.input(1, 4, name="a,b")
    builder.dense(source, 3, name="a;b")
    assert "',' against ';'" in MODULE.supports(builder.build())
