"""Layers that no time is known of, because none that runs as they do was ever timed."""

import json
from dataclasses import replace

import pytest
from small_platform import CONCAT, CONVOLUTION, POOLING, network, platform, rows

from strata.estimate import estimate_executed
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.platform_model import NetworkOverhead, PlatformModel
from strata.plot import save_plot
from strata.report import as_dict, csv_text, json_text, table_text


def on_host() -> tuple[Graph, list[ExecutedLayer]]:
    """The network with its pooling on the host, and a flatten there that moves nothing."""
    graph = network()
    host = {"pooling": "host", "flatten": "host"}
    executed = [ExecutedLayer(layer, (), host.get(layer.name, "")) for layer in graph.layers]
    return graph, executed


def told(layer_models: dict) -> PlatformModel:
    model = platform(layer_models, overhead=NetworkOverhead(per_layer_s=1e-4))
    return replace(model, header=replace(model.header, toolchain={"name": "vendor's compiler"}))


ON_CHIP = {"convolution": {"roofline": CONVOLUTION}, "max_pooling": {"roofline": POOLING}}


def test_a_layer_on_a_host_that_no_layer_was_timed_on_has_no_time() -> None:
    found = estimate_executed(*on_host(), told(ON_CHIP), "roofline")
    layers = rows(found)
    pooling = layers["pooling"]
    assert (pooling.time_s, pooling.share, pooling.utilisation) == (None, None, None)
    assert (pooling.bound, pooling.model_used, pooling.fell_back) == ("unknown", "no time", False)
    assert pooling.note == "on the host; vendor's compiler gives no time"
    assert layers["flatten"].time_s == 0
    assert found.untimed == 1
    # convolution 1 ms and the activation's fallback 1.6 ms, each with 0.1 ms of overhead
    assert found.layers_s == pytest.approx(2.6e-3)
    assert found.total_s == pytest.approx(2.8e-3)
    assert layers["convolution"].share == pytest.approx(1 / 2.8)


def test_unknown_times_are_told_and_are_no_zeros() -> None:
    found = estimate_executed(*on_host(), told(ON_CHIP), "roofline")
    text = table_text(found)
    assert "1 of 4 executed layers take a time that is not known, marked ?: max_pooling" in text
    assert "total at least 2.800 ms = 3 executed layers 2.600 ms" in text
    (row,) = [line for line in text.splitlines() if line.lstrip().startswith("pooling")]
    assert row.split()[2:5] == ["?", "?", "unknown"]
    assert row.endswith("(on the host) (vendor's compiler gives no time)")
    data = json.loads(json_text(found))
    assert data["counts"]["untimed"] == 1
    assert [layer["time_s"] for layer in data["layers"] if layer["name"] == "pooling"] == [None]
    (cells,) = [line for line in csv_text(found).splitlines() if line.startswith("pooling")]
    assert cells.split(",")[3:5] == ["", ""]


def test_a_plot_with_unknown_times_says_so(tmp_path) -> None:
    found = estimate_executed(*on_host(), told(ON_CHIP), "roofline")
    save_plot(found, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 0


def test_where_the_host_was_timed_a_layer_without_a_model_there_falls_back() -> None:
    models = {**ON_CHIP, "activation@host": {"roofline": CONCAT}}
    found = estimate_executed(*on_host(), told(models), "roofline")
    pooling = rows(found)["pooling"]
    assert pooling.time_s == pytest.approx(1e-3)
    assert pooling.fell_back
    assert found.untimed == 0
    assert "untimed" not in as_dict(found)["counts"]
