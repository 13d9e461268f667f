"""Networks of published families, measured for nothing but their totals: intervals stand on them.

Nothing is fitted to them, so they are estimated as networks are that nobody measured: mapped by the
finished model, which may fuse or place a layer in another way than the platform runs it, and timed
by the finished layer models. What those errors are on networks that somebody designed is what
intervals of totals are to say (`graph_gen.architectures`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import pandas as pd

from model_gen.conformal import SPREAD
from model_gen.tables import undisturbed
from model_gen.total_fit import Total, network_total
from strata.errors import FitError, StrataError
from strata.estimate import estimate
from strata.graph import Graph
from strata.graph_json import graph_from_dict
from strata.intervals import LEVELS
from strata.platform_model import PlatformModel


@dataclass(frozen=True, slots=True)
class WholeNetwork:
    """A network and how long it took, seconds."""

    graph: Graph
    time_s: float


def sound_calibration(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a calibration table to use, each network once, and notes on what was left out.

    `table` is one that `check_calibration` has passed.
    """
    kept, disturbed = undisturbed(table)
    notes = [f"calibration networks: {disturbed}"] if disturbed else []
    once = kept.drop_duplicates("case_id")
    if len(once) < len(kept):
        notes.append(f"calibration networks: {len(kept) - len(once)} rows repeat others' cases")
    return once, notes


def calibration_networks(
    table: pd.DataFrame, where: str = "calibration table"
) -> tuple[WholeNetwork, ...]:
    """The networks of a calibration table.

    `table` is one that `check_calibration` has passed. FitError names the case of a graph that is
    none.
    """
    found = []
    for row in table.to_dict("records"):
        of = f"{where}: graph of {row['case_id']}"
        try:
            graph = graph_from_dict(json.loads(row["graph"]), of)
        except StrataError as error:
            raise FitError(str(error)) from None
        except (ValueError, TypeError) as error:
            raise FitError(f"{of}: {error}") from None
        found.append(WholeNetwork(graph, float(row["time_s"])))
    return tuple(found)


def calibration_totals(networks: Sequence[WholeNetwork], model: PlatformModel) -> list[Total]:
    """Estimated against measured totals; `model` gives all but the intervals of totals.

    Networks with a layer that has no time or no interval are left out.
    """
    totals = [_total(network, model) for network in networks]
    return [total for total in totals if total is not None]


def _total(network: WholeNetwork, model: PlatformModel) -> Total | None:
    found = estimate(network.graph, model, model.intervals.kind)
    times, spreads = [], []
    for layer in found.layers:
        if layer.time_s == 0:
            continue
        around = layer.interval_s(LEVELS[SPREAD])
        if layer.time_s is None or around is None:
            return None
        times.append(layer.time_s)
        spreads.append(log(around[1] / layer.time_s))
    return network_total(network.time_s, found.overhead_s, np.array(times), np.array(spreads))
