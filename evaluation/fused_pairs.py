"""Command: which pairs of layers platforms fuse, side by side, over the same benchmark networks.

For platforms whose modules answer without a device: nothing here is timed.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.progress import track

from benchmark.config import MultiLayer, PlatformConfig, load_config, load_platform, platform_file
from benchmark.matcher import FUSED, NOT_FUSED, EdgeRow, match
from benchmark.plan import BenchmarkCase
from benchmark.sampling import plan_samples
from evaluation.table_format import Table, to_text, write_table
from graph_gen.benchmarks import build
from hardware_modules.base import HardwareModule
from hardware_modules.registry import create
from strata.console import exits_cleanly
from strata.errors import MatchError, StrataError, UnsupportedLayer
from strata.graph import Graph

RUN = Path(__file__).resolve().parents[1] / "config" / "default.yaml"
KINDS = ("cells", "convnet", "pooled")
Counts = dict[str, Counter[str]]


@dataclass(slots=True)
class Fused:
    """Flags per pair of a platform, and the networks that gave none."""

    pairs: Counts = field(default_factory=lambda: defaultdict(Counter))
    networks: int = 0
    refused: int = 0


def edges(module: HardwareModule, graph: Graph) -> tuple[EdgeRow, ...]:
    """The toolchain's decision on each pair; UnsupportedLayer or MatchError if there are none."""
    compiled = module.compile(graph)
    return match(graph, module.parse(module.profile(compiled, 1, 0), graph)).fusions


def add_network(found: Fused, module: HardwareModule, graph: Graph) -> None:
    """Count the decisions in one network; those that cannot be told are not counted."""
    try:
        rows = edges(module, graph)
    except (UnsupportedLayer, MatchError):
        found.refused += 1
        return
    found.networks += 1
    for row in rows:
        if row.flag in (FUSED, NOT_FUSED):
            found.pairs[row.key][row.flag] += 1


def pair_table(found: Mapping[str, Fused], fewest: int) -> Table:
    """Rows by pair, most frequent first; per platform the share that is fused, in percent.

    Pairs seen less than `fewest` times on every platform, and those fused nowhere, are left out.
    """
    seen: Counter[str] = Counter()
    for each in found.values():
        for pair, flags in each.pairs.items():
            seen[pair] = max(seen[pair], flags.total())
    rows = []
    for pair, count in seen.most_common():
        shares = {name: _share(each.pairs.get(pair)) for name, each in found.items()}
        if count >= fewest and any(share > 0 for share in shares.values()):
            rows.append({"pair": pair, "n": count} | shares)
    told = ", ".join(f"{name} {f.networks} ({f.refused} refused)" for name, f in found.items())
    notes = (f"Networks: {told}.", "n: the most on one platform; a pair counts where it may fuse.")
    frame = pd.DataFrame(rows, columns=["pair", "n", *found])
    return Table("pairs", "Pairs that fuse (%)", frame, notes)


def _share(flags: Counter[str] | None) -> float:
    return 100 * flags[FUSED] / flags.total() if flags else float("nan")


def planned(platform: PlatformConfig, file: Path, networks: int) -> list[BenchmarkCase]:
    """A platform's first benchmark networks of each of KINDS."""
    run = platform.apply(load_config(RUN), file)
    counts = MultiLayer(**dict.fromkeys(KINDS, networks))
    return plan_samples({}, counts, run.seed, run.sampling)


def count_pairs(module: HardwareModule, cases: Sequence[BenchmarkCase], label: str) -> Fused:
    """The decisions in all cases, under a progress bar."""
    found = Fused()
    for case in track(cases, label, console=Console(file=sys.stderr), transient=True):
        add_network(found, module, build(case.benchmark, case.settings))
    return found


def _platforms(names: Iterable[str]) -> dict[str, tuple[Path, PlatformConfig, HardwareModule]]:
    """Each platform with its module; StrataError for one that is measured on a device."""
    found = {}
    for name in names:
        file = platform_file(RUN, name)
        platform = load_platform(file)
        module = create(platform.module, platform.options)
        if not module.simulated:
            raise StrataError(f"{name} is measured; legal here: platforms whose times are computed")
        found[name] = (file, platform, module)
    return found


@exits_cleanly
def command(
    platforms: Annotated[list[str], typer.Argument(help="Platforms in config/platforms.")],
    networks: Annotated[int, typer.Option(min=1, help=f"Of each of {', '.join(KINDS)}.")] = 20,
    fewest: Annotated[int, typer.Option(min=1, help="Cases that a pair must have.")] = 10,
    output: Annotated[Path | None, typer.Option(help="Folder of the table.")] = None,
) -> None:
    """Tell which pairs of layers each platform fuses in generated networks.

    Example: python -m evaluation.fused_pairs ethos_u55_256 ethos_u65_512 --networks 20
    """
    found = {
        name: count_pairs(module, planned(platform, file, networks), name)
        for name, (file, platform, module) in _platforms(platforms).items()
    }
    table = pair_table(found, fewest)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        write_table(table, output)
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
