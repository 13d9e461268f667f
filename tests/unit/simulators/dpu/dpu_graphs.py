"""Small graphs and nodes that the tests of the DPU share."""

from simulators import dpu
from simulators.dpu.node import Node, Window
from simulators.executable import Executable
from strata.builder import GraphBuilder
from strata.graph import Graph

# constants as they stand here, so that a calibration changes no test
BOARD = dpu.load("dpuczdx8g_b4096_zcu102").changed(
    read_bytes_per_s=7.0e9,
    write_bytes_per_s=4.5e9,
    transfer_start_s=0.7e-6,
    convolution_start_cycles=12,
    alu_start_cycles=85,
    node_start_s=1e-6,
)


def convolution_node(
    height: int = 56,
    width: int = 56,
    channels: int = 64,
    filters: int = 64,
    kernel: int = 3,
    **values: object,
) -> Node:
    """A 'same' convolution of stride 1 that reads no image."""
    return Node(
        batch=1,
        channels=channels,
        input_height=height,
        input_width=width,
        height=height,
        width=width,
        filters=filters,
        window=Window((kernel, kernel)),
        stored=height * width * filters,
        **values,  # type: ignore[arg-type]
    )


def two_convolutions(size: int = 28, channels: int = 64) -> Graph:
    """Input, a convolution that makes a feature map, and a 1 x 1 convolution."""
    builder = GraphBuilder("two")
    image = builder.input(1, 3, size, size)
    features = builder.convolution(image, channels, 3, name="first")
    builder.convolution(features, channels, 1, name="second")
    return builder.build()


def compiled(builder: GraphBuilder) -> dpu.DpuExecutable:
    """The executable graph on the test board."""
    return dpu.compile_graph(builder.build(), BOARD)


def nodes(executable: Executable) -> dict[str, tuple[str, ...]]:
    """Absorbed layers by the name of each node."""
    return {
        layer.name: tuple(inner.name for inner in layer.executed.absorbed)
        for layer in executable.layers
    }
