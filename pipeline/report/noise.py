"""Whether a difference of two means exceeds the noise of the seeds, and whether a gain can be ruled out.

Fractions lie in [0, 1]: a margin of 0.005 is half a point of accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

MIN_SEEDS, LEVEL = 3, 0.05
"""Fewer seeds on either side say too little about the spread; a p-value below the level is more than noise."""
NO_SPREAD = 1e-9
"""A standard deviation below it is rounding. On a few hundred images three seeds easily differ by as many images each,
and with no spread at all any difference would pass every test: so there is none."""
MARGIN = 0.005
"""A gain of less is none. The paper's accuracies have deviations of about 0.2 points: where there is no gain, three
seeds then rule one of 0.5 points out in 7 of 10 settings (Welch), and one of 0.3 points in 4 of 10."""


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation (n - 1) over n seeds; one seed has no spread."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Stat":
        """Those of one value or more."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Difference:
    """A difference of two means; ``error`` is its standard error, with ``freedom`` degrees.

    None: there is no test, and ``untested`` says why. 0: numbers without noise, known up to ``width`` to either side.
    """

    mean: float
    error: float | None = None
    freedom: float = inf
    untested: str = "too few seeds"
    width: float = 0.0

    def p_below(self, bound: float) -> float | None:
        """How likely so low a mean is where the true difference is ``bound``; without noise 0, 0.5 or 1.

        One-sided t-test. None where there is nothing to test.
        """
        if self.error is None:
            return None
        if self.error == 0:
            above, below = self.mean - self.width > bound, self.mean + self.width < bound
            return 0.5 + 0.5 * (above - below)
        from scipy.special import stdtr

        return float(stdtr(self.freedom, (self.mean - bound) / self.error))

    @property
    def p(self) -> float | None:
        """Two-sided p-value: how likely so large a difference is where both means are the same."""
        below = self.p_below(0.0)
        return None if below is None else 2 * min(below, 1 - below)


def welch(a: Stat, b: Stat) -> Difference:
    """a - b of independent runs, whose variances may differ (Welch 1947)."""
    if a.std is None or b.std is None or min(a.n, b.n) < MIN_SEEDS:
        return Difference(a.mean - b.mean)
    first, second = a.std**2 / a.n, b.std**2 / b.n
    if max(a.std, b.std) < NO_SPREAD:
        return Difference(a.mean - b.mean, untested="no spread")
    freedom = (first + second) ** 2 / (first**2 / (a.n - 1) + second**2 / (b.n - 1))
    return Difference(a.mean - b.mean, sqrt(first + second), freedom)


def compared(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """a - b of runs by seed: paired where both sides have the same seeds, else Welch's.

    Runs of one seed share their initial weights and the order of their images. Where a side has too few seeds for a
    test, the difference is of those that both have.
    """
    common = [seed for seed in a if seed in b]
    if a.keys() != b.keys() and common and min(len(a), len(b)) < MIN_SEEDS:
        return Difference(fmean(a[seed] - b[seed] for seed in common))
    if a.keys() != b.keys():
        return welch(Stat.of([*a.values()]), Stat.of([*b.values()]))
    pairs = Stat.of([a[seed] - b[seed] for seed in a])
    if pairs.std is None or pairs.n < MIN_SEEDS:
        return Difference(pairs.mean)
    if pairs.std < NO_SPREAD:
        return Difference(pairs.mean, untested="no spread")
    return Difference(pairs.mean, pairs.std / sqrt(pairs.n), pairs.n - 1)


def exceeds(p: float | None) -> bool:
    """Whether a p-value speaks of more than noise."""
    return p is not None and p < LEVEL


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm 1979): some true null hypothesis falls below the level in 5 % of cases.

    >>> holm([0.03, None, 0.01])
    [0.03, None, 0.02]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected, largest = list(p_values), 0.0
    for rank, (p, index) in enumerate(order):
        corrected[index] = largest = max(largest, min(1.0, (len(order) - rank) * p))
    return corrected
