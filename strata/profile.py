"""What a hardware module returns for one graph: executed nodes with times, or a refusal."""

from dataclasses import dataclass, field

from strata.operations import Shape


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """One node of the executed graph as the platform's profiler names it.

    `layers` are the original layers it says it holds (empty for a node the toolchain inserted or
    a profiler that keeps no names), `producers` the executed nodes it reads. `readings_s` are
    the profiler's raw numbers in seconds, `time_s` what the module derives from them.
    `placement` is one of `strata.execution.PLACEMENTS`, or empty.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    producers: tuple[str, ...]
    output_shape: Shape | None
    time_s: float
    readings_s: tuple[float, ...] = ()
    placement: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """Executed nodes in execution order, and the raw times of whole runs in seconds.

    `time_s` is the network's latency derived from `samples_s`. With `refusal` set, nothing ran.
    `host` and `toolchain` say where and with what (names and versions as text). `bits` is what
    the platform computed in, per activation and weight, whatever the graph was described in.
    """

    platform: str
    nodes: tuple[ExecutedNode, ...] = ()
    samples_s: tuple[float, ...] = ()
    time_s: float = 0.0
    host: dict[str, str] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    bits: int = 32
