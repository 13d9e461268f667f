"""How the errors of a network's layers add up to that of its total, on networks not fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from model_gen.conformal import SMALLEST, HeldOut, conformal_half_widths, held_out_spreads
from strata.intervals import Intervals, NetworkSpread, Widths, network_terms
from strata.platform_model import NetworkOverhead

FEWEST_NETWORKS = 40
LAYERS_OF_A_NETWORK = 20


@dataclass(frozen=True, slots=True)
class Total:
    """A network that nothing was fitted to, or whose layers were all estimated without their case.

    `error` is log(measured / estimated) of the total, `terms` are the `network_terms` of its
    layers, `layers` how many they are.
    """

    error: float
    terms: tuple[float, float]
    layers: int


def network_total(
    measured_s: float, beside_s: float, times_s: np.ndarray, spreads: np.ndarray
) -> Total | None:
    """A network's total from estimates and spreads of its layers, and the seconds beside them.

    None for a network with a layer of which something is not known, and for one of none.
    """
    if not len(times_s) or not np.isfinite([times_s, spreads]).all():
        return None
    total_s = float(times_s.sum()) + beside_s
    terms = network_terms(times_s, spreads, total_s)
    return Total(log(measured_s / total_s), terms, len(times_s))


def executed_totals(
    rows: Mapping[str, HeldOut],
    intervals: Intervals,
    networks: pd.DataFrame,
    overhead: NetworkOverhead,
) -> list[Total]:
    """Totals of networks as they were executed, all of whose layers have a held-out estimate.

    For tables without calibration networks: what the mapping model gets wrong is not in them.
    """
    if not rows:
        return []
    layers = _layer_rows(rows, intervals)
    found = []
    of_case = layers.groupby("case_id").indices
    for network in networks.to_dict("records"):
        own = layers.iloc[of_case.get(network["case_id"], np.empty(0, dtype=int))]
        if len(own) != network["executed_layers"]:
            continue
        total = network_total(
            network["time_s"],
            overhead.time_s(len(own), network["input_bytes"], network["output_bytes"]),
            own["estimated_s"].to_numpy(),
            own["spread"].to_numpy(),
        )
        if total is not None:
            found.append(total)
    return found


def _layer_rows(rows: Mapping[str, HeldOut], intervals: Intervals) -> pd.DataFrame:
    """Case, held-out estimate and spread of every row, operations one after the other."""
    parts = [
        pd.DataFrame(
            {
                "case_id": each.cases,
                "estimated_s": each.estimated_s,
                "spread": held_out_spreads(key, each, intervals),
            }
        )
        for key, each in rows.items()
    ]
    return pd.concat(parts, ignore_index=True)


def fit_network_spread(totals: Sequence[Total]) -> NetworkSpread | None:
    """How layer errors add up to those of totals, and the totals' half-widths in that unit.

    The parts are those under which Laplace-distributed errors are most likely (large errors count
    by their size, not its square); then conformal quantiles of what they leave, of all networks
    together: bins by scale, of 80 networks each, are no better on families left out. Networks of
    few layers, which have errors of their own, count only where there are few others.
    """
    many = [total for total in totals if total.layers >= LAYERS_OF_A_NETWORK]
    used = many if len(many) >= FEWEST_NETWORKS else totals
    if len(used) < FEWEST_NETWORKS:
        return None
    errors = np.array([total.error for total in used])
    spread = _most_likely_spread(np.abs(errors), np.array([total.terms for total in used]))
    scales = np.array([spread.scale(total.terms) for total in used])
    return replace(spread, widths=(Widths(None, conformal_half_widths(errors, scales)),))


def _most_likely_spread(sizes: np.ndarray, terms: np.ndarray) -> NetworkSpread:
    """Parts for sizes of errors (networks,) and `network_terms` (networks, 2); no widths yet."""
    columns = np.column_stack([terms, np.ones(len(sizes))]) ** 2
    typical = np.maximum(columns.mean(axis=0), SMALLEST**2)

    def surprise(logs: np.ndarray) -> float:
        scale = np.sqrt(columns @ (np.exp(logs) / typical))
        return float(np.mean(np.log(scale) + sizes / scale))

    start = np.full(3, np.log(np.mean(sizes**2) / 3 + SMALLEST**2))
    bounds = [(start[0] - 15, start[0] + 5)] * 3
    found = minimize(surprise, start, method="L-BFGS-B", bounds=bounds)
    common, per_layer_s, floor = np.sqrt(np.exp(found.x) / typical).tolist()
    return NetworkSpread(common, per_layer_s, floor, ())
