"""From Vela's words to an estimate: which layers stay on the CPU is learned, their time is not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.config import load_platform
from benchmark.matcher import match
from benchmark.tables import Rows, add_match, read_layer_tables, write_tables
from hardware_modules.ethos_u_compiler import missing
from hardware_modules.registry import create
from model_gen.fit_platform import fit_platform
from model_gen.statistical import ForestSettings
from strata import operations as op
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.graph import with_bits
from strata.platform_model import load_platform_model, save_platform_model
from strata.report import json_text, table_text

PLATFORM = Path(__file__).parents[2] / "config" / "platforms" / "ethos_u55_256.yaml"
pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def decoder(generator, stride):
    """A convolution and a transposed one: Vela leaves strides above 2 to the CPU of a U55."""
    builder = GraphBuilder(f"decoder {stride}")
    size, channels, filters = (int(generator.choice([4, 6, 8, 12])) for _ in range(3))
    source = builder.input(1, channels, size, size, name="in")
    first = builder.convolution(source, filters, 3, name="first")
    record = op.TransposedConvolution(channels, (stride, stride), (stride, stride))
    builder.convolution(builder.add(record, first, name="grown"), filters, 1, name="last")
    return builder.build()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    module = create("ethos_u", load_platform(PLATFORM).options)
    generator, rows = np.random.default_rng(0), Rows()
    for number in range(40):
        graph = decoder(generator, (2, 4)[number % 2])
        profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
        graph = with_bits(graph, profile.bits)
        record = {"case": {"case_id": f"case{number}", "benchmark": "cells"}, "wall_s": 0.0}
        add_match(rows, record, graph, profile, match(graph, profile))
    module.vela.close()
    write_tables(rows, folder)
    fitted, _ = fit_platform(
        read_layer_tables(folder),
        *(pd.read_parquet(folder / f"{n}.parquet") for n in ("mapping", "placements", "networks")),
        {},
        {"platform": "ethos", "run": "test", "seed": 0, "data_hashes": {}},
        ForestSettings(trees=8, learner="forest"),
    )
    save_platform_model(fitted, folder / "ethos.strata")
    return load_platform_model(folder / "ethos.strata")


def test_layers_on_the_cpu_are_predicted_and_have_no_time(model):
    generator = np.random.default_rng(1)
    for stride in (2, 4) * 5:
        found = estimate(decoder(generator, stride), model, "mixed")
        (grown,) = [layer for layer in found.layers if layer.name == "grown"]
        assert (grown.time_s is None) == (stride == 4)
        assert found.untimed == (stride == 4)
        assert found.total_s > 0
        assert all(layer.time_s for layer in found.layers if layer is not grown)


def test_the_report_says_who_gives_no_time_and_that_the_total_leaves_it_out(model):
    found = estimate(decoder(np.random.default_rng(2), 4), model, "mixed")
    (grown,) = [layer for layer in found.layers if layer.name == "grown"]
    assert grown.note == "on the host; ethos-u-vela gives no time"
    text = table_text(found)
    assert "1 of 3 executed layers take a time that is not known" in text
    assert "total at least " in text
    assert '"time_s": null' in json_text(found)
