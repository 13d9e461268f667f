"""What a hardware module returns for one graph: executed nodes with times, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from strata.errors import SchemaError, legal
from strata.operations import Shape

# What a toolchain may say it moves bytes to and from: on the chip, and the two kinds beside it.
MEMORIES = ("sram", "flash", "dram")
# Kind of the one node of a profile that knows no more than how long the whole network took.
WHOLE = "whole:network"
# What a toolchain may tell of a network as a whole, profiler or not: bytes of weights that stay on
# the chip and that are fetched in every run, and how many operations it leaves to the host.
CACHED_BYTES, STREAMED_BYTES = "cached_bytes", "streamed_bytes"
OPERATIONS_ON_HOST = "operations_on_host"
_MOST_TOLD = 5
# Whether a layer joined the group before it. Profiles that name one layer of a group may not tell.
FUSED, NOT_FUSED, POSSIBLY_FUSED = "FUSED", "NOT_FUSED", "POSSIBLY_FUSED"


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """One node of the executed graph as the platform's profiler names it.

    `layers` are the original layers it says it holds (empty for a node the toolchain inserted or
    a profiler that keeps no names), `producers` the executed nodes it reads. `readings_s` are
    the profiler's raw numbers in seconds, `time_s` what the module derives from them.
    `placement` is one of `strata.execution.PLACEMENTS`, or empty. `traffic_bytes` are the bytes
    read and written in one inference per memory, one of MEMORIES; a memory that is not named is
    unknown, not 0. With `timed` False the toolchain gives no time of the node, whose `time_s` then
    stands for nothing. SchemaError for another memory, or bytes that are negative or not finite.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    producers: tuple[str, ...]
    output_shape: Shape | None
    time_s: float
    readings_s: tuple[float, ...] = ()
    placement: str = ""
    traffic_bytes: Mapping[str, float] = field(default_factory=dict, hash=False)
    timed: bool = True

    def __post_init__(self) -> None:
        for memory, moved in self.traffic_bytes.items():
            where = f"executed node '{self.name}': traffic_bytes"
            if memory not in MEMORIES:
                raise SchemaError(f"{where}: unknown memory {memory!r}, legal: {legal(MEMORIES)}")
            number = isinstance(moved, int | float) and not isinstance(moved, bool)
            if not number or not isfinite(moved) or moved < 0:
                raise SchemaError(f"{where}: {memory} is {moved!r}, must be finite and at least 0")


@dataclass(frozen=True, slots=True)
class Profile:
    """Executed nodes in execution order, and the raw times of whole runs in seconds.

    `time_s` is the network's latency derived from `samples_s`, without the nodes that are not timed
    (`untimed`). With `refusal` set, nothing ran.
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

    @property
    def whole(self) -> bool:
        """Whether only the end-to-end time is known: one node stands for all layers."""
        return any(node.kind == WHOLE for node in self.nodes)

    @property
    def untimed(self) -> str | None:
        """One line that says of which nodes no time is known, in the toolchain's words, or None."""
        told = [f"'{node.name}' {node.kind}" for node in self.nodes if not node.timed]
        if len(told) > _MOST_TOLD:
            told[_MOST_TOLD:] = [f"and {len(told) - _MOST_TOLD} more"]
        return f"no time is known: {'; '.join(told)}" if told else None
