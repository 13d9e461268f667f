"""Steps of the array by hand, through the fit, and through Vela."""

import math

import pytest
import typer
from typer.testing import CliRunner

from benchmark.plan import make_case
from benchmark.sweep import plan_sweeps
from evaluation import ethos_u_steps as steps
from hardware_modules.ethos_u_compiler import missing
from strata.errors import UnsupportedLayer

PERF = ("id", "source_id", "operator", "name", "op_cycles", "npu_cycles")
MAIN = ("id", "mac_cycles", "traversal")
LAYERS = (("kernel", "kernel/relu"), ("head",), ())


def answer(perf, main):
    return {
        "tables": {
            "perf": {"columns": PERF, "rows": perf},
            "perf_debug_main": {"columns": MAIN, "rows": main},
            "source": {
                "columns": ("id", "operator", "ext_key"),
                "rows": [[f"s{i}", "CONV_2D", str(i)] for i in range(3)],
            },
        }
    }


def test_cycles_are_those_of_the_swept_layers_operations():
    perf = [
        ["1", "s0", "MemoryCopy", "", "5", "4"],
        ["2", "s0", "Conv2D", "", "30", "20"],
        ["3", "s0", "Relu", "", "0", "0"],
        ["4", "s1", "Conv2D", "", "100", "100"],
        ["5", "s2", "Quantize", "", "7", "7"],
        ["6", "s9", "Quantize", "", "7", "7"],
    ]
    main = [["2", "12", "DepthFirst"], ["4", "90", "PartKernel"]]
    cycles, traversals = steps.kernel_cycles(answer(perf, main), LAYERS)
    # the copy has no cycles of the array; the head and what is of no layer are not swept
    assert cycles == {"kernel": {"op_cycles": 35, "npu_cycles": 24, "mac_cycles": 12}}
    assert traversals == {"DepthFirst"}


@pytest.fixture
def points():
    """Convolutions whose array takes blocks of 8 filters; a constant drowns them in the whole."""
    found = steps.Points()
    module = steps.ethos_u_platform("ethos_u55_256")
    fixed = {"height": 8, "width": 8, "channels": 16, "kernel": 1, "stride": 1, "kernels": 1}
    for filters in range(2, 66, 2):
        tags = {"sweep": "filters", "sweep_group": "one"}
        case = make_case("convolution", {**fixed, "filters": filters}, tags)
        steps.add_case(found, module, case)
        array = 1e3 * math.ceil(filters / 8)
        for key in [key for key in found.cycles if key[0] == case.case_id]:
            found.cycles[key] = {"op_cycles": 1e5, "npu_cycles": 1e4, "mac_cycles": array}
    module.vela.close()
    return found


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_steps_of_the_array_are_found_where_they_are(points):
    table = steps.step_table(points, ("convolution",))
    rows = table.frame.set_index("cycles")
    assert rows.loc["array", "s"] == 8
    assert rows.loc["array", "alpha"] == pytest.approx(0, abs=0.01)
    assert rows.loc["array", "error (%)"] < 0.1
    assert rows.loc["array", "identified"] == "yes"
    # equal times have no steps
    assert rows.loc["all", "identified"] == "no"
    assert table.notes[0] == "32 of 32 operations are bound by a memory."
    assert table.notes[2] == "Refused: 0."


def test_a_refused_case_is_counted():
    class Refusing:
        def compile(self, graph):
            raise UnsupportedLayer(f"graph '{graph.name}': Vela's words")

    found = steps.Points()
    fixed = {"height": 8, "width": 8, "channels": 16, "kernel": 3, "stride": 1, "filters": 16}
    steps.add_case(found, Refusing(), make_case("convolution", fixed))
    assert (found.refused, found.cycles) == (1, {})
    assert steps.step_table(found, ("convolution",)).frame.empty


def run(*arguments):
    application = typer.Typer()
    application.command()(steps.command)
    return CliRunner().invoke(application, list(map(str, arguments)))


@pytest.mark.parametrize("platform", ["nope", "null"])
def test_a_wrong_platform_is_one_line(platform):
    done = run("--config", platform)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_without_vela_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(steps, "missing", lambda: "Vela is not installed; pip install it")
    done = run()
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "pip install" in done.stderr


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_command_finds_the_micro_block_of_8_filters(monkeypatch, tmp_path):
    def few(sweeps):
        cases = plan_sweeps(sweeps)
        return [each for each in cases if each.tags["sweep"] == "filters"]

    monkeypatch.setattr(steps, "plan_sweeps", few)
    done = run("--output", tmp_path)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "steps.md").read_text()
    assert "| convolution | filters | array | 66 | 8 | 0.0" in text
    assert "not measurements on silicon" in text
