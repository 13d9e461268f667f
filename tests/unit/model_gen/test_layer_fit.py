"""From a table to the models of an operation: what is fitted, and what is said when it is not."""

import json

import numpy as np
import pandas as pd
import pytest

from model_gen import layer_fit, statistical
from model_gen.layer_fit import fit_layer_models
from model_gen.learned import fit_models, layers_are_cut, paper_rows, seen_chains
from model_gen.overlap_fit import MYRIAD_X, MYRIAD_X_AVERAGES, fit_overlap
from model_gen.statistical import (
    CANDIDATES,
    LEARNERS,
    ForestSettings,
    efficiency,
    fit_columns,
    fit_forest,
)
from model_gen.tables import table_matrix
from model_gen.unrolling import UnrollingFit
from strata.blocking import ENGINE_TERMS, START_TERMS
from strata.errors import FitError
from strata.execution import FEATURES
from strata.layer_models import KINDS, Overlap, Refined, Roofline, Unrolling

SMALL = ForestSettings(trees=8, learner="forest")


def table(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    values = pd.DataFrame({name: np.ones(rows) for name in FEATURES})
    values["channels"] = generator.integers(1, 64, rows).astype(float)
    values["ops"] = values["channels"] * 1e7
    values["bytes"] = values["channels"] * 1e4
    time_s = values["ops"] / 1e11 * generator.uniform(1, 2, rows)
    return values.assign(case_id=[f"case{i // 2}" for i in range(rows)], time_s=time_s)


def fit(values: pd.DataFrame, unrolling=()):
    return fit_layer_models(values, "convolution", unrolling, 0, SMALL)


def matrix(values: pd.DataFrame) -> np.ndarray:
    return table_matrix(values)


def test_all_kinds_and_metrics():
    result = fit(table())
    assert set(result.models) == set(KINDS)
    assert result.metrics["rows"] == 60
    assert result.metrics["folds"] == 5
    for metric in ("mape_percent", "sum_error_percent"):
        assert set(result.metrics[metric]) == set(result.models)
    json.dumps(result.metrics, allow_nan=False)


def test_fitting_twice_is_fitting_once():
    first, second = fit(table()), fit(table())
    rows = matrix(table(seed=5))
    for kind, model in first.models.items():
        assert np.array_equal(model.time_s(rows), second.models[kind].time_s(rows))
    assert first.metrics == second.metrics


def test_table_is_left_as_it_was():
    values = table()
    before = values.copy()
    fit(values)
    assert values.equals(before)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(29, {"roofline", "mixed"}), (7, {"roofline", "mixed"}), (6, {"roofline"})],
)
def test_too_few_rows_give_no_trees_and_a_note(rows, expected):
    """Two rows a graph: 29 are of 15 graphs, 7 of 4, three of which tell the fourth; 6 of 3."""
    result = fit(table(rows=rows))
    assert set(result.models) == set(result.metrics["mape_percent"]) == expected
    assert any(f"{rows} usable rows, a forest needs 30" in note for note in result.notes)
    assert result.metrics["learner"] == "none"


@pytest.mark.parametrize("rows", [29, 32])
def test_learners_are_not_compared_where_folds_are_too_small_for_trees(rows, monkeypatch):
    """Of 32 rows a fold has 26: engines alone, which are the same whatever the learner."""
    calls = []
    validate = layer_fit._cross_validate
    monkeypatch.setattr(
        layer_fit, "_cross_validate", lambda *given: calls.append(given) or validate(*given)
    )
    found = fit_layer_models(table(rows=rows), "convolution", (), 0, ForestSettings(8))
    assert len(calls) == 1
    assert found.metrics["learner"] == (CANDIDATES[0] if rows == 32 else "none")


def test_one_row_and_one_case():
    result = fit(table(rows=1))
    assert result.models["roofline"].time_s(matrix(table(rows=1))) == pytest.approx(
        table(rows=1)["time_s"].to_numpy()
    )
    assert result.metrics["folds"] == 0
    assert any("no cross-validation" in note for note in result.notes)


def test_identical_rows_are_learned_as_they_are():
    values = pd.concat([table().iloc[:1]] * 40, ignore_index=True)
    values["case_id"] = [f"case{i}" for i in range(40)]
    result = fit(values)
    assert result.models["mixed"].time_s(matrix(values)) == pytest.approx(values["time_s"])


def test_rows_that_move_nothing_take_the_smallest_time_seen():
    values = table(rows=40).assign(ops=0.0, bytes=0.0, time_s=np.linspace(2e-6, 4e-6, 40))
    result = fit(values)
    assert set(result.models) == {"roofline"}
    assert result.models["roofline"].time_s(matrix(values)) == pytest.approx([2e-6] * 40)
    assert any("no row moves a byte" in note for note in result.notes)


def test_some_rows_without_operations_put_the_operation_on_bandwidth():
    values = table()
    values.loc[:9, "ops"] = 0.0
    result = fit(values)
    assert result.models["roofline"].peak_ops_per_s is None
    assert any("some rows have no operations" in note for note in result.notes)


def test_unidentified_dimensions_are_left_out_and_noted():
    doubtful = UnrollingFit("channels", 16, 0.0, 0.1, 8, 0.1, 0.1, 9, 1, False, "no evidence")
    result = fit(table(), [doubtful])
    assert result.models["refined"].unrolling == ()
    assert any("no unrolling of channels: no evidence" in note for note in result.notes)


def test_the_papers_mixed_model_is_fitted_to_isolated_kernels_of_data_set_1():
    values = pd.concat([table(rows=60), table(rows=60, seed=1)], ignore_index=True)
    values["benchmark"] = "convolution"
    values["data_set"] = ["aligned"] * 60 + ["noisy"] * 60
    chosen = paper_rows(values)
    assert set(chosen["data_set"]) == {"aligned"}
    assert len(chosen) == 60
    # too few aligned rows: all isolated ones; none of them: all rows
    values["data_set"] = "noisy"
    assert len(paper_rows(values)) == 120
    assert len(paper_rows(values.assign(benchmark="cells"))) == 120


def test_streamed_layers_learn_the_arrays_peak_from_those_beside_them():
    plain, streamed = table(rows=60), table(rows=60, seed=1)
    streamed["time_s"] *= 50

    def peak(rows, **beside):
        return fit_models(rows, (), kinds=(), **beside).peaks.ceiling.peak_ops_per_s

    assert peak(streamed, beside=plain) == peak(plain) > peak(streamed)


def test_a_chain_counts_no_longer_than_ten_graphs_have_it():
    """Twelve graphs with chains of 1 to 12, each of two rows: ten of them reach 3."""
    values = table(24).assign(case_id=[f"case{i // 2}" for i in range(24)])
    values["chain_after"] = [float(i // 2 + 1 if i % 2 else 0) for i in range(24)]
    values["chain_before"] = [9.0 if i < 2 else 1.0 for i in range(24)]
    found = seen_chains(values)
    assert sorted(set(found["chain_after"])) == [0, 1, 2, 3]
    assert set(found["chain_before"]) == {1}
    chains = ["chain_before", "chain_after"]
    assert found.drop(columns=chains).equals(values.drop(columns=chains))


@pytest.mark.parametrize("cases", [1, 3])
def test_chains_of_fewer_than_ten_graphs_count_as_far_as_all_have_them(cases):
    values = table(12).assign(case_id=[f"case{i % cases}" for i in range(12)])
    values["chain_before"] = [float(1 + i % cases) for i in range(12)]
    assert set(seen_chains(values)["chain_before"]) == {1}


@pytest.mark.parametrize("p", [1.2, 3.0, 12.0])
def test_starts_rates_and_overlap_of_an_engine_come_back(p):
    draw = np.random.default_rng(0)
    values = table(rows=400)
    for name in ("channels", "ops", "input_elements", "output_elements", "weight_elements"):
        values[name] = np.round(10 ** draw.uniform(3, 7, len(values)))
    values["channels"] = draw.integers(1, 400, len(values)).astype(float)
    values["uneven_padding"] = draw.integers(0, 2, len(values)).astype(float)
    refined = Refined(Roofline(1e12, 1e10, 1e-6), (Unrolling("channels", 16, 0.0),))
    truth = Overlap(refined, 5e-6, (2e-7,), 1.5, 0.0, 0.5, 2.0, 0.7, p, padded_scale=3.0)
    times = truth.time_s(table_matrix(values))
    found = fit_overlap(values.assign(time_s=times), refined, np.ones(len(values)))
    assert found.time_s(table_matrix(values)) == pytest.approx(times, rel=1e-3)
    assert found.start_s == pytest.approx(5e-6, rel=0.02)
    assert found.tile_s == pytest.approx((2e-7,), rel=0.02)
    assert found.padded_scale == pytest.approx(3.0, rel=0.02)
    assert found.overlap == pytest.approx(p, rel=0.1)


def convolutions(rows: int = 300) -> pd.DataFrame:
    """3x3 convolutions of random sizes."""
    draw = np.random.default_rng(0)
    values = table(rows)
    side = draw.integers(3, 200, rows)
    values = values.assign(
        height=side, width=side, output_height=side, output_width=side,
        kernel_height=3, kernel_width=3,
        channels=draw.integers(2, 600, rows), filters=draw.integers(1, 600, rows),
    )  # fmt: skip
    values["macs"] = 9 * side**2 * values["channels"] * values["filters"]
    values["ops"] = 2 * values["macs"]
    values["weight_elements"] = 9 * values["channels"] * values["filters"]
    return values.assign(input_elements=side**2 * values["channels"])


def test_an_engine_of_blocks_is_found_where_it_explains_the_times():
    values, refined = convolutions(), Refined(Roofline(1e12, 1e10, 1e-6))
    seconds = tuple(1e-9 if name == "block_cycles" else 0.0 for name in START_TERMS + ENGINE_TERMS)
    truth = Overlap(refined, 5e-6, (), 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, MYRIAD_X, seconds)
    values["time_s"] = truth.time_s(table_matrix(values))
    found = fit_overlap(values, refined, np.ones(len(values)))
    assert found.blocking == MYRIAD_X
    assert found.time_s(table_matrix(values)) == pytest.approx(values["time_s"], rel=0.02)
    # but for a platform whose convolutions are not cut so
    assert fit_overlap(values, refined, np.ones(len(values)), cut=False).blocking is None
    assert layers_are_cut(values, ())
    plain = Overlap(refined, 5e-6, (), 1.0, 0.0, 1.0, 0.0, 0.0, 2.0)
    assert not layers_are_cut(values.assign(time_s=plain.time_s(table_matrix(values))), ())
    assert not layers_are_cut(values.iloc[:20], ())


@pytest.mark.parametrize("blocking", [MYRIAD_X, MYRIAD_X_AVERAGES])
def test_how_poolings_are_cut_is_found_by_what_they_cost(blocking):
    """Windows of 2 and 3, stride 2: averages of such run in software, maxima on the engine."""
    values = convolutions()
    kernel = np.random.default_rng(2).integers(2, 4, len(values))
    made = (values["height"] - kernel) // 2 + 1
    values = values.assign(
        kernel_height=kernel, kernel_width=kernel, stride_height=2, stride_width=2,
        output_height=made, output_width=made, filters=values["channels"],
        weight_elements=0, macs=0,
    )[made > 0]  # fmt: skip
    values["ops"] = values["kernel_height"] ** 2 * values["output_height"] ** 2 * values["channels"]
    refined = Refined(Roofline(1e12, 1e10, 1e-6))
    known = {"stages": 4e-6, "software_stages": 2e-5, "pass_pixels": 1e-8, "unblocked_macs": 1e-9}
    seconds = tuple(known.get(name, 0.0) for name in START_TERMS + ENGINE_TERMS)
    truth = Overlap(refined, 0.0, (), 0.0, 0.0, 0.01, 0.0, 0.0, 2.0, blocking, seconds)
    values["time_s"] = truth.time_s(table_matrix(values))
    found = fit_overlap(values, refined, np.ones(len(values)))
    assert found.blocking == blocking
    assert found.time_s(table_matrix(values)) == pytest.approx(values["time_s"], rel=0.03)


def test_an_engine_of_blocks_is_left_where_it_explains_nothing():
    values, refined = convolutions(), Refined(Roofline(1e12, 1e10, 1e-6))
    truth = Overlap(refined, 5e-6, (), 1.0, 0.0, 1.0, 0.0, 0.0, 2.0)
    noise = np.random.default_rng(1).normal(0, 0.2, len(values))
    values["time_s"] = truth.time_s(table_matrix(values)) * np.exp(noise)
    assert fit_overlap(values, refined, np.ones(len(values))).blocking is None
    # nor where no window goes over several channels, whatever the times are
    seconds = tuple(1e-9 for _ in START_TERMS + ENGINE_TERMS)
    blocks = Overlap(refined, 5e-6, (), 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, MYRIAD_X, seconds)
    depthwise = values.assign(groups=values["channels"])
    depthwise["time_s"] = blocks.time_s(table_matrix(depthwise))
    assert fit_overlap(depthwise, refined, np.ones(len(values))).blocking is None


def test_an_engine_learns_from_a_single_layer():
    values = table(rows=1)
    found = fit_overlap(values, Refined(Roofline(1e12, 1e10, 1e-6)), np.ones(1))
    assert found.time_s(table_matrix(values)) == pytest.approx(values["time_s"], rel=1e-3)


def test_constant_features_are_dropped():
    values = table()
    assert set(fit(values).models["statistical"].feature_names) == {"channels", "ops", "bytes"}


def test_unusable_table_is_an_error():
    values = table()
    values.loc[3, "time_s"] = 0.0
    with pytest.raises(FitError, match="table of convolution: time_s of row 3"):
        fit(values)


def test_efficiency_targets_by_hand():
    # 1e6 operations in 0.1 ms on 1e11 op/s: 0.1; under u_eff = 12/16 it is 0.1 / 0.75
    values = table(rows=1).assign(ops=1e6, bytes=1e5, channels=12.0)
    roofline = Roofline(1e11, 1e10, 1e-6)
    time_s = np.array([1e-4])
    assert efficiency(matrix(values), time_s, Refined(roofline)) == pytest.approx([0.1])
    refined = Refined(roofline, (Unrolling("channels", 16, 0.0),))
    assert efficiency(matrix(values), time_s, refined) == pytest.approx([0.1 / 0.75])
    # data movement only: 1e5 bytes in 0.1 ms on 1e10 byte/s: 0.1
    moves = Refined(Roofline(None, 1e10, 1e-6))
    assert efficiency(matrix(values), time_s, moves) == pytest.approx([0.1])


def test_large_tables_keep_forests_small():
    generator = np.random.default_rng(0)
    rows = matrix(table(rows=2000))
    rows[:, FEATURES.index("width")] = generator.permutation(2000)
    settings = ForestSettings(trees=100, learner="forest")
    forest = fit_forest(rows, generator.uniform(0.1, 1, 2000), 0, settings).forest
    # 72,000 leaves in all: 720 per tree, 1439 nodes each
    assert len(forest.feature) <= 100 * 1439


def test_weights_decide_which_rows_count():
    rows = matrix(table(rows=2))
    rows[:] = 1.0
    fitted = fit_forest(
        rows,
        np.array([0.1, 0.9]),
        0,
        ForestSettings(trees=40, learner="forest"),
        weights=np.array([1.0, 0.0]),
    )
    assert np.exp(fitted.forest.predict(np.ones((1, 1)))) < 0.9


def stepped(rows: int, seed: int) -> pd.DataFrame:
    """A machine that works on 16 filters by 32 channels at once, whatever is left of either."""
    generator = np.random.default_rng(seed)
    values = pd.DataFrame({name: np.ones(rows) for name in FEATURES})
    for name in ("channels", "filters", "width"):
        values[name] = generator.integers(4, 100, rows).astype(float)
    values["ops"] = values["channels"] * values["filters"] * values["width"] * 1e5
    values["bytes"] = values["ops"] / 1e4
    passes = np.ceil(values["filters"] / 16) * np.ceil(values["channels"] / 32)
    time_s = passes * values["width"] * 16 * 32 * 1e5 / 1e12
    return values.assign(case_id="one", time_s=time_s)  # of one case: no cross-validation


def test_boosting_follows_steps_more_closely_than_a_forest():
    known, unseen = stepped(600, 0), stepped(400, 1)
    errors = {}
    for learner in LEARNERS:
        settings = ForestSettings(learner=learner)
        models = fit_layer_models(known, "convolution", (), 0, settings).models
        assert set(models) == set(KINDS)
        found = models["mixed"].time_s(matrix(unseen))
        errors[learner] = float(np.mean(np.abs(found / unseen["time_s"] - 1)))
    assert errors["boosting"] < 0.7 * errors["forest"]
    assert errors["boosting"] < 0.08


def test_the_best_learner_is_the_one_that_misses_held_out_cases_by_less(monkeypatch):
    monkeypatch.setattr(statistical, "_BOOSTED_TREES", 60)  # which one is chosen is asked, not why
    values = stepped(200, 0).assign(case_id=[f"case {i % 40}" for i in range(200)])
    # one layer in eight is served otherwise, at twenty times the cost, and nothing tells which
    values.loc[::8, "time_s"] *= 20
    errors = {
        learner: fit_layer_models(
            values, "convolution", (), 0, ForestSettings(8, learner=learner)
        ).metrics["mape_percent"]["mixed"]
        for learner in CANDIDATES
    }
    best = fit_layer_models(values, "convolution", (), 0, ForestSettings(8, learner="best"))
    assert best.metrics["learner"] == min(errors, key=errors.get)
    assert best.metrics["mape_percent"]["mixed"] == min(errors.values())


def test_of_equally_good_learners_the_bounded_one_is_taken(monkeypatch):
    monkeypatch.setattr(statistical, "_BOOSTED_TREES", 60)
    values = stepped(200, 0).assign(case_id=[f"case {i % 40}" for i in range(200)])
    values["time_s"] *= np.exp(np.random.default_rng(5).uniform(-0.1, 0.1, len(values)))

    def no_errors(*arguments):
        # whatever is fitted, all learners miss every layer by the same 5%
        times_s = values["time_s"].to_numpy() * 1.05
        return 5, dict.fromkeys(("mixed", "refined", "roofline"), times_s)

    monkeypatch.setattr(layer_fit, "_cross_validate", no_errors)
    found = fit_layer_models(values, "convolution", (), 0, ForestSettings(8, learner="best"))
    assert found.metrics["learner"] == CANDIDATES[-1] == "boosting_clipped"


def test_boosting_twice_is_boosting_once():
    settings = ForestSettings(learner="boosting")
    rows = matrix(table())
    first, second = (
        fit_forest(rows, np.linspace(0.1, 0.9, len(rows)), 3, settings) for _ in range(2)
    )
    assert np.array_equal(first.forest.value, second.forest.value)
    assert np.array_equal(first.forest.predict(rows[:, :3]), second.forest.predict(rows[:, :3]))


def test_what_took_another_path_moves_clipped_trees_by_a_factor_of_two_at_most():
    draw = np.random.default_rng(0)
    columns = draw.uniform(0, 1, (300, 2))
    target = np.where(columns[:, 0] > 0.9, np.log(20.0), 0.05)
    largest = {}
    for learner in ("boosting", "boosting_clipped"):
        fitted = fit_columns(columns, ("a", "b"), target, 0, ForestSettings(learner=learner))
        largest[learner] = fitted.forest.predict(columns).max()
    assert largest["boosting"] > np.log(15.0)
    assert largest["boosting_clipped"] == pytest.approx(np.log(2.0), rel=0.05)


def test_a_few_odd_layers_move_no_leaf_of_coarse_trees():
    """Three rows of one corner that take twice as long: fine trees learn them, coarse ones not."""
    draw = np.random.default_rng(1)
    columns, target = draw.uniform(0, 1, (200, 2)), draw.normal(0, 0.02, 200)
    odd = np.argsort(columns[:, 0])[-3:]
    target[odd] = np.log(2.0)
    largest = {}
    for learner in ("boosting_absolute", "boosting_coarse"):
        fitted = fit_columns(columns, ("a", "b"), target, 0, ForestSettings(learner=learner))
        largest[learner] = fitted.forest.predict(columns).max()
    assert largest["boosting_absolute"] == pytest.approx(np.log(2.0), rel=0.05)
    assert largest["boosting_coarse"] < 0.1


@pytest.mark.parametrize(("learner", "factor"), [("boosting_absolute", 1), ("boosting_long", 2)])
def test_of_what_trees_cannot_tell_apart_long_layers_may_count_more(learner, factor):
    """Forty short layers run as their operations say, twenty long ones take twice as long, and
    leaves of forty rows tell nobody apart: the middle is that of most layers, or of most time."""
    x = np.concatenate([np.linspace(1, 50, 40), np.linspace(1e3, 5e4, 20)])
    values = table(rows=60).assign(channels=1.0, ops=x * 1e7, bytes=1.0)
    values["time_s"] = x * 1e-4 * np.repeat([1, 2], [40, 20])
    settings = ForestSettings(learner=learner, minimum_leaf=40)
    mixed = fit_models(values, (), 0, settings, ("mixed",), None).models["mixed"]
    times = mixed.time_s(matrix(values))
    assert times[40:] == pytest.approx(x[40:] * 1e-4 * factor, rel=0.1)


def test_as_good_is_within_one_standard_error_of_cases():
    """Two rows a case: case sums of what is beyond the mean are what an error is made of."""
    cases = np.repeat(["a", "b", "c", "d"], 2)
    # mean 1, case sums 4, 0, 4, 0, less the mean's 2: standard error of the sum 4, the sum 8
    excess = np.array([2.0, 2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0])
    assert not layer_fit._as_good(excess, cases)
    # the same with a mean of 0.5: the sum 4 is as large as its standard error
    assert layer_fit._as_good(excess - 0.5, cases)
    assert not layer_fit._as_good(np.append(excess - 0.49, np.nan), np.append(cases, "e"))
