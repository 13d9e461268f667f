"""A memory of known size, order and padding places the weights of drawn networks, and is found."""

import numpy as np
import pandas as pd
import pytest

from model_gen.memory_fit import fit_memory
from strata.placement import PLACEMENT_FEATURES, Memory


def rows_of(filters, channels, taps, working_set):
    """Rows of a placement table for layers of one byte per weight."""
    rows = []
    for count, depth, side in zip(filters, channels, taps, strict=True):
        row = dict.fromkeys(PLACEMENT_FEATURES, 0.0)
        row |= {"filters": count, "channels": depth, "groups": 1, "macs": count * depth}
        row |= {"kernel_height": side, "kernel_width": side}
        row |= {"weight_bytes_1": float(count * depth * side * side)}
        rows.append(row | {"largest_working_set_bytes": working_set})
    return pd.DataFrame(rows)


def table(memory, graphs=150, seed=0):
    """A placement table of networks with up to 12 layers with weights."""
    generator = np.random.default_rng(seed)
    found = []
    for graph in range(graphs):
        layers = generator.integers(2, 13)
        filters = 8 * generator.integers(1, 40, layers)
        channels = generator.integers(3, 512, layers)
        taps = generator.choice([1, 3], layers)
        rows = rows_of(filters, channels, taps, float(generator.uniform(0, 4e6)))
        placed = streamed(memory, rows)
        found.append(
            rows.assign(
                case_id=f"graph {graph}",
                operation="convolution",
                placement=np.where(placed, "streamed", ""),
            )
        )
    return pd.concat(found, ignore_index=True)


def streamed(memory, rows):
    """What the rule fetches in every run of one graph."""
    sizes, pieces = memory.stored(rows[list(PLACEMENT_FEATURES)].to_numpy(float))
    working_set = rows["largest_working_set_bytes"].iloc[0]
    return memory.fetched(sizes.tolist(), pieces.tolist(), working_set)


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
    truth = Memory(3e6, 2e6, padding, largest_first)
    found = fit_memory(table(truth))
    assert found is not None
    assert (found.padding, found.largest_first) == (padding, largest_first)
    assert found.capacity_bytes == pytest.approx(3e6, rel=0.1)
    # and it places networks it never saw
    assert mistakes_share(found, table(truth, graphs=60, seed=9)) < 0.06


def test_what_else_is_stored_is_found():
    truth = Memory(2e6, 2e6, 64, True, channel_padding=16, bytes_per_filter=8, banks=16)
    found = fit_memory(table(truth))
    assert found is not None
    assert mistakes_share(found, table(truth, graphs=60, seed=9)) < 0.04


def test_how_far_depthwise_weights_lie_apart_is_found():
    """Networks of depthwise layers alone: what they take decides what fits."""
    generator = np.random.default_rng(3)
    truth, found = Memory(3e5, 2e6, 64, True, depthwise_bytes=3), []
    for graph in range(80):
        filters = 8 * generator.integers(20, 300, generator.integers(4, 16)).astype(float)
        graph_rows = rows_of(filters, filters, np.full(len(filters), 5), 0.0)
        graph_rows = graph_rows.assign(groups=filters, weight_bytes_1=25.0 * filters)
        ordinary = rows_of([64.0], [float(generator.integers(200, 900))], [3], 0.0)
        every = pd.concat([graph_rows, ordinary], ignore_index=True)
        placed = streamed(truth, every)
        named = {"case_id": f"graph {graph}", "operation": "depthwise_convolution"}
        found.append(every.assign(placement=np.where(placed, "streamed", ""), **named))
    fitted = fit_memory(pd.concat(found, ignore_index=True))
    assert fitted is not None
    assert fitted.depthwise_bytes == 3


def test_a_layer_of_large_pieces_wants_a_bank_with_room_for_each():
    memory = Memory(1600.0, 0.0, 64, True, banks=16)
    # 100 bytes a bank: a piece of 60 leaves no room for a second one beside it
    assert memory.fetched([960.0], [16.0], 0.0) == [False]
    assert memory.fetched([1020.0], [17.0], 0.0) == [True]
    assert Memory(1600.0, 0.0, 64, True).fetched([1020.0], [17.0], 0.0) == [False]


def test_filters_channels_and_biases_are_stored_rounded_up():
    rows = rows_of([65], [3], [3], 0.0)[list(PLACEMENT_FEATURES)].to_numpy(float)
    sizes, pieces = Memory(1.0, 0.0, 64, True, 4, 8).stored(rows)
    assert sizes[0] == pytest.approx(128 * (9 * 4 + 8))
    assert pieces[0] == 2 * 9


def test_depthwise_weights_may_lie_apart_and_plain_constants_as_they_are():
    memory = Memory(1.0, 0.0, 64, True, 4, 8, depthwise_bytes=3)
    depthwise = rows_of([65], [65], [3], 0.0).assign(groups=65, weight_bytes_1=65.0 * 9)
    constants = depthwise.assign(macs=0.0, weight_bytes_1=130.0)
    rows = pd.concat([depthwise, constants])[list(PLACEMENT_FEATURES)].to_numpy(float)
    sizes, pieces = memory.stored(rows)
    assert sizes == pytest.approx([128 * (9 * 3 + 8), 130])
    assert pieces.tolist() == [2 * 9, 1]


def test_where_nothing_is_fetched_there_is_no_rule():
    assert fit_memory(table(Memory(1e12, 1e12, 1, True), graphs=5)) is None
