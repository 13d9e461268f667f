"""Sweeps simulated with a known array are fitted, and the array must come back."""

import numpy as np
import pandas as pd
import pytest

from model_gen.unrolling import (
    UnrollingFit,
    fit_unrolling,
    identified,
    read_unrolling,
    write_unrolling,
)
from strata.equations import roofline_time_s, utilisation_refined
from strata.errors import ArtefactError, FitError
from strata.execution import FEATURES
from strata.layer_models import Unrolling

PEAK_OPS_PER_S, PEAK_BYTES_PER_S = 1e11, 1e12  # bandwidth high enough to keep sweeps compute-bound
POINTS = (
    {"channels": 96, "filters": 128, "output_width": 28, "output_height": 28},
    {"channels": 64, "filters": 64, "output_width": 56, "output_height": 14},
)


def convolution_row(x: dict[str, int]) -> dict[str, float]:
    """A 3x3 convolution's features as far as the fit reads them; the others are 1."""
    macs = 9 * x["channels"] * x["filters"] * x["output_width"] * x["output_height"]
    elements = (x["channels"] + x["filters"]) * x["output_width"] * x["output_height"]
    return dict.fromkeys(FEATURES, 1.0) | x | {"ops": 2.0 * macs, "bytes": 4.0 * elements}


def sweep_table(array, values=range(1, 129), noise=0.0, constant_s=0.0, seed=0, step=1):
    """Times of an array {feature: (s, alpha)}; every feature of it is swept from two points."""
    rows = []
    for feature in array:
        for group, point in enumerate(POINTS):
            for value in list(values)[::step]:
                row = convolution_row(point | {feature: value})
                rows.append(row | {"sweep": feature, "sweep_group": f"{feature}{group}"})
    table = pd.DataFrame(rows)
    x = table[list(array)].to_numpy()
    sizes, alphas = zip(*array.values(), strict=True)
    u_eff = utilisation_refined(x, sizes, alphas)
    time_s = roofline_time_s(table["ops"] / u_eff, table["bytes"], PEAK_OPS_PER_S, PEAK_BYTES_PER_S)
    scatter = np.random.default_rng(seed).normal(0.0, noise, len(table))
    table["time_s"] = (time_s + constant_s) * np.exp(scatter)
    table["case_id"] = [f"case{i}" for i in range(len(table))]
    return table


@pytest.mark.parametrize(("size", "alpha"), [(16, 0.0), (8, 0.5), (12, 0.9), (5, 0.25), (32, 0.1)])
def test_one_dimension_without_noise(size, alpha):
    (fit,) = fit_unrolling(sweep_table({"channels": (size, alpha)}), ["channels"])
    assert fit.identified
    assert fit.size == size
    assert fit.alpha == pytest.approx(alpha, abs=0.01)
    assert fit.residual < 0.001 < fit.next_best_residual <= fit.no_unrolling_residual


def test_two_dimensions_with_noise_and_constant_part():
    array = {"filters": (16, 0.1), "output_width": (6, 0.4)}
    table = sweep_table(array, noise=0.02, constant_s=20e-6)
    for fit, (size, alpha) in zip(fit_unrolling(table, list(array)), array.values(), strict=True):
        assert fit.identified
        assert fit.size == size
        assert fit.alpha == pytest.approx(alpha, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_outliers_do_not_move_the_size(seed):
    table = sweep_table({"channels": (16, 0.2)}, noise=0.02, seed=seed)
    spoiled = np.random.default_rng(seed).choice(len(table), len(table) // 20, replace=False)
    table.loc[spoiled, "time_s"] *= 1.6
    (fit,) = fit_unrolling(table, ["channels"])
    assert (fit.identified, fit.size) == (True, 16)
    assert fit.alpha == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_no_unrolling_is_not_identified(seed):
    """A platform without steps, with noise and a constant part: nothing may be invented."""
    table = sweep_table({"channels": (1, 1.0)}, noise=0.02, constant_s=30e-6, seed=seed)
    (fit,) = fit_unrolling(table, ["channels"])
    assert not fit.identified
    assert fit.reason
    assert identified([fit]) == ()


def test_constant_time_is_not_mistaken_for_a_wide_array():
    table = sweep_table({"channels": (1, 1.0)})
    table["time_s"] = 1e-3
    (fit,) = fit_unrolling(table, ["channels"])
    assert not fit.identified


def test_coarse_sweep_gives_the_smallest_size_that_explains_it():
    """Swept in steps of 4 from 4 on, a size of 16 shows; steps of 1 or 2 cannot be told apart."""
    table = sweep_table({"channels": (16, 0.0)}, values=range(4, 129, 4))
    (fit,) = fit_unrolling(table, ["channels"])
    assert (fit.identified, fit.size) == (True, 16)


def test_repeated_points_are_merged():
    table = sweep_table({"channels": (8, 0.0)}, values=range(1, 65))
    (once,) = fit_unrolling(table, ["channels"])
    (thrice,) = fit_unrolling(pd.concat([table] * 3, ignore_index=True), ["channels"])
    assert once == thrice


def test_dimension_without_a_sweep_says_so():
    fits = fit_unrolling(sweep_table({"channels": (8, 0.0)}), ["channels", "filters"])
    assert [fit.identified for fit in fits] == [True, False]
    assert "no sweep of filters" in fits[1].reason


def test_missing_sweep_column_is_an_error():
    table = sweep_table({"channels": (8, 0.0)}).drop(columns="sweep_group")
    with pytest.raises(FitError, match="sweep_group"):
        fit_unrolling(table, ["channels"])


def test_unknown_dimension_is_an_error():
    with pytest.raises(FitError, match="'depth'"):
        fit_unrolling(sweep_table({"channels": (8, 0.0)}), ["depth"])


def test_fits_survive_their_file(tmp_path):
    fits = {"convolution": fit_unrolling(sweep_table({"channels": (8, 0.5)}), ["channels"])}
    write_unrolling(fits, tmp_path / "unrolling.json")
    assert read_unrolling(tmp_path / "unrolling.json") == fits


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "\x00", '{"convolution": 3}', '{"convolution": [{"size": 3}]}'],
)
def test_broken_file_is_one_line(tmp_path, text):
    path = tmp_path / "unrolling.json"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"unrolling\.json") as caught:
        read_unrolling(path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ArtefactError, match="no such unrolling file"):
        read_unrolling(tmp_path / "none.json")


def test_only_identified_dimensions_are_used():
    def fit(feature, size, is_identified):
        return UnrollingFit(feature, size, 0.5, 0.01, 9, 0.02, 0.1, 99, 2, is_identified)

    fits = [fit("channels", 16, True), fit("filters", 4, False)]
    assert identified(fits) == (Unrolling("channels", 16, 0.5),)
