"""The real Edge TPU module with a stand-in compiler on the PATH and a stand-in device."""

import json
import stat
import sys

import pytest

from hardware_modules import edge_tpu
from hardware_modules.edge_tpu import EdgeTpuModule
from hardware_modules.edge_tpu_nested import differences, prefixes
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer

# The console of compiler 14.1 as github.com/google-coral/edgetpu, issue 173 shows it.
CONSOLE = """\
Edge TPU Compiler version 14.1.317412892

Model compiled successfully in 113 ms.

Input model: {stem}.tflite
Input size: 28.19KiB
Output model: {stem}_edgetpu.tflite
Output size: 116.78KiB
On-chip memory used for caching model parameters: 60.00KiB
On-chip memory remaining for caching model parameters: 7.96MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 24
Operation log: {stem}_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 6
Number of operations that will run on CPU: 18
See the operation log file for individual operation details.
"""
COMPILER = """\
import shutil, sys, pathlib
arguments = sys.argv[1:]
assert arguments[:2] == ["-s", "-o"], arguments
folder, model = pathlib.Path(arguments[2]), pathlib.Path(arguments[3])
shutil.copy(model, folder / f"{model.stem}_edgetpu.tflite")
print(CONSOLE.format(stem=model.stem))
"""


def program(folder, name, source):
    """A Python program of this name in the folder."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH that holds only the stand-ins, the compiler among them."""
    program(tmp_path, "edgetpu_compiler", f"CONSOLE = {CONSOLE!r}\n{COMPILER}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(edge_tpu, "missing_delegate", lambda delegate: None)
    return tmp_path


class Device:
    """Runs a model in as long as its file's number says, on a clock of its own."""

    def __init__(self, times_ns):
        self.times_ns, self.now_ns, self.runs = times_ns, 0, []

    def open(self, model, delegate, device):
        import tensorflow as tf

        interpreter = tf.lite.Interpreter(str(model))
        number = int(model.stem.removeprefix("part").removesuffix("_edgetpu"))
        plain = interpreter.invoke

        def invoke():
            plain()
            self.runs.append(number)
            self.now_ns += self.times_ns[number]

        interpreter.invoke = invoke
        return interpreter


@pytest.fixture
def device(monkeypatch):
    found = Device([900_000, 1_200_000, 1_150_000, 1_400_000])
    monkeypatch.setattr(edge_tpu, "open_interpreter", found.open)
    monkeypatch.setattr(edge_tpu, "clock_ns", lambda: found.now_ns)
    return found


def network():
    builder = GraphBuilder("net")
    source = builder.input(1, 4, 8, 8, name="in")
    first = builder.convolution(source, 8, 3, activation="relu", normalise=True, name="first")
    second = builder.convolution(first, 8, 1, name="second")
    added = builder.add(op.Elementwise("add"), first, second, name="add")
    flat = builder.add(op.Flatten(), added, name="flat")
    builder.dense(flat, 4, name="dense")
    return builder.build()


def module(**options):
    return EdgeTpuModule.from_options(options)


def test_nested_graphs_grow_by_one_node_up_to_the_whole():
    graph = network()
    parts = prefixes(graph)
    assert [part.name for part in parts] == ["first", "second", "add", "dense"]
    assert parts[0].layers == ("first", "first/normalise", "first/relu")
    assert [layer.name for layer in parts[0].graph.layers] == [
        "in",
        "first",
        "first/normalise",
        "first/relu",
    ]
    assert parts[2].producers == ("first", "second")
    assert parts[2].graph.outputs == ("add",)
    assert "flat" not in parts[2].graph
    assert parts[3].graph is graph
    assert [part.output_shape for part in parts][2:] == [(1, 8, 8, 8), (1, 4)]


def test_differences_add_up_and_a_negative_one_is_kept_beside_its_clipped_time():
    found = differences({"a": 3.0, "b": 5.0, "c": 4.5})
    assert [each.raw_s for each in found.values()] == [3.0, 2.0, -0.5]
    assert [each.time_s for each in found.values()] == [3.0, 2.0, 0.0]
    assert [each.clipped for each in found.values()] == [False, False, True]


def test_a_network_is_compiled_run_and_its_nodes_are_differences(tools, device):
    made, graph = module(), network()
    assert made.supports(graph) is None
    report = made.profile(made.compile(graph), 3, 2)
    profile = made.parse(json.loads(json.dumps(report)), graph)
    assert profile == made.parse(report, graph)
    assert device.runs == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert [(node.name, node.kind) for node in profile.nodes] == [
        ("first", "difference:convolution"),
        ("second", "difference:convolution"),
        ("add", "difference:add"),
        ("dense", "difference:dense"),
    ]
    assert [node.time_s for node in profile.nodes] == pytest.approx([9e-4, 3e-4, 0.0, 2.5e-4])
    assert profile.nodes[2].readings_s == pytest.approx((1.15e-3, 1.2e-3))
    assert profile.samples_s == pytest.approx((1.4e-3,) * 3)
    assert profile.time_s == pytest.approx(1.4e-3)
    assert profile.bits == 8
    told = profile.toolchain
    assert (told["name"], told["version"]) == ("edgetpu_compiler", "14.1.317412892")
    assert told["method"] == "difference of nested graphs"
    assert told["clipped"] == "add"
    assert (told["cached_bytes"], told["operations_on_host"]) == ("61440", "18")


def test_without_nesting_the_network_is_one_node(tools, device):
    device.times_ns = [700_000]
    made, graph = module(nested=False), network()
    report = made.profile(made.compile(graph), 2, 0)
    profile = made.parse(report, graph)
    assert device.runs == [0, 0, 0]  # the first loads the parameters
    (node,) = profile.nodes
    assert (node.kind, node.producers) == ("whole:network", ("input:in",))
    assert set(node.layers) == {layer.name for layer in graph.layers} - {"in", "flat"}
    assert node.time_s == profile.time_s == pytest.approx(7e-4)
    assert profile.toolchain["method"] == "whole network"


def test_a_second_call_continues_the_history(tools, device):
    made, graph = module(nested=False), network()
    compiled = made.compile(graph)
    made.profile(compiled, 2, 1)
    report = made.profile(compiled, 3, 1)
    assert len(made.parse(report, graph).samples_s) == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            'print("Edge TPU Compiler version 14.1.317412892")\n'
            'print("Internal compiler error. Aborting!")\nraise SystemExit(1)',
            "edgetpu_compiler returned 1: Internal compiler error. Aborting!",
        ),
        (
            'print("Edge TPU Compiler version 15.0.340273435")\n'
            'print("Invalid model: part0.tflite")\nprint("Model not quantized")',
            "Invalid model: part0.tflite Model not quantized",
        ),
        ("import time; time.sleep(60)", r"edgetpu_compiler took longer than 0\.3 s and was ended"),
        (f"print({CONSOLE!r}.format(stem='part0'))", "wrote no 'part0_edgetpu.tflite'"),
    ],
)
def test_a_compiler_that_fails_is_quoted_in_one_line(tools, source, message):
    program(tools, "edgetpu_compiler", source)
    made = module(compiler_limit_s=0.3 if "sleep" in source else 30.0)
    where = "^edge_tpu: graph 'net up to first': "
    with pytest.raises(UnsupportedLayer, match=rf"{where}.*{message}") as raised:
        made.compile(network())
    assert "\n" not in str(raised.value)


def test_what_is_missing_is_said_in_one_line_with_where_to_get_it(tools, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    reason = module().supports(network())
    assert reason == (
        "edgetpu_compiler is not installed; see https://coral.ai/docs/edgetpu/compiler/"
    )
    with pytest.raises(UnsupportedLayer, match="edge_tpu: graph 'net': edgetpu_compiler is not"):
        module().compile(network())


def test_a_missing_runtime_library_is_said(tools, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tools))
    reason = module(delegate="libno-such-edgetpu.so").supports(network())
    assert reason == (
        "the Edge TPU runtime (libno-such-edgetpu.so) is not installed; "
        "see https://coral.ai/docs/accelerator/get-started/"
    )


def test_a_device_that_is_not_connected_is_said(tools):
    made = module(nested=False, delegate="libno-such-edgetpu.so")
    with pytest.raises(UnsupportedLayer, match=r"the Edge TPU does not answer \(.*is it connected"):
        made.profile(made.compile(network()), 1, 1)


def test_a_layer_that_cannot_be_built_is_named_before_a_missing_tool(monkeypatch):
    monkeypatch.setenv("PATH", "")
    builder = GraphBuilder("odd")
    source = builder.input(1, 4, 8, name="in")
    builder.add(op.Lstm(4), source, name="lstm")
    assert module().supports(builder.build()) == "layer 'lstm' is lstm, which has no int8 form here"
    builder.add(op.Opaque("Mystery", (1, 4)), source, name="mystery")
    assert module().supports(builder.build()) == "layer 'mystery' is opaque (type 'Mystery')"


def test_options_are_checked(tools):
    with pytest.raises(SchemaError, match="unknown option 'colour'; legal: compiler_limit_s, del"):
        module(colour=1)
    with pytest.raises(SchemaError, match="repeats is 0"):
        module().profile(module(nested=False).compile(network()), 0, 0)
