"""The Edge TPU tools' texts: published logs are recovered exactly, damage is named by its line."""

import csv
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_modules.edge_tpu_report import (
    MAPPED,
    OperatorCount,
    parse_benchmark,
    parse_compiler,
    parse_operators,
)
from simulators.edge_tpu import report as writer
from simulators.executable import Executable, ExecutableLayer, printed_name
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError
from strata.execution import ExecutedLayer

DATA = Path(__file__).parent / "data"
# github.com/maxbbraun/thermal-face, issue 2: thermal_face_automl_edge_fast, compiler 14.1
OPERATORS = DATA / "edge_tpu_operators.csv"
# github.com/tensorflow/tensorflow, tensorflow/lite/tools/benchmark/README.md
BENCHMARK = DATA / "benchmark_model_mobilenet.csv"
# Sizes as github.com/google-coral/edgetpu, issue 60 shows them; the table of this text is ours
CONSOLE = """\
Edge TPU Compiler version 2.1.302470888

Model compiled successfully in 12264 ms.

Input model: model2.tflite
Input size: 8.11MiB
Output model: model2_edgetpu.tflite
Output size: 9.47MiB
On-chip memory used for caching model parameters: 6.86MiB
On-chip memory remaining for caching model parameters: 7.75KiB
Off-chip memory used for streaming uncached model parameters: 1.22MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 93
Operation log: model2_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 83
Number of operations that will run on CPU: 10

Operator                       Count      Status

LOGISTIC                       9          More than one subgraph is not supported
ADD                            83         Mapped to Edge TPU
SPLIT_V                        1          Operation not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def operator_text():
    lines = [
        f"{row['operator']:<31}{row['count']:<11}{row['status']}" for row in rows_of(OPERATORS)
    ]
    head = "Edge TPU Compiler version 14.1.317412892\nInput: thermal.tflite\n\n"
    return head + f"{'Operator':<31}{'Count':<11}Status\n\n" + "\n".join(lines) + "\n"


def benchmark_text():
    head = (
        "\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]"
        "\t  [mem KB]\t[times called]\t[Name]"
    )

    def line(row):
        milliseconds = row["average_ms"].rjust(9)
        return (
            f"\t{row['node_type']:>24}\t{row['start_ms']:>9}\t{milliseconds}\t{milliseconds}"
            f"\t{row['percent']:>7}%\t{row['cumulative_percent']:>7}%\t     0.000\t        0"
            f"\t[{row['name']}]"
        )

    lines = [line(row) for row in rows_of(BENCHMARK)]
    longest = sorted(rows_of(BENCHMARK), key=lambda row: -float(row["average_ms"]))[:10]
    banner = "=" * 30
    return "\n".join(
        [
            "",
            f"{banner} Run Order {banner}",
            head,
            *lines,
            "",
            f"{banner} Top by Computation Time {banner}",
            head,
            *map(line, longest),
            "",
            "Number of nodes executed: 31",
            "Timings (microseconds): count=50 first=79449 curr=81350 min=77385 max=88213",
            "31 nodes observed",
            "",
            "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9",
            "",
        ]
    )


def test_a_published_operation_log_is_recovered_exactly():
    assert parse_operators(operator_text()) == tuple(
        OperatorCount(row["operator"], int(row["count"]), row["status"])
        for row in rows_of(OPERATORS)
    )


def test_the_compilers_summary_is_read_in_bytes():
    log = parse_compiler(CONSOLE)
    assert log.version == "2.1.302470888"
    assert log.compile_time_s == 12.264
    assert (log.input_model, log.output_model) == ("model2.tflite", "model2_edgetpu.tflite")
    assert log.input_bytes == round(8.11 * 2**20)
    assert log.output_bytes == round(9.47 * 2**20)
    assert log.cached_bytes == round(6.86 * 2**20)
    assert log.remaining_bytes == 7936  # 7.75 KiB
    assert log.streamed_bytes == round(1.22 * 2**20)
    assert (log.subgraphs, log.operations, log.mapped, log.on_host) == (1, 93, 83, 10)
    assert log.operators[1] == OperatorCount("ADD", 83, MAPPED)
    assert len(log.operators) == 3


def test_without_a_cpu_line_every_operation_is_mapped():
    lines = CONSOLE.splitlines()[:14]
    log = parse_compiler("\n".join([*lines, "See the operation log file for details."]))
    assert (log.mapped, log.on_host, log.operators) == (93, 0, ())


@pytest.mark.parametrize("kept", range(13))
def test_a_compiler_log_cut_off_before_its_counts_names_the_last_line(kept):
    text = "\n".join(CONSOLE.splitlines()[:kept])
    with pytest.raises(ArtefactError, match=rf"line {max(len(text.splitlines()), 1)}: "):
        parse_compiler(text)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (13, r"line 13: the log ends without 'Operation log'"),
        (14, r"line 14: no table 'Operator Count Status' up to here"),
        (17, r"line 13: 83 \+ 0 operations are not the total of 93"),
        (20, r"line 20: the table 'Operator Count Status' has no rows"),
        (22, r"line 22: the text ends within the line 'LOGISTIC +9 +More than"),
        (23, r"line 23: the text ends within the line 'ADD +83 +Mapped to"),
        (24, r"line 24: the text ends within the line 'SPLIT_V +1 +Operation not"),
    ],
)
def test_a_compiler_log_cut_off_later_does_not_add_up(kept, message):
    with pytest.raises(ArtefactError, match=message):
        parse_compiler("\n".join(CONSOLE.splitlines()[:kept]))


@pytest.mark.parametrize(("kept", "counted"), [(22, 9), (23, 92)])
def test_a_compiler_log_without_its_last_rows_names_the_sum(kept, counted):
    with pytest.raises(ArtefactError, match=f"the table counts {counted} of 93 operations"):
        parse_compiler("\n".join(CONSOLE.splitlines()[:kept]) + "\n")


def test_cut_at_any_character_a_compiler_log_is_whole_or_an_error():
    whole = parse_compiler(CONSOLE)
    for kept in range(len(CONSOLE)):
        with suppress(ArtefactError):
            assert parse_compiler(CONSOLE[:kept]) == whole


def test_cut_at_any_character_a_benchmark_log_is_whole_or_an_error():
    text = benchmark_text()
    whole = parse_benchmark(text)
    for kept in range(0, len(text), 7):
        with pytest.raises(ArtefactError, match=r", line \d+: "):
            parse_benchmark(text[:kept])
    summary = (
        "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, "
        "Inference (avg): 4\n"
    )
    for kept in range(len(text) - 1000, len(text)):
        with suppress(ArtefactError):
            assert parse_benchmark(summary + text[:kept]).operations == whole.operations


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("8.11MiB", "8.1x1MiB", r"line 6: column 'Input size' is '8.1x1'; legal: a number"),
        ("7.75KiB", "7.75", r"line 10: 'On-chip memory remaining .*' is '7.75'; legal: a number"),
        ("7.75KiB", "7.75KB", r"line 10: .* is '7.75KB'; legal: .* one of B, KiB, MiB, GiB"),
        ("operations: 93", "operations: 9e", r"line 13: column 'Total number .* '9e'; legal: a w"),
        ("on CPU: 10", "on CPU: 9", r"line 13: 83 \+ 9 operations are not the total of 93"),
        ("ADD                            83", "ADD      82", r"table counts 92 of 93 operations"),
        ("LOGISTIC                       9 ", "LOGISTIC   x ", r"line 22: column 'Count' is 'x'"),
        (
            "SPLIT_V                        1          Operation not supported",
            "SPLIT_V",
            r"line 24",
        ),
    ],
)
def test_damage_in_a_compiler_log_is_named(old, new, message):
    with pytest.raises(ArtefactError, match=message):
        parse_compiler(CONSOLE.replace(old, new, 1))


@pytest.mark.parametrize(
    "words", ["Internal compiler error. Aborting!", "Invalid model: a.tflite\nModel not quantized"]
)
def test_a_failed_compilation_is_told_in_the_compilers_words(words):
    with pytest.raises(ArtefactError, match=words.replace("\n", " ")):
        parse_compiler(f"Edge TPU Compiler version 14.1.317412892\n\n{words}\n")


def test_a_published_profile_is_recovered_exactly():
    log = parse_benchmark(benchmark_text())
    rows = rows_of(BENCHMARK)
    assert len(rows) == 31
    assert [(each.node_type, each.name, each.time_s) for each in log.operations] == [
        (row["node_type"], row["name"], float(row["average_ms"] + "e-3")) for row in rows
    ]
    assert (log.initialisation_s, log.first_s, log.warmup_s) == (0.038467, None, 0.083235)
    assert log.inference_s == 0.0797609


def test_the_newer_summary_and_the_initialisations_own_table():
    """Layout of newer versions: a table of the initialisation comes first and is not the one."""
    text = (
        "INFO: Inference timings in us: Init: 5579, First inference: 1357602, "
        "Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06\n"
        "Profiling Info for Benchmark Initialization:\n"
        "=== Run Order ===\n"
        "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
        "\tAllocateTensors\t1.356\t1.356\t100.000%\t100.000%\t0.000\t1\tAllocateTensors/0\n"
        "\nNumber of nodes executed: 1\n"
        "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
        "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
        "\tedgetpu-custom-op\t2.1\t2.05\t 90.0%\t 90.0%\t0.000\t1\t[a;b]:0\n"
        "\tStatic Reshape\t0.1\t0.2\t 10.0%\t100.0%\t0.000\t1\tDelegate/Static Reshape:1\n"
        "\nNumber of nodes executed: 2\n"
    )
    log = parse_benchmark(text)
    assert (log.initialisation_s, log.first_s) == (0.005579, 1.357602)
    assert (log.warmup_s, log.inference_s) == (1.3576, 1.24027)
    assert [each.name for each in log.operations] == ["a;b", "Delegate/Static Reshape"]
    assert [each.time_s for each in log.operations] == [0.00205, 0.0002]
    assert log.operations[0].first_s == 0.0021


def test_a_table_whose_tabs_became_spaces_is_read_too():
    spaced = parse_benchmark(benchmark_text().replace("\t", "  "))
    assert spaced == parse_benchmark(benchmark_text())


def test_a_benchmark_log_cut_off_after_any_line_is_an_error_never_a_shorter_table():
    text = benchmark_text()
    summary = "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9\n"
    lines = text.splitlines()
    end = lines.index("Number of nodes executed: 31")
    for kept in range(end + 1):
        with pytest.raises(ArtefactError, match=r"line \d+: "):
            parse_benchmark("\n".join(lines[:kept]))
        with pytest.raises(ArtefactError, match=r"line \d+: "):
            parse_benchmark(summary + "\n".join(lines[:kept]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "2.150\t  0.054%",
            "2.1.0\t  0.054%",
            r"line 5: column '\[avg ms\]' is '2.1.0'; legal: a n",
        ),
        ("0.054%", "0.054", r"line 5: column '\[%\]' is '0.054'; legal: a share"),
        ("\t        0\t[MobilenetV1/MobilenetV1/Conv2d_0", "\t[Mo", r"line 4: 8 of 9 columns"),
        ("executed: 31", "executed: 32", r"line 49: 32 nodes executed, 31 listed"),
        ("Init: 38467", "Init: fast", r"line 53: column 'Init' is 'fast'; legal: a number"),
    ],
)
def test_damage_in_a_benchmark_log_is_named(old, new, message):
    with pytest.raises(ArtefactError, match=message):
        parse_benchmark(benchmark_text().replace(old, new, 1))


def test_a_log_without_profiling_has_no_operations():
    log = parse_benchmark(benchmark_text().splitlines()[-1] + "\n", profiled=False)
    assert (log.inference_s, log.operations) == (0.0797609, ())


def executable():
    builder = GraphBuilder("two words")
    source = builder.input(1, 3, 8, 8, name="in")
    first = builder.convolution(source, 16, 3, name="first one")
    lifted = builder.add(op.Resize("cubic", (16, 16)), first, name="lift")
    builder.pooling(lifted, "max", 2, name="pool")
    graph = builder.build()
    reasons = {"lift": "Operation not supported", "pool": "More than one subgraph is not supported"}
    layers = [
        ExecutableLayer(
            engine="host" if name in reasons else "array",
            executed=ExecutedLayer(graph[name]),
            producers=graph[name].inputs,
            host_reason=reasons.get(name),
        )
        for name in ("first one", "lift", "pool")
    ]
    return Executable("two words", tuple(layers))


def test_a_written_compiler_log_is_read_back():
    memory = writer.MemoryUse(model=3 * 2**20, cached=2**20, remaining=2**19, streamed=100)
    log = parse_compiler(writer.write_compiler_log(executable(), memory, "simulated"))
    assert (log.version, log.input_model) == ("simulated", "two_words.tflite")
    assert (log.input_bytes, log.cached_bytes) == (3 * 2**20, 2**20)
    assert (log.remaining_bytes, log.streamed_bytes) == (2**19, 100)
    assert (log.subgraphs, log.operations, log.mapped, log.on_host) == (1, 3, 1, 2)
    assert log.operators == (
        OperatorCount("CONV_2D", 1, MAPPED),
        OperatorCount("RESIZE_BILINEAR", 1, "Operation not supported"),
        OperatorCount("MAX_POOL_2D", 1, "More than one subgraph is not supported"),
    )


def test_a_written_benchmark_log_is_read_back():
    times_s = [1.2345678e-3, 1e-4, 2e-6]
    text = writer.write_benchmark_log(executable(), times_s, [2e-3, 4e-3], [8e-3])
    log = parse_benchmark(text)
    assert [each.name for each in log.operations] == ["first_one", "lift", "pool"]
    assert [each.time_s for each in log.operations] == [1.235e-3, 1e-4, 2e-6]
    assert (log.first_s, log.warmup_s, log.inference_s) == (8e-3, 8e-3, 3e-3)
    finer = writer.write_benchmark_log(executable(), times_s, [2e-3], decimals=6)
    assert parse_benchmark(finer).operations[0].time_s == 1.234568e-3


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=60), st.floats(1e-6, 1e3)), min_size=1, max_size=5
    )
)
def test_any_names_and_times_survive_the_text(rows):
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
    text = writer.write_benchmark_log(Executable("net", layers), times_s, [1.0], decimals=6)
    read = parse_benchmark(text).operations
    assert [each.name for each in read] == [printed_name(name) for name in names]
    assert [each.time_s for each in read] == pytest.approx(times_s, abs=0.51e-9)
