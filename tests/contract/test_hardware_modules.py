"""Every registered hardware module keeps the same contract; a new module is covered unasked."""

import json
import os
from pathlib import Path

import pytest
import stand_ins

from benchmark.config import load_platform
from benchmark.matcher import match
from hardware_modules.openvino_cpu import OpenvinoCpuModule
from hardware_modules.registry import MODULES, create
from hardware_modules.replay import record
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer
from strata.execution import PLACEMENTS

REPEATS, WARMUP = 4, 2
# need a vendor's toolchain and a board; how to get the toolchain
REAL = {"dpu": "see https://", "edge_tpu": "see https://", "ncs2": "`make ncs2-toolchain`"}
# modules behind several machines: every platform file that names the module stands for one
FILES = Path(__file__).parents[2] / "config" / "platforms"
CONFIGURATIONS = {path.stem: load_platform(path) for path in FILES.glob("ethos_u*.yaml")}
# what the DPU's compiler leaves of simple_graph: layers 1 first, 4 pool, 5 second, 6 add, 8 dense
DPU_NODES = ["layer1", "layer4", "layer5", "layer6", "layer8"]


def simple_graph():
    builder = GraphBuilder("simple")
    source = builder.input(1, 16, 28, 28, name="in")
    first = builder.convolution(source, 32, 3, activation="relu", normalise=True, name="first")
    pooled = builder.pooling(first, "max", 2, name="pool")
    second = builder.convolution(pooled, 32, 1, name="second")
    added = builder.add(op.Elementwise("add"), second, pooled, name="add")
    flat = builder.add(op.Flatten(), added, name="flat")
    builder.dense(flat, 10, name="dense")
    return builder.build()


def opaque_graph():
    builder = GraphBuilder("unknown")
    source = builder.input(1, 4, 8, 8, name="in")
    builder.add(op.Opaque("Mystery", (1, 4)), source, name="mystery")
    return builder.build()


@pytest.fixture(params=sorted({*MODULES, *CONFIGURATIONS}))
def module(request, tmp_path, monkeypatch):
    """Each module, with options that suit a test; affinity is put back.

    Vendors' toolchains and boards are stood in for, so that their modules go through every step.
    """
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if request.param == "replay":
        graph = simple_graph()
        source = OpenvinoCpuModule.from_options({"pin": False})
        report = source.profile(source.compile(graph), REPEATS, WARMUP)
        record(tmp_path, source, graph, report, {"pin": False})
        yield create("replay", {"folder": str(tmp_path)})
    elif request.param == "edge_tpu":
        stand_ins.edge_tpu(tmp_path, monkeypatch)
        yield create("edge_tpu", {})
    elif request.param == "dpu":
        stand_ins.dpu(tmp_path, monkeypatch, DPU_NODES)
        yield create("dpu", {"host": "board"})
    elif request.param in ("ncs2", "ncs2_simulated"):
        stand_ins.ncs2(tmp_path, monkeypatch)
        module = create(request.param, {})
        yield module
        module.toolchain.close()
    elif request.param == "black_box":
        yield create("black_box", {"module": "null"})
    elif request.param in CONFIGURATIONS:
        described = CONFIGURATIONS[request.param]
        module = create(described.module, described.options)
        yield module
        module.vela.close()
    else:
        yield create(request.param, {})
    if before:
        os.sched_setaffinity(0, before)


@pytest.fixture
def measured(module):
    graph = simple_graph()
    report = module.profile(module.compile(graph), REPEATS, WARMUP)
    return graph, report, module.parse(report, graph)


def test_name_is_the_registry_key(module, request):
    name = request.node.callspec.params["module"]
    assert module.name == (CONFIGURATIONS[name].module if name in CONFIGURATIONS else name)


def test_supports_a_simple_graph_and_says_why_not_an_opaque_one(module):
    assert module.supports(simple_graph()) is None
    reason = module.supports(opaque_graph())
    assert reason
    assert "\n" not in reason
    assert "mystery" in reason


def test_compiling_an_unsupported_graph_names_module_graph_and_layer(module):
    with pytest.raises(UnsupportedLayer, match=rf"{module.name}.*unknown.*mystery"):
        module.compile(opaque_graph())


def test_report_survives_json_and_parses_the_same_again(module, measured):
    graph, report, profile = measured
    assert module.parse(json.loads(json.dumps(report)), graph) == profile


def test_nodes_refer_to_layers_and_nodes_that_exist(measured):
    graph, _, profile = measured
    names = {node.name for node in profile.nodes} | {f"input:{name}" for name in graph.inputs}
    assert profile.nodes
    for node in profile.nodes:
        assert set(node.layers) <= {layer.name for layer in graph.layers}
        assert set(node.producers) <= names
        assert node.producers


def test_every_layer_that_computes_is_held_by_exactly_one_node(measured):
    # a profiler may name the main layer of a node only; the matcher then finds the others
    graph, _, profile = measured
    held = [layer for node in profile.nodes for layer in node.layers]
    assert len(set(held)) == len(held)
    assert "in" not in held
    matched = [
        each.name for layer in match(graph, profile).layers for each in layer.executed.layers
    ]
    for name in ("first", "first/normalise", "first/relu", "pool", "second", "add", "dense"):
        assert matched.count(name) == 1, name


def test_times_are_positive_and_samples_are_as_many_as_timed_runs(measured):
    _, _, profile = measured
    # differences of nested graphs may vanish: then the profile says whose
    vanished = profile.toolchain.get("clipped", "").split(", ")
    assert all(node.time_s > 0 for node in profile.nodes if node.name not in vanished)
    assert len(profile.samples_s) == REPEATS
    assert all(sample > 0 for sample in profile.samples_s)
    assert profile.time_s > 0
    assert profile.refusal is None


def test_host_and_toolchain_are_told(measured):
    _, _, profile = measured
    assert profile.host["fingerprint"]
    assert profile.toolchain["name"]
    assert all(isinstance(value, str) for value in (profile.host | profile.toolchain).values())


def test_no_run_is_refused(module):
    compiled = module.compile(simple_graph())
    with pytest.raises(SchemaError, match="repeats is 0"):
        module.profile(compiled, 0, 0)


def test_an_unknown_option_lists_the_legal_ones(module):
    with pytest.raises(SchemaError, match=r"unknown option 'colour'; legal: "):
        create(module.name, {"colour": 1})


def test_an_unknown_module_lists_the_legal_ones():
    with pytest.raises(SchemaError, match="unknown hardware module 'abacus'; legal: black_box"):
        create("abacus", {})


def test_bits_and_placements_are_legal(measured):
    _, _, profile = measured
    assert profile.bits in (8, 16, 32)
    assert all(node.placement in ("", *PLACEMENTS) for node in profile.nodes)


def test_whether_it_is_simulated_is_said(module):
    assert module.simulated in (True, False)
    if module.name.endswith("_simulated"):
        assert module.simulated


@pytest.mark.parametrize("name", REAL)
def test_without_toolchain_a_real_module_says_what_is_missing_in_one_line(
    name, tmp_path, monkeypatch
):
    stand_ins.no_programs(tmp_path, monkeypatch)
    reason = create(name, {}).supports(simple_graph())
    assert reason
    assert "\n" not in reason
    assert "not installed" in reason
    assert REAL[name] in reason
    with pytest.raises(UnsupportedLayer, match=f"{name}: graph 'simple': "):
        create(name, {}).compile(simple_graph())
