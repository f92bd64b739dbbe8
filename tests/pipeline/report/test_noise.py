"""Welch's t-test: against a value worked out by hand, and where there is nothing to test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.results import exceeds, welch


def test_two_seeds_are_too_few():
    assert welch([0.9, 0.8], [0.7, 0.6, 0.5]) is None
    assert not exceeds(None)


def test_welch_by_hand():
    # means 2 and 6, variances 1 and 1, n = 3: t = -4 / sqrt(2/3) = -4.899 with 4 degrees of freedom.
    # There P(|T| > t) = 1 - x (3 - x^2) / 2 with x = t / sqrt(4 + t^2) = sqrt(24 / 28)
    x = (24 / 28) ** 0.5
    assert welch([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]) == pytest.approx(1 - x * (3 - x**2) / 2)


def test_no_spread_on_either_side_is_the_limit_and_no_warning():
    assert welch([0.9] * 3, [0.9] * 3) == 1.0
    assert welch([0.9] * 3, [0.8] * 3) == 0.0


def test_no_spread_on_one_side_is_tested_against_the_other():
    p = welch([0.9] * 3, [0.86, 0.88, 0.87])
    assert p is not None
    assert 0.01 < p < 0.05


VALUES = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=3, max_size=6)


@given(VALUES, VALUES)
def test_a_p_value_is_a_probability_and_the_same_both_ways(a, b):
    p = welch(a, b)
    assert p is not None
    assert 0 <= p <= 1
    assert p == pytest.approx(welch(b, a))
