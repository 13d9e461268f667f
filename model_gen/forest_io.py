"""From scikit-learn's fitted trees to Strata's forests: the arrays only, exactly equal results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from strata.forest import Forest, concatenate

_LEAF = -1


def forest_from_tree(tree: DecisionTreeClassifier | DecisionTreeRegressor) -> Forest:
    """A forest of one tree; for a classifier the value is the probability of class 1 (or True)."""
    return concatenate([_tree(tree)])


def forest_from_random_forest(forest: RandomForestRegressor) -> Forest:
    """All trees of a regression forest, in their order."""
    return concatenate([_tree(tree) for tree in forest.estimators_])


def forest_from_boosting(
    boosting: HistGradientBoostingRegressor, edges: Sequence[np.ndarray] | None = None
) -> Forest:
    """All trees of a boosted regression; leaves are scaled so that their mean is boosting's sum.

    With `edges` the columns that it was fitted to are numbers of bins, 0 for values up to the
    first edge, and the forest compares the values themselves. scikit-learn offers no public way to
    these trees; a test compares predictions.
    """
    trees = [predictor for (predictor,) in boosting._predictors]
    start = float(np.ravel(boosting._baseline_prediction)[0])
    return concatenate([_boosted(tree.nodes, start, len(trees), edges) for tree in trees])


def _boosted(nodes: Any, start: float, trees: int, edges: Sequence[np.ndarray] | None) -> Forest:
    leaf = nodes["is_leaf"].astype(bool)
    threshold = nodes["num_threshold"].copy()
    if edges is not None:
        for node in np.flatnonzero(~leaf):
            threshold[node] = edges[nodes["feature_idx"][node]][int(threshold[node])]
    return Forest(
        feature=np.where(leaf, _LEAF, nodes["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0.0, threshold),
        left=np.where(leaf, _LEAF, nodes["left"].astype(np.int64)).astype(np.int32),
        right=np.where(leaf, _LEAF, nodes["right"].astype(np.int64)).astype(np.int32),
        value=np.where(leaf, start + trees * nodes["value"], 0.0),
        roots=np.zeros(1, dtype=np.int32),
    )


def _tree(estimator: Any) -> Forest:
    tree = estimator.tree_
    leaf = tree.children_left == _LEAF
    values = _class_one(estimator) if hasattr(estimator, "classes_") else tree.value[:, 0, 0]
    return Forest(
        feature=np.where(leaf, _LEAF, tree.feature).astype(np.int32),
        threshold=np.where(leaf, 0.0, tree.threshold),
        left=tree.children_left.astype(np.int32),
        right=tree.children_right.astype(np.int32),
        value=np.where(leaf, values, 0.0),
        roots=np.zeros(1, dtype=np.int32),
    )


def _class_one(estimator: DecisionTreeClassifier) -> np.ndarray:
    counts = estimator.tree_.value[:, 0, :]
    ones = counts[:, np.asarray(estimator.classes_) == 1].sum(axis=1)
    return ones / counts.sum(axis=1)
