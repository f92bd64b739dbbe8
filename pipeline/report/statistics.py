"""The comparisons of one table, tested together: which test, its p-value, that by Holm, an interval, an effect size.

`pipeline.report.noise` has the tests themselves. Here they become what a reader of few seeds needs: how large a
difference is beside its spread, in which range it lies, and what is left of its p-value among all those of the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, sqrt

from pipeline.report.noise import LEVEL, MIN_SEEDS, Difference, Stat, compared, exceeds, holm

BySeed = Mapping[int, float]
PAIRS, WELCH, NONE = "pairs", "Welch", "none"


@dataclass(frozen=True)
class Comparison:
    """a - b in one line of a table. ``p`` is of no difference, ``p_holm`` corrected for the number of its tests.

    ``test``: pairs, Welch or none. ``interval``: the true difference lies in 95 of 100 of them. ``effect``: `hedges`.
    None: too few seeds.
    """

    difference: Difference
    test: str
    p: float | None
    p_holm: float | None
    interval: tuple[float, float] | None
    effect: float | None

    @property
    def holds(self) -> bool:
        """Whether the difference exceeds the noise, corrected for the number of comparisons."""
        return exceeds(self.p_holm)


def comparisons(pairs: Sequence[tuple[BySeed, BySeed]]) -> list[Comparison]:
    """Every a - b of a table, both by seed and neither empty."""
    differences = [compared(a, b) for a, b in pairs]
    p_values = [one.p for one in differences]
    return [
        Comparison(one, which(one, a, b), p, corrected, interval(one), hedges(a, b))
        for one, (a, b), p, corrected in zip(differences, pairs, p_values, holm(p_values), strict=True)
    ]


def which(difference: Difference, a: BySeed, b: BySeed) -> str:
    """The test that `pipeline.report.noise.compared` made of these: of pairs where both sides have the same seeds."""
    if difference.error is None:
        return NONE
    return PAIRS if a.keys() == b.keys() else WELCH


def interval(difference: Difference, level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of confidence 1 - ``level`` of a difference, of the same t-distribution as its p-value."""
    if difference.error is None:
        return None
    from scipy.special import ndtri, stdtrit

    is_normal = difference.freedom == inf
    quantile = ndtri(1 - level / 2) if is_normal else stdtrit(difference.freedom, 1 - level / 2)
    half = float(quantile) * difference.error
    return difference.mean - half, difference.mean + half


def half_found(num_tests: int, deviation: float, num_seeds: int = MIN_SEEDS) -> float:
    """The true difference that a test of pairs finds in every second case, at Holm's first step among ``num_tests``.

    ``deviation`` is that of every run; runs of one seed are taken for independent.
    """
    from scipy.special import nctdtrinc, stdtrit

    freedom = num_seeds - 1
    needed = stdtrit(freedom, 1 - LEVEL / num_tests / 2)
    return float(nctdtrinc(freedom, 0.5, needed)) * deviation * sqrt(2 / num_seeds)


def hedges(a: BySeed, b: BySeed) -> float | None:
    """Hedges' g: (mean a - mean b) / pooled deviation, times its correction for small samples (Hedges 1981, Eq. 6e).

    Of pairs it is the same, so that their effects compare with those of independent runs. None where a side has too few
    runs or neither has any spread: of two runs each its variance is infinite.

    >>> round(hedges({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 3.0, 2: 4.0}), 4)  # -1 / (sqrt(2) gamma(1.5))
    -0.7979
    """
    first, second = Stat.of([*a.values()]), Stat.of([*b.values()])
    if first.std is None or second.std is None or min(first.n, second.n) < MIN_SEEDS:
        return None
    freedom = first.n + second.n - 2
    variance = ((first.n - 1) * first.std**2 + (second.n - 1) * second.std**2) / freedom
    if variance == 0:
        return None
    correction = exp(lgamma(freedom / 2) - lgamma((freedom - 1) / 2)) / sqrt(freedom / 2)
    return (first.mean - second.mean) / sqrt(variance) * correction
