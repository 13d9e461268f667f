"""Networks measured in parts of a run: the mean of the parts, and nothing else changes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.join_networks import join_networks, joined
from strata.errors import ArtefactError
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_from_dict, profile_to_dict


def profile(time_s: float, node_times_s: Sequence[float], names: str = "ab") -> Profile:
    nodes = tuple(
        ExecutedNode(name, "Add", (name,), (), (1, 2), node_s, (1.0, 2.0, 3.0))
        for name, node_s in zip(names, node_times_s, strict=True)
    )
    return Profile("board", nodes, (time_s, 2 * time_s), time_s, {"cpu": "x"}, {"name": "t"})


REFUSED = Profile("board", refusal="timeout")


def write(path: Path, records: dict[str, Profile]) -> Path:
    lines = [
        {
            "set": "table2",
            "network": name,
            "rounds": 3,
            "graph": {"of": name},
            "profile": profile_to_dict(each),
        }
        for name, each in records.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_times_are_means_over_the_parts() -> None:
    found = joined([profile(1.0, (0.25, 0.5)), profile(2.0, (0.75, 1.0))], "here")
    assert found.time_s == 1.5
    assert found.samples_s == (1.0, 2.0)
    assert [node.time_s for node in found.nodes] == [0.5, 0.75]
    assert [node.readings_s for node in found.nodes] == [(0.25, 0.75), (0.5, 1.0)]
    assert found.host == {"cpu": "x"}
    assert [node.layers for node in found.nodes] == [("a",), ("b",)]


def test_one_part_stays_as_it_is() -> None:
    only = profile(1.0, (0.25, 0.5))
    assert joined([only], "here") == only


def test_parts_that_were_not_measured_are_left_out() -> None:
    found = joined([REFUSED, profile(1.0, (0.25, 0.5)), profile(2.0, (0.75, 1.0))], "here")
    assert (found.time_s, found.refusal) == (1.5, None)
    assert joined([REFUSED, REFUSED], "here") == REFUSED


def test_a_conversion_that_some_parts_saw_is_in_if_most_did() -> None:
    reorder = ExecutedNode("r", "Reorder", (), (), (1, 2), 1e-6)
    plain = profile(1.0, (0.25, 0.5))
    more = replace(plain, nodes=(*plain.nodes, reorder), time_s=3.0)
    most = joined([more, plain, more], "here")
    assert [node.name for node in most.nodes] == ["a", "b", "r"]
    assert most.nodes[0].readings_s == (0.25, 0.25)
    # the whole network's time is known of all parts
    assert most.samples_s == (3.0, 1.0, 3.0)
    few = joined([plain, more, plain], "here")
    assert [node.name for node in few.nodes] == ["a", "b"]
    assert few.time_s == pytest.approx(5 / 3)


def test_parts_of_another_toolchain_are_an_error() -> None:
    later = replace(profile(2.0, (0.75, 1.0)), toolchain={"name": "t", "version": "2"})
    with pytest.raises(ArtefactError, match="here: its parts are of different toolchains"):
        joined([profile(1.0, (0.25, 0.5)), later], "here")


def test_the_command_writes_one_line_per_network(tmp_path: Path) -> None:
    first = write(tmp_path / "0.jsonl", {"x": profile(1.0, (0.25, 0.5)), "y": REFUSED})
    second = write(tmp_path / "1.jsonl", {"x": profile(3.0, (0.75, 1.0)), "y": REFUSED})
    join_networks([first, second], tmp_path / "networks.jsonl")
    x, y = [json.loads(line) for line in (tmp_path / "networks.jsonl").read_text().splitlines()]
    assert (x["network"], x["rounds"], x["graph"]) == ("x", 6, {"of": "x"})
    assert profile_from_dict(x["profile"], "x").time_s == 2.0
    assert y["profile"]["refusal"] == "timeout"


def test_a_disturbed_run_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def joined_of(*times_s: float) -> str:
        parts = [
            write(tmp_path / f"{i}.jsonl", {"x": profile(time_s, (0.25, 0.5)), "y": REFUSED})
            for i, time_s in enumerate(times_s)
        ]
        join_networks(parts, tmp_path / "networks.jsonl")
        return capsys.readouterr().err

    assert joined_of(1.0, 1.02) == "parts differ by 2.0% (median of the networks)\n"
    assert "the machine was disturbed" in joined_of(1.0, 1.3, 1.1)
    assert joined_of(1.0) == ""


def test_one_file_is_written_as_it_is(tmp_path: Path) -> None:
    only = write(tmp_path / "0.jsonl", {"x": profile(1.0, (0.25, 0.5)), "y": REFUSED})
    join_networks([only], tmp_path / "networks.jsonl")
    assert (tmp_path / "networks.jsonl").read_text() == only.read_text()


def test_parts_of_other_networks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "0.jsonl", {"x": profile(1.0, (0.25, 0.5))})
    second = write(tmp_path / "1.jsonl", {"y": profile(1.0, (0.25, 0.5))})
    with pytest.raises(SystemExit) as failed:
        join_networks([first, second], tmp_path / "networks.jsonl")
    assert failed.value.code == 2
    assert "1.jsonl: holds other networks than" in capsys.readouterr().err
    assert not (tmp_path / "networks.jsonl").exists()
