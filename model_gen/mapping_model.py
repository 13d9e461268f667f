"""The whole mapping model: trees of fusion, insertion and placement, and the memory.

`model_gen.mapping_fit` and `model_gen.memory_fit` fit the parts.
"""

from dataclasses import dataclass, replace

import pandas as pd

from model_gen.mapping_fit import PairScore, fit_mapping, fit_placement
from model_gen.memory_fit import fit_memory
from model_gen.tables import inside_networks
from strata.mapping import MappingModel


@dataclass(frozen=True, slots=True, eq=False)
class NetworkTables:
    """The tables beside those of the layers: decisions, placements, and one row per graph."""

    mapping: pd.DataFrame
    placements: pd.DataFrame
    networks: pd.DataFrame


def multi_layer(networks: pd.DataFrame) -> pd.DataFrame:
    """The rows of benchmarks whose layers stand as in networks."""
    return networks[inside_networks(networks)]


def fit_mapping_model(tables: NetworkTables, seed: int) -> tuple[MappingModel, list[PairScore]]:
    """The mapping model, trees and memory, and how its trees do on cases held out of them."""
    mapping, scores = fit_mapping(tables.mapping, tables.networks, seed)
    placement, placement_scores = fit_placement(tables.placements, seed)
    memory = fit_memory(tables.placements)
    return replace(mapping, placement=placement, memory=memory), [*scores, *placement_scores]
