"""Rows of average counters from hand-made plans, their text, and profiles' nodes out of them."""

import re

import pytest

from benchmark.matcher import match
from hardware_modules.ncs2_nodes import executed_nodes
from hardware_modules.ncs2_plan import plan_facts
from hardware_modules.ncs2_report import CounterRow, layer_rows, read_counters, write_counters
from simulators.ncs2.plan import Operand, Plan, Stage
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError
from strata.profile import Profile

# the form in which the benchmark tool of 2019 to 2021 writes it
TEXT = """\
layerName;execStatus;layerType;execType;realTime (ms);cpuTime (ms)
data;NOT_RUN;Input;NONE;0.0;0.0
join;NOT_RUN;Concat;StubConcat;0.0;0.0
left/relu;OPTIMIZED_OUT;ReLU;<none>;0.0;0.0
<Extra>;EXECUTED;<Extra>;Convert;0.073;0.0
left/Add,left;EXECUTED;Convolution;MyriadXHwOp + injected[Copy];0.25;0.0
right;EXECUTED;Convolution;Copy;0.1;0.0
prob;EXECUTED;SoftMax;SoftMax;0.02;0.0
Total;;;;0.443;0.0

"""


def branches():
    """Two convolutions side by side, concatenated, then a softmax."""
    builder = GraphBuilder("branches")
    source = builder.input(1, 16, 8, 8, name="data")
    left = builder.convolution(source, 8, 3, activation="relu", name="left")
    right = builder.convolution(source, 8, 1, name="right")
    joined = builder.add(op.Concat(1), left, right, name="join")
    builder.add(op.Softmax(1), joined, name="prob")
    return builder.build()


def tensor(name, channels=8, location="CMX", usage="Intermediate"):
    dims = {"W": 8, "H": 8, "C": channels, "N": 1}
    strides = {"W": 2, "H": 16, "C": 128, "N": 128 * channels}
    return Operand(name, usage, "FP16", dims, strides, location)


def stage(execution, name, kind, layer, inputs, outputs, layer_type="Convolution", **more):
    kind_of_layer = layer_type if layer else ""
    return Stage(execution, name, kind, layer, kind_of_layer, 0, {}, inputs, outputs, **more)


@pytest.fixture
def plan():
    """The plan of `branches`: a copied input, a copy injected into the other branch's stage."""
    data, half = tensor("data", 16, "Input", "Input"), tensor("data@FP16", 16, "BSS")
    near = tensor("data@FP16@copy", 16)
    left, right = tensor("left/relu"), tensor("right@copy", location="BSS")
    right_near, joined = tensor("right"), tensor("join", 16, "BSS")
    prob, out = tensor("prob@FP16", 16, "BSS"), tensor("prob", 16, "Output", "Output")
    inject = {"injected_into": "left"}
    stages = (
        stage(0, "data@FP16", "Convert", "", (data,), (half,)),
        stage(1, "right@in", "Copy", "right", (half,), (near,)),
        stage(2, "right", "MyriadXHwOp", "right", (near,), (right_near,)),
        # the dump shows an injected stage's operands on its host as well
        stage(3, "left", "MyriadXHwOp", "left", (half, right_near), (left, right)),
        stage(3, "right@copy", "Copy", "right", (right_near,), (right,), **inject),
        stage(-1, "join", "StubConcat", "join", (left, right), (joined,), "Concat"),
        stage(4, "prob", "SoftMax", "prob", (joined,), (prob,), "SoftMax"),
        stage(5, "prob@out", "Convert", "", (prob,), (out,)),
    )
    return Plan("branches", stages)


TIMES_S = (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 0.0, 6e-3, 7e-3)


def test_stages_add_up_as_the_plugin_adds_them(plan):
    assert layer_rows(plan, branches(), TIMES_S) == (
        CounterRow("data", "NOT_RUN", "Input", "NONE"),
        CounterRow("join", "NOT_RUN", "Concat", "StubConcat"),
        CounterRow("left/relu", "OPTIMIZED_OUT", "ReLU", "<none>"),
        CounterRow("<Extra>", "EXECUTED", "<Extra>", "Convert", 1e-3 + 7e-3),
        # the first stage gives the type; what was injected elsewhere counts there
        CounterRow("right", "EXECUTED", "Convolution", "Copy", 2e-3 + 3e-3),
        CounterRow("left", "EXECUTED", "Convolution", "MyriadXHwOp + injected[Copy]", 4e-3 + 5e-3),
        CounterRow("prob", "EXECUTED", "SoftMax", "SoftMax", 6e-3),
    )


def test_a_time_for_every_stage_is_wanted(plan):
    with pytest.raises(MatchError, match="7 times for 8 stages"):
        layer_rows(plan, branches(), TIMES_S[:-1])


def test_facts_tell_where_tensors_lie_and_what_was_inserted(plan):
    facts = plan_facts(plan, TIMES_S)
    by_layer = {each["layer"]: each for each in facts["layers"]}
    places = {name: (each["reads_from"], each["writes_to"]) for name, each in by_layer.items()}
    assert places == {"right": ("DDR", "DDR"), "left": ("DDR", "CMX"), "prob": ("DDR", "DDR")}
    assert by_layer["right"]["stages"] == 3
    assert by_layer["right"]["tiles"] == by_layer["right"]["injected"] == 1
    assert by_layer["left"]["output_shape"] == [1, 8, 8, 8]
    assert facts["inserted"] == [
        {"name": "data@FP16", "type": "Convert", "converts": "data", "weight": 1e-3},
        {"name": "prob@out", "type": "Convert", "converts": "prob", "weight": 7e-3},
    ]
    assert [each["weight"] for each in plan_facts(plan)["inserted"]] == [1024, 1024]


def test_nodes_hold_what_is_free_and_all_time_is_matched(plan):
    graph = branches()
    rows = read_counters(write_counters(layer_rows(plan, graph, TIMES_S)))
    nodes = executed_nodes(rows, graph, plan_facts(plan, TIMES_S))
    seen = {node.name: (node.layers, node.producers, node.time_s) for node in nodes}
    assert seen == {
        "data@FP16": ((), ("input:data",), pytest.approx(1e-3)),
        "prob@out": ((), ("prob",), pytest.approx(7e-3)),
        "right": (("right",), ("input:data",), 5e-3),
        "left": (("left", "join"), ("input:data", "right"), 9e-3),
        "prob": (("prob",), ("left",), 6e-3),
    }
    matched = match(graph, Profile("ncs2", nodes))
    assert matched.unmatched_s == pytest.approx(0.0, abs=1e-15)
    assert matched.odd_shapes == 0


def test_a_published_report_is_read_without_a_plan():
    rows = read_counters(TEXT)
    assert write_counters(rows) == TEXT
    nodes = executed_nodes(rows, branches())
    seen = {node.name: (node.layers, node.producers) for node in nodes}
    assert seen == {
        "<Extra>": ((), ("input:data",)),
        "left/Add,left": (("left", "join"), ("input:data", "right")),
        "right": (("right",), ("input:data",)),
        "prob": (("prob",), ("left/Add,left",)),
    }
    assert sum(node.time_s for node in nodes) == pytest.approx(0.443e-3)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("layerName;execStatus", "layer;status", "line 1: no header"),
        (";0.25;0.0", ";0.25", "line 6: 5 columns; legal: 6"),
        ("right;EXECUTED", "right;RAN", r"line 7: column 'execStatus' is 'RAN'; legal: EXECUTED"),
        (";0.1;", ";fast;", r"line 7: column 'realTime .ms.' is 'fast'; legal: a number"),
        (";0.1;", ";-0.1;", "line 7: .* is -0.1; legal: 0 or more"),
        (";0.1;", ";0.2;", r"line 9: .* totals 0.443, but its rows add up to 0.543"),
        ("prob;EXECUTED", "right;EXECUTED", "line 8: a second row of layer 'right'"),
        ("Total;;;;0.443;0.0\n", "", "line 8: the report ends without a row 'Total'"),
        (
            "Total;;;;0.443;0.0\n",
            "Total;;;;0.443;0.0\nlate;NOT_RUN;a;b;0;0",
            "line 10: a row after",
        ),
    ],
)
def test_a_damaged_report_is_refused_with_its_line(old, new, told):
    assert old in TEXT
    with pytest.raises(MatchError, match=f"^here.csv, {told}") as error:
        read_counters(TEXT.replace(old, new), "here.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "\n", TEXT[:200]])
def test_no_cut_report_passes(text):
    with pytest.raises(MatchError, match=re.escape("average counters, line ")):
        read_counters(text)


def test_a_report_in_which_nothing_ran_is_no_profile():
    with pytest.raises(MatchError, match="no executed layer"):
        executed_nodes(read_counters(TEXT)[:3], branches())


def test_what_was_folded_into_a_node_is_found_again():
    # padding is folded forwards; batch normalisation takes the convolution's name away
    builder = GraphBuilder("folded")
    source = builder.input(1, 8, 8, 8, name="data")
    padded = builder.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), source, name="pad")
    builder.convolution(padded, 8, 3, padding="valid", normalise=True, name="conv")
    graph = builder.build()
    row = CounterRow("conv/normalise", "EXECUTED", "Convolution", "MyriadXHwOp", 1e-3)
    (node,) = executed_nodes([row], graph)
    assert node.layers == ("pad", "conv", "conv/normalise")
    assert node.producers == ("input:data",)


def test_parts_of_a_layer_belong_to_it():
    builder = GraphBuilder("parts")
    source = builder.input(1, 8, 8, 8, name="data")
    builder.add(op.Activation("hard_sigmoid"), source, name="gate")
    rows = [
        CounterRow(name, "EXECUTED", "Eltwise", kind, 1e-3)
        for name, kind in (("gate//1", "Power"), ("gate//2", "Min"), ("gate", "Power"))
    ]
    nodes = executed_nodes(rows, builder.build())
    assert [node.layers for node in nodes] == [("gate",)] * 3
    (layer,) = match(builder.build(), Profile("ncs2", nodes)).layers
    assert layer.time_s == pytest.approx(3e-3)
