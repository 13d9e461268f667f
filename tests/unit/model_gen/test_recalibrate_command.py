"""`strata recalibrate`: what it writes, what it says, and how it refuses bad input."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from model_gen.network_parts import NetworkParts
from model_gen.recalibrate import Candidate, Recalibration, interval_factor, recalibrate
from strata import command_line, platforms
from strata import operations as op
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.graph_json import save_graph
from strata.intervals import Intervals, NetworkSpread, Widths
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import (
    Header,
    NetworkOverhead,
    PlatformModel,
    load_platform_model,
    save_platform_model,
)

SIZES = (8, 16, 24, 32, 48, 64)
SPREAD = NetworkSpread(
    common=1.0,
    per_layer_s=0.0,
    floor=0.01,
    widths=(Widths(None, (0.5, 1.0, 1.6, 2.0)),),
)
INTERVALS = Intervals(
    layers={"convolution": (Widths(None, (0.01, 0.02, 0.03, 0.04)),)},
    pooled=(0.01, 0.02, 0.03, 0.04),
    unmeasured=(0.1, 0.2, 0.3, 0.4),
    network=SPREAD,
)


def network(size):
    build = GraphBuilder(f"net{size}")
    build.convolution(build.input(1, 8, size, size), 16, 3, name="convolution")
    build.add(op.Activation("relu"), "convolution", name="relu")
    build.pooling("relu", "max", 2, name="pooling")
    return build.build()


def model(**changes):
    ranges = {name: {"channels": (1.0, 1e6)} for name in ("convolution", "max_pooling")}
    header = Header("board", "0", "2025-01-01T00:00:00+00:00", "default", 0, ranges=ranges)
    rooflines = {
        "convolution": {"roofline": Roofline(1e9, 1e9, 1e-6)},
        "max_pooling": {"roofline": Roofline(1e8, 1e8, 1e-6)},
    }
    overhead = NetworkOverhead(per_network_s=1e-4)
    plain = PlatformModel(header, rooflines, MappingModel(), overhead, intervals=INTERVALS)
    return replace(plain, **changes)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A current folder with networks and the platform `board`."""
    monkeypatch.setattr(platforms, "__file__", str(tmp_path / "none" / "strata" / "platforms.py"))
    monkeypatch.delenv(platforms.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    for size in SIZES:
        save_graph(network(size), tmp_path / f"net{size}.json")
    save_platform_model(model(), tmp_path / "board.strata")
    return tmp_path


def times(factor=1.0, sizes=SIZES):
    return {f"net{size}.json": factor * estimate(network(size), model()).total_s for size in sizes}


def written(path, rows, unit="time_s"):
    scale = {"time_s": 1.0, "time_ms": 1e3}[unit]
    lines = [f"network,{unit}", *(f"{name},{scale * time_s!r}" for name, time_s in rows.items())]
    path.write_text("\n".join(lines) + "\n")


def strata(*arguments):
    return CliRunner().invoke(command_line.app, [str(one) for one in arguments])


def run(measured="times.csv", output="moved.strata", *more):
    return strata("recalibrate", "board.strata", "--measured", measured, "--output", output, *more)


def refused(said, *arguments):
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert said in found.stderr


def test_another_clock_is_found_and_estimates_follow(folder):
    written(folder / "times.csv", times(2.5), "time_ms")
    found = run()
    assert found.exit_code == 0, found.output
    assert "mean error: 60.0% before" in found.stdout
    moved = load_platform_model(folder / "moved.strata")
    for size in SIZES:
        ratio = estimate(network(size), moved).total_s / estimate(network(size), model()).total_s
        assert ratio == pytest.approx(2.5, rel=0.01)
    assert moved.header.platform == "moved"
    assert moved.header.recalibrated.startswith("board with 6 measured networks")
    assert moved.adjustment.networks[0].name == "net8"
    assert moved.adjustment.networks[0].time_s == pytest.approx(times(2.5)["net8.json"])
    assert "recalibrated from board" in moved.header.notes[-1]
    assert (len(moved.adjustment.sha256), moved.adjustment.original) == (64, "board")
    shown = strata("estimate", "net8.json", "--platform", "moved.strata")
    assert "recalibrated from board with 6 measured networks" in shown.stdout


def test_the_list_of_platforms_says_what_is_recalibrated(folder, monkeypatch):
    written(folder / "times.csv", times(2.5))
    run("times.csv", "mine/fast.strata", "--name", "fast_board")
    assert load_platform_model(folder / "mine" / "fast.strata").header.platform == "fast_board"
    monkeypatch.setenv(platforms.ENVIRONMENT_VARIABLE, str(folder / "mine"))
    assert "fast: recalibrated from board with 6" in strata("platforms").stdout


def test_its_own_estimates_leave_it_as_it_was_with_a_warning(folder):
    written(folder / "times.csv", times())
    found = run()
    assert found.exit_code == 0
    assert "warning: no adjustment is better" in found.stderr
    moved = load_platform_model(folder / "moved.strata")
    assert moved.adjustment.form == "unchanged"
    assert estimate(network(8), moved).total_s == estimate(network(8), model()).total_s


def test_lines_of_strata_measure_are_read_too(folder):
    rows = [
        {"format": "strata-measurement", "file": str(folder / name), "time_s": s, "platform": "x"}
        for name, s in times(0.5).items()
    ]
    (folder / "times.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert run("times.jsonl").exit_code == 0
    rows[2]["platform"] = "y"
    (folder / "times.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    refused("times.jsonl, line 3: measured on 'y', others on 'x'", "times.jsonl")
    (folder / "times.jsonl").write_text('{"format": "strata-estimate"}\n')
    refused("times.jsonl, line 1: no measured network file; legal", "times.jsonl")
    (folder / "times.jsonl").write_text("network\n")
    refused("times.jsonl, line 1: no JSON; legal", "times.jsonl")


def test_networks_lie_beside_the_file_that_names_them(folder):
    (folder / "there").mkdir()
    for size in SIZES:
        (folder / f"net{size}.json").rename(folder / "there" / f"net{size}.json")
    written(folder / "there" / "times.csv", times(2.0))
    assert run("there/times.csv").exit_code == 0


def test_three_networks_are_enough_and_two_are_not(folder):
    written(folder / "times.csv", times(2.0, SIZES[:3]))
    assert run().exit_code == 0
    written(folder / "times.csv", times(2.0, SIZES[:2]))
    refused("times.csv: 2 networks; legal: 3 or more", "times.csv", "few.strata")
    assert not (folder / "few.strata").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: columns are missing; legal: network and one of time_ms, time_s"),
        ("network\nnet8.json\n", "columns are network; legal"),
        ("network,time_s,time_ms\n", "legal: network and one of"),
        ("network,time_s,clock\n", "columns are network, time_s, clock; legal"),
        ("network,time_s\nnet8.json,1,2\n", "line 2: 3 cells; legal: 2"),
        ("network,time_s\nnet8.json,fast\n", "line 2: time_s is 'fast'; legal: a number above 0"),
        ("network,time_s\nnet8.json,0\n", "time_s is '0'; legal"),
        ("network,time_s\nnet8.json,nan\n", "time_s is 'nan'; legal"),
        ("network,time_s\nnet8.json,-1\n", "time_s is '-1'; legal"),
        ("network,time_s\nnone.onnx,1\n", "line 2: network 'none.onnx' does not exist; legal"),
        ("network,time_s\n,1\n", "network '' does not exist"),
        ("network,time_s\nnet8.json,1\n./net8.json,1\n", "line 3: network './net8.json' is given"),
        ('network,time_s\n"net8.json,1\n', "legal: CSV"),
        ("network,time_s\ntimes.csv,1\nnet8.json,1\nnet16.json,1\n", "times.csv, line 2: "),
    ],
)
def test_bad_rows_are_named_in_one_line(folder, text, said):
    (folder / "times.csv").write_text(text)
    refused(said)
    assert not (folder / "moved.strata").exists()


def test_other_files_and_names_are_refused(folder):
    written(folder / "times.csv", times(2.0))
    (folder / "times.txt").write_text("")
    (folder / "latin.csv").write_bytes(b"network,time_s\n\xff,1\n")
    refused("legal suffixes: .csv, .json, .jsonl", "times.txt")
    refused("latin.csv: not UTF-8", "latin.csv")
    refused("none.csv: No such file", "none.csv")
    refused("--output is 'moved.zip'; legal suffix: .strata", "times.csv", "moved.zip")
    refused("legal: another file", "times.csv", "board.strata")
    refused("--name is 'a@b'; legal", "times.csv", "moved.strata", "--name", "a@b")
    unknown = strata("recalibrate", "nobody", "--measured", "times.csv", "--output", "x.strata")
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (2, 1)


def test_a_recalibrated_model_is_not_recalibrated_again(folder):
    written(folder / "times.csv", times(2.0))
    run()
    again = strata(
        "recalibrate", "moved.strata", "--measured", "times.csv", "--output", "third.strata"
    )
    assert again.exit_code == 2
    assert "itself recalibrated from board; legal: the original" in again.stderr


def test_a_network_whose_time_is_not_known_whole_is_refused(folder, monkeypatch):
    written(folder / "times.csv", times(2.0))
    untimed = replace(estimate(network(8), model()).layers[0], time_s=None)
    monkeypatch.setattr(
        "model_gen.network_parts.estimate_executed",
        lambda *_: replace(estimate(network(8), model()), layers=(untimed,)),
    )
    refused("times.csv, line 2: network 'net8' on board: 1 executed layers take a time that is not")


def test_times_in_another_unit_raise_a_warning(folder):
    written(folder / "times.csv", times(1000.0))
    assert "are the times in the unit that their column says?" in run().stderr


def left_out(errors):
    after = 1 + pytest.importorskip("numpy").array(errors)
    return Recalibration(Candidate("factor"), 1.0, {}, 0.0, 0.0, after, after, {})


def test_intervals_are_widened_by_the_errors_on_networks_left_out():
    parts = [NetworkParts("n", {"compute/dense": 1.0}, 1, half_width=0.1)] * 5
    # five networks: the largest of |log(1.2)| / 0.1
    assert interval_factor(left_out([0.1, 0.0, 0.2, -0.05, 0.01]), parts) == pytest.approx(1.823216)
    assert interval_factor(left_out([0.01] * 5), parts) == 1.0
    assert interval_factor(left_out([0.5] * 5), [replace(p, half_width=None) for p in parts]) == 1.0
    # nineteen: the 18th of them, ceil(0.9 * 20)
    errors = [0.01 * k for k in range(19)]
    wide = interval_factor(left_out(errors), parts[:1] * 19)
    assert wide == pytest.approx(1.570038)  # log(1.17) / 0.1


def test_widening_scales_half_widths_of_layers_and_of_the_total():
    kept = left_out([0.0] * 3).adjustment("board", "", (), widening=3.0)
    before = estimate(network(32), model())
    after = estimate(network(32), model(adjustment=kept))
    for old, new in ((before, after), *zip(before.layers, after.layers, strict=True)):
        for level, (low, high) in old.intervals_s.items():
            wide = (low / high) ** 3
            assert new.intervals_s[level][0] / new.intervals_s[level][1] == pytest.approx(wide)
    assert before.interval_s() is not None


def test_below_three_networks_nothing_is_fitted():
    with pytest.raises(Exception, match="2 measured networks cannot recalibrate") as caught:
        recalibrate([NetworkParts("n", {"per_network": 1.0}, 1)] * 2, [1.0, 2.0])
    assert type(caught.value).__name__ == "FitError"
