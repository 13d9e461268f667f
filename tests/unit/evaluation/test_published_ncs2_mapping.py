"""The NCS2's mapping beside published reports: recorded dumps, plans by hand, the real compiler."""

from pathlib import Path

import pytest

from evaluation.published import ncs2_mapping_tables
from evaluation.published.data_set import Row
from evaluation.published.ncs2_fusion import (
    Answer,
    Pair,
    compile_pairs,
    drawn,
    facts_frame,
    fit_tree,
    grid,
    read_answer,
)
from evaluation.published.ncs2_mapping import (
    IMPORT,
    LayerDecision,
    agreement_frame,
    compare,
    deciding_passes,
    decision_frame,
    disagreement_frame,
    mapping_rows,
    naive_decisions,
    report_rows,
)
from evaluation.published.ncs2_mapping_tables import write_fusion, write_ncs2_mapping
from evaluation.published.registry import SHIPPED
from hardware_modules.ncs2_dump import read_plan
from hardware_modules.ncs2_toolchain import CompiledPlan, Toolchain, missing
from simulators.ncs2.plan import Plan, Stage
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.graph import Graph

# Five of the compiler's 39 dumps of `tiny`, recorded with release 2021.4.2.
RECORDED = Path(__file__).parent / "data" / "ncs2_passes"
PASSES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RECORDED.glob("*.dot"))}
HEADER = "network,layer,exec_status,ov_layer_type,ov_exec_type\n"


def tiny() -> Graph:
    builder = GraphBuilder("tiny")
    image = builder.input(1, 8, 12, 12, name="image")
    features = builder.convolution(image, 16, 3, activation="relu", name="convolution")
    builder.pooling(features, "max", 2, name="pooling")
    return builder.build()


def branches() -> Graph:
    builder = GraphBuilder("branches")
    image = builder.input(1, 8, 4, 4, name="image")
    ends = [builder.convolution(image, 8, 1, name=name) for name in ("first", "second")]
    builder.add(op.Concat(1), *ends, name="concat")
    return builder.build()


def stage(
    execution: int, kind: str, layer: str, layer_type: str, name: str = "", host: str | None = None
) -> Stage:
    return Stage(execution, name or layer, kind, layer, layer_type, 0, {}, injected_into=host)


BRANCHES = Plan(
    "branches",
    (
        stage(0, "Convert", "", ""),
        stage(1, "Copy", "first", "Convolution", "first@copy"),
        stage(2, "MyriadXHwOp", "first", "Convolution"),
        stage(3, "MyriadXHwOp", "second", "Convolution"),
        stage(3, "Copy", "concat", "Concat", "concat@copy1", host="second"),
        stage(4, "Copy", "concat", "Concat", "concat@copy2"),
        stage(-1, "StubConcat", "concat", "Concat"),
    ),
)


def report(*rows: tuple[str, str, str, str]) -> list[Row]:
    keys = ("layer", "exec_status", "ov_layer_type", "ov_exec_type")
    return [Row(dict(zip(keys, row, strict=True)), "report.csv", n) for n, row in enumerate(rows)]


PUBLISHED = report(
    ("image", "NOT_RUN", "Input", "NONE"),
    ("<Extra>", "EXECUTED", "<Extra>", "Convert"),
    ("first", "EXECUTED", "Convolution", "Copy"),
    ("second", "EXECUTED", "Convolution", "MyriadXHwOp + injected[Copy]"),
    ("concat", "EXECUTED", "Concat", "Copy"),
    ("other", "NOT_RUN", "Reshape", "Reshape"),
)


def test_stages_add_up_as_the_plugin_adds_them() -> None:
    rows = compare("branches", PUBLISHED, BRANCHES, branches(), {})
    assert [row.agrees for row in rows] == [True] * 5 + [False]
    assert rows[-1].counters == ("", "")
    # naively a copy before the hardware operation is forgotten
    assert [row.agrees_naively for row in rows] == [True, True, False, True, True, False]


def test_naively_a_layer_is_its_hardware_operation() -> None:
    found = naive_decisions(BRANCHES, branches())
    assert found["first"] == ("EXECUTED", "MyriadXHwOp")
    assert found["concat"] == ("EXECUTED", "Copy")
    assert found["<Extra>"] == ("EXECUTED", "Convert")


def test_recorded_dumps_name_the_pass_that_decided() -> None:
    decided = deciding_passes(PASSES, tiny())
    assert decided["convolution/relu"] == decided["pooling"] == "mergeHwStages"
    assert decided["convolution"] == "hwTiling"
    assert decided["image"] == decided["<Extra>"] == IMPORT


def test_what_differs_before_the_first_pass_is_the_imports() -> None:
    plan = read_plan(PASSES["38_markFastStages"])
    published = report(
        ("convolution", "EXECUTED", "Convolution", "Copy"),
        ("pooling", "OPTIMIZED_OUT", "Pooling", "<none>"),
        ("turned", "EXECUTED", "Permute", "Permute"),
    )
    rows = compare("tiny", published, plan, tiny(), PASSES)
    assert [row.agrees for row in rows] == [False, True, False]
    assert [row.decided_by for row in rows] == ["hwTiling", "mergeHwStages", IMPORT]
    frame = disagreement_frame(rows)
    assert list(frame["layer"]) == ["convolution", "turned"]
    assert list(frame["compiled"]) == ["Convolution: EXECUTED MyriadXHwOp", "no row"]
    assert decision_frame(rows)["layers"].sum() == 1


def test_agreement_is_counted_per_network_and_in_all() -> None:
    same, other = ("EXECUTED", "Copy"), ("EXECUTED", "Sum")
    rows = [
        LayerDecision("a", "1", "Concat", same, counters=same, naive=other),
        LayerDecision("a", "2", "Concat", same, counters=same, naive=same),
        LayerDecision("b", "1", "Concat", same, counters=other, naive=other),
    ]
    frame = agreement_frame(rows).set_index("network")
    assert frame.loc["a", "agree (%)"] == 100
    assert frame.loc["a", "agree naively (%)"] == 50
    assert frame.loc["all", "agree"] == 2
    assert frame.loc["all", "agree (%)"] == pytest.approx(100 * 2 / 3)


class Refusing(Toolchain):
    """A compiler that refuses whatever it is given."""

    def compile(self, graph: Graph, passes: bool = False) -> CompiledPlan:
        raise UnsupportedLayer("unsupported layer type")


def test_what_cannot_be_compiled_keeps_its_rows_with_the_reason(tmp_path: Path) -> None:
    lines = ["annette_bench1,x,NOT_RUN,Input,NONE", "nowhere,data,NOT_RUN,Input,NONE"]
    (tmp_path / "ncs2_layers.csv").write_text(HEADER + "\n".join(lines) + "\n")
    rows = mapping_rows(tmp_path, Refusing())
    assert [row.agrees for row in rows] == [False, False]
    assert rows[0].reason == "unsupported layer type"
    assert "nowhere" in rows[1].reason
    assert list(agreement_frame(rows)["layers"]) == [1, 1, 2]


def test_without_reports_or_toolchain_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    assert "holds none of ncs2_layers.csv" in write_ncs2_mapping(tmp_path, output)
    (tmp_path / "ncs2_layers.csv").write_text(HEADER + "annette_bench1,x,NOT_RUN,Input,NONE\n")
    monkeypatch.setattr(ncs2_mapping_tables, "missing", lambda: "not installed")
    assert write_ncs2_mapping(tmp_path, output) == "NCS2 mapping: not compared, not installed"
    assert not output.exists()


def test_the_benchmarks_report_is_shipped() -> None:
    rows = report_rows(SHIPPED)["annette_bench1"]
    assert len(rows) == 23
    assert sum(row.text("exec_status") == "OPTIMIZED_OUT" for row in rows) == 6


def test_a_plan_answers_both_questions() -> None:
    pair = Pair(3, 2, 2, 12, 12, 8, 16)
    answer = read_answer(pair, read_plan(PASSES["38_markFastStages"]))
    assert answer == Answer(pair, reported_fused=True, one_operation=True)
    before = read_answer(pair, read_plan(PASSES["00_initial"]))
    assert before == Answer(pair, reported_fused=False, one_operation=False)


def by_rule(pairs: list[Pair]) -> list[Answer]:
    """Answers of a compiler that fuses in steps of 4 up to a width of 400; both readings alike."""
    answers = []
    for pair in pairs:
        kind = (pair.kernel, pair.pool_kernel, pair.pool_stride) == (3, 2, 2)
        fused = kind and pair.width % 4 == pair.height % 4 == 0 and pair.width <= 400
        answers.append(Answer(pair, fused, fused and pair.channels <= 64))
    return answers


def test_trees_find_a_rule_and_facts_state_it(tmp_path: Path) -> None:
    answers, unseen = by_rule([*grid(), *drawn(400, 0)]), by_rule(drawn(100, 1))
    tree = fit_tree(answers, unseen, "reported_fused")
    assert tree.matthews == 1.0
    assert tree.matthews_unseen > 0.95
    facts = facts_frame(answers).set_index("property")
    assert facts.loc["convolution's kernel", "reported as fused"] == "3"
    assert facts.loc["width", "reported as fused"].startswith("up to ")
    assert facts.loc["height not divisible by 4", "reported as fused"].startswith("0 of ")
    name = "channels 65 to 128, where reported as fused"
    assert facts.loc[name, "one hardware operation"].startswith("0 of ")
    written = write_fusion(answers, unseen, tmp_path)
    assert {path.name for path in written} >= {"pooling_facts.md", "pooling_tree_one_operation.svg"}
    assert all(path.stat().st_size for path in written)


def test_refused_pairs_are_told_and_left_out_of_the_trees() -> None:
    pairs = [*grid(), *drawn(400, 0)]
    refused = compile_pairs(pairs[:1], Refusing())
    assert refused == [Answer(pairs[0], refused="unsupported layer type")]
    answers = by_rule(pairs)
    assert any(answer.reported_fused for answer in answers)
    # taken for "not fused", these would hide the rule
    wrong = [
        Answer(answer.pair, refused="too large")
        for answer in answers
        if answer.reported_fused
        for _ in range(3)
    ]
    assert fit_tree([*answers, *wrong], answers, "reported_fused").matthews_unseen == 1.0


def test_pairs_are_distinct_and_drawn_ones_the_same_every_time() -> None:
    assert len(set(grid())) == len(grid())
    pairs = drawn(50, 3)
    assert pairs == drawn(50, 3)
    assert all(8 <= pair.width <= 1024 and 8 <= pair.channels <= 512 for pair in pairs)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_compiler_maps_the_benchmark_as_published(tmp_path: Path) -> None:
    report_file = SHIPPED / "ncs2_layers_benchmark.csv"
    (tmp_path / report_file.name).write_text(report_file.read_text(encoding="utf-8"))
    toolchain = Toolchain()
    try:
        rows = mapping_rows(tmp_path, toolchain)
        sides = {(56, 56): True, (14, 14): False, (1004, 16): False, (16, 704): False}
        pairs = [Pair(3, 2, 2, width, height, 16, 16) for width, height in sides]
        answers = compile_pairs([*pairs, Pair(3, 2, 2, 56, 56, 256, 16)], toolchain)
    finally:
        toolchain.close()
    assert [row.layer for row in rows if not row.agrees] == []
    assert [answer.reported_fused for answer in answers] == [*sides.values(), True]
    assert [answer.one_operation for answer in answers] == [*sides.values(), False]
