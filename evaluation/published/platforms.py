"""What the harness asks of a simulated platform, and the times it gets for a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from simulators.executable import Executable
from simulators.hardware import Hardware
from strata.errors import StrataError, UnsupportedLayer
from strata.graph import Graph


class Timed(Protocol):
    """A layer's answer of either level."""

    @property
    def time_s(self) -> float: ...


class Platform(Protocol):
    """The public functions of a package of `simulators`."""

    def load(self, name: str) -> Any: ...

    def unsupported(self, graph: Graph, hardware: Any) -> str | None: ...

    def compile_graph(self, graph: Graph, hardware: Any) -> Any: ...

    def analyse(self, executable: Any, hardware: Any) -> Sequence[Timed]: ...

    def simulate(self, executable: Any, hardware: Any) -> Sequence[Timed]: ...

    def network_s(
        self, layer_times_s: Sequence[float], executable: Any, hardware: Any
    ) -> float: ...


# A platform whose toolchain is not of this package is wrapped for the harness.
_WRAPPED = {"ncs2": "evaluation.published.ncs2_platform"}


def find_platform(name: str) -> Platform:
    """The package of a simulated platform, or what wraps it."""
    return import_module(_WRAPPED.get(name, f"simulators.{name}"))


def missing_toolchain(name: str) -> str | None:
    """One line that says what a platform's own toolchain lacks, or None."""
    if name not in _WRAPPED:
        return None
    lacks: str | None = import_module(_WRAPPED[name]).missing()
    return lacks


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a whole inference and of each executed layer, in the executable's order."""

    total_s: float
    layers_s: tuple[float, ...]


@dataclass(slots=True)
class Bench:
    """A platform and a base description; keeps compiled networks, which no constant changes.

    Compilation may depend on any number of the description but the calibrated constants: those
    are rates and start-up costs.
    """

    platform: Platform
    base: Hardware
    _compiled: dict[tuple[str, tuple[tuple[str, float], ...]], Executable] = field(
        default_factory=dict
    )

    def hardware(self, stated: Mapping[str, float], constants: Mapping[str, float]) -> Hardware:
        """The description with what a measurement states and with calibrated constants."""
        return self.base.changed(**{**stated, **constants}) if stated or constants else self.base

    def compile(self, key: str, graph: Graph, stated: Mapping[str, float]) -> Executable:
        """The executable of a network; UnsupportedLayer where the platform cannot hold it."""
        place = key, tuple(sorted(stated.items()))
        if place not in self._compiled:
            hardware = self.hardware(stated, {})
            if reason := self.platform.unsupported(graph, hardware):
                raise UnsupportedLayer(reason)
            self._compiled[place] = self.platform.compile_graph(graph, hardware)
        return self._compiled[place]

    def times(self, executable: Executable, hardware: Hardware, *, stepwise: bool) -> Times:
        """Of the step simulator, or of the analytical model."""
        level = self.platform.simulate if stepwise else self.platform.analyse
        layers_s = tuple(layer.time_s for layer in level(executable, hardware))
        total_s = self.platform.network_s(list(layers_s), executable, hardware)
        if not total_s > 0:
            raise StrataError(f"network '{executable.graph}': simulated in {total_s} seconds")
        return Times(total_s, layers_s)
