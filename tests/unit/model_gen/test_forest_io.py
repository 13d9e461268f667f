"""Strata's forests must answer exactly as the scikit-learn models they come from."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from model_gen.forest_io import (
    forest_from_boosting,
    forest_from_random_forest,
    forest_from_tree,
)
from model_gen.statistical import ForestSettings, bin_edges, fit_columns, make_regressor


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(7)
    # integers and large counts, as features are; values that single precision cannot hold
    matrix = np.column_stack(
        [generator.integers(1, 9, 400), generator.integers(1, 2**40, 400), generator.random(400)]
    ).astype(float)
    target = np.log(matrix[:, 1]) * matrix[:, 0] + generator.normal(0, 0.1, 400)
    return matrix, target


@pytest.mark.parametrize("options", [{}, {"max_leaf_nodes": 20}, {"min_samples_leaf": 5}])
def test_random_forest(data, options):
    matrix, target = data
    fitted = RandomForestRegressor(n_estimators=15, n_jobs=1, random_state=1, **options)
    fitted.fit(matrix, target)
    forest = forest_from_random_forest(fitted)
    forest.check(3)
    unseen = matrix * 1.0000001
    for rows in (matrix, unseen, matrix[:1]):
        assert np.array_equal(forest.predict(rows), fitted.predict(rows))


def test_regression_tree(data):
    matrix, target = data
    fitted = DecisionTreeRegressor(random_state=1).fit(matrix, target)
    assert np.array_equal(forest_from_tree(fitted).predict(matrix), fitted.predict(matrix))


@pytest.mark.parametrize("labels", [int, bool])
def test_classification_tree_gives_probability_of_class_one(data, labels):
    matrix, target = data
    fitted = DecisionTreeClassifier(max_depth=3, random_state=1)
    fitted.fit(matrix, (target > np.median(target)).astype(labels))
    expected = fitted.predict_proba(matrix)[:, 1]
    assert np.allclose(forest_from_tree(fitted).predict(matrix), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("label", [0, 1])
def test_classification_tree_that_saw_one_class(data, label):
    matrix, _ = data
    fitted = DecisionTreeClassifier().fit(matrix, np.full(len(matrix), label))
    forest = forest_from_tree(fitted)
    forest.check(3)
    assert np.array_equal(forest.predict(matrix), np.full(len(matrix), float(label)))


@pytest.mark.parametrize(
    "options", [{}, {"max_iter": 1}, {"max_leaf_nodes": 4}, {"min_samples_leaf": 2}]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_boosting_on_new_rows(data, options, weighted):
    matrix, target = data
    generator = np.random.default_rng(11)
    # in single precision, as a forest compares them
    rows = matrix.astype(np.float32)
    weights = generator.choice([0.1, 1.0], len(rows)) if weighted else None
    fitted = HistGradientBoostingRegressor(early_stopping=False, random_state=1, **options)
    fitted.fit(rows, target, sample_weight=weights)
    forest = forest_from_boosting(fitted)
    forest.check(3)
    assert len(forest.roots) == options.get("max_iter", 100)
    unseen = np.column_stack([generator.permutation(column) for column in rows.T])
    unseen = np.concatenate([unseen, np.nextafter(rows, np.float32(0)), unseen * 3, -unseen])
    for new in (rows, unseen, unseen[:1]):
        assert np.allclose(forest.predict(new), fitted.predict(new), rtol=0, atol=1e-9)


def test_boosting_of_equal_targets_is_their_value(data):
    matrix, _ = data
    fitted = HistGradientBoostingRegressor(max_iter=3, early_stopping=False)
    forest = forest_from_boosting(fitted.fit(matrix, np.full(len(matrix), 2.5)))
    forest.check(3)
    assert forest.predict(matrix) == pytest.approx(2.5, abs=1e-9)


@pytest.mark.parametrize("rows", [200, 2000])
def test_bins_of_our_own_give_scikit_learns_trees(rows):
    generator = np.random.default_rng(3)
    matrix = generator.lognormal(size=(rows, 3)).astype(np.float32)
    matrix[:, 2] = generator.integers(0, 5, rows)
    target = np.log(matrix[:, 0]) + np.sin(3 * matrix[:, 1]) * matrix[:, 2]
    settings = ForestSettings(learner="boosting", minimum_leaf=5)
    found = fit_columns(matrix, ("a", "b", "c"), target, 1, settings).forest
    theirs = make_regressor(settings, ("a", "b", "c"), 1, len(matrix)).fit(matrix, target)
    unseen = np.column_stack([generator.permutation(column) for column in matrix.T])
    for new in (matrix, unseen, unseen * 3, -unseen):
        assert np.allclose(found.predict(new), theirs.predict(new), rtol=0, atol=1e-9)


def test_bins_lie_between_few_values_and_hold_equal_shares_of_many():
    assert bin_edges(np.array([4.0, 1.0, 2.0, 1.0])).tolist() == [1.5, 3.0]
    edges = bin_edges(np.arange(5100.0))
    assert len(edges) == 254
    shares = np.bincount(np.searchsorted(edges, np.arange(5100.0)))
    assert set(shares) <= {19, 20, 21}
