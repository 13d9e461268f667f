"""Which part of a platform model knows what of networks, and layers measured both ways."""

from dataclasses import replace

import pandas as pd
import pytest

from evaluation.alone import alone_graph, layers_inside, measure_alone
from evaluation.in_network import (
    CARRIED,
    STAGES,
    WITHOUT_CARRIED,
    Measured,
    ablation,
    ratio_table,
    stages,
    twins,
)
from hardware_modules.registry import create
from strata.context import CONTEXT_FEATURES
from strata.errors import SchemaError
from strata.execution import FEATURES, features, make_executed
from strata.graph import make_graph
from strata.layer import make_layer
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.operations import Activation, Convolution, Elementwise, Input
from strata.platform_model import Header, NetworkOverhead, PlatformModel

SHAPE = (1, 8, 16, 16)


def _row(benchmark, time_s, **values):
    return {
        **{"case_id": f"{benchmark}{time_s}", "benchmark": benchmark, "time_s": time_s},
        **dict.fromkeys(FEATURES, 1.0),
        **values,
    }


TABLES = {
    "convolution": pd.DataFrame(
        [
            _row("convolution", 1.0, channels=8),
            _row("convolution", 3.0, channels=8),
            _row("cells", 4.0, channels=8, live_bytes=1000),
            _row("cells", 5.0, channels=9),
        ]
    ),
    "resize": pd.DataFrame([_row("cells", 7.0)]),
}


def _model():
    roofline = Roofline(1e9, 1e9, 1e-6)
    return PlatformModel(
        Header("p", "0", "now", "test", 0),
        {"convolution": {"roofline": roofline}},
        MappingModel(moves_strides=True),
        NetworkOverhead(per_network_s=1.0),
    )


def test_each_stage_adds_one_thing():
    given = []

    def fit(tables):
        given.append(tables)
        return {}

    found = dict(stages(_model(), TABLES, fit))
    assert list(found) == [*STAGES, WITHOUT_CARRIED]
    alone, rows, whole, carried = given
    assert whole is TABLES
    assert set(alone) == {"convolution"}  # resize was never measured alone
    assert set(alone["convolution"]["benchmark"]) == {"convolution"}
    assert set(rows) == {"convolution", "resize"}
    for tables in (alone, rows):
        for table in tables.values():
            assert (table[list(CONTEXT_FEATURES)] == 0).all(axis=None)
    assert (carried["convolution"][list(CARRIED)] == 0).all(axis=None)
    assert (carried["convolution"]["live_bytes"] > 0).any()
    place, overhead, ruled = (found[name] for name in STAGES[2:])
    assert place.overhead == NetworkOverhead()
    assert not place.mapping.moves_strides
    assert overhead.overhead == NetworkOverhead(per_network_s=1.0)
    assert not overhead.mapping.moves_strides
    assert ruled.mapping.moves_strides
    assert (TABLES["convolution"]["live_bytes"] > 0).any()  # given tables stay as they are


def test_the_overhead_shows_from_its_stage_on():
    image = make_layer("x", Input(SHAPE))
    layer = make_layer("c", Convolution(8, (3, 3), padding=(1, 1, 1, 1)), ("x",), (SHAPE,))
    graph = make_graph("net", [image, layer])
    model = _model()
    layers_s = features(make_executed([layer]))["ops"] / 1e9
    networks = [Measured("table2", graph, layers_s + 1.0)]
    frame = ablation(model, TABLES, networks, lambda tables: model.layer_models)
    error = frame.set_index("Model")["table2 MAPE (%)"]
    assert error[STAGES[2]] == pytest.approx(100 / (layers_s + 1.0))
    assert error[STAGES[3]] == pytest.approx(0.0, abs=1e-9)


def test_twins_are_configurations_measured_both_ways():
    found = twins(TABLES)
    assert found.to_dict("records") == [
        {"alone_s": 2.0, "inside_s": 4.0, "operation": "convolution"}
    ]
    ratios = ratio_table(found, fewest=1)
    assert ratios["Median"].tolist() == [2.0]
    assert ratio_table(found, fewest=2).empty


def _group():
    """A convolution that absorbed an addition and an activation, and what it reads."""
    wide = Convolution(8, (3, 3), padding=(1, 1, 1, 1))
    convolution = make_layer("c", wide, ("a",), (SHAPE,))
    add = make_layer("s", Elementwise("add"), ("c", "b"), (SHAPE, SHAPE))
    relu = make_layer("r", Activation("relu"), ("s",), (SHAPE,))
    return make_executed([convolution, add, relu])


def test_a_layer_is_cut_out_with_what_it_absorbed():
    graph = alone_graph(_group())
    assert set(graph.inputs) == {"a", "b"}
    assert [layer.name for layer in graph.layers][-1] == "r"


def test_alone_on_the_simulated_machine_it_is_the_same_layer():
    module = create("dpu_simulated", {})
    relu = make_executed(
        [
            make_layer("c", Convolution(8, (3, 3), padding=(1, 1, 1, 1)), ("a",), (SHAPE,), 8, 8),
            make_layer("r", Activation("relu"), ("c",), (SHAPE,), 8, 8),
        ]
    )
    time_s = measure_alone(module, relu)
    assert time_s is not None
    assert time_s > 0
    # an activation that its toolchain does not fuse is executed otherwise: no answer
    swish = make_executed([relu.root, replace(relu.absorbed[0], parameters=Activation("swish"))])
    assert measure_alone(module, swish) is None


def test_without_networks_there_is_nothing_to_cut(tmp_path):
    (tmp_path / "samples-0.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(SchemaError, match="no multi-layer"):
        layers_inside([tmp_path / "samples-0.jsonl"], 3)
