"""A DPUCZDX8G on a board: quantised and compiled by Vitis AI here, run over SSH, timed by DNNDK.

The profile mode of DNNDK's runtime is the only one of Vitis AI's that tells every node's time; it
comes with Vitis AI 1.0 to 1.2. docs/real_modules.md says how to connect a board, what is measured
and what has not been tried.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from hardware_modules.base import Report, check_runs, read_options, refuse
from hardware_modules.dpu_model import (
    RUNNER_FILE,
    layer_of,
    quantiser_arguments,
    write_files,
)
from hardware_modules.dpu_report import DpuTable, parse_tables
from hardware_modules.host import host
from hardware_modules.node_layers import producers
from hardware_modules.tensorflow_builder import unsupported
from hardware_modules.vendor_tools import missing_program, own_words, run_program
from strata import operations as op
from strata.errors import ArtefactError, MatchError, SchemaError, UnsupportedLayer
from strata.graph import Graph
from strata.layer import Layer
from strata.profile import ExecutedNode, Profile

DEFAULTS = {
    "host": "",
    "user": "root",
    "folder": "strata",
    "quantiser": "vai_q_tensorflow",
    "compiler": "vai_c_tensorflow",
    "architecture": "/opt/vitis_ai/compiler/arch/dpuv2/ZCU102/ZCU102.json",
    "compiler_limit_s": 900.0,
    "board_limit_s": 300.0,
}
_GET_TOOLS = "run in a container of Vitis AI 1.0 to 1.2, see https://github.com/Xilinx/Vitis-AI"
_GET_SSH = "install OpenSSH's client"
_LIBRARIES = "/usr/lib"  # where DNNDK's runtime looks for kernels


@dataclass(slots=True)
class DpuCompiled:
    """Kernels of a graph (files by name), and what the board printed in each call."""

    name: str
    kernels: dict[str, Path]
    runner: Path
    folder: TemporaryDirectory[str]
    calls: list[dict[str, Any]] = field(default_factory=list)


def _unsupported(layer: Layer) -> str | None:
    """Why a layer cannot be built, in one line; the quantiser's TensorFlow 1 knows no groups."""
    match layer.parameters:
        case op.Convolution(groups=groups) if groups not in (1, layer.input_shapes[0][1]):
            return f"layer '{layer.name}' has {groups} groups; legal: 1 or the input's channels"
    return unsupported(layer)


@dataclass(frozen=True, slots=True)
class DpuModule:
    """A board with DNNDK's runtime, reached over SSH with a key; int8, one inference at a time."""

    options: dict[str, Any]
    name: str = "dpu"
    simulated: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "DpuModule":
        """Options: host, user, folder (on the board), quantiser and compiler (programs),
        architecture (the compiler's JSON file of the board), compiler_limit_s, board_limit_s.
        """
        settings = read_options("dpu", options, DEFAULTS)
        for key in ("host", "user"):
            if not re.fullmatch(r"[\w.:][\w.:-]*|", settings[key]):
                raise SchemaError(
                    f"dpu: option '{key}' is {settings[key]!r}; legal: letters, digits and . : - _"
                )
        return cls(settings)

    def supports(self, graph: Graph) -> str | None:
        """A layer that cannot be built, or what is missing on this host and how to get it."""
        reasons = (_unsupported(layer) for layer in (*graph.opaque, *graph.layers))
        return (
            next((reason for reason in reasons if reason), None)
            or missing_program(self.options["quantiser"], _GET_TOOLS)
            or missing_program(self.options["compiler"], _GET_TOOLS)
            or missing_program("ssh", _GET_SSH)
            or missing_program("scp", _GET_SSH)
            or (None if self.options["host"] else "no board: set the option 'host' to its address")
        )

    def compile(self, graph: Graph) -> DpuCompiled:
        """Quantise and compile on this host; UnsupportedLayer in the tools' own words."""
        refuse(self, graph)
        kept = TemporaryDirectory(prefix="strata-dpu-")
        folder = Path(kept.name)
        try:
            write_files(graph, folder)
            self._run_tools(graph, folder)
            kernels = _kernels(folder / "compiled", self.options["compiler"])
        except UnsupportedLayer as error:
            kept.cleanup()
            raise UnsupportedLayer(f"dpu: graph '{graph.name}': {error}") from None
        return DpuCompiled(graph.name, kernels, folder / RUNNER_FILE, kept)

    def _run_tools(self, graph: Graph, folder: Path) -> None:
        limit_s = self.options["compiler_limit_s"]
        quantise = [self.options["quantiser"], *quantiser_arguments(graph)]
        modules = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        run_program(quantise, limit_s, folder, {"PYTHONPATH": os.pathsep.join(modules)})
        run_program(
            [
                self.options["compiler"],
                "--frozen_pb",
                "quantised/deploy_model.pb",
                "--arch",
                self.options["architecture"],
                "--output_dir",
                "compiled",
                "--net_name",
                f"strata{graph.content_hash[:8]}",
                "--options",
                "{'mode':'debug'}",  # nodes are timed one by one only so
            ],
            limit_s,
            folder,
        )

    def _remote(self, program: str, *arguments: str) -> str:
        """ssh or scp to the board without ever asking for a password."""
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        return run_program([program, *options, *arguments], self.options["board_limit_s"])

    @property
    def _board(self) -> str:
        return f"{self.options['user']}@{self.options['host']}"

    def _install(self, compiled: DpuCompiled) -> None:
        """Copy the kernels and make libraries of them, as DNNDK's runtime loads them."""
        folder = shlex.quote(self.options["folder"])
        self._remote("ssh", self._board, f"mkdir -p {folder}")
        files = [str(path) for path in (*compiled.kernels.values(), compiled.runner)]
        self._remote("scp", "-q", *files, f"{self._board}:{self.options['folder']}/")
        for kernel, path in compiled.kernels.items():
            library = shlex.quote(f"{_LIBRARIES}/libdpumodel{kernel}.so")
            link = f"g++ -nostdlib -fPIC -shared {shlex.quote(path.name)} -o {library}"
            self._remote("ssh", self._board, f"cd {folder} && {link}")

    def profile(self, compiled: DpuCompiled, repeats: int, warmup: int) -> Report:
        """Run each kernel on the board; the runtime prints a table per run."""
        check_runs(repeats, warmup)
        folder = shlex.quote(self.options["folder"])
        try:
            if not compiled.calls:
                self._install(compiled)
            run = f"cd {folder} && python3 {RUNNER_FILE}"
            texts = {
                kernel: self._remote(
                    "ssh", self._board, f"{run} {shlex.quote(kernel)} {warmup + repeats}"
                )
                for kernel in compiled.kernels
            }
            for text in texts.values():
                _tables(text, warmup + repeats)
        except UnsupportedLayer as error:
            raise UnsupportedLayer(f"dpu: graph '{compiled.name}': {error}") from None
        compiled.calls.append({"warmup": warmup, "repeats": repeats, "texts": texts})
        return {
            "graph": compiled.name,
            "calls": list(compiled.calls),
            "toolchain": {
                "name": self.options["compiler"],
                "version": "not told by the tool",
                "architecture": Path(self.options["architecture"]).stem,
                "kernels": str(len(compiled.kernels)),
                "method": "DNNDK profile mode, DPU only",
            },
            "host": host(),
        }

    def parse(self, report: Report, graph: Graph) -> Profile:
        """Nodes named after layers, times the median of the timed runs; the host's are not in."""
        runs = _timed_runs(report["calls"])
        first = [node for table in runs[0] for node in table.nodes]
        names = [node.name for node in first]
        for tables in runs:
            if [node.name for table in tables for node in table.nodes] != names:
                raise MatchError(f"graph '{graph.name}': two runs have other nodes")
        readings_s = zip(
            *([node.time_s for table in tables for node in table.nodes] for tables in runs),
            strict=True,
        )
        layers = {name: layer for name in names if (layer := layer_of(name, graph))}
        reads = producers(graph, {name: (layer.name,) for name, layer in layers.items()})
        nodes = tuple(
            ExecutedNode(
                name,
                f"dpu:{layers[name].operation}" if name in layers else "dpu:inserted",
                (layers[name].name,) if name in layers else (),
                reads.get(name, ()),
                None,
                median(times_s),
                tuple(times_s),
            )
            for name, times_s in zip(names, readings_s, strict=True)
        )
        samples_s = tuple(sum(table.total.time_s for table in tables) for tables in runs)
        return Profile(
            self.name,
            nodes,
            samples_s,
            median(samples_s),
            dict(report["host"]),
            dict(report["toolchain"]),
            bits=8,
        )


def _kernels(folder: Path, compiler: str) -> dict[str, Path]:
    """Compiled DPU kernels by name, in their order."""
    found = {path.stem.removeprefix("dpu_"): path for path in sorted(folder.glob("dpu_*.elf"))}
    if found:
        return found
    if any(folder.glob("*.xmodel")):
        raise UnsupportedLayer(
            f"{compiler} wrote an .xmodel, which DNNDK's profile mode cannot run; {_GET_TOOLS}"
        )
    raise UnsupportedLayer(f"{compiler} wrote no DPU kernel: every layer is left to the host")


def _tables(text: str, runs: int) -> tuple[DpuTable, ...]:
    """One table per run; UnsupportedLayer in the board's own words if there is none or another
    number of them."""
    try:
        tables = parse_tables(text)
    except ArtefactError as error:
        if "[DNNDK] Performance profile" in text:
            raise
        raise UnsupportedLayer(f"the board printed no profile ({own_words(text)})") from error
    if len(tables) != runs:
        raise UnsupportedLayer(f"the board printed {len(tables)} profiles in {runs} runs")
    return tables


def _timed_runs(calls: Sequence[Mapping[str, Any]]) -> list[list[DpuTable]]:
    """For each timed run the tables of all kernels."""
    runs: list[list[DpuTable]] = []
    for call in calls:
        count = call["warmup"] + call["repeats"]
        by_kernel = [_tables(text, count) for text in call["texts"].values()]
        runs += [list(tables) for tables in zip(*by_kernel, strict=True)][call["warmup"] :]
    return runs
