"""What passes the wall around a hidden profiler, and what does not."""

import json

import pytest

from benchmark.tables import Rows, add_record
from graph_gen.benchmarks import build
from hardware_modules.registry import create
from strata.errors import SchemaError
from strata.profile import WHOLE
from strata.profile_json import profile_to_dict

SETTINGS = {"height": 8, "width": 8, "channels": 16, "filters": 32, "kernel": 3, "kernels": 2}


@pytest.fixture
def profiles():
    """The same graph profiled by the null module, and by it behind the wall."""
    graph = build("convolution", SETTINGS)
    modules = (create("null", {}), create("black_box", {"module": "null"}))
    return [module.parse(module.profile(module.compile(graph), 5, 1), graph) for module in modules]


def test_only_the_samples_and_the_total_come_through(profiles):
    inside, outside = profiles
    assert outside.samples_s == inside.samples_s
    assert outside.time_s == inside.time_s
    (node,) = outside.nodes
    assert (node.kind, node.time_s, node.readings_s) == (WHOLE, inside.time_s, inside.samples_s)
    assert outside.whole
    assert not inside.whole
    text = json.dumps(profile_to_dict(outside))
    assert not any(repr(each.time_s) in text for each in inside.nodes)


def test_the_wall_is_as_simulated_as_what_it_hides_and_compiles_models_where_that_does():
    assert create("black_box", {"module": "null"}).simulated
    real = create("black_box", {"module": "openvino_cpu", "options": {"pin": False}})
    assert not real.simulated
    assert callable(real.compile_model)
    assert create("black_box", {"module": "null"}).compile_model is None


@pytest.mark.parametrize("inside", ["", "black_box", "abacus"])
def test_a_module_that_cannot_be_inside_lists_those_that_can(inside):
    with pytest.raises(SchemaError, match=r"option 'module' is '.*'; legal: dpu, dpu_simulated"):
        create("black_box", {"module": inside})


def test_options_of_the_module_inside_are_checked_by_it():
    with pytest.raises(SchemaError, match="null: unknown option 'colour'"):
        create("black_box", {"module": "null", "options": {"colour": 1}})


def test_profiles_without_layers_make_no_layer_tables(profiles):
    rows = Rows()
    case = {"case_id": "a", "benchmark": "convolution", "settings": SETTINGS}
    record = {"case": case, "profile": profile_to_dict(profiles[1])}
    add_record(rows, record, build, "here")
    assert not rows.layers
    assert "make_black_box_tables" in rows.refusals[0]["reason"]
