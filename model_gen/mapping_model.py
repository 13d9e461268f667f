"""The whole mapping model of some cases: trees of fusion, insertion and placement, and the memory.

`model_gen.mapping_fit` and `model_gen.memory_fit` fit the parts; cases can be left out of all.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from model_gen.mapping_fit import PairScore, fit_mapping, fit_placement
from model_gen.memory_fit import fit_memory
from strata.mapping import MappingModel


@dataclass(frozen=True, slots=True, eq=False)
class NetworkTables:
    """The tables beside those of the layers: decisions, placements, and one row per graph."""

    mapping: pd.DataFrame
    placements: pd.DataFrame
    networks: pd.DataFrame

    def without(self, cases: Collection[str]) -> "NetworkTables":
        """The rows of all other cases."""
        every = (self.mapping, self.placements, self.networks)
        return NetworkTables(*(table[~table["case_id"].isin(cases)] for table in every))


def fit_trees(tables: NetworkTables, seed: int) -> tuple[MappingModel, list[PairScore]]:
    """All trees of the mapping model, and how they do on cases held out of them."""
    mapping, scores = fit_mapping(tables.mapping, tables.networks, seed)
    placement, placement_scores = fit_placement(tables.placements, seed)
    return replace(mapping, placement=placement), [*scores, *placement_scores]


def fit_mapping_model(tables: NetworkTables, seed: int) -> tuple[MappingModel, list[PairScore]]:
    """The mapping model, trees and memory, and how its trees do on cases held out of them."""
    mapping, scores = fit_trees(tables, seed)
    return replace(mapping, memory=fit_memory(tables.placements)), scores
