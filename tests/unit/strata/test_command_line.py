"""The command line: what it prints, what it writes, and how it refuses bad input."""

import json
import os
import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from strata import command_line, platforms
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import FitError, SchemaError
from strata.graph_json import load_graph, save_graph
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, NetworkOverhead, PlatformModel, save_platform_model


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a network, a partly mapped network and a platform."""
    monkeypatch.setattr(platforms, "__file__", str(tmp_path / "none" / "strata" / "platforms.py"))
    monkeypatch.delenv(platforms.ENVIRONMENT_VARIABLE, raising=False)
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    build = GraphBuilder("net")
    build.convolution(build.input(1, 8, 4, 4), 16, 3, name="convolution")
    save_graph(build.build(), current / "net.json")
    build.add(op.Opaque("NonMaxSuppression", (1, 64)), "convolution", name="detections")
    save_graph(build.build(), current / "partly.json")
    # 36,864 operations: 1 ms
    rooflines = {"convolution": {"roofline": Roofline(36.864e6, 62.08e6, 1e-6)}}
    header = Header(
        "board",
        "0",
        "2025-01-01T00:00:00+00:00",
        "default",
        0,
        counts={"convolution": 1234},
        fit_metrics={"convolution": {"sum_error_percent": {"mixed": 4.2}}},
    )
    path = current / "results" / "default" / "board" / "board.strata"
    path.parent.mkdir(parents=True)
    overhead = NetworkOverhead(per_network_s=1e-3)
    save_platform_model(PlatformModel(header, rooflines, MappingModel(), overhead), path)
    return current


def strata(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, list(arguments))


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_estimate_prints_layers_and_total() -> None:
    result = strata("estimate", "net.json", "--platform", "board", "--model", "roofline")
    assert result.exit_code == 0
    assert "net on board, roofline model" in result.stdout
    assert "1 of 1 layers are mapped" in result.stdout
    assert "total 2.000 ms" in result.stdout
    assert result.stderr == ""


def test_estimate_as_json() -> None:
    data = json.loads(strata("estimate", "partly.json", "--platform", "board", "--json").stdout)
    assert data["unmapped"] == ["NonMaxSuppression"]
    assert data["layers"][0]["time_s"] == pytest.approx(1e-3)
    assert data["layers"][0]["fell_back"] is True


def test_estimate_as_csv() -> None:
    lines = strata("estimate", "net.json", "--platform", "board", "--csv").stdout.splitlines()
    assert lines[1].startswith("convolution,convolution,,0.001,0.5,compute,1.0,roofline,True,")
    assert len(lines) == 3


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_output_holds_what_would_have_been_printed(folder: Path, form: list[str]) -> None:
    printed = strata("estimate", "net.json", "--platform", "board", *form).stdout
    result = strata("estimate", "net.json", "--platform", "board", *form, "--output", "new/out.txt")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (folder / "new" / "out.txt").read_text() == printed


def test_plot_is_written_beside(folder: Path) -> None:
    result = strata("estimate", "net.json", "--platform", "board", "--plot", "layers.svg")
    assert result.exit_code == 0
    assert "<svg" in (folder / "layers.svg").read_text()


def test_input_shape_reaches_the_importer() -> None:
    shape = ["--input-shape", "2,8,4,4"]
    data = json.loads(
        strata("estimate", "net.json", "--platform", "board", "--json", *shape).stdout
    )
    assert data["layers"][0]["time_s"] == pytest.approx(2e-3)


def test_platforms_are_listed(folder: Path) -> None:
    (folder / "results" / "full" / "board").mkdir(parents=True)
    (folder / "results" / "full" / "board" / "board.strata").write_bytes(b"no zip")
    result = strata("platforms")
    assert result.exit_code == 0
    for part in ("board", "default", "2025-01-01", "1,234", "4.2 %", "unreadable"):
        assert part in result.stdout


def test_without_platforms_the_list_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "current" / "results")
    result = strata("platforms")
    assert result.exit_code == 0
    assert "make run" in result.stdout


def test_show() -> None:
    result = strata("show", "partly.json")
    assert result.exit_code == 0
    assert "1 of 2 layers could not be mapped: NonMaxSuppression" in result.stdout
    # MACs 16*16 * 8*9
    assert "18,432" in result.stdout
    assert "1 x 16 x 4 x 4" in result.stdout


def test_convert(folder: Path) -> None:
    result = strata("convert", "partly.json", "copy.json", "--input-shape", "2,8,4,4")
    assert result.stdout == "copy.json: 3 layers, 1 not mapped\n"
    assert load_graph(folder / "copy.json")["convolution"].output_shape == (2, 16, 4, 4)


def test_version_and_help() -> None:
    assert strata("--version").stdout.startswith("strata ")
    assert "Commands:" in strata().stdout
    for command in ("estimate", "platforms", "show", "convert"):
        result = strata(command, "--help")
        assert result.exit_code == 0
        assert f"Example:\n    strata {command}" in result.stdout


ESTIMATE = ("estimate", "net.json", "--platform", "board")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("estimate", "missing.onnx", "--platform", "board"), "missing.onnx"),
        (("estimate", "missing.json", "--platform", "board"), "missing.json"),
        (("estimate", "empty.json", "--platform", "board"), "empty.json"),
        (("estimate", "garbage.json", "--platform", "board"), "garbage.json"),
        (("estimate", "results", "--platform", "board"), "results"),
        (("estimate", "net.json", "--platform", "npu"), "legal: board, board@default"),
        (("estimate", "net.json", "--platform", "corrupt.strata"), "corrupt.strata"),
        (("estimate", "net.json", "--platform", "missing.strata"), "missing.strata"),
        ((*ESTIMATE, "--model", "magic"), "legal: mixed, statistical, refined, roofline"),
        ((*ESTIMATE, "--input-shape", "1,a,4"), "legal: positive integers separated by commas"),
        ((*ESTIMATE, "--input-shape", "1,0,4,4"), "legal: positive integers"),
        ((*ESTIMATE, "--input-shape", "²,8,4,4"), "legal: positive integers"),
        ((*ESTIMATE, "--input-shape", ""), "legal: positive integers"),
        ((*ESTIMATE, "--input-shape", "1,8"), "1,8"),
        ((*ESTIMATE, "--json", "--csv"), "--json and --csv exclude each other"),
        ((*ESTIMATE, "--plot", "layers.doc", "--output", "out"), "legal suffixes: .png, .svg"),
        ((*ESTIMATE, "--output", "results"), "results: Is a directory"),
        ((*ESTIMATE, "--output", "net.json/out"), "net.json"),
        (("estimate", "net.json"), "Missing option '--platform'"),
        (("estimate",), "Missing argument 'NETWORK'"),
        (("estimat",), "No such command 'estimat'"),
        (("show", "missing.tflite"), "missing.tflite"),
        (("convert", "net.json", "copy.onnx"), "legal suffix: .json"),
        (("--nonsense",), "No such option"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    (folder / "empty.json").touch()
    (folder / "garbage.json").write_text('{"format": ')
    (folder / "corrupt.strata").write_bytes(b"PK\x03\x04 and then nothing")
    before = written(folder)
    result = strata(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert written(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(folder: Path) -> None:
    (folder / "net.json").chmod(0)
    result = strata(*ESTIMATE)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def registered(monkeypatch: pytest.MonkeyPatch, function: object) -> None:
    """Register `function` as the command "study" of another package."""
    module = types.ModuleType("made_by_test")
    module.command = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_by_test", module)
    entry = EntryPoint("study", "made_by_test:command", command_line.COMMANDS_GROUP)
    monkeypatch.setattr(
        command_line,
        "entry_points",
        lambda group, name=None: [entry] if name in (None, "study") else [],
    )


def test_commands_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def study(count: int) -> None:
        """Count."""
        print("counted", count)

    registered(monkeypatch, study)
    assert strata("study", "3").stdout == "counted 3\n"
    assert "study" in strata("--help").stdout
    assert strata("study", "three").exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FitError("too\nfew rows"), 2, "error: too few rows\n"),
        (PermissionError(13, "Permission denied", "x.csv"), 2, "error: x.csv: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_errors_of_commands(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    def study() -> None:
        raise error

    registered(monkeypatch, study)
    result = strata("study")
    assert (result.exit_code, result.stderr) == (code, line)


def test_a_bug_is_not_dressed_up_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def study() -> None:
        raise ZeroDivisionError

    registered(monkeypatch, study)
    assert isinstance(strata("study").exception, ZeroDivisionError)


def test_a_command_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, None)
    monkeypatch.delitem(sys.modules, "made_by_test")
    result = strata("study")
    assert result.exit_code == 2
    assert "command 'study' cannot be loaded from made_by_test:command" in result.stderr


def test_input_shapes() -> None:
    assert command_line.parse_input_shape(None) is None
    assert command_line.parse_input_shape("1, 3,224,224") == (1, 3, 224, 224)
    with pytest.raises(SchemaError, match="1,3,,4"):
        command_line.parse_input_shape("1,3,,4")


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from strata.command_line import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_as_a_process(folder: Path) -> None:
    good = run_process(*ESTIMATE, "--json")
    assert good.returncode == 0
    assert json.loads(good.stdout)["total_s"] == pytest.approx(2e-3)
    bad = run_process("estimate", "net.json", "--platform", "npu")
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


def test_a_reader_that_leaves_is_no_error(folder: Path) -> None:
    code = "from strata.command_line import main; main()"
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", code, *ESTIMATE]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_json_networks_need_no_toolchain(folder: Path) -> None:
    code = (
        "import sys, strata\n"
        "strata.estimate('net.json', 'results/default/board/board.strata')\n"
        "heavy = {'pandas', 'sklearn', 'scipy', 'matplotlib', 'tensorflow', 'openvino'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
