"""Data sets of Myriad X: what a row becomes, rows of a plan, scores; no toolchain needed."""

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from evaluation.published import __main__ as command
from evaluation.published import ncs2, ncs2_platform, platforms
from evaluation.published.calibration import Constants, Unseen
from evaluation.published.cases import Case
from evaluation.published.data_set import Measurement, Row, read_measurements
from evaluation.published.registry import SHIPPED
from evaluation.published.results import Result
from simulators.ncs2.plan import Operand, Plan, Stage
from strata.builder import GraphBuilder


@pytest.fixture
def two_layers():
    builder = GraphBuilder("two layers")
    image = builder.input(1, 4, 8, 8, name="image")
    builder.convolution(builder.convolution(image, 4, 1, name="first"), 4, 1, name="second")
    return builder.build()


def tensor(channels=4):
    plane = 8 * 16
    strides = {"W": 2, "H": 16, "C": plane, "N": channels * plane}
    dims = {"W": 8, "H": 8, "C": channels, "N": 1}
    return Operand("tensor", "Intermediate", "FP16", dims, strides, "CMX")


def stage(execution, name, layer, kind="Copy", host=None):
    return Stage(execution, name, kind, layer, "", 1, {}, (tensor(),), (tensor(),), host)


PLAN = Plan(
    "two layers",
    (
        stage(0, "to half", "", "Convert"),
        stage(1, "first@1", "first"),
        stage(2, "second", "second"),
        stage(2, "beside", "first", host="second"),
        stage(3, "first@2", "first"),
        stage(-1, "concat", "second", "StubConcat"),
    ),
)


def test_rows_of_a_plan_are_layers_with_their_stages(two_layers):
    executable = ncs2_platform.from_plan(PLAN, two_layers)
    assert [layer.name for layer in executable.layers] == ["<Extra>", "first", "second"]
    assert executable.stages == ((0,), (1, 4), (2,))


def test_a_rows_time_is_the_sum_of_its_stages(two_layers):
    hardware = ncs2_platform.load("myriad_x_ncs2")
    executable = ncs2_platform.from_plan(PLAN, two_layers)
    rows = [row.time_s for row in ncs2_platform.simulate(executable, hardware)]
    copy_s = hardware.copy_start_s + 32 * (hardware.copy_row_s + 16 / hardware.copy_bytes_per_s)
    assert rows[1:] == pytest.approx([2 * copy_s, copy_s])
    total_s = ncs2_platform.network_s(rows, executable, hardware)
    assert total_s == pytest.approx(hardware.run_start_s + sum(rows))


LAYER = {
    "network": "tf_inceptionv1",
    "layer": "conv",
    "exec_status": "EXECUTED",
    "ov_layer_type": "Convolution",
    "measured_ms": "0.25",
    "source": "a report",
}


def test_both_importers_of_a_network_are_one_group_unless_asked_otherwise():
    (together,) = ncs2.NCS2_LAYERS.read(Row(LAYER, "file", 2))
    (apart,) = ncs2.NCS2_LAYERS_APART.read(Row(LAYER, "file", 2))
    assert (together.group, apart.group) == ("InceptionV1", "tf_inceptionv1")
    assert together.published_s == pytest.approx(0.25e-3)
    assert (together.node, together.note) == ("conv", "Convolution")


def test_layers_that_did_not_run_are_no_measurements():
    assert ncs2.NCS2_LAYERS.read(Row({**LAYER, "exec_status": "NOT_RUN"}, "file", 2)) == ()


SINGLE = {
    "kind": "Conv2d (stride 1, same, +bias+relu)",
    "width": "32",
    "height": "16",
    "channels": "86",
    "filters": "85.0",
    "kernel": "3.0",
    "time_ms": "0.894",
    "time_from": "printed",
    "source": "a table",
}


def test_a_single_layer_is_built_from_its_row():
    (measured,) = ncs2.NCS2_SINGLE.read(Row(SINGLE, "file", 2))
    graph = measured.build()
    assert graph["layer"].output_shape == (1, 85, 16, 32)
    assert measured.node is None  # printed: all stages of the network
    assert measured.set_up == "Conv2d"


def test_a_dense_and_a_depthwise_layer_are_judged_alone():
    dense = {**SINGLE, "kind": "FullyConnected", "kernel": "", "time_from": "num_ops/(ops/s)"}
    (measured,) = ncs2.NCS2_SINGLE.read(Row(dense, "file", 2))
    assert measured.node == "layer"
    assert measured.build()["layer"].output_shape == (1, 85)
    deep = {**dense, "kind": "DepthwiseConv", "kernel": "5.0", "filters": ""}
    (measured,) = ncs2.NCS2_SINGLE.read(Row(deep, "file", 2))
    assert measured.build()["layer"].parameters.groups == 86


@pytest.mark.parametrize(
    ("data_set", "count", "groups"),
    [
        (ncs2.NCS2_LAYERS, 269, 2),
        (ncs2.NCS2_LAYERS_APART, 269, 3),
        (ncs2.NCS2_SINGLE, 30, 30),
        (ncs2.NCS2_CAMERA, 6, 4),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_shipped_rows_become_measurements(data_set, count, groups):
    measurements = read_measurements(data_set, SHIPPED)
    assert len(measurements) == count
    assert len({each.group for each in measurements}) == groups


def test_cells_have_a_published_time_each():
    measurements = read_measurements(ncs2.NCS2_CELLS, SHIPPED)
    assert len(measurements) == 1012
    assert min(each.published_s for each in measurements) > 2e-3


def test_a_sum_of_zeroed_branches_is_compared_as_if_it_were_empty():
    cell = "|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|nor_conv_1x1~2|"
    row = Row({"arch_str": cell, "nnmeter_myriadx_ms": "3.9", "nb201_index": "7"}, "file", 2)
    (measured,) = ncs2.NCS2_CELLS.read(row)
    unread = cell.replace("nor_conv_1x1~2", "none~2")
    (same,) = ncs2.NCS2_CELLS.read(Row({**row.cells, "arch_str": unread}, "file", 3))
    assert len(measured.build().layers) == len(same.build().layers)


def test_scores_are_per_network(two_layers):
    executable = ncs2_platform.from_plan(PLAN, two_layers)
    published_ms = {"a": (1.0, 2.0), "b": (4.0, 1.0)}
    kinds = ("Convolution", "Pooling")
    cases = tuple(
        Case(
            Measurement(
                network, network, "", ms * 1e-3, "", network, lambda: two_layers, note=kind
            ),
            executable,
            1,
        )
        for network, times in published_ms.items()
        for kind, ms in zip(kinds, times, strict=True)
    )
    predicted_s = np.array([1.1e-3, 1.6e-3, 4.0e-3, 1.5e-3])
    unseen = Unseen(predicted_s, predicted_s, np.zeros(4))
    result = Result(
        ncs2.NCS2_LAYERS, cases, (), unseen, predicted_s, predicted_s, Constants(), Constants()
    )
    first, second = ncs2.profile_scores(result)
    assert (first.network, first.layers) == ("a", 2)
    assert first.convolutions_mape == pytest.approx(10)
    assert first.layers_mape == pytest.approx(15)
    assert first.sum_error == pytest.approx(-10)
    assert second.convolutions_mape == pytest.approx(0)
    assert second.sum_error == pytest.approx(10)


def test_without_the_toolchain_its_sets_are_skipped_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(ncs2_platform, "missing", lambda: "no compiler: run `make ncs2-toolchain`")
    monkeypatch.setenv("COLUMNS", "40")
    assert platforms.missing_toolchain("dpu") is None
    application = typer.Typer()
    application.command()(command.published)
    arguments = ["--output", str(tmp_path), "--data-set", "ncs2_rvc2"]
    done = CliRunner().invoke(application, arguments)
    assert "ncs2_rvc2: skipped, no compiler: run `make ncs2-toolchain`" in done.output
    assert done.exit_code == 2
    assert "Traceback" not in done.output
