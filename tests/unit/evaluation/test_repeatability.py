"""Two measurements of the same layers compared."""

import pytest

from evaluation.repeatability import differences


def test_differences_are_relative_to_the_mean_of_both_and_of_shared_cases_only():
    found = differences({"a": 1.0, "b": 3.0, "c": 9.0}, {"a": 1.0, "b": 1.0, "d": 9.0})
    assert found.tolist() == pytest.approx([0.0, 1.0])  # |3 - 1| / 2
