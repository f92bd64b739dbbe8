"""What the paper claims (claims.yaml), the rule that judges it, and what the paper's own numbers say by that rule.

A place is one comparison of two sides on one model, data set and sparsity. Accuracies are compared with their noise;
FLOPs have none, but ranges: of two decimals in print, and of what layers are not known before they are learnt.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Literal

from pipeline.params.files import read_yaml
from pipeline.report.noise import MARGIN, Difference, Stat, exceeds, holm, welch
from pipeline.report.paper.costs import HALF, counted
from pipeline.report.paper.numbers import ACCURACY, CIFAR, IMAGENET, TRAINING, columns, models, records
from pipeline.report.paper.protocol import protocol

Place = tuple[list[list[str]], str, str, float]
"""The rows of both sides, the model, the data set and the sparsity."""
Range = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """One claim, see claims.yaml; it compares nothing where it is ``not_tested``, for that reason."""

    id: str
    text: str
    where: str
    compare: list[list[list[str]]] = field(default_factory=list)
    study: tuple[str, str] | None = None
    claim: Literal["above", "no_gain", "no_loss"] = "above"
    metric: str = ACCURACY
    times: float = 1.0
    best: bool = False
    datasets: list[str] = field(default_factory=lambda: list(columns()))
    models: list[str] | None = None
    sparsities: list[float] | None = None
    as_a_rule: bool = False
    part_of: list[str] = field(default_factory=list)
    not_tested: str = ""

    @property
    def family(self) -> str:
        """The tables that it is about."""
        return IMAGENET if self.datasets == [IMAGENET] else CIFAR

    @property
    def place(self) -> str:
        """Where the paper makes it, as a reader sees it."""
        return f"{self.where}; part of other claims, not counted again" if self.part_of else self.where

    @property
    def points_up(self) -> bool:
        """Whether a positive difference speaks for it."""
        return self.claim != "no_gain"

    def p_denied(self, difference: Difference) -> float | None:
        """How likely the difference is where there is a gain of `MARGIN`, or such a loss, which the claim denies."""
        if self.claim == "no_loss":
            difference = replace(difference, mean=-difference.mean)
        return difference.p_below(MARGIN)

    def covers(self, model: str, sparsity: float) -> bool:
        """Whether the claim is made of a model at a sparsity."""
        of_model = self.models is None or model in self.models
        return of_model and (self.sparsities is None or sparsity in self.sparsities)

    def places(self) -> Iterator[Place]:
        """Where the paper has numbers for both sides."""
        every = product(self.compare, models(self.family), self.datasets)
        for pair, model, dataset in every:
            for sparsity in columns(self.family)[dataset]:
                place = pair, model, dataset, sparsity
                if self.covers(model, sparsity) and in_print(self, place) is not None:
                    yield place


@cache
def claims() -> list[Claim]:
    """Every claim, in the order of the paper."""
    return [Claim(**values) for values in read_yaml(Path(__file__).with_name("claims.yaml"))]


def outcome(claim: Claim, difference: Difference) -> str:
    """What one place says: for, against, noise (nothing that exceeds it), few (seeds, so without a test).

    That something brings no gain is supported where a gain of `MARGIN` or more is ruled out, by the half of an
    equivalence test that concerns gains; a gain that exceeds the noise speaks against it. Noise supports nothing.
    With the signs changed, the same goes for no loss.
    """
    p, points_its_way = difference.p, (difference.mean > 0) == claim.points_up
    if p is None:
        return "few"
    if claim.claim != "above" and (points_its_way or not exceeds(p)):
        return "for" if exceeds(claim.p_denied(difference)) else "noise"
    if not exceeds(p):
        return "noise"
    return "for" if points_its_way else "against"


def firm(claim: Claim, differences: Sequence[Difference]) -> set[str]:
    """The outcomes, for and against, that some place has after correction for the number of places (Holm)."""
    ordinary = holm([one.p for one in differences])
    margin = holm([claim.p_denied(one) for one in differences]) if claim.claim != "above" else ordinary
    outcomes = [outcome(claim, one) for one in differences]
    tests = zip(outcomes, margin, ordinary, strict=True)
    return {name for name, p_for, p_against in tests if exceeds(p_for if name == "for" else p_against)}


def verdict(outcomes: Sequence[str], firm: set[str], *, as_a_rule: bool = False) -> str:
    """Supported: at least half of the places speak for the claim, and fewer, none of them firmly, against it.

    Contradicted: the reverse. Places speak where there is a test. Of a claim made "as a rule", some may speak firmly
    against the others.
    """
    counts = Counter(outcomes)
    tested = counts.total() - counts["few"]
    for name, side, other in (("supported", "for", "against"), ("contradicted", "against", "for")):
        mine, others = counts[side], counts[other]
        if tested and 2 * mine >= tested and mine > others and (as_a_rule or other not in firm):
            return name
    return "undecided" if outcomes else "not tested"


def conclusion(claim: Claim, differences: Sequence[Difference]) -> str:
    """The verdict on a claim from its differences, each in a place of its own."""
    outcomes = [outcome(claim, one) for one in differences]
    return verdict(outcomes, firm(claim, differences), as_a_rule=claim.as_a_rule)


def apart(first: Range, second: Range, times: float) -> Difference:
    """A difference of FLOPs, first - times x second, of the middles of two ranges; unknown where these overlap."""
    low, high = first[0] - times * second[1], first[1] - times * second[0]
    return Difference((low + high) / 2, 0.0, width=(high - low) / 2)


def in_print(claim: Claim, place: Place) -> Difference | None:
    """The difference of the paper's own numbers, of a side's rows those that have one; None where a side has none.

    Their deviations are of three seeds.
    """
    sides = [_printed(claim, ids, place) for ids in place[0]]
    if None in sides:
        return None
    first, second = (side for side in sides if side is not None)
    if claim.metric == ACCURACY:
        return welch(first, second)
    a, b = ((side.mean - HALF, side.mean + HALF) for side in (first, second))
    return apart(a, b, claim.times)


def _printed(claim: Claim, ids: Sequence[str], place: Place) -> Stat | None:
    """One side in print: a row, the best of several, or their mean, which has no deviation; None without any."""
    _, model, dataset, sparsity = place
    found = [records().get((name, dataset, model, sparsity, claim.metric)) for name in ids]
    stats = [Stat(one.mean, one.std, protocol(dataset)["seeds"]) for one in found if one is not None]
    if not stats:
        return None
    if claim.best or len(stats) == 1:
        return max(stats, key=lambda stat: stat.mean)
    return Stat(fmean(stat.mean for stat in stats), None, stats[0].n)


def on_schedule(name: str, place: Place) -> Range:
    """A row's training FLOPs in a place, counted step by step; where they are not countable, as in print."""
    _, model, dataset, sparsity = place
    if (ratio := counted(name, sparsity)) is not None:
        return ratio
    mean = records()[name, dataset, model, sparsity, TRAINING].mean
    return mean - HALF, mean + HALF
