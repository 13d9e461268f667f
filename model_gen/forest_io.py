"""From scikit-learn's fitted trees to Strata's forests: the arrays only, exactly equal results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from strata.forest import Forest

_LEAF = -1


def forest_from_tree(tree: DecisionTreeClassifier | DecisionTreeRegressor) -> Forest:
    """A forest of one tree; for a classifier the value is the probability of class 1 (or True)."""
    return _concatenate([_tree(tree)])


def forest_from_random_forest(forest: RandomForestRegressor) -> Forest:
    """All trees of a regression forest, in their order."""
    return _concatenate([_tree(tree) for tree in forest.estimators_])


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


def _concatenate(trees: Sequence[Forest]) -> Forest:
    starts = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1].astype(np.int32)
    return Forest(
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=np.concatenate([_shift(t.left, s) for t, s in zip(trees, starts, strict=True)]),
        right=np.concatenate([_shift(t.right, s) for t, s in zip(trees, starts, strict=True)]),
        value=np.concatenate([tree.value for tree in trees]),
        roots=starts,
    )


def _shift(children: np.ndarray, start: np.int32) -> np.ndarray:
    return np.where(children == _LEAF, _LEAF, children + start).astype(np.int32)
