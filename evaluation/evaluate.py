"""Command: estimate measured networks from a platform model and set both side by side.

Everything is estimated with the predicted mapping; the oracle mapping (the one that was executed)
stands beside it, to tell mapping errors from layer errors.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmark.matcher import FUSED, POSSIBLY_FUSED, Match, match
from benchmark.shards import read_shard
from evaluation.coverage import coverage_rows
from evaluation.frames import COUNTS, KINDS, LAYER_COLUMNS, NETWORK_COLUMNS, UNTIMED
from evaluation.noise_floor import sample_halves
from evaluation.traffic import traffic_rows
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.edges import pair_key
from strata.errors import MatchError
from strata.estimate import Estimate, estimate_executed
from strata.graph import Graph, with_bits
from strata.graph_json import graph_from_dict
from strata.mapping import apply_mapping, fuse
from strata.platform_model import PlatformModel, load_platform_model
from strata.profile import Profile
from strata.profile_json import profile_from_dict
from strata.stride_moving import move_strides


def half_to_half(samples_s: Sequence[float]) -> float:
    """Relative difference of the medians of even and odd samples; NaN below 4 samples."""
    even, odd = sample_halves(samples_s)
    return float(abs(even - odd) / ((even + odd) / 2))


def _estimates(
    graph: Graph, found: Match, platform: PlatformModel
) -> Iterator[tuple[str, Estimate]]:
    oracle = tuple(layer.executed for layer in found.layers)
    predicted = apply_mapping(graph, platform.mapping)
    for mapping, executed in (("predicted", predicted), ("oracle", oracle)):
        for kind in KINDS:
            yield mapping, estimate_executed(graph, executed, platform, kind)


def network_rows(
    record: Mapping[str, Any], graph: Graph, profile: Profile, estimates: Sequence[Any]
) -> list[dict[str, Any]]:
    """One row per mapping and kind; `estimated_s` leaves `untimed` layers out."""
    return [
        {
            "set": record["set"],
            "network": record["network"],
            "measured_s": profile.time_s,
            "kind": estimate.kind,
            "mapping": mapping,
            "estimated_s": estimate.total_s,
            UNTIMED: estimate.untimed,
            "ops": graph.work.ops,
            "rounds": record["rounds"],
            "spread": half_to_half(profile.samples_s),
            "fell_back": estimate.fell_back,
            "out_of_range": estimate.out_of_range,
            "overhead_s": estimate.overhead_s,
            "layers_s": sum(node.time_s for node in profile.nodes),
        }
        for mapping, estimate in estimates
    ]


def layer_rows(
    record: Mapping[str, Any], profile: Profile, found: Match, estimates: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """One row per executed or estimated layer, mapping and kind.

    A layer is matched if measurement and estimate name the same root. Layout conversions are
    `inserted` where both have them. Whatever the estimate knows no time of is `untimed`.
    """
    measured = {layer.executed.name: layer for layer in found.layers}
    base = {"set": record["set"], "network": record["network"]}
    for mapping, estimate in estimates:
        rows = {layer.name: layer for layer in estimate.layers}
        for name in dict.fromkeys((*measured, *rows)):
            real, guess = measured.get(name), rows.get(name)
            if real is not None:
                operation, status = real.executed.operation, "matched" if guess else "missing"
            else:
                operation, status = rows[name].operation, "extra"
            if status == "matched" and operation == "reorder":
                status = "inserted"
            estimated_s = guess.time_s if guess else 0.0
            measured_s = real.time_s if real else 0.0
            yield {
                **base,
                "layer": name,
                "operation": operation,
                "measured_s": measured_s,
                "kind": estimate.kind,
                "mapping": mapping,
                "estimated_s": nan if estimated_s is None else estimated_s,
                "executed_kind": real.kind if real else "",
                "share": measured_s / profile.time_s,
                "status": UNTIMED if estimated_s is None else status,
                "in_range": guess.in_range if guess else True,
            }


def mapping_counts(
    graph: Graph, found: Match, platform: PlatformModel, counts: dict[str, dict[str, int]]
) -> None:
    """Add the confusion counts of predicted against executed fusions, per pair of operations.

    The producer's operation is that of the group a layer could join, as in the mapping model.
    """
    moved = move_strides(graph) if platform.mapping.moves_strides else graph
    groups = fuse(moved, platform.mapping)
    guessed = {layer.name: i for i, group in enumerate(groups) for layer in group}
    for measured in found.layers:
        root = measured.executed
        for consumer, operation, flag in measured.following:
            if flag == POSSIBLY_FUSED or root.name not in guessed or consumer not in guessed:
                continue
            guess, truth = guessed[root.name] == guessed[consumer], flag == FUSED
            name = ("true" if guess == truth else "false") + ("_positive" if guess else "_negative")
            counts[pair_key(root.operation, operation)][name] += 1


def mapping_frame(counts: Mapping[str, Mapping[str, int]], data_set: str) -> pd.DataFrame:
    """Counts by pair as the mapping table of `evaluation.frames`."""
    rows = []
    for key, found in sorted(counts.items()):
        producer, consumer = key.split("->")
        rows.append(
            {
                "set": data_set,
                "producer_operation": producer,
                "consumer_operation": consumer,
                "samples": sum(found.values()),
                **found,
            }
        )
    columns = ["set", "producer_operation", "consumer_operation", "samples", *COUNTS]
    return pd.DataFrame(rows, columns=columns)


def _validation_frame(fit_report: Path) -> pd.DataFrame:
    """Confusion counts of the 20% of benchmark cases that the trees of the fit did not see."""
    scores = json.loads(fit_report.read_text(encoding="utf-8"))["mapping"]
    rows = [
        {
            "set": "validation" + ("" if score["role"] == "fusion" else f"_{score['role']}"),
            "producer_operation": score["producer"],
            "consumer_operation": score["consumer"],
            "samples": sum(score[name] for name in COUNTS),
            **{name: score[name] for name in COUNTS},
        }
        for score in scores
    ]
    columns = ["set", "producer_operation", "consumer_operation", "samples", *COUNTS]
    return pd.DataFrame(rows, columns=columns)


@dataclass(slots=True)
class _Rows:
    """Rows of all tables, collected network by network; `counts` by pair of operations."""

    networks: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    traffic: list[dict[str, Any]] = field(default_factory=list)
    intervals: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    )

    def add(self, record: Mapping[str, Any], model: PlatformModel, where: str) -> None:
        """Estimate a measured network; one without all its times is refused with the reason."""
        profile = profile_from_dict(record["profile"], where)
        graph = with_bits(graph_from_dict(record["graph"], where), profile.bits)
        try:
            found = match(graph, profile)  # a refusal is a MatchError with its reason
            if profile.untimed:
                raise MatchError(profile.untimed)
        except MatchError as unmatched:
            self.refused.append(
                {"set": record["set"], "network": record["network"], "reason": str(unmatched)}
            )
            return
        estimates = list(_estimates(graph, found, model))
        if profile.whole:  # what was executed is not known: no oracle, no layers to compare
            predicted = [pair for pair in estimates if pair[0] == "predicted"]
            self.networks += network_rows(record, graph, profile, predicted)
            self.intervals += coverage_rows(record, profile, None, predicted)
            return
        self.networks += network_rows(record, graph, profile, estimates)
        self.intervals += coverage_rows(record, profile, found, estimates)
        self.layers += layer_rows(record, profile, found, estimates)
        self.traffic += traffic_rows(record, profile, found, estimates)
        mapping_counts(graph, found, model, self.counts)

    def frames(self, fit_report: Path) -> dict[str, pd.DataFrame]:
        """The tables by name; of traffic and intervals only where the platform model tells them."""
        mapping = [mapping_frame(self.counts, "networks"), _validation_frame(fit_report)]
        frames = {
            "networks": pd.DataFrame(
                self.networks, columns=None if self.networks else NETWORK_COLUMNS
            ),
            "layers": pd.DataFrame(self.layers, columns=None if self.layers else LAYER_COLUMNS),
            "mapping": pd.concat(mapping),
            "refused": pd.DataFrame(self.refused, columns=["set", "network", "reason"]),
        }
        told = {"traffic": self.traffic, "intervals": self.intervals}
        return frames | {name: pd.DataFrame(rows) for name, rows in told.items() if rows}


def error_lines(networks: pd.DataFrame) -> Iterator[str]:
    """Per set and kind the MAPE of the totals, predicted mapping, and how many lack layers."""
    for data_set, rows in networks.groupby("set"):
        predicted = rows[rows["mapping"] == "predicted"]
        for kind, found in predicted.groupby("kind"):
            error = (found["estimated_s"] / found["measured_s"] - 1).abs().mean()
            line = f"{data_set} {kind}: MAPE {error:.1%} on {len(found)} networks"
            lacking = int((found[UNTIMED] > 0).sum())
            yield line + (f", {lacking} incomplete: layers of unknown time" if lacking else "")


@exits_cleanly
def evaluate(
    shard: Annotated[Path, typer.Argument(help="Measured networks (measure_networks).")],
    platform: Annotated[Path, typer.Option(help="Platform model.")],
    fit_report: Annotated[Path, typer.Option(help="What fit_platform reported.")],
    output: Annotated[Path, typer.Option(help="Folder for the evaluation tables.")],
) -> None:
    """Estimate measured networks and write networks, layers and mapping tables.

    And one of traffic, where the platform's toolchain tells it, and one of intervals, where the
    platform model has them.

    Example: python -m evaluation.evaluate networks.jsonl --platform openvino_cpu.strata
    --fit-report fit.json --output evaluation
    """
    model = load_platform_model(platform)
    rows = _Rows()
    for number, record in enumerate(read_shard(shard), 1):
        rows.add(record, model, f"{shard}, line {number}")
    frames = rows.frames(fit_report)
    for name in ("traffic", "intervals"):
        (output / f"{name}.parquet").unlink(missing_ok=True)
    for name, frame in frames.items():
        with replacing(output / f"{name}.parquet") as temporary:
            frame.reset_index(drop=True).to_parquet(temporary)
    for line in error_lines(frames["networks"]):
        typer.echo(line)


if __name__ == "__main__":
    typer.run(evaluate)
