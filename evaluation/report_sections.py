"""What the report says, chapter by chapter, from the checked tables and the platform model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from evaluation import figures, paper_tables
from evaluation.contributions import contribution_scores, error_contributions, worst_layers
from evaluation.coverage import coverage_scores, coverage_section
from evaluation.facts import Facts, cost_scores, noise_table, provenance_table, refusal_table
from evaluation.frames import KINDS, UNTIMED
from evaluation.paper_tables import SET_TEXT
from evaluation.report import Picture, Rules, Section
from evaluation.scores import all_scores
from evaluation.summary import SummaryRow
from evaluation.surface import PANELS, best_slice, utilisation_surface
from evaluation.table_format import Table
from evaluation.traffic import traffic_scores, traffic_section
from evaluation.tree_figure import Node, fusion_tree, tree_node, tree_rules
from evaluation.unrolling_section import Fits, unrolling_section
from strata.edges import EDGE_FEATURES
from strata.mapping import MappingModel
from strata.platform_model import PlatformModel

MOST_TREES_DRAWN = 4


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All inputs of a report, checked: tables as `evaluation.frames` describes them.

    `convolutions` is the layer table of convolution, if there is one, `traffic` the table of
    `evaluation.traffic` if the platform tells it, `intervals` that of `evaluation.coverage` if the
    platform model has any, `unrolling` the fits of the sweeps, which `sweeps` holds by operation.
    """

    facts: Facts
    networks: pd.DataFrame
    layers: pd.DataFrame
    mapping: pd.DataFrame
    platform: PlatformModel
    convolutions: pd.DataFrame | None = None
    traffic: pd.DataFrame | None = None
    intervals: pd.DataFrame | None = None
    unrolling: Fits | None = None
    sweeps: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def scores(self) -> list[SummaryRow]:
        """Every row for summary.csv."""
        name = self.facts.platform
        rows = all_scores(name, self.networks, self.layers, self.mapping)
        if len(self.layers):  # a device without a profiler tells no layer's time
            rows += contribution_scores(self.named_networks, self.layers, name)
        if self.intervals is not None:
            rows += coverage_scores(self.intervals, name)
        if self.traffic is not None:
            rows += traffic_scores(self.traffic, name)
        return rows + cost_scores(self.facts)

    @property
    def named_networks(self) -> pd.DataFrame:
        """All but the NASBench sample; that too where nothing else was measured."""
        named = self.networks[self.networks["set"] != "nasbench"]
        return named if len(named) else self.networks


def _headline(scores: list[SummaryRow]) -> tuple[str, ...]:
    """One sentence per set with the MAPE of each kind, predicted mapping, and what it lacks."""
    sentences = []
    totals = {
        (row.data_set, row.metric, row.model): row
        for row in scores
        if row.subject == "networks/predicted"
    }
    for data_set in dict.fromkeys(row.data_set for row in scores):
        found = {
            kind: totals[data_set, "mape", kind]
            for kind in KINDS
            if (data_set, "mape", kind) in totals
        }
        if found:
            values = ", ".join(
                f"{paper_tables.KIND_TEXT[kind].lower()} {found[kind].value:.2f}%" for kind in found
            )
            count = next(iter(found.values())).n
            lacking = max(totals[data_set, "incomplete", kind].value for kind in found)
            sentences.append(
                f"{SET_TEXT.get(data_set, data_set)} ({count}): MAPE of the network total {values}."
                + (f" Incomplete, for layers of unknown time: {lacking:.0f}." if lacking else "")
            )
    return tuple(sentences)


def summary_section(evaluation: Evaluation, scores: list[SummaryRow]) -> Section:
    """Headline errors, provenance, noise floor, what was refused."""
    facts = evaluation.facts
    cost = (
        f"{facts.points:,} benchmark points measured, {facts.refused_points:,} refused; median "
        f"cost per point {facts.median_wall_s:.3f} s, {facts.device_share:.0%} of it inside runs."
    )
    return Section(
        "Summary",
        (*_headline(scores), cost, "All estimates use the predicted mapping unless said."),
        (provenance_table(facts), noise_table(evaluation.networks), refusal_table(facts)),
    )


def network_section(evaluation: Evaluation, scores: list[SummaryRow]) -> Section:
    """Tables 2 and 5, estimated against measured, bars per set."""
    networks, platform = evaluation.networks, evaluation.facts.platform
    pictures = [
        Picture(
            "predicted_against_measured",
            "Estimated against measured latency, one panel per model kind.",
            figures.predicted_against_measured(networks),
        )
    ]
    for data_set in ("table2", "keras"):
        if data_set in set(networks["set"]):
            caption = f"{SET_TEXT[data_set]}: latency and signed error (ANNETTE, figures 10, 11)."
            figure = figures.network_bars(networks, data_set)
            pictures.append(Picture(f"network_bars_{data_set}", caption, figure))
    tables = (paper_tables.table5(scores, platform), paper_tables.table2(networks))
    return Section("Networks", _missing(networks, "table2", "keras"), tables, tuple(pictures))


def fidelity_section(evaluation: Evaluation, scores: list[SummaryRow]) -> Section:
    """Table 6 and figure 12."""
    networks = evaluation.networks
    pictures: tuple[Picture, ...] = ()
    if "nasbench" in set(networks["set"]):
        caption = "NASBench-101 networks in order of measured latency (ANNETTE, figure 12)."
        pictures = (Picture("fidelity_nasbench", caption, figures.fidelity(networks)),)
    table = paper_tables.table6(scores, evaluation.facts.platform)
    return Section("Design-space fidelity", _missing(networks, "nasbench"), (table,), pictures)


def _missing(networks: pd.DataFrame, *sets: str) -> tuple[str, ...]:
    absent = [SET_TEXT[name] for name in sets if name not in set(networks["set"])]
    return tuple(f"Not measured in this run: {name}." for name in absent)


def layer_section(evaluation: Evaluation, scores: list[SummaryRow]) -> Section:
    """Table 3, all layer types, figure 7."""
    platform = evaluation.facts.platform
    tables = [paper_tables.table3(scores, platform)]
    if any(row.subject.startswith("layers/") for row in scores):
        tables.append(paper_tables.layers_by_operation(scores, platform))
    models = evaluation.platform.layer_models.get("convolution", {})
    if not set(PANELS) & set(models):
        return Section("Layers", ("No convolution model to draw a surface of.",), tuple(tables))
    table = evaluation.convolutions
    surface = utilisation_surface(models, best_slice(table), table)
    caption = "Convolution models over channels and filters (ANNETTE, figure 7)."
    picture = Picture("utilisation_surface", caption, surface)
    return Section("Layers", (), tuple(tables), (picture,))


def error_section(evaluation: Evaluation) -> Section:
    """Where the error of the mixed model arises, and where the time goes."""
    networks, layers = evaluation.named_networks, evaluation.layers
    if layers.empty:
        return Section("What dominates the error", ("Only whole networks were measured.",))
    sums = error_contributions(networks, layers)
    pictures = [
        Picture(
            "error_sources",
            "Signed error per network and source; dots are the totals.",
            figures.error_sources(networks, layers),
        ),
        Picture(
            "time_share",
            "Measured time per layer type.",
            figures.time_share(networks, layers),
        ),
    ]
    tables = (paper_tables.contribution_table(sums, "mixed", "predicted"), _worst_table(layers))
    return Section("What dominates the error", (), tables, tuple(pictures))


def _worst_table(layers: pd.DataFrame) -> Table:
    worst = worst_layers(layers)
    frame = pd.DataFrame(
        {
            "Network": worst["network"],
            "Layer": worst["layer"],
            "Operation": worst["operation"],
            "Status": worst["status"],
            "Measured (ms)": 1e3 * worst["measured_s"],
            "Estimated (ms)": 1e3 * worst["estimated_s"],
            "Error (ms)": 1e3 * worst["error_s"],
        }
    )
    lacking = (
        "Untimed are layers whose time the estimate does not know: their error is all that was "
        "measured of them, which the network's total lacks.",
    )
    notes = lacking if (worst["status"] == UNTIMED).any() else ()
    return Table("worst_layers", "Layers with the largest error, mixed model", frame, notes)


def mapping_section(evaluation: Evaluation) -> Section:
    """Table 4, figure 8 and the rules of every tree that decides something."""
    trees = _trees(evaluation.platform.mapping)
    deciding = {pair: node for pair, node in trees.items() if node.branches}
    drawn = sorted(deciding, key=_figure8_first(deciding))[:MOST_TREES_DRAWN]
    forests = evaluation.platform.mapping.fusion
    pictures = [
        Picture(
            f"fusion_tree_{pair.replace('->', '_')}".replace("*", "any"),
            f"Decision tree for fusing {_pair_text(pair)} (ANNETTE, figure 8).",
            _tree_figure(evaluation.platform.mapping, pair),
        )
        for pair in drawn
    ]
    rules = [
        Rules(f"Fusing {_pair_text(p)}", tree_rules(forests[p], EDGE_FEATURES))
        for p in sorted(deciding)
    ]
    text = ("Pairs without a tree, of their own or of any other layer's, are taken as not fused.",)
    table = paper_tables.table4(evaluation.mapping, evaluation.facts.platform)
    tables = (table, paper_tables.mapping_pairs(evaluation.mapping), _constant_table(trees))
    return Section("Mapping models", text, tables, tuple(pictures), tuple(rules))


def _trees(mapping: MappingModel) -> dict[str, Node]:
    return {pair: tree_node(forest, EDGE_FEATURES) for pair, forest in mapping.fusion.items()}


def _pair_text(pair: str) -> str:
    producer, _, consumer = pair.replace("_", " ").partition("->")
    return f"{'any other layer' if producer == '*' else producer} → {consumer}"


def _constant_table(trees: dict[str, Node]) -> Table:
    """What each layer is always or never fused with, whatever the parameters."""
    answers: dict[str, tuple[list[str], list[str]]] = {}
    for pair in sorted(pair for pair, node in trees.items() if not node.branches):
        producer, _, consumer = _pair_text(pair).partition(" → ")
        always, never = answers.setdefault(producer, ([], []))
        (always if (trees[pair].probability or 0) > 0.5 else never).append(consumer)
    lines = [
        {"Layer": producer, "Always fused with": ", ".join(a), "Never fused with": ", ".join(n)}
        for producer, (a, n) in answers.items()
    ]
    return Table(
        "constant_mappings", "Pairs with one answer whatever the parameters", pd.DataFrame(lines)
    )


def _figure8_first(trees: dict[str, Node]) -> Callable[[str], tuple[bool, int, str]]:
    """Sort key: what follows a convolution first, then the richest trees."""
    return lambda pair: (not pair.startswith("convolution->"), -trees[pair].leaves, pair)


def _tree_figure(mapping: MappingModel, pair: str) -> Figure:
    return fusion_tree(mapping.fusion[pair], EDGE_FEATURES, _pair_text(pair))


def report_sections(evaluation: Evaluation, scores: list[SummaryRow]) -> list[Section]:
    """All chapters in reading order; `scores` are `evaluation.scores`."""
    traffic = () if evaluation.traffic is None else (traffic_section(scores),)
    around = evaluation.intervals
    intervals = () if around is None else (coverage_section(around, scores),)
    fits = evaluation.unrolling
    unrolling = () if fits is None else (unrolling_section(fits, evaluation.sweeps),)
    return [
        summary_section(evaluation, scores),
        network_section(evaluation, scores),
        error_section(evaluation),
        layer_section(evaluation, scores),
        *intervals,
        *unrolling,
        *traffic,
        mapping_section(evaluation),
        fidelity_section(evaluation, scores),
    ]
