"""The runner: nothing a case does spoils another one, and a kill costs only what was unfinished."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.plan import BenchmarkCase, make_case, write_plan
from benchmark.runner import Journal, measure_cases
from benchmark.turns import Job, spread
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from hardware_modules.null import NullModule
from hardware_modules.registry import create
from strata.errors import SchemaError, StrataError, UnsupportedLayer
from strata.graph import Graph
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_from_dict

DEVICE = f"test-runner-{os.getpid()}"


@dataclass
class Trouble:
    """A module that does what the graph's name says, and notes every case it starts."""

    log: str
    runs: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    name: str = "trouble"
    simulated: bool = False
    waiting: int = 0  # cases that have not run yet

    def supports(self, graph: Graph) -> str | None:
        self.waiting += 1
        with open(self.log, "a") as log:
            log.write(graph.name + "\n")
        return "too many layers" if graph.name == "unsupported" else None

    def compile(self, graph: Graph) -> str:
        if graph.name == "refused":
            raise UnsupportedLayer("toolchain says no\nand a lot more")
        if graph.name == "broken":
            raise RuntimeError("internal error 42\ntrace")
        if graph.name == "crash" or (graph.name == "large" and self.waiting > 1):
            os.kill(os.getpid(), signal.SIGSEGV)
        if graph.name == "hang":
            time.sleep(600)
        return graph.name

    def profile(self, compiled: str, repeats: int, warmup: int) -> dict[str, Any]:
        self.waiting = 0
        if compiled == "slow":
            time.sleep(0.3)
        self.runs[compiled] = (*self.runs.get(compiled, ()), (repeats, warmup))
        with open(f"{self.log}.runs", "a") as log:
            log.write(f"{compiled} {warmup}+{repeats}\n")
        if compiled == "spoilt" and len(self.runs[compiled]) > 3:
            raise RuntimeError("device lost")
        if compiled == "stuck" and len(self.runs[compiled]) > 3:
            time.sleep(600)
        return {"runs": list(self.runs[compiled])}

    def parse(self, report: dict[str, Any], graph: Graph) -> Profile:
        # half of the first five runs of "unsteady" are fast, those that follow agree
        count = sum(repeats for repeats, _ in report["runs"])
        low = 0.5e-3 if graph.name == "unsteady" else 1e-3
        fast = min(count, 5) // 2
        samples = (low,) * fast + (1e-3,) * (count - fast)
        time_s = sorted(samples)[(len(samples) - 1) // 2]
        node = ExecutedNode("n", "Add", ("n",), (), (1, 2), 1e-3, samples)
        return Profile(self.name, (node,), samples, time_s, {"cpu": "x"}, {"name": "t"})


def trouble(name: str, options: Mapping[str, Any]) -> HardwareModule:
    if name != "trouble":
        raise SchemaError(f"unknown hardware module '{name}'; legal: trouble")
    return Trouble(**options)


def quick_device(name: str, options: Mapping[str, Any]) -> HardwareModule:
    """The null platform as if it ran: a device that takes no time."""
    return replace(NullModule.from_options(options), simulated=False)


def built_with_effort(benchmark: str, settings: Mapping[str, Any]) -> Graph:
    """So long in building that a run, were it interrupted too, is short beside it."""
    time.sleep(0.3)
    return build(benchmark, settings)


QUICK = Job("null", {}, 4, 1, device_share=0.9, create=quick_device, build=built_with_effort)


def named_graph(benchmark: str, settings: Mapping[str, Any]) -> Graph:
    if benchmark == "illegal":
        raise SchemaError("setting 'n' is -1; legal: 0 or more")
    return Graph(benchmark, (), ())


def cases_of(*names: str) -> list[BenchmarkCase]:
    return [make_case(name, {"n": i}, {"data_set": "test"}) for i, name in enumerate(names)]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    options = {"log": str(tmp_path / "log")}
    return Job("trouble", options, 4, 1, 20.0, create=trouble, build=named_graph)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_refusals_crashes_and_hangs_become_rows(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "shard.jsonl"
    names = ("fine", "unsupported", "refused", "broken", "illegal", "crash", "hang", "last")
    cases = cases_of(*names)
    summary = measure_cases(cases, replace(job, time_limit_s=1.0), output, DEVICE)
    rows = rows_of(output)
    assert [row["case"]["case_id"] for row in rows] == [case.case_id for case in cases]
    reasons = {row["case"]["benchmark"]: row["profile"]["refusal"] for row in rows}
    assert reasons == {
        "fine": None,
        "unsupported": "too many layers",
        "refused": "toolchain says no",
        "broken": "RuntimeError: internal error 42",
        "illegal": "setting 'n' is -1; legal: 0 or more",
        "crash": f"worker died with signal 11 ({signal.strsignal(11)})",
        "hang": "timeout after 1 s",
        "last": None,
    }
    assert (summary.points, summary.refused, summary.resumed) == (8, 6, 0)
    assert not (tmp_path / "deep" / "shard.jsonl.journal").exists()
    assert [path.name for path in output.parent.iterdir()] == ["shard.jsonl"]


def test_a_row_holds_all_there_is_to_know(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    (case,) = cases_of("slow")
    measure_cases([case], job, output, DEVICE)
    (row,) = rows_of(output)
    assert row["case"] == {"case_id": case.case_id, "benchmark": "slow", "settings": {"n": 0}}
    assert row["tags"] == {"sweep": "", "sweep_group": "", "data_set": "test"}
    profile = profile_from_dict(row["profile"], "row")
    assert profile.samples_s == (1e-3,) * 4
    assert profile.nodes[0].output_shape == (1, 2)
    # device_s is the time inside `profile`, wall_s also holds build and compile
    assert 0.3 <= row["device_s"] <= row["wall_s"]
    assert row["attempts"] == 1
    load = row["other_core_load"]
    assert load is None or 0 <= load <= 1.1 * (os.cpu_count() or 1)


def test_runs_that_disagree_are_added_to(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    measure_cases(cases_of("unsteady", "fine"), job, output, DEVICE)
    unsteady, fine = rows_of(output)
    # of 4 runs two are fast, of 8 two
    assert unsteady["attempts"] == 2
    assert len(unsteady["profile"]["samples_s"]) == 8
    assert unsteady["profile"]["time_s"] == 1e-3
    assert fine["attempts"] == 1


def test_cases_together_run_in_turns(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    together = replace(job, repeats=16, together=3)
    measure_cases(cases_of("a", "refused", "b", "c"), together, output, DEVICE)
    runs = (tmp_path / "log.runs").read_text().splitlines()
    # 16 runs in 8 turns, warm before each; 4 cases are two batches of two, not one of 3 and one
    assert runs == ["a 1+2"] * 8 + ["b 1+2", "c 1+2"] * 8
    assert counts_of(output) == [16, 0, 16, 16]


def counts_of(path: Path) -> list[int]:
    return [len(row["profile"]["samples_s"]) for row in rows_of(path)]


@pytest.mark.parametrize("repeats", [1, 3, 10, 20])
def test_turns_deal_out_as_many_runs_as_are_asked(job: Job, tmp_path: Path, repeats: int) -> None:
    output = tmp_path / "shard.jsonl"
    together = replace(job, repeats=repeats, together=2)
    measure_cases(cases_of("a", "b"), together, output, DEVICE)
    assert counts_of(output) == [repeats, repeats]


def test_runs_in_turns_that_disagree_are_added_to(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    measure_cases(cases_of("unsteady", "fine"), replace(job, together=2), output, DEVICE)
    assert counts_of(output) == [8, 4]
    assert [row["attempts"] for row in rows_of(output)] == [2, 1]


def test_a_device_has_its_share_in_turns(tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    settings = {"height": 4, "width": 4}
    cases = [make_case("add", {**settings, "channels": channels}) for channels in (8, 16)]
    measure_cases(cases, replace(QUICK, together=2), output, DEVICE)
    # the device takes no time to speak of: 4 runs and five times as many more
    assert counts_of(output) == [24, 24]


def test_what_is_computed_takes_no_turns(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    settings = {"height": 4, "width": 4}
    cases = [make_case("add", {**settings, "channels": channels}) for channels in (8, 16)]
    null = Job("null", {}, 16, 1, together=2)
    measure_cases(cases, null, output, DEVICE)
    assert counts_of(output) == [16, 16]


def test_what_needs_all_memory_is_measured_alone(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    measure_cases(cases_of("fine", "large", "last"), replace(job, together=3), output, DEVICE)
    assert [row["profile"]["refusal"] for row in rows_of(output)] == [None] * 3


def test_rows_before_a_hang_in_a_later_turn_are_kept(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    together = replace(job, repeats=8, together=3, time_limit_s=2.0)
    measure_cases(cases_of("refused", "stuck", "fine"), together, output, DEVICE)
    reasons = [row["profile"]["refusal"] for row in rows_of(output)]
    assert reasons == ["toolchain says no", "timeout after 2 s", None]
    # the refusal was known; only what had no row yet began anew
    started = (tmp_path / "log").read_text().split()
    assert started == ["refused", "stuck", "fine", "fine"]
    stuck = rows_of(output)[1]
    assert 2.0 <= stuck["wall_s"] < 3.0


def test_what_stops_a_batch_spoils_no_other_case(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    names = ("fine", "crash", "spoilt", "hang", "slow")
    together = replace(job, repeats=8, together=5, time_limit_s=4.0)
    measure_cases(cases_of(*names), together, output, DEVICE)
    reasons = {row["case"]["benchmark"]: row["profile"]["refusal"] for row in rows_of(output)}
    assert reasons == {
        "fine": None,
        "crash": f"worker died with signal 11 ({signal.strsignal(11)})",
        "spoilt": "RuntimeError: device lost",
        "hang": "timeout after 4 s",
        "slow": None,
    }
    # the crash might have been for want of memory: it had a trial alone, the hang had none
    started = (tmp_path / "log").read_text().split()
    assert (started.count("crash"), started.count("hang")) == (2, 1)


def test_a_case_has_its_time_whatever_the_others_take(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    short = replace(job, repeats=8, together=2, time_limit_s=1.0)
    measure_cases(cases_of("slow", "fine"), short, output, DEVICE)
    slow, fine = rows_of(output)
    assert slow["profile"]["refusal"] == "timeout after 1 s"
    assert fine["profile"]["refusal"] is None
    assert len(fine["profile"]["samples_s"]) == 8


def test_short_graphs_run_more_often_but_not_endlessly(tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    settings = {"height": 4, "width": 4, "channels": 8}
    measure_cases([make_case("add", settings)], QUICK, output, DEVICE)
    (row,) = rows_of(output)
    # 4 runs, and at most five times as many more
    assert len(row["profile"]["samples_s"]) == 24


def test_a_simulated_platform_runs_as_often_as_asked_and_is_disturbed_by_nothing(
    tmp_path: Path,
) -> None:
    output = tmp_path / "shard.jsonl"
    settings = {"height": 4, "width": 4, "channels": 8}
    job = Job("null", {}, 4, 1, device_share=0.9)
    measure_cases([make_case("add", settings)], job, output, DEVICE)
    (row,) = rows_of(output)
    assert len(row["profile"]["samples_s"]) == 4
    assert row["other_core_load"] is None


def test_spread_is_median_over_lower_quartile() -> None:
    # quartiles of 1, 2, 3, 4, 5: 2 and 3
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == pytest.approx(1.5)
    assert spread([]) == 1.0
    assert spread([0.0, 0.0]) == 1.0


def test_a_module_that_cannot_start_stops_the_chunk(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    with pytest.raises(StrataError, match=r"'abacus'; legal: trouble"):
        measure_cases(cases_of("fine"), replace(job, module="abacus"), output, DEVICE)
    assert not output.exists()


def test_an_unfinished_journal_is_taken_up(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    cases = cases_of("fine", "last", "slow")
    measure_cases(cases, job, tmp_path / "whole.jsonl", DEVICE)
    whole = (tmp_path / "whole.jsonl").read_text().splitlines()
    journal = Journal(output, job.fingerprint)
    journal.add(json.loads(whole[0]))
    journal.close()
    with journal.path.open("a") as file:
        file.write(whole[1][:40])  # killed in the middle of a write
    (tmp_path / "log").write_text("")
    summary = measure_cases(cases, job, output, DEVICE)
    assert summary.resumed == 1
    assert (tmp_path / "log").read_text().split() == ["last", "slow"]
    rows = rows_of(output)
    assert rows[0] == json.loads(whole[0])
    assert [row["case"]["benchmark"] for row in rows] == ["fine", "last", "slow"]


def test_a_journal_of_another_protocol_is_not_taken_up(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "shard.jsonl"
    cases = cases_of("fine")
    measure_cases(cases, job, tmp_path / "whole.jsonl", DEVICE)
    journal = Journal(output, replace(job, repeats=2).fingerprint)
    journal.add(rows_of(tmp_path / "whole.jsonl")[0])
    journal.close()
    assert measure_cases(cases, job, output, DEVICE).resumed == 0


_CHILD = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_runner import cases_of, trouble, named_graph
from benchmark.runner import measure_cases
from benchmark.turns import Job
names = ["fine", "last"] + ["slow"] * 40
if __name__ == "__main__":
    job = Job("trouble", {"log": sys.argv[2]}, 4, 1, 20.0, create=trouble, build=named_graph)
    measure_cases(cases_of(*names), job, Path(sys.argv[1]), "killed")
"""


def test_a_killed_runner_redoes_only_what_is_missing(job: Job, tmp_path: Path) -> None:
    output, log = tmp_path / "shard.jsonl", tmp_path / "log"
    script = tmp_path / "child.py"
    script.write_text(_CHILD)
    child = subprocess.Popen([sys.executable, script, output, log, str(Path(__file__).parent)])
    journal = Path(f"{output}.journal")
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        assert time.monotonic() < deadline, "the runner never got going"
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not output.exists()
    finished = journal.read_bytes().count(b"\n") - 1  # without the head
    time.sleep(0.6)  # its worker notices and goes: it must not start another case
    log.write_text("")
    cases = cases_of("fine", "last", *["slow"] * 40)[: finished + 2]
    summary = measure_cases(cases, job, output, DEVICE)
    assert summary.resumed == finished
    assert log.read_text().split() == ["slow", "slow"]
    assert len(rows_of(output)) == finished + 2
    assert not journal.exists()


def test_a_failed_write_leaves_the_old_shard(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "shard.jsonl"
    output.write_text("old\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        measure_cases(cases_of("fine"), job, output, DEVICE)
    assert output.read_text() == "old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "log",
        "log.runs",
        "shard.jsonl",
        "shard.jsonl.journal",
    ]


def test_the_command_measures_a_chunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plan(
        [make_case("add", {"height": 4, "width": 4, "channels": c}) for c in (8, 16, 24)],
        tmp_path / "plan.jsonl",
    )
    (tmp_path / "board.yaml").write_text("module: 'null'\n")
    command = [sys.executable, "-m", "benchmark.measure_chunk", "--plan", "plan.jsonl"]
    rest = ["--platform-file", "board.yaml", "--chunks", "2", "--output", "shard.jsonl"]
    done = subprocess.run(
        [*command, *rest, "--chunk", "0"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 points, 0 refused, 0 resumed" in done.stderr
    assert [row["case"]["settings"]["channels"] for row in rows_of(tmp_path / "shard.jsonl")] == [
        8,
        24,
    ]
    # imported here: workers import this module, once each
    from benchmark.measure_chunk import measure_chunk

    files = [tmp_path / name for name in ("plan.jsonl", "board.yaml", "shard.jsonl")]
    with pytest.raises(SystemExit) as failed:
        measure_chunk(*files, chunk=2, chunks=2)
    assert failed.value.code == 2
    assert capsys.readouterr().err == "error: chunk 2 of 2: legal: 0 to 1\n"


def test_a_chunk_of_which_nothing_was_measured_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmark.measure_chunk import measure_chunk

    cases = [make_case("add", {"height": 4, "width": 4, "channels": c}) for c in (8, 16)]
    write_plan(cases, tmp_path / "plan.jsonl")
    (tmp_path / "stick.yaml").write_text("module: ncs2_simulated\noptions: {toolchain: nowhere}\n")
    # a refusal is data: no error
    measure_chunk(tmp_path / "plan.jsonl", tmp_path / "stick.yaml", tmp_path / "shard.jsonl")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("every point was refused, most often with: the NCS2 toolchain ")
    assert "make ncs2-toolchain" in last


def test_the_registry_is_the_default() -> None:
    assert Job("null", {}).create is create
