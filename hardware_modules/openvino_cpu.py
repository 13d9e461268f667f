"""The CPU of this machine through OpenVINO: compile, run on one pinned core, read the profile.

The measurement rules and the traps behind them are in docs/openvino_cpu.md; the report's
interpretation is in `openvino_report`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from typing import Any
from zlib import crc32

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.host import host
from hardware_modules.openvino_builder import build_model, node_name, unsupported
from hardware_modules.openvino_report import parse_report
from strata.errors import UnsupportedLayer
from strata.graph import Graph
from strata.profile import Profile

DEFAULTS: dict[str, Any] = {
    "core": None,
    "pin": True,
    "threads": 1,
    "precision": "f32",
    "sample_s": 5e-4,
}
_MOST_INFERENCES = 200  # per sample: bounds what a graph of nearly nothing can take
_LABEL = "originalLayersNames"


@dataclass(frozen=True, slots=True)
class OpenvinoCompiled:
    """A compiled model, the request that runs it, its executed nodes, and the history of runs.

    `nodes` are the report's node records; `runs` and `counters` grow with every run.
    """

    name: str
    model: Any
    request: Any
    nodes: tuple[dict[str, Any], ...]
    toolchain: dict[str, str]
    runs: list[dict[str, Any]] = field(default_factory=list)
    counters: list[Any] = field(default_factory=list)


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def pin(core: int | None) -> str:
    """Bind this process to one core (the last by default) and return the core as text.

    The binding stays: measure in a process of its own. Where the system cannot bind, "unpinned".
    """
    if not hasattr(os, "sched_setaffinity"):
        return "unpinned"
    legal_cores = sorted(os.sched_getaffinity(0))
    chosen = legal_cores[-1] if core is None else core
    try:
        os.sched_setaffinity(0, {chosen})
    except OSError:
        raise UnsupportedLayer(
            f"openvino_cpu: cannot bind to core {chosen}; this machine has {len(legal_cores)}"
        ) from None
    return str(chosen)


def _label_names(model: Any) -> None:
    """Write names where the compiler would lose them: a dense layer's (its bias addition names
    the merged node), and an LSTM's (split by direction)."""
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "LSTMSequence":
            node.get_rt_info()[_LABEL] = node.get_friendly_name()
        elif kind == "Add":
            operands = [port.get_source_output().get_node() for port in node.inputs()]
            kinds = [operand.get_type_name() for operand in operands]
            if sorted(kinds) == ["Constant", "MatMul"]:
                product = operands[kinds.index("MatMul")]
                label = f"{product.get_friendly_name()},{node.get_friendly_name()}"
                node.get_rt_info()[_LABEL] = label
                product.get_rt_info()[_LABEL] = label


def _executed_nodes(compiled: Any, profiled: list[str]) -> tuple[dict[str, Any], ...]:
    """Records of the runtime model's nodes that the profiler knows, in execution order."""
    known, records = set(profiled), []
    for node in compiled.get_runtime_model().get_ordered_ops():
        name = node.get_friendly_name()
        if name not in known:
            continue
        information = {key: str(value.value) for key, value in node.get_rt_info().items()}
        sources = (port.get_source_output().get_node() for port in node.inputs())
        producers = [source.get_friendly_name() for source in sources]
        output = node.get_output_partial_shape(0) if node.get_output_size() else None
        records.append(
            {
                "name": name,
                "layer_type": information["layerType"],
                "primitive": information["primitiveType"],
                "original_names": [
                    original for original in information[_LABEL].split(",") if original
                ],
                "output_shape": output and list(output.to_shape()),
                "producers": [producer for producer in producers if producer in known],
            }
        )
    return tuple(records)


def _fill_inputs(request: Any, compiled: Any) -> None:
    """The same random values for the same input, set once: the copy is not part of a run."""
    import numpy as np
    import openvino

    for index, port in enumerate(compiled.inputs):
        generator = np.random.default_rng(crc32(f"input {index}".encode()))
        shape, dtype = tuple(port.shape), port.element_type.to_dtype()
        if np.issubdtype(dtype, np.floating):
            values = generator.uniform(-1.0, 1.0, shape).astype(dtype)
        else:
            values = generator.integers(0, 2, shape).astype(dtype)
        request.set_input_tensor(index, openvino.Tensor(values))


def compile_model(
    model: Any, options: Mapping[str, Any] | None = None, name: str | None = None
) -> OpenvinoCompiled:
    """Compile any `openvino.Model`, from `build_model` or read from a network file.

    UnsupportedLayer, one line, if a shape is dynamic or the toolchain refuses.
    """
    import openvino

    settings = read_options("openvino_cpu", options or {}, DEFAULTS)
    name = name or model.get_friendly_name()
    for port in model.inputs:
        if port.get_partial_shape().is_dynamic:
            raise UnsupportedLayer(
                f"openvino_cpu: input '{port.get_node().get_friendly_name()}' of '{name}' has the "
                f"dynamic shape {port.get_partial_shape()}; legal: fixed sizes"
            )
    core = pin(settings["core"]) if settings["pin"] else "unpinned"
    _label_names(model)
    configuration = {
        "INFERENCE_NUM_THREADS": settings["threads"],
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": settings["precision"],
        "PERF_COUNT": True,
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = _core().compile_model(model, "CPU", configuration)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedLayer(f"openvino_cpu: '{name}' does not compile: {reason}") from None
    request = compiled.create_infer_request()
    _fill_inputs(request, compiled)
    profiled = [entry.node_name for entry in request.profiling_info]
    toolchain = {
        "name": "openvino",
        "version": openvino.__version__,
        "precision": str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()),
        "threads": str(settings["threads"]),
        "core": core,
    }
    nodes = _executed_nodes(compiled, profiled)
    return OpenvinoCompiled(name, compiled, request, nodes, toolchain)


def _sample(compiled: OpenvinoCompiled, inferences: int, warmup: bool) -> None:
    """Run back to back, then note the mean time of one and the counters."""
    request, total_ms = compiled.request, 0.0
    for _ in range(inferences):
        request.infer(share_inputs=True, share_outputs=True)
        total_ms += request.latency
    wall_ns = max(round(total_ms * 1e6 / inferences), 1)
    compiled.runs.append({"wall_ns": wall_ns, "warmup": warmup, "inferences": inferences})
    compiled.counters.append(request.profiling_info)


def _report(compiled: OpenvinoCompiled) -> Report:
    from datetime import timedelta

    microsecond = timedelta(microseconds=1)
    last = {entry.node_name: entry for entry in compiled.counters[-1]}
    series: dict[str, list[int]] = {node["name"]: [] for node in compiled.nodes}
    for reading in compiled.counters:
        for entry in reading:
            if entry.node_name in series:
                series[entry.node_name].append(entry.real_time // microsecond)
    nodes = [
        {**node, "status": str(last[node["name"]].status).rpartition(".")[2]}
        for node in compiled.nodes
    ]
    return {
        "graph": compiled.name,
        "runs": list(compiled.runs),
        "counters_us": [series[node["name"]] for node in nodes],
        "nodes": nodes,
        "toolchain": compiled.toolchain,
        "host": host(),
    }


@dataclass(frozen=True, slots=True)
class OpenvinoCpuModule:
    """One core of this machine's processor, f32, one inference at a time."""

    options: dict[str, Any]
    name: str = "openvino_cpu"
    simulated: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "OpenvinoCpuModule":
        """Options: core (null: the last), pin, threads, precision, sample_s."""
        return cls(read_options("openvino_cpu", options, DEFAULTS))

    def supports(self, graph: Graph) -> str | None:
        """Every operation of Strata in 32 bits; no opaque layer."""
        for layer in graph.layers:
            if reason := unsupported(layer):
                return reason
        if len({node_name(layer.name) for layer in graph.layers}) < len(graph.layers):
            return "two layers' names differ only in ',' against ';'"
        return None

    def compile(self, graph: Graph) -> OpenvinoCompiled:
        """Build and compile; binds the process to the configured core first."""
        refuse(self, graph)
        try:
            model = build_model(graph)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedLayer(
                f"openvino_cpu: graph '{graph.name}' cannot be built: {reason}"
            ) from None
        return compile_model(model, self.options, graph.name)

    def compile_model(self, model: Any) -> OpenvinoCompiled:
        """Compile a network file's own model, as OpenVINO read it."""
        return compile_model(model, self.options)

    def profile(self, compiled: OpenvinoCompiled, repeats: int, warmup: int) -> Report:
        """Run and read the counters after every sample.

        A timed sample is the mean of as many back-to-back inferences as last `sample_s`: short
        graphs would else be timed by their interrupts. The time is OpenVINO's own clock around
        each inference, so that Python's share (about 15 us) stays out of it.
        """
        check_runs(repeats, warmup)
        for _ in range(warmup):
            _sample(compiled, 1, True)
        if not compiled.runs:  # how long one takes must be known before a sample can be sized
            _sample(compiled, 1, True)
        # the fastest so far: after others ran, a warm-up may find cold caches
        one_s = min(run["wall_ns"] for run in compiled.runs) * 1e-9
        inferences = min(max(1, ceil(self.options["sample_s"] / one_s)), _MOST_INFERENCES)
        for _ in range(repeats):
            _sample(compiled, inferences, False)
        return _report(compiled)

    def parse(self, report: Report, graph: Graph) -> Profile:
        """Executed nodes and times in the graph's terms; see `openvino_report`."""
        return parse_report(report, graph)
