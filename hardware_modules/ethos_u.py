"""Arm Ethos-U through its vendor's compiler: int8 TFLite, Vela's plan, Vela's cycle estimates.

No figure of this module was measured on silicon: Vela itself says that its cycles are internal
estimates. What they contain, and how they become layer times: docs/ethos_u.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.ethos_u_compiler import Configuration, Vela, described, missing
from hardware_modules.ethos_u_report import executed_nodes, memory_use
from hardware_modules.host import host
from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.tflite_reader import read_content, read_graph
from hardware_modules.tflite_writer import write_int8
from simulators.grouping import no_work
from strata.errors import SchemaError, UnsupportedLayer, legal
from strata.graph import Graph
from strata.profile import MEMORIES, Profile

NAME = "ethos_u"
DEFAULTS: dict[str, Any] = {
    "accelerator": "ethos-u55-256",
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Shared_Sram",
    "arena_bytes": 0,
    "memory_bytes": {},
    "compile_limit_s": 300.0,
}
ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)


@dataclass(slots=True)
class EthosUCompiled:
    """What Vela told of a graph, the graph's layers per TFLite operator, and the runs asked for."""

    name: str
    answer: dict[str, Any]
    layers: tuple[tuple[str, ...], ...]
    runs: int = 0


def _check_limits(options: Mapping[str, Any]) -> None:
    """SchemaError for an accelerator, a system, a memory or a limit that there is none of."""
    systems, modes = described("System_Config"), described("Memory_Mode")
    for key, known in (
        ("accelerator", ACCELERATORS),
        ("system_config", systems),
        ("memory_mode", modes),
    ):
        if known and options[key] not in known:  # without Vela, `supports` says what to do
            raise SchemaError(f"{NAME}: unknown {key} '{options[key]}'; legal: {legal(known)}")
    if not 0 < float(options["compile_limit_s"]) < inf:
        raise SchemaError(
            f"{NAME}: option 'compile_limit_s' is {options['compile_limit_s']:g}; "
            "legal: above 0 and finite"
        )
    if options["arena_bytes"] < 0:
        raise SchemaError(
            f"{NAME}: option 'arena_bytes' is {options['arena_bytes']}; legal: 0 or more"
        )
    for memory, limit in options["memory_bytes"].items():
        # True is an int, and no size
        whole = isinstance(limit, int) and not isinstance(limit, bool)
        if memory not in MEMORIES or not whole or limit <= 0:
            raise SchemaError(
                f"{NAME}: option 'memory_bytes' has {memory!r}: {limit!r}; "
                f"legal: whole numbers above 0 for {legal(MEMORIES)}"
            )


@dataclass(frozen=True, slots=True)
class EthosUModule:
    """A described Ethos-U system behind Vela; int8, one inference at a time."""

    vela: Vela
    options: dict[str, Any]
    name: str = NAME
    simulated: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "EthosUModule":
        """Options: accelerator, system_config and memory_mode by Vela's names (its vela.ini),
        arena_bytes (of SRAM, a plan above it is refused; 0: the memory mode's), memory_bytes
        (what the system has of each memory, where Vela's own files do not limit it),
        compile_limit_s (per graph).
        """
        settings = read_options(NAME, options, DEFAULTS)
        _check_limits(settings)
        configuration = Configuration(
            settings["accelerator"],
            settings["system_config"],
            settings["memory_mode"],
            settings["arena_bytes"],
        )
        return cls(Vela(configuration, float(settings["compile_limit_s"])), settings)

    def supports(self, graph: Graph) -> str | None:
        """A layer that has no int8 form, a graph without work, or that Vela is missing."""
        reasons = (unsupported(layer) for layer in (*graph.opaque, *graph.layers))
        return next((reason for reason in reasons if reason), None) or no_work(graph) or missing()

    def compile(self, graph: Graph) -> EthosUCompiled:
        """Vela's plan of the graph in int8; UnsupportedLayer in Vela's own words."""
        refuse(self, graph)
        try:
            model = write_int8(graph)
            answer = self.vela.compile(model.content)
            self._check_memory(answer)
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"{self.name}: graph '{graph.name}': {error}") from None
        return EthosUCompiled(graph.name, answer, model.layers)

    def compile_tflite(self, path: Path) -> tuple[Graph, EthosUCompiled]:
        """Vela's plan of a TFLite file as it is, and the graph of the file's operators.

        UnsupportedLayer in Vela's own words; ArtefactError for a file that cannot be read.
        """
        if reason := missing():
            raise UnsupportedLayer(f"{self.name}: {reason}")
        content = read_content(path)
        try:
            answer = self.vela.compile(content)
            self._check_memory(answer)
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"{self.name}: {path}: {error}") from None
        graph, layers = read_graph(content, path)
        return graph, EthosUCompiled(graph.name, answer, layers)

    def _check_memory(self, answer: Mapping[str, Any]) -> None:
        """UnsupportedLayer for memory that the system has not.

        Vela takes the arena as a wish: it exceeds it without a word where its plan needs more.
        """
        limits = dict(self.options["memory_bytes"])
        if arena_bytes := self.options["arena_bytes"]:
            limits["sram"] = min(arena_bytes, limits.get("sram", arena_bytes))
        for memory, used in memory_use(answer).items():
            if used > limits.get(memory, inf):
                raise UnsupportedLayer(
                    f"Vela's plan needs {used} bytes of {memory}; "
                    f"legal: at most {limits[memory]} bytes"
                )

    def profile(self, compiled: EthosUCompiled, repeats: int, warmup: int) -> Report:
        """Vela's answer as it is: an estimate does not vary from run to run."""
        check_runs(repeats, warmup)
        compiled.runs += repeats
        return {
            "graph": compiled.name,
            "runs": compiled.runs,
            "answer": compiled.answer,
            "layers": [list(names) for names in compiled.layers],
            "toolchain": self._toolchain(compiled.answer),
            "host": host(),
        }

    def _toolchain(self, answer: Mapping[str, Any]) -> dict[str, str]:
        configuration = self.vela.configuration
        return {
            "name": "ethos-u-vela",
            "version": self.vela.version,
            "times": "the vendor compiler's estimates, not measurements",
            "accelerator": configuration.accelerator,
            "system_config": configuration.system_config,
            "memory_mode": configuration.memory_mode,
            "cascades": str(answer["cascades"]),
            **{f"{name}_peak_bytes": str(used) for name, used in memory_use(answer).items()},
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """Nodes with Vela's cycles at the configuration's clock, and the traffic of each.

        What Vela leaves on the CPU is a node on the host without a time. MatchError if Vela's
        tables do not hang together.
        """
        answer = report["answer"]
        time_s = answer["total_cycles"] / answer["clock_hz"]
        return Profile(
            self.name,
            executed_nodes(answer, graph, report["layers"]),
            (time_s,) * report["runs"],
            time_s,
            dict(report["host"]),
            dict(report["toolchain"]),
            bits=8,
        )
