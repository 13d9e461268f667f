"""A memory of known size, order and padding places the weights of drawn networks, and is found."""

import numpy as np
import pandas as pd
import pytest

from model_gen.memory_fit import fit_memory
from strata.placement import PADDINGS, PLACEMENT_FEATURES, Memory


def table(memory, graphs=150, seed=0):
    """A placement table of networks with up to 12 layers with weights."""
    generator = np.random.default_rng(seed)
    rows = []
    for graph in range(graphs):
        filters = 8 * generator.integers(1, 40, generator.integers(2, 13))
        weights = filters * generator.integers(100, 9000, len(filters))
        sizes = {p: weights // filters * (-(-filters // p) * p) for p in PADDINGS}
        working_set = float(generator.uniform(0, 4e6))
        fetched = memory.fetched(sizes[memory.padding].tolist(), working_set)
        for i, out in enumerate(fetched):
            row = dict.fromkeys(PLACEMENT_FEATURES, 0.0)
            row |= {f"weight_bytes_{p}": float(sizes[p][i]) for p in PADDINGS}
            row |= {"largest_working_set_bytes": working_set, "case_id": f"graph {graph}"}
            rows.append(row | {"operation": "dense", "placement": "streamed" if out else ""})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("largest_first", [True, False])
def test_size_order_and_padding_are_found(padding, largest_first):
    truth = Memory(3e6, 2e6, padding, largest_first)
    found = fit_memory(table(truth))
    assert found is not None
    assert (found.padding, found.largest_first) == (padding, largest_first)
    assert found.capacity_bytes == pytest.approx(3e6, rel=0.1)
    # and it places networks it never saw
    unseen = table(truth, graphs=60, seed=9)
    wrong = total = 0
    for _, graph in unseen.groupby("case_id"):
        sizes = graph[f"weight_bytes_{padding}"].tolist()
        guess = found.fetched(sizes, graph["largest_working_set_bytes"].iloc[0])
        wrong += sum(a != (b == "streamed") for a, b in zip(guess, graph["placement"], strict=True))
        total += len(sizes)
    assert wrong < 0.06 * total


def test_where_nothing_is_fetched_there_is_no_rule():
    assert fit_memory(table(Memory(1e12, 1e12, 1, True), graphs=5)) is None
