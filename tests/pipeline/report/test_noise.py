"""Tests of differences: against values worked out by hand, and where there is nothing to test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.noise import Difference, Stat, compared, exceeds, holm, welch


def p_of(a, b):
    """Welch's, as for runs of other seeds."""
    return welch(Stat.of(a), Stat.of(b)).p


def by_seed(*values):
    return dict(enumerate(values))


def test_two_seeds_are_too_few():
    assert p_of([0.9, 0.8], [0.7, 0.6, 0.5]) is None
    assert compared(by_seed(0.9, 0.8), by_seed(0.7, 0.6)).p is None
    assert not exceeds(None)


def test_welch_by_hand():
    # means 2 and 6, variances 1 and 1, n = 3: t = -4 / sqrt(2/3) = -4.899 with 4 degrees of freedom.
    # There P(|T| > t) = 1 - x (3 - x^2) / 2 with x = t / sqrt(4 + t^2) = sqrt(24 / 28)
    x = (24 / 28) ** 0.5
    assert p_of([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]) == pytest.approx(1 - x * (3 - x**2) / 2)


def test_welch_is_scipys():
    from scipy.stats import ttest_ind

    a, b = [0.93, 0.95, 0.94, 0.97], [0.92, 0.91, 0.935]
    assert p_of(a, b) == pytest.approx(ttest_ind(a, b, equal_var=False)[1], rel=1e-9)


def test_pairs_by_hand():
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = sqrt(12) with 2 degrees of freedom.
    # There P(|T| > t) = 1 - t / sqrt(2 + t^2)
    found = compared(by_seed(6.0, 9.0, 4.0), by_seed(5.0, 7.0, 1.0))
    assert (found.mean, found.freedom) == (2.0, 2)
    assert found.p == pytest.approx(1 - (12 / 14) ** 0.5)


def test_only_runs_of_the_same_seeds_are_pairs():
    a, b = by_seed(0.6, 0.9, 0.4), {1: 0.5, 2: 0.7, 3: 0.1}
    assert compared(a, b) == welch(Stat.of([*a.values()]), Stat.of([*b.values()]))


def test_where_there_is_no_test_the_difference_is_of_the_seeds_that_both_have():
    assert compared(by_seed(0.6, 0.9, 0.4), by_seed(0.5, 0.7)).mean == pytest.approx(0.15)
    assert compared(by_seed(0.6, 0.9), {2: 0.5}).mean == pytest.approx(0.25)  # none: the means'
    assert compared(by_seed(0.6, 0.9, 0.4), by_seed(0.5, 0.7)).p is None


def test_what_the_seeds_share_does_not_hide_a_difference():
    shared = (0.70, 0.80, 0.90)
    a, b = (
        by_seed(*(one + 0.01 for one in shared)),
        by_seed(*(one + 0.001 * k for k, one in enumerate(shared))),
    )
    assert exceeds(compared(a, b).p)
    assert not exceeds(p_of([*a.values()], [*b.values()]))


def test_a_bound_is_ruled_out_from_above():
    # 0.2 points, error 0.1, 4 degrees of freedom, against 0.5: t = -3, where P(T < t) = (1 - x (3 - x^2) / 2) / 2
    x = (9 / 13) ** 0.5
    found = Difference(0.002, 0.001, 4)
    assert found.p_below(0.005) == pytest.approx((1 - x * (3 - x**2) / 2) / 2)
    assert found.p_below(0.002) == 0.5


def test_no_spread_is_no_test():
    """Three seeds that differ by one of 360 images each would have p = 0, and pass any correction."""
    assert p_of([0.9] * 3, [0.9] * 3) is None
    assert p_of([0.9] * 3, [0.8] * 3) is None
    a = [images / 360 for images in (350, 347, 352)]
    by_one = compared(by_seed(*a), by_seed(*(value - 1 / 360 for value in a)))
    assert by_one.mean == pytest.approx(1 / 360) and by_one.p is None
    assert Difference(0.01, 0.0).p_below(0.005) == 1.0  # of FLOPs, which have no noise


def test_no_spread_on_one_side_is_tested_against_the_other():
    p = p_of([0.9] * 3, [0.86, 0.88, 0.87])
    assert p is not None
    assert 0.01 < p < 0.05


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1 are 0.04, 0.06, 0.06, 0.5, and none is below one before it
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.4, 0.6]) == [0.8, 0.8]


VALUES = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=3, max_size=6)


@given(VALUES, VALUES)
def test_a_p_value_is_a_probability_and_the_same_both_ways(a, b):
    p = p_of(a, b)
    if len({*a}) == len({*b}) == 1:
        assert p is p_of(b, a) is None
        return
    assert p is not None
    assert 0 <= p <= 1
    assert p == pytest.approx(p_of(b, a))
