"""Tests of a table's comparisons: against scipy, numbers worked out by hand, and what Holm's correction promises."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.report.noise import LEVEL, Difference
from pipeline.report.statistics import comparisons, half_found, hedges, interval

A, B = {0: 0.912, 1: 0.917, 2: 0.909}, {0: 0.905, 1: 0.911, 2: 0.906}
OTHER_SEEDS = {3: 0.905, 4: 0.911, 5: 0.906, 6: 0.908}


def values(by_seed):
    return [*by_seed.values()]


def test_runs_of_the_same_seeds_are_scipys_pairs():
    (one,) = comparisons([(A, B)])
    theirs: Any = stats.ttest_rel(values(A), values(B))
    assert one.test == "pairs"
    assert one.p == pytest.approx(theirs.pvalue)
    assert one.interval == pytest.approx([*theirs.confidence_interval(1 - LEVEL)])


def test_runs_of_other_seeds_are_scipys_welch():
    (one,) = comparisons([(A, OTHER_SEEDS)])
    theirs: Any = stats.ttest_ind(values(A), values(OTHER_SEEDS), equal_var=False)
    assert one.test == "Welch"
    assert one.p == pytest.approx(theirs.pvalue)
    assert one.interval == pytest.approx([*theirs.confidence_interval(1 - LEVEL)])


def test_two_seeds_have_a_difference_and_no_test():
    (one,) = comparisons([({0: 0.9, 1: 0.8}, B)])
    assert one.difference.mean == pytest.approx(0.85 - (B[0] + B[1]) / 2)  # of the seeds that both have
    assert (one.test, one.p, one.p_holm, one.interval, one.holds) == ("none", None, None, None, False)


def test_holm_corrects_over_the_table_and_leaves_out_what_has_no_test():
    # by hand: of two p-values the smaller counts twice, the larger once, and never less than the smaller's
    alone = [comparisons([pair])[0].p for pair in ((A, B), (A, OTHER_SEEDS))]
    small, large = sorted(alone)
    first, none, second = comparisons([(A, B), ({0: 0.9}, B), (A, OTHER_SEEDS)])
    assert none.p_holm is None
    assert sorted([first.p_holm, second.p_holm]) == pytest.approx([2 * small, max(2 * small, large)])


def test_a_table_of_noise_has_a_false_finding_in_one_of_twenty():
    draw, tables = np.random.default_rng(0), 400
    found = 0
    for _ in range(tables):
        pairs = [
            tuple(dict(enumerate(draw.normal(0.9, 0.002, 3).tolist())) for _ in range(2)) for _ in range(9)
        ]
        found += any(one.holds for one in comparisons(pairs))
    assert found / tables < 1.6 * LEVEL


def test_an_interval_without_spread_is_a_point_and_of_many_runs_a_normal_one():
    assert interval(Difference(0.01, 0.0, 2)) == (0.01, 0.01)
    assert interval(Difference(0.0, 1.0)) == pytest.approx((-1.959964, 1.959964))
    assert interval(Difference(0.01)) is None


def test_hedges_g_by_hand():
    # means 2 and 4, variances 1 and 4 (n = 3, 3): pooled 2.5; the correction with 4 degrees of freedom is 0.797885
    found = hedges({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 4.0, 2: 6.0})
    assert found == pytest.approx(-2 / 2.5**0.5 * 0.797885, rel=1e-5)


def test_hedges_g_of_unequal_numbers_pools_by_their_degrees_of_freedom():
    a, b = values(A), values(OTHER_SEEDS)
    pooled = (2 * np.var(a, ddof=1) + 3 * np.var(b, ddof=1)) / 5
    # the correction makes g unbiased: 1 / E[sqrt(5 / chi2)] with 5 degrees of freedom
    correction = 1 / stats.chi2(5).expect(lambda x: (5 / x) ** 0.5)
    assert hedges(A, OTHER_SEEDS) == pytest.approx((np.mean(a) - np.mean(b)) / pooled**0.5 * correction)


def test_no_effect_is_known_without_a_spread():
    assert hedges({0: 0.9}, B) is None
    assert hedges({0: 0.9, 1: 0.8}, B) is None
    assert hedges({0: 0.9, 1: 0.9}, {0: 0.8, 1: 0.8}) is None


@pytest.mark.parametrize("num_tests", [1, 12])
def test_a_difference_that_every_second_table_finds(num_tests):
    draw = np.random.default_rng(0).normal
    difference = half_found(num_tests, 0.002)
    pairs = draw(0.9 + difference, 0.002, (20_000, 3)) - draw(0.9, 0.002, (20_000, 3))
    _, p = stats.ttest_1samp(pairs, 0, axis=1)
    assert np.mean(p < 0.05 / num_tests) == pytest.approx(0.5, abs=0.015)
