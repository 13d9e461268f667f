"""A Coral Edge TPU: edgetpu_compiler on this host, LiteRT with libedgetpu on the device.

End-to-end times per run; the device has no profiler, so times per layer are differences of nested
graphs (`edge_tpu_nested`). docs/real_modules.md says how to connect one and what is measured.
"""

import ctypes
import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.edge_tpu_nested import Difference, Prefix, differences, prefixes
from hardware_modules.edge_tpu_report import parse_compiler, told
from hardware_modules.host import host
from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_writer import write_int8
from hardware_modules.vendor_tools import missing_program, run_program
from strata.errors import ArtefactError, UnsupportedLayer
from strata.graph import Graph
from strata.profile import WHOLE, ExecutedNode, Profile

COMPILER = "edgetpu_compiler"
METHOD = "difference of nested graphs"
DEFAULTS = {
    "nested": True,
    "delegate": "libedgetpu.so.1",
    "device": "",
    "compiler_limit_s": 300.0,
}
_RUNTIMES = (
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
    "tensorflow.lite.python.interpreter",
)
_GET_COMPILER = "see https://coral.ai/docs/edgetpu/compiler/"
_GET_RUNTIME = "see https://coral.ai/docs/accelerator/get-started/"


@dataclass(slots=True)
class EdgeTpuCompiled:
    """Compiled models of a graph's nested parts, and the history of their runs."""

    name: str
    parts: tuple[Prefix, ...]
    models: dict[str, Path]
    logs: dict[str, str]
    folder: TemporaryDirectory[str]
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def runtime_name() -> str | None:
    """The first TFLite runtime installed, not imported yet."""
    for name in _RUNTIMES:
        if find_spec(name.partition(".")[0]) is not None:
            return name
    return None


def missing_delegate(delegate: str) -> str | None:
    """One line if the Edge TPU's runtime library cannot be loaded, or None."""
    try:
        ctypes.CDLL(delegate)
    except OSError:
        return f"the Edge TPU runtime ({delegate}) is not installed; {_GET_RUNTIME}"
    return None


def open_interpreter(model: Path, delegate: str, device: str) -> Any:
    """An interpreter whose compiled parts run on the device; UnsupportedLayer if it is absent."""
    name = runtime_name()
    if name is None:
        raise UnsupportedLayer(f"no TFLite runtime is installed; {_GET_RUNTIME}")
    runtime = importlib.import_module(name)
    try:
        loaded = runtime.load_delegate(delegate, {"device": device} if device else {})
        return runtime.Interpreter(str(model), experimental_delegates=[loaded])
    except (ValueError, RuntimeError, OSError) as error:
        words = " ".join(str(error).split())[:200] or "no message"
        raise UnsupportedLayer(
            f"the Edge TPU does not answer ({words}); is it connected?"
        ) from None


def _fill(interpreter: Any) -> None:
    """The same random bytes for the same input, set once: the copy is not part of a run."""
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        low, high = np.iinfo(detail["dtype"]).min, np.iinfo(detail["dtype"]).max
        values = generator.integers(low, high, detail["shape"], detail["dtype"], endpoint=True)
        interpreter.set_tensor(detail["index"], values)


def clock_ns() -> int:
    """Nanoseconds of a monotonic clock."""
    return time.perf_counter_ns()


def _timed_run(interpreter: Any, warmup: bool) -> dict[str, Any]:
    start_ns = clock_ns()
    interpreter.invoke()
    return {"wall_ns": clock_ns() - start_ns, "warmup": warmup}


def _median_s(runs: list[dict[str, Any]]) -> float:
    timed = [run["wall_ns"] for run in runs if not run["warmup"]]
    return float(np.median(timed)) * 1e-9


@dataclass(frozen=True, slots=True)
class EdgeTpuModule:
    """A Coral device on this host's USB or PCIe, int8, one inference at a time."""

    options: dict[str, Any]
    name: str = "edge_tpu"
    simulated: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "EdgeTpuModule":
        """Options: nested (measure layers), delegate (library), device (as "usb:0"; "": any),
        compiler_limit_s.
        """
        return cls(read_options("edge_tpu", options, DEFAULTS))

    def supports(self, graph: Graph) -> str | None:
        """A layer that has no int8 form, or what is missing on this host and how to get it."""
        reasons = (unsupported(layer) for layer in (*graph.opaque, *graph.layers))
        return (
            next((reason for reason in reasons if reason), None)
            or missing_program(COMPILER, _GET_COMPILER)
            or (None if runtime_name() else f"no TFLite runtime is installed; {_GET_RUNTIME}")
            or missing_delegate(self.options["delegate"])
        )

    def _compile_part(self, part: Prefix, folder: Path, number: int) -> tuple[Path, str]:
        """The compiled model's file and what the compiler printed."""
        model = folder / f"part{number}.tflite"
        model.write_bytes(write_int8(part.graph).content)
        command = [COMPILER, "-s", "-o", str(folder), str(model)]
        where = f"edge_tpu: graph '{part.graph.name}'"
        try:
            log = run_program(command, self.options["compiler_limit_s"], folder)
            parse_compiler(log, COMPILER)
        except (UnsupportedLayer, ArtefactError) as error:
            raise UnsupportedLayer(f"{where}: {error}") from None
        compiled = folder / f"part{number}_edgetpu.tflite"
        if not compiled.is_file():
            raise UnsupportedLayer(f"{where}: {COMPILER} wrote no '{compiled.name}'")
        return compiled, log

    def compile(self, graph: Graph) -> EdgeTpuCompiled:
        """Quantise and compile the graph, and each of its nested parts where asked for."""
        refuse(self, graph)
        parts = prefixes(graph)
        if not parts:
            raise UnsupportedLayer(f"edge_tpu: graph '{graph.name}': no layer computes anything")
        folder = TemporaryDirectory(prefix="strata-edge-tpu-")
        chosen = parts if self.options["nested"] else parts[-1:]
        models, logs = {}, {}
        try:
            for number, part in enumerate(chosen):
                models[part.name], logs[part.name] = self._compile_part(
                    part, Path(folder.name), number
                )
        except UnsupportedLayer:
            folder.cleanup()
            raise
        return EdgeTpuCompiled(graph.name, parts, models, logs, folder)

    def profile(self, compiled: EdgeTpuCompiled, repeats: int, warmup: int) -> Report:
        """Run each model back to back: another model between would evict its parameters.

        A model's first run also loads its parameters; without warm-up, one run is added for it.
        """
        check_runs(repeats, warmup)
        for part, model in compiled.models.items():
            interpreter = open_interpreter(model, self.options["delegate"], self.options["device"])
            _fill(interpreter)
            history = compiled.runs.setdefault(part, [])
            history += [_timed_run(interpreter, True) for _ in range(max(warmup, 1))]
            history += [_timed_run(interpreter, False) for _ in range(repeats)]
        return {
            "graph": compiled.name,
            "nested": self.options["nested"],
            "nodes": [
                {
                    "name": part.name,
                    "operation": part.operation,
                    "layers": list(part.layers),
                    "producers": list(part.producers),
                    "output_shape": list(part.output_shape),
                }
                for part in compiled.parts
            ],
            "runs": compiled.runs,
            "compiler_logs": compiled.logs,
            "runtime": runtime_name() or "none",
            "host": host(),
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """Nodes by differences (or one node for all), each with the raw times it came from."""
        times_s = {name: _median_s(runs) for name, runs in report["runs"].items()}
        whole = list(report["runs"].values())[-1]
        last = parse_compiler(list(report["compiler_logs"].values())[-1], COMPILER)
        toolchain = {
            "name": COMPILER,
            "version": last.version,
            "runtime": report["runtime"],
            **told(last),
        }
        if report["nested"]:
            found = differences(times_s)
            clipped = [name for name, difference in found.items() if difference.clipped]
            toolchain |= {"method": METHOD, "clipped": ", ".join(clipped) or "none"}
            nodes = _nested_nodes(report["nodes"], found, times_s)
        else:
            toolchain |= {"method": "whole network"}
            nodes = (_whole_node(report["nodes"], graph, list(times_s.values())[-1]),)
        samples_s = tuple(run["wall_ns"] * 1e-9 for run in whole if not run["warmup"])
        time_s = list(times_s.values())[-1]
        return Profile(self.name, nodes, samples_s, time_s, dict(report["host"]), toolchain, bits=8)


def _nested_nodes(
    nodes: list[dict[str, Any]], found: Mapping[str, Difference], times_s: Mapping[str, float]
) -> tuple[ExecutedNode, ...]:
    """`readings_s` are the times of the graph with the node and, but for the first, without."""
    made, before = [], ()  # type: list[ExecutedNode], tuple[float, ...]
    for node in nodes:
        time_s = times_s[node["name"]]
        made.append(
            ExecutedNode(
                node["name"],
                f"difference:{node['operation']}",
                tuple(node["layers"]),
                tuple(node["producers"]),
                tuple(node["output_shape"]),
                found[node["name"]].time_s,
                (time_s, *before),
            )
        )
        before = (time_s,)
    return tuple(made)


def _whole_node(nodes: list[dict[str, Any]], graph: Graph, time_s: float) -> ExecutedNode:
    return ExecutedNode(
        nodes[-1]["name"],
        WHOLE,
        tuple(name for node in nodes for name in node["layers"]),
        tuple(f"input:{name}" for name in graph.inputs),
        tuple(nodes[-1]["output_shape"]),
        time_s,
        (time_s,),
    )
