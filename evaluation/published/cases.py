"""From published measurements to cases: compiled networks whose simulated times can be compared."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.published.data_set import Measurement
from evaluation.published.platforms import Bench
from simulators.executable import Executable
from strata.errors import StrataError
from strata.graph import Graph

_ROUNDING_OPS = 6e3  # published operations have two or three decimals of 1e6
_SAME_WORK = 0.005
_UNTOLD = "published as 0 s: shorter than the published digits tell"


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement and what was compiled for it. `layer` is the node's place, None for all."""

    measurement: Measurement
    executable: Executable
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A measurement that cannot be compared, and why."""

    measurement: Measurement
    reason: str


def _by_name(executable: Executable) -> dict[str, int]:
    """Place of the executed layer that holds a layer; roots win over what they absorbed."""
    places: dict[str, int] = {}
    for place, node in enumerate(executable.layers):
        for layer in node.executed.absorbed:
            places.setdefault(layer.name, place)
    for place, node in enumerate(executable.layers):
        places[node.executed.root.name] = place
    return places


def match_nodes(executable: Executable, measurements: Sequence[Measurement]) -> list[int | str]:
    """Place of each measured node in the executable, or why it has none.

    By layer name; nodes left over by their published operations, in the order of the profile. An
    executed layer answers for one node.
    """
    places = _by_name(executable)
    found: list[int | str] = []
    taken: dict[int, str] = {}
    for measurement in measurements:
        node = measurement.node or ""
        place = places.get(node)
        if place is None:
            found.append(f"the compiled network has no node '{node}'")
        elif place in taken:
            found.append(f"node '{node}' is compiled into the node of '{taken[place]}'")
        else:
            taken[place] = node
            found.append(place)
    _match_by_work(executable, measurements, found, set(taken))
    return found


def _match_by_work(
    executable: Executable,
    measurements: Sequence[Measurement],
    found: list[int | str],
    taken: set[int],
) -> None:
    start = 0
    for number, measurement in enumerate(measurements):
        ops = measurement.node_ops
        if isinstance(found[number], int) or not ops:
            continue
        for place in range(start, len(executable.layers)):
            work = 2 * executable.layers[place].executed.work.macs
            if place not in taken and abs(work - ops) <= _SAME_WORK * ops + _ROUNDING_OPS:
                found[number] = place
                taken.add(place)
                start = place + 1
                break


def make_cases(
    bench: Bench, measurements: Sequence[Measurement]
) -> tuple[list[Case], list[Refusal]]:
    """Compiled cases and the measurements that cannot be, with reasons; in the order of the file.

    A network is built once, whatever its number of measurements.
    """
    graphs: dict[str, Graph | str] = {}
    networks: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    refusals = [Refusal(row, _UNTOLD) for row in measurements if not row.published_s]
    for measurement in measurements:
        if measurement.published_s:
            networks[measurement.graph_key, measurement.set_up].append(measurement)
    cases: list[Case] = []
    for (key, _), rows in networks.items():
        try:
            if key not in graphs:
                graphs[key] = _built(rows[0])
            graph = graphs[key]
            if isinstance(graph, str):
                raise StrataError(graph)
            executable = bench.compile(key, graph, rows[0].hardware)
        except StrataError as error:
            refusals += [Refusal(row, str(error)) for row in rows]
            continue
        places: list[int | str | None] = [None] * len(rows)
        if rows[0].node is not None:
            places = [*match_nodes(executable, rows)]
        for row, place in zip(rows, places, strict=True):
            if isinstance(place, str):
                refusals.append(Refusal(row, place))
            else:
                cases.append(Case(row, executable, place))
    cases.sort(key=lambda case: case.measurement.line)
    refusals.sort(key=lambda refusal: refusal.measurement.line)
    return cases, refusals


def _built(measurement: Measurement) -> Graph | str:
    try:
        return measurement.build()
    except StrataError as error:
        return str(error)
