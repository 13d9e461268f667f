"""What a network costs beside its layers: per run, per layer, per byte in and out.

Learned from multi-layer benchmark networks only; ANNETTE's total is the plain sum (section 6).
"""

import numpy as np
import pandas as pd

from model_gen.non_negative import non_negative
from strata.platform_model import NetworkOverhead

_AMOUNTS = ("executed_layers", "input_bytes", "output_bytes")


def fit_overhead(networks: pd.DataFrame) -> NetworkOverhead:
    """Non-negative least squares of end-to-end time less layer sum, relative to the total.

    Columns: time_s, layers_s (seconds), executed_layers, input_bytes and
    output_bytes (those that leave, `strata.link`). No rows give no overhead.
    """
    if networks.empty:
        return NetworkOverhead()
    total = networks["time_s"].to_numpy(np.float64)
    gap = total - networks["layers_s"].to_numpy(np.float64)
    counts = networks[list(_AMOUNTS)].to_numpy(np.float64)
    design = np.column_stack([np.ones(len(total)), counts]) / total[:, None]
    found = non_negative(design, gap / total, "overhead of networks")
    return NetworkOverhead(*(float(value) for value in found))
