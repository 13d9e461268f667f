"""The mapping toolchain: what the DPU's compiler makes of a graph.

Batch normalisation and ReLU go into the convolution before them, as do an addition, a small max
pooling, a global average pooling and a depthwise convolution that alone read its output and whose
rows fit on chip. A concatenation is an address: its producers write side by side. What the
instruction set lacks runs on the Arm cores.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from math import prod

from simulators.dpu.hardware_model import Dpu
from simulators.dpu.limits import host_reason
from simulators.dpu.mapping_rules import joins
from simulators.dpu.node import Alu, Node, Window
from simulators.executable import Executable, ExecutableLayer
from simulators.grouping import Group, group_layers
from strata import operations as op
from strata.errors import UnsupportedLayer
from strata.execution import ExecutedLayer, geometry
from strata.graph import Graph
from strata.layer import Layer


@dataclass(frozen=True, slots=True)
class HostWork:
    """What a layer costs the Arm cores: multiply-accumulates, other operations, bytes moved."""

    macs: int
    operations: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DpuLayer(ExecutableLayer):
    """A node with the sizes the machine needs, or its work on the host; one of them is None."""

    node: Node | None = None
    host: HostWork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DpuExecutable(Executable):
    """Nodes, and the elements of the network's inputs, which the host scales in every run."""

    input_elements: int


def unsupported(graph: Graph, hardware: Dpu) -> str | None:
    """Why the graph cannot be compiled at all, in one line; None if it can."""
    for layer in graph.opaque:
        assert isinstance(layer.parameters, op.Opaque)
        return (
            f"layer '{layer.name}': of type '{layer.parameters.type_name}', "
            "which neither DPU nor host can run"
        )
    return None


def compile_graph(graph: Graph, hardware: Dpu) -> DpuExecutable:
    """The nodes that the DPU and its host run, in order. UnsupportedLayer if they cannot."""
    reason = unsupported(graph, hardware)
    if reason is not None:
        raise UnsupportedLayer(reason)
    groups = group_layers(graph, partial(joins, hardware=hardware))
    on_host = {g.executed.name for g in groups if host_reason(g.executed.root, hardware)}
    layers = tuple(_layer(group, on_host, hardware) for group in groups)
    notes = tuple(
        f"{layer.name}: on the host, {layer.host_reason}" for layer in layers if layer.host_reason
    )
    read = {p for layer in layers for p in layer.producers if p.startswith("input:")}
    return DpuExecutable(
        graph=graph.name,
        layers=layers,
        notes=notes,
        input_elements=sum(prod(graph[p.removeprefix("input:")].output_shape) for p in read),
    )


def _layer(group: Group, on_host: Set[str], hardware: Dpu) -> DpuLayer:
    executed, root = group.executed, group.executed.root
    reason = host_reason(root, hardware)
    if reason is not None:
        return DpuLayer(
            engine="host",
            executed=executed,
            producers=group.producers,
            host_reason=reason,
            host=_host_work(executed),
        )
    first = group.producers[0]
    engine, node = _node(executed, first.startswith("input:") or first in on_host, hardware)
    return DpuLayer(engine=engine, executed=executed, producers=group.producers, node=node)


def _host_work(executed: ExecutedLayer) -> HostWork:
    work = executed.work
    tensors = [*executed.root.input_shapes, executed.output_shape]
    return HostWork(work.macs, work.other_ops, sum(prod(shape) for shape in tensors))


def _node(executed: ExecutedLayer, image: bool, hardware: Dpu) -> tuple[str, Node]:
    """Engine and sizes; `image` says whether the node reads what the host wrote."""
    root = executed.root
    match root.parameters:
        case op.Convolution() if root.operation == "depthwise_convolution":
            return "depthwise", _alu_node(executed, _window(root), weights=True)
        case op.Convolution() | op.TransposedConvolution() | op.Dense():
            return "convolution", _array_node(executed, image, hardware)
        case op.Pooling():
            return "pooling", _alu_node(executed, _window(root))
        case op.GlobalPooling():
            return "pooling", _alu_node(executed, _window(root))
        case op.BatchNormalization():
            return "depthwise", _alu_node(executed, Window(), weights=True)
        case op.Resize(kind="linear"):
            return "depthwise", _alu_node(executed, Window((2, 2)), weights=True)
        case op.Elementwise() | op.Activation():
            return "elementwise", _alu_node(executed, Window())
    return "memory", _alu_node(executed, Window())


def _window(layer: Layer) -> Window:
    match layer.parameters:
        case op.Convolution(kernel=kernel, stride=stride, dilation=dilation):
            return Window(kernel, stride, dilation)
        case op.Pooling(kernel=kernel, stride=stride):
            return Window(kernel, stride)
        case op.GlobalPooling():
            height, width = layer.input_shapes[0][2:]
            return Window((height, width))
    return Window()


def _alu_node(executed: ExecutedLayer, window: Window, weights: bool = False) -> Node:
    """A node that leaves the array idle; tiles follow the smaller of input and output."""
    root = executed.root
    shape = root.input_shapes[0]
    batch, channels, in_height, in_width = geometry(shape)
    _, out_channels, height, width = geometry(root.output_shape)
    main = Alu(height, width, out_channels, window, weights)
    read = sum(prod(shape) for shape in root.input_shapes)
    if isinstance(root.parameters, op.Resize):
        tile_height, tile_width, tile_window = in_height, in_width, Window()
    else:
        tile_height, tile_width, tile_window = height, width, window
    return Node(
        batch=batch,
        channels=channels,
        input_height=in_height,
        input_width=in_width,
        height=tile_height,
        width=tile_width,
        filters=0,
        window=tile_window,
        stored=_stored(executed) // batch,
        residual=(read - prod(shape)) // batch,
        alu=(main, *_passes(executed)),
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """A layer as `phases` convolutions of `channels` channels over height x width outputs."""

    window: Window
    channels: int
    height: int
    width: int
    phases: int = 1


def _form(root: Layer, hardware: Dpu) -> _Form:
    _, channels, _, _ = geometry(root.input_shapes[0])
    _, _, height, width = geometry(root.output_shape)
    match root.parameters:
        case op.TransposedConvolution(kernel=kernel, stride=stride):
            # each of the interleaved outputs is a convolution with its part of the kernel
            window = Window((-(-kernel[0] // stride[0]), -(-kernel[1] // stride[1])))
            height, width = -(-height // stride[0]), -(-width // stride[1])
            return _Form(window, channels, height, width, prod(stride))
        case op.Dense():
            # rows too long for a weight bank add up in passes
            passes = -(-channels // (hardware.bank_words * hardware.channel_parallel))
            return _Form(Window(), -(-channels // passes), height, width, passes)
    return _Form(_window(root), channels, height, width)


def _array_node(executed: ExecutedLayer, image: bool, hardware: Dpu) -> Node:
    root = executed.root
    batch, _, in_height, in_width = geometry(root.input_shapes[0])
    _, filters, _, _ = geometry(root.output_shape)
    form = _form(root, hardware)
    stored = _stored(executed) // batch
    if isinstance(root.parameters, op.TransposedConvolution) and form.phases > 1:
        # interleaved pixels are written one by one, a whole word each
        groups = -(-filters // hardware.filter_parallel)
        stored = stored // filters * groups * hardware.filter_parallel
    return Node(
        batch=batch,
        channels=form.channels,
        input_height=in_height,
        input_width=in_width,
        height=form.height,
        width=form.width,
        filters=filters,
        window=form.window,
        stored=stored,
        residual=_residual(executed) // batch,
        phases=form.phases,
        image=image,
        alu=_passes(executed),
    )


def _stored(executed: ExecutedLayer) -> int:
    """Elements the node itself writes: its part of a concatenation that it writes into."""
    own = [layer for layer in executed.absorbed if not isinstance(layer.parameters, op.Concat)]
    return prod(ExecutedLayer(executed.root, tuple(own)).output_shape)


def _residual(executed: ExecutedLayer) -> int:
    """Elements of the second operand of an absorbed addition."""
    return sum(
        prod(layer.output_shape)
        for layer in executed.absorbed
        if isinstance(layer.parameters, op.Elementwise)
    )


def _passes(executed: ExecutedLayer) -> tuple[Alu, ...]:
    """What absorbed layers ask of the engine beside the array."""
    found = []
    for layer in executed.absorbed:
        _, channels, height, width = geometry(layer.output_shape)
        match layer.parameters:
            case op.Convolution():
                found.append(Alu(height, width, channels, _window(layer), weights=True))
            case op.Pooling(kind="max"):
                found.append(Alu(height, width, channels, _window(layer), inline=True))
            case op.Pooling() | op.GlobalPooling():
                found.append(Alu(height, width, channels, _window(layer)))
            case op.Elementwise():
                found.append(Alu(height, width, channels))
    return tuple(found)
