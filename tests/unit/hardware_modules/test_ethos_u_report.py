"""Vela's tables read by hand: what a node holds, costs and moves, and what stays on the CPU."""

import pytest

from benchmark.matcher import match
from hardware_modules.ethos_u_compiler import left_on_cpu
from hardware_modules.ethos_u_report import executed_nodes, memory_use
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError
from strata.profile import Profile

MOVED = ("id", "cascade", "weight_buffering", "SramWeights_read", "SramFeatureMap_write")
MOVED += ("SramFeatureMap_ac", "OffChipFlashWeights_read", "DramScales_read", "shramLut_read")
RESIZED = "RESIZE_BILINEAR of 'r': Scaling matches and operation has unsupported scale-factor=3"


def answer(perf, sources, groups=(), moved=(), left=(), cpu=0):
    """As the worker gives it: perf (id, source, operator, tensor, cycles), sources (id, operator,
    position), groups (id, anchor), moved (id and the cells of MOVED)."""
    columns = ["id", "source_id", "operator", "name", "op_cycles"]
    return {
        "clock_hz": 1e6,
        "total_cycles": sum(int(row[4]) for row in perf),
        "cpu_operations": cpu,
        "left_on_cpu": list(left),
        "peak_bytes": {"Sram": 10, "OnChipFlash": 3, "OffChipFlash": 4, "lutram": 99},
        "tables": {
            "perf": {"columns": columns, "rows": [list(map(str, row)) for row in perf]},
            "source": {
                "columns": ["id", "operator", "ext_key"],
                "rows": [list(map(str, row)) for row in sources],
            },
            "group": {"columns": ["id", "group_id"], "rows": [list(row) for row in groups]},
            "perf_debug": {"columns": list(MOVED), "rows": [list(row) for row in moved]},
        },
    }


def line(*layers):
    """A chain of named layers behind an input of (1, 4, 8, 8)."""
    builder = GraphBuilder("line")
    tensor = builder.input(1, 4, 8, 8, name="in")
    for name, parameters in layers:
        tensor = builder.add(parameters, tensor, name=name)
    return builder.build()


CONVOLUTION = op.Convolution(8, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, True)


def test_a_fused_activation_belongs_to_its_convolution_and_costs_nothing():
    graph = line(("c", CONVOLUTION), ("a", op.Activation("tanh")))
    found = answer(
        [(10, 1, "Conv2D", "c", 500), (11, 2, "Tanh", "a", 0)],
        [(1, "CONV_2D", 0), (2, "TANH", 1)],
        groups=[("10", "10"), ("11", "10")],
        moved=[
            ("10", "0", "Double", "100", "", "77", "40", "", "8"),
            ("11", "0", "", "", "256", "", "", "", ""),
        ],
    )
    (node,) = executed_nodes(found, graph, [("c",), ("a",)])
    assert (node.layers, node.producers) == (("c", "a"), ("input:in",))
    assert node.kind == "Conv2D+Tanh Double"
    assert node.time_s == pytest.approx(500e-6)
    assert node.readings_s == (node.time_s,)
    # cycles of access are no bytes, and what lies in the accelerator is no traffic
    assert node.traffic_bytes == {"sram": 356.0, "flash": 40.0, "dram": 0.0}
    assert node.output_shape == (1, 8, 8, 8)
    assert node.timed
    assert node.placement == ""


def test_the_many_rows_of_a_softmax_are_one_node():
    graph = line(("s", op.Softmax(1)))
    kinds = ["MaxPool", "Sub", "LUT", "Sub", "Mul"]
    found = answer([(i, 5, kind, "s", 10 * i) for i, kind in enumerate(kinds, 1)], [(5, "S", 0)])
    (node,) = executed_nodes(found, graph, [("s",)])
    assert node.kind == "MaxPool+Sub+LUT+Mul"
    assert node.time_s == pytest.approx(150e-6)


def test_what_runs_in_a_cascade_says_so():
    graph = line(("c", CONVOLUTION))
    found = answer(
        [(1, 1, "Conv2D", "c", 9)],
        [(1, "CONV_2D", 0)],
        moved=[("1", "4", "", "", "", "", "", "", "")],
    )
    (node,) = executed_nodes(found, graph, [("c",)])
    assert node.kind == "Conv2D cascade"


def joined():
    """Two convolutions of one input, their concat, and a pooling of it."""
    builder = GraphBuilder("joined")
    source = builder.input(1, 4, 8, 8, name="in")
    first = builder.convolution(source, 8, 1, name="first")
    second = builder.convolution(source, 8, 1, name="second")
    both = builder.add(op.Concat(1), first, second, name="both")
    builder.pooling(both, "max", 2, name="pool")
    return builder.build()


def test_a_concat_without_a_row_belongs_to_the_latest_that_writes_into_it():
    found = answer(
        [(1, 1, "Conv2D", "first", 5), (2, 2, "Conv2D", "second", 6), (3, 4, "MaxPool", "p", 7)],
        [(1, "CONV_2D", 0), (2, "CONV_2D", 1), (3, "CONCATENATION", 2), (4, "MAX_POOL_2D", 3)],
    )
    layers = [("first",), ("second",), ("both",), ("pool",)]
    nodes = executed_nodes(found, joined(), layers)
    assert [node.layers for node in nodes] == [("first",), ("second", "both"), ("pool",)]
    assert nodes[2].producers == (nodes[1].name,)
    assert sum(node.time_s for node in nodes) == pytest.approx(18e-6)


def test_a_padding_without_a_row_belongs_to_the_node_that_reads_it():
    graph = line(("p", op.Pad((0, 0, 1, 1), (0, 0, 1, 1))), ("c", CONVOLUTION))
    found = answer([(1, 2, "Conv2D", "c", 5)], [(1, "PAD", 0), (2, "CONV_2D", 1)])
    (node,) = executed_nodes(found, graph, [("p",), ("c",)])
    assert node.layers == ("p", "c")


RESIZE = op.Resize("linear", (24, 24))


def left_graph():
    return line(("c", CONVOLUTION), ("r", RESIZE), ("d", CONVOLUTION))


def left_answer(**changes):
    rows = [(1, 1, "Conv2D", "c", 5), (2, 2, "Passthrough", "r", 0), (3, 3, "Conv2D", "d", 6)]
    sources = [(1, "CONV_2D", 0), (2, "RESIZE_BILINEAR", 1), (3, "CONV_2D", 2)]
    return answer(rows, sources, **{"left": (RESIZED,), "cpu": 1, **changes})


LEFT_LAYERS = [("c",), ("r",), ("d",)]


def test_what_is_left_on_the_cpu_has_vela_s_words_and_no_time():
    nodes = executed_nodes(left_answer(), left_graph(), LEFT_LAYERS)
    assert [(n.layers, n.placement, n.timed) for n in nodes] == [
        (("c",), "", True),
        (("r",), "host", False),
        (("d",), "", True),
    ]
    assert nodes[1].kind == f"left on the CPU: {RESIZED}"
    assert nodes[1].readings_s == ()
    assert nodes[1].traffic_bytes == {}
    assert nodes[2].producers == (nodes[1].name,)
    assert Profile("ethos_u", nodes).untimed == (
        f"no time is known: '2 r' left on the CPU: {RESIZED}"
    )


def test_without_words_of_vela_s_the_operator_is_named():
    nodes = executed_nodes(left_answer(left=()), left_graph(), LEFT_LAYERS)
    assert nodes[1].kind == "left on the CPU: RESIZE_BILINEAR of 'r'"


def test_a_layer_that_runs_in_part_on_the_cpu_has_no_time_at_all():
    graph = line(("c", CONVOLUTION))
    found = answer(
        [(1, 1, "Passthrough", "c/whole", 0), (2, 2, "Add", "c", 6)],
        [(1, "TRANSPOSE_CONV", 0), (2, "ADD", 1)],
        cpu=1,
    )
    profile = Profile("ethos_u", executed_nodes(found, graph, [("c",), ("c",)]))
    (layer,) = match(graph, profile).layers
    assert not layer.timed
    assert layer.executed.placement == "host"


def test_a_cpu_operator_without_a_row_is_no_free_one():
    with pytest.raises(MatchError, match="leaves 2 operators on the CPU and has rows of 1"):
        executed_nodes(left_answer(cpu=2), left_graph(), LEFT_LAYERS)


def test_a_row_that_is_fused_into_none_is_an_error():
    found = answer([(1, 1, "Relu", "a", 0)], [(1, "RELU", 0)], groups=[("1", "7")])
    with pytest.raises(MatchError, match="row 1 is fused into row 7, which is absent"):
        executed_nodes(found, line(("a", op.Activation("relu"))), [("a",)])


def test_vela_s_warnings_become_a_line_each():
    printed = (
        "\nWarning (supported operators) operator: CONV_2D, ofm: 'a/b c'\nReason: Unsupported "
        "kernel   stride: 4, 4\n\nsomething else\nWarning (supported operators) operator: MEAN, "
        "ofm: 'm'\nReason: Batch > 1: 2, 7\nIF more:\n - text\n"
    )
    assert left_on_cpu(printed) == [
        "CONV_2D of 'a/b c': Unsupported kernel stride: 4, 4",
        "MEAN of 'm': Batch > 1: 2, 7",
    ]
    assert left_on_cpu("") == []


def test_memory_use_adds_up_both_flashes_and_leaves_out_the_accelerator_s_own():
    assert memory_use(left_answer()) == {"sram": 10, "flash": 7}


def test_of_many_operators_on_the_cpu_five_are_told():
    graph = line(*((f"r{i}", RESIZE) for i in range(7)))
    rows = [(i, i, "Passthrough", f"r{i}", 0) for i in range(7)]
    found = answer(rows, [(i, "RESIZE_BILINEAR", i) for i in range(7)], cpu=7)
    nodes = executed_nodes(found, graph, [(f"r{i}",) for i in range(7)])
    told = Profile("ethos_u", nodes).untimed
    assert told.count("left on the CPU") == 5
    assert told.endswith("; and 2 more")
