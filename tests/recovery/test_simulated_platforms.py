"""The pipeline's own sweeps, run on the simulated machines, find the arrays behind them.

The machines count tiles and cycles; none of them knows an unrolling size. What is expected here
is read from the hardware descriptions.
"""

from pathlib import Path

import pytest

from benchmark.config import load_config, load_platform
from benchmark.make_plan import Phase, plan_cases
from benchmark.tables import Rows, add_record, write_tables
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from model_gen.peaks import fit_peaks
from model_gen.tables import read_table
from model_gen.unrolling import fit_unrolling
from simulators import dpu, edge_tpu
from strata.profile_json import profile_to_dict

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def swept_dpu(tmp_path_factory):
    return swept("dpu_zcu102", tmp_path_factory.mktemp("dpu"))


@pytest.fixture(scope="module")
def swept_edge_tpu(tmp_path_factory):
    return swept("edge_tpu_usb3", tmp_path_factory.mktemp("edge_tpu"))


def swept(platform_name, folder):
    """Convolution rows of the default configuration's sweeps on a platform."""
    file = CONFIG / "platforms" / f"{platform_name}.yaml"
    platform = load_platform(file)
    run = platform.apply(load_config(CONFIG / "default.yaml"), file)
    module = create(platform.module, platform.options)
    rows = Rows()
    for case in plan_cases(run, Phase.SWEEPS, None):
        if case.benchmark != "convolution":
            continue
        graph = build(case.benchmark, case.settings)
        report = module.profile(module.compile(graph), 1, 0)
        record = {
            "case": case.to_dict(),
            "tags": case.tags,
            "profile": profile_to_dict(module.parse(report, graph)),
        }
        add_record(rows, record, build, case.case_id)
    assert not rows.refusals
    write_tables(rows, folder)
    table = read_table(folder / "layers" / "convolution.parquet")
    return table[table["layer"].str.startswith("kernel")]


def fitted(table, *features):
    fits = fit_unrolling(table, list(features))
    assert all(fit.identified for fit in fits), [fit.reason for fit in fits]
    return tuple(fit.size for fit in fits)


def test_the_dpus_array_is_found(swept_dpu):
    machine = dpu.load("dpuczdx8g_b4096_zcu102")
    assert fitted(swept_dpu, "filters", "channels", "output_height") == (
        machine.filter_parallel,
        machine.channel_parallel,
        machine.pixel_parallel,
    )
    # columns are computed one after the other: there is nothing to find, and nothing is
    (width,) = fit_unrolling(swept_dpu, ["output_width"])
    assert not width.identified


def test_the_edge_tpus_cells_and_tiles_are_found(swept_edge_tpu):
    machine = edge_tpu.load("coral_usb3")
    features = ("filters", "channels", "output_height", "output_width")
    assert fitted(swept_edge_tpu, *features) == (
        machine.cells,
        machine.macs_per_cell,
        machine.tile_rows,
        machine.tile_columns,
    )


def test_the_fitted_peaks_are_the_machines_within_2_percent(swept_dpu, swept_edge_tpu):
    # ANNETTE, section 5.1.1: the peak comes from points whose utilisation is 1
    for table, machine in (
        (swept_dpu, dpu.load("dpuczdx8g_b4096_zcu102")),
        (swept_edge_tpu, edge_tpu.load("coral_usb3")),
    ):
        peaks = fit_peaks(table)
        assert peaks.ceiling.peak_ops_per_s == pytest.approx(2 * machine.peak_macs_per_s, rel=0.02)
        assert peaks.roofline.peak_ops_per_s == pytest.approx(2 * machine.peak_macs_per_s, rel=0.02)
