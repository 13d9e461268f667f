"""Figure 7 of ANNETTE: what refined, statistical and mixed model say over channels x filters.

Upper row: estimated time as surfaces, as in the paper. Lower row: effective performance
ops / time as maps, where steps of the compute array show; measured points overlaid in the same
colours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from evaluation.paper_tables import KIND_TEXT
from evaluation.plot_style import new_figure, styled
from strata.builder import GraphBuilder
from strata.errors import SchemaError, legal
from strata.execution import FEATURES, feature_matrix, make_executed
from strata.layer import make_layer
from strata.layer_models import LayerModel
from strata.operations import Convolution

PANELS = ("refined", "statistical", "mixed")
OPS = FEATURES.index("ops")


@dataclass(frozen=True, slots=True)
class Slice:
    """A family of convolutions, stride 1, kernel and input size fixed, c and f swept."""

    kernel: int = 3
    size: int = 28
    smallest: int = 8
    largest: int = 256
    points: int = 62
"""ends here"""
