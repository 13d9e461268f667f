"""Intel's compiler for the NCS2 behind a pipe: a long-lived worker in an environment of its own.

The last release for the stick needs Python 3.9, so it lives in a folder that `make ncs2-toolchain`
makes. A worker that ends or hangs over a graph is replaced, and that graph is refused.
"""

import os
import re
import sys
from collections.abc import Mapping
from ctypes.util import find_library
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hardware_modules.ncs2_plan import graph_record, name_layers
from hardware_modules.worker import Worker
from simulators.ncs2.plan import Plan
from strata.errors import StrataError, UnsupportedLayer
from strata.graph import Graph

VARIABLE = "STRATA_NCS2"
FOLDER = Path(__file__).parents[1] / ".ncs2"
WORKER = Path(__file__).with_name("ncs2_worker.py")
GET = "run `make ncs2-toolchain`, see docs/ncs2.md"
TIME_LIMIT_S = 50.0
_SOURCES = re.compile(r"\[ GENERAL_ERROR \]\s*|/\S+\.[ch]pp:\d+\s*")
_LONGEST = 300
# The plugin looks for a stick for five seconds of its clock before it compiles; a clock ten
# thousand times as fast ends that at once. Nothing else in a compilation depends on the time.
_FAST_CLOCK = "+0 x10000"


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """The compiler's plan of a graph; with `passes`, its dumps after each pass, by name."""

    plan: Plan
    passes: Mapping[str, str] = field(default_factory=dict)


def environment_folder(folder: str = "") -> Path:
    """The toolchain's folder: the one given, else that of STRATA_NCS2, else .ncs2 beside this."""
    return Path(folder or os.environ.get(VARIABLE) or FOLDER)


def _packages(folder: Path) -> Path:
    return folder / "venv" / "lib" / "python3.9" / "site-packages"


def missing(folder: str = "") -> str | None:
    """One line that says what the toolchain lacks and the command that makes it, or None."""
    root = environment_folder(folder)
    packages = _packages(root)
    if not (root / "venv" / "bin" / "python").exists() or not packages.is_dir():
        return f"the NCS2 toolchain (Python 3.9) is not installed in {root}; {GET}"
    if not (packages / "openvino" / "libs" / "libmyriadPlugin.so").exists():
        return f"the NCS2 toolchain in {root} lacks the wheel openvino 2021.4.2; {GET}"
    if not (root / "lib" / "libusb-1.0.so.0").exists() and not find_library("usb-1.0"):
        return f"the NCS2 toolchain in {root} lacks libusb-1.0.so.0; {GET}"
    return None


def _plain(words: str) -> str:
    """The plugin's words without the places in its sources, cut to a readable length."""
    return _SOURCES.sub("", words)[:_LONGEST].strip()


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _worker_environment(folder: Path, fast_clock: bool) -> dict[str, str]:
    """The worker's environment: its libusb and, where it only compiles, a fast clock."""
    libraries = [str(folder / "lib"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    values = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "FAKETIME"):
        values.pop(name, None)
    if fast_clock:
        library = next(_packages(folder).glob("libfaketime/**/libfaketime.so.1"), None)
        if library is not None:
            values |= {"LD_PRELOAD": str(library), "FAKETIME": _FAST_CLOCK}
        else:
            _tell_once(f"NCS2 toolchain without libfaketime: every graph takes 5 s longer; {GET}")
    return values


class Toolchain:
    """The compiler of one environment; starts its worker when it is first needed.

    `folder` as in `environment_folder`; `time_limit_s` per request. With `fast_clock` it only
    compiles; without, it can use a stick.
    """

    def __init__(
        self, folder: str = "", time_limit_s: float = TIME_LIMIT_S, fast_clock: bool = True
    ) -> None:
        self.folder = environment_folder(folder)
        self.time_limit_s = time_limit_s
        self.fast_clock = fast_clock
        self.version = ""
        self._worker: Worker | None = None

    def ask(self, request: Mapping[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        """The worker's answer, within `limit_s` if that is not the toolchain's own.

        StrataError if the toolchain is missing or does not start; UnsupportedLayer, one line, for
        a refusal, an abort or a hang: the next request gets a fresh worker.
        """
        if self._worker is None or not self._worker.alive:
            self.close()
            self._worker = self._start()
        answer = self._worker.ask(request, limit_s or self.time_limit_s)
        if "refused" in answer:
            raise UnsupportedLayer(_plain(str(answer["refused"])))
        return answer

    def _start(self) -> Worker:
        if reason := missing(str(self.folder)):
            raise StrataError(reason)
        try:
            worker = Worker(
                "the NCS2 compiler",
                [str(self.folder / "venv" / "bin" / "python"), str(WORKER)],
                _worker_environment(self.folder, self.fast_clock),
            )
        except (UnsupportedLayer, OSError, KeyError) as error:
            raise StrataError(f"the NCS2 toolchain does not start ({error}); {GET}") from None
        self.version = worker.version
        return worker

    def compile(
        self, graph: Graph, passes: bool = False, options: Mapping[str, str] | None = None
    ) -> CompiledPlan:
        """The plan that the compiler makes of the graph in FP16, compiled alone.

        `options` are the plugin's own, by key, where a plan is to be another than a stick's.
        Errors as `ask`; MatchError if the compiler's dump cannot be read.
        """
        request = {"graph": graph_record(graph), "passes": passes, "options": dict(options or {})}
        answer = self.ask(request)
        if "plan" not in answer:
            raise UnsupportedLayer("the NCS2 compiler's worker answered without a plan")
        plan, _ = name_layers(answer["plan"], graph)
        return CompiledPlan(plan, answer.get("passes", {}))

    def close(self) -> None:
        """End the worker; the next request starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
