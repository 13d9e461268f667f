"""How many points a platform's models were fitted to, per layer type.

A point is one configuration of a layer type that was measured: a distinct row of the layer's own
features (`strata.execution.OWN_FEATURES`: sizes, window, what it absorbed and how it is activated).
Benchmarks of all kinds count together, and so do placements of a layer type. The same
configuration measured again, in another graph or as another kernel of one, is another row and no
other point: what a model learns from it is the layer's surroundings and the measurement's noise.
"""

from pathlib import Path

import pandas as pd

from benchmark.tables import read_layer_tables
from model_gen.tables import inside_networks
from strata.execution import OWN_FEATURES

COLUMNS = ("layer_type", "points", "rows", "isolated_rows", "network_rows", "graphs")


def points_per_layer_type(tables: Path) -> pd.DataFrame:
    """COLUMNS, most points first: points, all rows, rows measured alone and inside multi-layer
    benchmark networks, and the graphs (cases) that they were measured in.
    """
    by_type: dict[str, list[pd.DataFrame]] = {}
    for key, table in read_layer_tables(tables).items():
        by_type.setdefault(key.partition("@")[0], []).append(table)
    rows = []
    for layer_type, parts in by_type.items():
        table = pd.concat(parts)
        inside = int(inside_networks(table).sum())
        distinct = len(table[list(OWN_FEATURES)].drop_duplicates())
        counts = (distinct, len(table), len(table) - inside, inside, table["case_id"].nunique())
        rows.append((layer_type, *counts))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values("points", ascending=False, kind="stable").reset_index(drop=True)


def points_by_benchmark(tables: Path, layer_type: str) -> pd.DataFrame:
    """Benchmark, graphs, rows and points of one layer type; points of several count in each."""
    parts = [
        table
        for key, table in read_layer_tables(tables).items()
        if key.partition("@")[0] == layer_type
    ]
    table = pd.concat(parts)
    rows = []
    for benchmark, group in table.groupby("benchmark"):
        distinct = len(group[list(OWN_FEATURES)].drop_duplicates())
        rows.append((benchmark, group["case_id"].nunique(), len(group), distinct))
    frame = pd.DataFrame(rows, columns=["Benchmark", "Graphs", "Rows", "Points"])
    return frame.sort_values("Points", ascending=False, kind="stable").reset_index(drop=True)
