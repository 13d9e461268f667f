"""The pipeline's own sweeps, run on the simulated machines, find the arrays behind them.

The machines count tiles and cycles; none of them knows an unrolling size. What is expected here
is read from the hardware descriptions.
"""

from itertools import product
from pathlib import Path

import pytest

from benchmark.config import load_config, load_platform
from benchmark.make_plan import Phase, plan_cases
from benchmark.matcher import match
from benchmark.tables import Rows, add_record, write_tables
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from model_gen.tables import read_table
from model_gen.unrolling import fit_unrolling
from simulators import dpu, edge_tpu
from strata.profile_json import profile_to_dict

CONFIG = Path(__file__).parents[2] / "config"


def swept(platform_name, folder):
    """Convolution rows of the default configuration's sweeps on a platform."""
    platform = load_platform(CONFIG / "platforms" / f"{platform_name}.yaml")
    module = create(platform.module, platform.options)
    rows = Rows()
    for case in plan_cases(load_config(CONFIG / "default.yaml"), platform, Phase.SWEEPS, None):
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


def test_the_dpus_array_is_found(tmp_path):
    table = swept("dpu_zcu102", tmp_path)
    machine = dpu.load("dpuczdx8g_b4096_zcu102")
    assert fitted(table, "filters", "channels", "output_height") == (
        machine.filter_parallel,
        machine.channel_parallel,
        machine.pixel_parallel,
    )
    # columns are computed one after the other: there is nothing to find, and nothing is
    (width,) = fit_unrolling(table, ["output_width"])
    assert not width.identified


def test_the_edge_tpus_cells_and_tiles_are_found(tmp_path):
    table = swept("edge_tpu_usb3", tmp_path)
    machine = edge_tpu.load("coral_usb3")
    assert fitted(table, "filters", "output_height", "output_width") == (
        machine.cells,
        machine.tile_rows,
        machine.tile_columns,
    )


@pytest.mark.parametrize(
    ("name", "peak_ops_per_s"),
    [
        ("dpu_simulated", 2 * dpu.load("dpuczdx8g_b4096_zcu102").peak_macs_per_s),
        ("edge_tpu_simulated", 2 * edge_tpu.load("coral_usb3").peak_macs_per_s),
    ],
)
def test_the_peak_of_aligned_kernels_is_the_machines_within_2_percent(name, peak_ops_per_s):
    # ANNETTE, section 5.1.1: the peak comes from points whose utilisation is 1
    module = create(name, {})
    best = 0.0
    for height, channels, kernel in product((32, 64), (128, 256), (3, 5)):
        settings = {"height": height, "width": height, "channels": channels, "kernel": kernel}
        graph = build("convolution", {**settings, "filters": channels, "kernels": 2})
        profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
        for layer in match(graph, profile).layers:
            if layer.executed.operation == "convolution":
                best = max(best, layer.executed.work.ops / layer.time_s)
    assert best == pytest.approx(peak_ops_per_s, rel=0.02)
