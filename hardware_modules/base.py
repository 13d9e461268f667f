"""What every platform module offers: the steps of ANNETTE's Figure 2, compile, profile, parse.

A module knows one platform's toolchain and profiler and nothing of benchmarks or models. To add
a platform, write one module, list it in `registry.MODULES` and give it one YAML file; the
contract test then covers it. docs/add_a_platform.md goes through it.

A module may also offer `compile_model` (an openvino.Model) or `compile_tflite` (a file; gives its
graph too) for networks that its toolchain reads itself: `benchmark.measure_networks`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from strata.errors import SchemaError, UnsupportedLayer, legal
from strata.graph import Graph
from strata.profile import Profile

Compiled = Any
Report = dict[str, Any]


class HardwareModule(Protocol):
    """One platform. Instances hold options only; everything measured lives in `Compiled`."""

    @property
    def name(self) -> str:
        """The registry's key."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether times are computed: then a graph need not run often, and nothing disturbs it."""
        ...

    def supports(self, graph: Graph) -> str | None:
        """One line why the platform cannot run the graph, or None if it can."""
        ...

    def compile(self, graph: Graph) -> Compiled:
        """The graph mapped to the platform, in the module's own form.

        UnsupportedLayer if `supports` gives a reason or the toolchain refuses.
        """
        ...

    def profile(self, compiled: Compiled, repeats: int, warmup: int) -> Report:
        """Run `warmup` untimed and `repeats` timed times; the raw report, JSON-serialisable.

        A second call on the same compiled graph continues its history: the report covers all of
        it, so that a caller can measure many graphs in turns. This is the timed step: nothing
        else happens in it.
        """
        ...

    def parse(self, report: Report, graph: Graph) -> Profile:
        """The report in the terms of the graph. Pure: the same report gives the same profile."""
        ...


def refuse(module: HardwareModule, graph: Graph) -> None:
    """Raise UnsupportedLayer if the module cannot run the graph."""
    if reason := module.supports(graph):
        raise UnsupportedLayer(f"{module.name}: graph '{graph.name}': {reason}")


def check_runs(repeats: int, warmup: int) -> None:
    """SchemaError unless there is at least one timed run and no negative count."""
    if repeats < 1 or warmup < 0:
        raise SchemaError(
            f"repeats is {repeats} and warmup {warmup}; legal: 1 or more and 0 or more"
        )


def read_options(
    module: str, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Defaults overridden by the given options, of the defaults' types (None takes a whole number).

    SchemaError for an unknown option or a value of another type.
    """
    for key, value in given.items():
        if key not in defaults:
            raise SchemaError(f"{module}: unknown option '{key}'; legal: {legal(defaults)}")
        default = defaults[key]
        types: tuple[type, ...] = (int, type(None)) if default is None else (type(default),)
        if float in types:
            types = (float, int)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            names = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise SchemaError(f"{module}: option '{key}' is {value!r}; legal: {names}")
    return {**defaults, **given}
