"""How the errors of a network's layers add up to that of its total, on networks held out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from model_gen.conformal import SMALLEST, SPREAD, HeldOut, binned_widths, widening_factors
from model_gen.tables import table_matrix
from strata.intervals import Intervals, NetworkSpread, network_terms
from strata.platform_model import NetworkOverhead
from strata.spreads import likeness
from strata.validity import Validity

_FEWEST_NETWORKS = 40
_NETWORKS_OF_A_BIN = 80
LAYERS_OF_A_NETWORK = 20


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Networks whose layers were all estimated without their case.

    `errors` (networks,) are log(measured / estimated) of the total, `terms` (networks, 4) the
    `network_terms` of their layers, `layers` how many they are.
    """

    errors: np.ndarray
    terms: np.ndarray
    layers: np.ndarray


def held_out_totals(
    rows: Mapping[str, HeldOut],
    networks: pd.DataFrame,
    overhead: NetworkOverhead,
    intervals: Intervals,
    validity: Validity,
) -> Totals:
    """Totals of the networks all of whose executed layers have a held-out estimate and a width."""
    if not rows:
        return Totals(np.empty(0), np.empty((0, 4)), np.empty(0))
    layers = _layer_rows(rows, intervals)
    matrix = np.concatenate([table_matrix(each.table) for each in rows.values()])
    errors, terms, counts = [], [], []
    found = layers.groupby("case_id").indices
    for network in networks.to_dict("records"):
        index = found.get(network["case_id"])
        if index is None or len(index) != network["executed_layers"]:
            continue
        own = layers.iloc[index]
        times, spreads = own["estimated_s"].to_numpy(), own["spread"].to_numpy()
        if not np.isfinite(times).all() or not np.isfinite(spreads).all():
            continue
        beside_s = overhead.time_s(len(index), network["input_bytes"], network["output_bytes"])
        total_s = times.sum() + beside_s
        alike = likeness(own["key"].tolist(), matrix[index], validity)
        errors.append(np.log(network["time_s"] / total_s))
        terms.append(network_terms(times / total_s * spreads, alike, beside_s / total_s))
        counts.append(len(index))
    return Totals(np.array(errors), np.array(terms).reshape(-1, 4), np.array(counts))


def _layer_rows(rows: Mapping[str, HeldOut], intervals: Intervals) -> pd.DataFrame:
    """Key, case, held-out estimate and spread of every row, operations one after the other."""
    parts = []
    for key, each in rows.items():
        widths = intervals.half_widths(key, each.estimated_s, each.difficulty)[:, SPREAD]
        parts.append(
            pd.DataFrame(
                {
                    "key": key,
                    "case_id": each.table["case_id"].to_numpy(),
                    "estimated_s": each.estimated_s,
                    "spread": widths * widening_factors(each, intervals.widening),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def fit_network_spread(totals: Totals) -> NetworkSpread | None:
    """How layer errors add up to those of totals, and the totals' half-widths in that unit.

    The parts are those under which Laplace-distributed errors are most likely (large errors count
    by their size, not its square); then conformal quantiles of what they leave, in bins by scale.
    Networks of few layers, which have errors of their own, count only where there are few others.
    """
    many = totals.layers >= LAYERS_OF_A_NETWORK
    if many.sum() >= _FEWEST_NETWORKS:
        totals = Totals(totals.errors[many], totals.terms[many], totals.layers[many])
    if len(totals.errors) < _FEWEST_NETWORKS:
        return None
    spread = _most_likely_spread(np.abs(totals.errors), totals.terms)
    scales = np.array([spread.scale(terms) for terms in totals.terms])
    widths = binned_widths(totals.errors, scales, scales, _NETWORKS_OF_A_BIN)
    return replace(spread, widths=widths)


def _most_likely_spread(sizes: np.ndarray, terms: np.ndarray) -> NetworkSpread:
    """Coefficients of the terms, and the floor, of sizes of errors (networks,); no widths yet."""
    columns = np.column_stack([terms, np.full(len(sizes), np.median(sizes) ** 2 + SMALLEST**2)])
    typical = np.maximum(columns.mean(axis=0), SMALLEST**2)

    def surprise(logs: np.ndarray) -> float:
        scale = np.sqrt(columns @ (np.exp(logs) / typical))
        return float(np.mean(np.log(scale) + sizes / scale))

    start = np.full(5, np.log(np.mean(sizes**2) / 4 + SMALLEST**2))
    bounds = [(start[0] - 15, start[0] + 5)] * 5
    found = minimize(surprise, start, method="L-BFGS-B", bounds=bounds)
    *parts, floor = (np.exp(found.x) / typical).tolist()
    independent, alike, common, overhead = parts
    return NetworkSpread(independent, alike, common, overhead, float(floor * columns[0, 4]), ())
