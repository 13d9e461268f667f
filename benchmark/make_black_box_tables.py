"""Command: layer tables of a platform that only tells how long a whole network takes.

The same tables as `benchmark.make_tables` writes from profiles, so that all that is fitted to them
stays as it is. In `kind` of a layer, "difference" is a time from two nested graphs, "remainder" the
time of a graph of equal kernels less all else that it is expected to take, "share" a part of a
network's total; a share is no measurement of that layer.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import Progress

from benchmark.black_box import (
    CHEAP,
    Plan,
    Readings,
    Rules,
    Timed,
    all_differences,
    executed_as_assumed,
    find_rules,
    learned_as,
    make_sums,
    read_times,
    regrouped,
)
from benchmark.black_box_fusion import (
    Alone,
    KindTest,
    PairTest,
    kind_tests,
    kinds_of,
    merged_with_their_kind,
    pair_tests,
)
from benchmark.black_box_placement import NOWHERE_ELSE, Placing
from benchmark.black_box_plan import FOLLOWERS, PRODUCERS
from benchmark.matcher import FUSED, POSSIBLY_FUSED
from benchmark.tables import Rows, add_match, placements_of, write_tables
from graph_gen.benchmarks import build
from model_gen.black_box import BESIDE, ROUNDS, Refined, refine
from strata import operations as op
from strata.atomic import replacing
from strata.console import exits_cleanly
from strata.context import SIZES
from strata.edges import pair_key

DIFFERENCE, REMAINDER, SHARE = "difference", "remainder", "share"
_OWN = ("kernel", "back", "follower")  # what names of layers begin with that rows are there for
_LEAST_PART = 0.25  # of what is uncertain in a sum, for the kernel's own sake
_SIGNIFICANT = 2.0  # standard errors
_MOST_PADDING = 0.5  # of what was measured, where there are other rows
_ODD = 3.0  # times the usual part of a network that is not explained, and
_LEAST_ODD = 0.2  # of its time: a network that says little of its layers
_ENOUGH_ROWS = 40  # of an operation, that padded ones are not needed


def _matched(
    one: Timed, times_s: np.ndarray, kind: str, readings_s: tuple[float, ...], rows: Rows
) -> None:
    """Add a graph whose layers take these times."""
    layers = tuple(
        replace(layer, time_s=float(time_s), kind=kind, readings_s=readings_s)
        for layer, time_s in zip(one.found.layers, times_s, strict=True)
    )
    add_match(rows, one.record, one.graph, one.profile, replace(one.found, layers=layers))


def _status(raw_s: float, left_s: float, sigma_s: float, part: float) -> str:
    """What a sum is worth, once padding is taken off: kept, or why not."""
    if raw_s <= 0:
        return "negative"
    if left_s <= _SIGNIFICANT * sigma_s:
        return "insignificant"
    return "kept" if part >= _LEAST_PART else "mostly padding"


@dataclass(frozen=True, slots=True)
class _Part:
    """Layers of one graph of kernels that a sum holds, and what was found of them."""

    one: Timed
    places: tuple[int, ...]
    counts: tuple[float, ...]
    terms: slice
    kind: str
    raw_s: float
    sigma_s: float
    readings_s: tuple[float, ...]


def _kernel_rows(
    part: _Part, refined: Refined, known_s: dict[str, float]
) -> tuple[Rows, dict[str, Any]]:
    """The layers that a sum measures, and its line in the table of differences."""
    one, counts = part.one, np.array(part.counts)
    expected_s = refined.expected_s[part.terms]
    layers = [one.found.layers[place].executed for place in part.places]
    # a mirror image and an activation are measured as well as their kernel is, and no padding
    own = np.array([any(each.name.startswith(_OWN) for each in layer.layers) for layer in layers])
    shares_s = counts * expected_s
    off_s = np.array([refined.tau[learned_as(layer)] for layer in layers]) * shares_s
    parts = off_s**2 / max(float(off_s @ off_s), 1e-300)
    padding_s = float(shares_s[~own].sum())
    status = _status(
        part.raw_s, part.raw_s - padding_s, part.sigma_s, float(parts[own].max(initial=0))
    )
    all_s = np.array([known_s.get(key, 0.0) for key in one.keys])
    all_s[list(part.places)] = refined.time_s[part.terms]
    mine = Rows()
    _matched(one, all_s, part.kind, part.readings_s, mine)
    if one.filled:  # nobody knows what its filler takes, and so not what all layers do
        mine.networks.clear()
    measured = own & (parts >= _LEAST_PART)
    names = {layer.name for layer, so in zip(layers, measured, strict=True) if so}
    mine.layers = _only(mine, names) if status == "kept" else {}
    kernel = int(np.argmax(own))
    return mine, {
        "case_id": one.record["case"]["case_id"],
        "benchmark": one.record["case"]["benchmark"],
        "layer": layers[kernel].name,
        "operation": layers[kernel].operation,
        "table": layers[kernel].model_key,
        "kind": part.kind,
        "raw_s": part.raw_s,
        "padding_s": padding_s,
        "sigma_s": part.sigma_s,
        "time_s": float(refined.time_s[part.terms][kernel]),
        "time_sigma_s": float(refined.sigma_s[part.terms][kernel]),
        "told": float(refined.told[part.terms][kernel]),
        "status": status,
    }


def _kernel_parts(plan: Plan, refined: Refined) -> Iterator[_Part]:
    """Differences; and where a row stands in graphs of one size only, what is left of those."""
    nested = {step.more.nest for step in plan.differences}
    for number, step in enumerate(plan.differences):
        ends = (step.more.profile.time_s, step.less.profile.time_s)
        parts = (step.more, step.places, step.counts, plan.terms(number), DIFFERENCE)
        yield _Part(*parts, step.time_s, step.sigma_s, ends)
    for number, whole in enumerate(plan.smallest, len(plan.differences)):
        if whole.one.nest in nested:
            continue
        total_s = whole.one.profile.time_s
        left_s = total_s - float(plan.sums.beside[number] @ refined.beside)
        parts = (whole.one, whole.places, whole.counts, plan.terms(number), REMAINDER)
        yield _Part(*parts, left_s, whole.one.sigma_s, (total_s,))


def _only(rows: Rows, names: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Layer rows of these layers."""
    kept = {
        operation: [row for row in found if row["layer"] in names]
        for operation, found in rows.layers.items()
    }
    return {operation: found for operation, found in kept.items() if found}


def without_padded(found: Sequence[tuple[Rows, dict[str, Any]]]) -> None:
    """Drop rows that are padding by more than half, of operations that have enough others.

    An error of the padding's model that is common to them would teach a wrong time.
    """
    kept = [(rows, line) for rows, line in found if line["status"] == "kept"]
    padded = [line["padding_s"] > _MOST_PADDING * line["raw_s"] for _, line in kept]
    free = Counter(
        line["table"] for (_, line), is_so in zip(kept, padded, strict=True) if not is_so
    )
    for (rows, line), is_so in zip(kept, padded, strict=True):
        if is_so and free[line["table"]] >= _ENOUGH_ROWS:
            line["status"] = "mostly padding"
            rows.layers.clear()


def _known_s(plan: Plan, refined: Refined) -> dict[str, float]:
    """Expected times of layers that only stand around kernels, by what tells them apart."""
    found: dict[str, float] = {}
    for number, whole in enumerate(plan.smallest, len(plan.differences)):
        keys, expected_s = whole.one.keys, refined.expected_s[plan.terms(number)]
        found |= {
            keys[place]: float(time_s)
            for place, time_s in zip(whole.places, expected_s, strict=True)
        }
    return found


def _network_rows(plan: Plan, refined: Refined) -> list[Rows]:
    """Rows of the networks. Those that are hardly explained give no shares of operations that
    others have enough of: what is not understood in them is no part of their other layers.
    """
    rest = np.abs(refined.rest[plan.is_network])
    odd = rest > max(_ODD * float(np.median(rest)), _LEAST_ODD) if len(rest) else rest > 0
    found, others = [], Counter[str]()
    for number, one in enumerate(plan.networks, len(plan.differences) + len(plan.smallest)):
        mine = Rows()
        _matched(one, refined.time_s[plan.terms(number)], SHARE, (one.profile.time_s,), mine)
        found.append(mine)
    for mine, is_odd in zip(found, odd, strict=True):
        others.update({} if is_odd else {name: len(rows) for name, rows in mine.layers.items()})
    for mine, is_odd in zip(found, odd, strict=True):
        _drop(mine, {name for name in mine.layers if is_odd and others[name] >= _ENOUGH_ROWS})
    return found


def _drop(rows: Rows, names: Collection[str]) -> None:
    for name in names:
        rows.layers.pop(name, None)


def _activations_alone(one: Timed, placing: Placing) -> Iterator[dict[str, Any]]:
    """Where activations that run with the layer before them would run if they stood alone.

    There as well. A kind that the device runs stands alone in few graphs, and trees would see
    little but those of the host.
    """
    rules = Rules(apart=frozenset(op.ACTIVATIONS), placing=placing)
    so_far = {layer.executed.name for layer in one.found.layers}
    found = executed_as_assumed(one.graph, rules)
    rows = placements_of(one.record["case"], found)
    for layer, row in zip(found.layers, rows, strict=True):
        if row["operation"] == "activation" and layer.executed.name not in so_far:
            yield row


def fill_tables(
    plan: Plan,
    refined: Refined,
    undecided: Collection[str],
    placing: Placing,
    shares: bool = True,
) -> tuple[Rows, pd.DataFrame]:
    """Rows of all tables, and one row per difference with what became of it.

    `undecided` are pairs whose mapping rows decide nothing. Without `shares`, networks give no
    layer rows, only their totals. `placing` is what the sums were made with: where it tells layers
    apart by the way they run, networks give rows only of what differences hardly measured.
    """
    rows, known_s = Rows(), _known_s(plan, refined)
    found = [_kernel_rows(part, refined, known_s) for part in _kernel_parts(plan, refined)]
    without_padded(found)
    for mine, _ in found:
        rows.extend(mine)
    measured = {name for name, its in rows.layers.items() if len(its) >= _ENOUGH_ROWS}
    if placing == NOWHERE_ELSE:  # shares alone may know of layers that run in another way
        measured = set()
    for mine in _network_rows(plan, refined):
        _drop(mine, measured if shares else tuple(mine.layers))
        rows.extend(mine)
    if placing.host:
        for whole in plan.smallest:
            rows.placements += _activations_alone(whole.one, placing)
    for row in rows.mapping:
        if f"{row['producer_operation']}->{row['consumer_operation']}" in undecided:
            row["flag"] = POSSIBLY_FUSED
    for row in (each for layers in rows.layers.values() for each in layers):
        row.update(dict.fromkeys(SIZES, 0.0))  # as in what they were solved from
    return rows, pd.DataFrame([line for _, line in found])


@dataclass(frozen=True, slots=True)
class Solution:
    """Sums of layers and the times that they give: with networks' totals, and `isolated` without.

    `kinds` say which activations run apart, `tests` which other pairs of layers together, `placing`
    what does not run in the platform's own way.
    """

    plan: Plan
    refined: Refined
    isolated: Refined
    kinds: tuple[KindTest, ...]
    tests: tuple[PairTest, ...]
    placing: Placing

    @property
    def merged(self) -> frozenset[str]:
        """Operations whose layers run merged in chains of their own kind, which were not read."""
        return merged_with_their_kind(self.tests)

    @property
    def undecided(self) -> frozenset[str]:
        """Pairs of which neither is known, because their chains do not tell or there are none."""
        asked = {pair_key(first, second) for first in PRODUCERS for second in FOLLOWERS}
        known = {test.pair for test in self.tests if test.verdict != POSSIBLY_FUSED}
        merged = {pair_key(first, name) for name in self.merged for first in (*PRODUCERS, name)}
        return frozenset((asked - known) | merged)


def _of_verdict(tests: Iterable[PairTest], verdict: str) -> frozenset[str]:
    return frozenset(test.pair for test in tests if test.verdict == verdict)


def _alone(kernels: Readings, rules: Rules, rounds: int, seed: int) -> Alone:
    """Sums of kernels under these rules, and the times that follow."""
    plan = make_sums(regrouped(kernels, rules))
    return plan, refine(plan.sums, None, rounds, seed)


def _kinds(
    kernels: Readings, rules: Rules, rounds: int, seed: int
) -> tuple[tuple[KindTest, ...], Alone]:
    """Which kinds of activation run apart beside those of the rules, and kernels solved so."""
    together = _alone(kernels, rules, rounds, seed)
    kinds = {kind for one in kernels.graphs for kind in kinds_of(one, range(len(one.rows)))}
    kinds -= CHEAP | rules.placing.activations
    if not kinds:
        return (), together
    apart = _alone(kernels, replace(rules, apart=frozenset(kinds)), rounds, seed)
    tests = tuple(kind_tests(together, apart, kinds, seed))
    found = frozenset(test.kind for test in tests if test.apart)
    if not found:
        return tests, together
    if found == kinds:
        return tests, apart
    return tests, _alone(kernels, replace(rules, apart=found), rounds, seed)


def solve(readings: Readings, rounds: int = ROUNDS, seed: int = 0) -> Solution:
    """What runs where and together, and the times of all layers under that assumption.

    Kernels alone decide, without fillers; pairs that are undecided say nothing, nor do chains that
    run merged.
    """
    kernels, rules = readings.kernels.bare, find_rules(readings)
    kinds, alone = _kinds(kernels, rules, rounds, seed)
    rules = replace(rules, apart=frozenset(test.kind for test in kinds if test.apart))
    steps = all_differences(regrouped(readings.pairs, rules))
    tests = tuple(pair_tests(steps, alone, seed))
    heard = readings.without_pairs(_of_verdict(tests, POSSIBLY_FUSED))
    heard = heard.without_chains(merged_with_their_kind(tests))
    rules = replace(rules, joined=_of_verdict(tests, FUSED))
    plan = make_sums(regrouped(heard, rules))
    isolated = refine(plan.sums, ~plan.is_network, rounds, seed)
    refined = refine(plan.sums, None, rounds, seed) if plan.networks else isolated
    return Solution(plan, refined, isolated, kinds, tests, rules.placing)


def report(readings: Readings, solution: Solution, differences: pd.DataFrame) -> dict[str, Any]:
    """What was assumed, decided and left out, JSON-serialisable."""
    plan, refined, tests = solution.plan, solution.refined, solution.tests
    network_rest = np.abs(refined.rest[plan.is_network])
    return {
        "graphs": len(readings.graphs),
        "networks": len(plan.networks),
        "repeatability": readings.spread,
        **{
            f"{kind}s": found["status"].value_counts().to_dict()
            for kind, found in differences.groupby("kind")
        },
        "activations": [{**asdict(test), "apart": test.apart} for test in solution.kinds],
        "pairs": [asdict(test) for test in tests],
        "merged_with_their_kind": sorted(solution.merged),
        "host": sorted(solution.placing.host),
        "host_followed": solution.placing.follows,
        "memory": asdict(solution.placing.memory) if solution.placing.memory else None,
        "beside": dict(zip(BESIDE, refined.beside.tolist(), strict=True)),
        "expected_to": refined.tau,
        "networks_unexplained_percent": 100 * float(np.mean(network_rest)) if plan.networks else 0,
    }


def _refusals(readings: Readings, rows: Rows) -> None:
    for record, reason in readings.refused:
        case = record["case"]
        rows.refusals.append(
            {
                "case_id": case["case_id"],
                "benchmark": case["benchmark"],
                "settings": json.dumps(case["settings"], sort_keys=True),
                "reason": reason,
            }
        )


@contextmanager
def reading(shards: Sequence[Path]) -> Any:
    """A progress bar over the lines of shards; call what it gives once per line."""
    total = sum(shard.read_bytes().count(b"\n") for shard in shards if shard.is_file())
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("layers of the measured graphs", total=total)
        yield lambda: bar.advance(task)


@exits_cleanly
def command(
    shards: Annotated[list[Path], typer.Argument(help="Shards that measure_chunk wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the tables.")],
    rounds: Annotated[int, typer.Option(min=1, help="Turns of back-fitting.")] = ROUNDS,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the learners.")] = 0,
) -> None:
    """Layer tables from end-to-end times: differences of nested graphs, networks' totals.

    What a compiler prints of whole networks tells where layers run, if it does.
    Times of layers that the shards may hold are not read. Beside the tables of make_tables:
    differences.parquet and black_box.json, what was assumed, decided and left out.

    Example: python -m benchmark.make_black_box_tables results/tiny/null/shards/*.jsonl
    --output tables
    """
    with reading(shards) as advance:
        readings = read_times(shards, build, advance)
    solution = solve(readings, rounds, seed)
    rows, differences = fill_tables(
        solution.plan, solution.refined, solution.undecided, solution.placing
    )
    _refusals(readings, rows)
    write_tables(rows, output)
    with replacing(output / "differences.parquet") as temporary:
        differences.to_parquet(temporary)
    told = report(readings, solution, differences)
    with replacing(output / "black_box.json") as temporary:
        temporary.write_text(json.dumps(told, indent=1), encoding="utf-8")
    kept = int((differences["status"] == "kept").sum())
    typer.echo(
        f"{len(readings.graphs)} graphs, {kept} of {len(differences)} kernel times kept, "
        f"{len(readings.networks)} networks, {len(readings.refused)} refused"
    )


if __name__ == "__main__":
    typer.run(command)
