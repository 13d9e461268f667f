"""The real DPU module with stand-ins for Vitis AI's programs, ssh and scp on the PATH."""

import json
import stat
import sys

import pytest

from hardware_modules.dpu import DpuModule
from hardware_modules.dpu_model import layer_of, write_files
from hardware_modules.node_layers import producers
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import ArtefactError, MatchError, SchemaError, UnsupportedLayer

RULER = "=" * 101
COLUMNS = (
    "  ID                       NodeName Workload(MOP) Mem(MB) RunTime(ms) Perf(GOPS) "
    "Utilization    MB/S"
)


def table(kernel, times_ms):
    """A profile in the vendor's layout; only names and times matter here."""
    lines = [
        f"{number:>4} {name:>30}         0.000    0.00 {time:11.3f}        0.0         0.0%     0.0"
        for number, (name, time) in enumerate(times_ms.items(), start=1)
    ]
    total = sum(times_ms.values())
    return "\n".join(
        [
            f'[DNNDK] Performance profile - DPU Kernel "{kernel}" DPU Task "{kernel}-0"',
            RULER,
            COLUMNS,
            *lines,
            "",
            "                Total Nodes In Avg:",
            f"     {'All':>30}         0.000    0.00 {total:11.3f}        0.0         0.0%     0.0",
            RULER,
        ]
    )


QUANTISER = """\
import pathlib, sys
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert sys.argv[1] == "quantize", sys.argv
assert arguments["--input_nodes"] == "layer0", arguments
assert arguments["--input_shapes"] == "1,8,8,4", arguments
assert arguments["--output_nodes"] == "layer7", arguments
import calibration
assert calibration.feed(0)["layer0"].shape == (1, 8, 8, 4)
assert pathlib.Path(arguments["--input_frozen_graph"]).stat().st_size > 100
out = pathlib.Path(arguments["--output_dir"])
out.mkdir()
(out / "deploy_model.pb").write_bytes(b"quantised")
"""
COMPILER = """\
import pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert pathlib.Path(arguments["--frozen_pb"]).read_bytes() == b"quantised"
assert arguments["--options"] == "{'mode':'debug'}", arguments
assert arguments["--arch"] == "board.json", arguments
out = pathlib.Path(arguments["--output_dir"])
out.mkdir()
(out / f"dpu_{arguments['--net_name']}_0.elf").write_bytes(b"kernel")
print("* VITIS_AI Compilation - Xilinx Inc.")
"""
SCP = """\
import json, pathlib, shutil, sys
arguments = sys.argv[1:]
assert arguments[:2] == ["-o", "BatchMode=yes"], arguments
*files, target = arguments[arguments.index("-q") + 1:]
assert target == "root@board:strata/", target
for file in files:
    assert pathlib.Path(file).is_file(), file
"""
SSH = """\
import pathlib, sys
arguments = sys.argv[1:]
assert arguments[:2] == ["-o", "BatchMode=yes"], arguments
assert arguments[-2] == "root@board", arguments
with open(LOG, "a") as log:
    log.write(arguments[-1] + "\\n")
words = arguments[-1].split()
if "run_kernel.py" in words:
    done = pathlib.Path(LOG).read_text().count("run_kernel") - 1
    runs = int(words[-1])
    assert runs <= len(TABLES), runs
    print("\\n".join(TABLES[(done + number) % len(TABLES)] for number in range(runs)))
"""
TIMES_MS = [
    {"layer1": 9.0, "layer4_MatMul": 9.0, "layer5": 9.0, "copy_in": 9.0, "layer7": 9.0},
    {"layer1": 0.75, "layer4_MatMul": 0.2, "layer5": 0.03, "copy_in": 0.01, "layer7": 0.3},
    {"layer1": 0.76, "layer4_MatMul": 0.2, "layer5": 0.03, "copy_in": 0.01, "layer7": 0.31},
    {"layer1": 0.8, "layer4_MatMul": 0.2, "layer5": 0.03, "copy_in": 0.01, "layer7": 0.3},
]


def program(folder, name, source):
    """A Python program of this name in the folder."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH that holds only the stand-ins; `commands` collects what the board was told."""
    log = tmp_path / "commands"
    tables = [table("net_0", times_ms) for times_ms in TIMES_MS]
    program(tmp_path, "vai_q_tensorflow", QUANTISER)
    program(tmp_path, "vai_c_tensorflow", COMPILER)
    program(tmp_path, "scp", SCP)
    program(tmp_path, "ssh", f"LOG = {str(log)!r}\nTABLES = {tables!r}\n{SSH}")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


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
    return DpuModule.from_options({"host": "board", "architecture": "board.json", **options})


def test_a_network_is_quantised_compiled_run_and_read(tools):
    made, graph = module(), network()
    assert made.supports(graph) is None
    report = made.profile(made.compile(graph), 3, 1)
    profile = made.parse(json.loads(json.dumps(report)), graph)
    assert profile == made.parse(report, graph)
    # layers by index: 0 in, 1 first, 2 normalise, 3 relu, 4 second, 5 add, 6 flat, 7 dense
    assert [(node.name, node.kind, node.layers, node.producers) for node in profile.nodes] == [
        ("layer1", "dpu:convolution", ("first",), ("input:in",)),
        ("layer4_MatMul", "dpu:convolution", ("second",), ("layer1",)),
        ("layer5", "dpu:add", ("add",), ("layer1", "layer4_MatMul")),
        ("copy_in", "dpu:inserted", (), ()),
        ("layer7", "dpu:dense", ("dense",), ("layer5",)),
    ]
    # medians of the three timed runs; the first of the four was the warm-up
    assert [node.time_s for node in profile.nodes] == [0.76e-3, 0.2e-3, 0.03e-3, 0.01e-3, 0.3e-3]
    assert profile.nodes[0].readings_s == (0.75e-3, 0.76e-3, 0.8e-3)
    assert profile.samples_s == pytest.approx((1.29e-3, 1.31e-3, 1.34e-3))
    assert profile.time_s == pytest.approx(1.31e-3)
    assert profile.bits == 8
    assert profile.toolchain["name"] == "vai_c_tensorflow"
    assert profile.toolchain["architecture"] == "board"
    assert profile.toolchain["method"] == "DNNDK profile mode, DPU only"


def test_the_board_gets_its_kernel_once_and_is_asked_for_all_runs(tools):
    made, graph = module(), network()
    compiled = made.compile(graph)
    made.profile(compiled, 2, 1)
    report = made.profile(compiled, 3, 0)
    kernel = f"strata{graph.content_hash[:8]}_0"
    library = f"/usr/lib/libdpumodel{kernel}.so"
    assert (tools / "commands").read_text().splitlines() == [
        "mkdir -p strata",
        f"cd strata && g++ -nostdlib -fPIC -shared dpu_{kernel}.elf -o {library}",
        f"cd strata && python3 run_kernel.py {kernel} 3",
        f"cd strata && python3 run_kernel.py {kernel} 3",
    ]
    assert len(made.parse(report, graph).samples_s) == 5


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "vai_q_tensorflow",
            'print("loading")\nprint("ValueError: op Foo not supported")\nraise SystemExit(1)',
            "vai_q_tensorflow returned 1: ValueError: op Foo not supported",
        ),
        (
            "vai_c_tensorflow",
            'print("[VAI_C-BACKEND][Check Failed: channel_group <= depth]")\nraise SystemExit(3)',
            r"vai_c_tensorflow returned 3: \[VAI_C-BACKEND\]\[Check Failed: channel_group",
        ),
        ("vai_c_tensorflow", "import time; time.sleep(60)", "took longer than 0.5 s and was ended"),
        ("vai_c_tensorflow", "", "wrote no DPU kernel: every layer is left to the host"),
        (
            "vai_c_tensorflow",
            "import os; os.mkdir('compiled'); open('compiled/net.xmodel', 'w')",
            "wrote an .xmodel, which DNNDK's profile mode cannot run; run in a container of",
        ),
    ],
)
def test_a_compiler_that_fails_is_quoted_in_one_line(tools, name, source, message):
    program(tools, name, source)
    made = module(compiler_limit_s=0.5 if "sleep" in source else 30.0)
    if "sleep" in source:
        program(tools, "vai_q_tensorflow", "")
    with pytest.raises(UnsupportedLayer, match=rf"^dpu: graph 'net': .*{message}") as raised:
        made.compile(network())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            'print("Permission denied (publickey).")\nraise SystemExit(255)',
            r"ssh returned 255: Permission denied \(publickey\)\.",
        ),
        ("import time; time.sleep(60)", r"ssh took longer than 0\.5 s and was ended"),
        (
            'print("bash: python3: command not found")',
            r"the board printed no profile \(bash: python3: command not found\)",
        ),
        (f"print({table('net_0', TIMES_MS[0])!r})", "the board printed 1 profiles in 2 runs"),
    ],
)
def test_a_board_that_fails_is_quoted_in_one_line(tools, source, message):
    compiled = module().compile(network())
    program(tools, "ssh", source)
    limit_s = 0.5 if "sleep" in source else 30.0
    with pytest.raises(UnsupportedLayer, match=rf"^dpu: graph 'net': {message}") as raised:
        module(board_limit_s=limit_s).profile(compiled, 1, 1)
    assert "\n" not in str(raised.value)


def test_a_profile_cut_off_is_an_error_that_names_the_line(tools):
    compiled = module().compile(network())
    cut = table("net_0", TIMES_MS[0]).splitlines()[:6]
    program(tools, "ssh", f"print({chr(10).join(cut)!r})")
    with pytest.raises(ArtefactError, match=r"line 6: the report ends before 'Total Nodes In Avg"):
        module().profile(compiled, 1, 0)


def test_runs_with_other_nodes_are_refused(tools):
    made, graph = module(), network()
    report = made.profile(made.compile(graph), 2, 0)
    call = report["calls"][0]
    call["texts"] = {key: text.replace("copy_in", "copy", 1) for key, text in call["texts"].items()}
    with pytest.raises(MatchError, match="graph 'net': two runs have other nodes"):
        made.parse(report, graph)


def test_what_is_missing_is_said_in_one_line_with_how_to_get_it(tools):
    advice = "run in a container of Vitis AI 1.0 to 1.2, see https://github.com/Xilinx/Vitis-AI"
    assert module(host="").supports(network()) == ("no board: set the option 'host' to its address")
    (tools / "scp").unlink()
    assert module().supports(network()) == "scp is not installed; install OpenSSH's client"
    (tools / "vai_c_tensorflow").unlink()
    assert module().supports(network()) == f"vai_c_tensorflow is not installed; {advice}"
    (tools / "vai_q_tensorflow").unlink()
    assert module().supports(network()) == f"vai_q_tensorflow is not installed; {advice}"
    with pytest.raises(UnsupportedLayer, match="dpu: graph 'net': vai_q_tensorflow is not inst"):
        module().compile(network())


def test_an_opaque_layer_is_named_before_a_missing_tool(monkeypatch):
    monkeypatch.setenv("PATH", "")
    builder = GraphBuilder("odd")
    builder.add(op.Opaque("Mystery", (1, 4)), builder.input(1, 4, 8, 8, name="in"), name="mystery")
    assert module().supports(builder.build()) == "layer 'mystery' is opaque (type 'Mystery')"


def test_a_convolution_in_groups_is_refused_before_a_missing_tool(monkeypatch):
    monkeypatch.setenv("PATH", "")
    builder = GraphBuilder("odd")
    source = builder.input(1, 8, 8, 8, name="in")
    depthwise = builder.depthwise(source, 3, name="depthwise")
    builder.add(op.Convolution(8, (1, 1), groups=2), depthwise, name="x")
    message = "layer 'x' has 2 groups; legal: 1 or the input's channels"
    assert module().supports(builder.build()) == message


def test_options_are_checked():
    with pytest.raises(SchemaError, match="dpu: option 'host' is '-oProxyCommand=x'; legal: lett"):
        module(host="-oProxyCommand=x")
    with pytest.raises(SchemaError, match="unknown option 'colour'; legal: architecture, board_l"):
        module(colour=1)
    with pytest.raises(SchemaError, match="repeats is 0"):
        module().profile(None, 0, 0)


def test_the_frozen_graph_holds_the_layers_under_their_short_names(tmp_path):
    from tensorflow.compat.v1 import GraphDef

    write_files(network(), tmp_path)
    frozen = GraphDef.FromString((tmp_path / "float.pb").read_bytes())
    operations = {node.name: node.op for node in frozen.node}
    assert operations["layer0"] == "Placeholder"
    assert operations["layer1"] == operations["layer4"] == "Conv2D"
    assert operations["layer3"] == "Relu"
    assert operations["layer5"] == "AddV2"
    assert operations["layer7"] == "MatMul"
    assert not [name for name, kind in operations.items() if "Variable" in kind]
    dense = next(node for node in frozen.node if node.name == "layer7")
    assert set(dense.attr) == {"T", "transpose_a", "transpose_b"}


def test_a_node_is_led_back_to_its_layer():
    graph = network()
    found = {name: layer_of(name, graph) for name in ("layer1", "layer7_MatMul", "layer4_*")}
    assert [layer.name for layer in found.values()] == ["first", "dense", "second"]
    for name in ("layer8", "layer", "copy", "player1", "layer10"):
        assert layer_of(name, graph) is None


def test_producers_look_through_what_was_fused():
    graph = network()
    held = {"a": ("first",), "b": ("dense",)}
    assert producers(graph, held) == {"a": ("input:in",), "b": ("a",)}
