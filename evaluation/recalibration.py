"""Command: platform models moved to other set-ups by a few networks, judged on the others.

A move is a platform model and networks measured in another set-up. Of these, a few are drawn to
recalibrate with, and the rest judges: the original model, the original with one factor (what a
change of clock would need), and the recalibration.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress, track

from evaluation.metrics import mape, spearman
from evaluation.plot_style import new_figure, save_figure, styled
from evaluation.published import edge_tpu
from evaluation.published.data_set import DataSet, Measurement, read_measurements
from evaluation.published.registry import SHIPPED
from evaluation.table_format import Table, to_text, write_table
from model_gen.network_parts import NetworkParts, split_estimate
from model_gen.recalibrate import FEWEST, one_factor, recalibrate
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import SchemaError, StrataError, legal
from strata.graph_json import graph_from_dict
from strata.platform_model import PlatformModel
from strata.platforms import load_platform
from strata.profile_json import profile_from_dict

SIZES = (5, 10, 15, 20)
_SMALL_SIZES = (3, 4, 5, 7, 9)  # of sets too small for these
METHODS = ("original", "one factor", "recalibrated")
_COLOURS = ("#222222", "#E69F00", "#D55E00")
_MOST_NETWORKS = 120  # of a set; drawn, the others judge nothing
_USB3 = "edge_tpu_usb3"
PUBLISHED_MOVES: dict[str, DataSet] = {
    "dev_board_coral": edge_tpu.CORAL_PCIE,
    "dev_board_cells": edge_tpu.NAS_HARDWARE,
    "pcie_card_chains": edge_tpu.CHAINS,
    "pcie_card_resolutions": edge_tpu.RESOLUTIONS,
    "raspberry_pi4": edge_tpu.CIFAR,
}
CPU_MOVE = "cpu_two_threads"


@dataclass(frozen=True, slots=True)
class Move:
    """Networks of another set-up: their parts by the original model, measured seconds, groups."""

    name: str
    title: str
    networks: tuple[NetworkParts, ...]
    measured_s: np.ndarray
    groups: tuple[str, ...]
    refusals: tuple[str, ...] = ()

    @property
    def sizes(self) -> list[int]:
        """How many networks to recalibrate with; at least one is left to judge."""
        most = len(set(self.groups)) - 1
        wanted = SIZES if most >= SIZES[-1] else _SMALL_SIZES
        return [size for size in wanted if size <= most]


def published_move(name: str, model: PlatformModel, folder: Path = SHIPPED) -> Move:
    """A move to the set-up of a published data set; networks that cannot be built are refusals."""
    data_set = PUBLISHED_MOVES[name]
    rows = [row for row in read_measurements(data_set, folder) if row.published_s]
    kept = _drawn(rows)
    found: dict[str, tuple[NetworkParts, float]] = {}
    refusals = []
    for group, same in track(kept.items(), name, console=Console(stderr=True), transient=True):
        parts = _split(same[0], model)
        if isinstance(parts, str):
            refusals.append(f"{same[0].network}: {parts}")
        else:
            found[group] = parts, float(np.median([row.published_s for row in same]))
    return Move(
        name,
        data_set.title,
        tuple(parts for parts, _ in found.values()),
        np.array([time_s for _, time_s in found.values()]),
        tuple(found),
        tuple(refusals),
    )


def _split(row: Measurement, model: PlatformModel) -> NetworkParts | str:
    try:
        return split_estimate(row.build(), model)
    except StrataError as error:
        return str(error)


def _drawn(rows: list[Measurement]) -> dict[str, list[Measurement]]:
    """Rows by group, of _MOST_NETWORKS groups drawn with a fixed seed.

    A network measured several times counts once, by the median of its times.
    """
    groups = sorted({row.group for row in rows})
    order = np.random.default_rng(0).permutation(len(groups))[:_MOST_NETWORKS]
    kept = {groups[place] for place in order}
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.group in kept:
            found.setdefault(row.group, []).append(row)
    return found


def shard_move(name: str, title: str, model: PlatformModel, shard: Path) -> Move:
    """A move to the set-up that `benchmark.measure_networks` measured networks in."""
    networks, seconds, refusals = [], [], []
    with shard.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{shard}, line {number}"
            try:
                record = json.loads(line)
                profile = profile_from_dict(record["profile"], where)
                graph = graph_from_dict(record["graph"], where)
            except (ValueError, KeyError, TypeError) as error:
                raise SchemaError(f"{where}: no measured network ({error!r})") from None
            if profile.refusal is not None:
                refusals.append(f"{graph.name}: {profile.refusal}")
                continue
            networks.append(split_estimate(graph, model))
            seconds.append(profile.time_s)
    groups = tuple(f"{k}" for k in range(len(networks)))
    return Move(name, title, tuple(networks), np.array(seconds), groups, tuple(refusals))


def splits(groups: Sequence[str], size: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Masks of the rows to recalibrate with, (rows,) booleans, `size` groups each."""
    names = sorted(set(groups))
    generator = np.random.default_rng([seed, size])
    for _ in range(count):
        drawn = {names[place] for place in generator.permutation(len(names))[:size]}
        yield np.array([group in drawn for group in groups])


def judge(move: Move, seen: np.ndarray) -> list[dict[str, object]]:
    """Errors of every method on the networks that were not drawn, a row each."""
    chosen = [network for network, drawn in zip(move.networks, seen, strict=True) if drawn]
    others = [network for network, drawn in zip(move.networks, seen, strict=True) if not drawn]
    measured_s = move.measured_s[~seen]
    original_s = np.array([network.total_s for network in others])
    found = recalibrate(chosen, move.measured_s[seen].tolist())
    factor = one_factor(chosen, move.measured_s[seen].tolist())
    predicted = {
        "original": original_s,
        "one factor": factor * original_s,
        "recalibrated": np.array([found.total_s(network) for network in others]),
    }
    return [
        {
            "method": method,
            "judged": len(others),
            "mape_percent": mape(measured_s, times_s),
            "spearman": spearman(measured_s, times_s).value,
            "form": found.candidate.form if method == "recalibrated" else "",
            "promised_percent": found.after_percent if method == "recalibrated" else None,
        }
        for method, times_s in predicted.items()
    ]


def evaluate(move: Move, count: int, seed: int) -> pd.DataFrame:
    """One row per number of networks, split and method."""
    rows = []
    total = count * len(move.sizes)
    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(f"{move.name}: splits", total=total)
        for size in move.sizes:
            for number, seen in enumerate(splits(move.groups, size, count, seed)):
                about = {"move": move.name, "networks": size, "split": number}
                rows += [about | row for row in judge(move, seen)]
                progress.advance(task)
    return pd.DataFrame(rows)


def summary_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Per move, number of networks and method: errors over the splits."""
    grouped = rows.groupby(["move", "networks", "method"], sort=False)
    frame = grouped.agg(
        splits=("split", "size"),
        judged=("judged", "median"),
        mean=("mape_percent", "mean"),
        median=("mape_percent", "median"),
        worst=("mape_percent", lambda values: values.quantile(0.9)),
        order=("spearman", "median"),
        promised=("promised_percent", "median"),
        form=("form", lambda values: values.fillna("").mode().iloc[0]),
    ).reset_index()
    frame["judged"] = frame["judged"].astype(int)
    return frame.rename(
        columns={
            "mean": "mean MAPE (%)",
            "median": "median MAPE (%)",
            "worst": "MAPE, 90% of splits (%)",
            "order": "Spearman's ρ",
            "promised": "left-one-out error it stated (%)",
            "form": "form most often",
        }
    )


def write_plot(rows: pd.DataFrame, titles: dict[str, str], folder: Path) -> None:
    """Median and middle 80% of the splits' MAPE against networks measured, a panel per move."""
    with styled():
        figure = new_figure(3.4 * min(len(titles), 3), 2.9 * -(-len(titles) // 3))
        panels = figure.subplots(-(-len(titles) // 3), min(len(titles), 3), squeeze=False).ravel()
        for axes, (name, title) in zip(panels, titles.items(), strict=False):
            mine = rows[rows["move"] == name]
            for method, colour in zip(METHODS, _COLOURS, strict=True):
                errors = mine[mine["method"] == method].groupby("networks")["mape_percent"]
                middle, low, high = errors.median(), errors.quantile(0.1), errors.quantile(0.9)
                axes.plot(middle.index, middle, "o-", ms=3, color=colour, label=method)
                axes.fill_between(middle.index, low, high, color=colour, alpha=0.15, lw=0)
            axes.set_title(title, fontsize=7, wrap=True)
            axes.set(xlabel="networks measured", ylabel="MAPE on the others (%)", yscale="log")
            axes.set_xticks(sorted(mine["networks"].unique()))
        for axes in panels[len(titles) :]:
            axes.set_visible(False)
        panels[0].legend()
    save_figure(figure, folder, "error_against_networks")


@exits_cleanly
def command(
    output: Annotated[Path, typer.Option(help="Folder for tables and the plot.")],
    cpu_networks: Annotated[
        Path | None,
        typer.Option(help="Shard of `benchmark.measure_networks` on openvino_cpu_two_threads."),
    ] = None,
    cpu_model: Annotated[str, typer.Option(help="Model of one thread.")] = "openvino_cpu",
    edge_tpu_model: Annotated[str, typer.Option(help="Model of the USB accelerator.")] = _USB3,
    move: Annotated[
        list[str] | None, typer.Option(help="Move to judge; may be repeated. Default: all.")
    ] = None,
    splits_count: Annotated[
        int, typer.Option("--splits", min=1, help="Random draws per number of networks.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
) -> None:
    """Move platform models to other set-ups by 5 to 20 networks, and judge on the others.

    The Edge TPU's USB model moves to published set-ups; the CPU's moves to two threads where the
    networks were measured with them (docs/recalibrate.md says how).

    Example: python -m evaluation.recalibration --output results/recalibration
    --cpu-networks results/two_threads/networks.jsonl
    """
    known = (*PUBLISHED_MOVES, CPU_MOVE)
    for name in move or ():
        if name not in known:
            raise SchemaError(f"move '{name}' is unknown; legal: {legal(known)}")
    wanted = move or [*PUBLISHED_MOVES, *([CPU_MOVE] if cpu_networks else [])]
    if CPU_MOVE in wanted and cpu_networks is None:
        raise SchemaError(f"move '{CPU_MOVE}' needs --cpu-networks; legal: a networks.jsonl")
    moves = []
    for name in wanted:
        if name == CPU_MOVE and cpu_networks is not None:
            title = "CPU: one thread to two"
            moves.append(shard_move(name, title, load_platform(cpu_model), cpu_networks))
        else:
            moves.append(published_move(name, load_platform(edge_tpu_model)))
    report(moves, output, splits_count, seed)


def report(moves: Sequence[Move], output: Path, count: int, seed: int) -> None:
    """Judge all moves; write splits.csv, the summary, refusals and the plot."""
    judged = [evaluate(one, count, seed) for one in moves if one.sizes]
    for one in moves:
        short = "" if one.sizes else ", too few to judge"
        typer.echo(f"{one.name}: {len(one.networks)} networks{short}; not estimated: ", nl=False)
        typer.echo("; ".join(dict.fromkeys(one.refusals)) or "none")
    if not judged:
        raise SchemaError(f"no move has enough networks; legal: {FEWEST + 1} or more")
    rows = pd.concat(judged)
    with replacing(output / "splits.csv") as draft:
        rows.to_csv(draft, index=False)
    notes = (
        "Errors on the networks that were not drawn, over random draws; `one factor` scales the "
        "original by the factor of the drawn networks.",
    )
    table = Table(
        "recalibration", "Recalibrated models on unseen networks", summary_frame(rows), notes
    )
    write_table(table, output)
    write_plot(rows, {one.name: one.title for one in moves if one.sizes}, output)
    typer.echo(to_text(table))


if __name__ == "__main__":
    typer.run(command)
