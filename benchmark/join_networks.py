"""Command: whole networks measured in parts of a run, as if in one.

A machine's speed drifts. Between the phases of a run it shifted times by up to 5%, so that models
fitted to one phase and judged by another were judged by the drift. Parts that lie between the
benchmarks see what those see.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmark.shards import read_shard
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.errors import ArtefactError
from strata.profile import Profile
from strata.profile_json import profile_from_dict, profile_to_dict

# Parts of an undisturbed run on a shared virtual machine differ by 2 to 4%.
_STEADY = 0.08


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _names(part: Profile) -> tuple[str, ...]:
    return tuple(node.name for node in part.nodes)


def joined(parts: Sequence[Profile], where: str) -> Profile:
    """One profile of the same network measured in several parts, seconds.

    Times of the network and of its nodes are means over the parts that were measured;
    `samples_s` and `readings_s` hold one time per part. Conversions too short for the profiler's
    clock are seen in some parts only: nodes are those of the parts that agree with most others.
    Of refusals alone the first remains. ArtefactError names `where` if the parts are of different
    toolchains.
    """
    measured = [part for part in parts if part.refusal is None]
    if len(parts) == 1 or not measured:
        return parts[0]
    if any(part.toolchain != measured[0].toolchain for part in measured):
        raise ArtefactError(f"{where}: its parts are of different toolchains; measure all anew")
    ((names, _),) = Counter(_names(part) for part in measured).most_common(1)
    alike = [part for part in measured if _names(part) == names]
    nodes = []
    for node, *others in zip(*(part.nodes for part in alike), strict=True):
        times_s = [node.time_s, *(other.time_s for other in others)]
        nodes.append(replace(node, time_s=_mean(times_s), readings_s=tuple(times_s)))
    samples_s = tuple(part.time_s for part in measured)
    return replace(alike[0], nodes=tuple(nodes), samples_s=samples_s, time_s=_mean(samples_s))


def drift(profiles: Iterable[Profile]) -> float:
    """How much a network's slowest part took beyond its fastest; the median over networks, or 0."""
    times = [profile.samples_s for profile in profiles if profile.refusal is None]
    return median([max(each) / min(each) - 1 for each in times if each] or [0.0])


def join(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The records of all parts, one per network, their `profile` a Profile.

    ArtefactError unless all parts have the same networks.
    """
    parts = [list(read_shard(path)) for path in paths]
    keys = [[(record["set"], record["network"]) for record in part] for part in parts]
    for path, names in zip(paths, keys, strict=True):
        if names != keys[0]:
            raise ArtefactError(f"{path}: holds other networks than {paths[0]}; measure all anew")
    records = []
    for same in zip(*parts, strict=True):
        where = f"{paths[0]}, network {same[0]['network']}"
        profile = joined([profile_from_dict(each["profile"], where) for each in same], where)
        rounds = sum(each["rounds"] for each in same)
        records.append({**same[0], "rounds": rounds, "profile": profile})
    return records


@exits_cleanly
def join_networks(
    parts: Annotated[list[Path], typer.Argument(help="Files of benchmark.measure_networks.")],
    output: Annotated[Path, typer.Option(help="File to write, one line per network.")],
) -> None:
    """Take the mean of networks that were measured in several parts of a run.

    Example: python -m benchmark.join_networks network_parts/*.jsonl --output networks.jsonl
    """
    records = join(parts)
    if len(parts) > 1:
        found = drift(record["profile"] for record in records)
        typer.echo(f"parts differ by {found:.1%} (median of the networks)", err=True)
        if found > _STEADY:
            typer.echo(
                "the machine was disturbed while they were measured: what is fitted to this run "
                "and judged by it is judged by the disturbance; better measure it again",
                err=True,
            )
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for record in records:
            written = {**record, "profile": profile_to_dict(record["profile"])}
            lines.write(json.dumps(written) + "\n")


if __name__ == "__main__":
    typer.run(join_networks)
