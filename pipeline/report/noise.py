"""Whether a difference between two means exceeds the noise of the seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev

MIN_SEEDS = 3
"""Fewer on either side say too little about the spread."""
LEVEL = 0.05
"""Probability below which a difference counts as more than noise."""


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's t-test: how likely so large a difference is where both means are the same.

    Welch 1947: the variances may differ, t = (mean a - mean b) / sqrt(var a / n_a + var b / n_b). None where a side has
    fewer than MIN_SEEDS values. Where neither side varies, the limit: 1 for equal means, 0 for different ones.

    >>> round(welch([0.90, 0.92, 0.94], [0.86, 0.88, 0.87]), 4)
    0.0316
    >>> welch([0.9, 0.9, 0.9], [0.8, 0.8, 0.8]), welch([0.9, 0.9], [0.8, 0.8, 0.8])
    (0.0, None)
    """
    if min(len(a), len(b)) < MIN_SEEDS:
        return None
    means, stds = (fmean(a), fmean(b)), (stdev(a), stdev(b))
    if stds == (0, 0):
        return 1.0 if a[0] == b[0] else 0.0
    from scipy.stats import ttest_ind_from_stats

    # from means and deviations: scipy warns of a sample without any spread
    test = ttest_ind_from_stats(means[0], stds[0], len(a), means[1], stds[1], len(b), equal_var=False)
    return float(test.pvalue)


def exceeds(p: float | None) -> bool:
    """Whether a p-value speaks of more than noise."""
    return p is not None and p < LEVEL
