"""A memory of known size, order and padding places the weights of drawn networks, and is found."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from model_gen.memory_fit import ToldGraph, fit_memory, fit_told_memory
from strata.placement import PLACEMENT_FEATURES, Memory, Stored


def rows_of(filters, channels, taps, side=8, biased=True):
    """Rows of a placement table for convolutions of one byte per element over square maps."""
    rows = []
    for count, depth, window in zip(filters, channels, taps, strict=True):
        row = dict.fromkeys(PLACEMENT_FEATURES, 0.0)
        weights = count * depth * window**2
        row |= {"filters": count, "channels": depth, "groups": 1, "macs": weights * side**2}
        row |= {"kernel_height": window, "kernel_width": window, "batch": 1}
        row |= {"output_height": side, "output_width": side}
        row |= {"weight_bytes_1": float(weights + biased * count)}
        row |= {"input_elements": depth * side**2, "output_elements": count * side**2}
        row |= {"bytes": row["weight_bytes_1"] + (depth + count) * side**2}
        rows.append(row)
    return pd.DataFrame(rows)


def pooling(elements):
    """A row of a layer without weights that reads and writes so many elements."""
    row = dict.fromkeys(PLACEMENT_FEATURES, 0.0)
    row |= {"input_elements": elements / 2, "output_elements": elements / 2, "bytes": elements}
    return pd.DataFrame([row])


def drawn(generator):
    """A network of up to 12 convolutions, and a layer of up to 4 MB of activations."""
    layers = generator.integers(2, 13)
    filters = generator.integers(1, 200, layers).astype(float)
    channels = generator.integers(3, 512, layers).astype(float)
    taps = generator.choice([1, 3], layers)
    return pd.concat(
        [rows_of(filters, channels, taps), pooling(float(generator.integers(0, 4_000_000)))],
        ignore_index=True,
    )


def table(memory, graphs=100, seed=0, draw=drawn):
    """A placement table of networks as a memory places them."""
    generator = np.random.default_rng(seed)
    found = []
    for graph in range(graphs):
        rows = draw(generator)
        placed = np.where(streamed(memory, rows), "streamed", "")
        found.append(rows.assign(case_id=f"{graph}", operation="convolution", placement=placed))
    return pd.concat(found, ignore_index=True)


def matrix(rows):
    return rows[list(PLACEMENT_FEATURES)].to_numpy(float)


def streamed(memory, rows):
    """What the rule fetches in every run of one graph."""
    return memory.fetched(matrix(rows))


def mistakes_share(found, unseen):
    """Share of layers of unseen graphs that a rule places otherwise."""
    wrong = [
        guess != (truth == "streamed")
        for _, graph in unseen.groupby("case_id")
        for guess, truth in zip(streamed(found, graph), graph["placement"], strict=True)
    ]
    return np.mean(wrong)


@pytest.mark.parametrize(
    ("padding", "largest_first"),
    [
        (16, False),
        pytest.param(1, True, marks=pytest.mark.slow),
        pytest.param(64, True, marks=pytest.mark.slow),
    ],
)
def test_size_order_and_padding_are_found(padding, largest_first):
    truth = Memory(2e6, 2e6, padding, largest_first)
    found = fit_memory(table(truth))
    assert found is not None
    assert (found.padding, found.largest_first) == (padding, largest_first)
    assert found.capacity_bytes == pytest.approx(2e6, rel=0.05)
    # and it places networks it never saw
    assert mistakes_share(found, table(truth, graphs=60, seed=9)) < 0.06


def test_what_else_is_stored_is_found():
    truth = Memory(2e6, 2e6, 64, True, channel_padding=16, bytes_per_filter=8, banks=16)
    found = fit_memory(table(truth, graphs=150))
    assert found is not None
    assert (found.channel_padding, found.banks) == (16, 16)
    assert mistakes_share(found, table(truth, graphs=60, seed=9)) < 0.02


def test_whether_layers_of_one_position_store_biases_is_found():
    def draw(generator):
        side = int(generator.choice([1, 4]))
        filters = 64.0 * generator.integers(1, 20, generator.integers(4, 16))
        channels = generator.integers(4, 64, len(filters)).astype(float)
        return rows_of(filters, channels, np.ones(len(filters)), side)

    truth = Memory(1e5, 1e6, 64, True, bytes_per_filter=8, map_biases=True)
    found = fit_memory(table(truth, graphs=80, draw=draw))
    assert found is not None
    assert (found.bytes_per_filter, found.map_biases) == (8, True)


def test_whether_layers_write_over_what_they_read_is_found():
    def draw(generator):
        filters = 64.0 * generator.integers(1, 20, 5)
        narrow = rows_of(filters, np.full(5, 64.0), np.ones(5), side=1)
        shape = 64.0 * generator.integers(1, 8, 2)  # inputs and outputs of one large map
        wide = rows_of(shape[:1], shape[1:], np.ones(1), side=int(generator.integers(20, 80)))
        return pd.concat([narrow, wide], ignore_index=True)

    truth = Memory(3e5, 5e5, 64, True, in_place=True)
    found = fit_memory(table(truth, graphs=80, draw=draw))
    assert found is not None
    assert found.in_place
    assert found.activation_bytes == pytest.approx(5e5, rel=0.1)


def test_how_far_depthwise_weights_lie_apart_is_found():
    """Networks of depthwise layers and an ordinary one: what they take decides what fits."""

    def draw(generator):
        filters = 8.0 * generator.integers(20, 300, generator.integers(4, 16))
        depthwise = rows_of(filters, np.ones(len(filters)), np.full(len(filters), 5))
        depthwise = depthwise.assign(groups=filters, channels=filters)
        ordinary = rows_of([64.0], [float(generator.integers(200, 900))], [3])
        return pd.concat([depthwise, ordinary], ignore_index=True)

    truth = Memory(3e5, 2e6, 64, True, depthwise_bytes=3)
    found = fit_memory(table(truth, graphs=80, draw=draw))
    assert found is not None
    assert found.depthwise_bytes == 3


def stores(memory, rows):
    """Pieces, bytes of one and bytes beside them of the first layer."""
    found = memory.stored(matrix(rows))
    return found.pieces[0], found.piece_bytes[0], found.spread_bytes[0]


def test_filters_channels_and_biases_are_stored_rounded_up():
    memory, rows = Memory(1.0, 0.0, 64, True, 4, 8), rows_of([65], [3], [3])
    assert stores(memory, rows) == (2 * 9, 64 * 4, 128 * 8)
    assert stores(memory, rows_of([65], [3], [3], biased=False)) == (2 * 9, 64 * 4, 0)
    only_maps = Memory(1.0, 0.0, 64, True, 4, 8, map_biases=True)
    assert stores(only_maps, rows) == (2 * 9, 64 * 4, 128 * 8)
    assert stores(only_maps, rows_of([65], [3], [3], side=1)) == (2 * 9, 64 * 4, 0)


def test_groups_have_blocks_of_their_own():
    rows = rows_of([96], [8], [3]).assign(groups=3, channels=24)
    assert stores(Memory(1.0, 0.0, 64, True), rows) == (3 * 9, 64 * 8, 0)


def test_depthwise_weights_may_lie_apart_and_constants_in_one_piece():
    memory = Memory(1.0, 0.0, 64, True, 4, 8, depthwise_bytes=3)
    depthwise = rows_of([65], [1], [3]).assign(groups=65, channels=65)
    assert stores(memory, depthwise) == (2, 64 * (9 * 3 + 8), 0)
    assert stores(memory, depthwise.assign(macs=0, weight_bytes_1=130)) == (1, 192, 0)


def test_a_recurrent_layer_stores_all_that_it_multiplies_with():
    # 20 steps of 100 features into 64 hidden elements: 4 gates read both
    rows = rows_of([64], [100], [1], side=1)
    rows = rows.assign(output_height=20, macs=20 * 4 * 64 * 164, weight_bytes_1=4 * 64 * 165)
    assert stores(Memory(1.0, 0.0, 64, True), rows) == (1, 64 * 4 * 164, 0)


def test_working_sets_by_hand():
    rows = pd.concat([rows_of([32], [8], [1]), pooling(1000.0)], ignore_index=True)
    assert Memory(1.0, 0.0, 1, True).working_set_bytes(matrix(rows)) == 40 * 64
    assert Memory(1.0, 0.0, 1, True, in_place=True).working_set_bytes(matrix(rows)) == 32 * 64
    assert Memory(1.0, 0.0, 1, True).working_set_bytes(matrix(rows[:0])) == 0


def test_where_nothing_is_fetched_there_is_no_rule():
    assert fit_memory(table(Memory(1e12, 1e12, 1, True), graphs=5)) is None


def told(memory, rows):
    """A graph, and its bytes as a compiler prints them: hundredths of a MiB."""
    stored, kept = memory.stored(matrix(rows)).total_bytes, ~streamed(memory, rows)
    kept_bytes, fetched_bytes = (
        2**20 * round(float(stored[each].sum()) / 2**20, 2) for each in (kept, ~kept)
    )
    return ToldGraph(matrix(rows), kept_bytes, fetched_bytes)


def test_bytes_of_graphs_alone_tell_the_rule():
    truth = Memory(2e6, 2e6, 64, True, channel_padding=4, bytes_per_filter=8, banks=16)
    generator = np.random.default_rng(2)
    found = fit_told_memory([told(truth, drawn(generator)) for _ in range(80)])
    assert found is not None
    assert (found.padding, found.channel_padding, found.largest_first) == (64, 4, True)
    assert found.capacity_bytes == pytest.approx(2e6, rel=0.02)
    assert mistakes_share(found, table(truth, graphs=60, seed=9)) < 0.03


def test_how_wrong_a_rule_is_by_hand():
    """Two layers of 1 MB, of which one was kept: a rule that keeps both has half of all wrong,
    twice, as too much is kept and too little fetched; and no rule has more than all wrong."""
    stored = Stored(np.ones(2), np.full(2, 2.0**20), np.zeros(2))
    graph = ToldGraph(np.empty((2, len(PLACEMENT_FEATURES))), 2.0**20, 2.0**20)
    kept = np.array([[True, False], [False, True], [True, True]])
    # all but what is printed to a hundredth, a half of it for each of two figures
    assert graph.wrong(stored, kept) == pytest.approx([0.0, 0.0, 1 - 0.01 / 2])
    assert replace(graph, kept_bytes=0.0, fetched_bytes=2.0**21).wrong(stored, kept)[2] == 1.0


def test_graphs_that_all_fit_tell_no_rule():
    assert fit_told_memory([]) is None
    assert fit_told_memory([ToldGraph(matrix(pooling(1e3)), 1e6, 0.0)]) is None


def test_graphs_that_fit_show_that_there_is_room():
    """Where all that was fetched was fetched whole, only graphs that fit tell of the memory."""
    truth = Memory(3e5, 1e12, 1, True)
    layers = [rows_of([count], [512], [1]) for count in range(100, 1200, 40)]
    found = fit_told_memory([told(truth, rows) for rows in layers])
    kept = [not streamed(found, rows)[0] for rows in layers]
    assert kept == [not streamed(truth, rows)[0] for rows in layers]
    assert 0 < sum(kept) < len(kept)
