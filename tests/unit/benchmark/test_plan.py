"""Plans: deterministic bytes, stable ids, tags, and chunks that lose nothing."""

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import benchmark.make_plan as command
from benchmark.config import PlatformConfig, Range, RunConfig, Sweep
from benchmark.make_plan import Phase, plan_cases
from benchmark.plan import case_id, chunk, make_case, nests, read_plan, unique, write_plan
from benchmark.sweep import plan_sweeps
from strata.errors import ArtefactError, SchemaError

POINT = {"height": 14, "width": 14, "channels": 96, "filters": 72, "kernel": 3, "kernels": 2}
BOARD = Path("board.yaml")


def config(seed: int = 1) -> RunConfig:
    return RunConfig(
        schema_version=1,
        name="test",
        seed=seed,
        platforms=["null"],
        sweeps={
            "convolution": Sweep(
                points=[POINT, {**POINT, "height": 7}],
                parameters={
                    "filters": Range(start=8, stop=24, step=8),
                    "width": Range(start=7, stop=9),
                },
            )
        },
        samples={"convolution": 6, "add": 3},
        multi_layer={"cells": 1, "convnet": 1, "fcnet": 1},
    )


def test_case_id_is_the_contract() -> None:
    # printf '["add",{"channels":8,"height":4}]' | sha256sum | cut -c1-16
    assert case_id("add", {"height": 4, "channels": 8}) == "78e515e9bee21483"


def test_tags_do_not_change_an_id() -> None:
    assert make_case("add", {"height": 4}, {"sweep": "height"}).case_id == case_id(
        "add", {"height": 4}
    )


def test_sweeps_move_one_setting_and_say_which_feature() -> None:
    cases = plan_sweeps(config().sweeps)
    # 2 points x (3 filters + 3 widths)
    assert len(cases) == 12
    group = [case for case in cases if case.tags["sweep_group"] == "convolution/filters/1"]
    assert [case.settings for case in group] == [
        {**POINT, "height": 7, "filters": filters} for filters in (8, 16, 24)
    ]
    assert {case.tags["sweep"] for case in cases} == {"filters", "output_width"}


def test_a_sweep_out_of_range_names_the_sweep_and_the_legal_values() -> None:
    sweep = Sweep(points=[POINT], parameters={"kernel": Range(start=11, stop=12)})
    with pytest.raises(SchemaError, match=r"convolution/kernel/0.*'kernel'.*12.*legal.*1 to 11"):
        plan_sweeps({"convolution": sweep})
    sweep = Sweep(points=[POINT], parameters={"volume": Range(start=1, stop=2)})
    with pytest.raises(SchemaError, match=r"'volume'; legal: .*channels"):
        plan_sweeps({"convolution": sweep})


def test_a_point_of_two_sweeps_is_measured_once() -> None:
    first = make_case("add", {"height": 4}, {"sweep": "height"})
    again = make_case("add", {"height": 4}, {"sweep": "width"})
    assert unique([first, again]) == [first]


def test_same_seed_same_bytes_another_seed_others(tmp_path: Path) -> None:
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.jsonl"
        write_plan(plan_cases(config(seed), None, None), path)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_platform_of_another_width_brings_its_own_sweeps() -> None:
    sweep = Sweep(points=[POINT], parameters={"filters": Range(start=64, stop=192, step=64)})
    wide = PlatformConfig(name="wide", module="null", sweeps={"convolution": sweep})
    cases = plan_cases(wide.apply(config(), BOARD), Phase.SWEEPS, None)
    assert [case.settings["filters"] for case in cases] == [64, 128, 192]
    samples = plan_cases(wide.apply(config(), BOARD), Phase.SAMPLES, None)
    assert samples == plan_cases(config(), Phase.SAMPLES, None)


def test_a_platform_may_ask_for_more_points_and_other_limits() -> None:
    fast = PlatformConfig(name="fast", module="null", points=2, sampling={"kernels_limit": 1})
    cases = plan_cases(fast.apply(config(), BOARD), Phase.SAMPLES, None)
    assert len(cases) == 2 * (6 + 3 + 3)
    assert all(case.settings.get("kernels", 1) == 1 for case in cases)


def test_an_illegal_key_of_a_platforms_sampling_is_named() -> None:
    wrong = PlatformConfig(name="wrong", module="null", sampling={"kernels": 1})
    with pytest.raises(SchemaError, match=r"board.yaml: key 'sampling.kernels' is unknown"):
        wrong.apply(config(), BOARD)


def test_phases_part_the_plan() -> None:
    whole = plan_cases(config(), None, None)
    parts = [plan_cases(config(), phase, None) for phase in (Phase.SWEEPS, Phase.SAMPLES)]
    assert parts[0] + parts[1] == whole
    assert all(case.tags["sweep"] for case in parts[0])
    assert not any(case.tags["sweep"] for case in parts[1])
    assert len(parts[1]) == 6 + 3 + 3


def test_a_plan_comes_back_as_written(tmp_path: Path) -> None:
    cases = plan_cases(config(), None, None)
    write_plan(cases, tmp_path / "plan.jsonl")
    assert read_plan(tmp_path / "plan.jsonl") == cases


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"benchmark": "add"}', '{"benchmark": "add", "settings": 3, "tags": {}}'],
)
def test_a_broken_plan_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "plan.jsonl"
    write_plan([make_case("add", {"height": 4})], path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ArtefactError, match=r"plan.jsonl, line 2"):
        read_plan(path)


def test_a_plan_whose_settings_were_edited_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.jsonl"
    write_plan([make_case("add", {"height": 4})], path)
    path.write_text(path.read_text().replace('"height": 4', '"height": 5'))
    with pytest.raises(ArtefactError, match="line 1: case_id is not that of its settings"):
        read_plan(path)


@given(st.lists(st.integers()), st.integers(1, 9))
def test_chunks_hold_everything_once(items: list[int], count: int) -> None:
    parts = [chunk(items, index, count) for index in range(count)]
    assert sorted(chain.from_iterable(parts)) == sorted(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_graphs_of_the_same_kernels_stay_together() -> None:
    row = {"height": 4, "channels": 8}
    cases = [make_case("add", {**row, "kernels": number}) for number in (1, 4)]
    cases += [make_case("max_pooling", {**row, "kernels": 1}), make_case("cells", {"seed": 1})]
    cases += [make_case("add", {**row, "channels": 9, "kernels": number}) for number in (1, 4)]
    assert nests(cases) == [cases[:2], cases[2:3], cases[3:4], cases[4:]]


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_a_chunk_out_of_range_says_what_is_legal(index: int, count: int) -> None:
    with pytest.raises(SchemaError, match="legal: 0 to"):
        chunk([1, 2, 3], index, count)


def test_the_command_writes_a_plan_and_refuses_in_one_line(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(command.make_plan)
    root = Path(__file__).parents[3]
    arguments = ["--config", str(root / "config" / "tiny.yaml"), "--phase", "sweeps"]
    output = tmp_path / "plan.jsonl"
    done = CliRunner().invoke(
        app, [*arguments, "--platform", "openvino_cpu", "--output", str(output)]
    )
    assert done.exit_code == 0
    assert f"{len(read_plan(output))} graphs" in done.output
    refused = CliRunner().invoke(
        app, [*arguments, "--platform", "abacus", "--output", str(tmp_path / "no.jsonl")]
    )
    assert refused.exit_code == 2
    assert "no platform 'abacus' is described; legal: dpu_zcu102, " in refused.output
    assert not (tmp_path / "no.jsonl").exists()
