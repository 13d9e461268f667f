"""ANNETTE's equations 1 to 6 on numbers worked by hand."""

import numpy as np
import pytest

from strata.equations import (
    memory_time_s,
    mixed_time_s,
    refined_time_s,
    roofline_time_s,
    statistical_time_s,
    utilisation,
    utilisation_refined,
)
from strata.errors import SchemaError

P, B = 1e12, 1e10  # 1 Tops/s, 10 GB/s: balance at 100 operations per byte


def test_equation_1_takes_the_longer_term():
    # 2e9 / 1e12 = 2 ms against 1e6 / 1e10 = 0.1 ms; 1e8 / 1e12 = 0.1 ms against 5e7 / 1e10 = 5 ms
    times = roofline_time_s([2e9, 1e8], [1e6, 5e7], P, B)
    assert times == pytest.approx([2e-3, 5e-3])


def test_equation_2_slows_the_compute_term_only():
    # u = 0.5: 2 ms become 4 ms, but the memory-bound 5 ms stay (0.1 ms become 0.2 ms)
    times = refined_time_s([2e9, 1e8], [1e6, 5e7], P, B, 0.5)
    assert times == pytest.approx([4e-3, 5e-3])


def test_equation_3_on_the_papers_example():
    # a 12 x 6 feature map on 16 x 12 elements: 12/16 * 6/12 = 0.75 * 0.5
    assert utilisation([12, 6], [16, 12]) == pytest.approx(0.375)


def test_equation_3_with_several_passes():
    # x/s = 20/16 = 1.25, ceil 2: 0.625; x/s = 32/16 = 2, ceil 2: 1
    assert utilisation([[20], [32]], [16]) == pytest.approx([0.625, 1.0])


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 0.75), (1.0, 1.0), (0.5, 6 / 7)])
def test_equation_4_between_full_loss_and_none(alpha, expected):
    # x/s = 0.75, ceil/(x/s) = 4/3; alpha 0.5: 1 / (0.5 + 4/3 * 0.5) = 6/7
    assert utilisation_refined([12], [16], [alpha]) == pytest.approx(expected)


def test_equation_4_multiplies_dimensions():
    # 12 on 16 with alpha 0: 0.75; 6 on 12 with alpha 1: 1; together 0.75
    assert utilisation_refined([[12, 6]], [16, 12], [0, 1]) == pytest.approx([0.75])


def test_equation_4_without_dimensions_is_one():
    assert utilisation_refined(np.empty((3, 0)), [], []) == pytest.approx([1, 1, 1])


def test_equation_5_keeps_the_memory_roof():
    # u_stat = 0.1: 2 ms become 20 ms; the memory-bound layer stays at 5 ms (0.1 ms become 1 ms)
    times = statistical_time_s([2e9, 1e8], [1e6, 5e7], P, B, 0.1)
    assert times == pytest.approx([20e-3, 5e-3])


def test_equation_6_divides_by_both_and_keeps_the_memory_roof():
    # 2 ms / (0.5 * 0.1) = 40 ms; 0.1 ms / 0.05 = 2 ms, below the roof of 5 ms
    times = mixed_time_s([2e9, 1e8], [1e6, 5e7], P, B, 0.5, 0.1)
    assert times == pytest.approx([40e-3, 5e-3])


def test_equation_6_applies_u_eff_where_the_plain_roofline_is_memory_bound():
    # roofline: 4 ms of compute under 5 ms of memory; with u = 0.5 compute is 8 ms and binds
    assert mixed_time_s(4e9, 5e7, P, B, 0.5, 1.0) == pytest.approx(8e-3)


def test_infinite_peak_switches_its_term_off():
    assert roofline_time_s(1e9, 1e6, np.inf, B) == pytest.approx(1e-4)


def test_bandwidth_efficiency():
    assert memory_time_s(1e6, B, 0.5) == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: roofline_time_s(-1, 1, P, B), "ops"),
        (lambda: roofline_time_s(1, np.nan, P, B), "moved_bytes"),
        (lambda: roofline_time_s(1, 1, 0, B), "peak_ops_per_s"),
        (lambda: roofline_time_s(1, 1, P, -B), "peak_bytes_per_s"),
        (lambda: refined_time_s(1, 1, P, B, 0), "utilisation"),
        (lambda: mixed_time_s(1, 1, P, B, 1.5, 1), "u_eff"),
        (lambda: mixed_time_s(1, 1, P, B, 1, np.nan), "u_stat"),
        (lambda: utilisation([0], [16]), "x"),
        (lambda: utilisation([12], [1.5]), "s"),
        (lambda: utilisation_refined([12], [16], [1.1]), "alpha"),
    ],
)
def test_arguments_outside_their_domain_are_named(call, name):
    with pytest.raises(SchemaError, match=f"^{name} is") as caught:
        call()
    assert "\n" not in str(caught.value)
