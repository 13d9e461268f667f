"""A machine moves bytes by known rules; fitting its tables must give them back."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from model_gen.statistical import ForestSettings
from model_gen.tables import TRAFFIC, check_table, table_matrix
from model_gen.traffic_fit import fit_traffic
from strata.errors import FitError
from strata.execution import FEATURES

SETTINGS = ForestSettings(trees=24, learner="forest")


def table(rows: int = 800, seed: int = 0) -> pd.DataFrame:
    """3x3 convolutions at 8 bits with random channels, filters and sizes.

    SRAM: the input once per 64 filters, the output once. Flash: weights, compressed to 3/4 above
    9,216 of them. DRAM: everything where it is more than 256 KiB, else nothing.
    """
    generator = np.random.default_rng(seed)
    found = pd.DataFrame({name: np.ones(rows) for name in FEATURES})
    channels, filters = (generator.integers(8, 256, rows).astype(float) for _ in range(2))
    size = generator.integers(4, 64, rows).astype(float)
    weights, read, written = 9 * channels * filters, channels * size**2, filters * size**2
    every = weights + read + written
    columns = {
        **{"channels": channels, "filters": filters, "height": size, "width": size},
        **{"weight_elements": weights, "input_elements": read, "output_elements": written},
        **{"bytes": every, "macs": weights * size**2, "ops": 2 * weights * size**2},
        "time_s": weights * size**2 / 1e12 + 1e-6,
        "sram_bytes": read * np.ceil(filters / 64) + written,
        "flash_bytes": weights * np.where(weights > 9216, 0.75, 1.0),
        "dram_bytes": np.where(every > 2**18, every, 0.0),
        "case_id": [f"case{seed}_{i}" for i in range(rows)],
    }
    return found.assign(**columns)


def errors(models, unseen: pd.DataFrame) -> dict[str, float]:
    """Sum of absolute errors over sum of bytes, per memory."""
    matrix = table_matrix(unseen)
    return {
        memory: float(
            np.abs(model.moved_bytes(matrix) - unseen[TRAFFIC[memory]]).sum()
            / unseen[TRAFFIC[memory]].sum()
        )
        for memory, model in models.items()
    }


@pytest.fixture(scope="module")
def fit():
    return fit_traffic({"convolution": table()}, 8, 0, SETTINGS)


def test_the_rules_come_back_on_layers_never_seen(fit):
    found = errors(fit.traffic.models["convolution"], table(seed=99))
    assert found["sram"] < 0.05
    assert found["flash"] < 0.01
    assert found["dram"] < 0.02
    assert fit.notes == []


def test_traffic_is_the_same_whatever_times_are_fitted_by(fit):
    boosted = fit_traffic({"convolution": table()}, 8, 0, replace(SETTINGS, learner="boosting"))
    assert boosted.metrics == fit.metrics


def test_metrics_say_the_same_of_cases_held_out_and_name_the_baseline(fit):
    metrics = fit.metrics["convolution"]["traffic"]
    found = errors(fit.traffic.models["convolution"], table(seed=99))
    for memory, share in found.items():
        each = metrics[memory]
        assert each["sum_error_percent"]["model"] == pytest.approx(100 * share, abs=2.0)
        assert each["sum_error_percent"]["model"] < each["sum_error_percent"]["every_byte_once"]
        assert (each["rows"], each["folds"]) == (800, 3)
    # weights are kept in flash: once each is too much where they are compressed
    large = table()[table()["flash_bytes"] > 1024]
    compressed = large["weight_elements"] / large["flash_bytes"]
    assert metrics["flash"]["mape_percent"]["every_byte_once"] == pytest.approx(
        100 * (compressed - 1).mean(), rel=1e-6
    )
    # activations once each: what is read again is missing
    sram = table()[table()["sram_bytes"] > 1024]
    once = sram["input_elements"] + sram["output_elements"]
    assert metrics["sram"]["mape_percent"]["every_byte_once"] == pytest.approx(
        100 * (1 - once / sram["sram_bytes"]).mean(), rel=1e-6
    )


def test_layers_that_leave_a_memory_alone_are_told_apart(fit):
    unseen = table(seed=99)
    model = fit.traffic.models["convolution"]["dram"]
    guess = model.moved_bytes(table_matrix(unseen)) > 0
    assert np.mean(guess == (unseen["dram_bytes"] > 0)) > 0.98
    assert fit.metrics["convolution"]["traffic"]["dram"]["unused_rows"] == int(
        (table()["dram_bytes"] == 0).sum()
    )


def test_a_memory_that_no_layer_uses_is_exactly_zero_everywhere():
    found = fit_traffic({"convolution": table(100).assign(flash_bytes=0.0)}, 8, 0, SETTINGS)
    model = found.traffic.models["convolution"]["flash"]
    wild = np.random.default_rng(1).uniform(0, 1e9, (50, len(FEATURES)))
    assert model.moved_bytes(wild).tolist() == [0.0] * 50
    metrics = found.metrics["convolution"]["traffic"]["flash"]
    assert metrics["sum_error_percent"]["model"] is None  # nothing to be a part of


def test_a_few_zeros_break_nothing():
    zeros = table()
    zeros.loc[[3, 400, 777], "sram_bytes"] = 0.0
    found = fit_traffic({"convolution": zeros}, 8, 0, SETTINGS)
    assert errors(found.traffic.models["convolution"], table(seed=99))["sram"] < 0.06


@pytest.mark.parametrize("known", [0, 29])
def test_too_few_rows_are_unknown_with_a_note_never_zero(known):
    short = table(100)
    short.loc[short.index[known:], "flash_bytes"] = np.nan
    found = fit_traffic({"convolution": short, "add": table(60)}, 8, 0, SETTINGS)
    assert found.traffic.memories == ("sram", "flash", "dram")
    assert set(found.traffic.models["convolution"]) == {"sram", "dram"}
    assert found.notes == [
        f"convolution: flash traffic is unknown: {known} rows tell it, a model needs 30"
    ]


def test_rows_without_traffic_are_left_out_and_counted():
    some = table(200)
    some.loc[some.index[:50], "sram_bytes"] = np.nan
    found = fit_traffic({"convolution": some}, 8, 0, SETTINGS)
    assert found.metrics["convolution"]["traffic"]["sram"]["rows"] == 150
    assert found.notes == ["convolution: sram traffic of 50 rows is unknown"]


@pytest.mark.parametrize("column", ["absent", "empty", "nothing"])
def test_tables_that_know_of_no_traffic_give_no_models(column):
    bare = table(50).drop(columns=list(TRAFFIC.values()))
    if column != "absent":
        value = np.nan if column == "empty" else None
        bare = bare.assign(**dict.fromkeys(TRAFFIC.values(), value))
    found = fit_traffic({"convolution": check_table(bare, "table")}, 8, 0, SETTINGS)
    assert (found.traffic.memories, found.metrics, found.notes) == ((), {}, [])


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_traffic_that_cannot_be_is_named_with_its_row(value):
    broken = table(40)
    broken.loc[7, "dram_bytes"] = value
    with pytest.raises(FitError, match=f"here: dram_bytes of row 7 is {value}, must be finite"):
        check_table(broken, "here")


def test_a_single_case_has_a_model_and_no_metrics_of_it():
    single = table(40).assign(case_id="one")
    metrics = fit_traffic({"convolution": single}, 8, 0, SETTINGS).metrics["convolution"]
    assert metrics["traffic"]["sram"]["folds"] == 0
    assert "model" not in metrics["traffic"]["sram"]["sum_error_percent"]
