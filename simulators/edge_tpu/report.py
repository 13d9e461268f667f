"""The Edge TPU's reports in its tools' layouts: edgetpu_compiler's log, benchmark_model's table.

A real device runs its part of a model as one node and times nothing inside it. The simulator has
the timers that the device lacks, so its table has one row per executed operation, host's included.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.executable import Executable, ExecutableLayer, printed_name
from strata import operations as op
from strata.layer import Layer

MAPPED = "Mapped to Edge TPU"
_PARTIAL = (
    "Model successfully compiled but not all operations are supported by the Edge TPU. A "
    "percentage of the model will instead run on the CPU, which is slower. If possible, consider "
    "updating your model to use only operations supported by the Edge TPU. For details, visit "
    "g.co/coral/model-reqs."
)
_ACTIVATIONS = {
    "sigmoid": "LOGISTIC",
    "hard_sigmoid": "HARD_SIGMOID",
    "swish": "SWISH",
    "hard_swish": "HARD_SWISH",
    "relu6": "RELU6",
}
_OPERATORS = {
    "convolution": "CONV_2D",
    "depthwise_convolution": "DEPTHWISE_CONV_2D",
    "transposed_convolution": "TRANSPOSE_CONV",
    "dense": "FULLY_CONNECTED",
    "matmul": "BATCH_MATMUL",
    "max_pooling": "MAX_POOL_2D",
    "average_pooling": "AVERAGE_POOL_2D",
    "global_average_pooling": "MEAN",
    "global_max_pooling": "REDUCE_MAX",
    "multiply": "MUL",
    "subtract": "SUB",
    "divide": "DIV",
    "concat": "CONCATENATION",
    "flatten": "RESHAPE",
    "slice": "STRIDED_SLICE",
    "lstm": "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "batch_normalization": "MUL",
}


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Sizes in bytes: the model, its parameters cached and streamed, the free parameter memory."""

    model: int
    cached: int
    remaining: int
    streamed: int


def operator(layer: Layer) -> str:
    """TFLite's name of a layer's operation."""
    match layer.parameters:
        case op.Activation(kind=kind):
            return _ACTIVATIONS.get(kind, kind.upper())
        case op.Resize(kind="nearest"):
            return "RESIZE_NEAREST_NEIGHBOR"
        case op.Resize():
            return "RESIZE_BILINEAR"
    return _OPERATORS.get(layer.operation, layer.operation.upper())


def _size(count: int) -> str:
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.2f}{unit}"
    return f"{count:.2f}B"


def _status(layer: ExecutableLayer) -> str:
    return MAPPED if layer.host_reason is None else " ".join(layer.host_reason.split())


def _subgraphs(layers: Sequence[ExecutableLayer]) -> int:
    on_device = [layer.host_reason is None for layer in layers]
    return sum(
        now and not before for before, now in zip([False, *on_device], on_device, strict=False)
    )


def write_compiler_log(executable: Executable, memory: MemoryUse, version: str) -> str:
    """What edgetpu_compiler -s prints: sizes, operations and where each type of them runs.

    Operations are counted per executed node, by its root; `version` is the simulator's.
    """
    name = printed_name(executable.graph)
    counts = Counter((operator(layer.executed.root), _status(layer)) for layer in executable.layers)
    mapped = sum(layer.host_reason is None for layer in executable.layers)
    on_host = len(executable.layers) - mapped
    partial = [
        _PARTIAL,
        f"Number of operations that will run on Edge TPU: {mapped}",
        f"Number of operations that will run on CPU: {on_host}",
        "",
    ]
    lines = [
        f"Edge TPU Compiler version {version}",
        "",
        "Model compiled successfully in 0 ms.",
        "",
        f"Input model: {name}.tflite",
        f"Input size: {_size(memory.model)}",
        f"Output model: {name}_edgetpu.tflite",
        f"Output size: {_size(memory.model)}",
        f"On-chip memory used for caching model parameters: {_size(memory.cached)}",
        f"On-chip memory remaining for caching model parameters: {_size(memory.remaining)}",
        f"Off-chip memory used for streaming uncached model parameters: {_size(memory.streamed)}",
        f"Number of Edge TPU subgraphs: {_subgraphs(executable.layers)}",
        f"Total number of operations: {len(executable.layers)}",
        f"Operation log: {name}_edgetpu.log",
        "",
        *(partial if on_host else []),
        f"{'Operator':<31}{'Count':<11}Status",
        "",
        *(f"{kind:<31}{count:<11}{status}" for (kind, status), count in counts.items()),
    ]
    return "\n".join(lines) + "\n"


_BANNER = "=" * 30
_HEADING = (
    f"\t{'[node type]':>40}\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]"
    "\t[Name]"
)


def _table(rows: Sequence[tuple[str, str, float]], decimals: int) -> list[str]:
    """Rows (type, name, seconds) with their shares, in the given order."""
    total_s = sum(time_s for _, _, time_s in rows) or 1.0
    lines, so_far_s = [], 0.0
    for index, (kind, name, time_s) in enumerate(rows):
        so_far_s += time_s
        milliseconds = f"{time_s * 1e3:9.{decimals}f}"
        lines.append(
            f"\t{kind:>40}\t{milliseconds}\t{milliseconds}\t{100 * time_s / total_s:7.3f}%"
            f"\t{100 * so_far_s / total_s:7.3f}%\t{0:10.3f}\t{1:9d}\t[{name}]:{index}"
        )
    return lines


def write_benchmark_log(
    executable: Executable,
    times_s: Sequence[float],
    inferences_s: Sequence[float],
    warmup_s: Sequence[float] = (),
    decimals: int = 3,
) -> str:
    """What benchmark_model --enable_op_profiling=true prints.

    `times_s` are the nodes' mean times in the executable's order, `inferences_s` whole timed runs
    (one or more), `warmup_s` those before. `decimals` of the nodes' times in milliseconds: the
    tool prints 3, which is too coarse for short operations; a simulated timer may say more.
    """
    rows = [
        (operator(layer.executed.root), printed_name(layer.name), time_s)
        for layer, time_s in zip(executable.layers, times_s, strict=True)
    ]
    mean_us = 1e6 * sum(inferences_s) / len(inferences_s)
    warm_us = 1e6 * sum(warmup_s) / len(warmup_s) if warmup_s else 0.0
    first_us = 1e6 * (warmup_s or inferences_s)[0]
    lines = [
        f"Inference timings in us: Init: 0, First inference: {first_us:.0f}, "
        f"Warmup (avg): {warm_us:g}, Inference (avg): {mean_us:g}",
        "Operator-wise Profiling Info for Regular Benchmark Runs:",
        f"{_BANNER} Run Order {_BANNER}",
        _HEADING,
        *_table(rows, decimals),
        "",
        f"Number of nodes executed: {len(rows)}",
        f"Timings (microseconds): count={len(inferences_s)} first={1e6 * inferences_s[0]:.0f} "
        f"curr={1e6 * inferences_s[-1]:.0f} min={1e6 * min(inferences_s):.0f} "
        f"max={1e6 * max(inferences_s):.0f} avg={mean_us:g}",
        "Memory (bytes): count=0",
        f"{len(rows)} nodes observed",
    ]
    return "\n".join(lines) + "\n"
