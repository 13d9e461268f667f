"""Stand-ins for vendors' programs and boards: enough for a module to go through all its steps."""

import shutil
import stat
import sys
from pathlib import Path

EDGE_TPU_COMPILER = """\
import pathlib, shutil, sys
folder, model = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
shutil.copy(model, folder / f"{model.stem}_edgetpu.tflite")
print(f'''Edge TPU Compiler version 14.1.317412892

Model compiled successfully in 113 ms.

Input model: {model.stem}.tflite
Input size: 28.19KiB
Output model: {model.stem}_edgetpu.tflite
Output size: 116.78KiB
On-chip memory used for caching model parameters: 60.00KiB
On-chip memory remaining for caching model parameters: 7.96MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 6
Operation log: {model.stem}_edgetpu.log

Operator                       Count      Status

CONV_2D                        6          Mapped to Edge TPU''')
"""
DPU_QUANTISER = """\
import pathlib, sys
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
out = pathlib.Path(arguments["--output_dir"])
out.mkdir()
(out / "deploy_model.pb").write_bytes(b"quantised")
"""
DPU_COMPILER = """\
import pathlib, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out = pathlib.Path(arguments["--output_dir"])
out.mkdir()
(out / f"dpu_{arguments['--net_name']}_0.elf").write_bytes(b"kernel")
"""
# Prints as many tables as runs are asked for; the nodes are named as Vitis AI names them.
SSH = """\
import sys
words = sys.argv[-1].split()
if "run_kernel.py" in words:
    rows = "\\n".join(
        f"{number:>4} {name:>30}         0.000    0.00       0.100        0.0         0.0%     0.0"
        for number, name in enumerate(NODES, start=1)
    )
    total = f"{0.1 * len(NODES):11.3f}"
    for _ in range(int(words[-1])):
        print('[DNNDK] Performance profile - DPU Kernel "net_0" DPU Task "net_0-0"')
        print("=" * 101)
        print("  ID                       NodeName Workload(MOP) Mem(MB) RunTime(ms) Perf(GOPS) "
              "Utilization    MB/S")
        print(rows)
        print()
        print("                Total Nodes In Avg:")
        print(f"     {'All':>30}         0.000    0.00 {total}        0.0         0.0%     0.0")
        print("=" * 101)
"""
# Speaks the NCS2 worker's protocol; knows one graph's plan, recorded from Intel's compiler.
NCS2_WORKER = """\
import json, pathlib, sys
# in, pool, what was added, first, second, add, dense: by their place among sorted names
NAMES = ["layer00006", "layer00007", "<Extra>", "layer00003", "layer00008", "layer00000",
         "layer00001"]
KINDS = [
    ("NOT_RUN", "Input", "NONE"), ("OPTIMIZED_OUT", "Pooling", "<none>"),
    ("EXECUTED", "<Extra>", "Convert"), ("EXECUTED", "Convolution", "MyriadXHwOp"),
    ("EXECUTED", "Convolution", "MyriadXHwOp"), ("EXECUTED", "Eltwise", "Sum"),
    ("EXECUTED", "FullyConnected", "Copy"),
]
LAYERS = [
    {"name": name, "status": status, "layer_type": layer, "execution_type": kind,
     "real_us": 100 * (status == "EXECUTED"), "cpu_us": 0, "index": number}
    for number, (name, (status, layer, kind)) in enumerate(zip(NAMES, KINDS))
]
print(json.dumps({"ready": "stand-in"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "devices" in request:
        answer = {"devices": ["stand-in"]}
    elif "run" in request:
        answer = {"runs": [{"latency_s": 2e-3, "layers": LAYERS}] * request["run"]}
    else:
        answer = {"plan": pathlib.Path(PLAN).read_text(), "passes": {}}
    print(json.dumps(answer), flush=True)
"""


def program(folder: Path, name: str, source: str) -> None:
    """A Python program of this name in the folder."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def edge_tpu(folder: Path, monkeypatch) -> None:
    """A compiler that copies, a delegate that is always there, and this processor as device."""
    import hardware_modules.edge_tpu as module

    def open_interpreter(model, delegate, device):
        import tensorflow as tf

        return tf.lite.Interpreter(str(model))

    program(folder, "edgetpu_compiler", EDGE_TPU_COMPILER)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(module, "missing_delegate", lambda delegate: None)
    monkeypatch.setattr(module, "open_interpreter", open_interpreter)


def dpu(folder: Path, monkeypatch, nodes: list[str]) -> None:
    """Vitis AI's programs, and a board that times the given nodes at 0.1 ms each."""
    program(folder, "vai_q_tensorflow", DPU_QUANTISER)
    program(folder, "vai_c_tensorflow", DPU_COMPILER)
    program(folder, "scp", "")
    program(folder, "ssh", f"NODES = {nodes!r}\n{SSH}")
    monkeypatch.setenv("PATH", str(folder))


def ncs2(folder: Path, monkeypatch) -> None:
    """An environment whose Python is the stand-in worker."""
    packages = folder / "venv" / "lib" / "python3.9" / "site-packages"
    plan = Path(__file__).with_name("ncs2_simple_graph.dot")
    for path in (
        packages / "openvino" / "libs" / "libmyriadPlugin.so",
        packages / "libfaketime" / "libfaketime.so.1",
        folder / "lib" / "libusb-1.0.so.0",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "venv" / "bin").mkdir()
    program(folder / "venv" / "bin", "python", f"PLAN = {str(plan)!r}\n{NCS2_WORKER}")
    monkeypatch.setenv("STRATA_NCS2", str(folder))


def no_programs(folder: Path, monkeypatch) -> None:
    """A machine on which nothing of the vendors' is installed."""
    assert shutil.which("ls")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("STRATA_NCS2", str(folder / "nothing"))
