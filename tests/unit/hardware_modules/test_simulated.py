"""The generic simulated module, on a machine of one number and a text of one line per node."""

import json
from dataclasses import replace

import pytest
from pydantic import PositiveFloat

from hardware_modules.simulated import Platform, SimulatedModule
from simulators.executable import Executable, ExecutableLayer
from simulators.grouping import group_layers
from simulators.hardware import Hardware
from simulators.performance import LayerSteps
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError, SchemaError, UnsupportedLayer
from strata.graph import Graph

OVERHEAD_S = 5e-4


class Clock(Hardware):
    clock_hz: PositiveFloat


def load(name):
    return Clock(schema_version=1, name=name, clock_hz=1e9)


def unsupported(graph, machine):
    for layer in graph.layers:
        if isinstance(layer.parameters, op.Lstm):
            return f"layer '{layer.name}' is an LSTM"
    return None


def compile_graph(graph, machine):
    joins = group_layers(
        graph,
        lambda candidate: (
            isinstance(candidate.layer.parameters, op.Activation) and candidate.only_consumer
        ),
    )
    layers = tuple(
        ExecutableLayer(
            engine="array",
            executed=group.executed,
            producers=group.producers,
            host_reason="softmax runs in floating point"
            if group.executed.operation == "softmax"
            else None,
        )
        for group in joins
    )
    return Executable(graph.name, layers, ("nothing was split",))


def simulate(executable, machine):
    """One operation per cycle, and a microsecond."""
    return [
        LayerSteps(layer.name, 1e-6 + layer.executed.work.ops / machine.clock_hz, 1, {})
        for layer in executable.layers
    ]


def network_s(times_s, executable, machine):
    return sum(times_s) + OVERHEAD_S


def write_report(executable, machine, timings):
    lines = [
        f"{layer.name.replace(' ', '_')} {time_s * 1e3:.{timings.decimals}f} ms"
        for layer, time_s in zip(executable.layers, timings.nodes_s, strict=True)
    ]
    return {"times.txt": "\n".join(lines)}


def read_report(texts):
    rows = [line.split() for line in texts["times.txt"].splitlines()]
    return [(name, float(time) / 1e3) for name, time, _ in rows]


PLATFORM = Platform(
    name="fake_simulated",
    default_hardware="plain",
    load=load,
    unsupported=unsupported,
    compile_graph=compile_graph,
    analyse=lambda executable, machine: [],
    simulate=simulate,
    network_s=network_s,
    write_report=write_report,
    read_report=read_report,
)


def module(**options):
    return SimulatedModule.from_options(PLATFORM, options)


def network() -> Graph:
    builder = GraphBuilder("net")
    source = builder.input(1, 8, 16, 16, name="in")
    first = builder.convolution(source, 16, 3, activation="relu", name="first one")
    pooled = builder.pooling(first, "max", 2, name="pool")
    flat = builder.add(op.Flatten(), pooled, name="flat")
    dense = builder.dense(flat, 10, name="dense")
    builder.add(op.Softmax(), dense, name="softmax")
    return builder.build()


def measured(repeats=3, warmup=1, **options):
    made = module(**options)
    graph = network()
    report = made.profile(made.compile(graph), repeats, warmup)
    return report, made.parse(report, graph)


def test_nodes_are_the_toolchains_with_what_they_absorbed_and_read():
    _, profile = measured()
    assert [(node.name, node.kind, node.layers, node.producers) for node in profile.nodes] == [
        ("first one", "array:convolution", ("first one", "first one/relu"), ("input:in",)),
        ("pool", "array:max_pooling", ("pool",), ("first one",)),
        ("dense", "array:dense", ("dense",), ("pool",)),
        ("softmax", "host:softmax", ("softmax",), ("dense",)),
    ]
    assert profile.nodes[0].output_shape == (1, 16, 16, 16)


def test_times_come_from_the_text_alone():
    report, profile = measured()
    # 2 x 16 x 16 x 16 x 72 operations and one per element of the activation, and a microsecond
    assert profile.nodes[0].time_s == pytest.approx((589_824 + 4096) / 1e9 + 1e-6, abs=1e-9)
    text = report["texts"]["times.txt"]
    first = text.splitlines()[0]
    report["texts"]["times.txt"] = text.replace(first, "first_one 9.0 ms")
    assert module().parse(report, network()).nodes[0].time_s == 9e-3


def test_decimals_of_the_text_bound_the_times():
    _, profile = measured(decimals=3)
    assert [node.time_s for node in profile.nodes] == pytest.approx(
        [595e-6, 5e-6, 21e-6, 1e-6], abs=1.1e-6
    )
    assert all(
        node.time_s * 1e6 == pytest.approx(round(node.time_s * 1e6)) for node in profile.nodes
    )


def test_whole_runs_hold_what_nodes_do_not():
    _, profile = measured()
    nodes_s = sum(node.time_s for node in profile.nodes)
    assert profile.samples_s == (profile.time_s,) * 3
    assert profile.time_s == pytest.approx(nodes_s + OVERHEAD_S, abs=4e-9)


def test_the_toolchain_is_told_and_the_report_names_every_fallback():
    report, profile = measured(hardware="other")
    assert profile.platform == "fake_simulated"
    assert profile.bits == 8
    assert profile.toolchain["hardware"] == "other"
    assert profile.toolchain["simulated"] == "yes"
    assert profile.toolchain["on_host"] == "softmax: softmax runs in floating point"
    reasons = {node["name"]: node["host_reason"] for node in report["mapping"]}
    assert reasons.pop("softmax") == "softmax runs in floating point"
    assert set(reasons.values()) == {None}
    assert report["notes"] == ["nothing was split"]


def test_the_report_survives_json_and_a_second_call_continues_the_history():
    made, graph = module(noise=0.1), network()
    compiled = made.compile(graph)
    first = made.parse(made.profile(compiled, 2, 1), graph)
    report = made.profile(compiled, 3, 1)
    both = made.parse(json.loads(json.dumps(report)), graph)
    assert both == made.parse(report, graph)
    assert both.samples_s[:2] == first.samples_s
    assert len(both.samples_s) == 5
    history = [True, False, False, True, False, False, False]
    assert [run["warmup"] for run in report["runs"]] == history


def test_noise_is_off_unless_asked_for_and_repeats_with_its_seed():
    _, plain = measured()
    _, again = measured()
    assert replace(plain, host={}) == replace(again, host={})
    _, noisy = measured(noise=0.05, seed=1)
    _, same = measured(noise=0.05, seed=1)
    _, other = measured(noise=0.05, seed=2)
    assert noisy == same
    assert noisy.samples_s != other.samples_s
    assert len(set(noisy.samples_s)) == 3
    assert noisy.time_s == pytest.approx(plain.time_s, rel=0.3)
    assert noisy.nodes[0].time_s != plain.nodes[0].time_s


def test_the_clock_can_be_changed():
    _, plain = measured()
    _, fast = measured(clock_hz=2e9)
    assert fast.nodes[0].time_s - 1e-6 == pytest.approx(
        (plain.nodes[0].time_s - 1e-6) / 2, abs=1e-9
    )
    assert fast.toolchain["hardware_digest"] != plain.toolchain["hardware_digest"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -0.1}, "fake_simulated: option 'noise' is -0.1; legal: 0.0 to 1.0"),
        ({"decimals": 2}, "option 'decimals' is 2; legal: 3 to 12"),
        ({"noise": float("nan")}, "option 'noise' is nan; legal: 0.0 to 1.0"),
        ({"hardware": 3}, "option 'hardware' is 3; legal: str"),
        (
            {"colour": 1},
            "unknown option 'colour'; legal: clock_hz, decimals, hardware, noise, seed",
        ),
    ],
)
def test_bad_options_say_what_is_legal(options, message):
    with pytest.raises(SchemaError, match=message):
        module(**options)


def test_an_opaque_layer_is_named_before_anything_else():
    builder = GraphBuilder("odd")
    source = builder.input(1, 4, 8, name="in")
    builder.add(op.Lstm(4), source, name="lstm")
    assert module().supports(builder.build()) == "layer 'lstm' is an LSTM"
    builder.add(op.Opaque("Mystery", (1, 4)), source, name="mystery")
    graph = builder.build()
    assert module().supports(graph) == "layer 'mystery' is opaque: its work is unknown"
    with pytest.raises(UnsupportedLayer, match=r"fake_simulated: graph 'odd': layer 'mystery'"):
        module().compile(graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.split("\n", 1)[1], "the report has no time of node 'first one'"),
        (lambda text: text + "\nextra 1.0 ms", "the report times 'extra', which is no node"),
    ],
)
def test_a_text_that_disagrees_with_the_mapping_is_refused(change, message):
    report, _ = measured()
    report["texts"]["times.txt"] = change(report["texts"]["times.txt"])
    with pytest.raises(MatchError, match=message):
        module().parse(report, network())


def test_names_that_the_report_prints_alike_are_refused():
    builder = GraphBuilder("net")
    source = builder.input(1, 8, 16, 16, name="in")
    first = builder.convolution(source, 64, 3, name="a b")
    builder.pooling(first, "max", 2, name="a_b")
    reason = module().supports(builder.build())
    assert reason == "the report would print two layers as 'a_b'; legal: names that differ"


def test_a_graph_without_work_is_refused():
    builder = GraphBuilder("nothing")
    builder.add(op.Flatten(), builder.input(1, 8, 4, 4, name="in"), name="flat")
    assert "'flat' and all others only name their input" in str(module().supports(builder.build()))
