"""`strata measure`: what a network really takes on a platform that is here."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmark.matcher import match
from benchmark.measure_networks import measure_round_robin, open_module
from hardware_modules.device_lock import device_lock
from strata.errors import SchemaError, legal

_PLATFORMS = Path(__file__).parents[1] / "config" / "platforms"


def command(
    network: Annotated[Path, typer.Argument(help="ONNX, TFLite, Keras, IR or Strata JSON file.")],
    platform: Annotated[str, typer.Option(help="A name in config/platforms.")] = "openvino_cpu",
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, SI units.")] = False,
) -> None:
    """Measure a network on a platform of this machine: median of the timed runs.

    Of a platform behind a vendor's compiler, the times are that compiler's estimates.

    Example: strata measure resnet50.onnx --platform openvino_cpu
    """
    path = _PLATFORMS / f"{platform}.yaml"
    if not path.exists():
        names = legal(file.stem for file in _PLATFORMS.glob("*.yaml"))
        raise SchemaError(f"platform '{platform}' has no file in config/platforms; legal: {names}")
    _, module = open_module(path)
    with device_lock(platform):
        ((graph, profile),) = measure_round_robin(module, [network], rounds, quiet=as_json)
    if profile.refusal is not None:
        raise SchemaError(f"{network}: {platform} refuses it: {profile.refusal}")
    layers = sorted(match(graph, profile).layers, key=lambda layer: -layer.time_s)
    if as_json:
        data = {
            "format": "strata-measurement",
            "version": 1,
            "network": graph.name,
            "file": str(network.resolve()),
            "platform": platform,
            "time_s": profile.time_s,
            "samples_s": profile.samples_s,
            "host": profile.host,
            "toolchain": profile.toolchain,
            "layers": [
                {
                    "name": layer.executed.name,
                    "operation": layer.executed.operation,
                    "absorbed": [absorbed.name for absorbed in layer.executed.absorbed],
                    "kind": layer.kind,
                    "time_s": layer.time_s,
                }
                for layer in layers
            ],
        }
        typer.echo(json.dumps(data))
        return
    told = profile.toolchain.get("times", f"median of {rounds} runs, end to end")
    table = Table(title=f"{graph.name} on {platform}: {told}")
    for column in ("layer", "operation", "absorbed", "executed as", "time (ms)"):
        table.add_column(column, justify="right" if column.startswith("time") else "left")
    for layer in layers:
        table.add_row(
            layer.executed.name,
            layer.executed.operation,
            str(len(layer.executed.absorbed)),
            layer.kind,
            f"{layer.time_s * 1e3:.3f}",
        )
    Console().print(table)
    typer.echo(f"total {profile.time_s * 1e3:.3f} ms ({told})")
