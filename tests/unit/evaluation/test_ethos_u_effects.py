"""What Vela's decisions are worth, on answers written by hand, and the command."""

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from evaluation import ethos_u_effects as effects
from evaluation.ethos_u_figure import effects_figure, place_of
from evaluation.table_format import to_markdown
from hardware_modules.ethos_u_compiler import missing
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer

PERF = ("id", "source_id", "operator", "name", "op_cycles")
DETAIL = ("id", "ifm_memory", "ofm_memory", "cascade", "weight_buffering")


def answer(rows, cascades=0, cascaded=0, cpu=0):
    """Vela's answer at 1 kHz: rows are (source, cycles, reads, writes, cascade)."""
    perf = [[str(i), str(row[0]), "Conv2D", "", str(row[1])] for i, row in enumerate(rows)]
    detail = [[str(i), row[2], row[3], str(row[4]), ""] for i, row in enumerate(rows)]
    sources = sorted({row[0] for row in rows})
    return {
        "clock_hz": 1e3,
        "total_cycles": sum(row[1] for row in rows),
        "cpu_operations": cpu,
        "cascades": cascades,
        "cascaded_operations": cascaded,
        "left_on_cpu": [],
        "tables": {
            "perf": {"columns": PERF, "rows": perf},
            "perf_debug": {"columns": DETAIL, "rows": detail},
            "source": {
                "columns": ("id", "operator", "ext_key"),
                "rows": [[str(each), "Conv2D", str(each)] for each in sources],
            },
        },
    }


def network(name="two"):
    """Two convolutions that one addition reads."""
    builder = GraphBuilder(name)
    image = builder.input(1, 8, 16, 16)
    first = builder.convolution(image, 8, 3, name="first", activation="relu")
    second = builder.convolution(first, 8, 1, name="second")
    builder.add(op.Elementwise("add"), first, second, name="sum")
    return builder.build()


LAYERS = (("first", "first/relu"), ("second",), ("sum",))
# 4 of 10 ms in a cascade, 1 of 10 from and to SRAM, a fused row without cycles
WHOLE = answer(
    [
        (0, 3, "Dram", "Sram", 1),
        (0, 0, "", "Sram", 1),
        (1, 1, "Sram", "Dram", 1),
        (2, 5, "Dram", "Dram", 0),
        (2, 1, "Sram", "Sram", 0),
    ],
    cascades=1,
    cascaded=2,
)


def test_the_names_of_the_layers_are_those_of_the_test():
    assert [layer.name for layer in network().layers[1:]] == [n for each in LAYERS for n in each]


def test_shares_counts_and_ratios_of_a_network():
    changed = {"no cascading": answer([(0, 15, "Dram", "Dram", 0)]), "neither": None}
    row = effects.effect_row(WHOLE, changed)
    assert row["time (ms)"] == pytest.approx(10)
    assert (row["cascades"], row["operations in them"]) == (1, 2)
    assert row["time in cascades (%)"] == pytest.approx(40)
    assert row["time from and to SRAM (%)"] == pytest.approx(10)
    assert row["no cascading (x)"] == pytest.approx(1.5)
    assert pd.isna(row["neither (x)"])


def test_rows_without_cycles_have_no_place():
    rows = effects.place_rows(WHOLE)
    assert [(row["reads"], row["writes"]) for row in rows] == [
        ("Dram", "Sram"),
        ("Sram", "Dram"),
        ("Dram", "Dram"),
        ("Sram", "Sram"),
    ]
    assert [place_of(row) for row in rows] == [
        "in a cascade",
        "in a cascade",
        "reads or writes DRAM",
        "from and to SRAM",
    ]
    assert place_of({"reads": "?", "writes": "Sram", "cascaded": False}) == "other"


def test_a_part_of_a_graph_has_what_it_reads_as_inputs():
    graph = network()
    found = effects.part(graph, ("sum",))
    assert [layer.name for layer in found.layers] == ["first/relu", "second", "sum"]
    assert found.inputs == ("first/relu", "second")
    assert found.outputs == ("sum",)
    assert found["sum"].output_shape == graph["sum"].output_shape
    whole = effects.part(graph, LAYERS[0])
    assert whole.inputs == graph.inputs
    assert whole.outputs == ("first/relu",)


def test_operations_alone_have_the_times_of_networks_of_their_own():
    compiled = []

    def compile_part(graph, off):
        assert off == ()
        compiled.append(graph.outputs)
        if graph.outputs == ("second",):
            raise UnsupportedLayer("Vela's words")
        return answer([(0, 12, "Dram", "Dram", 0)]), ()

    rows = effects.alone_rows(network(), WHOLE, LAYERS, compile_part)
    assert compiled == [("first/relu",), ("second",), ("sum",)]
    # Vela refuses the second; the sum of both rows of the addition is 6 ms
    assert rows == [
        {"operation": "convolution", "inside_s": 3e-3, "alone_s": 12e-3},
        {"operation": "add", "inside_s": 6e-3, "alone_s": 12e-3},
    ]


def test_what_runs_on_the_cpu_alone_is_left_out():
    def compile_part(graph, off):
        return answer([(0, 12, "Dram", "Dram", 0)], cpu=1), ()

    assert effects.alone_rows(network(), WHOLE, LAYERS, compile_part) == []


def test_ratio_of_sums_and_median_ratio_per_operation():
    rows = [
        {"operation": "convolution", "inside_s": inside, "alone_s": alone}
        for inside, alone in ((1e-3, 4e-3), (2e-3, 2e-3), (1e-3, 2e-3))
    ] + [{"operation": "add", "inside_s": 4e-3, "alone_s": 2e-3}]
    frame = effects.alone_table(rows).frame.set_index("operation")
    assert [*frame.index] == ["add", "convolution", "all"]
    assert frame.loc["convolution", "n"] == 3
    assert frame.loc["convolution", "alone over inside"] == pytest.approx(8 / 4)
    assert frame.loc["convolution", "median ratio"] == pytest.approx(2)
    assert frame.loc["all", "alone over inside"] == pytest.approx(10 / 8)
    assert frame.loc["add", "inside (ms)"] == pytest.approx(4)


def test_places_add_up_to_all_time():
    frame = effects.place_table(effects.place_rows(WHOLE)).frame
    assert frame["of all time (%)"].sum() == pytest.approx(100)
    row = frame[(frame["reads"] == "Dram") & (frame["in a cascade"] == "yes")].iloc[0]
    assert (row["writes"], row["n"], row["of all time (%)"]) == ("Sram", 1, pytest.approx(30))


def fake_compile(graph, off):
    """The network as WHOLE, a change of it twice as slow; what is alone, and networks not known."""
    if graph.name == "no":
        raise UnsupportedLayer("Vela's words")
    if off == ("Grouping",):
        raise UnsupportedLayer("not without")
    if graph.name != "two":
        return answer([(0, 2, "Sram", "Sram", 0)]), (tuple(x.name for x in graph.layers[-1:]),)
    return (answer([(0, 20, "Dram", "Dram", 0)]) if off else WHOLE), LAYERS


def test_a_refused_network_keeps_its_row_and_its_reason():
    chosen = {"no": lambda: network("no"), "two": network}
    found, notes = effects.measure(chosen, fake_compile)
    assert found["no"] is None
    assert notes == ["no is refused: Vela's words", "two, no grouping: not without"]
    tables = effects.effect_tables(found, ["all of it estimated", *notes])
    assert [table.name for table in tables] == ["effects", "alone", "places"]
    assert all(table.notes[-3:] == ("all of it estimated", *notes) for table in tables)
    text = to_markdown(tables[0].frame)
    assert "| no | – | – | – | – | – | – | – | – | – |" in text
    assert "| two | 10.00 | 1 | 2 | 40.00 | 10.00 | 2.00 | 2.00 | 2.00 | – |" in text
    assert "| sum, mean | – | 1 | 2 | 40.00 | 10.00 | 2.00 | 2.00 | 2.00 | – |" in text


def test_nothing_but_refusals_still_gives_tables():
    found, notes = effects.measure({"no": lambda: network("no")}, fake_compile)
    assert all(to_markdown(table.frame) for table in effects.effect_tables(found, notes)[:1])
    for table in effects.effect_tables(found, notes):
        to_markdown(table.frame)


def test_the_figure_shows_every_network_and_change():
    found, _ = effects.measure({"two": network}, fake_compile)
    networks = {name: (each.effect, each.places) for name, each in found.items()}
    figure = effects_figure(networks, tuple(effects.CHANGES), "estimates")
    ratios, times = figure.axes
    assert [text.get_text() for text in ratios.get_yticklabels()] == ["two"]
    assert [line.get_label() for line in ratios.lines[:4]] == [*effects.CHANGES]
    assert [*ratios.lines[0].get_xdata()] == [2.0]
    # 40% in cascades, 50% with DRAM, 10% in SRAM
    assert [bar.get_width() for bar in times.patches] == pytest.approx([40, 50, 10])
    assert figure._suptitle.get_text() == "estimates"


def test_networks_are_of_the_zoo_or_files(tmp_path):
    assert len(effects.chosen_networks([])) == 12
    assert effects.chosen_networks(["resnet18"])["resnet18"]().name == "resnet18"
    with pytest.raises(SchemaError, match="no network 'resnet19'; legal: a file, or fpn"):
        effects.chosen_networks(["resnet19"])


def run(*arguments):
    application = typer.Typer()
    application.command()(effects.command)
    return CliRunner().invoke(application, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--config", "nope"), "no platform 'nope' is described"),
        (("--config", "null"), "module is 'null'; legal here: platforms of ethos_u"),
        (("nope",), "no network 'nope'"),
    ],
)
def test_a_wrong_name_is_one_line(arguments, told, tmp_path):
    done = run(*arguments, "--output", tmp_path / "tables")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert not (tmp_path / "tables").exists()


def test_without_vela_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(effects, "missing", lambda: "Vela is not installed; pip install it")
    done = run("--output", tmp_path / "tables", "resnet18")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "pip install" in done.stderr
    assert not (tmp_path / "tables").exists()


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_command_through_vela(monkeypatch, tmp_path):
    builder = GraphBuilder("long")
    maps = builder.input(1, 8, 96, 96)
    for i in range(3):
        maps = builder.convolution(maps, 64, 3, name=f"conv{i}", activation="relu")
    graph = builder.build()
    monkeypatch.setattr(effects, "chosen_networks", lambda names: {"long": lambda: graph})
    done = run("--config", "ethos_u65_512", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert "not measurements on silicon" in done.output
    row = pd.read_csv(tmp_path / "effects.csv").iloc[0]
    # 576 KiB per map and 384 KiB of SRAM: Vela cascades, and it would not if that were slower
    assert row["cascades"] >= 1
    assert row["no cascading (x)"] > 1
    alone = pd.read_csv(tmp_path / "alone.csv").set_index("operation")
    assert alone.loc["convolution", "n"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.{kind}" for name in ("effects", "alone", "places") for kind in ("csv", "md")),
        *(f"effects.{kind}" for kind in ("svg", "png")),
    }
