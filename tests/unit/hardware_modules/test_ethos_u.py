"""Arm's compiler on whole graphs: what nodes hold, what they add up to, and what is refused."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from benchmark.config import load_platform
from benchmark.matcher import match
from hardware_modules import ethos_u_worker
from hardware_modules.ethos_u_compiler import missing
from hardware_modules.registry import create
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer
from strata.profile import MEMORIES

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
PLATFORMS = Path(__file__).parents[3] / "config" / "platforms"
NAMES = sorted(path.stem for path in PLATFORMS.glob("ethos_u*.yaml"))
# Vela's memories as `strata.profile` names them
SAME = {"Sram": "sram", "Dram": "dram", "OffChipFlash": "flash", "OnChipFlash": "flash"}


@pytest.fixture(scope="module", params=NAMES)
def module(request):
    found = create("ethos_u", load_platform(PLATFORMS / f"{request.param}.yaml").options)
    yield found
    found.vela.close()


@pytest.fixture(scope="module")
def u55():
    found = create("ethos_u", load_platform(PLATFORMS / "ethos_u55_256.yaml").options)
    yield found
    found.vela.close()


def profiled(module, graph):
    return module.parse(module.profile(module.compile(graph), 2, 0), graph)


def one(parameters, shape=(1, 16, 14, 14)):
    builder = GraphBuilder("one")
    builder.add(parameters, builder.input(*shape, name="in"), name="layer")
    return builder.build()


def network(batch=1):
    """A branch, its concat, a softmax over the channels, and the end of a classifier."""
    builder = GraphBuilder("network")
    source = builder.input(batch, 16, 28, 28, name="in")
    first = builder.convolution(source, 32, 3, activation="relu", name="first")
    second = builder.convolution(source, 32, 1, name="second")
    both = builder.add(op.Concat(1), first, second, name="both")
    soft = builder.add(op.Softmax(1), both, name="soft")
    pooled = builder.pooling(soft, "max", 2, name="pool")
    builder.dense(builder.add(op.Flatten(), pooled, name="flat"), 10, name="dense")
    return builder.build()


def test_the_configurations_are_those_that_vela_describes(module):
    configuration = module.vela.configuration
    profile = profiled(module, one(op.Activation("tanh")))
    assert profile.toolchain["accelerator"] == configuration.accelerator
    assert profile.toolchain["version"] == module.vela.version
    assert "estimates, not measurements" in profile.toolchain["times"]
    assert profile.bits == 8


def test_the_configurations_are_there():
    assert NAMES == [
        "ethos_u55_128",
        "ethos_u55_256",
        "ethos_u65_512",
        "ethos_u65_512_embedded",
        "ethos_u85_256",
    ]


def test_times_add_up_to_velas_total_and_each_run_is_alike(module):
    profile = profiled(module, network())
    assert profile.untimed is None
    assert sum(node.time_s for node in profile.nodes) == pytest.approx(profile.time_s, rel=1e-12)
    assert profile.samples_s == (profile.time_s, profile.time_s)
    assert all(node.time_s > 0 for node in profile.nodes)


def test_every_layer_is_matched_and_nothing_is_left_over(module):
    graph = network()
    found = match(graph, profiled(module, graph))
    held = {layer.name for each in found.layers for layer in each.executed.layers}
    assert held == {layer.name for layer in graph.layers} - {"in"}
    assert found.unmatched_s == pytest.approx(0.0, abs=1e-15)
    assert found.odd_shapes == 0
    roots = {each.executed.name: each for each in found.layers}
    assert {layer.name for layer in roots["first"].executed.layers} == {"first", "first/relu"}
    assert "both" not in roots
    assert "soft" in roots


def velas_totals(options, content, folder):
    """Bytes read and written per memory, from Vela's own report of the whole network."""
    from ethosu import regor

    path = folder / "model.tflite"
    path.write_bytes(content)
    architecture, system = ethos_u_worker._system({**options, "arena_bytes": 0, "disabled": ""})
    parts = options["accelerator"].split("-")[:-1]
    compiled = regor.compile(
        "".join(part.capitalize() for part in parts),
        content,
        "TFLITE",
        system,
        options=ethos_u_worker._options(architecture, ""),
        verbose=True,
    )
    totals = defaultdict(float)
    for name, memory in compiled.perf_report.memories.items():
        for each in memory.accesses.values():
            if name in SAME:
                totals[SAME[name]] += each.bytesRead + each.bytesWritten
    return totals


def test_traffic_per_memory_adds_up_to_velas_totals(module, tmp_path):
    graph = network()
    totals = velas_totals(module.options, write_int8(graph).content, tmp_path)
    found = defaultdict(float)
    for node in profiled(module, graph).nodes:
        assert set(node.traffic_bytes) <= set(MEMORIES)
        for memory, moved in node.traffic_bytes.items():
            found[memory] += moved
    assert len(found) == 2
    assert found == totals


def test_a_batch_of_several_is_one_node_per_layer(u55):
    graph = network(batch=3)
    profile = profiled(u55, graph)
    assert sum(node.time_s for node in profile.nodes) == pytest.approx(profile.time_s, rel=1e-12)
    single = {node.layers: node.time_s for node in profiled(u55, network()).nodes}
    many = {node.layers: node.time_s for node in profile.nodes}
    assert sorted(sum(many, ())) == sorted(sum(single, ()))
    assert many["first", "first/relu"] > 2 * single["first", "first/relu"]


def test_a_softmax_over_many_rows_is_one_node(u55):
    (node,) = profiled(u55, one(op.Softmax(2), (1, 40, 64))).nodes
    assert node.layers == ("layer",)
    assert "LUT" in node.kind
    profile = profiled(u55, one(op.Softmax(3)))  # is turned, taken, and turned back
    assert {node.layers for node in profile.nodes} == {("layer",)}


# By experiment with Vela 5.2.0: what stays on the CPU, where, and Vela's reason
LEFT = [
    (op.Resize("linear", (15, 15)), (1, 16, 14, 14), "u55 u65 u85", "scale-factor"),
    (op.Resize("linear", (56, 56)), (1, 16, 14, 14), "u55 u65", "unsupported scale-factor=4"),
    (op.Resize("nearest", (7, 7)), (1, 16, 14, 14), "u55 u65", "unsupported scale-factor=0.5"),
    (
        op.Convolution(8, (7, 7), (4, 4), (1, 1), (1, 1, 2, 2), 1, True),
        (1, 4, 28, 28),
        "u55 u65",
        "Unsupported kernel stride: 4, 4",
    ),
    (
        op.TransposedConvolution(8, (4, 4), (4, 4), (1, 1), (0, 0, 0, 0), (0, 0), 1, True),
        (1, 16, 14, 14),
        "u55 u65",
        "stride out of range",
    ),
    (op.Pooling("max", (257, 257), (1, 1), (0, 0, 0, 0)), (1, 4, 257, 257), "u55 u65 u85", "257"),
    (op.GlobalPooling("average", True), (2, 16, 7, 7), "u55 u65 u85", "Batch > 1"),
    (op.Slice((0, 0), (1, 64), (1, 3)), (1, 64), "u55 u65 u85", "unsupported stride axis"),
]


@pytest.mark.parametrize(("parameters", "shape", "where", "why"), LEFT)
def test_what_vela_leaves_on_the_cpu_has_no_time(module, parameters, shape, where, why):
    graph = one(parameters, shape)
    profile = profiled(module, graph)
    family = module.vela.configuration.accelerator.split("-")[1]
    if family not in where.split():
        assert profile.untimed is None
        assert all(node.time_s > 0 for node in profile.nodes)
        return
    (node,) = profile.nodes
    assert (node.layers, node.timed, node.placement) == (("layer",), False, "host")
    assert "left on the CPU: " in profile.untimed
    assert why in profile.untimed
    (layer,) = match(graph, profile).layers
    assert not layer.timed
    assert layer.executed.placement == "host"


def test_what_is_around_a_layer_on_the_cpu_keeps_its_times(u55):
    builder = GraphBuilder("around")
    before = builder.convolution(builder.input(1, 16, 28, 28, name="in"), 8, 3, name="before")
    resized = builder.add(op.Resize("linear", (30, 30)), before, name="resized")
    builder.convolution(resized, 8, 3, name="after")
    nodes = {node.layers: node for node in profiled(u55, builder.build()).nodes}
    assert not nodes["resized",].timed
    assert nodes["before",].timed
    assert nodes["before",].time_s > 0
    assert nodes["after",].producers == (nodes["resized",].name,)


def test_what_velas_core_cannot_do_is_refused_in_its_words(u55):
    with pytest.raises(UnsupportedLayer, match=r"^ethos_u: graph 'one': Vela refuses: .*NPU$"):
        u55.compile(one(op.Softmax(1), (1, 70000)))
    assert profiled(u55, one(op.Activation("tanh"))).time_s > 0


def test_more_memory_than_the_system_has_is_refused():
    options = load_platform(PLATFORMS / "ethos_u55_256.yaml").options
    small = create("ethos_u", {**options, "memory_bytes": {"sram": 2048}})
    try:
        assert profiled(small, one(op.Activation("tanh"), (1, 16, 4, 4))).time_s > 0
        with pytest.raises(UnsupportedLayer, match=r"needs \d+ bytes of sram; legal: at most 2048"):
            small.compile(one(op.Activation("tanh")))
    finally:
        small.vela.close()


@pytest.mark.parametrize("arena_bytes", [7, 2048])
def test_a_plan_above_the_arena_is_refused_with_both_sizes(arena_bytes, tmp_path):
    options = load_platform(PLATFORMS / "ethos_u55_256.yaml").options
    small = create("ethos_u", {**options, "arena_bytes": arena_bytes})
    path = tmp_path / "one.tflite"
    path.write_bytes(write_int8(one(op.Activation("tanh"))).content)
    # the whole tensor of 16 x 14 x 14 bytes has to be in SRAM: it is an input and an output
    told = rf"Vela's plan needs (\d+) bytes of sram; legal: at most {arena_bytes} bytes$"
    try:
        for compiling in (
            lambda: small.compile(one(op.Activation("tanh"))),
            lambda: small.compile_tflite(path),
        ):
            with pytest.raises(UnsupportedLayer, match=told) as refused:
                compiling()
            assert int(re.search(told, str(refused.value))[1]) >= 16 * 14 * 14
    finally:
        small.vela.close()


def test_an_arena_that_is_large_enough_changes_nothing(u55):
    large = create("ethos_u", {**u55.options, "arena_bytes": 2**20})
    # of two limits the lower one counts
    both = create("ethos_u", {**large.options, "memory_bytes": {"sram": 2048}})
    try:
        assert profiled(large, network()).time_s == profiled(u55, network()).time_s
        with pytest.raises(UnsupportedLayer, match="at most 2048 bytes"):
            both.compile(network())
    finally:
        large.vela.close()
        both.vela.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"accelerator": "ethos-u99"}, "unknown accelerator 'ethos-u99'; legal: ethos-u55-128"),
        ({"system_config": "Mine"}, "unknown system_config 'Mine'; legal: Ethos_U55_Deep"),
        ({"memory_mode": "Mine"}, "unknown memory_mode 'Mine'; legal: Dedicated_Sram"),
        ({"arena_bytes": -1}, "'arena_bytes' is -1; legal: 0 or more"),
        ({"compile_limit_s": 0.0}, "'compile_limit_s' is 0; legal: above 0"),
        ({"memory_bytes": {"ddr": 1}}, "'ddr': 1; legal: whole numbers above 0 for dram, flash"),
        ({"memory_bytes": {"sram": 0}}, "'sram': 0; legal: whole numbers above 0"),
        ({"memory_bytes": {"sram": True}}, "'sram': True; legal: whole numbers above 0"),
        ({"arena_bytes": True}, "'arena_bytes' is True; legal: int"),
    ],
)
def test_an_illegal_option_is_one_line_with_the_legal_values(options, told):
    with pytest.raises(SchemaError, match=told) as raised:
        create("ethos_u", options)
    assert "\n" not in str(raised.value)


def test_a_time_limit_refuses_a_graph_and_the_next_is_compiled(u55):
    hasty = create("ethos_u", {**u55.options, "compile_limit_s": 1e-4})
    with pytest.raises(UnsupportedLayer, match=r"Vela took longer than 0.0001 s and was ended"):
        hasty.compile(network())
    with pytest.raises(UnsupportedLayer, match=r"graph 'network': Vela took longer"):
        hasty.compile(network())


def test_a_tflite_file_is_compiled_as_it_is_and_its_tensors_name_the_layers(module, tmp_path):
    path = tmp_path / "own.tflite"
    path.write_bytes(write_int8(network()).content)
    graph, compiled = module.compile_tflite(path)
    assert graph.name == "own"
    profile = module.parse(module.profile(compiled, 1, 0), graph)
    # the same bytes as our own way gives, so the same estimate
    assert profile.time_s == profiled(module, network()).time_s
    found = match(graph, profile)
    held = {layer.name for each in found.layers for layer in each.executed.layers}
    assert held == {layer.name for layer in graph.layers} - {"in"}
    assert found.unmatched_s == pytest.approx(0.0, abs=1e-15)


def test_a_tflite_file_that_vela_cannot_read_is_refused_in_its_words(u55, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(write_int8(network()).content[:4000])
    with pytest.raises(UnsupportedLayer, match=rf"^ethos_u: {path}: Vela ended .*Failed to load"):
        u55.compile_tflite(path)
    path.write_bytes(write_int8(one(op.Resize("linear", (15, 15)))).content)
    graph, compiled = u55.compile_tflite(path)
    assert "unsupported scale-factor" in u55.parse(u55.profile(compiled, 1, 0), graph).untimed
