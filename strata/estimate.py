"""The latency of a network on a platform: map it, ask the layer models, add up.

ANNETTE, section 6: the mapping model turns the network into the layers the platform executes, the
chosen kind of layer model answers for each, the roofline where it cannot; the network's time is
the sum. Whatever was not answered by the chosen model says so in the result.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from strata import operations as op
from strata.adjustment import adjusted_answers, moved_intervals
from strata.answers import NO_MODEL, Answer, layer_answers
from strata.errors import SchemaError, legal
from strata.execution import ExecutedLayer, feature_matrix
from strata.graph import Graph, with_bits
from strata.intervals import SHOWN_LEVEL, Interval
from strata.layer import Layer
from strata.layer_models import KINDS
from strata.link import leaving_bytes
from strata.spreads import Levels, estimated_intervals
from strata.traffic import Bytes

if TYPE_CHECKING:
    from strata.platform_model import NetworkOverhead, PlatformModel

SPARSE = "sparse: nothing near was measured"
_PLACED = {"host": "on the host", "streamed": "weights fetched in every run"}


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One executed layer: its time and where the number comes from.

    `time_s` is None where the platform's toolchain gives no times of layers that run as this one
    does. `share` is the part of the network's total, None without a time; `bound` is "compute",
    "memory" or "overhead", "none" where nothing moves, or "unknown" without a time; `utilisation`
    is the part of the binding peak, None if unknown.
    `fell_back` says that another model than the chosen kind answered, `model_used` which one.
    `in_range` is False outside the range of the measurements behind the models of its operation,
    or where nothing near was measured; `note` says why a row is out of the ordinary, "" otherwise.
    `traffic_bytes` are the bytes read and written per memory whose traffic the platform tells,
    None where this layer's is not known. `intervals_s` gives by level (0.9 for 90%) the seconds
    between which the layer's time is expected; empty where that is not known.
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
    intervals_s: Levels = field(default_factory=dict, hash=False)

    def interval_s(self, level: float = SHOWN_LEVEL) -> Interval | None:
        """Lower and upper end of the interval of a level, in seconds; None where none is known.

        SchemaError for a level that the platform model does not hold.
        """
        return _of_level(self.intervals_s, level)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The latency of one network on one platform, per executed layer and in all.

    `overhead_s` is what the network costs beside its layers: once, per layer that takes time, and
    per byte of its inputs and outputs.
    `network_layers` counts the layers of the description without its inputs; `unmapped` holds the
    type name of each of them that the importer could not map, in the graph's order. `memories` are
    those whose traffic the platform's toolchain tells, mostly none. `times` says what the model was
    fitted to where that were no measurements. `intervals_s` gives by level (0.9 for 90%) the
    seconds between which the latency is expected; empty where that is not known: for a model
    without intervals, another kind than the one they were made for, and beside `untimed` layers.
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
    recalibrated: str = ""
    intervals_s: Levels = field(default_factory=dict, hash=False)

    def interval_s(self, level: float = SHOWN_LEVEL) -> Interval | None:
        """Lower and upper end of the latency's interval of a level, in seconds; None if unknown.

        SchemaError for a level that the platform model does not hold.
        """
        return _of_level(self.intervals_s, level)

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
        """Executed layers outside the range of the measurements, or far from all of them."""
        return sum(not layer.in_range for layer in self.layers)


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
    answers = layer_answers(run, matrix, model, kind)
    traffic = model.traffic.layers_bytes(run, matrix)
    handed = graph.input_bytes, leaving_bytes(graph, run)
    times_s, overhead_s = _times(answers, handed, model.overhead)
    total_s = sum(times_s) + overhead_s
    intervals_s, total_intervals_s = estimated_intervals(answers, matrix, total_s, model, kind)
    if model.adjustment is not None:
        answers = adjusted_answers(run, answers, model.adjustment)
        original_s, original_total_s = times_s, total_s
        times_s, overhead_s = _times(answers, handed, model.adjustment.overhead(model.overhead))
        total_s = sum(times_s) + overhead_s
        factor = model.adjustment.interval_factor
        intervals_s = [
            moved_intervals(around, before_s, after_s, factor)
            for around, before_s, after_s in zip(intervals_s, original_s, times_s, strict=True)
        ]
        total_intervals_s = moved_intervals(total_intervals_s, original_total_s, total_s, factor)
    return Estimate(
        network=graph.name,
        platform=model.header.platform,
        kind=kind,
        layers=tuple(
            _row(layer, answer, total_s, moved, around, model)
            for layer, answer, moved, around in zip(run, answers, traffic, intervals_s, strict=True)
        ),
        overhead_s=overhead_s,
        network_layers=len(graph.layers) - len(graph.inputs),
        unmapped=tuple(_type_names(graph.opaque)),
        memories=model.traffic.memories,
        times=model.header.times,
        recalibrated=model.header.recalibrated,
        intervals_s=total_intervals_s,
    )


def _times(
    answers: Sequence[Answer], handed: tuple[int, int], overhead: "NetworkOverhead"
) -> tuple[list[float], float]:
    """Seconds of each layer, 0 where none is known, and of what the network costs beside them.

    `handed` are the bytes that enter and leave.
    """
    times_s = [answer.time_s or 0.0 for answer in answers]
    timed = sum(time_s > 0 for time_s in times_s)
    return times_s, overhead.time_s(timed, *handed)


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


def _of_level(intervals_s: Levels, level: float) -> Interval | None:
    if intervals_s and level not in intervals_s:
        raise SchemaError(f"no interval of level {level!r}; legal: {legal(intervals_s)}")
    return intervals_s.get(level)


def _type_names(layers: Iterable[Layer]) -> list[str]:
    return [
        layer.parameters.type_name for layer in layers if isinstance(layer.parameters, op.Opaque)
    ]


def _row(
    executed: ExecutedLayer,
    answer: Answer,
    total_s: float,
    moved: Bytes,
    intervals_s: Levels,
    model: "PlatformModel",
) -> LayerEstimate:
    moves_nothing, time_s = answer.model_used == NO_MODEL, answer.time_s
    notes = [*_notes(executed, answer, moves_nothing)]
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
        in_range=moves_nothing or (answer.outside == () and not answer.sparse),
        note="; ".join(notes),
        traffic_bytes=moved,
        intervals_s=intervals_s,
    )


def _notes(executed: ExecutedLayer, answer: Answer, moves_nothing: bool) -> Iterator[str]:
    unmapped = _type_names(executed.layers)
    if executed.placement:
        yield _PLACED[executed.placement]
    if unmapped:
        yield f"not mapped: {', '.join(unmapped)}"
    if moves_nothing:
        yield "moves nothing"
    elif answer.outside is None:
        if not unmapped:
            yield "never measured"
    elif answer.outside:
        yield f"out of range: {', '.join(answer.outside)}"
    elif answer.sparse:
        yield SPARSE
