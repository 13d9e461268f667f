"""Intervals of layers and networks by conformal prediction on cases the models had not seen.

Layers: |log(measured / estimated)| of held-out rows, divided by how much a layer's distance from
the measured ones widens errors; quantiles per operation and length (Mondrian bins). Networks:
totals of networks that nothing was fitted to against end-to-end times, divided by a scale that
knows how the layers' errors add up. The quantiles are those of `crepes` (split conformal
regression); docs/intervals.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from model_gen.conformal import (
    FEWEST_ROWS,
    HeldOut,
    calibrating,
    conformal_half_widths,
    fit_widths,
    held_out,
)
from model_gen.tables import table_times
from model_gen.total_fit import LAYERS_OF_A_NETWORK, Total, fit_network_spread
from model_gen.validity_fit import RegionFit, fit_region
from model_gen.widening_fit import Apart, Refit, held_out_regions, learned_widening
from strata.answers import extreme_peaks
from strata.intervals import Intervals
from strata.layer_models import Roofline
from strata.validity import Validity

TotalsOf = Callable[[Mapping[str, HeldOut], Intervals, Validity], Sequence[Total]]

_FEWEST_OPERATIONS, _ROWS_OF_AN_OPERATION = 4, 50


@dataclass(frozen=True, slots=True)
class IntervalFit:
    """Regions and intervals of a platform model, and JSON-ready figures of how they came about."""

    validity: Validity
    intervals: Intervals
    report: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class LayerErrors:
    """Where one operation's layers lie, and what is missed of them.

    `rows` without their case, `apart` without the part of the region that they lie in.
    """

    region: RegionFit | None
    rows: HeldOut
    apart: Apart | None


def layer_errors(
    table: pd.DataFrame, held_out_s: np.ndarray, refit: Refit, seed: int
) -> LayerErrors:
    """From an operation's table and (rows,) seconds of each row without its case.

    `refit` fits the operation's model to other rows, None where it cannot.
    """
    region = fit_region(table, seed)
    rows = held_out(table, held_out_s, region, seed)
    return LayerErrors(region, rows, held_out_regions(table, rows, refit, seed))


def fit_intervals(
    tables: Mapping[str, pd.DataFrame],
    errors: Mapping[str, LayerErrors],
    rooflines: Mapping[str, Roofline],
    totals_of: TotalsOf,
    seed: int,
) -> IntervalFit:
    """Regions, and intervals of the mixed model's estimates.

    `tables` are the layer tables by model key, `errors` those of each, `rooflines` those of the
    fitted models. `totals_of` gives networks' totals from what was held out of layers, their
    intervals and regions.
    """
    regions = {key: each.region for key, each in errors.items()}
    rows = {key: each.rows for key, each in errors.items()}
    widening = learned_widening(rows, {key: each.apart for key, each in errors.items()}, seed)
    layers = {key: widths for key, each in rows.items() if (widths := fit_widths(each, widening))}
    few = [each.errors[np.isfinite(each.errors)] for key, each in rows.items() if key not in layers]
    rest = np.concatenate([np.empty(0), *few])
    unmeasured = fit_unmeasured(tables, rooflines, seed)
    pooled = (
        conformal_half_widths(rest, np.ones(len(rest))) if len(rest) >= FEWEST_ROWS else unmeasured
    )
    difficulty = {key: trees for key in layers if (trees := rows[key].trees) is not None}
    intervals = Intervals(
        layers=layers,
        difficulty=difficulty,
        pooled=pooled,
        unmeasured=unmeasured,
        widening=widening,
    )
    validity = Validity({key: fit.region for key, fit in regions.items() if fit is not None})
    totals = totals_of(rows, intervals, validity)
    intervals = replace(intervals, network=fit_network_spread(totals))
    return IntervalFit(validity, intervals, _report(rows, totals, intervals))


def fit_unmeasured(
    tables: Mapping[str, pd.DataFrame], rooflines: Mapping[str, Roofline], seed: int
) -> tuple[float, ...]:
    """Half-widths of layers without any model, as if each measured operation had none.

    What a roofline of the others' extremes says of an operation, which is what estimation does,
    against its times; the operations count alike, however many rows they have.
    """
    errors = []
    plain = {key: roofline for key, roofline in rooflines.items() if "@" not in key}
    for key in plain:
        peaks = extreme_peaks(each for name, each in plain.items() if name != key)
        if peaks is None:
            continue
        table = tables[key]
        table = table[(table["ops"] > 0) | (table["bytes"] > 0)]
        table = table.sample(min(len(table), _ROWS_OF_AN_OPERATION), random_state=seed)
        compute_s = table["ops"].to_numpy(np.float64) / peaks[0]
        guessed_s = np.maximum(compute_s, table["bytes"].to_numpy(np.float64) / peaks[1])
        errors.append(np.log(table_times(table) / guessed_s))
    together = np.concatenate([np.empty(0), *errors])
    if len(errors) < _FEWEST_OPERATIONS or len(together) < FEWEST_ROWS:
        return ()
    return conformal_half_widths(together, np.ones(len(together)))


def _report(
    rows: Mapping[str, HeldOut], totals: Sequence[Total], intervals: Intervals
) -> dict[str, Any]:
    """What intervals were taken from, for the fit's report."""
    return {
        "levels": list(intervals.levels),
        "layer_rows": {key: int(calibrating(each).sum()) for key, each in rows.items()},
        "networks": len(totals),
        "networks_of_many_layers": sum(each.layers >= LAYERS_OF_A_NETWORK for each in totals),
        "widening": asdict(intervals.widening),
        "network": None if intervals.network is None else asdict(intervals.network),
    }
