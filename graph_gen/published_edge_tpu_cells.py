"""NAS-Bench-201 networks (Dong and Yang 2020, section 2 and figure 1), from architecture strings.

A cell has four nodes; every pair of nodes is joined by one of five operations, and a node is the
sum of what reaches it. As an exporter would, branches that are zero or that nobody reads are left
out, and operations that rectify the same tensor share one rectifier.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graph_gen.network_parts import convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, legal
from strata.graph import Graph

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_NODES = 4
_CELLS_PER_STAGE = 5
_WIDTHS = (16, 32, 64)
_CLASSES = 10
_SIZE = (32, 32)


@dataclass(frozen=True, slots=True)
class Edge:
    """An operation from node `source` to node `target`, nodes counted from 0 (the cell's input)."""

    source: int
    target: int
    operation: str


def parse_architecture(text: str) -> tuple[Edge, ...]:
    """The six edges of |op~0|+|op~0|op~1|+|op~0|op~1|op~2|; SchemaError says what is wrong."""
    parts = text.strip().split("+")
    if len(parts) != _NODES - 1:
        raise SchemaError(f"cell '{text}' has {len(parts)} nodes after its input; legal: 3")
    edges = []
    for target, part in enumerate(parts, 1):
        found = re.findall(r"\|([^|~]+)~(\d+)", part)
        if [int(source) for _, source in found] != list(range(target)) or part[-1] != "|":
            raise SchemaError(f"cell '{text}': node {target} must read nodes 0 to {target - 1}")
        for operation, source in found:
            if operation not in OPERATIONS:
                raise SchemaError(
                    f"cell '{text}': operation '{operation}'; legal: {legal(OPERATIONS)}"
                )
            edges.append(Edge(int(source), target, operation))
    return tuple(edges)


def working_architecture(choose: Callable[[Sequence[str]], str]) -> str:
    """A cell whose edges all compute something, each the operation that `choose` takes."""
    working = [operation for operation in OPERATIONS if operation != "none"]

    def node(sources: int) -> str:
        return "|" + "".join(f"{choose(working)}~{source}|" for source in range(sources))

    return "+".join(node(sources) for sources in range(1, _NODES))


def live_edges(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    """Edges on a path from the input to the output; SchemaError if there is none."""
    joined = [edge for edge in edges if edge.operation != "none"]
    reached, read = {0}, {_NODES - 1}
    for edge in joined:  # ordered by target
        if edge.source in reached:
            reached.add(edge.target)
    for edge in reversed(joined):
        if edge.target in read:
            read.add(edge.source)
    found = tuple(edge for edge in joined if edge.source in reached and edge.target in read)
    if not found:
        raise SchemaError("cell has no path from its input to its output: it is the constant 0")
    return found


def published_cell_macs(edges: tuple[Edge, ...]) -> int:
    """MACs of the convolutions of all fifteen cells, of branches that nobody reads too."""
    kernels = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    taps = sum(kernels.get(edge.operation, 0) for edge in edges)
    pixels = _SIZE[0] * _SIZE[1]
    return sum(
        _CELLS_PER_STAGE * taps * width**2 * (pixels // 4**stage)
        for stage, width in enumerate(_WIDTHS)
    )


def _rectified(builder: GraphBuilder, source: str, known: dict[str, str]) -> str:
    if source not in known:
        known[source] = builder.add(op.Activation("relu"), source, name=f"{source}/rectified")
    return known[source]


def _edge(
    builder: GraphBuilder, source: str, operation: str, name: str, rectified: dict[str, str]
) -> str:
    if operation == "skip_connect":
        return source
    if operation == "avg_pool_3x3":
        return builder.pooling(source, "average", 3, 1, "same", name=f"{name}/pooling")
    kernel = 3 if operation == "nor_conv_3x3" else 1
    active = _rectified(builder, source, rectified)
    channels = builder.shape(source)[1]
    return convolution_unit(builder, active, channels, kernel, activation=None, name=f"{name}/conv")


def _cell(builder: GraphBuilder, source: str, edges: tuple[Edge, ...], name: str) -> str:
    nodes = {0: source}
    rectified: dict[str, str] = {}
    for target in range(1, _NODES):
        terms = [
            _edge(
                builder,
                nodes[edge.source],
                edge.operation,
                f"{name}/edge{edge.source}{target}",
                rectified,
            )
            for edge in edges
            if edge.target == target
        ]
        for number, term in enumerate(terms):
            nodes[target] = (
                builder.add(
                    op.Elementwise("add"), nodes[target], term, name=f"{name}/node{target}_{number}"
                )
                if number
                else term
            )
    return nodes[_NODES - 1]


def _reduction(builder: GraphBuilder, source: str, channels: int, name: str) -> str:
    """A residual block that halves height and width, its shortcut an average and a projection."""
    active = builder.add(op.Activation("relu"), source, name=f"{name}/relu")
    branch = convolution_unit(builder, active, channels, 3, 2, name=f"{name}/conv1")
    branch = convolution_unit(builder, branch, channels, 3, activation=None, name=f"{name}/conv2")
    shortcut = builder.pooling(source, "average", 2, name=f"{name}/pooling")
    shortcut = builder.convolution(shortcut, channels, 1, bias=False, name=f"{name}/projection")
    return builder.add(op.Elementwise("add"), shortcut, branch, name=f"{name}/add")


def nas_bench_201(architecture: str) -> Graph:
    """The CIFAR-10 network of a cell: stages of five cells with 16, 32 and 64 channels."""
    edges = live_edges(parse_architecture(architecture))
    builder = GraphBuilder(f"nas_bench_201 {architecture}")
    image = builder.input(1, 3, *_SIZE, name="image")
    features = convolution_unit(builder, image, _WIDTHS[0], 3, activation=None, name="stem/conv")
    for stage, width in enumerate(_WIDTHS, 1):
        if stage > 1:
            features = _reduction(builder, features, width, f"reduction{stage}")
        for cell in range(1, _CELLS_PER_STAGE + 1):
            features = _cell(builder, features, edges, f"stage{stage}/cell{cell}")
    features = builder.add(op.BatchNormalization(), features, name="last/normalise")
    features = builder.add(op.Activation("relu"), features, name="last/relu")
    pooled = builder.add(op.GlobalPooling("average"), features, name="classifier/pooling")
    flat = builder.add(op.Flatten(), pooled, name="classifier/flatten")
    builder.dense(flat, _CLASSES, name="classifier/dense")
    return builder.build()
