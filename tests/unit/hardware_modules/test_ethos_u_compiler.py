"""Vela's process: workers that misbehave, its time limit, and Vela's own words where it fails."""

import sys

import pytest

from hardware_modules import ethos_u_compiler
from hardware_modules.ethos_u import EthosUModule
from hardware_modules.ethos_u_compiler import Configuration, Vela, missing
from hardware_modules.tflite_writer import write_int8
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import StrataError, UnsupportedLayer

needs_vela = pytest.mark.skipif(missing() is not None, reason=str(missing()))
U55 = Configuration("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram")
# answers as the model's content says
STAND_IN = """\
import json, os, pathlib, signal, sys, time
print(json.dumps({"ready": "5.9"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    word = pathlib.Path(request["model"]).read_text()
    if word == "abort":
        sys.stderr.write("Failed to plan the memory\\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGABRT)
    elif word == "hang":
        time.sleep(60)
    elif word == "garbage":
        print("total 12 cycles", flush=True)
    elif word == "refuse":
        print(json.dumps({"refused": "no such tensor"}), flush=True)
    else:
        sys.stderr.write(word)
        sys.stderr.flush()
        print(json.dumps({"pid": os.getpid(), **request}), flush=True)
"""


def stand_in(tmp_path, monkeypatch, source):
    """Another worker in place of Vela's, which need not be installed then."""
    script = tmp_path / "worker.py"
    script.write_text(source)
    monkeypatch.setattr(ethos_u_compiler, "WORKER", script)
    monkeypatch.setattr(ethos_u_compiler, "missing", lambda: None)


@pytest.fixture
def vela(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, STAND_IN)
    found = Vela(U55, 10.0)
    yield found
    found.close()


@pytest.fixture(scope="module")
def real():
    found = Vela(U55, 60.0)
    yield found
    found.close()


def model(layer):
    builder = GraphBuilder("one")
    builder.add(layer, builder.input(1, 16, 14, 14, name="in"), name="layer")
    return write_int8(builder.build()).content


def test_the_request_names_the_configuration_and_what_is_left_out(vela):
    answer = vela.compile(b"fine")
    assert vela.version == "5.9"
    assert answer["accelerator"] == "ethos-u55-256"
    assert answer["memory_mode"] == "Shared_Sram"
    assert answer["arena_bytes"] == 0
    assert answer["disabled"] == ""
    off = Vela(Configuration("a", "b", "c", 5, ("Cascading", "Grouping")), 10.0)
    assert off.compile(b"fine")["disabled"] == "Cascading|Grouping"
    off.close()


def test_one_process_answers_and_ends_with_its_owner(vela):
    number = vela.compile(b"fine")["pid"]
    assert vela.compile(b"fine")["pid"] == number
    vela.close()
    assert vela.compile(b"fine")["pid"] != number


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"abort", r"^Vela ended with signal 6 \(Aborted\): Failed to plan the memory$"),
        (b"hang", r"^Vela took longer than 0.5 s and was ended$"),
        (b"garbage", r"^Vela's worker answered 'total 12 cycles'$"),
        (b"refuse", r"^Vela refuses: no such tensor$"),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_next_network_is_compiled(vela, content, told):
    vela.time_limit_s = 0.5 if content == b"hang" else 10.0
    with pytest.raises(UnsupportedLayer, match=told) as refused:
        vela.compile(content)
    assert "\n" not in str(refused.value)
    vela.time_limit_s = 10.0
    assert vela.compile(b"fine")["left_on_cpu"] == []


def test_warnings_belong_to_the_network_that_they_are_about(vela):
    words = b"Warning (supported operators) operator: MEAN, ofm: 'm'\nReason: Batch > 1: 2, 7\n"
    assert vela.compile(words)["left_on_cpu"] == ["MEAN of 'm': Batch > 1: 2, 7"]
    assert vela.compile(b"fine")["left_on_cpu"] == []


@pytest.mark.parametrize("source", ["import nothing_of_this_name", "print('{}')", "print(1)"])
def test_a_worker_that_does_not_start_says_how_to_get_vela(tmp_path, monkeypatch, source):
    stand_in(tmp_path, monkeypatch, source)
    with pytest.raises(StrataError, match=r"does not start .*pip install ethos-u-vela") as error:
        Vela(U55, 10.0).compile(b"fine")
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, UnsupportedLayer)


def test_without_vela_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(ethos_u_compiler, "find_spec", lambda name: None)
    builder = GraphBuilder("one")
    builder.convolution(builder.input(1, 4, 8, 8), 8, 1)
    reason = EthosUModule.from_options({}).supports(builder.build())
    assert reason == "Arm's Vela is not installed; pip install ethos-u-vela"
    with pytest.raises(StrataError, match="pip install ethos-u-vela"):
        Vela(U55, 10.0).compile(b"fine")


@needs_vela
@pytest.mark.parametrize("content", [b"", b"hello world this is no network"])
def test_a_file_that_ends_vela_s_core_is_told_in_vela_s_words(real, content):
    with pytest.raises(UnsupportedLayer, match="Failed to load TfLite model") as refused:
        real.compile(content)
    assert "\n" not in str(refused.value)
    assert real.compile(model(op.Activation("tanh")))["total_cycles"] > 0


@needs_vela
def test_half_a_file_is_refused_and_the_next_is_compiled(real):
    whole = model(op.Activation("tanh"))
    for part in (whole[: len(whole) // 2], b"\x18\0\0\0TFL3" + bytes(100)):
        with pytest.raises(UnsupportedLayer, match=r"^Vela (refuses|ended)"):
            real.compile(part)
    assert real.compile(whole)["total_cycles"] > 0


@needs_vela
def test_vela_s_words_about_one_network_do_not_leak_into_the_next(real):
    plain, left = model(op.Activation("tanh")), model(op.Resize("linear", (15, 15)))
    for _ in range(2):
        (words,) = real.compile(left)["left_on_cpu"]
        assert words.startswith("RESIZE_BILINEAR of 'layer': Scaling matches and operation has")
        assert real.compile(plain)["left_on_cpu"] == []


@needs_vela
@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        (Configuration("ethos-u55-256", "Nowhere", "Shared_Sram"), "Nowhere"),
        (Configuration("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Nowhere"), "Nowhere"),
    ],
)
def test_a_system_that_vela_does_not_know_is_refused_in_one_line(configuration, told):
    unknown = Vela(configuration, 60.0)
    with pytest.raises(UnsupportedLayer, match=told) as refused:
        unknown.compile(model(op.Activation("tanh")))
    assert "\n" not in str(refused.value)
    unknown.close()


def test_the_worker_runs_with_this_python():
    assert sys.executable
    assert ethos_u_compiler.WORKER.is_file()
