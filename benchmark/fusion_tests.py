"""Command: measure POSSIBLY_FUSED pairs again, the two apart and together, until decided.

A profiler that names one layer of a group only leaves open where a layer went that no node names
and that reads several. `model_gen.fusion_decisions` says what the times mean.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.config import load_platform
from benchmark.matcher import POSSIBLY_FUSED, match
from benchmark.plan import BenchmarkCase, make_case, unique
from benchmark.runner import measure_cases
from benchmark.shards import read_shard
from benchmark.turns import Build, Job
from graph_gen.benchmarks import build
from model_gen.fusion_decisions import (
    LOOKS,
    FusionDecision,
    Verdict,
    decide,
    undecided,
    write_decisions,
)
from model_gen.network_tables import FUSED, NOT_FUSED, read_mapping
from strata import operations as op
from strata.console import exits_cleanly
from strata.edges import Edge
from strata.errors import MatchError
from strata.graph import Graph, make_graph, with_bits
from strata.graph_json import graph_from_dict, graph_to_dict
from strata.layer import Layer, make_layer
from strata.profile_json import profile_from_dict

BENCHMARK = "fusion_test"
PRODUCER, CONSUMER, TOGETHER = PARTS = ("producer", "consumer", "together")


@dataclass(frozen=True, slots=True)
class Question:
    """A layer that may have joined the group that ends with `producer`; graphs by PARTS.

    Questions with the same graphs have one answer. No graphs where the group is a network's input:
    that takes no time alone.
    """

    case_id: str
    producer: str
    consumer: str
    graphs: Mapping[str, Graph]

    @property
    def key(self) -> str:
        """The same for questions with the same answer; "" without graphs."""
        if not self.graphs:
            return ""
        text = "".join(self.graphs[part].content_hash for part in PARTS)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def part_of(graph: Graph, layers: Sequence[Layer], name: str) -> Graph:
    """Some layers of a graph as a network of its own, what they read from outside as its inputs.

    Layers are called by their place, so that equal parts of different graphs are equal.
    """
    inside = [layer.name for layer in layers]
    read = dict.fromkeys(each for layer in layers for each in layer.inputs if each not in inside)
    names = {each: f"input_{i}" for i, each in enumerate(read)}
    names |= {each: f"layer_{i}" for i, each in enumerate(inside)}
    inputs = [make_layer(names[each], op.Input(graph[each].output_shape)) for each in read]
    renamed = [
        replace(layer, name=names[layer.name], inputs=tuple(names[each] for each in layer.inputs))
        for layer in layers
    ]
    # modules are given networks as they are described, in 32 bits, and compute in their own
    return with_bits(make_graph(name, [*inputs, *renamed]), 32)


def question(case_id: str, graph: Graph, edge: Edge) -> Question:
    """What to measure to decide one edge of a graph."""
    group, consumer = edge.group, edge.consumer
    graphs: dict[str, Graph] = {}
    if not any(isinstance(layer.parameters, op.Input) for layer in group):
        layers = dict(zip(PARTS, (group, (consumer,), (*group, consumer)), strict=True))
        graphs = {part: part_of(graph, layers[part], part) for part in PARTS}
    return Question(case_id, edge.producer.name, consumer.name, graphs)


def open_questions(
    records: Iterable[Mapping[str, Any]], case_ids: Iterable[str], build_graph: Build = build
) -> Iterator[Question]:
    """The undecided edges of the cases of a shard that the mapping table has some of.

    A profile that names no layer asks nothing: what is flagged there was told by other means.
    """
    wanted = set(case_ids)
    for record in records:
        case = record["case"]
        if case["case_id"] not in wanted:
            continue
        profile = profile_from_dict(record["profile"], case["case_id"])
        graph = with_bits(build_graph(case["benchmark"], case["settings"]), profile.bits)
        try:
            found = match(graph, profile)
        except MatchError:
            continue
        for row in found.fusions:
            if row.flag == POSSIBLY_FUSED and row.edge is not None:
                yield question(case["case_id"], found.graph, row.edge)


def build_part(benchmark: str, settings: Mapping[str, Any]) -> Graph:
    """The graph of a test, which its settings hold."""
    return graph_from_dict(settings["graph"], benchmark)


def plan_round(questions: Iterable[Question], number: int) -> list[BenchmarkCase]:
    """One measurement of every graph of the questions; equal graphs once."""
    return unique(_case(each.graphs[part], number) for each in questions for part in PARTS)


def _case(graph: Graph, number: int) -> BenchmarkCase:
    # named after its round: a module whose noise follows a network's name must not repeat it
    named = replace(graph, name=f"part_{graph.content_hash[:16]}_{number}")
    return make_case(BENCHMARK, {"graph": graph_to_dict(named), "round": number})


def layers_s(record: Mapping[str, Any]) -> float | str:
    """Seconds that a part's own layers took, or why that is not known.

    Conversions that a toolchain inserts stand at the ends of every network alone: they would look
    like a saving of the two together.
    """
    profile = profile_from_dict(record["profile"], BENCHMARK)
    if reason := profile.refusal or profile.untimed:
        return reason
    graph = build_part(BENCHMARK, record["case"]["settings"])
    own = [node for node in profile.nodes if any(name in graph for name in node.layers)]
    time_s = sum(node.time_s for node in own)
    if not own or time_s <= 0:
        return "no time of its layers is told: a network's overhead would pass for a saving"
    return time_s


def verdict(each: Question, times: Mapping[str, Sequence[float | str]]) -> Verdict:
    """What the rounds so far say of a question; `times` by content hash, one per round."""
    series = {part: times[graph.content_hash] for part, graph in each.graphs.items()}
    for part, values in series.items():
        for reason in values:
            if isinstance(reason, str):
                return undecided(f"{part}: {reason}")
    return decide(*([float(value) for value in values] for values in series.values()))


def with_alternatives(decisions: Sequence[FusionDecision]) -> list[FusionDecision]:
    """A layer joins one group at most: what its tests say together.

    Where exactly one producer is fused with it and the others are not, or are network inputs that
    cannot be tested, all are decided. Where several save time, which of them it joined stays open.
    """
    by_layer: dict[tuple[str, str], list[FusionDecision]] = defaultdict(list)
    for each in decisions:
        by_layer[each.case_id, each.consumer].append(each)
    return [_settled(each, group) for group in by_layer.values() for each in group]


def _settled(each: FusionDecision, group: Sequence[FusionDecision]) -> FusionDecision:
    others = [other for other in group if other is not each]
    fused = [other for other in others if other.verdict.flag == FUSED]
    own = each.verdict
    if own.flag == FUSED and fused:
        reason = f"it also saves time with {fused[0].producer}: only one can have absorbed it"
        return replace(each, verdict=replace(own, flag=POSSIBLY_FUSED, reason=reason))
    if not own.rounds and len(fused) == 1:
        reason = f"it joined {fused[0].producer}"
        return replace(each, verdict=replace(own, flag=NOT_FUSED, reason=reason))
    return each


def measure_questions(
    questions: Sequence[Question], job: Job, device: str, output: Path
) -> list[FusionDecision]:
    """Measure in rounds, look after LOOKS of them, and go on with what is still open."""
    distinct = {each.key: each for each in questions if each.graphs}
    verdicts: dict[str, Verdict] = {}
    times: dict[str, list[float | str]] = defaultdict(list)
    pending, done = list(distinct.values()), 0
    for look in LOOKS:
        cases = [case for number in range(done, look) for case in plan_round(pending, number)]
        if not cases:
            break
        shard = output.with_name(f"{output.stem}-{look}.jsonl")
        measure_cases(cases, job, shard, device)
        for record in read_shard(shard):
            graph = build_part(BENCHMARK, record["case"]["settings"])
            times[graph.content_hash].append(layers_s(record))
        verdicts |= {each.key: verdict(each, times) for each in pending}
        # what could not be measured will not be in further rounds
        pending = [each for each in pending if _open(verdicts[each.key])]
        done = look
    nothing = undecided("the producer is a network's input, which takes no time alone")
    return with_alternatives(
        [
            FusionDecision(
                each.case_id, each.producer, each.consumer, verdicts.get(each.key, nothing)
            )
            for each in questions
        ]
    )


def _open(found: Verdict) -> bool:
    return found.flag == POSSIBLY_FUSED and found.rounds > 0


@exits_cleanly
def fusion_tests(
    shards: Annotated[list[Path], typer.Argument(help="Shards that measure_chunk wrote.")],
    tables: Annotated[Path, typer.Option(help="Folder that make_tables wrote of them.")],
    platform_file: Annotated[Path, typer.Option(help="config/platforms/NAME.yaml")],
    output: Annotated[Path, typer.Option(help="Decisions to write, JSON.")],
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs per graph and round.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs before them.")] = 2,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds one graph may take.")] = 60.0,
) -> None:
    """Measure pairs of layers again that may or may not be fused: apart, and together.

    Where the profiler told of every layer where it went, nothing is measured.

    Example: python -m benchmark.fusion_tests shards/*.jsonl --tables tables
    --platform-file config/platforms/ncs2.yaml --output fusion_decisions.json
    """
    mapping = read_mapping(tables / "mapping.parquet")
    case_ids = set(mapping.loc[mapping["flag"] == POSSIBLY_FUSED, "case_id"])
    questions: list[Question] = []
    for shard in shards if case_ids else []:
        questions += open_questions(read_shard(shard), case_ids)
    decisions: list[FusionDecision] = []
    if questions:
        platform = load_platform(platform_file)
        options = dict(platform.options)
        job = Job(
            platform.module,
            options,
            repeats,
            warmup,
            time_limit,
            together=platform.together,
            build=build_part,
        )
        decisions = measure_questions(questions, job, platform.name, output)
    write_decisions(decisions, output)
    left = sum(each.verdict.flag == POSSIBLY_FUSED for each in decisions)
    typer.echo(f"{len(decisions)} pairs measured again, {left} still undecided: {output}", err=True)


if __name__ == "__main__":
    typer.run(fusion_tests)
