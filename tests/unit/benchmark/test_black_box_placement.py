"""What runs on a black box's host, and which weights stay: from what is told of whole graphs."""

from dataclasses import replace

import pytest

from benchmark import black_box_placement
from benchmark.black_box import Rules, executed_as_assumed, groups_of, learned_as
from benchmark.black_box_placement import Compiled, Placing, compiled, find_placing, placed
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from strata import operations as op
from strata.builder import GraphBuilder
from strata.placement import Memory
from strata.profile import OPERATIONS_ON_HOST, Profile

ROW = {"height": 8, "width": 8, "channels": 16, "filters": 16, "kernel": 3, "kernels": 2}


def groups(graph, placing):
    """As the black box groups: activations join what they follow, but for those on the host."""
    return groups_of(graph, Rules(placing=placing))


def chain(*kinds):
    """A convolution and an activation of each kind, in turns."""
    builder = GraphBuilder("chain")
    last = builder.input(1, 8, 8, 8)
    for number, kind in enumerate(kinds):
        last = builder.convolution(last, 8, 3, activation=kind, name=f"convolution_{number}")
    return builder.build()


def told(graph, on_host, kept=None, fetched=None):
    return Compiled(graph, on_host, kept, fetched, is_network=True)


def test_a_kind_is_on_the_host_where_nothing_else_in_a_graph_can_be():
    graphs = [
        told(chain("relu", "swish"), 0),
        told(chain("relu", "gelu"), 1),
        told(chain("tanh", "elu"), 2),  # either may be meant, or both
    ]
    assert find_placing(graphs, groups).host == {"activation gelu"}


def test_a_kind_is_not_on_the_host_against_the_numbers():
    """One operation of a graph with five tanhs: not those, whatever else it was."""
    graphs = [told(chain("relu"), 0), told(chain("relu", *["tanh"] * 5), 1)]
    assert find_placing(graphs, groups).host == frozenset()


@pytest.mark.parametrize(
    # the gelus alone, or also the convolutions behind them, whose other activations run with them
    ("counts", "follows"),
    [((1, 2), False), ((3, 5), True)],
)
def test_whether_what_reads_a_result_follows_it_is_told_by_the_numbers(counts, follows):
    graphs = [told(chain("relu"), 0)]
    kinds = [("gelu", "relu", "relu"), ("gelu", "gelu", "relu", "relu")]
    graphs += [told(chain(*each), count) for each, count in zip(kinds, counts, strict=True)]
    assert find_placing(graphs, groups).follows == follows


def test_where_nothing_is_told_every_layer_runs_in_the_ordinary_way():
    graphs = [told(chain("relu", "gelu"), None)]
    placing = find_placing(graphs, groups)
    assert placing == Placing()
    found = groups(graphs[0].graph, placing)
    assert placed(found, placing) == tuple(group.executed for group in found)


def test_what_the_host_runs_is_no_part_of_the_layer_before_it():
    rules = Rules(placing=Placing(frozenset({"activation gelu"}), follows=True))
    layers = executed_as_assumed(chain("gelu", "relu"), rules).layers
    found = [(layer.executed.name, layer.executed.placement) for layer in layers]
    assert found == [
        ("convolution_0", ""),
        ("convolution_0/gelu", "host"),
        ("convolution_1", "host"),
    ]
    assert [learned_as(layer.executed) for layer in layers] == [
        "convolution",
        "activation@host",
        "convolution@host",
    ]


def test_what_the_device_runs_is_no_part_of_the_host_s_unless_it_follows():
    builder = GraphBuilder("x")
    last = builder.convolution(builder.input(1, 8, 8, 8), 8, 3, activation="gelu")
    builder.add(op.Activation("relu"), last)
    graph = builder.build()
    for follows, kinds in ((False, ["", "host", ""]), (True, ["", "host"])):
        rules = Rules(placing=Placing(frozenset({"activation gelu"}), follows))
        layers = executed_as_assumed(graph, rules).layers
        assert [layer.executed.placement for layer in layers] == kinds


def test_weights_that_find_no_room_are_fetched():
    weight_bytes = 4 * (16 * 16 * 9 + 16)
    memory = Memory(1.5 * weight_bytes, 1e9, 1, largest_first=False)
    placing = Placing(memory=memory)
    graph = build("convolution", ROW)
    layers = placed(groups(graph, placing), placing)
    kernels = [layer.placement for layer in layers if layer.operation == "convolution"]
    assert kernels == ["", "streamed"]


def test_an_edge_tpu_tells_the_whole_network_s_bytes_and_operations_through_the_wall():
    module = create("black_box", {"module": "edge_tpu_simulated"})
    row = ROW | {"channels": 1024, "filters": 1024, "activation": "elu"}
    graph = build("convolution", row)
    profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
    found = compiled(graph, profile, is_network=True)
    # 1024 x 1024 x 9 bytes and 8 for each bias: more than the chip has, so that none of it stays
    assert found.fetched_bytes == pytest.approx(1024 * 1024 * 9 + 8 * 1024, rel=0.001)
    assert found.kept_bytes == 0
    # the first activation and all behind it: an activation, a convolution, a pooling
    assert found.on_host == 4
    small = build("convolution", ROW | {"channels": 64, "filters": 64})
    found = compiled(
        small, module.parse(module.profile(module.compile(small), 1, 0), small), is_network=True
    )
    # two of 64 x 64 x 9 bytes and 8 for each bias, and nothing that the chip cannot do
    assert found.kept_bytes == pytest.approx(2 * (64 * 64 * 9 + 8 * 64), abs=2**20 / 100)
    assert (found.fetched_bytes, found.on_host) == (0, 0)
    assert "on_host" not in profile.toolchain  # which layers these are


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "1" * 400, "\u0663"])
def test_what_is_no_number_of_operations_tells_nothing(text):
    profile = Profile("x", toolchain={OPERATIONS_ON_HOST: text})
    assert compiled(chain("relu"), profile, True).on_host is None


def test_networks_are_asked_first_how_a_memory_takes_weights(monkeypatch):
    """Kernels' graphs have shapes that hardly any network has."""
    asked = []
    monkeypatch.setattr(black_box_placement, "fit_told_memory", asked.append)
    network, kernel = (
        Compiled(chain("relu"), 0, 0, 100_000, is_network) for is_network in (True, False)
    )
    elsewhere = replace(network, on_host=3)  # of which it is not known what runs on the device
    find_placing([*[network] * 20, *[kernel] * 30, *[elsewhere] * 5], groups)
    find_placing([*[network] * 19, *[kernel] * 30, *[elsewhere] * 5], groups)
    assert [len(graphs) for graphs in asked] == [20, 49]


def test_without_a_word_from_the_toolchain_nothing_is_known():
    assert compiled(chain("relu"), Profile("x"), True) == Compiled(
        chain("relu"), None, None, None, is_network=True
    )
