"""What Google's Edge TPU compiler decided about its own test models, beside the simulated one.

Two tables: bytes of parameters that are cached on the device or streamed in every run, and
operations that stay on the host. No times: they check the mapping toolchain alone.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.published.data_set import Row, read_rows
from evaluation.published.edge_tpu import chain_network
from graph_gen.published_edge_tpu import build_edge_tpu
from simulators import edge_tpu
from strata.errors import StrataError
from strata.layer import Layer

PARAMETER_FILE = "edgetpu_compiler_cycles.csv"
CHAIN_FILE = "edgetpu_synthetic.csv"
PLACEMENT_FILE = "edgetpu_mapping_cases.csv"
_HARDWARE = "coral_usb3"
_MIB = 2**20
# Changes of a tensor's number format: no layers of a graph.
_FORMAT_CHANGES = ("QUANTIZE", "DEQUANTIZE")
_TFLITE_NAMES = {
    "convolution": "CONV_2D",
    "depthwise_convolution": "DEPTHWISE_CONV_2D",
    "transposed_convolution": "TRANSPOSE_CONV",
    "dense": "FULLY_CONNECTED",
    "concat": "CONCATENATION",
    "add": "ADD",
    "multiply": "MUL",
    "average_pooling": "AVERAGE_POOL_2D",
    "global_average_pooling": "AVERAGE_POOL_2D",
    "max_pooling": "MAX_POOL_2D",
    "softmax": "SOFTMAX",
    "reshape": "RESHAPE",
    "lstm": "UNIDIRECTIONAL_SEQUENCE_LSTM",
}
_RESIZES = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "linear": "RESIZE_BILINEAR"}


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """Published and simulated bytes of parameters; `reason` says why a model has none simulated."""

    network: str
    published_cached_bytes: float
    published_streamed_bytes: float
    cached_bytes: int | None = None
    streamed_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlacementRow:
    """Operations left to the host, published and simulated, as TFLite names and counts."""

    file: str
    published: Counter[str]
    simulated: Counter[str] | None = None
    reason: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether both leave the same operations to the host; None if none was simulated."""
        return None if self.simulated is None else self.simulated == self.published


@cache
def _compiled(name: str, hardware: str) -> edge_tpu.EdgeTpuExecutable:
    return edge_tpu.compile_graph(build_edge_tpu(name), edge_tpu.load(hardware))


def _tflite_name(layer: Layer) -> str:
    """The name of a layer's operation in a TFLite file."""
    parameters: Any = layer.parameters
    if layer.operation == "resize":
        return _RESIZES.get(parameters.kind, "RESIZE")
    if layer.operation == "opaque":
        name = str(parameters.type_name)
        return name if name.isupper() else f"CUSTOM:{name}"
    return _TFLITE_NAMES.get(layer.operation, layer.operation.upper())


def host_operations(executable: edge_tpu.EdgeTpuExecutable) -> Counter[str]:
    """Operations of the nodes on the host."""
    return Counter(
        _tflite_name(node.executed.root) for node in executable.layers if node.engine == "host"
    )


def _distinct(rows: list[Row], column: str) -> list[Row]:
    return list({row.text(column): row for row in rows}.values())


def parameter_rows(folder: Path, hardware: str = _HARDWARE) -> list[ParameterRow]:
    """The compiler's own numbers for test models; files compiled together share the memory."""
    found = []
    columns = ("file", "cached_param_bytes", "streamed_param_bytes")
    for row in _distinct(read_rows(folder / PARAMETER_FILE, columns), "file"):
        file = row.text("file")
        published = row.number("cached_param_bytes"), row.number("streamed_param_bytes")
        if "cocompiled" in file:
            found.append(ParameterRow(file, *published, reason="compiled together with others"))
        else:
            found.append(_parameters(file, file, published, hardware))
    return found


def chain_rows(folder: Path, hardware: str = _HARDWARE) -> list[ParameterRow]:
    """Chains of equal layers for which both sizes were published, one row per network.

    Where both sizes do not add up to the network's weights (a slip of the table) it is left out,
    with that reason.
    """
    found = []
    columns = ("network", "on_chip_mib", "off_chip_mib")
    for row in _distinct(read_rows(folder / CHAIN_FILE, columns), "network"):
        if not row.optional("on_chip_mib") or not row.optional("off_chip_mib"):
            continue
        text = row.text("network")
        published = row.number("on_chip_mib") * _MIB, row.number("off_chip_mib") * _MIB
        name = text.removeprefix("Keras Sequential: ")
        one = _parameters(name, chain_network(text), published, hardware)
        if one.cached_bytes is not None and sum(published) > 2 * _total(one) + _MIB:
            one = ParameterRow(one.network, *published, reason="more than twice its weights")
        found.append(one)
    return found


def _total(row: ParameterRow) -> int:
    return (row.cached_bytes or 0) + (row.streamed_bytes or 0)


def _parameters(
    name: str, build_name: str, published: tuple[float, float], hardware: str
) -> ParameterRow:
    try:
        executable = _compiled(build_name, hardware)
    except StrataError as error:
        return ParameterRow(name, *published, reason=str(error))
    return ParameterRow(name, *published, executable.cached_bytes, executable.streamed_bytes)


def _operations(row: Row, column: str) -> Counter[str]:
    """A cell such as {"CONV_2D": 2}; changes of format are no operations of a network."""
    try:
        counts = json.loads(row.text(column))
    except json.JSONDecodeError as error:
        raise row.fault(column, f"is not JSON: {error}") from None
    if not isinstance(counts, dict) or not all(isinstance(n, int) for n in counts.values()):
        raise row.fault(column, "must map names of operations to counts")
    return Counter({name: n for name, n in counts.items() if name not in _FORMAT_CHANGES})


def placement_rows(folder: Path, hardware: str = _HARDWARE) -> list[PlacementRow]:
    """Every compiled test model once."""
    found = []
    columns = ("compiled", "left_on_cpu")
    for row in _distinct(read_rows(folder / PLACEMENT_FILE, columns), "compiled"):
        file, published = row.text("compiled"), _operations(row, "left_on_cpu")
        try:
            found.append(PlacementRow(file, published, host_operations(_compiled(file, hardware))))
        except StrataError as error:
            found.append(PlacementRow(file, published, reason=str(error)))
    return found


def parameter_frame(rows: list[ParameterRow]) -> pd.DataFrame:
    """Published and simulated MiB, and the difference of their sums in percent."""

    def mib(bytes_: float | None) -> float:
        return float("nan") if bytes_ is None else bytes_ / _MIB

    return pd.DataFrame(
        {
            "network": [row.network for row in rows],
            "published cached (MiB)": [mib(row.published_cached_bytes) for row in rows],
            "cached (MiB)": [mib(row.cached_bytes) for row in rows],
            "published streamed (MiB)": [mib(row.published_streamed_bytes) for row in rows],
            "streamed (MiB)": [mib(row.streamed_bytes) for row in rows],
            "error of the sum (%)": [
                float("nan")
                if row.cached_bytes is None
                else 100
                * (_total(row) / (row.published_cached_bytes + row.published_streamed_bytes) - 1)
                for row in rows
            ],
            "reason": [row.reason for row in rows],
        }
    )


def placement_frame(rows: list[PlacementRow]) -> pd.DataFrame:
    """Operations on the host, published and simulated, and whether they agree."""

    def text(counts: Counter[str] | None) -> str:
        return "" if counts is None else ", ".join(f"{n} {k}" for k, n in sorted(counts.items()))

    answer: Callable[[bool | None], str] = {None: "", True: "yes", False: "no"}.__getitem__
    return pd.DataFrame(
        {
            "file": [row.file for row in rows],
            "published on the host": [text(row.published) for row in rows],
            "simulated on the host": [text(row.simulated) for row in rows],
            "agrees": [answer(row.agrees) for row in rows],
            "reason": [row.reason for row in rows],
        }
    )
