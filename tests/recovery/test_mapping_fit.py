"""A toolchain with known rules, and the mapping model that finds them again."""

import numpy as np
import pandas as pd
import pytest

from model_gen.mapping_fit import asked, fit_mapping, fit_placement, held_out
from model_gen.overhead import fit_overhead
from strata.edges import EDGE_FEATURES
from strata.errors import FitError
from strata.forest import tree_value
from strata.placement import PLACEMENT_FEATURES


def rows(pair, flags, role="fusion", **features):
    """Mapping rows with the named features set and all others 0."""
    producer, consumer = pair.split("->")
    table = pd.DataFrame(0.0, index=range(len(flags)), columns=list(EDGE_FEATURES))
    for name, values in features.items():
        table[name] = values
    return table.assign(
        case_id=[f"case {i}" for i in range(len(flags))],
        role=role,
        producer_operation=producer,
        consumer_operation=consumer,
        flag=flags,
    )


def networks(**counts):
    return pd.DataFrame({"strides_moved": [k for k, n in counts.items() for _ in range(n)]})


def value(tree, **features):
    return tree_value(tree, [float(features.get(name, 0.0)) for name in EDGE_FEATURES])


def test_a_threshold_on_width_is_found_and_scored_on_cases_it_did_not_see():
    # the rule ANNETTE's platform shows: pooling fuses up to a width of 640
    width = np.random.default_rng(0).integers(8, 1280, 600)
    flags = np.where(width <= 640, "FUSED", "NOT_FUSED")
    table = rows("convolution->max_pooling", flags, producer_width=width)
    model, scores = fit_mapping(table, networks(kept=1), seed=0)
    tree = model.fusion["convolution->max_pooling"]
    assert value(tree, producer_width=600) == 1.0
    assert value(tree, producer_width=700) == 0.0
    (score,) = scores
    assert score.true_positive + score.true_negative >= 0.97 * held_out(table["case_id"]).sum()
    assert held_out(table["case_id"]).mean() == pytest.approx(0.2, abs=0.05)


def test_possibly_fused_rows_decide_nothing_but_are_counted():
    flags = ["FUSED"] * 20 + ["POSSIBLY_FUSED"] * 30
    model, scores = fit_mapping(rows("convolution->add", flags), networks(), seed=0)
    assert value(model.fusion["convolution->add"]) == 1.0
    assert (scores[0].samples, scores[0].undecided) == (20, 30)
    only_undecided = rows("convolution->add", ["POSSIBLY_FUSED"] * 9)
    assert fit_mapping(only_undecided, networks(), seed=0)[0].fusion == {}


def test_insertions_are_learned_apart_from_fusions():
    table = pd.concat(
        [
            rows("input->convolution", ["FUSED"] * 9, role="insertion"),
            rows("convolution->activation", ["NOT_FUSED"] * 9),
        ]
    )
    model, _ = fit_mapping(table, networks(), seed=0)
    assert value(model.insertion["input->convolution"]) == 1.0
    assert set(model.fusion) == {"convolution->activation", "*->activation"}


@pytest.mark.parametrize(
    ("counts", "moves"),
    [({"moved": 3, "kept": 1}, True), ({"moved": 1, "kept": 3}, False), ({}, False)],
)
def test_strides_move_if_most_networks_say_so(counts, moves):
    table = rows("convolution->activation", ["FUSED"] * 4)
    assert fit_mapping(table, networks(**counts), seed=0)[0].moves_strides is moves


def test_missing_and_infinite_features_are_refused():
    table = rows("convolution->activation", ["FUSED"] * 4)
    with pytest.raises(FitError, match="producer_width missing"):
        fit_mapping(table.drop(columns="producer_width"), networks(), seed=0)
    with pytest.raises(FitError, match="not a finite number"):
        fit_mapping(table.assign(producer_width=np.inf), networks(), seed=0)


def test_overhead_per_network_layer_and_byte_is_recovered():
    layers = np.array([5, 20, 50, 100, 12, 30])
    layer_sum = np.array([1e-3, 2e-3, 5e-3, 1e-2, 1e-3, 4e-3])
    inputs = np.array([3072, 150528, 3072, 268203, 49152, 786432])
    outputs = np.array([10, 1000, 50000, 1000, 65536, 400000])
    table = pd.DataFrame(
        {
            "time_s": layer_sum + 3e-5 + 2e-6 * layers + 3e-9 * inputs + 2e-8 * outputs,
            "layers_s": layer_sum,
            "executed_layers": layers,
            "input_bytes": inputs,
            "output_bytes": outputs,
        }
    )
    overhead = fit_overhead(table)
    assert overhead.per_network_s == pytest.approx(3e-5)
    assert overhead.per_layer_s == pytest.approx(2e-6)
    assert overhead.per_input_byte_s == pytest.approx(3e-9)
    assert overhead.per_output_byte_s == pytest.approx(2e-8)
    assert fit_overhead(table.iloc[:0]).per_network_s == 0.0
    faster = fit_overhead(table.assign(time_s=layer_sum * 0.99))
    assert (faster.per_network_s, faster.per_layer_s) == (0.0, 0.0)  # never below the layers


def placements(placed, **features):
    table = pd.DataFrame(0.0, index=range(len(placed)), columns=list(PLACEMENT_FEATURES))
    for name, values in features.items():
        table[name] = values
    cases = [f"case {i}" for i in range(len(placed))]
    return table.assign(case_id=cases, operation="convolution", placement=placed)


def test_a_memory_of_known_size_is_found_from_what_is_streamed():
    # the largest layers choose first: one is streamed if it and larger ones exceed 8 MB
    claimed = np.random.default_rng(1).uniform(0, 16e6, 800)
    table = placements(np.where(claimed > 8e6, "streamed", ""), by_size_weight_bytes_1=claimed)
    trees, (score,) = fit_placement(table, seed=0)
    column = PLACEMENT_FEATURES.index("by_size_weight_bytes_1")
    assert trees["convolution->streamed"].threshold[0] == pytest.approx(8e6, rel=0.02)
    assert trees["convolution->streamed"].feature[0] == column
    assert (score.role, score.producer, score.consumer) == ("placement", "convolution", "streamed")
    assert score.true_positive + score.true_negative >= 0.98 * held_out(table["case_id"]).sum()


@pytest.mark.parametrize("cause", ["producer_on_host", "earlier_on_host"])
def test_what_follows_a_layer_of_the_host_is_found(cause):
    """What depends on a layer of the host is there too, or all that comes after it."""
    generator = np.random.default_rng(2)
    earlier = generator.uniform(size=600) < 0.5
    producer = earlier & (generator.uniform(size=600) < 0.9)  # nearly always both
    known = {"producer_on_host": producer, "earlier_on_host": earlier}
    table = placements(np.where(known[cause], "host", ""), **known)
    trees, (score,) = fit_placement(table.astype(dict.fromkeys(known, float)), seed=0)
    assert score.false_positive + score.false_negative == 0
    tests = trees["convolution->host"].feature
    assert set(tests[tests >= 0]) == {PLACEMENT_FEATURES.index(cause)}


def test_whole_factors_of_a_resizing_are_found():
    """A device that resizes by whole factors up to 8: no threshold on the sizes says so."""
    generator = np.random.default_rng(3)
    small = generator.integers(2, 60, 800)
    large = np.where(
        generator.uniform(size=800) < 0.5,
        small * generator.integers(1, 12, 800),
        3 * small // 2 + 1,
    )
    whole = (large % small == 0) & (large // small <= 8)
    sizes = {"height": small, "output_height": large}
    scales = {"height_scale": large / small, "scale_remainder": large % small}
    table = placements(np.where(whole, "", "host"), **sizes, **scales)
    _, (score,) = fit_placement(table, seed=0)
    assert score.false_positive + score.false_negative <= 1


def test_a_platform_that_places_nothing_gets_no_placement_trees():
    assert fit_placement(placements([""] * 10), seed=0) == ({}, [])


def test_a_placement_table_without_its_columns_is_refused():
    with pytest.raises(FitError, match=r"placement table: column.* weight_bytes_1 missing"):
        fit_placement(placements([""]).drop(columns="weight_bytes_1"), seed=0)


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_order_in_which_a_toolchain_asks_operands_is_found(order):
    """Sums join the first (or last) of three operands that is narrow; the others are not asked."""
    generator = np.random.default_rng(1)
    widths = generator.integers(8, 200, (400, 3))
    places = np.arange(3) if order == "first" else np.arange(3)[::-1]
    flags = np.full(widths.shape, "NOT_FUSED")
    for layer, row in enumerate(widths):
        if len(fits := [place for place in places if row[place] <= 100]):
            flags[layer, fits[0]] = "FUSED"
    table = rows(
        "convolution->add",
        flags.ravel(),
        producer_width=widths.ravel(),
        operand_index=np.tile(np.arange(3), 400),
    ).assign(case_id=np.repeat([f"case {i}" for i in range(400)], 3), consumer="add")
    model, _ = fit_mapping(table, networks(kept=1), seed=0)
    assert model.operand_order == order
    tree = model.fusion["convolution->add"]
    for place in range(3):  # one rule for all of them: what was not asked taught nothing
        assert value(tree, producer_width=90, operand_index=place) == 1.0
        assert value(tree, producer_width=110, operand_index=place) == 0.0


def test_after_an_operand_that_may_have_been_joined_nothing_is_known():
    flags = ["POSSIBLY_FUSED", "NOT_FUSED", "NOT_FUSED", "NOT_FUSED", "FUSED", "NOT_FUSED"]
    table = rows("convolution->add", flags, operand_index=[0, 1, 2, 0, 1, 2]).assign(
        case_id=["one"] * 3 + ["two"] * 3, consumer="add"
    )
    assert asked(table, "first").index.tolist() == [0, 3, 4]
    assert asked(table, "last").index.tolist() == [0, 1, 2, 4, 5]
    assert asked(table, "likeliest") is table


@pytest.mark.parametrize(("merged", "joins"), [(0, False), (1, False), (40, True)])
def test_a_toolchain_that_never_merges_what_others_read_is_found(merged, joins):
    """A pair of which the benchmarks hold no shared result learns it from all others."""
    flags = ["FUSED"] * merged + ["NOT_FUSED"] * (4000 - merged)
    shared = rows("convolution->activation", flags, tensor_consumers=2)
    own = rows("add->add", ["FUSED"] * 40, tensor_consumers=1)
    model, _ = fit_mapping(pd.concat([shared, own]), networks(kept=1), seed=0)
    assert model.joins_shared == joins


def test_of_few_shared_results_nothing_is_concluded():
    table = rows("convolution->activation", ["NOT_FUSED"] * 50, tensor_consumers=2)
    assert fit_mapping(table, networks(kept=1), seed=0)[0].joins_shared
