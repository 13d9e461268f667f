"""Any platform with its profiler hidden: how long a whole network takes, and nothing of its layers.

For devices that have no profiler, and to prove on one that has what is lost without it. The
profile has one node, of kind `strata.profile.WHOLE`, that stands for all layers; times per layer
then come from differences of nested graphs (`benchmark.black_box`, docs/black_box.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hardware_modules.base import Compiled, HardwareModule, Report, read_options, refuse
from strata import operations as op
from strata.errors import SchemaError, UnsupportedLayer
from strata.graph import Graph
from strata.profile import WHOLE, ExecutedNode, Profile

NAME = "black_box"
# What a toolchain tells only because it knows its layers.
_OF_LAYERS = ("on_host", "clipped", "method")


def hide_layers(profile: Profile, graph: Graph) -> Profile:
    """The profile as a device without profiler gives it: samples and total, one node for all."""
    if profile.refusal is not None:
        return replace(profile, nodes=())
    held = tuple(layer.name for layer in graph.layers if not isinstance(layer.parameters, op.Input))
    node = ExecutedNode(
        held[-1],
        WHOLE,
        held,
        tuple(f"input:{name}" for name in graph.inputs),
        None,
        profile.time_s,
        profile.samples_s,
        timed=profile.untimed is None,
    )
    told = {key: text for key, text in profile.toolchain.items() if key not in _OF_LAYERS}
    return replace(profile, nodes=(node,), toolchain={**told, "method": "whole network"})


@dataclass(frozen=True, slots=True)
class BlackBoxModule:
    """Another module behind a wall: end-to-end times pass, and what its toolchain says of a network
    as a whole."""

    inner: HardwareModule
    name: str = NAME

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "BlackBoxModule":
        """Options: module (a name in the registry), options (that module's own)."""
        from hardware_modules.registry import MODULES, create  # the registry lists this one too

        settings = read_options(NAME, options, {"module": "", "options": {}})
        inside = settings["module"]
        if inside == NAME or inside not in MODULES:
            legal = ", ".join(sorted(set(MODULES) - {NAME}))
            raise SchemaError(f"{NAME}: option 'module' is '{inside}'; legal: {legal}")
        return cls(create(inside, settings["options"]))

    @property
    def simulated(self) -> bool:
        """As the module inside."""
        return self.inner.simulated

    @property
    def compile_model(self) -> Any:
        """How the module inside compiles a model that its toolchain reads itself, or None."""
        return getattr(self.inner, "compile_model", None)

    @property
    def compile_tflite(self) -> Any:
        """How the module inside compiles a TFLite file, or None."""
        return getattr(self.inner, "compile_tflite", None)

    def supports(self, graph: Graph) -> str | None:
        """What the module inside says."""
        return self.inner.supports(graph)

    def compile(self, graph: Graph) -> Compiled:
        """As the module inside; UnsupportedLayer in this module's name."""
        refuse(self, graph)
        try:
            return self.inner.compile(graph)
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"{NAME}: {error}") from None

    def profile(self, compiled: Compiled, repeats: int, warmup: int) -> Report:
        """The report of the module inside, whole: what is hidden is hidden by `parse`."""
        return self.inner.profile(compiled, repeats, warmup)

    def parse(self, report: Report, graph: Graph) -> Profile:
        """The samples of the end-to-end time under this module's name, one node for all layers."""
        return replace(hide_layers(self.inner.parse(report, graph), graph), platform=self.name)
