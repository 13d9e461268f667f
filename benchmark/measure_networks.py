"""Whole networks, measured round-robin on one device: the truth that estimates are judged by.

Every round runs each network once unmeasured and once measured, so that slow drift of the
machine touches all alike; a network's time is the median of its rounds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmark.config import load_platform
from hardware_modules.base import HardwareModule
from hardware_modules.device_lock import device_lock
from hardware_modules.registry import create
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import SchemaError, StrataError, UnsupportedLayer
from strata.graph import Graph
from strata.graph_json import graph_to_dict
from strata.importer import load_network, read_openvino_model
from strata.profile import Profile
from strata.profile_json import profile_to_dict

FIRST_WARMUP = 2


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network to measure: the data set it belongs to, and its file."""

    data_set: str
    path: Path


def compile_network(module: HardwareModule, path: Path) -> tuple[Graph, Any, str | None]:
    """A network's graph, what the module made of it, and why it made nothing or None.

    A model file is compiled as the toolchain reads it itself, Strata JSON from the graph. Modules
    that cannot read model files compile the imported graph; with `compile_tflite`, a module gives
    the graph of a TFLite file too. A file that neither can read raises the module's error.
    """
    compile_tflite = getattr(module, "compile_tflite", None)
    try:
        if path.suffix.lower() == ".tflite" and compile_tflite is not None:
            return *compile_tflite(path), None
    except UnsupportedLayer as error:
        return _imported(path, error), None, str(error)
    graph = load_network(path)
    reason = module.supports(graph) if path.suffix == ".json" else None
    if reason is not None:
        return graph, None, reason
    try:
        return graph, _compile_graph(module, path, graph), None
    except (StrataError, RuntimeError) as error:
        return graph, None, str(error).strip().splitlines()[0]


def _imported(path: Path, refused: UnsupportedLayer) -> Graph:
    """The graph of a file that a module refuses; the refusal if the file cannot be imported."""
    try:
        return load_network(path)
    except StrataError:
        raise refused from None


def _compile_graph(module: HardwareModule, path: Path, graph: Graph) -> Any:
    compile_model = getattr(module, "compile_model", None)
    if path.suffix == ".json" or compile_model is None:
        return module.compile(graph)
    return compile_model(read_openvino_model(path, None))


def measure_round_robin(
    module: HardwareModule, files: Sequence[Path], rounds: int, quiet: bool = False
) -> list[tuple[Graph, Profile]]:
    """Profiles of all networks; one that cannot be compiled comes back as a refusal."""
    compiled = [compile_network(module, path) for path in files]
    reports: dict[int, Any] = {}
    console = Console(stderr=True)
    for turn in track(range(rounds), "rounds", console=console, disable=quiet):
        for i, (_, network, reason) in enumerate(compiled):
            if reason is None:
                warmup = 1 if turn else FIRST_WARMUP
                reports[i] = module.profile(network, repeats=1, warmup=warmup)
    return [
        (graph, _parsed(module, reports[i], graph) if reason is None else refusal(module, reason))
        for i, (graph, _, reason) in enumerate(compiled)
    ]


def refusal(module: HardwareModule, reason: str) -> Profile:
    """A network that was not measured, and why."""
    return Profile(module.name, refusal=reason)


def _parsed(module: HardwareModule, report: Any, graph: Graph) -> Profile:
    """The profile; a refusal if it cannot be parsed, or if it is not told what a layer takes."""
    try:
        profile = module.parse(report, graph)
    except StrataError as error:
        return refusal(module, str(error))
    return refusal(module, profile.untimed) if profile.untimed else profile


def open_module(path: Path) -> tuple[str, HardwareModule]:
    """(platform name, its module) of a platform YAML."""
    platform = load_platform(path)
    return platform.name, create(platform.module, platform.options)


@exits_cleanly
def measure_networks(
    networks: Annotated[list[str], typer.Argument(help="SET=FILE pairs.")],
    platform_file: Annotated[Path, typer.Option(help="config/platforms/NAME.yaml")],
    output: Annotated[Path, typer.Option(help="Shard to write, one line per network.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all networks.")] = 20,
) -> None:
    """Measure whole networks round-robin and keep every sample.

    Example: python -m benchmark.measure_networks table2=resnet50.json --output networks.jsonl
    --platform-file config/platforms/openvino_cpu.yaml
    """
    files = []
    for text in networks:
        data_set, _, path = text.partition("=")
        if not path:
            raise SchemaError(f"network '{text}': must be SET=FILE, such as table2=resnet50.json")
        files.append(NetworkFile(data_set, Path(path)))
    platform, module = open_module(platform_file)
    with device_lock(platform):
        found = measure_round_robin(module, [file.path for file in files], rounds)
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for file, (graph, profile) in zip(files, found, strict=True):
            record = {
                "set": file.data_set,
                "network": file.path.stem,
                "rounds": rounds,
                "graph": graph_to_dict(graph),
                "profile": profile_to_dict(profile),
            }
            lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    typer.run(measure_networks)
