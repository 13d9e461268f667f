"""The pipe to Intel's compiler: what is missing, workers that misbehave, and the worker's end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from ncs2_stand_in import environment

from hardware_modules import ncs2_toolchain
from hardware_modules.ncs2_plan import graph_record, layer_name, printed_name
from hardware_modules.ncs2_toolchain import WORKER, Toolchain, environment_folder, missing
from hardware_modules.registry import create
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import StrataError, UnsupportedLayer

needs_toolchain = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture
def toolchain(tmp_path):
    found = Toolchain(str(environment(tmp_path)), time_limit_s=20.0)
    yield found
    found.close()


def tiny_graph(layer=None, name="tiny"):
    builder = GraphBuilder(name)
    source = builder.input(1, 16, 14, 14, name="in")
    if layer is None:
        builder.convolution(source, 32, 3, name="convolution")
    else:
        builder.add(layer, source, name="layer")
    return builder.build()


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("venv", "Python 3.9"),
        ("venv/bin/python", "Python 3.9"),
        ("venv/lib/python3.9/site-packages/openvino/libs/libmyriadPlugin.so", "openvino 2021.4.2"),
        ("lib/libusb-1.0.so.0", "libusb-1.0.so.0"),
    ],
)
def test_what_is_missing_is_one_line_with_the_command(tmp_path, monkeypatch, lost, told):
    monkeypatch.setattr(ncs2_toolchain, "find_library", lambda name: None)
    folder = environment(tmp_path / "here")
    assert missing(str(folder)) is None
    (folder / lost).rename(tmp_path / "away")
    reason = missing(str(folder))
    assert reason is not None
    assert "\n" not in reason
    assert told in reason
    assert "make ncs2-toolchain" in reason
    with pytest.raises(StrataError, match="make ncs2-toolchain"):
        Toolchain(str(folder)).ask({"graph": "fine"})


def test_the_folder_comes_from_the_variable_unless_given(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATA_NCS2", str(tmp_path / "variable"))
    assert Toolchain().folder == tmp_path / "variable"
    assert Toolchain(str(tmp_path / "given")).folder == tmp_path / "given"


def test_one_worker_answers_one_request_after_another(toolchain):
    first = toolchain.ask({"graph": "fine"})
    assert toolchain.ask({"graph": "fine"})["pid"] == first["pid"]


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        ("abort", r"signal 6 \(Aborted\): AssertionFailed: stage->type\(\) == expected"),
        ("leave", "exit code 3: it printed nothing"),
        ("garbage", "answered 'Segmentation fault. <no>'"),
        ("list", r"answered '\[1\]'"),
    ],
)
def test_a_worker_that_ends_or_babbles_is_replaced_and_the_graph_refused(toolchain, graph, told):
    before = toolchain.ask({"graph": "fine"})["pid"]
    with pytest.raises(UnsupportedLayer, match=told) as refused:
        toolchain.ask({"graph": graph})
    assert "\n" not in str(refused.value)
    assert toolchain.ask({"graph": "fine"})["pid"] != before


def test_a_worker_that_hangs_is_ended_in_time_and_replaced(toolchain):
    before = toolchain.ask({"graph": "fine"})["pid"]
    start = time.monotonic()
    with pytest.raises(UnsupportedLayer, match=r"took longer than 0.2 s and was ended"):
        toolchain.ask({"graph": "hang"}, 0.2)
    assert time.monotonic() - start < 10
    assert toolchain.ask({"graph": "fine"})["pid"] != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


@pytest.mark.parametrize("ending", ["hang", "abort", "close"])
def test_nothing_that_a_worker_wrote_stays_behind(tmp_path, monkeypatch, ending):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    write = (
        "import json, os, pathlib, sys, time\nprint(json.dumps({'ready': '1'}), flush=True)\n"
        "what = json.loads(input())['graph']\n"
        "pathlib.Path(sys.argv[2], 'graph.dot').write_text('half a')\n"
        "time.sleep(60) if what == 'hang' else os.abort() if what == 'abort' else print('{}')\n"
    )
    toolchain = Toolchain(str(environment(tmp_path / "toolchain", write)))
    with suppress(UnsupportedLayer):
        toolchain.ask({"graph": ending}, 1.0)
    toolchain.close()
    assert list(scratch.iterdir()) == []


@needs_toolchain
def test_the_real_worker_writes_into_its_folder_alone(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    toolchain = Toolchain()
    toolchain.compile(tiny_graph())
    (folder,) = scratch.iterdir()
    assert list(folder.iterdir()) == []
    toolchain.close()
    assert list(scratch.iterdir()) == []


def test_a_refusal_keeps_the_plugins_words_without_its_source_paths(toolchain):
    with pytest.raises(UnsupportedLayer, match=r'^Failed to compile layer "y"$'):
        toolchain.ask({"graph": "refuse"})


def test_an_answer_without_a_plan_is_refused(tmp_path):
    with pytest.raises(UnsupportedLayer, match="without a plan"):
        Toolchain(str(environment(tmp_path))).compile(tiny_graph())


@pytest.mark.parametrize("worker", ["import nothing_of_this_name", "print('{}')", "print(1)"])
def test_a_worker_that_does_not_start_says_how_to_get_one(tmp_path, worker):
    with pytest.raises(StrataError, match=r"does not start .*make ncs2-toolchain") as error:
        Toolchain(str(environment(tmp_path, worker))).ask({"graph": "fine"})
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, UnsupportedLayer)


def test_only_compiling_has_a_fast_clock(tmp_path):
    folder = str(environment(tmp_path))
    seen = {}
    for fast in (True, False):
        toolchain = Toolchain(folder, fast_clock=fast)
        seen[fast] = toolchain.ask({"graph": "fine"})["environment"]
        toolchain.close()
    assert "libfaketime.so.1" in seen[True]["LD_PRELOAD"]
    assert seen[True]["FAKETIME"] == "+0 x10000"
    assert not {"LD_PRELOAD", "FAKETIME"} & set(seen[False])
    assert seen[False]["LD_LIBRARY_PATH"].startswith(str(tmp_path / "lib"))


def test_without_the_fast_clock_it_works_and_says_so_once(tmp_path, capsys):
    folder = str(environment(tmp_path, clock=False))
    ncs2_toolchain._tell_once.cache_clear()
    for _ in range(2):
        toolchain = Toolchain(folder)
        assert toolchain.ask({"graph": "fine"})["pid"]
        toolchain.close()
    assert capsys.readouterr().err.count("every graph takes 5 s longer") == 1


@pytest.mark.parametrize(
    "name", ["a/b.c-d_1", 'a,b;c"d"@e', "100%", "1<2\\n>0", "Schicht ä", "x//y"]
)
def test_names_can_be_parts_of_operands_names(name):
    printed = printed_name(name)
    assert layer_name(printed) == name
    assert not set(printed) & set(',;"\\@<>')


def _gone(pid: int, limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@needs_toolchain
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for the process in /proc")
def test_the_worker_ends_with_its_folder_when_its_parent_is_killed(tmp_path):
    script = (
        "import time; from hardware_modules.ncs2_toolchain import Toolchain; t = Toolchain();"
        "t.ask({'devices': True}); print(t._worker._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    try:
        worker = int(parent.stdout.readline())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert _gone(worker, 10.0)
    assert list(tmp_path.iterdir()) == []


@needs_toolchain
def test_the_compiler_gives_layers_of_any_name_back():
    names = ["007", "1_2", "1e5", "model.Constant_5", "a-0x5555555555", " b ", "c\nd", "e\u2028"]
    builder = GraphBuilder("007")
    tensor = builder.input(1, 8, 8, 8, name="Constant_5")
    for name in names:
        tensor = builder.add(op.Activation("elu"), tensor, name=name)
    graph, module = builder.build(), create("ncs2_simulated", {})
    try:
        compiled = module.compile(graph)
        profile = module.parse(module.profile(compiled, 1, 0), graph)
    finally:
        module.toolchain.close()
    assert compiled.plan.network == "007"
    assert [stage.layer for stage in compiled.plan.stages if stage.layer] == names
    assert [name for node in profile.nodes for name in node.layers] == names


# The worker's own class with the wheel's plugin for processors in the stick's place.
ON_PROCESSOR = """\
import gc, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from ncs2_worker import Compiler

class Core:
    def __init__(self, core):
        self.core, self.protocols = core, []

    def load_network(self, network, device, config):
        pathlib.Path(config["MYRIAD_DUMP_INTERNAL_GRAPH_FILE_NAME"]).write_text("dump")
        self.protocols.append(config.get("MYRIAD_PROTOCOL"))
        return self.core.load_network(network, "CPU", {"PERF_COUNT": "YES"})

compiler = Compiler(sys.argv[2])
compiler.core = core = Core(compiler.core)
graph = json.loads(sys.argv[3])
answers = [compiler.answer({"graph": graph, "load": True})]
gc.collect()
answers += [compiler.answer(each) for each in ({"run": 2}, {"graph": graph}, {"run": 1})]
print(json.dumps([answers, core.protocols]), file=sys.stderr)
"""


@needs_toolchain
def test_a_loaded_network_stays_until_the_next_and_only_loading_looks_at_usb_ports(tmp_path):
    folder = environment_folder()
    arguments = [str(WORKER.parent), str(tmp_path), json.dumps(graph_record(tiny_graph()))]
    done = subprocess.run(
        [str(folder / "venv" / "bin" / "python"), "-c", ON_PROCESSOR, *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    (loaded, run, compiled, idle), protocols = json.loads(done.stderr.splitlines()[-1])
    assert loaded == compiled == {"plan": "dump", "passes": {}}
    assert len(run["runs"]) == 2
    assert all(each["latency_s"] > 0 and each["layers"] for each in run["runs"])
    assert idle == {"refused": "no network is loaded"}
    assert protocols == [None, "MYRIAD_PCIE"]


@needs_toolchain
def test_a_graph_has_one_plan_whatever_was_compiled_before():
    # the hard sigmoid is split into layers that the compiler numbers as it goes
    graph = tiny_graph(op.Activation("hard_sigmoid"))
    first, second = Toolchain(), Toolchain()
    try:
        plan = first.compile(graph).plan
        second.compile(tiny_graph())
        second.compile(graph)
        assert second.compile(graph).plan == plan
    finally:
        first.close()
        second.close()
    assert {stage.layer for stage in plan.stages} - {""} == {
        "layer",
        "layer//1",
        "layer//2",
        "layer//3",
    }


@needs_toolchain
def test_the_compiler_refuses_in_its_own_words_and_goes_on():
    toolchain = Toolchain()
    try:
        with pytest.raises(UnsupportedLayer, match="Interpolate supports 'nearest' and 'linear'"):
            toolchain.compile(tiny_graph(op.Resize("cubic", (28, 28))))
        compiled = toolchain.compile(tiny_graph(name='odd "name";'), passes=True)
    finally:
        toolchain.close()
    assert "MyriadXHwOp" in {stage.type for stage in compiled.plan.stages}
    assert any(name.endswith("mergeHwStages") for name in compiled.passes)


def test_the_plugins_options_go_into_the_request(tmp_path):
    echo = (
        "import json, sys\nprint(json.dumps({'ready': '1'}), flush=True)\nfor line in sys.stdin:\n"
        "    print(json.dumps({'refused': str(json.loads(line)['options'])}), flush=True)\n"
    )
    toolchain = Toolchain(str(environment(tmp_path, echo)))
    try:
        with pytest.raises(UnsupportedLayer, match=r"^\{'KEY': 'NO'\}$"):
            toolchain.compile(tiny_graph(), options={"KEY": "NO"})
        with pytest.raises(UnsupportedLayer, match=r"^\{\}$"):
            toolchain.compile(tiny_graph())
    finally:
        toolchain.close()


@needs_toolchain
def test_an_option_changes_one_plan_and_an_unknown_one_is_refused():
    builder = GraphBuilder("pooled")
    maps = builder.convolution(builder.input(1, 16, 56, 56), 16, 3, activation="relu")
    builder.pooling(maps, "max", 2)
    graph, toolchain = builder.build(), Toolchain()

    def operations(**options):
        plan = toolchain.compile(graph, options=options).plan
        return {
            stage.attributes["hwOpType"] for stage in plan.stages if stage.type == "MyriadXHwOp"
        }

    try:
        assert operations() == {"CONV_POOL"}
        assert operations(MYRIAD_HW_POOL_CONV_MERGE="NO") == {"CONV", "POOL"}
        with pytest.raises(UnsupportedLayer, match="MYRIAD_NO_SUCH_OPTION"):
            operations(MYRIAD_NO_SUCH_OPTION="NO")
        assert operations() == {"CONV_POOL"}
    finally:
        toolchain.close()
