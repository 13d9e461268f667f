"""Where layers are placed: what they depend on, and that prediction walks as training did."""

import numpy as np

from strata import operations as op
from strata.builder import GraphBuilder
from strata.execution import make_executed
from strata.forest import Forest
from strata.mapping import MappingModel, apply_mapping
from strata.placement import PLACEMENT_FEATURES, Memory, Surroundings, place


def split(name, threshold, below, above):
    column = PLACEMENT_FEATURES.index(name)
    return Forest(
        np.array([column, -1, -1]),
        np.array([threshold, 0, 0]),
        np.array([1, -1, -1]),
        np.array([2, -1, -1]),
        np.array([0.0, below, above]),
        np.zeros(1, dtype=np.int32),
    )


def network():
    builder = GraphBuilder("net")
    source = builder.input(1, 4, 8, 8, name="in")
    first = builder.convolution(source, 8, 1, name="first")  # 4 * 8 + 8 weights
    odd = builder.add(op.Activation("gelu"), first, name="odd")
    builder.convolution(odd, 16, 3, name="second")  # 8 * 16 * 9 + 16 weights
    builder.convolution(first, 8, 1, name="beside")  # 8 * 8 + 8 weights
    return builder.build()


def executed(graph):
    return [make_executed([layer]) for layer in graph.layers[1:]]


def test_surroundings_by_hand():
    layers = executed(network())
    surroundings = Surroundings(layers)
    rows = {}
    for layer in layers:
        rows[layer.name] = dict(zip(PLACEMENT_FEATURES, surroundings.row(layer), strict=True))
        surroundings.add(place([layer], {"activation->host": split("channels", -1, 0, 1)})[0])
    weights = {"first": 4 * 40, "odd": 0, "second": 4 * 1168, "beside": 4 * 72}
    for name, row in rows.items():
        assert row["weight_bytes_1"] == weights[name]
        assert row["total_weight_bytes_1"] == sum(weights.values())
    assert rows["second"]["in_order_weight_bytes_1"] == weights["first"] + weights["second"]
    assert rows["first"]["by_size_weight_bytes_1"] == sum(weights.values())
    assert rows["second"]["by_size_weight_bytes_1"] == weights["second"]
    assert rows["beside"]["by_size_weight_bytes_1"] == weights["second"] + weights["beside"]
    # 8 filters of 40 weights take the room of 16; 16 filters that of 64
    assert rows["first"]["weight_bytes_16"] == 2 * weights["first"]
    assert rows["second"]["weight_bytes_64"] == 4 * weights["second"]
    assert rows["second"]["largest_working_set_bytes"] == 4 * 64 * (8 + 16)
    assert [rows[n]["producer_on_host"] for n in ("odd", "second", "beside")] == [0, 1, 0]
    assert [rows[n]["earlier_on_host"] for n in ("odd", "second", "beside")] == [0, 1, 1]


def test_what_follows_a_layer_of_the_host_can_be_placed_there_too():
    trees = {
        "activation->host": split("activation", 8.5, 0.0, 1.0),  # gelu is the ninth kind
        "*->host": split("producer_on_host", 0.5, 0.0, 1.0),
    }
    placed = {layer.name: layer for layer in place(executed(network()), trees)}
    assert {name: layer.placement for name, layer in placed.items()} == {
        "first": "",
        "odd": "host",
        "second": "host",
        "beside": "",
    }
    assert placed["second"].model_key == "convolution@host"
    assert placed["beside"].model_key == "convolution"


def test_weights_beyond_the_memory_are_streamed():
    trees = {"convolution->streamed": split("by_size_weight_bytes_1", 5000, 0.0, 1.0)}
    placed = place(executed(network()), trees)
    assert [layer.placement for layer in placed] == ["streamed", "", "", ""]


def test_without_trees_nothing_is_placed():
    layers = apply_mapping(network(), MappingModel())
    assert {layer.placement for layer in layers} == {""}


def test_a_memory_serves_the_largest_first_and_fills_gaps():
    memory = Memory(100.0, 50.0, 1, largest_first=True)
    # 60 fits, 50 does not, 30 and 10 fill what is left, 5 does not
    assert memory.fetched([10, 50, 60, 30, 5], [1] * 5, 0) == [False, True, False, False, True]
    # in their order: 10, 50, then 60 does not fit, 30 does, 5 does
    in_order = Memory(100.0, 50.0, 1, largest_first=False)
    assert in_order.fetched([10, 50, 60, 30, 5], [1] * 5, 0) == [False, False, True, False, False]
    # a working set of 70 takes 20 from the weights
    assert memory.fetched([60, 30], [1, 1], 70) == [False, True]
    assert memory.fetched([0, 0], [1, 1], 1e9) == [False, False]


def test_the_memorys_rule_takes_the_place_of_trees_for_what_is_streamed():
    always = {"*->streamed": split("channels", -1, 0.0, 1.0)}
    rule = Memory(4.0 * (1168 + 40), 1e9, 1, largest_first=True)
    placed = place(executed(network()), always, rule)
    assert [layer.placement for layer in placed] == ["", "", "", "streamed"]


def test_weights_of_the_host_take_no_room():
    trees = {"activation->host": split("activation", 8.5, 0.0, 1.0)}
    trees["*->host"] = split("producer_on_host", 0.5, 0.0, 1.0)
    placed = place(executed(network()), trees, Memory(4.0 * 112, 1e9, 1, largest_first=True))
    assert [layer.placement for layer in placed] == ["", "host", "host", ""]
