"""Fitting the mapping model: a decision tree per pair of operations (ANNETTE, section 5.2).

What a toolchain leaves to the host, or fetches weights for in every run, is a tree per operation.
POSSIBLY_FUSED rows are measured again (`model_gen.fusion_decisions`); those that stay undecided
decide nothing and are left out; a pair that has no other rows gets no tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from model_gen.forest_io import forest_from_tree
from model_gen.network_tables import (
    FUSED,
    NOT_FUSED,
    POSSIBLY_FUSED,
    ROLES,
    check_mapping,
    check_placements,
)
from model_gen.tables import hashed_share
from strata.edges import EDGE_FEATURES, pair_key
from strata.forest import Forest
from strata.mapping import ORDERS, MappingModel
from strata.placement import MEMORY_FEATURES, PLACEMENT_FEATURES, placement_key

_MAX_DEPTH = 12
_MIN_SAMPLES_LEAF = 2
# Of so many results that several read, fewer than this share merged with one reader: none ever are.
# A share of one in 150 was still slices, which are addresses into what others read.
_FEWEST_SHARED = 100
_RARELY = 0.001


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
    return _held_out(case_ids, "mapping")


def _held_out(case_ids: pd.Series, purpose: str) -> np.ndarray:
    """A fifth of the cases, another for another purpose."""
    return np.array([hashed_share(f"{purpose} {case}") < 0.2 for case in case_ids], dtype=bool)


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
        known = [table]
        if placement == "host":  # no memory decides it: a constant column is never split on
            alone = table.assign(**dict.fromkeys(MEMORY_FEATURES, 0.0))
            # some toolchains leave to the host what depends on it, others all that follows
            known = [alone.assign(earlier_on_host=0.0), alone]
        found = [_placement_trees(rows, placement, seed) for rows in known]
        best = min(found, key=lambda each: sum(map(_missed, each[1])))
        trees |= best[0]
        scores += best[1]
    return trees, scores


def _missed(score: PairScore) -> int:
    """Held-out rows that a tree got wrong."""
    return score.false_positive + score.false_negative


def _placement_trees(
    table: pd.DataFrame, placement: str, seed: int
) -> tuple[dict[str, Forest], list[PairScore]]:
    """Trees of one placement by `placement_key`, and their scores."""
    placed = table["placement"] == placement
    everything = _tree(table, placed.to_numpy(), PLACEMENT_FEATURES, seed)
    trees = {placement_key("*", placement): everything}
    scores = []
    for operation, rows in table.groupby("operation"):
        truth = placed[rows.index].to_numpy()
        key = placement_key(str(operation), placement)
        trees[key] = _tree(rows, truth, PLACEMENT_FEATURES, seed)
        scores.append(_score("placement", key, rows, truth, PLACEMENT_FEATURES, 0, seed))
    return trees, scores


def asked(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Rows of a mapping table that a toolchain answered, if it asks a layer's operands in `order`.

    Once a layer has joined an operand's group, or may have, the operands after it are not asked:
    "not fused" says nothing of them.
    """
    if order == ORDERS[0]:
        return table
    fusion = (table["role"] == "fusion").to_numpy()
    rows = table[fusion].sort_values("operand_index", ascending=order == "first", kind="stable")
    joined = (rows["flag"] != NOT_FUSED).astype(int)
    by_layer = joined.groupby([rows["case_id"], rows["consumer"]])
    before = by_layer.cumsum() - joined
    return pd.concat([rows[before == 0], table[~fusion]]).sort_index()


def _operand_order(table: pd.DataFrame, seed: int) -> str:
    """The order under which trees tell held-out layers of several operands best."""
    fusion = table[(table["role"] == "fusion") & (table["flag"] != POSSIBLY_FUSED)]
    named = "consumer" in table.columns and (fusion["consumer"].fillna("") != "").all()
    if not named or fusion.empty:
        return ORDERS[0]
    sizes = fusion.groupby(["case_id", "consumer"])["flag"].transform("size")
    judging = _held_out(fusion["case_id"], "order")
    judges, rest = fusion[(sizes > 1).to_numpy() & judging], fusion[~judging]
    if judges.empty or rest.empty:
        return ORDERS[0]
    return min(ORDERS, key=lambda order: _wrong_layers(asked(rest, order), judges, order, seed))


def _wrong_layers(train: pd.DataFrame, judges: pd.DataFrame, order: str, seed: int) -> int:
    """Held-out layers that trees of `train` put into another operand's group, or into none."""
    pairs = ["producer_operation", "consumer_operation"]
    likely = pd.Series(0.0, index=judges.index)
    known = dict(list(train.groupby(pairs)))
    for pair, rows in judges.groupby(pairs):
        if pair in known:
            tree = _tree(known[pair], _fused(known[pair]), EDGE_FEATURES, seed)
            likely[rows.index] = tree.predict(rows[list(EDGE_FEATURES)].to_numpy(np.float64))
    ranks = judges["operand_index"].to_numpy()
    if order == ORDERS[0]:
        strength = likely.to_numpy()
    else:
        strength = np.where(likely > 0.5, 1.0 - ranks / 1e3 if order == "first" else 1 + ranks, 0.0)
    rows = judges.assign(strength=np.where(likely > 0.5, strength, 0.0), fused=_fused(judges))
    rows = rows.sort_values(["strength", "operand_index"], ascending=[False, True], kind="stable")
    wrong = 0
    for _, layer in rows.groupby(["case_id", "consumer"], sort=False):
        chosen = layer.iloc[0]
        joins = bool(chosen["strength"] > 0)
        wrong += bool(layer["fused"].any()) != joins or (joins and not chosen["fused"])
    return wrong


def _joins_shared(table: pd.DataFrame) -> bool:
    """Whether layers join a group whose result others read too, over all pairs of operations.

    A pair's own tree cannot tell if the benchmarks hold hardly any such result of the pair.
    """
    shared = (table["tensor_consumers"] > 1) | (table["tensor_is_output"] > 0)
    rows = table[(table["role"] == "fusion") & (table["flag"] != POSSIBLY_FUSED) & shared]
    return len(rows) < _FEWEST_SHARED or bool(_fused(rows).mean() >= _RARELY)


def fit_mapping(
    table: pd.DataFrame, networks: pd.DataFrame, seed: int
) -> tuple[MappingModel, list[PairScore]]:
    """The mapping model from the mapping table (one row per decision) and the networks table.

    Strides count as moved if more networks were executed so than not, a shared result as never
    merged with a reader if it hardly ever was. FitError as `check_mapping`.
    """
    table = check_mapping(table).reset_index(drop=True)
    order = _operand_order(table, seed)
    table = asked(table, order)
    trees: dict[str, dict[str, Forest]] = {}
    scores: list[PairScore] = []
    for role in ROLES:
        trees[role], found = _fit_role(table, role, seed)
        scores += found
    moved = networks["strides_moved"].value_counts()
    moves = bool(moved.get("moved", 0) > moved.get("kept", 0))
    model = MappingModel(
        trees["fusion"],
        trees["insertion"],
        moves,
        operand_order=order,
        joins_shared=_joins_shared(table),
    )
    return model, scores
