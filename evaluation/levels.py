"""Command: a simulated machine's two levels side by side, layer by layer, and how fast each is.

The analytical model and the step simulator read one hardware description. Layers on which they
differ by more than the tolerance are listed: there the closed form misses something that the
steps show, or the steps are wrong.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from graph_gen.zoo import ZOO
from hardware_modules.registry import create
from hardware_modules.simulated import SimulatedModule
from simulators.executable import Executable
from simulators.performance import LayerPerformance, LayerSteps, disagreements
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import SchemaError, legal
from strata.graph import Graph
from strata.importer import load_network

TOLERANCE = 0.10
_REPEATS = 5
COLUMNS = ("network", "layer", "binding", "analytical_s", "simulated_s", "difference", "share")


@dataclass(frozen=True, slots=True)
class Levels:
    """Both levels on one network: layers in order, and seconds that each level took for all.

    The analytical model may remember nodes: it is timed on a network none of whose nodes it has
    seen, as the step simulator is, and on the same network again.
    """

    network: str
    analytical: Sequence[LayerPerformance]
    simulated: Sequence[LayerSteps]
    analytical_wall_s: float
    analytical_again_wall_s: float
    simulated_wall_s: float


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def both_levels(module: SimulatedModule, graph: Graph) -> Levels:
    """Analyse and simulate a network; the wall times are the shortest of a few."""
    executable: Executable = module.compile(graph).executable
    platform, machine = module.platform, module.machine

    def analyse() -> Sequence[LayerPerformance]:
        return platform.analyse(executable, machine)

    def simulate() -> Sequence[LayerSteps]:
        return platform.simulate(executable, machine)

    first, again, steps = [], [], []
    for _ in range(_REPEATS):
        platform.forget()
        first.append(_timed(analyse))
        again.append(_timed(analyse))
        platform.forget()
        steps.append(_timed(simulate))
    return Levels(graph.name, analyse(), simulate(), min(first), min(again), min(steps))


def disagreement_rows(levels: Levels, tolerance: float = TOLERANCE) -> list[dict[str, Any]]:
    """Rows of COLUMNS: layers on which the levels differ by more than the tolerance.

    `difference` is the analytical time over the simulated one, minus 1; `share` the layer's part
    of the simulated sum.
    """
    total_s = sum(layer.time_s for layer in levels.simulated)
    return [
        {
            "network": levels.network,
            "layer": row.name,
            "binding": row.binding,
            "analytical_s": row.analytical_s,
            "simulated_s": row.simulated_s,
            "difference": row.difference,
            "share": row.simulated_s / total_s,
        }
        for row in disagreements(levels.analytical, levels.simulated, tolerance)
    ]


def speed_line(every: Sequence[Levels]) -> str:
    """How fast the levels are: milliseconds per 60 layers, layers per second, their ratio.

    The ratio is that on nodes which neither level has seen.
    """
    layers = sum(len(levels.simulated) for levels in every)
    analytical_s = sum(levels.analytical_wall_s for levels in every) / layers
    again_s = sum(levels.analytical_again_wall_s for levels in every) / layers
    simulated_s = sum(levels.simulated_wall_s for levels in every) / layers
    return (
        f"speed over {layers} layers: analytical {60e3 * analytical_s:.2f} ms per 60 layers "
        f"({60e3 * again_s:.2f} ms when seen before); step simulator {1 / simulated_s:,.0f} "
        f"layers/s; ratio {simulated_s / analytical_s:.1f}"
    )


def _network(text: str) -> Graph:
    return ZOO[text].build() if text in ZOO else load_network(Path(text))


@exits_cleanly
def command(
    module: Annotated[str, typer.Argument(help="dpu_simulated or edge_tpu_simulated.")],
    networks: Annotated[
        list[str] | None, typer.Argument(help="Zoo names or network files; default: the zoo.")
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="Hardware description.")] = None,
    output: Annotated[Path | None, typer.Option(help="CSV of the disagreements to write.")] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative difference.")] = TOLERANCE,
) -> None:
    """List the layers on which a simulated machine's two levels differ, and their speed.

    Example: python -m evaluation.levels dpu_simulated resnet50 mobilenet_v2 --output levels.csv
    """
    simulated = create(module, {"hardware": hardware} if hardware else {})
    if not isinstance(simulated, SimulatedModule):
        raise SchemaError(
            f"'{module}' is not simulated; legal: {legal(['dpu_simulated', 'edge_tpu_simulated'])}"
        )
    every = [both_levels(simulated, _network(name)) for name in networks or ZOO]
    rows = [row for levels in every for row in disagreement_rows(levels, tolerance)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if output:
        with replacing(output) as temporary:
            frame.to_csv(temporary, index=False)
    layers = sum(len(levels.simulated) for levels in every)
    for row in rows[:20]:
        typer.echo(
            f"{row['network']} {row['layer']}: analytical {row['analytical_s'] * 1e6:.1f} us, "
            f"steps {row['simulated_s'] * 1e6:.1f} us ({row['difference']:+.0%}, "
            f"{row['binding']}, {row['share']:.1%} of the network)"
        )
    more = f", {len(rows) - 20} more of them in the table" if len(rows) > 20 else ""
    typer.echo(f"{len(rows)} of {layers} layers differ by more than {tolerance:.0%}{more}")
    typer.echo(speed_line(every))


if __name__ == "__main__":
    typer.run(command)
