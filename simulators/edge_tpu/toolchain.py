"""The mapping toolchain: a graph becomes nodes, their parameters cached or streamed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from simulators.edge_tpu.geometry import Task, constants, task_of
from simulators.edge_tpu.hardware_model import EdgeTpu
from simulators.edge_tpu.mapping import BEHIND_HOST, engine_of, host_reason, joins
from simulators.edge_tpu.parameters import ParameterMemory, Parameters, parameters_of, round_up
from simulators.executable import Executable, ExecutableLayer
from simulators.grouping import Group, group_layers, no_work
from strata import operations as op
from strata.errors import UnsupportedLayer
from strata.execution import geometry
from strata.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuLayer(ExecutableLayer):
    """A node with its work for the array, and the bytes of parameters that are cached on the
    device or streamed to it in every run. A node is either wholly cached or wholly streamed."""

    task: Task
    cached_bytes: int = 0
    streamed_bytes: int = 0
    spilled_bytes: int = 0

    @property
    def placement(self) -> str:
        """One of `strata.execution.PLACEMENTS`, or empty."""
        if self.host_reason is not None:
            return "host"
        return "streamed" if self.streamed_bytes else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuExecutable(Executable):
    """Nodes, and what crosses the host link in a run beside streamed parameters (bytes)."""

    input_bytes: int
    output_bytes: int
    free_parameter_bytes: int

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the device."""
        return sum(layer.cached_bytes for layer in self.layers)  # type: ignore[attr-defined]

    @property
    def streamed_bytes(self) -> int:
        """Parameters that are sent in every run."""
        return sum(layer.streamed_bytes for layer in self.layers)  # type: ignore[attr-defined]


def unsupported(graph: Graph, machine: EdgeTpu) -> str | None:
    """One line why neither device nor host can run the graph, or None."""
    return no_work(graph)


def compile_graph(graph: Graph, machine: EdgeTpu) -> EdgeTpuExecutable:
    """Fold, fuse, place and allocate; UnsupportedLayer with `unsupported`'s reason."""
    if reason := unsupported(graph, machine):
        raise UnsupportedLayer(f"{machine.name}: graph '{graph.name}': {reason}")
    groups = group_layers(graph, joins)
    reasons = _reasons(groups)
    tasks = [
        task_of(group.executed, "host" if reason else engine_of(group.executed.root))
        for group, reason in zip(groups, reasons, strict=True)
    ]
    sizes = [
        parameters_of(task, constants(group.executed), machine)
        for group, task in zip(groups, tasks, strict=True)
    ]
    memory = ParameterMemory(machine, _overflow(tasks, machine))
    cached = memory.place_all(sizes)
    layers = [
        _layer(*node, machine) for node in zip(groups, tasks, reasons, sizes, cached, strict=True)
    ]
    input_bytes, output_bytes = _transfers(graph, layers, machine)
    return EdgeTpuExecutable(
        graph=graph.name,
        layers=tuple(layers),
        notes=tuple(_notes(layers)),
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        free_parameter_bytes=memory.free_bytes,
    )


def _overflow(tasks: Sequence[Task], machine: EdgeTpu) -> int:
    """Bytes of activations that do not fit their own memory and take room from parameters."""
    sets = [working_set(task, machine) for task in tasks if task.engine != "host"]
    return max(max(sets, default=0) - machine.tiles * machine.tile_activation_bytes, 0)


def working_set(task: Task, machine: EdgeTpu) -> int:
    """Bytes of activations that a node needs on the chip at once.

    A convolution writes over the rows that it has consumed, and so does an operation on one
    tensor of the same size; others hold all their operands and their result.
    """
    result = task.positions * round_up(task.filters, machine.channel_multiple)
    padded = task.input_positions * round_up(task.input_channels, machine.channel_multiple)
    if task.engine in ("convolution", "depthwise"):
        return max(padded, result)
    return max(padded, task.input_elements) + (0 if task.in_place else result)


def _reasons(groups: Iterable[Group]) -> list[str | None]:
    """Host reason of each group: its own, or that it reads what the host computes."""
    reasons: dict[str, str | None] = {}
    for group in groups:
        own = next(filter(None, map(host_reason, group.executed.layers)), None)
        behind = any(reasons.get(producer) for producer in group.producers)
        reasons[group.executed.name] = own or (BEHIND_HOST if behind else None)
    return list(reasons.values())


def _layer(
    group: Group,
    task: Task,
    reason: str | None,
    sizes: Parameters,
    cached: bool,
    machine: EdgeTpu,
) -> EdgeTpuLayer:
    capacity = machine.tiles * (machine.tile_activation_bytes + machine.tile_parameter_bytes)
    spilled = 0 if task.engine == "host" else max(working_set(task, machine) - capacity, 0)
    return EdgeTpuLayer(
        engine=task.engine,
        executed=group.executed,
        producers=group.producers,
        host_reason=reason,
        task=task,
        cached_bytes=sizes.cached_bytes if cached else 0,
        streamed_bytes=0 if cached else sizes.streamed_bytes,
        spilled_bytes=spilled,
    )


def _padded_bytes(shape: op.Shape, machine: EdgeTpu) -> int:
    """Bytes of a tensor as it leaves the device: channels padded."""
    batch, channels, rows, columns = geometry(shape)
    return batch * rows * columns * round_up(channels, machine.channel_multiple)


def _transfers(graph: Graph, layers: list[EdgeTpuLayer], machine: EdgeTpu) -> tuple[int, int]:
    """Bytes into and out of the device: inputs it reads, outputs and tensors the host reads."""
    device = {layer.name: layer for layer in layers if layer.engine != "host"}
    owner = {inner.name: layer for layer in layers for inner in layer.executed.layers}
    into = {p for layer in device.values() for p in layer.producers if p.startswith("input:")}
    out = {p for layer in layers if layer.engine == "host" for p in layer.producers if p in device}
    for name in graph.outputs:
        source = name
        while source not in owner and graph[source].inputs:
            source = graph[source].inputs[0]  # a view
        if source in owner and owner[source].name in device:
            out.add(owner[source].name)
    input_bytes = sum(prod(graph[p.removeprefix("input:")].output_shape) for p in into)
    output_bytes = sum(_padded_bytes(device[p].executed.output_shape, machine) for p in out)
    return input_bytes, output_bytes


def _notes(layers: list[EdgeTpuLayer]) -> Iterable[str]:
    for layer in layers:
        if layer.host_reason:
            yield f"layer '{layer.name}': host: {layer.host_reason}"
        elif layer.streamed_bytes:
            yield f"layer '{layer.name}': {layer.streamed_bytes} bytes of parameters are streamed"
        if layer.spilled_bytes:
            yield (
                f"layer '{layer.name}': {layer.spilled_bytes} bytes of activations are spilled: "
                "activations exceed on-chip memory"
            )
