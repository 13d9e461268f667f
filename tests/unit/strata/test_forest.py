"""Forests as arrays: worked by hand, and refused when they could not end."""

from dataclasses import replace

import numpy as np
import pytest

from strata.errors import ArtefactError
from strata.forest import Forest, forest_from_arrays, forest_to_arrays


def two_trees() -> Forest:
    """Tree 1: column 0 <= 1.5 ? 10 : (column 1 <= 0 ? 20 : 30). Tree 2: a leaf of 4."""
    return Forest(
        feature=np.array([0, -1, 1, -1, -1, -1]),
        threshold=np.array([1.5, 0, 0, 0, 0, 0]),
        left=np.array([1, -1, 3, -1, -1, -1]),
        right=np.array([2, -1, 4, -1, -1, -1]),
        value=np.array([0.0, 10, 0, 20, 30, 4]),
        roots=np.array([0, 5]),
    )


def test_prediction_is_the_mean_over_trees():
    matrix = np.array([[1.5, 9.0], [2.0, 0.0], [2.0, 0.1]])
    # (10 + 4) / 2, (20 + 4) / 2, (30 + 4) / 2
    assert two_trees().predict(matrix) == pytest.approx([7, 12, 17])


def test_no_rows_give_no_predictions():
    assert two_trees().predict(np.empty((0, 2))).shape == (0,)


def test_many_rows_equal_rows_one_by_one():
    matrix = np.random.default_rng(0).normal(1.0, 1.0, (5000, 2))
    together = two_trees().predict(matrix)
    assert np.array_equal(together[::500], [two_trees().predict(r[None])[0] for r in matrix[::500]])


def test_values_are_compared_in_single_precision():
    """1.5 + 1e-9 is 1.5 as a 32-bit float, so it goes left."""
    assert two_trees().predict(np.array([[1.5 + 1e-9, 0.0]])) == pytest.approx([7])


def test_stored_arrays_give_the_same_predictions():
    forest = forest_from_arrays(forest_to_arrays(two_trees()))
    forest.check(2)
    matrix = np.random.default_rng(1).normal(1.0, 1.0, (50, 2))
    assert np.array_equal(forest.predict(matrix), two_trees().predict(matrix))


def test_missing_array_is_named():
    arrays = forest_to_arrays(two_trees())
    del arrays["split"]
    with pytest.raises(ArtefactError, match="split"):
        forest_from_arrays(arrays)


def changed(name: str, index: int, value: float) -> Forest:
    array = getattr(two_trees(), name).copy()
    array[index] = value
    return replace(two_trees(), **{name: array})


@pytest.mark.parametrize(
    ("forest", "rule"),
    [
        (changed("feature", 0, 2), "columns"),
        (changed("feature", 0, -2), "columns"),
        (changed("left", 2, 0), "after their parent"),
        (changed("right", 0, 6), "inside the arrays"),
        (changed("left", 0, 0), "after their parent"),
        (changed("right", 0, 1), "two ways"),
        (changed("roots", 1, 6), "roots"),
        (changed("roots", 1, 0), "two ways"),
        (changed("threshold", 0, np.nan), "thresholds"),
        (changed("value", 3, np.inf), "leaf values"),
        (replace(two_trees(), roots=np.empty(0, dtype=int)), "one tree"),
        (replace(two_trees(), value=np.zeros(3)), "one length"),
        (replace(two_trees(), left=np.zeros(6)), "integers"),
        (replace(two_trees(), value=np.zeros((6, 1))), "1-dimensional"),
        (replace(two_trees(), value=np.array(["a"] * 6)), "floats"),
    ],
)
def test_malformed_forest_is_refused(forest, rule):
    with pytest.raises(ArtefactError, match=rule):
        forest.check(2)


def test_endless_tree_is_refused():
    """A chain of 5000 tests, each with a leaf on its left."""
    inner = np.arange(0, 10_000, 2)
    feature, left, right = (np.full(10_001, -1) for _ in range(3))
    feature[inner], left[inner], right[inner] = 0, inner + 1, inner + 2
    zeros = np.zeros(10_001)
    with pytest.raises(ArtefactError, match="levels deep"):
        Forest(feature, zeros, left, right, zeros, np.array([0])).check(1)


def test_sound_forest_passes():
    two_trees().check(2)
