"""The command that fits a platform: what is asked for on its line reaches the fit."""

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from model_gen import fit_platform
from model_gen.statistical import DEFAULT_FOREST, ForestSettings
from strata.errors import FitError


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Runs the command with more options; (its result, the settings that a fit was given)."""
    (tmp_path / "layers").mkdir()
    for name in ("layers/add", "mapping", "placements", "networks"):
        pd.DataFrame({"case_id": ["c"]}).to_parquet(tmp_path / f"{name}.parquet")
    given = []

    def settings_only(*arguments):
        settings, decisions, calibration = arguments[-3:]
        assert (decisions, calibration) == ((), None)
        given.append(settings)
        raise FitError("enough")

    for name in ("read_table", "read_mapping", "read_placements", "read_networks"):
        monkeypatch.setattr(fit_platform, name, pd.read_parquet)
    monkeypatch.setattr(fit_platform, "read_unrolling", lambda path: {})
    monkeypatch.setattr(fit_platform, "fit_platform", settings_only)
    application = typer.Typer()
    application.command()(fit_platform.command)

    def run(*options):
        files = [f"--{name}={tmp_path / name}" for name in ("unrolling", "output", "report")]
        line = [str(tmp_path), "--platform=any", *files, *options]
        return CliRunner().invoke(application, line), given

    return run


def test_the_learner_reaches_the_fit(fit):
    _, given = fit("--learner=boosting", "--trees=7", "--minimum-leaf=3")
    assert given == [ForestSettings(trees=7, minimum_leaf=3, learner="boosting")]


def test_without_options_the_best_learner_is_sought(fit):
    _, given = fit()
    assert given == [DEFAULT_FOREST]
    assert DEFAULT_FOREST.learner == "best"


def test_an_unknown_learner_is_refused_before_anything_is_fitted(fit):
    result, given = fit("--learner=oracle")
    assert result.exit_code == 2
    assert not given
    assert "boosting" in result.output
