"""A device that fuses by a known rule and names one layer of a group only: is the rule found?"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmark import fusion_tests
from benchmark.fusion_tests import (
    PARTS,
    layers_s,
    measure_questions,
    open_questions,
    plan_round,
    with_alternatives,
)
from benchmark.plan import make_case
from benchmark.tables import Rows, add_record, write_tables
from benchmark.turns import Job
from hardware_modules.base import HardwareModule
from hardware_modules.null import NullCompiled, NullModule
from model_gen.fusion_decisions import FusionDecision, Verdict, undecided
from simulators.noise import noisy
from strata import operations as op
from strata.builder import GraphBuilder
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.profile import Profile
from strata.profile_json import profile_to_dict

DEVICE = f"test-fusion-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Secretive(NullModule):
    """The null platform, but an addition joins the convolution that it reads first.

    Of a group only the first layer is named. Times scatter by `noise`, by the network's name.
    """

    noise: float = 0.01

    def compile(self, graph: Graph) -> NullCompiled:
        compiled = NullModule.compile(self, graph)
        nodes = {executed.name: (executed, reads) for executed, reads in compiled.nodes}
        for layer in graph.layers:
            if layer.operation != "add":
                continue
            for name, (executed, reads) in list(nodes.items()):
                if (
                    executed.operation == "convolution"
                    and layer.inputs[0] == executed.layers[-1].name
                ):
                    _, read = nodes.pop(layer.name)
                    joined = ExecutedLayer(executed.root, (*executed.absorbed, layer))
                    nodes[name] = (joined, (*reads, *(r for r in read if r != name)))
                    break
        return NullCompiled(compiled.graph, tuple(nodes.values()), [])

    def parse(self, report: dict[str, Any], graph: Graph) -> Profile:
        profile = NullModule.parse(self, report, graph)
        times = noisy([node.time_s for node in profile.nodes], self.noise, 1, graph.name)
        nodes = tuple(
            replace(node, layers=node.layers[:1], time_s=time_s)
            for node, time_s in zip(profile.nodes, times, strict=True)
        )
        return replace(profile, nodes=nodes)


def secretive(name: str, options: Mapping[str, Any]) -> HardwareModule:
    return Secretive(1e-6, 1e-10, 1e-9, **options)


def block(benchmark: str, settings: Mapping[str, Any]) -> Graph:
    """A convolution and a pooling, or two convolutions, joined by an addition."""
    builder = GraphBuilder(f"{benchmark}_{settings['channels']}")
    x = builder.input(1, 16, 28, 28, name="in")
    first = builder.convolution(x, settings["channels"], 3, name="conv")
    if benchmark == "two":
        second = builder.convolution(x, settings["channels"], 1, name="other")
    else:
        wide = builder.convolution(x, settings["channels"], 1, name="wide")
        second = builder.pooling(wide, "max", 3, 1, "same", name="pool")
    builder.add(op.Elementwise("add"), first, second, name="sum")
    return builder.build()


def record_of(benchmark: str, channels: int, noise: float = 0.01) -> dict[str, Any]:
    case = make_case(benchmark, {"channels": channels})
    module, graph = secretive("secretive", {"noise": noise}), block(benchmark, case.settings)
    profile = module.parse(module.profile(module.compile(graph), 4, 0), graph)
    return {"case": case.to_dict(), "tags": case.tags, "profile": profile_to_dict(profile)}


def questions_of(*records):
    case_ids = [record["case"]["case_id"] for record in records]
    return list(open_questions(records, case_ids, block))


def job(noise: float) -> Job:
    options = {"noise": noise}
    return Job("secretive", options, 4, 0, 20.0, create=secretive, build=fusion_tests.build_part)


def test_the_graphs_of_a_question():
    (first, second) = questions_of(record_of("one", 32))
    assert {(each.producer, each.consumer) for each in (first, second)} == {
        ("conv", "sum"),
        ("pool", "sum"),
    }
    operations = {part: [layer.operation for layer in first.graphs[part].layers] for part in PARTS}
    assert operations == {
        "producer": ["input", "convolution"],
        "consumer": ["input", "input", "add"],
        "together": ["input", "input", "convolution", "add"],
    }
    assert first.graphs["together"].work.macs == first.graphs["producer"].work.macs


def test_equal_pairs_of_different_graphs_are_measured_once():
    again = record_of("one", 32)
    again["case"] = {**again["case"], "case_id": "another"}
    questions = questions_of(record_of("one", 32), again)
    assert len(questions) == 4
    assert len({each.key for each in questions}) == 2
    assert len(plan_round(questions, 0)) == 5  # both add alone: the same graph


def test_the_rule_of_a_noisy_device_is_found(tmp_path):
    """It absorbs an addition's first operand only, which no name and no row of the tables says."""
    records = [record_of(block, channels) for block in ("one", "two") for channels in (32, 64)]
    found = measure_questions(
        questions_of(*records), job(0.004), DEVICE, tmp_path / "decisions.json"
    )
    flags = {(each.case_id, each.producer): each.verdict.flag for each in found}
    for record in records:
        other = "pool" if record["case"]["benchmark"] == "one" else "other"
        assert flags[record["case"]["case_id"], "conv"] == "FUSED"
        assert flags[record["case"]["case_id"], other] == "NOT_FUSED"
    saved = next(each.verdict for each in found if each.producer == "conv")
    assert saved.low <= saved.saved <= saved.high


def verdict(flag, rounds=3):
    return Verdict(flag, 0.5, 0.4, 0.6, rounds, 1.0, 1.0, 1.5)


def test_two_that_could_both_absorb_it_stay_open_with_the_reason():
    both = [FusionDecision("c", name, "sum", verdict("FUSED")) for name in ("a", "b")]
    found = with_alternatives(both)
    assert [each.verdict.flag for each in found] == ["POSSIBLY_FUSED"] * 2
    assert [each.verdict.reason for each in found] == [
        f"it also saves time with {name}: only one can have absorbed it" for name in ("b", "a")
    ]
    assert found[0].verdict.saved == 0.5  # what was measured stays with it


def test_an_input_beside_the_one_that_absorbed_it_is_ruled_out():
    open_input = FusionDecision("c", "in", "sum", undecided("an input"))
    first, second = with_alternatives(
        [open_input, FusionDecision("c", "a", "sum", verdict("FUSED"))]
    )
    assert first.verdict.flag == "NOT_FUSED"
    assert first.verdict.reason == "it joined a"
    assert second.verdict.flag == "FUSED"
    (alone,) = with_alternatives([open_input])
    assert alone.verdict.flag == "POSSIBLY_FUSED"


def test_a_device_without_times_of_layers_cannot_tell():
    record = record_of("one", 32)
    graph = questions_of(record)[0].graphs["together"]
    part = plan_round(questions_of(record), 0)[0]
    told = {"case": part.to_dict(), "profile": {**record["profile"], "nodes": []}}
    assert "no time of its layers" in layers_s(told)
    refused = profile_to_dict(Profile("device", refusal="too large"))
    assert layers_s({"case": part.to_dict(), "profile": refused}) == "too large"
    assert graph.work.macs > 0


def test_a_profile_without_names_asks_nothing():
    record = record_of("one", 32)
    assert questions_of({**record, "profile": {**record["profile"], "nodes": []}}) == []


def test_nothing_undecided_costs_nothing(tmp_path, monkeypatch):
    rows = Rows()
    module = NullModule(1e-6, 1e-10, 1e-9)  # names every layer
    graph = block("one", {"channels": 16})
    profile = module.parse(module.profile(module.compile(graph), 4, 0), graph)
    case = make_case("one", {"channels": 16})
    record = {"case": case.to_dict(), "tags": case.tags, "profile": profile_to_dict(profile)}
    add_record(rows, record, block, "record")
    write_tables(rows, tmp_path / "tables")
    monkeypatch.setattr(fusion_tests, "measure_cases", pytest.fail)
    application = typer.Typer()
    application.command()(fusion_tests.fusion_tests)
    output = tmp_path / "fusion_decisions.json"
    line = ["no-shard.jsonl", f"--tables={tmp_path / 'tables'}", "--platform-file=none.yaml"]
    result = CliRunner().invoke(application, [*line, f"--output={output}"])
    assert result.exit_code == 0, result.output
    assert json.loads(output.read_text())["decisions"] == []
