"""The pipe to Intel's compiler: what is missing, workers that misbehave, and the worker's end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ncs2_stand_in import environment

from hardware_modules import ncs2_install, ncs2_toolchain
from hardware_modules.ncs2_plan import compiler_name, layer_name
from hardware_modules.ncs2_toolchain import Toolchain, missing
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
def test_names_come_back_from_the_compiler(name):
    printed = compiler_name(name)
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
def test_the_worker_ends_when_its_parent_is_killed():
    script = (
        "import time; from hardware_modules.ncs2_toolchain import Toolchain; t = Toolchain();"
        "t.ask({'devices': True}); print(t._worker._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        worker = int(parent.stdout.readline())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert _gone(worker, 10.0)


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


def test_another_python_is_refused_in_one_line(capsys, tmp_path):
    assert ncs2_install.main([str(tmp_path / "new"), sys.executable]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{sys.executable} is not Python 3.9" in told
    assert "NCS2_PYTHON=" in told
    assert not (tmp_path / "new").exists()


def test_no_python_at_all_is_refused_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert ncs2_install.main([str(tmp_path / "new"), ""]) == 1
    assert "needs Python 3.9 and Python 3.9 is not installed" in capsys.readouterr().err
