"""Benchmark networks estimated as networks are that were never measured.

An estimate errs by its layer models and by its mapping, where a layer is fused or placed in another
way than the platform runs it. So the networks that intervals of totals are taken from go the whole
way from their graphs, in folds: the mapping's trees and the overhead are fitted without the fold's
networks (the memory's rule, a few numbers, is not), and a layer takes the time that its model says
of it without its case. What only the predicted mapping has is in no table, and takes the time of
the whole layer model.
"""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pandas as pd

from model_gen.conformal import SPREAD, HeldOut, held_out_spreads
from model_gen.mapping_model import NetworkTables, fit_trees
from model_gen.overhead import fit_overhead
from model_gen.tables import MULTI_LAYER, hashed_share, table_matrix
from model_gen.total_fit import FEWEST_NETWORKS, Total, network_total
from strata.estimate import estimate_executed
from strata.graph import with_bits
from strata.graph_json import graph_from_dict
from strata.intervals import LEVELS
from strata.layer_models import Mixed, Roofline
from strata.mapping import apply_mapping
from strata.operations import Input
from strata.platform_model import PlatformModel

# A mapping learned from fewer networks errs more often than the whole one.
_FOLDS = 10

# By name and model key: seconds without the layer's case over seconds with it, and its spread.
_Layers = Mapping[tuple[str, str], tuple[float, float]]


def graphs_known(networks: pd.DataFrame, layers: Mapping[str, pd.DataFrame]) -> bool:
    """Whether the networks table says what its multi-layer networks were made of.

    And the layer tables, which of their layers a row is.
    """
    named = all("layer" in table.columns for table in layers.values())
    return named and "graph" in networks.columns and bool(multi_layer(networks)["graph"].any())


def mapped_totals(
    rows: Mapping[str, HeldOut], tables: NetworkTables, model: PlatformModel, seed: int
) -> list[Total]:
    """Totals of the multi-layer networks whose graphs are known, by mappings fitted without them.

    `rows` are those of the layer tables, each with the layer's name; `model` gives all but trees
    and overhead, and the intervals of layers. Networks with a layer that has no estimate without
    its case, no time or no spread are left out. None at all where too few are left.
    """
    layers = _held_out_layers(rows, model)
    networks = multi_layer(tables.networks).dropna(subset="graph")
    networks = networks[networks["case_id"].isin(_known(layers))]
    if len(networks) < FEWEST_NETWORKS:
        return []
    found = []
    for cases in _folds(networks["case_id"]):
        kept = tables.without(cases)
        trees, _ = fit_trees(kept, seed)
        mapping = replace(trees, memory=model.mapping.memory)
        fold = replace(model, mapping=mapping, overhead=fit_overhead(multi_layer(kept.networks)))
        for network in networks[networks["case_id"].isin(cases)].to_dict("records"):
            found.append(_total(network, layers[network["case_id"]], fold))
    return [total for total in found if total is not None]


def multi_layer(networks: pd.DataFrame) -> pd.DataFrame:
    """The rows of benchmarks whose layers stand as in networks."""
    return networks[networks["benchmark"].isin(MULTI_LAYER)]


def _folds(cases: Iterable[str]) -> list[set[str]]:
    """The cases in _FOLDS parts, whatever order they come in."""
    order = sorted(set(cases), key=lambda case: hashed_share(f"networks {case}"))
    return [set(order[first::_FOLDS]) for first in range(min(_FOLDS, len(order)))]


def _held_out_layers(rows: Mapping[str, HeldOut], model: PlatformModel) -> Mapping[str, _Layers]:
    """By case what is known of its measured layers."""
    found: dict[str, dict[tuple[str, str], tuple[float, float]]] = defaultdict(dict)
    for key, each in rows.items():
        kinds = model.layer_models[key]
        with_case_s = kinds.get(Mixed.kind, kinds[Roofline.kind]).time_s(table_matrix(each.table))
        ratios = each.estimated_s / with_case_s
        spreads = held_out_spreads(key, each, model.intervals)
        table = each.table[["case_id", "layer"]].itertuples(index=False)
        for (case, layer), ratio, spread in zip(table, ratios.tolist(), spreads, strict=True):
            found[case][layer, key] = ratio, float(spread)
    return found


def _known(layers: Mapping[str, _Layers]) -> list[str]:
    """Cases of which everything is known; of large tables some only were cross-validated."""
    return [case for case, each in layers.items() if np.isfinite(list(each.values())).all()]


def _total(network: Mapping[Hashable, Any], layers: _Layers, model: PlatformModel) -> Total | None:
    """A network's total, from its graph; None where it is not known without its case."""
    where = f"networks table: graph of {network['case_id']}"
    graph = with_bits(graph_from_dict(json.loads(network["graph"]), where), model.header.bits)
    executed = [
        layer
        for layer in apply_mapping(graph, model.mapping)
        if not isinstance(layer.root.parameters, Input)
    ]
    found = estimate_executed(graph, executed, model, model.intervals.kind)
    timed = [pair for pair in zip(executed, found.layers, strict=True) if pair[1].time_s != 0]
    times, spreads = [], []
    for layer, row in timed:
        around = row.intervals_s.get(LEVELS[SPREAD])
        if row.time_s is None or around is None:
            return None
        known = (1.0, log(around[1] / row.time_s))
        ratio, spread = layers.get((layer.name, layer.model_key), known)
        times.append(row.time_s * ratio)
        spreads.append(spread)
    beside_s = model.overhead.time_s(len(timed), graph.input_bytes, graph.output_bytes)
    return network_total(network["time_s"], beside_s, np.array(times), np.array(spreads))
