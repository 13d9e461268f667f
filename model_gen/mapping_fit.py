"""Fitting the mapping model: a decision tree per pair of operations (ANNETTE, section 5.2).

What a toolchain leaves to the host, or fetches weights for in every run, is a tree per operation.
POSSIBLY_FUSED rows are measured again (`model_gen.fusion_decisions`); those that stay undecided
decide nothing and are left out; a pair that has no other rows gets no tree.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from model_gen.forest_io import forest_from_tree
from model_gen.network_tables import FUSED, POSSIBLY_FUSED, ROLES, check_mapping, check_placements
from strata.edges import EDGE_FEATURES, pair_key
from strata.forest import Forest
from strata.mapping import MappingModel
from strata.placement import MEMORY_FEATURES, PLACEMENT_FEATURES, placement_key

_MAX_DEPTH = 12
_MIN_SAMPLES_LEAF = 2


@dataclass(frozen=True, slots=True)
class PairScore:
    """Confusion counts of one pair's tree on cases held out of its training (20%)."""

    role: str
    producer: str
    consumer: str
    samples: int
    undecided: int
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


def _tree(rows: pd.DataFrame, truth: np.ndarray, columns: Sequence[str], seed: int) -> Forest:
    # the splits see single precision, as prediction does
    features = rows[list(columns)].to_numpy(np.float32)
    tree = DecisionTreeClassifier(
        max_depth=_MAX_DEPTH, min_samples_leaf=_MIN_SAMPLES_LEAF, random_state=seed
    )
    return forest_from_tree(tree.fit(features, truth))


def held_out(case_ids: pd.Series) -> np.ndarray:
    """True for about 20% of the cases: whole cases, the same ones whatever else is in the table."""
    return np.array([zlib.crc32(case.encode()) % 5 == 0 for case in case_ids], dtype=bool)


def _fused(rows: pd.DataFrame) -> np.ndarray:
    return (rows["flag"] == FUSED).to_numpy()


def _score(
    role: str,
    key: str,
    rows: pd.DataFrame,
    truth: np.ndarray,
    columns: Sequence[str],
    undecided: int,
    seed: int,
) -> PairScore:
    validation = held_out(rows["case_id"])
    producer, consumer = key.split("->")
    counts = dict.fromkeys(
        ("true_positive", "false_positive", "true_negative", "false_negative"), 0
    )
    if validation.any() and not validation.all():
        tree = _tree(rows[~validation], truth[~validation], columns, seed)
        matrix = rows.loc[validation, list(columns)].to_numpy(np.float64)
        predicted, actual = tree.predict(matrix) > 0.5, truth[validation]
        counts = {
            "true_positive": int(np.sum(predicted & actual)),
            "false_positive": int(np.sum(predicted & ~actual)),
            "true_negative": int(np.sum(~predicted & ~actual)),
            "false_negative": int(np.sum(~predicted & actual)),
        }
    return PairScore(role, producer, consumer, len(rows), undecided, **counts)


def _fit_role(
    table: pd.DataFrame, role: str, seed: int
) -> tuple[dict[str, Forest], list[PairScore]]:
    chosen = table[table["role"] == role]
    decided = chosen[chosen["flag"] != POSSIBLY_FUSED]
    trees: dict[str, Forest] = {}
    scores: list[PairScore] = []
    pairs = ["producer_operation", "consumer_operation"]
    sizes = chosen.groupby(pairs).size().to_dict()
    for (producer, consumer), rows in decided.groupby(pairs):
        key = pair_key(str(producer), str(consumer))
        trees[key] = _tree(rows, _fused(rows), EDGE_FEATURES, seed)
        undecided = int(sizes[producer, consumer]) - len(rows)
        score = _score(role, key, rows, _fused(rows), EDGE_FEATURES, undecided, seed)
        scores.append(score)
    inside = decided[decided["producer_operation"] != "input"]
    for consumer, rows in inside.groupby("consumer_operation"):
        trees[pair_key("*", str(consumer))] = _tree(rows, _fused(rows), EDGE_FEATURES, seed)
    return trees, scores


def fit_placement(table: pd.DataFrame, seed: int) -> tuple[dict[str, Forest], list[PairScore]]:
    """Trees by `placement_key` from one row per executed layer, and their scores.

    Only placements that occur get trees: one per measured operation (mostly "never"), and one of
    all rows for operations that were not measured. FitError as `check_placements`.
    """
    check_placements(table)
    trees: dict[str, Forest] = {}
    scores: list[PairScore] = []
    for placement in sorted(set(table["placement"]) - {""}):
        placed = table["placement"] == placement
        known = table
        if placement == "host":  # no memory decides it: a constant column is never split on
            known = table.assign(**dict.fromkeys(MEMORY_FEATURES, 0.0))
        everything = _tree(known, placed.to_numpy(), PLACEMENT_FEATURES, seed)
        trees[placement_key("*", placement)] = everything
        for operation, rows in known.groupby("operation"):
            truth = placed[rows.index].to_numpy()
            key = placement_key(str(operation), placement)
            trees[key] = _tree(rows, truth, PLACEMENT_FEATURES, seed)
            scores.append(_score("placement", key, rows, truth, PLACEMENT_FEATURES, 0, seed))
    return trees, scores


def fit_mapping(
    table: pd.DataFrame, networks: pd.DataFrame, seed: int
) -> tuple[MappingModel, list[PairScore]]:
    """The mapping model from the mapping table (one row per decision) and the networks table.

    Strides count as moved if more networks were executed so than not. FitError as
    `check_mapping`.
    """
    check_mapping(table)
    trees: dict[str, dict[str, Forest]] = {}
    scores: list[PairScore] = []
    for role in ROLES:
        trees[role], found = _fit_role(table, role, seed)
        scores += found
    moved = networks["strides_moved"].value_counts()
    moves = bool(moved.get("moved", 0) > moved.get("kept", 0))
    return MappingModel(trees["fusion"], trees["insertion"], moves), scores
