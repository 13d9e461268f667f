"""The simulated DPU and Edge TPU as modules: mapping, the vendor's text, fallbacks, damage."""

import pytest

from hardware_modules.simulated_dpu import dpu_simulated
from hardware_modules.simulated_edge_tpu import edge_tpu_simulated
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError, SchemaError, StrataError
from strata.graph import Graph

MODULES = {"dpu_simulated": dpu_simulated, "edge_tpu_simulated": edge_tpu_simulated}
TABLE = {"dpu_simulated": "profile.txt", "edge_tpu_simulated": "benchmark_model.log"}
# The line after which a cut loses nothing
END = {"dpu_simulated": "  All  ", "edge_tpu_simulated": "Number of nodes executed"}


@pytest.fixture(params=sorted(MODULES))
def module(request):
    return MODULES[request.param]({})


def network(softmax: bool = True) -> Graph:
    builder = GraphBuilder("net")
    source = builder.input(1, 3, 32, 32, name="in")
    first = builder.convolution(
        source, 32, 3, stride=2, activation="relu", normalise=True, name="stem/first conv"
    )
    depthwise = builder.depthwise(first, 3, activation="relu6", name="depthwise")
    added = builder.add(op.Elementwise("add"), first, depthwise, name="add")
    pooled = builder.pooling(added, "max", 2, name="pool")
    flat = builder.add(op.Flatten(), pooled, name="flat")
    dense = builder.dense(flat, 10, name="dense")
    if softmax:
        builder.add(op.Softmax(), dense, name="softmax")
    return builder.build()


def measured(module, graph=None):
    graph = graph or network()
    report = module.profile(module.compile(graph), 2, 1)
    return report, module.parse(report, graph)


def test_every_computing_layer_is_in_one_node_and_views_in_none(module):
    _, profile = measured(module)
    held = [layer for node in profile.nodes for layer in node.layers]
    computing = {layer.name for layer in network().layers} - {"in", "flat"}
    assert sorted(held) == sorted(computing)


def test_nodes_read_nodes_or_inputs(module):
    _, profile = measured(module)
    names = {node.name for node in profile.nodes} | {"input:in"}
    for node in profile.nodes:
        assert node.producers
        assert set(node.producers) <= names


def test_times_are_those_of_the_text_to_the_nanosecond(module):
    _, profile = measured(module)
    compiled = module.compile(network())
    steps = module.platform.simulate(compiled.executable, module.machine)
    assert [node.name for node in profile.nodes] == [step.name for step in steps]
    for node, step in zip(profile.nodes, steps, strict=True):
        assert node.time_s == pytest.approx(step.time_s, abs=0.51e-9)
    whole_s = module.platform.network_s(
        [step.time_s for step in steps], compiled.executable, module.machine
    )
    assert profile.samples_s == (whole_s, whole_s)


def test_a_report_without_its_last_lines_is_never_a_shorter_table(module):
    report, profile = measured(module)
    name = TABLE[module.name]
    lines = report["texts"][name].splitlines()
    whole = max(i for i, line in enumerate(lines) if END[module.name] in line) + 1
    for kept in range(whole):
        cut = report | {"texts": report["texts"] | {name: "\n".join(lines[:kept])}}
        with pytest.raises(StrataError):
            module.parse(cut, network())
    rest = report | {"texts": report["texts"] | {name: "\n".join(lines[:whole])}}
    assert module.parse(rest, network()) == profile


def test_a_text_of_another_network_is_refused(module):
    report, _ = measured(module)
    other, _ = measured(module, network(softmax=False))
    with pytest.raises(MatchError):
        module.parse(report | {"texts": other["texts"]}, network())


def test_softmax_on_the_dpus_host_is_told_with_its_reason():
    report, profile = measured(dpu_simulated({}))
    by_name = {node.name: node for node in profile.nodes}
    assert by_name["softmax"].kind == "host:softmax"
    assert by_name["softmax"].time_s > 0
    (record,) = [node for node in report["mapping"] if node["host_reason"]]
    assert record["name"] == "softmax"
    assert profile.toolchain["on_host"] == f"softmax: {record['host_reason']}"
    assert 'CPU Kernel "net_cpu"' in report["texts"]["profile.txt"]


def test_an_operation_the_edge_tpu_lacks_is_told_with_its_reason():
    builder = GraphBuilder("net")
    source = builder.input(1, 8, 16, 16, name="in")
    first = builder.convolution(source, 16, 3, name="first")
    lifted = builder.add(op.Resize("cubic", (32, 32)), first, name="lift")
    builder.pooling(lifted, "max", 2, name="pool")
    report, profile = measured(edge_tpu_simulated({}), builder.build())
    reasons = {node["name"]: node["host_reason"] for node in report["mapping"]}
    assert reasons["first"] is None
    assert reasons["lift"]
    assert f"lift: {reasons['lift']}" in profile.toolchain["on_host"]
    kinds = {node.name: node.kind for node in profile.nodes}
    assert kinds["lift"] == "host:resize"
    assert reasons["lift"] in report["texts"]["edgetpu_compiler.log"]


def test_another_hardware_description_is_another_machine(module):
    names = {"dpu_simulated": "dpu_b2304_ultra96", "edge_tpu_simulated": "coral_pcie"}
    other = MODULES[module.name]({"hardware": names[module.name]})
    (_, profile), (_, changed) = measured(module), measured(other)
    assert changed.toolchain["hardware"] == names[module.name]
    assert changed.time_s != profile.time_s
    with pytest.raises(SchemaError, match="no hardware description 'abacus'; legal: "):
        MODULES[module.name]({"hardware": "abacus"})


def test_the_clock_of_the_option_is_the_machines(module):
    clock_hz = 2 * module.machine.clock_hz
    faster = MODULES[module.name]({"clock_hz": clock_hz})
    assert faster.machine.clock_hz == clock_hz
    builder = GraphBuilder("heavy")
    source = builder.input(1, 256, 28, 28, name="in")
    builder.convolution(source, 256, 3, name="conv")
    graph = builder.build()
    (_, profile), (_, changed) = measured(module, graph), measured(faster, graph)
    assert changed.nodes[0].time_s < 0.7 * profile.nodes[0].time_s
