"""The command that fits the unrolling: what it says, and that bad folders are one line."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from model_gen import fit_unrolling
from model_gen.unrolling import read_unrolling
from strata.execution import FEATURES


@pytest.fixture
def run(tmp_path):
    application = typer.Typer()
    application.command()(fit_unrolling.command)

    def invoke(folder):
        line = [str(folder), f"--output={tmp_path / 'unrolling.json'}"]
        return CliRunner().invoke(application, line)

    return invoke


def sweep(size: int) -> pd.DataFrame:
    table = pd.DataFrame({name: np.ones(32) for name in FEATURES})
    x = np.arange(1.0, 33.0)
    return table.assign(
        channels=x,
        ops=1e6 * x,
        time_s=1e-5 * size * np.ceil(x / size),
        case_id=[f"case{i}" for i in range(32)],
        layer="kernel_0",
        sweep="channels",
        sweep_group="convolution/channels/0",
    )


def folder_of(path, **tables):
    (path / "layers").mkdir(parents=True)
    for operation, table in tables.items():
        table.to_parquet(path / "layers" / f"{operation}.parquet")
    return path


def test_every_swept_layer_type_is_in_the_file_with_its_evidence(run, tmp_path):
    tables = folder_of(tmp_path / "tables", convolution=sweep(8), dense=sweep(1))
    result = run(tables)
    assert result.exit_code == 0, result.output
    assert "convolution channels: s = 8, alpha = 0.00" in result.output
    assert "dense channels: not identified (no size explains the sweeps" in result.output
    fits = read_unrolling(tmp_path / "unrolling.json")
    assert fits["convolution"][0].next_best_residual > 10 * fits["convolution"][0].residual
    (written,) = json.loads((tmp_path / "unrolling.json").read_text())["dense"]
    assert written["identified"] is False


def test_rows_that_no_sweep_asked_for_decide_nothing(run, tmp_path):
    other = sweep(3).assign(layer="tail_0")
    unswept = sweep(5).assign(sweep=None, sweep_group=None)
    table = pd.concat([sweep(8), other, unswept], ignore_index=True)
    assert run(folder_of(tmp_path / "tables", convolution=table)).exit_code == 0
    (fit,) = read_unrolling(tmp_path / "unrolling.json")["convolution"]
    assert (fit.size, fit.points) == (8, 32)


def test_a_platform_that_refused_every_sweep_gives_an_empty_file(run, tmp_path):
    assert run(folder_of(tmp_path / "tables")).exit_code == 0
    assert read_unrolling(tmp_path / "unrolling.json") == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (sweep(8).drop(columns="sweep"), "lacks column sweep, without which no sweep can be told"),
        (sweep(8).drop(columns="layer"), "lacks column layer, without which no sweep can be told"),
        (sweep(8).assign(time_s=np.nan), "time_s of row 0 is nan"),
        (sweep(8).iloc[:0], "no rows"),
    ],
)
def test_faulty_tables_are_one_line_and_write_nothing(run, tmp_path, capfd, table, message):
    result = run(folder_of(tmp_path / "tables", convolution=table))
    assert result.exit_code == 2
    lines = (result.output + capfd.readouterr().err).strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "unrolling.json").exists()


def test_a_folder_that_is_not_there_is_one_line(run, tmp_path, capfd):
    result = run(tmp_path / "none")
    assert result.exit_code == 2
    assert "no such folder; make_tables writes it" in result.output + capfd.readouterr().err
