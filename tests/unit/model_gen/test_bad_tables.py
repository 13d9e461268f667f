"""Faulty tables through the whole fit: refused in one line, or a model that is physically sound.

Estimates are asked for layers far inside and far outside of what was measured: they must be
finite, positive, and no faster than the best that any measured row attained.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from model_gen.fit_platform import command as fit_platform_command
from model_gen.fit_platform import fit_platform
from model_gen.statistical import ForestSettings
from model_gen.unrolling import UnrollingFit
from strata.builder import GraphBuilder
from strata.edges import EDGE_FEATURES
from strata.errors import FitError
from strata.estimate import estimate
from strata.execution import FEATURES
from strata.graph_json import graph_to_dict
from strata.intervals import Widening
from strata.layer_models import KINDS
from strata.placement import PLACEMENT_FEATURES
from strata.platform_model import load_platform_model, save_platform_model

SMALL = ForestSettings(trees=4, learner="forest")
HEADER = {"platform": "faulty", "run": "test", "seed": 0, "data_hashes": {}}
PEAK_OPS_PER_S, PEAK_BYTES_PER_S = 1e11, 1e10


def convolutions(rows: int = 80, seed: int = 0) -> pd.DataFrame:
    """3x3 convolutions at 50 to 100% of a roofline of 100 Gop/s and 10 GB/s."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({name: np.ones(rows) for name in FEATURES})
    for name in ("channels", "filters"):
        table[name] = generator.integers(8, 256, rows).astype(float)
    for name in ("height", "width", "output_height", "output_width"):
        table[name] = generator.integers(7, 56, rows).astype(float)
    area = table["output_height"] * table["output_width"]
    table["macs"] = 9 * table["channels"] * table["filters"] * area
    table["ops"] = 2 * table["macs"]
    table["bytes"] = 4 * (table["channels"] + table["filters"]) * area
    best_s = np.maximum(table["ops"] / PEAK_OPS_PER_S, table["bytes"] / PEAK_BYTES_PER_S)
    return table.assign(
        time_s=best_s / generator.uniform(0.5, 1.0, rows),
        case_id=[f"case{i}" for i in range(rows)],
        layer="kernel_0",
        benchmark="convolution",
        sweep="",
        sweep_group="",
    )


def mapping(rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame(0.0, index=range(rows), columns=list(EDGE_FEATURES)).assign(
        case_id=[f"case{i}" for i in range(rows)],
        role="fusion",
        producer_operation="convolution",
        consumer_operation="activation",
        flag="FUSED",
    )


def placements(rows: int = 20) -> pd.DataFrame:
    return pd.DataFrame(0.0, index=range(rows), columns=list(PLACEMENT_FEATURES)).assign(
        case_id=[f"case{i}" for i in range(rows)], operation="convolution", placement=""
    )


def networks(rows: int = 8) -> pd.DataFrame:
    layers_s = np.linspace(1e-3, 9e-3, rows)
    return pd.DataFrame(
        {
            "case_id": [f"network{i}" for i in range(rows)],
            "benchmark": "cells",
            "time_s": layers_s + 5e-5,
            "layers_s": layers_s,
            "executed_layers": np.arange(5, 5 + rows),
            "input_bytes": 150528,
            "output_bytes": 4000,
            "strides_moved": "kept",
            "bits": 32,
            "host": "{}",
            "toolchain": "{}",
        }
    )


def fit(layers=None, unrolling=None, **tables):
    """fit_platform on sound tables, those given in their place."""
    given = {"mapping": mapping(), "placements": placements(), "networks": networks()} | tables
    layers = {"convolution": convolutions()} if layers is None else layers
    return fit_platform(
        layers,
        given["mapping"],
        given["placements"],
        given["networks"],
        unrolling or {},
        dict(HEADER),
        SMALL,
        calibration=given.get("calibration"),
    )


def calibration(rows: int = 3) -> pd.DataFrame:
    graph = json.dumps(graph_to_dict(probe_graph()))
    return pd.DataFrame(
        {"case_id": [f"whole{i}" for i in range(rows)], "time_s": 2e-3, "graph": graph}
    )


def probe_graph():
    """Layers inside, below and far above the measured range, and types that were never seen."""
    builder = GraphBuilder("probe")
    image = builder.input(1, 3, 224, 224)
    layer = builder.convolution(image, 64, 7, stride=2, activation="relu")
    layer = builder.pooling(layer, "max", 3, 2, "same")
    layer = builder.convolution(layer, 128, 3, activation="relu")
    wide = builder.convolution(layer, 2048, 3)
    one = builder.convolution(wide, 1, 1)
    builder.convolution(one, 8, 3, stride=2)
    return builder.build()


def assert_sound(model, tmp_path=None):
    """Every kind of estimate is finite, above 0 and below no physical bound of the measurements."""
    ceilings = [
        fitted[kind].peaks
        for fitted in model.layer_models.values()
        for kind in ("statistical", "roofline")
        if kind in fitted
    ]
    fastest = max(peaks.peak_ops_per_s or 0.0 for peaks in ceilings)
    for kind in KINDS:
        found = estimate(probe_graph(), model, kind)
        for layer in found.layers:
            assert np.isfinite(layer.time_s), (kind, layer.name)
            assert layer.time_s > 0, (kind, layer.name)
            assert layer.time_s < 100, (kind, layer.name)
            assert layer.utilisation is None or 0 <= layer.utilisation <= 1
        if fastest:
            least_s = probe_graph().work.ops / fastest
            assert found.total_s >= 0.99 * least_s, kind
    if tmp_path is not None:
        save_platform_model(model, tmp_path / "faulty.strata")
        again = load_platform_model(tmp_path / "faulty.strata")
        assert estimate(probe_graph(), again).total_s == pytest.approx(
            estimate(probe_graph(), model).total_s
        )


def test_sound_tables_give_a_sound_model(tmp_path):
    model, report = fit()
    assert_sound(model, tmp_path)
    assert report["undecided"] == []


@pytest.mark.parametrize("column", ["case_id", "time_s", "ops", "bytes", "channels", "activation"])
def test_a_missing_column_is_refused(column):
    with pytest.raises(FitError, match=f"table of convolution: lacks column {column}") as caught:
        fit({"convolution": convolutions().drop(columns=column)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, 0.0, -1e-3, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 79])
def test_times_that_are_none_are_refused(value, row):
    table = convolutions()
    table.loc[row, "time_s"] = value
    with pytest.raises(FitError, match=f"table of convolution: time_s of row {row} is"):
        fit({"convolution": table})


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
@pytest.mark.parametrize("column", ["ops", "channels", "stride_width"])
def test_features_that_are_none_are_refused(column, value):
    table = convolutions()
    table.loc[3, column] = value
    with pytest.raises(FitError, match=f"table of convolution: {column} of row 3 is"):
        fit({"convolution": table})


def test_text_for_numbers_and_an_empty_table_are_refused():
    with pytest.raises(FitError, match="column time_s holds"):
        fit({"convolution": convolutions().assign(time_s="fast")})
    with pytest.raises(FitError, match="table of convolution: no rows"):
        fit({"convolution": convolutions().iloc[:0]})
    with pytest.raises(FitError, match="no layer table"):
        fit({})


def test_a_table_of_no_layer_type_is_refused():
    with pytest.raises(FitError, match=r"table of convolutoin: unknown operation .*add"):
        fit({"convolutoin": convolutions()})
    with pytest.raises(FitError, match="table of convolution@moon: unknown placement"):
        fit({"convolution@moon": convolutions()})


def test_one_row_gives_the_roofline_and_says_so(tmp_path):
    model, report = fit({"convolution": convolutions(1)})
    assert set(model.layer_models["convolution"]) == {"roofline"}
    assert any("roofline only" in note for note in report["notes"])
    assert all(layer.fell_back for layer in estimate(probe_graph(), model).layers)
    assert_sound(model, tmp_path)


@pytest.mark.parametrize("rows", [4, 29])
def test_few_rows_give_an_engine_without_trees_and_say_so(rows, tmp_path):
    model, report = fit({"convolution": convolutions(rows)})
    assert set(model.layer_models["convolution"]) == {"roofline", "mixed"}
    assert any(f"no trees: {rows} usable rows" in note for note in report["notes"])
    assert_sound(model, tmp_path)


def test_constant_features_give_a_sound_model():
    constant = convolutions().iloc[[0] * 60].reset_index(drop=True)
    times = constant["time_s"] * np.linspace(1, 1.2, 60)
    model, _ = fit({"convolution": constant.assign(time_s=times, case_id=convolutions(60).case_id)})
    assert_sound(model)


def test_a_single_varying_feature_gives_a_sound_model():
    table = convolutions().iloc[[0] * 60].reset_index(drop=True)
    table["filters"] = np.arange(1.0, 61.0)
    table["ops"] = 2.0 * 9 * table["channels"] * table["filters"] * 100
    table = table.assign(time_s=table["ops"] / 1e10, case_id=convolutions(60).case_id)
    assert_sound(fit({"convolution": table})[0])


def test_repeated_rows_count_once_and_are_noted():
    table = convolutions()
    twice, _ = fit({"convolution": pd.concat([table, table], ignore_index=True)})
    once, report = fit({"convolution": table})
    assert not any("repeat" in note for note in report["notes"])
    assert "convolution: 80 rows that repeat another were left out" in twice.header.notes
    for kind in KINDS:
        pair = [estimate(probe_graph(), model, kind).total_s for model in (once, twice)]
        assert pair[0] == pair[1]


def test_one_row_a_hundred_times_is_one_row():
    model, report = fit({"convolution": convolutions(1).iloc[[0] * 100].reset_index(drop=True)})
    assert set(model.layer_models["convolution"]) == {"roofline"}
    assert any("roofline only: 1 usable rows" in note for note in report["notes"])
    assert_sound(model)


def test_a_point_measured_again_with_another_time_is_no_repetition():
    table = convolutions()
    again = table.assign(time_s=1.01 * table["time_s"])
    model, report = fit({"convolution": pd.concat([table, again], ignore_index=True)})
    assert model.header.counts["convolution"] == 160
    assert not any("repeat" in note for note in report["notes"])


def test_a_layer_type_never_seen_falls_back_and_says_so():
    model, _ = fit()  # only convolutions were measured
    found = {layer.operation: layer for layer in estimate(probe_graph(), model).layers}
    assert found["max_pooling"].fell_back
    assert found["max_pooling"].model_used == "fallback: no model of max_pooling"
    assert not found["max_pooling"].in_range
    assert found["max_pooling"].time_s > 0


def test_one_absurd_time_in_many_does_not_take_the_others_along():
    table = convolutions(400)
    sound = estimate(probe_graph(), fit({"convolution": table})[0]).total_s
    table.loc[7, "time_s"] *= 1e6  # a suspended laptop
    assert estimate(probe_graph(), fit({"convolution": table})[0]).total_s < 10 * sound


def test_an_unrolling_of_an_extent_that_is_zero_somewhere_is_refused():
    table = convolutions()
    table.loc[5, "channels"] = 0.0
    sizes = {"convolution": [UnrollingFit("channels", 16, 0.1, 0, 1, 0.1, 0.1, 99, 2, True)]}
    with pytest.raises(FitError, match="channels of row 5 is 0"):
        fit({"convolution": table}, sizes)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("mapping", lambda t: t.drop(columns="flag"), "mapping table: column.* flag missing"),
        ("mapping", lambda t: t.drop(columns="case_id"), "mapping table: column.* case_id missing"),
        ("mapping", lambda t: t.assign(flag="MAYBE"), "flag of row 0 is 'MAYBE', legal: FUSED"),
        ("mapping", lambda t: t.assign(flag=None), "flag of row 0 is None"),
        ("mapping", lambda t: t.assign(role="guess"), "role of row 0 is 'guess'"),
        ("mapping", lambda t: t.assign(producer_width=np.nan), "producer_width of row 0 is"),
        ("mapping", lambda t: t.assign(consumer_operation=None), "consumer_operation of row 0"),
        ("mapping", lambda t: pd.DataFrame(), "mapping table: column.* missing"),
        ("placements", lambda t: t.drop(columns="placement"), "placement table: column"),
        ("placements", lambda t: t.assign(placement="moon"), "placement of row 0 is 'moon'"),
        ("placements", lambda t: t.assign(weight_bytes_1=np.inf), "weight_bytes_1 of row 0 is inf"),
        ("networks", lambda t: t.iloc[:0], "networks table: no rows"),
        ("networks", lambda t: t.drop(columns="host"), "networks table: column.* host missing"),
        ("networks", lambda t: t.assign(time_s=0.0), "time_s of row 0 is 0.0, must be above 0"),
        ("networks", lambda t: t.assign(time_s=np.nan), "time_s of row 0 is"),
        ("networks", lambda t: t.assign(layers_s=-1.0), "layers_s of row 0 is -1.0"),
        ("networks", lambda t: t.assign(host="no JSON"), "host holds 'no JSON'"),
        ("networks", lambda t: t.assign(toolchain="[]"), "toolchain holds '\\[\\]'"),
        ("calibration", lambda t: t.drop(columns="graph"), "calibration table.*graph missing"),
        ("calibration", lambda t: t.assign(time_s=0.0), "time_s of row 0 is 0.0, must be above 0"),
        ("calibration", lambda t: t.assign(graph="[]"), "graph of whole0"),
        ("calibration", lambda t: t.assign(graph="{"), "graph of whole0"),
        ("calibration", lambda t: t.assign(graph=None), "graph of whole0"),
    ],
)
def test_faults_of_the_other_tables_are_refused(table, change, message):
    made = (mapping, placements, networks, calibration)
    sound = {each.__name__: each for each in made}[table]()
    with pytest.raises(FitError, match=message) as caught:
        fit(**{table: change(sound)})
    assert "\n" not in str(caught.value)


def test_no_decisions_and_no_placements_at_all_give_a_sound_model():
    model, _ = fit(mapping=mapping(0), placements=placements(0))
    assert_sound(model)


def test_what_stays_undecided_is_in_the_report():
    table = mapping().assign(flag=["FUSED"] * 19 + ["POSSIBLY_FUSED"])
    _, report = fit(mapping=table)
    (row,) = report["undecided"]
    assert (row["pair"], row["case_id"]) == ("convolution->activation", "case19")
    assert row["reason"] == "not measured again"
    json.dumps(report)


@pytest.mark.parametrize("rows", [0, 3])
def test_too_few_calibration_networks_are_a_note(rows):
    model, report = fit(calibration=calibration(rows))
    assert any("too few networks measured for their totals" in note for note in report["notes"])
    assert report["notes"] == list(model.header.notes)


def test_a_calibration_network_that_stands_twice_counts_once():
    twice = pd.concat([calibration(), calibration()])
    _, report = fit(calibration=twice)
    assert any("3 rows repeat others' cases" in note for note in report["notes"])


def test_header_of_the_model_keeps_what_was_left_out():
    busy = convolutions().assign(other_core_load=[1.0] + [0.0] * 79)
    model, _ = fit({"convolution": busy})
    assert any("1 rows measured beside other work" in note for note in model.header.notes)
    assert model.header.counts == {"convolution": 80}


@pytest.fixture
def command(tmp_path):
    """A folder of sound tables, and the command run on it; (exit code, what it said)."""
    (tmp_path / "layers").mkdir()
    convolutions().to_parquet(tmp_path / "layers" / "convolution.parquet")
    for name, table in (("mapping", mapping()), ("placements", placements())):
        table.to_parquet(tmp_path / f"{name}.parquet")
    networks().to_parquet(tmp_path / "networks.parquet")
    (tmp_path / "unrolling.json").write_text("{}")
    application = typer.Typer()
    application.command()(fit_platform_command)

    def run(*options):
        line = [str(tmp_path), "--platform=faulty", f"--unrolling={tmp_path / 'unrolling.json'}"]
        line += [f"--output={tmp_path / 'out.strata'}", f"--report={tmp_path / 'fit.json'}"]
        return CliRunner().invoke(application, [*line, "--trees=2", *options])

    return run


@pytest.mark.parametrize("name", ["mapping", "placements", "networks"])
@pytest.mark.parametrize("fault", ["missing", "broken", "empty"])
def test_files_that_are_none_are_one_line(command, tmp_path, capfd, name, fault):
    path = tmp_path / f"{name}.parquet"
    if fault == "broken":
        path.write_bytes(b"PAR1 and nothing else")
    elif fault == "empty":
        pd.DataFrame().to_parquet(path)
    else:
        path.unlink()
    result = command()
    lines = (result.output + capfd.readouterr().err).strip().splitlines()
    assert (result.exit_code, len(lines)) == (2, 1), lines
    assert f"{name}.parquet: " in lines[0]
    assert not (tmp_path / "out.strata").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda folder: (folder / "layers" / "convolution.parquet").unlink(), "no layer tables"),
        (lambda folder: (folder / "unrolling.json").unlink(), "no such unrolling file"),
        (lambda folder: (folder / "unrolling.json").write_text("[1"), "not an unrolling file"),
    ],
)
def test_other_missing_files_are_one_line(command, tmp_path, capfd, fault, message):
    fault(tmp_path)
    result = command()
    lines = (result.output + capfd.readouterr().err).strip().splitlines()
    assert (result.exit_code, len(lines)) == (2, 1), lines
    assert message in lines[0]


def test_decisions_that_are_not_there_are_one_line(command, tmp_path, capfd):
    result = command(f"--decisions={tmp_path / 'none.json'}")
    assert result.exit_code == 2
    assert "no such file of fusion decisions" in result.output + capfd.readouterr().err


def test_two_processes_fit_what_one_does(tmp_path, monkeypatch):
    """To the byte. Lists of samples and names, which nothing is fitted to, change nothing."""
    more = {"samples_s": [np.array([1e-3])] * 300, "absorbed": [["kernel_0/relu"]] * 300}
    layers = {"convolution": convolutions(300).assign(**more), "dense": convolutions(250, 1)}
    found = []
    for rows in (10**9, 0):
        monkeypatch.setattr("model_gen.fit_platform._ROWS_OF_TWO_PROCESSES", rows)
        model, report = fit(layers)
        model = replace(model, header=replace(model.header, created=""))
        save_platform_model(model, tmp_path / "model.strata")
        found.append(((tmp_path / "model.strata").read_bytes(), report))
    assert found[0] == found[1]
    assert model.intervals.layers.keys() == {"convolution", "dense"}
    assert model.intervals.widening != Widening()
