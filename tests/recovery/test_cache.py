"""A machine with a cache: what it keeps of a network's weights comes back in its layers' models."""

import numpy as np
import pandas as pd

from model_gen.learned import fit_models
from model_gen.statistical import ForestSettings
from model_gen.tables import table_matrix
from strata.builder import GraphBuilder
from strata.context import CONTEXT_FEATURES
from strata.execution import FEATURES, feature_matrix, make_executed
from strata.layer_models import Mixed

CACHE = 4 << 20  # bytes
OPS_PER_S, BYTES_PER_S = 1e11, 3e9


def measured(networks: int, seed: int) -> pd.DataFrame:
    """Layers of chains of convolutions, whose weights come from memory where no cache holds them.

    Networks have 0.1 to 4 times the weights that the cache holds, of like layers.
    """
    generator = np.random.default_rng(seed)
    tables = []
    for number in range(networks):
        builder = GraphBuilder(f"chain{seed}_{number}")
        x = builder.input(1, 64, 8, 8)
        most = CACHE * np.exp(generator.uniform(np.log(0.1), np.log(4)))
        kept = 0.0
        while kept < most:
            filters = 16 * int(generator.integers(8, 20))
            kept += 4 * 9 * filters * builder.shape(x)[1]
            x = builder.convolution(x, filters, 3)
        executed = [make_executed([layer]) for layer in builder.build().layers if layer.inputs]
        work = pd.DataFrame([(each.work.ops, each.work.weight_bytes) for each in executed])
        cold = work[1].sum() > CACHE
        table = pd.DataFrame(feature_matrix(executed), columns=list(FEATURES))
        time_s = work[0] / OPS_PER_S + cold * work[1] / BYTES_PER_S
        case = f"{seed}_{number}"
        tables.append(table.assign(time_s=time_s, case_id=case, benchmark="cells", cold=cold))
    return pd.concat(tables, ignore_index=True)


def error_of_networks(blind: tuple[str, ...]) -> pd.Series:
    """Mean absolute error of unseen networks' totals, by whether their weights are cold."""
    hidden = dict.fromkeys(blind, 0.0)
    seen, unseen = measured(150, 1).assign(**hidden), measured(60, 2).assign(**hidden)
    settings = ForestSettings(learner="boosting")
    model = fit_models(seen.drop(columns="cold"), (), 0, settings, (Mixed.kind,)).models[Mixed.kind]
    estimated_s = model.time_s(table_matrix(unseen))
    totals = unseen.assign(estimated_s=estimated_s).groupby(["case_id", "cold"])
    totals = totals[["estimated_s", "time_s"]].sum()
    return (totals["estimated_s"] / totals["time_s"] - 1).abs().groupby("cold").mean()


def test_layers_know_whether_the_cache_keeps_their_weights():
    """Cold weights double a layer's time here, and nothing of the layer itself tells."""
    told, untold = error_of_networks(()), error_of_networks(CONTEXT_FEATURES)
    assert told.max() < 0.08
    assert untold.min() > 0.12
    assert told.index.tolist() == [False, True]
