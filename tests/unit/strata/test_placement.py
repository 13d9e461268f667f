"""Where layers are placed: what they depend on, and that prediction walks as training did."""

import numpy as np

from strata import operations as op
from strata.builder import GraphBuilder
from strata.execution import make_executed
from strata.forest import Forest
from strata.mapping import MappingModel, apply_mapping
from strata.placement import (
    PLACEMENT_FEATURES,
    SCALE_FEATURES,
    Memory,
    Stored,
    Surroundings,
    place,
    taken,
)


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
    assert [rows["first"][n] for n in SCALE_FEATURES] == [1, 1, 0]
    assert [rows[n]["earlier_on_host"] for n in ("odd", "second", "beside")] == [0, 1, 1]


def test_a_resizing_says_by_what_it_grows_and_what_is_left():
    builder = GraphBuilder("net")
    source = builder.input(1, 4, 8, 6, name="in")
    builder.add(op.Resize("nearest", (16, 15)), source, name="larger")
    layers = executed(builder.build())
    row = dict(zip(PLACEMENT_FEATURES, Surroundings(layers).row(layers[0]), strict=True))
    assert [row[name] for name in SCALE_FEATURES] == [2, 2.5, 3]


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


def kept(sizes, capacity, banks=1, largest_first=True, spread=0.0):
    """Which layers a memory keeps; `sizes` are pieces and bytes of one."""
    pieces, piece_bytes = np.array(sizes, dtype=float).T
    stored = Stored(pieces, piece_bytes, np.full(len(sizes), spread))
    return taken(stored, np.array([capacity]), banks, largest_first)[0].tolist()


def test_a_memory_serves_the_largest_first_and_fills_gaps():
    layers = [(1, 10), (1, 50), (1, 60), (1, 30), (1, 5), (0, 7)]
    # 60 fits, 50 does not, 30 and 10 fill what is left, 5 does not; 7 are no weights
    assert kept(layers, 100.0) == [True, False, True, True, False, True]
    # in their order: 10, 50, then 60 does not fit, 30 does, 5 does
    in_order = kept(layers, 100.0, largest_first=False)
    assert in_order == [True, True, False, True, True, True]
    assert kept([(1, 10)], -5.0) == [False]


def test_a_piece_lies_in_one_bank():
    # 100 bytes a bank: a piece of 60 leaves no room for a second one beside it
    assert kept([(16, 60)], 1600.0, banks=16) == [True]
    assert kept([(17, 60)], 1600.0, banks=16) == [False]
    assert kept([(17, 60)], 1600.0) == [True]
    # what is spread takes 41 of every bank
    assert kept([(16, 60)], 1600.0, banks=16, spread=16 * 41) == [False]


def test_banks_are_filled_evenly_and_what_is_left_goes_to_the_emptiest():
    # banks of 100: 5 pieces of 30 leave 40 and 70, then 3 pieces of 30 find room for 1 and 2
    assert kept([(5, 30), (3, 30)], 250.0 - 10, banks=2) == [True, True]
    assert kept([(5, 30), (4, 30)], 250.0 - 10, banks=2) == [True, False]
    # 50 in one bank; of 3 pieces of 20 one each, then another into the emptier: 30 and 60 are left
    layers = [(1, 50), (3, 20), (1, 30), (1, 35)]
    assert kept(layers, 200.0, banks=2, largest_first=False) == [True, True, True, False]


def test_many_memories_at_once_keep_what_each_keeps_alone():
    generator = np.random.default_rng(1)
    sizes = np.stack([generator.integers(1, 40, 30), generator.integers(1, 90, 30)], axis=1)
    stored = Stored(*sizes.astype(float).T, np.full(30, 16.0))
    capacities = np.linspace(500.0, 9000.0, 7)
    together = taken(stored, capacities, 4, True)
    for capacity, row in zip(capacities, together, strict=True):
        assert row.tolist() == kept(sizes, capacity, banks=4, spread=16.0)


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
