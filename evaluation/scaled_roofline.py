"""The baseline that says nothing of layers: a platform's roofline totals times one constant.

The constant is fitted to the benchmark's multi-layer networks, never to an evaluation network. A
model that does not beat it has learned no more than how far the platform is from its peaks.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.tables import read_layer_tables
from model_gen.tables import inside_networks, table_matrix, undisturbed
from strata.platform_model import PlatformModel

KIND = "roofline"
SCALED = "scaled_roofline"


def best_factor(measured_s: np.ndarray, roofline_s: np.ndarray) -> float:
    """The factor c of the smallest mean |c roofline - measured| / measured; NaN without times.

    It is the median of measured over roofline, weighted by roofline over measured. Times of 0 on
    either side are left out.
    """
    known = (measured_s > 0) & (roofline_s > 0)
    if not known.any():
        return float("nan")
    factor = measured_s[known] / roofline_s[known]
    order = np.argsort(factor)
    weight = np.cumsum(1 / factor[order])
    return float(factor[order][np.searchsorted(weight, weight[-1] / 2)])


def benchmark_totals(tables: Path, platform: PlatformModel) -> pd.DataFrame:
    """Multi-layer benchmark networks: case_id, measured_s, roofline_s (sums over their layers).

    The roofline is asked about the layers as they were executed. Layers of an operation without a
    roofline count as nothing, as they do in no estimate with a model.
    """
    networks, _ = undisturbed(pd.read_parquet(tables / "networks.parquet"))
    networks = networks[inside_networks(networks)]
    sums: dict[str, float] = dict.fromkeys(networks["case_id"], 0.0)
    for key, table in read_layer_tables(tables).items():
        rows = table[table["case_id"].isin(sums.keys())]
        model = platform.layer_models.get(key, {}).get(KIND)
        if rows.empty or model is None:
            continue
        times_s = model.time_s(table_matrix(rows))
        for case, time_s in zip(rows["case_id"], times_s.tolist(), strict=True):
            sums[case] += time_s
    measured = networks[["case_id", "time_s"]].rename(columns={"time_s": "measured_s"})
    return measured.assign(roofline_s=measured["case_id"].map(sums)).reset_index(drop=True)


def fitted_factor(tables: Path, platform: PlatformModel) -> float:
    """The platform's constant; NaN where no multi-layer network was measured."""
    totals = benchmark_totals(tables, platform)
    return best_factor(totals["measured_s"].to_numpy(), totals["roofline_s"].to_numpy())


def scaled(frame: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The roofline's rows of an evaluation table as rows of kind "scaled_roofline".

    The overhead of a network, which is fitted for the other models, is taken out first.
    """
    rows = frame[frame["kind"] == KIND]
    overhead_s = rows["overhead_s"] if "overhead_s" in rows.columns else 0.0
    return rows.assign(kind=SCALED, estimated_s=factor * (rows["estimated_s"] - overhead_s))
