"""The estimate on a hand-made platform whose rooflines give round numbers."""

import json
import subprocess
import sys

import numpy as np
import pytest
from small_platform import CONCAT, CONVOLUTION, leaf, network, platform, rows, with_opaque

import strata
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError, SchemaError
from strata.estimate import estimate, estimate_executed
from strata.execution import ExecutedLayer, feature_matrix
from strata.graph import Graph
from strata.layer_models import MixedAnnette, Refined, Roofline, Statistical, Unrolling
from strata.mapping import MappingModel
from strata.platform_model import NetworkOverhead
from strata.plot import save_plot
from strata.report import CSV_COLUMNS, as_dict, csv_text, json_text, table_text


def test_times_shares_and_total_by_hand() -> None:
    overhead = NetworkOverhead(per_network_s=1e-4, per_layer_s=1e-4)
    found = estimate(network(), platform(overhead=overhead), "roofline")
    layers = rows(found)
    assert list(layers) == ["convolution", "relu", "pooling", "flatten"]
    assert layers["convolution"].time_s == pytest.approx(1e-3)
    assert layers["pooling"].time_s == pytest.approx(1e-3)
    # no model of an activation: 2,048 bytes at the lowest bandwidth, 1.28e6/s
    assert layers["relu"].time_s == pytest.approx(1.6e-3)
    # once, and for three layers: flatten takes no time and is not executed
    assert found.overhead_s == pytest.approx(4e-4)
    assert found.total_s == pytest.approx(4e-3)
    assert layers["convolution"].share == pytest.approx(0.25)
    assert sum(layer.share for layer in found.layers) == pytest.approx(0.9)
    assert (found.network, found.platform, found.kind) == ("small", "made_by_hand", "roofline")
    assert found.network_layers == 4


def test_what_bounds_and_how_much_of_the_peak() -> None:
    layers = rows(estimate(network(), platform(), "roofline"))
    assert (layers["convolution"].bound, layers["pooling"].bound) == ("compute", "memory")
    assert layers["convolution"].utilisation == pytest.approx(1.0)
    # the roof it lies under is the bandwidth's, and a roofline's layers attain it in full
    assert layers["pooling"].utilisation == pytest.approx(1.0)
    assert layers["relu"].utilisation is None


def test_the_chosen_kind_answers_where_it_exists() -> None:
    layers = rows(estimate(network(), platform(), "refined"))
    assert layers["convolution"].time_s == pytest.approx(2e-3)
    assert (layers["convolution"].model_used, layers["convolution"].fell_back) == ("refined", False)
    assert (layers["pooling"].model_used, layers["pooling"].fell_back) == ("roofline", True)


def test_fallbacks_are_recorded_and_counted() -> None:
    found = estimate(network(), platform(), "mixed")
    relu, flatten = rows(found)["relu"], rows(found)["flatten"]
    assert (relu.model_used, relu.fell_back) == ("fallback: no model of activation", True)
    assert (relu.bound, relu.note) == ("memory", "never measured")
    assert (flatten.time_s, flatten.note, flatten.fell_back) == (0.0, "moves nothing", False)
    assert (found.estimated, found.fell_back, found.moves_nothing) == (0, 3, 1)


def test_arithmetic_without_a_model_is_bounded_by_the_highest_peak() -> None:
    build = GraphBuilder("deconvolution")
    source = build.input(1, 8, 8, 8)
    build.add(op.TransposedConvolution(64, (4, 4)), source, name="up")
    # MACs 8*64 * 64*16 = 524,288: 1,048,576 operations at 36.864e6/s;
    # bytes 4 * (512 + 8*64*16 + 64 + 64*11*11) = 66,048 at 1.28e6/s take longer: 51.6 ms
    assert estimate(build.build(), platform()).layers[0].time_s == pytest.approx(51.6e-3)
    fast_memory = {"convolution": {"roofline": Roofline(36.864e6, 1e12, 1e-6)}}
    layer = estimate(build.build(), platform(fast_memory)).layers[0]
    assert layer.bound == "compute"
    assert layer.time_s == pytest.approx(1_048_576 / 36.864e6)


def test_a_model_of_a_layer_without_work_answers_with_its_floor() -> None:
    floor = {"flatten": {"roofline": Roofline(1e9, 1e9, 5e-6)}}
    layer = rows(estimate(network(), platform({"convolution": {"roofline": CONVOLUTION}} | floor)))
    assert layer["flatten"].time_s == 5e-6
    assert (layer["flatten"].bound, layer["flatten"].utilisation) == ("overhead", None)


def test_fused_layers_are_absorbed() -> None:
    mapping = MappingModel(fusion={"convolution->activation": leaf(1.0)})
    found = estimate(network(), platform(mapping=mapping))
    assert [layer.name for layer in found.layers] == ["convolution", "pooling", "flatten"]
    assert found.layers[0].absorbed == ("relu",)
    # no mixed model: the roofline's peak for 36,864 operations and the 256 of the activation
    assert found.layers[0].time_s == pytest.approx((36_864 + 256) / 36.864e6)


def test_executed_layers_may_come_from_a_profile() -> None:
    graph = network()
    executed = [
        ExecutedLayer(graph["convolution"], (graph["relu"],)),
        ExecutedLayer(graph["pooling"]),
    ]
    found = estimate_executed(graph, executed, platform(), "roofline")
    assert [layer.name for layer in found.layers] == ["convolution", "pooling"]
    assert found.total_s == pytest.approx((36_864 + 256) / 36.864e6 + 1e-3)
    assert found.network_layers == 4


def test_inserted_conversions_are_layers_of_their_own() -> None:
    mapping = MappingModel(insertion={"convolution->activation": leaf(1.0)})
    layer = estimate(network(), platform(mapping=mapping)).layers[1]
    assert (layer.operation, layer.name) == ("reorder", "convolution/reorder")
    assert layer.time_s == pytest.approx(2048 / 1.28e6)
    assert layer.model_used == "fallback: no model of reorder"


def test_opaque_layers_take_time_and_are_counted() -> None:
    found = estimate(with_opaque(), platform())
    detections = rows(found)["detections"]
    assert detections.time_s == pytest.approx(1e-3)
    assert detections.note == "not mapped: NonMaxSuppression"
    assert found.unmapped == ("NonMaxSuppression", "Loop")
    assert found.network_layers == 3
    line = "2 of 3 layers could not be mapped: NonMaxSuppression, Loop"
    assert line in table_text(found)
    assert line in csv_text(found)
    assert as_dict(found)["counts"]["unmapped"] == 2


def test_ranges_of_the_measurements() -> None:
    ranges = {
        "convolution": {"filters": (16.0, 64.0), "height": (4.0, 4.0)},
        "max_pooling": {"channels": (1.0, 15.0), "height": (8.0, 64.0)},
    }
    found = estimate(network(), platform(ranges=ranges))
    layers = rows(found)
    assert (layers["convolution"].in_range, layers["convolution"].note) == (True, "")
    assert layers["pooling"].note == "out of range: height, channels"
    assert not layers["pooling"].in_range
    assert not layers["relu"].in_range
    assert layers["flatten"].in_range
    assert found.out_of_range == 2


def test_rows_say_what_the_models_say() -> None:
    """Bound and utilisation equal the models' own, for each kind."""
    u_stat = leaf(np.log(0.25))
    refined = Refined(CONVOLUTION, (Unrolling("filters", 32, 0.0),))
    kinds = {
        "roofline": CONVOLUTION,
        "refined": refined,
        "statistical": Statistical(CONVOLUTION, u_stat, ("filters",)),
        "mixed-annette": MixedAnnette(refined, leaf(0.25), ("filters",)),
    }
    graph = network()
    matrix = feature_matrix([ExecutedLayer(graph["convolution"])])
    for kind, model in kinds.items():
        row = estimate(graph, platform({"convolution": kinds}), kind).layers[0]
        assert row.model_used == kind
        assert row.time_s == pytest.approx(model.time_s(matrix)[0])
        assert row.bound == model.bound(matrix)[0]
        assert row.utilisation == pytest.approx(model.utilisation(matrix)[0])


def test_layers_that_only_move_data() -> None:
    build = GraphBuilder("joined")
    source = build.input(1, 8, 4, 4)
    build.add(op.Concat(), source, source, name="joined")
    # reads 2 * 512 bytes, writes 1,024: 0.512 ms at 4e6/s
    row = estimate(build.build(), platform({"concat": {"roofline": CONCAT}})).layers[0]
    assert row.time_s == pytest.approx(512e-6)
    assert (row.bound, row.utilisation) == ("memory", pytest.approx(1.0))


class Counting:
    """A roofline that counts how often it is asked."""

    peaks = CONVOLUTION

    def __init__(self, answer: float = 1e-3) -> None:
        self.rows: list[int] = []
        self.answer = answer

    def time_s(self, matrix: np.ndarray) -> np.ndarray:
        self.rows.append(len(matrix))
        return np.full(len(matrix), self.answer)


def chain(convolutions: int) -> Graph:
    build = GraphBuilder("chain")
    source = build.input(1, 8, 4, 4)
    for _ in range(convolutions):
        source = build.convolution(source, 8, 3)
    return build.build()


def test_each_model_is_asked_once() -> None:
    model = Counting()
    found = estimate(chain(20), platform({"convolution": {"mixed": model}}))
    assert model.rows == [20]
    assert found.total_s == pytest.approx(20e-3)


@pytest.mark.parametrize("broken", [0.0, -1.0, np.nan, np.inf])
def test_a_time_is_never_silently_nothing(broken: float) -> None:
    models = {"convolution": {"mixed": Counting(broken), "roofline": CONVOLUTION}}
    row = estimate(chain(1), platform(models)).layers[0]
    assert row.time_s > 0
    assert (row.model_used, row.fell_back) == ("roofline", True)


def test_without_any_roofline_a_layer_without_a_model_is_refused() -> None:
    with pytest.raises(ArtefactError, match="'made_by_hand' holds no roofline"):
        estimate(network(), platform({"convolution": {"mixed": Counting()}}))


def test_unknown_kind_lists_the_legal_ones() -> None:
    with pytest.raises(SchemaError, match="'magic'; legal: mixed, statistical, refined, roofline"):
        estimate(network(), platform(), "magic")


def test_a_network_of_an_input_costs_its_overhead() -> None:
    build = GraphBuilder("empty")
    build.input(1, 8)
    found = estimate(build.build(), platform(overhead=NetworkOverhead(1e-3, 1e-4)))
    assert (found.layers, found.total_s) == ((), 1e-3)
    assert "0 of 0 layers are mapped" in table_text(found)


def test_json_is_complete_and_its_keys_stay() -> None:
    found = estimate(network(), platform())
    data = json.loads(json_text(found))
    assert list(data) == [
        *("schema", "version", "network", "platform", "model"),
        *("total_s", "layers_s", "overhead_s", "counts", "unmapped", "layers"),
    ]
    assert (data["schema"], data["version"]) == ("strata-estimate", 1)
    assert data["counts"] == {
        "network_layers": 4,
        "executed_layers": 4,
        "estimated": 0,
        "fell_back": 3,
        "moves_nothing": 1,
        "out_of_range": 3,
        "unmapped": 0,
    }
    assert list(data["layers"][0]) == list(CSV_COLUMNS)
    assert sum(layer["time_s"] for layer in data["layers"]) == pytest.approx(data["layers_s"])


def test_csv_adds_up_to_the_total() -> None:
    found = estimate(network(), platform(overhead=NetworkOverhead(1e-3)))
    lines = csv_text(found).splitlines()
    assert lines[0] == ",".join(CSV_COLUMNS)
    times = [float(line.split(",")[3]) for line in lines[1:]]
    assert sum(times) == pytest.approx(found.total_s)
    assert lines[-1].startswith("(network),overhead,,0.001,")


def test_table_shows_milliseconds_and_why() -> None:
    text = table_text(estimate(network(), platform(), "roofline"))
    assert "small on made_by_hand, roofline model" in text
    assert "time (ms)" in text
    assert "1.0000" in text
    assert "fallback: no model of activation" in text
    assert "(moves nothing)" in text
    assert "total 3.600 ms" in text


def test_names_with_markup_are_printed_as_they_are() -> None:
    build = GraphBuilder("markup")
    build.convolution(build.input(1, 8, 4, 4), 8, 3, name="[bold]block[/bold]")
    assert "[bold]block[/bold]" in table_text(estimate(build.build(), platform()))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot(tmp_path, suffix: str) -> None:
    path = tmp_path / f"layers{suffix}"
    save_plot(estimate(with_opaque(), platform()), path)
    assert path.stat().st_size > 1000
    assert [path] == list(tmp_path.iterdir())


def test_plot_of_unknown_suffix_names_the_legal_ones(tmp_path) -> None:
    with pytest.raises(SchemaError, match=r"legal suffixes: \.png, \.svg"):
        save_plot(estimate(network(), platform()), tmp_path / "layers.doc")


def test_the_package_stays_light_and_its_function_callable() -> None:
    code = (
        "import sys, strata, strata.estimate, strata.command_line\n"
        "from strata.estimate import Estimate\n"
        "assert callable(strata.estimate) and strata.Estimate is Estimate\n"
        "heavy = {'pandas', 'sklearn', 'scipy', 'matplotlib', 'tensorflow', 'openvino'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unknown_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = strata.nothing
