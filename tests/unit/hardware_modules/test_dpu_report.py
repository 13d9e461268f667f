"""DNNDK's profile table: published profiles are recovered exactly, damage is named by its line."""

import csv
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_modules.dpu_report import parse_tables
from simulators.dpu.report import write_report
from simulators.executable import Executable, ExecutableLayer, printed_name
from strata.builder import GraphBuilder
from strata.errors import ArtefactError
from strata.execution import ExecutedLayer

# Figures of Xilinx's and a user's published profiles (source column), in the vendor's decimals.
PUBLISHED = Path(__file__).parent / "data" / "dpu_profiles.csv"
RULER = "=" * 101
COLUMNS = (
    "  ID                       NodeName Workload(MOP) Mem(MB) RunTime(ms) Perf(GOPS) "
    "Utilization    MB/S"
)


def published():
    with PUBLISHED.open(newline="") as file:
        return {
            kernel: list(rows)
            for kernel, rows in groupby(csv.DictReader(file), key=lambda row: row["kernel"])
        }


def vendor_text(kernel, rows):
    """The table as DNNDK lays it out, from the published figures."""

    def line(identifier, row):
        name = row["node"].rjust(30)
        workload = row["workload_mop"].rjust(max(14 - (len(name) - 30), 2))
        return (
            f"{identifier:>4} {name}{workload} {row['memory_mb']:>7} {row['run_time_ms']:>11}"
            f" {row['performance_gops']:>10} {row['utilisation_percent']:>11}%"
            f" {row['bandwidth_mb_per_s']:>7}"
        )

    *nodes, total = rows
    head = f'[DNNDK] Performance profile - DPU Kernel "{kernel}" DPU Task "{kernel}-0"'
    body = [line(row["node_id"], row) for row in nodes]
    tail = ["", "                Total Nodes In Avg:", line("", total), RULER]
    return "\n".join([head, RULER, COLUMNS, *body, *tail]) + "\n"


@pytest.mark.parametrize("kernel", ["fcn8", "miniVggNet_0", "proxylessmobile05"])
def test_published_profiles_are_recovered_exactly(kernel):
    rows = published()[kernel]
    (table,) = parse_tables(vendor_text(kernel, rows))
    assert (table.processor, table.kernel, table.task) == ("DPU", kernel, f"{kernel}-0")
    assert len(table.nodes) == len(rows) - 1
    for node, row in zip([*table.nodes, table.total], rows, strict=True):
        assert node.name == row["node"]
        assert node.time_s == float(row["run_time_ms"] + "e-3")
        assert node.workload_ops == float(row["workload_mop"] + "e6")
        assert node.ops_per_s == float(row["performance_gops"] + "e9")
        assert node.utilisation == float(row["utilisation_percent"] + "e-2")
        assert node.memory_bytes == float(row["memory_mb"]) * 2**20
        assert node.bytes_per_s == float(row["bandwidth_mb_per_s"]) * 2**20


def test_the_published_profiles_are_the_known_number_of_nodes():
    assert {kernel: len(rows) - 1 for kernel, rows in published().items()} == {
        "fcn8": 21,
        "miniVggNet_0": 6,
        "proxylessmobile05": 42,
    }


@pytest.fixture
def text():
    return vendor_text("fcn8", published()["fcn8"])


def test_several_runs_and_the_applications_own_lines_are_several_tables(text):
    rulerless = text.rsplit(RULER, 1)[0]
    printed = f"now running ./fcn8 1\n{RULER}\n{text}[Time]37us\n{rulerless}\n[FPS]27.1\n"
    tables = parse_tables(printed)
    assert [table.kernel for table in tables] == ["fcn8", "fcn8"]
    assert tables[0] == tables[1]


def test_a_report_cut_off_after_any_line_is_an_error_never_a_shorter_table(text):
    lines = text.splitlines()
    whole = len(lines) - 1  # what follows the totals is a ruler
    for kept in range(whole):
        with pytest.raises(ArtefactError, match=r"line \d+: "):
            parse_tables("\n".join(lines[:kept]))
    assert len(parse_tables("\n".join(lines[:whole]))[0].nodes) == 21


def test_cut_at_any_character_a_report_is_whole_or_an_error(text):
    whole = parse_tables(text)[0].nodes
    for kept in range(len(text)):
        with suppress(ArtefactError):
            assert parse_tables(text[:kept])[0].nodes == whole


def test_a_cut_names_the_last_line(text):
    with pytest.raises(ArtefactError, match=r"board, line 10: the report ends before 'Total Nod"):
        parse_tables("\n".join(text.splitlines()[:10]), "board")


def test_a_row_cut_in_the_middle_names_its_line(text):
    cut = text[: text.index("1849.688")] + "1849."
    with pytest.raises(ArtefactError, match=r"line 6: 3 of 8 columns: 3 +block2_conv1_conv"):
        parse_tables(cut)


def test_a_missing_row_is_told_by_the_next_number(text):
    lines = text.splitlines()
    del lines[7]
    with pytest.raises(ArtefactError, match=r"line 8: column 'ID' is '6'; legal: 5, the next"):
        parse_tables("\n".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.753", "0.7x3", r"line 4: column 'RunTime\(ms\)' is '0.7x3'; legal: a number"),
        ("3699.376", "nan", r"line 5: column 'Workload\(MOP\)' is 'nan'; legal: a number"),
        ("18.7%", "18.7", r"line 4: column 'Utilization' is '18.7'; legal: a number and '%'"),
        ("   1 ", "  1a ", r"line 4: column 'ID' is '1a'; legal: a whole number"),
        ("32.880", "31.880", r"line 27: column 'RunTime\(ms\)' totals 31.880, .* up to 32.88"),
        ("32009.303", "3209.303", r"line 27: column 'Workload\(MOP\)' totals 3209.303"),
        ("  1438.9\n", "  143\n", r"line 27: column 'MB/S' totals 143, but .* is 1438.9"),
        ("Mem(MB)", "Mem(GB)", r"line 3: the columns are .*; legal: ID NodeName Workload"),
        ("   All ", "   Alle ", r"line 27: the row of totals is 'Alle "),
    ],
)
def test_a_damaged_value_names_line_column_and_value(text, old, new, message):
    with pytest.raises(ArtefactError, match=message):
        parse_tables(text.replace(old, new, 1))


def test_a_text_without_a_table_says_so():
    with pytest.raises(ArtefactError, match="no table"):
        parse_tables("bash: dexplorer: command not found\n")


def executable():
    builder = GraphBuilder("two words")
    source = builder.input(1, 3, 8, 8, name="in")
    first = builder.convolution(source, 16, 3, name="first convolution of a net with long names")
    pooled = builder.pooling(first, "max", 2, name="pool")
    builder.dense(pooled, 10, name="dense")
    graph = builder.build()
    layers = [
        ExecutableLayer(
            engine="convolution" if name != "dense" else "host",
            executed=ExecutedLayer(graph[name]),
            producers=(f"input:{graph[name].inputs[0]}",),
            host_reason="dense on four axes" if name == "dense" else None,
        )
        for name in ("first convolution of a net with long names", "pool", "dense")
    ]
    return Executable("two words", tuple(layers))


def test_a_written_report_is_read_back():
    tables = parse_tables(write_report(executable(), [2e-3, 1.5e-5, 7e-6], 1e12))
    dpu, cpu = tables
    assert (dpu.processor, dpu.kernel) == ("DPU", "two_words")
    assert (cpu.processor, cpu.kernel) == ("CPU", "two_words_cpu")
    names = ["first_convolution_of_a_net_with_long_names", "pool"]
    assert [node.name for node in dpu.nodes] == names
    assert [node.time_s for node in dpu.nodes] == [2e-3, 15e-6]
    assert [(node.name, node.time_s) for node in cpu.nodes] == [("dense", 7e-6)]


def test_derived_columns_follow_from_workload_bytes_and_time():
    table = parse_tables(write_report(executable(), [2e-3, 1.5e-5, 7e-6], 1e9))[0]
    node = table.nodes[0]
    assert node.workload_ops == 55_000  # 2 x 8 x 8 x 16 x 27 = 55,296 in three decimals of a MOP
    assert node.ops_per_s == pytest.approx(55_296 / 2e-3, abs=5e7)
    assert node.utilisation == pytest.approx(55_296 / 2e-3 / 1e9, abs=5e-4)
    # 3 x 64 in, 16 x 64 out, 16 x 27 weights and 16 biases, a byte each
    assert node.bytes_per_s / 2**20 == pytest.approx(1664 / 2**20 / 2e-3, abs=0.05)


def test_decimals_bound_what_the_text_loses():
    times_s = [1.2345678e-3, 1.5e-5, 7e-6]
    read_s = [
        parse_tables(write_report(executable(), times_s, 1e12, decimals))[0].nodes[0].time_s
        for decimals in (3, 6)
    ]
    assert read_s == [1.235e-3, 1.234568e-3]


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=60), st.floats(1e-6, 1e3)), min_size=1, max_size=5
    ),
    st.text(),
)
def test_any_names_and_times_survive_the_text(rows, graph_name):
    names = [f"{index}{name}" for index, (name, _) in enumerate(rows)]
    times_s = [time_s for _, time_s in rows]
    builder = GraphBuilder("net")
    source = builder.input(1, 4, 8, 8, name="in")
    for name in names:
        builder.pooling(source, "max", 2, name=name)
    graph = builder.build()
    layers = tuple(
        ExecutableLayer(engine="e", executed=ExecutedLayer(graph[name]), producers=("input:in",))
        for name in names
    )
    text = write_report(Executable(graph_name, layers), times_s, 1e12, decimals=6)
    (table,) = parse_tables(text)
    assert [node.name for node in table.nodes] == [printed_name(name) for name in names]
    assert [node.time_s for node in table.nodes] == pytest.approx(times_s, abs=0.51e-9)
