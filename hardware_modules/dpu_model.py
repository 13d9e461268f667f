"""Files for the Vitis AI tools: a frozen float graph, calibration data, a kernel's runner."""

import json
import re
from pathlib import Path
from typing import Any

from hardware_modules.tensorflow_builder import build_function, tensor_shape
from strata.graph import Graph
from strata.layer import Layer

GRAPH_FILE, CALIBRATION_FILE, RUNNER_FILE = "float.pb", "calibration.py", "run_kernel.py"
CALIBRATION_RUNS = 4
_NODE = re.compile(r"layer(\d+)(?:[_*].*)?")
# Attributes that TensorFlow 1.15, on which the quantiser stands, does not know.
_NEWER_ATTRIBUTES = {"MatMul": ("grad_a", "grad_b"), "MaxPool": ("explicit_paddings",)}
_PRODUCER = 134  # graph version of TensorFlow 1.15

_CALIBRATION = '''\
"""Random calibration data for vai_q_tensorflow: fn(iteration) gives one batch by input."""
import numpy as np

SHAPES = {shapes}


def feed(iteration):
    random = np.random.RandomState(iteration)
    return {{name: random.uniform(-1.0, 1.0, shape) for name, shape in SHAPES.items()}}
'''

# Runs on the board, under its own Python. The DPU's time does not depend on the input's values.
_RUNNER = '''\
"""Run a DPU kernel in profile mode, which prints a table for each run."""
import sys

try:
    from dnndk import n2cube
except ImportError:
    import n2cube

PROFILE_MODE = 1
kernel_name, runs = sys.argv[1], int(sys.argv[2])
n2cube.dpuOpen()
kernel = n2cube.dpuLoadKernel(kernel_name)
task = n2cube.dpuCreateTask(kernel, PROFILE_MODE)
for _ in range(runs):
    n2cube.dpuRunTask(task)
n2cube.dpuDestroyTask(task)
n2cube.dpuDestroyKernel(kernel)
n2cube.dpuClose()
'''


def operation_names(graph: Graph) -> dict[str, str]:
    """Operations' names by layer: short, as the profiler cuts long names off."""
    return {layer.name: f"layer{index}" for index, layer in enumerate(graph.layers)}


def layer_of(node: str, graph: Graph) -> Layer | None:
    """The layer that a node of the profiler's table is named after; None for an inserted one."""
    found = _NODE.fullmatch(node)
    index = int(found[1]) if found else len(graph.layers)
    return graph.layers[index] if index < len(graph.layers) else None


def _frozen(graph: Graph) -> Any:
    """The graph as a TensorFlow 1 GraphDef, weights as constants."""
    names = operation_names(graph)
    function = build_function(graph, lambda layer: names[layer.name])
    definition = function.graph.as_graph_def()
    for node in definition.node:
        for attribute in _NEWER_ATTRIBUTES.get(node.op, ()):
            node.attr.pop(attribute, None)
    definition.versions.producer = _PRODUCER
    del definition.versions.bad_consumers[:]
    return definition


def write_files(graph: Graph, folder: Path) -> None:
    """The frozen graph, the calibration module and the runner; UnsupportedLayer as the builder."""
    (folder / GRAPH_FILE).write_bytes(_frozen(graph).SerializeToString())
    names = operation_names(graph)
    shapes = {names[name]: tensor_shape(graph[name].output_shape) for name in graph.inputs}
    text = _CALIBRATION.format(shapes=json.dumps(shapes))
    (folder / CALIBRATION_FILE).write_text(text, encoding="utf-8")
    (folder / RUNNER_FILE).write_text(_RUNNER, encoding="utf-8")


def quantiser_arguments(graph: Graph) -> list[str]:
    """What vai_q_tensorflow is told of the files that `write_files` writes."""
    names = operation_names(graph)
    shapes = [tensor_shape(graph[name].output_shape) for name in graph.inputs]
    return [
        "quantize",
        "--input_frozen_graph",
        GRAPH_FILE,
        "--input_nodes",
        ",".join(names[name] for name in graph.inputs),
        "--input_shapes",
        ":".join(",".join(map(str, shape)) for shape in shapes),
        "--output_nodes",
        ",".join(names[name] for name in graph.outputs),
        "--input_fn",
        "calibration.feed",
        "--calib_iter",
        str(CALIBRATION_RUNS),
        "--output_dir",
        "quantised",
    ]
