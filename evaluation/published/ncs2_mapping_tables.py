"""Tables and trees of the NCS2's mapping: agreement with published reports, fusion of pooling."""

from collections.abc import Sequence
from pathlib import Path

from evaluation.plot_style import save_figure
from evaluation.published import ncs2_fusion as fusion
from evaluation.published import ncs2_mapping as mapping
from evaluation.table_format import Table, write_table
from evaluation.tree_figure import fusion_tree, tree_rules
from hardware_modules.ncs2_toolchain import Toolchain, missing
from strata.atomic import replacing

_QUESTIONS = {
    "reported_fused": "Pooling reported as part of the convolution",
    "one_operation": "Convolution and pooling in one hardware operation",
}
_DRAWN, _UNSEEN = 600, 200
_SEED, _UNSEEN_SEED = 0, 1


def mapping_tables(rows: Sequence[mapping.LayerDecision]) -> list[Table]:
    """Agreement, disagreements, who decides what, and every layer."""
    return [
        Table("agreement", "Layers mapped as published", mapping.agreement_frame(rows), _NOTES),
        Table("disagreements", "Layers mapped otherwise", mapping.disagreement_frame(rows)),
        Table("decisions", "Decisions by compiler pass", mapping.decision_frame(rows)),
        Table("layers", "Every layer of every report", mapping.layer_frame(rows)),
    ]


_NOTES = (
    "A layer agrees if execution status and execution type are the published ones, stages added up "
    "per layer as the plugin does. Naively: the stage that characterises the layer.",
)


def write_fusion(
    answers: Sequence[fusion.Answer], unseen: Sequence[fusion.Answer], folder: Path
) -> list[Path]:
    """Facts beside the paper's, every pair asked, and a tree per question: figure and rules."""
    trees = [fusion.fit_tree(answers, unseen, question) for question in _QUESTIONS]
    notes = tuple(
        f"{_QUESTIONS[tree.question]}: a tree on {len(answers)} pairs reaches a Matthews "
        f"correlation of {tree.matthews:.3f} on them and {tree.matthews_unseen:.3f} on "
        f"{len(unseen)} others."
        for tree in trees
    )
    facts = fusion.facts_frame(answers)
    written = [
        *write_table(Table("pooling_facts", "Pooling after convolution", facts, notes), folder),
        *write_table(Table("pooling_pairs", "Pairs asked", fusion.answer_frame(answers)), folder),
    ]
    for tree in trees:
        name = f"pooling_tree_{tree.question}"
        figure = fusion_tree(tree.forest, fusion.FEATURES, _QUESTIONS[tree.question], deepest=7)
        written += save_figure(figure, folder, name)
        rules = folder / f"{name}.txt"
        with replacing(rules) as draft:
            draft.write_text(tree_rules(tree.forest, fusion.FEATURES), encoding="utf-8")
        written.append(rules)
    return written


def write_ncs2_mapping(data: Path, folder: Path) -> str:
    """Compile the published networks and the pairs, write what came out; one line about it.

    Nothing is written, and the line says why, where `data` holds no report or the toolchain is
    missing.
    """
    if not mapping.report_rows(data):
        return f"NCS2 mapping: not compared, {data} holds none of {', '.join(mapping.FILES)}"
    if reason := missing():
        return f"NCS2 mapping: not compared, {reason}"
    toolchain = Toolchain()
    try:
        rows = mapping.mapping_rows(data, toolchain)
        pairs = [*fusion.grid(), *fusion.drawn(_DRAWN, _SEED)]
        answers = fusion.compile_pairs(pairs, toolchain)
        unseen = fusion.compile_pairs(fusion.drawn(_UNSEEN, _UNSEEN_SEED), toolchain)
    finally:
        toolchain.close()
    for table in mapping_tables(rows):
        write_table(table, folder)
    write_fusion(answers, unseen, folder)
    agree, naive = (sum(flags) for flags in zip(*_flags(rows), strict=True))
    share, naively = (100 * count / len(rows) for count in (agree, naive))
    return (
        f"NCS2 mapping: {agree} of {len(rows)} layers as published ({share:.1f}%), "
        f"compared naively {naively:.1f}%"
    )


def _flags(rows: Sequence[mapping.LayerDecision]) -> list[tuple[bool, bool]]:
    return [(row.agrees, row.agrees_naively) for row in rows]
