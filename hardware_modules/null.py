"""A platform that is not there: times follow a stated linear rule, so everything is known.

Activations and batch normalisations are fused into their producer where nothing else reads it;
reshapes and flattens cost nothing and do not run. Every other layer is one node of
`node_s + s_per_op * ops + s_per_byte * bytes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.host import host
from strata import operations as op
from strata.execution import ExecutedLayer
from strata.graph import Graph
from strata.layer import Layer
from strata.profile import ExecutedNode, Profile

DEFAULTS = {"node_s": 1e-6, "s_per_op": 1e-10, "s_per_byte": 1e-9}
_FUSED = (op.Activation, op.BatchNormalization)


@dataclass(slots=True)
class NullCompiled:
    """Executed layers with what they read, and the history of runs."""

    graph: str
    nodes: tuple[tuple[ExecutedLayer, tuple[str, ...]], ...]
    runs: list[bool]


def _groups(graph: Graph) -> tuple[dict[str, list[Layer]], dict[str, str]]:
    """Groups of layers by root, and for each layer whose output it stands for."""
    groups: dict[str, list[Layer]] = {}
    root_of: dict[str, str] = {}
    successors = graph.successors
    for layer in graph.layers:
        producer = layer.inputs[0] if layer.inputs else None
        if isinstance(layer.parameters, op.Input):
            root_of[layer.name] = f"input:{layer.name}"
        elif isinstance(layer.parameters, op.VIEWS) and producer:
            root_of[layer.name] = root_of[producer]
        elif (
            isinstance(layer.parameters, _FUSED)
            and producer
            and len(successors[producer]) == 1
            and producer not in graph.outputs
            and groups.get(root_of[producer], [None])[-1] is graph[producer]
        ):
            root_of[layer.name] = root_of[producer]
            groups[root_of[producer]].append(layer)
        else:
            root_of[layer.name] = layer.name
            groups[layer.name] = [layer]
    return groups, root_of


@dataclass(frozen=True, slots=True)
class NullModule:
    """Times from a linear rule: seconds per node, per operation and per transferred byte."""

    node_s: float
    s_per_op: float
    s_per_byte: float
    name: str = "null"
    simulated: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "NullModule":
        """Options: node_s, s_per_op, s_per_byte (seconds)."""
        return cls(**read_options("null", options, DEFAULTS))

    def supports(self, graph: Graph) -> str | None:
        """Everything with a known amount of work."""
        opaque = [layer.name for layer in graph.opaque]
        return f"layer '{opaque[0]}' is opaque: its work is unknown" if opaque else None

    def compile(self, graph: Graph) -> NullCompiled:
        """Group the layers; UnsupportedLayer for an opaque one."""
        refuse(self, graph)
        groups, root_of = _groups(graph)
        nodes = []
        for first, *absorbed in groups.values():
            inner = {layer.name for layer in (first, *absorbed)}
            reads = [
                root_of[producer]
                for layer in (first, *absorbed)
                for producer in layer.inputs
                if producer not in inner
            ]
            nodes.append((ExecutedLayer(first, tuple(absorbed)), tuple(dict.fromkeys(reads))))
        return NullCompiled(graph.name, tuple(nodes), [])

    def _time_s(self, executed: ExecutedLayer) -> float:
        work = executed.work
        return self.node_s + self.s_per_op * work.ops + self.s_per_byte * work.bytes

    def profile(self, compiled: NullCompiled, repeats: int, warmup: int) -> Report:
        """No run: the rule's times and the history of what was asked for."""
        check_runs(repeats, warmup)
        compiled.runs.extend([True] * warmup + [False] * repeats)
        nodes = [
            {
                "name": executed.name,
                "kind": executed.operation,
                "layers": [layer.name for layer in executed.layers],
                "producers": list(producers),
                "output_shape": list(executed.output_shape),
                "time_s": self._time_s(executed),
            }
            for executed, producers in compiled.nodes
        ]
        return {
            "graph": compiled.graph,
            "timed_runs": compiled.runs.count(False),
            "nodes": nodes,
            "toolchain": {"name": "null", **{key: repr(getattr(self, key)) for key in DEFAULTS}},
            "host": host(),
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """The report's nodes; the network's time is their sum, the same in every run."""
        nodes = tuple(
            ExecutedNode(
                node["name"],
                node["kind"],
                tuple(name for name in node["layers"] if name in graph),
                tuple(node["producers"]),
                tuple(node["output_shape"]),
                node["time_s"],
                (node["time_s"],) * report["timed_runs"],
            )
            for node in report["nodes"]
        )
        total_s = sum(node.time_s for node in nodes)
        samples_s = (total_s,) * report["timed_runs"]
        profile = Profile(self.name, nodes, samples_s, total_s)
        return replace(profile, host=report["host"], toolchain=report["toolchain"])
