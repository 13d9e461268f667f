"""A folder like the NCS2 toolchain's, with a program of the test's in the worker's place."""

import stat
import sys
from pathlib import Path

# what the compiler made of the contract test's graph
RECORDED = Path(__file__).parents[2] / "contract" / "ncs2_simple_graph.dot"
ANSWERS = """\
import json, os, signal, sys, time
print(json.dumps({"ready": "1"}), flush=True)
for line in sys.stdin:
    name = json.loads(line)["graph"]
    if name == "abort":
        print("AssertionFailed: stage->type() == expected", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    elif name == "leave":
        sys.exit(3)
    elif name == "hang":
        time.sleep(60)
    elif name == "garbage":
        print("Segmentation fault? <no>", flush=True)
    elif name == "list":
        print("[1]", flush=True)
    elif name == "refuse":
        words = "[ GENERAL_ERROR ] /home/x/frontend.cpp:441 Failed to compile layer \\"y\\""
        print(json.dumps({"refused": words}), flush=True)
    else:
        print(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}), flush=True)
"""


def environment(folder: Path, worker: str = ANSWERS, clock: bool = True) -> Path:
    packages = folder / "venv" / "lib" / "python3.9" / "site-packages"
    files = [
        packages / "openvino" / "libs" / "libmyriadPlugin.so",
        folder / "lib" / "libusb-1.0.so.0",
    ]
    if clock:
        files.append(packages / "libfaketime" / "vendor" / "libfaketime.so.1")
    for path in files:
        path.parent.mkdir(parents=True)
        path.touch()
    program = folder / "venv" / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{worker}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder
