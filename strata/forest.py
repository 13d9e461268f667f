"""Regression forests and single decision trees as plain arrays, evaluated with numpy.

No pickle and no fitting library: a forest is data that can be stored, checked and read by anyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strata.errors import ArtefactError

_LEAF = -1
_DEEPEST = 1000  # far beyond any fitted tree; bounds the work a hostile file can ask for
_ROWS_AT_ONCE = 4096  # keeps the (trees x rows) index arrays small on large tables
_STORED = ("feature", "split", "left", "right", "roots")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """All trees concatenated; node n of N tests `column[feature[n]] <= threshold[n]`.

    `feature` (N,) integers, -1 at leaves; `threshold` (N,) floats, read at inner nodes; `left`
    and `right` (N,) integers, the next node if the test holds or not, always after their parent;
    `value` (N,) floats, read at leaves; `roots` (T,) integers, the trees' first nodes.
    `check` what comes from a file before using it.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    roots: np.ndarray

    def check(self, columns: int) -> None:
        """ArtefactError unless this is a forest over `columns` columns as the class describes it.

        No cycle, no node with two parents, no tree deeper than a fixed limit: `predict` ends.
        """
        _check_arrays(self, columns)
        _check_links(self)
        _check_depth(self)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Mean over trees of the leaf values, (rows,) for a (rows, columns) matrix.

        Columns are compared as 32-bit floats, as scikit-learn does, and trees are summed in
        their order: results equal scikit-learn's on one thread.
        """
        columns = np.asarray(matrix, dtype=np.float32)
        starts = range(0, len(columns), _ROWS_AT_ONCE)
        parts = [self._predict(columns[start : start + _ROWS_AT_ONCE]) for start in starts]
        return np.concatenate([np.empty(0), *parts])

    def _predict(self, columns: np.ndarray) -> np.ndarray:
        rows, trees = len(columns), len(self.roots)
        node = np.repeat(self.roots, rows)
        row = np.tile(np.arange(rows), trees)
        active = np.arange(rows * trees)
        while active.size:
            current = node[active]
            feature = self.feature[current]
            inner = feature >= 0
            active, current, feature = active[inner], current[inner], feature[inner]
            below = columns[row[active], feature] <= self.threshold[current]
            node[active] = np.where(below, self.left[current], self.right[current])
        leaves = self.value[node].reshape(trees, rows)
        return np.cumsum(leaves, axis=0)[-1] / trees


def _require(holds: bool | np.bool_, rule: str) -> None:
    if not holds:
        raise ArtefactError(f"forest: {rule}")


def _check_arrays(forest: Forest, columns: int) -> None:
    integers = (forest.feature, forest.left, forest.right, forest.roots)
    floats = (forest.threshold, forest.value)
    for array in (*integers, *floats):
        _require(isinstance(array, np.ndarray) and array.ndim == 1, "arrays must be 1-dimensional")
    _require(all(array.dtype.kind == "i" for array in integers), "links must be signed integers")
    _require(all(array.dtype.kind == "f" for array in floats), "values must be floats")
    nodes = len(forest.feature)
    lengths = {len(array) for array in (*integers[:3], *floats)}
    _require(lengths == {nodes} and nodes > 0, "node arrays must have one length, at least 1")
    _require(len(forest.roots) > 0, "needs at least one tree")
    leaf = forest.feature == _LEAF
    known = (forest.feature >= _LEAF) & (forest.feature < columns)
    _require(known.all(), f"feature must be -1 or one of {columns} columns")
    _require(np.isfinite(forest.threshold[~leaf]).all(), "thresholds must be finite")
    _require(np.isfinite(forest.value[leaf]).all(), "leaf values must be finite")


def _check_links(forest: Forest) -> None:
    nodes = len(forest.feature)
    inner = np.flatnonzero(forest.feature != _LEAF)
    for children in (forest.left[inner], forest.right[inner]):
        in_place = (children > inner) & (children < nodes)
        _require(in_place.all(), "children must come after their parent, inside the arrays")
    _require(np.all((forest.roots >= 0) & (forest.roots < nodes)), "roots must be nodes")
    reached = np.concatenate([forest.roots, forest.left[inner], forest.right[inner]])
    _require(np.bincount(reached).max() <= 1, "no node may be reached in two ways")


def _check_depth(forest: Forest) -> None:
    level = forest.roots
    for _ in range(_DEEPEST):
        level = level[forest.feature[level] != _LEAF]
        if not level.size:
            return
        level = np.concatenate([forest.left[level], forest.right[level]])
    _require(False, f"trees must be at most {_DEEPEST} levels deep")


def concatenate(forests: Sequence[Forest]) -> Forest:
    """All trees of several forests as one, in their order; without any, empty arrays."""
    starts = np.cumsum([0, *(len(forest.feature) for forest in forests)])[:-1]

    def shifted(name: str) -> np.ndarray:
        pairs = zip((getattr(forest, name) for forest in forests), starts, strict=True)
        return _join(
            [np.where(links < 0, links, links + start) for links, start in pairs], np.int32
        )

    return Forest(
        feature=_join([forest.feature for forest in forests], np.int32),
        threshold=_join([forest.threshold for forest in forests], np.float64),
        left=shifted("left"),
        right=shifted("right"),
        value=_join([forest.value for forest in forests], np.float64),
        roots=shifted("roots"),
    )


def _join(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate([*parts, np.empty(0, dtype=kind)]).astype(kind)


def forest_to_arrays(forest: Forest) -> dict[str, np.ndarray]:
    """Arrays to store: thresholds and leaf values share `split`, as no node has both."""
    leaf = forest.feature == _LEAF
    return {
        "feature": forest.feature.astype(np.int16),
        "split": np.where(leaf, forest.value, forest.threshold).astype(np.float64),
        "left": np.where(leaf, _LEAF, forest.left).astype(np.int32),
        "right": np.where(leaf, _LEAF, forest.right).astype(np.int32),
        "roots": forest.roots.astype(np.int32),
    }


def forest_from_arrays(arrays: Mapping[str, np.ndarray]) -> Forest:
    """The forest stored by `forest_to_arrays`, unchecked; ArtefactError if an array is missing."""
    missing = [name for name in _STORED if name not in arrays]
    if missing:
        raise ArtefactError(f"forest lacks {', '.join(missing)}")
    feature, split, left, right, roots = (arrays[name] for name in _STORED)
    return Forest(feature, split, left, right, split, roots)


def tree_value(tree: Forest, row: Sequence[float]) -> float:
    """Value of a single tree for one row: a scalar walk, since edges are decided one by one.

    Features are compared in single precision, as the trees were trained.
    """
    node = int(tree.roots[0])
    while (column := int(tree.feature[node])) >= 0:
        goes_left = np.float32(row[column]) <= tree.threshold[node]
        node = int(tree.left[node] if goes_left else tree.right[node])
    return float(tree.value[node])
