"""NASBench-101 networks (Ying et al. 2019, section 2): one cell, repeated nine times.

A cell is a directed acyclic graph of at most 7 vertices and 9 edges, the first vertex its input
and the last its output. Inputs of a vertex are added; the output concatenates what reaches it.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from graph_gen.network_parts import convolution_unit
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, legal
from strata.graph import Graph

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAXIMUM_VERTICES = 7
MAXIMUM_EDGES = 9
_STACKS = 3
_CELLS_PER_STACK = 3
_STEM_CHANNELS = 128
_CLASSES = 10

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as its designer wrote it; `prune` removes what does not count.

    `matrix[i][j]` is 1 for an edge from vertex i to vertex j, upper triangular. `operations` has
    one of OPERATIONS per inner vertex: input and output have none. Raises SchemaError otherwise.
    """

    matrix: Matrix
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        size = len(self.matrix)
        if not 2 <= size <= MAXIMUM_VERTICES:
            raise SchemaError(f"cell has {size} vertices; legal: 2 to {MAXIMUM_VERTICES}")
        for i, row in enumerate(self.matrix):
            if len(row) != size:
                raise SchemaError(f"cell matrix row {i} has {len(row)} entries, must have {size}")
            if any(edge not in (0, 1) for edge in row) or any(row[: i + 1]):
                raise SchemaError(
                    f"cell matrix row {i} is {row}; legal: 0 or 1 right of the diagonal, else 0"
                )
        if len(self.operations) != size - 2:
            raise SchemaError(
                f"cell has {len(self.operations)} operations, must have one per inner vertex: "
                f"{size - 2}"
            )
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise SchemaError(f"cell operation '{operation}'; legal: {legal(OPERATIONS)}")

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(map(sum, self.matrix))


def _reached(matrix: Matrix) -> set[int]:
    """Vertices that can be reached from vertex 0."""
    found = {0}
    for source, row in enumerate(matrix):
        if source in found:
            found.update(vertex for vertex, edge in enumerate(row) if edge)
    return found


def prune(cell: Cell) -> Cell:
    """The cell without vertices off every path from input to output.

    Raises SchemaError if there is no such path, or if more than 9 edges remain.
    """
    last = len(cell.matrix) - 1
    # The transpose, turned round, is upper triangular again: its vertex 0 is the output.
    reverse = tuple(
        tuple(cell.matrix[last - j][last - i] for j in range(last + 1)) for i in range(last + 1)
    )
    kept = sorted(_reached(cell.matrix) & {last - vertex for vertex in _reached(reverse)})
    if 0 not in kept or last not in kept:
        raise SchemaError("cell has no path from its input to its output")
    pruned = Cell(
        tuple(tuple(cell.matrix[i][j] for j in kept) for i in kept),
        tuple(cell.operations[i - 1] for i in kept[1:-1]),
    )
    if pruned.edges > MAXIMUM_EDGES:
        raise SchemaError(f"cell has {pruned.edges} edges; legal: at most {MAXIMUM_EDGES}")
    return pruned


def vertex_channels(cell: Cell, input_channels: int, output_channels: int) -> tuple[int, ...]:
    """Channels of every vertex of the pruned cell (Ying et al. 2019, figure 1c).

    The output's channels are divided among the inner vertices that reach it, the first ones
    taking one more where the division leaves a remainder; any other inner vertex has as many as
    the largest vertex it feeds.
    """
    matrix = prune(cell).matrix
    last = len(matrix) - 1
    channels = [input_channels, *[0] * (last - 1), output_channels]
    feeders = [vertex for vertex in range(1, last) if matrix[vertex][last]]
    share, remainder = divmod(output_channels, max(1, len(feeders)))
    for position, vertex in enumerate(feeders):
        channels[vertex] = share + (position < remainder)
    for vertex in range(last - 1, 0, -1):
        if vertex not in feeders:
            channels[vertex] = max(
                channels[j] for j in range(vertex + 1, last) if matrix[vertex][j]
            )
    return tuple(channels)


def fingerprint(cell: Cell) -> str:
    """A hash of the pruned cell that does not depend on the order of its inner vertices.

    Weisfeiler-Lehman labels refined once per vertex; isomorphic cells have equal fingerprints.
    """
    cell = prune(cell)
    vertices = range(len(cell.matrix))
    labels = ["input", *cell.operations, "output"]
    for _ in vertices:
        labels = [
            _digest(
                labels[vertex],
                sorted(labels[i] for i in vertices if cell.matrix[i][vertex]),
                sorted(labels[j] for j in vertices if cell.matrix[vertex][j]),
            )
            for vertex in vertices
        ]
    return _digest(sorted(labels))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _truncated(builder: GraphBuilder, source: str, channels: int, name: str) -> str:
    """The first `channels` channels: division may give a source one more than its reader."""
    shape = builder.shape(source)
    if shape[1] == channels:
        return source
    box = op.Slice((0, 0, 0, 0), (shape[0], channels, *shape[2:]), (1, 1, 1, 1))
    return builder.add(box, source, name=name)


def _sum(builder: GraphBuilder, terms: Sequence[str], name: str) -> str:
    total = terms[0]
    for number, term in enumerate(terms[1:], 1):
        total = builder.add(op.Elementwise("add"), total, term, name=f"{name}/add{number}")
    return total


def _operation(builder: GraphBuilder, source: str, operation: str, channels: int, name: str) -> str:
    if operation == "maxpool3x3":
        return builder.pooling(source, "max", 3, 1, "same", name=f"{name}/maxpool3x3")
    kernel = 3 if operation == "conv3x3-bn-relu" else 1
    return convolution_unit(builder, source, channels, kernel, name=f"{name}/conv{kernel}x{kernel}")


def _cell(builder: GraphBuilder, cell: Cell, source: str, channels: int, name: str) -> str:
    """One copy of a pruned cell; what comes from its input is projected by a 1x1 convolution."""
    last = len(cell.matrix) - 1
    widths = vertex_channels(cell, builder.shape(source)[1], channels)
    values: dict[int, str] = {}
    for vertex, operation in enumerate(cell.operations, 1):
        place = f"{name}/vertex{vertex}"
        terms = [
            _truncated(builder, values[i], widths[vertex], f"{place}/truncate{i}")
            for i in range(1, vertex)
            if cell.matrix[i][vertex]
        ]
        if cell.matrix[0][vertex]:
            terms.append(_projection(builder, source, widths[vertex], place))
        total = _sum(builder, terms, place)
        values[vertex] = _operation(builder, total, operation, widths[vertex], place)
    ends = [value for vertex, value in values.items() if cell.matrix[vertex][last]]
    output = f"{name}/output"
    if len(ends) > 1:
        ends = [builder.add(op.Concat(1), *ends, name=f"{output}/concat")]
    if cell.matrix[0][last]:
        ends.append(_projection(builder, source, channels, output))
    return _sum(builder, ends, output)


def _projection(builder: GraphBuilder, source: str, channels: int, name: str) -> str:
    return convolution_unit(builder, source, channels, 1, name=f"{name}/projection")


def network(cell: Cell, name: str) -> Graph:
    """The network of a cell: 32x32x3 image to 10 classes.

    A stem of 128 channels, three stacks of three cells, 2x2 max pooling and twice the channels
    between stacks, global average pooling, dense layer, softmax. Raises SchemaError if `prune`
    refuses the cell.
    """
    cell = prune(cell)
    builder = GraphBuilder(name)
    image = builder.input(1, 3, 32, 32, name="image")
    features = convolution_unit(builder, image, _STEM_CHANNELS, 3, name="stem/conv3x3")
    for stack in range(1, _STACKS + 1):
        if stack > 1:
            features = builder.pooling(features, "max", 2, name=f"stack{stack}/pooling")
        for number in range(1, _CELLS_PER_STACK + 1):
            channels = _STEM_CHANNELS * 2 ** (stack - 1)
            features = _cell(builder, cell, features, channels, f"stack{stack}/cell{number}")
    pooled = builder.add(
        op.GlobalPooling("average", keep_dimensions=False), features, name="classifier/pooling"
    )
    logits = builder.dense(pooled, _CLASSES, name="classifier/dense")
    builder.add(op.Softmax(), logits, name="classifier/softmax")
    return builder.build()


def random_cell(generator: random.Random) -> Cell:
    """A pruned cell: 7 vertices, each edge with probability 1/2, drawn until it is legal."""
    # Only random() is promised to give the same numbers under every Python version.
    while True:
        size = MAXIMUM_VERTICES
        matrix = tuple(
            tuple(int(j > i and generator.random() < 0.5) for j in range(size)) for i in range(size)
        )
        operations = tuple(
            OPERATIONS[int(generator.random() * len(OPERATIONS))] for _ in range(size - 2)
        )
        try:
            return prune(Cell(matrix, operations))
        except SchemaError:
            continue


def sample_cells(count: int, seed: int) -> list[Cell]:
    """`count` random pruned cells, no two isomorphic; a longer sample begins with a shorter."""
    if not 0 <= count <= 10_000:
        raise SchemaError(f"count is {count}; legal: 0 to 10000")
    generator = random.Random(seed)
    found: dict[str, Cell] = {}
    while len(found) < count:
        cell = random_cell(generator)
        found.setdefault(fingerprint(cell), cell)
    return list(found.values())


def sample(count: int = 34, seed: int = 0) -> list[Graph]:
    """Networks of `sample_cells`, named nasbench_<seed>_<index>.

    34 is the size of ANNETTE's test set 2 (section 7.5), whose members are not published.
    """
    cells = sample_cells(count, seed)
    return [network(cell, f"nasbench_{seed}_{index}") for index, cell in enumerate(cells)]
