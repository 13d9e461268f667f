"""The latency of a network on a platform: map it, ask the layer models, add up.

ANNETTE, section 6: the mapping model turns the network into the layers the platform executes, the
chosen kind of layer model answers for each, the roofline where it cannot; the network's time is
the sum. Whatever was not answered by the chosen model says so in the result.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from strata import operations as op
from strata.errors import ArtefactError, SchemaError
from strata.execution import FEATURES, ExecutedLayer, feature_matrix
from strata.graph import Graph, with_bits
from strata.layer import Layer
from strata.layer_models import KINDS, Roofline
from strata.traffic import Bytes

if TYPE_CHECKING:
    from strata.platform_model import PlatformModel

FALLBACK_KIND = "roofline"
_LEAST_UTILISATION = 0.1
NO_MODEL = "none"
NO_TIME = "no time"
_PLACED = {"host": "on the host", "streamed": "weights fetched in every run"}
_OPS, _BYTES = FEATURES.index("ops"), FEATURES.index("bytes")


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One executed layer: its time and where the number comes from.

    `time_s` is None where the platform's toolchain gives no times of layers that run as this one
    does. `share` is the part of the network's total, None without a time; `bound` is "compute",
    "memory" or "overhead", "none" where nothing moves, or "unknown" without a time; `utilisation`
    is the part of the binding peak, None if unknown.
    `fell_back` says that another model than the chosen kind answered, `model_used` which one.
    `in_range` is False outside the range of the measurements behind the models of its operation;
    `note` says why a row is out of the ordinary, "" otherwise. `traffic_bytes` are the bytes read
    and written per memory whose traffic the platform tells, None where this layer's is not known.
    """

    name: str
    operation: str
    absorbed: tuple[str, ...]
    time_s: float | None
    share: float | None
    bound: str
    utilisation: float | None
    model_used: str
    fell_back: bool
    in_range: bool
    note: str
    traffic_bytes: Bytes = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The latency of one network on one platform, per executed layer and in all.

    `overhead_s` is what the network costs beside its layers: once, per layer that takes time, and
    per byte of its inputs and outputs.
    `network_layers` counts the layers of the description without its inputs; `unmapped` holds the
    type name of each of them that the importer could not map, in the graph's order. `memories` are
    those whose traffic the platform's toolchain tells, mostly none. `times` says what the model was
    fitted to where that were no measurements.
    """

    network: str
    platform: str
    kind: str
    layers: tuple[LayerEstimate, ...]
    overhead_s: float
    network_layers: int
    unmapped: tuple[str, ...]
    memories: tuple[str, ...] = ()
    times: str = ""

    @property
    def traffic_bytes(self) -> dict[str, float]:
        """Bytes per memory that the layers read and write, as far as their traffic is known."""
        return {
            memory: sum(layer.traffic_bytes[memory] or 0.0 for layer in self.layers)
            for memory in self.memories
        }

    @property
    def traffic_unknown(self) -> dict[str, int]:
        """Executed layers per memory that are missing in `traffic_bytes`."""
        return {
            memory: sum(layer.traffic_bytes[memory] is None for layer in self.layers)
            for memory in self.memories
        }

    @property
    def layers_s(self) -> float:
        """Sum over the executed layers, as far as their times are known."""
        return sum(layer.time_s or 0.0 for layer in self.layers)

    @property
    def untimed(self) -> int:
        """Executed layers without a known time: `layers_s` and `total_s` leave them out."""
        return sum(layer.time_s is None for layer in self.layers)

    @property
    def total_s(self) -> float:
        """Latency of the network, without its `untimed` layers: the others and its overhead."""
        return self.layers_s + self.overhead_s

    @property
    def fell_back(self) -> int:
        """Executed layers that the chosen kind of model did not answer for."""
        return sum(layer.fell_back for layer in self.layers)

    @property
    def estimated(self) -> int:
        """Executed layers that the chosen kind of model answered for."""
        return sum(layer.model_used == self.kind for layer in self.layers)

    @property
    def moves_nothing(self) -> int:
        """Executed layers without work and without a model, which take no time."""
        return sum(layer.model_used == NO_MODEL for layer in self.layers)

    @property
    def out_of_range(self) -> int:
        """Executed layers outside the range of the measurements behind the models."""
        return sum(not layer.in_range for layer in self.layers)


@dataclass(frozen=True, slots=True)
class _Answer:
    time_s: float | None
    bound: str
    utilisation: float | None
    model_used: str
    fell_back: bool


_UNTIMED = _Answer(None, "unknown", None, NO_TIME, False)

# features outside the measured range; None where the operation was never measured
_Outside = tuple[str, ...] | None


def estimate(
    network: Graph | str | Path, platform: "PlatformModel | str | Path", kind: str = "mixed"
) -> Estimate:
    """Estimate a network on a platform; neither is run.

    `network` is a graph or a file the importer reads, `platform` a loaded platform model, its name
    or its file; `kind` is one of KINDS. Raises StrataError for input that cannot be read, an
    unknown platform or kind, and a platform model without any roofline where one is needed.
    """
    check_kind(kind)
    model = _loaded_platform(platform)
    graph = with_bits(_loaded_network(network), model.header.bits)

    from strata.mapping import apply_mapping

    return estimate_executed(graph, apply_mapping(graph, model.mapping), model, kind)


def estimate_executed(
    graph: Graph, executed: Sequence[ExecutedLayer], model: "PlatformModel", kind: str = "mixed"
) -> Estimate:
    """Estimate a network whose executed layers are known, from a profile or a mapping model.

    `executed` are the layers of `graph` in order; inputs among them are left out. Errors as
    `estimate`.
    """
    check_kind(kind)
    run = [layer for layer in executed if not isinstance(layer.root.parameters, op.Input)]
    matrix = feature_matrix(run)
    answers = _answers(run, matrix, model, kind)
    traffic = model.traffic.layers_bytes(run, matrix)
    times_s = [answer.time_s or 0.0 for answer, _ in answers]
    timed = sum(time_s > 0 for time_s in times_s)
    overhead_s = model.overhead.time_s(timed, graph.input_bytes, graph.output_bytes)
    total_s = sum(times_s) + overhead_s
    return Estimate(
        network=graph.name,
        platform=model.header.platform,
        kind=kind,
        layers=tuple(
            _row(layer, answer, outside, total_s, moved, model)
            for layer, (answer, outside), moved in zip(run, answers, traffic, strict=True)
        ),
        overhead_s=overhead_s,
        network_layers=len(graph.layers) - len(graph.inputs),
        unmapped=tuple(_type_names(graph.opaque)),
        memories=model.traffic.memories,
        times=model.header.times,
    )


def check_kind(kind: str) -> None:
    """SchemaError unless `kind` is one of KINDS."""
    if kind not in KINDS:
        raise SchemaError(f"unknown kind of layer model '{kind}'; legal: {', '.join(KINDS)}")


def _loaded_platform(platform: "PlatformModel | str | Path") -> "PlatformModel":
    if not isinstance(platform, str | Path):
        return platform
    from strata.platforms import load_platform

    return load_platform(platform)


def _loaded_network(network: Graph | str | Path) -> Graph:
    if isinstance(network, Graph):
        return network
    from strata.importer import load_network

    return load_network(network)


def _type_names(layers: Iterable[Layer]) -> list[str]:
    return [
        layer.parameters.type_name for layer in layers if isinstance(layer.parameters, op.Opaque)
    ]


def _answers(
    executed: Sequence[ExecutedLayer], matrix: np.ndarray, model: "PlatformModel", kind: str
) -> list[tuple[_Answer, _Outside]]:
    """Per layer its answer and its features out of range.

    Every model is asked once, whatever the number of layers.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, layer in enumerate(executed):
        rows_of[_modelled(layer, model)].append(row)
    found: dict[int, tuple[_Answer, _Outside]] = {}
    for operation, rows in rows_of.items():
        part = matrix[rows]
        answers = _operation_answers(part, operation, model, kind)
        for i, row in enumerate(rows):
            if executed[row].model_key != operation:  # its placement was never measured
                answers[i] = replace(answers[i], fell_back=True)
        outside = _outside(part, model.header.ranges.get(operation))
        for i, row in enumerate(rows):
            if _untimed(executed[row], model) and part[i, [_OPS, _BYTES]].any():
                answers[i], outside[i] = _UNTIMED, ()
        found |= dict(zip(rows, zip(answers, outside, strict=True), strict=True))
    return [found[row] for row in range(len(executed))]


def _untimed(layer: ExecutedLayer, model: "PlatformModel") -> bool:
    """Whether no layer that runs as this one does was ever timed on the platform."""
    if not layer.placement:
        return False
    return not any(key.endswith(f"@{layer.placement}") for key in model.layer_models)


def _modelled(layer: ExecutedLayer, model: "PlatformModel") -> str:
    """The key of a layer's models; those of the operation where its placement has none."""
    return layer.model_key if layer.model_key in model.layer_models else layer.operation


def _operation_answers(
    matrix: np.ndarray, operation: str, model: "PlatformModel", kind: str
) -> list[_Answer]:
    """Answers of the first model of the chain with a positive, finite time for the row."""
    answers: dict[int, _Answer] = {}
    fitted = model.layer_models.get(operation, {})
    for name in dict.fromkeys((kind, FALLBACK_KIND)):
        rows = [row for row in range(len(matrix)) if row not in answers]
        if name not in fitted or not rows:
            continue
        times = fitted[name].time_s(matrix[rows])
        for row, time_s in zip(rows, times.tolist(), strict=True):
            if isfinite(time_s) and time_s > 0:
                peaks = fitted.get(FALLBACK_KIND, fitted[name]).peaks
                bound, utilisation = _explained(matrix[row], time_s, peaks)
                answers[row] = _Answer(time_s, bound, utilisation, name, name != kind)
    return [
        answers[row] if row in answers else _without_model(matrix[row], operation, model)
        for row in range(len(matrix))
    ]


def _explained(row: np.ndarray, time_s: float, peaks: Roofline) -> tuple[str, float | None]:
    """The roof a layer lies under, and the part of that peak it attains in its time.

    "overhead" where it attains less than a tenth of either: neither roof explains its time.
    """
    memory_s = float(row[_BYTES]) / (peaks.peak_bytes_per_s or inf)
    compute_s = float(row[_OPS]) / (peaks.peak_ops_per_s or inf)
    utilisation = min(max(memory_s, compute_s) / time_s, 1.0)
    if utilisation < _LEAST_UTILISATION:
        return "overhead", utilisation or None
    return "compute" if compute_s > memory_s else "memory", utilisation


def _without_model(row: np.ndarray, operation: str, model: "PlatformModel") -> _Answer:
    """The last resort, a roofline of extremes; a layer that moves nothing takes no time."""
    ops, moved_bytes = float(row[_OPS]), float(row[_BYTES])
    if moved_bytes == 0 and ops == 0:
        return _Answer(0.0, "none", None, NO_MODEL, False)
    peak_ops_per_s, peak_bytes_per_s = fallback_peaks(model)
    memory_s, compute_s = moved_bytes / peak_bytes_per_s, ops / peak_ops_per_s
    bound = "memory" if memory_s >= compute_s else "compute"
    used = f"fallback: no model of {operation}"
    return _Answer(max(memory_s, compute_s), bound, None, used, True)


def fallback_peaks(model: "PlatformModel") -> tuple[float, float]:
    """Operations and bytes per second for layers of an operation without any model.

    The lowest bandwidth of all rooflines, because a layer nobody measured is unlikely to be served
    better than the worst that was; and the highest peak, because the peaks of operations differ by
    orders of magnitude and only the highest bounds them all. ArtefactError without a roofline.
    """
    rooflines = [
        fitted[FALLBACK_KIND].peaks
        for key, fitted in model.layer_models.items()
        if FALLBACK_KIND in fitted and "@" not in key  # a host or a link is no bound of the rest
    ]
    bandwidths = [r.peak_bytes_per_s for r in rooflines if r.peak_bytes_per_s is not None]
    peaks = [r.peak_ops_per_s for r in rooflines if r.peak_ops_per_s is not None]
    if not bandwidths:
        raise ArtefactError(
            f"platform model '{model.header.platform}' holds no roofline with a bandwidth; "
            "at least one operation needs one, as a fallback for layers without a model"
        )
    return max(peaks, default=inf), min(bandwidths)


def _outside(
    matrix: np.ndarray, ranges: Mapping[str, tuple[float, float]] | None
) -> list[_Outside]:
    """Per row the features outside the ranges; None for every row where no ranges are known."""
    if not ranges:
        return [None] * len(matrix)
    names = [name for name in FEATURES if name in ranges]
    limits = np.array([ranges[name] for name in names], dtype=np.float64)
    values = matrix[:, [FEATURES.index(name) for name in names]]
    beyond = (values < limits[:, 0]) | (values > limits[:, 1])
    return [tuple(np.array(names)[row].tolist()) for row in beyond]


def _row(
    executed: ExecutedLayer,
    answer: _Answer,
    outside: _Outside,
    total_s: float,
    moved: Bytes,
    model: "PlatformModel",
) -> LayerEstimate:
    moves_nothing, time_s = answer.model_used == NO_MODEL, answer.time_s
    notes = [*_notes(executed, outside, moves_nothing)]
    if time_s is None:
        notes.append(f"{model.header.toolchain.get('name', 'the toolchain')} gives no time")
    return LayerEstimate(
        name=executed.name,
        operation=executed.operation,
        absorbed=tuple(layer.name for layer in executed.absorbed),
        time_s=time_s,
        share=None if time_s is None else time_s / total_s if total_s > 0 else 0.0,
        bound=answer.bound,
        utilisation=answer.utilisation,
        model_used=answer.model_used,
        fell_back=answer.fell_back,
        in_range=moves_nothing or outside == (),
        note="; ".join(notes),
        traffic_bytes=moved,
    )


def _notes(executed: ExecutedLayer, outside: _Outside, moves_nothing: bool) -> Iterator[str]:
    unmapped = _type_names(executed.layers)
    if executed.placement:
        yield _PLACED[executed.placement]
    if unmapped:
        yield f"not mapped: {', '.join(unmapped)}"
    if moves_nothing:
        yield "moves nothing"
    elif outside is None:
        if not unmapped:
            yield "never measured"
    elif outside:
        yield f"out of range: {', '.join(outside)}"
