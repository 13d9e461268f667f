"""What a mapping toolchain hands to its machine."""

from dataclasses import dataclass

from strata.execution import ExecutedLayer


def printed_name(name: str) -> str:
    """A name as the vendors' tables print it: without white space, which parts their columns."""
    return "_".join(name.split()) or "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutableLayer:
    """One node of the executable graph.

    `engine` names the part of the machine that runs it ("convolution", "pooling", "host", ...),
    `executed` the original layers it stands for, `producers` the nodes (or "input:NAME") it
    reads. `host_reason` says why the toolchain left it to the host; None on the accelerator.
    Platforms extend it by what their machine needs to know.
    """

    engine: str
    executed: ExecutedLayer
    producers: tuple[str, ...]
    host_reason: str | None = None

    @property
    def placement(self) -> str:
        """One of `strata.execution.PLACEMENTS`, or empty."""
        return "host" if self.host_reason is not None else ""

    @property
    def name(self) -> str:
        """The root layer's name."""
        return self.executed.name


@dataclass(frozen=True, slots=True)
class Executable:
    """Nodes in execution order, and one line per decision of the toolchain worth telling."""

    graph: str
    layers: tuple[ExecutableLayer, ...]
    notes: tuple[str, ...] = ()
