"""What a network costs beside its layers: per run and per executed layer.

Learned from multi-layer benchmark networks only; ANNETTE's total is the plain sum (section 6).
"""

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from strata.platform_model import NetworkOverhead


def fit_overhead(networks: pd.DataFrame) -> NetworkOverhead:
    """Non-negative least squares of end-to-end time less layer sum, relative to the total.

    Columns: time_s, layers_s (seconds), executed_layers. No rows give no overhead.
    """
    if networks.empty:
        return NetworkOverhead(0.0, 0.0)
    total = networks["time_s"].to_numpy(np.float64)
    gap = total - networks["layers_s"].to_numpy(np.float64)
    design = np.column_stack([np.ones(len(total)), networks["executed_layers"]]) / total[:, None]
    (per_network, per_layer), _ = nnls(design, gap / total)
    return NetworkOverhead(float(per_network), float(per_layer))
