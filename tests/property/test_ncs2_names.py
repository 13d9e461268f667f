"""Layer names of any text survive the compiler's dump, its counters' report and the parser."""

from hypothesis import example, given
from hypothesis import strategies as st

from hardware_modules.ncs2_nodes import executed_nodes
from hardware_modules.ncs2_plan import graph_record, name_layers, plan_facts
from hardware_modules.ncs2_report import CounterRow, layer_rows, read_counters, write_counters
from strata import operations as op
from strata.builder import GraphBuilder

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.lists(texts, min_size=2, max_size=5, unique=True)


def chain(layers):
    """An input and activations of these names, one after the other."""
    builder = GraphBuilder("chain")
    tensor = builder.input(1, 8, 4, 4, name=layers[0])
    for name in layers[1:]:
        tensor = builder.add(op.Activation("elu"), tensor, name=name)
    return builder.build()


def dump(record):
    """The compiler's text of one stage per activation, and a conversion of its own at the end."""
    layers = [layer["name"] for layer in record["layers"]]
    tensors = [*layers, f"{layers[-1]}@out"]
    lines = ["digraph plan {", r'label="Graph chain\lextraAttrs = [\l    index = 0\l]\l"']
    for place, name in enumerate(tensors):
        dims = r"desc = [\l    dims = [W : 4, H : 4, C : 8, N : 1]\l]\l"
        lines.append(
            f'data_0x{place:012x} [ label="Data {name}\\lusage = Intermediate\\l{dims}" ];'
        )
    for place, name in enumerate([*layers[1:], ""]):
        origin = f"origLayer = [\\l    name = {name}\\l    type = Elu\\l]\\l" if name else ""
        title = f"[{place}] Stage {name or layers[-1] + '@convert'}"
        stage = f"stage_0x{place:012x}"
        lines.append(f'{stage} [ label="{title}\\ltype = Elu\\l{origin}" ];')
        ends = {"Input": f"data_0x{place:012x} -> {stage}"}
        ends["Output"] = f"{stage} -> data_0x{place + 1:012x}"
        for kind, edge in ends.items():
            lines.append(f'{edge} [ label="Stage{kind}\\lportInd = 0\\l" ];')
    return "\n".join([*lines, "}"])


@given(names)
@example(["007", "1_2", "1e5", "nan"])
@example(["model.Constant_5", "Constant_5", "a-0x5555555555", "b:0x555555555555"])
@example([" before", "after ", "a\nb", "a\r", "\t"])
@example(["a\x85b", "a\u2028b", "\x1c", "100%", "%41"])
@example(["layer00001", "layer00000", "layer00002@FP16"])
@example(["<Extra>", "Total", "Total;;;", "a,b", "a"])
@example(['"];', "\\l", "[x : 1]", "x = [", "]"])
def test_names_come_back_whole(layers):
    graph = chain(layers)
    plan, _ = name_layers(dump(graph_record(graph)), graph)
    assert [stage.layer for stage in plan.stages] == [*layers[1:], ""]
    facts = plan_facts(plan)
    assert [each["layer"] for each in facts["layers"]] == layers[1:]
    assert [each["converts"] for each in facts["inserted"]] == [layers[-1]]
    rows = layer_rows(plan, graph, (1e-3,) * len(plan.stages))
    read = read_counters(write_counters(rows))
    assert [row.name for row in read] == [row.name for row in rows]
    nodes = executed_nodes(read, graph, facts)
    assert [node.layers for node in nodes] == [*((name,) for name in layers[1:]), ()]


@given(names)
def test_a_report_gives_back_what_was_written(layers):
    rows = tuple(CounterRow(name, "EXECUTED", "ELU", "Elu", 1e-3) for name in layers)
    assert read_counters(write_counters(rows)) == rows
