"""What a second measurement says of the first: no estimate can be better, and none need be.

Two sources, the better one first:

- `networks_again.jsonl` beside a platform's `networks.jsonl`: the networks measured a second time
  by `benchmark.measure_networks`, in a process of its own; for a simulated platform with noise,
  with another seed.
- the halves of one measurement: even against odd rounds, or even against odd parts of a run. Each
  half has about half of them, so with independent noise the difference of two is about twice the
  noise of one whole measurement; a drift that is slower than a round, or a part, is not in it.
  Below four rounds, or parts, there are no halves.

A platform whose rounds are all equal is computed: measured again it says the same, its floor is 0.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.matcher import match
from benchmark.shards import read_shard
from strata.errors import MatchError
from strata.graph import with_bits
from strata.graph_json import graph_from_dict
from strata.profile import Profile
from strata.profile_json import profile_from_dict

NETWORK_COLUMNS = ("set", "network", "first_s", "second_s")
LAYER_COLUMNS = (*NETWORK_COLUMNS[:2], "layer", "operation", "measured_s", *NETWORK_COLUMNS[2:])
_NOTHING = (float("nan"), float("nan"))
_FEWEST = 4
# profilers whose readings are means of all runs so far; they give halves in time only
_RUNNING_MEANS = ("openvino_cpu",)
_TRUNCATED_S = 0.5e-6  # what whole microseconds leave out on average


def is_computed(profile: Profile) -> bool:
    """Whether every round gave the same time, as only a calculation does."""
    return len(set(profile.samples_s)) == 1 and len(profile.samples_s) > 1


def sample_halves(samples_s: Sequence[float]) -> tuple[float, float]:
    """Medians of even and odd rounds, seconds; NaN below 4 rounds."""
    if len(samples_s) < _FEWEST:
        return _NOTHING
    even, odd = (float(np.median(samples_s[start::2])) for start in (0, 1))
    return even, odd


def running_mean_halves(readings_s: Sequence[float], runs: int) -> tuple[float, float]:
    """Means of both halves in time of readings that are means of all runs so far, seconds.

    `runs` are the timed rounds. They begin after what stands before the first of them, as every
    further one has a warm-up of its own that counts too: 2 runs - 1 readings. NaN where there are
    fewer, or where whole microseconds leave no time in a half.
    """
    window = 2 * runs - 1
    first, last = len(readings_s) - window, len(readings_s)
    if runs < _FEWEST or first < 0:
        return _NOTHING
    middle = first + window // 2
    ends = (first, middle, last)
    sums = [(readings_s[end - 1] + _TRUNCATED_S) * end if end else 0.0 for end in ends]
    halves = (sums[1] - sums[0]) / (middle - first), (sums[2] - sums[1]) / (last - middle)
    return halves if min(halves) > 0 else _NOTHING


def layer_halves(profile: Profile, time_s: float, readings_s: Sequence[float]) -> Any:
    """(first, second) seconds of one layer from what its profiler read; NaN where it cannot say.

    Means over halves in time are corrected for what interrupts a run as the layer's time is: by
    the median over the mean of the same half's whole runs.
    """
    if is_computed(profile):
        return time_s, time_s
    samples = np.asarray(profile.samples_s)
    if len(readings_s) == len(samples):
        return sample_halves(readings_s)
    if profile.platform in _RUNNING_MEANS:
        middle = len(samples) // 2
        parts = (samples[:middle], samples[middle:])
        halves = running_mean_halves(readings_s, len(samples))
        return tuple(
            half * float(np.median(part) / part.mean()) if half == half else half
            for half, part in zip(halves, parts, strict=True)
        )
    return _NOTHING


def _records(path: Path) -> Iterator[tuple[dict[str, Any], Profile, str]]:
    for number, record in enumerate(read_shard(path), 1):
        where = f"{path}, line {number}"
        profile = profile_from_dict(record["profile"], where)
        if profile.refusal is None:
            yield record, profile, where


def measured_halves(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both halves of every network and layer of a file of `benchmark.measure_networks`.

    Columns NETWORK_COLUMNS and LAYER_COLUMNS, seconds. Networks that were not measured, or whose
    profile does not match, are left out.
    """
    networks, layers = [], []
    for record, profile, where in _records(path):
        key = (record["set"], record["network"])
        same = (profile.time_s, profile.time_s)
        networks.append(
            (*key, *(same if is_computed(profile) else sample_halves(profile.samples_s)))
        )
        graph = with_bits(graph_from_dict(record["graph"], where), profile.bits)
        try:
            found = match(graph, profile).layers
        except MatchError:
            continue
        for layer in found:
            named = (layer.executed.name, layer.executed.operation, layer.time_s)
            layers.append((*key, *named, *layer_halves(profile, layer.time_s, layer.readings_s)))
    return (
        pd.DataFrame(networks, columns=list(NETWORK_COLUMNS)),
        pd.DataFrame(layers, columns=list(LAYER_COLUMNS)),
    )


def measured_twice(first: Path, again: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`measured_halves`, of two measurements of the same networks; only what both have."""
    frames = []
    for columns, before, after in zip(
        (NETWORK_COLUMNS, LAYER_COLUMNS),
        _whole_times(first),
        _whole_times(again),
        strict=True,
    ):
        keys = [name for name in columns if name not in ("first_s", "second_s", "measured_s")]
        both = before.merge(after, on=keys, suffixes=("", "_again"))
        both = both.assign(first_s=both["measured_s"], second_s=both["measured_s_again"])
        frames.append(both[list(columns)])
    return frames[0], frames[1]


def _whole_times(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Networks and layers of a file with `measured_s`, the halves left out."""
    totals = [
        (record["set"], record["network"], profile.time_s) for record, profile, _ in _records(path)
    ]
    networks = pd.DataFrame(totals, columns=["set", "network", "measured_s"])
    return networks, measured_halves(path)[1].drop(columns=["first_s", "second_s"])


def noise_of(results: Path) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Both tables of a platform's results folder, and in a few words where they come from."""
    first, again = results / "networks.jsonl", results / "networks_again.jsonl"
    if again.exists():
        return *measured_twice(first, again), "measured twice"
    networks, layers = measured_halves(first)
    equal = bool(len(networks) and (networks["first_s"] == networks["second_s"]).all())
    return networks, layers, "computed: equal rounds" if equal else "halves of the rounds or parts"
