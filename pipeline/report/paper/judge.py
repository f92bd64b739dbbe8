"""What our runs say of the paper's claims: in the paper's settings, and apart from them in others.

A setting is one place that has runs. It is the paper's where the protocol is, too; what was run elsewhere (another
model or data set, fewer epochs or images) is judged apart, and never counts for or against the paper.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from pipeline.report.names import run_name, suffix, title
from pipeline.report.noise import Difference, Stat, compared, exceeds
from pipeline.report.paper.claims import (
    Claim,
    Place,
    apart,
    claims,
    conclusion,
    in_print,
    on_schedule,
    outcome,
)
from pipeline.report.paper.costs import HALF
from pipeline.report.paper.numbers import ACCURACY, IMAGENET, TRAINING, columns, models, records, rows
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.words import setting, short_percent, spread


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a row, or several, seed by seed; ``group`` links to a row's runs."""

    name: str
    text: str
    note: str = ""
    group: str | None = None


@dataclass(frozen=True)
class Setting:
    """A claim looked at in one place; ``printed`` is the paper's difference, None where a side is in no table.

    ``in_paper``: its rows, model, data set, sparsity and protocol are the paper's. ``ran``: the rows that have runs,
    and where; None for the plasticity study.
    """

    claim: Claim
    place: str
    sides: tuple[Side, Side]
    difference: Difference
    printed: Difference | None
    in_paper: bool
    ran: Place | None = None

    @property
    def outcome(self) -> str:
        """for, against, noise or few."""
        return outcome(self.claim, self.difference)

    @property
    def leans(self) -> bool:
        """Whether the difference points the claim's way, whatever the noise."""
        return (self.difference.mean > 0) == self.claim.points_up

    @property
    def is_loss(self) -> bool:
        """Of a claim that something brings no gain: whether it is worse than without, beyond the noise."""
        return self.claim.claim == "no_gain" and self.difference.mean < 0 and exceeds(self.difference.p)

    def p(self, difference: Difference | None) -> float | None:
        """The p-value that decides: of no difference, or of the gain or loss that is denied. FLOPs have none."""
        if difference is None or self.claim.metric != ACCURACY:
            return None
        denied = self.claim.claim != "above" and outcome(self.claim, difference) != "against"
        return self.claim.p_denied(difference) if denied else difference.p


@dataclass(frozen=True)
class Judged:
    """A claim with what the runs say of it, in the paper's settings and in all others.

    ``unpruned``: the networks that the plasticity study of the paper pruned, and ours did not, in words.
    """

    claim: Claim
    in_paper: list[Setting]
    elsewhere: list[Setting]
    unpruned: str = ""

    @property
    def absent(self) -> list[str]:
        """What the claim names that no setting has: rows, and sparsities."""
        ran = [one.ran for one in (*self.in_paper, *self.elsewhere) if one.ran]
        there = {name for ids, *_ in ran for side in ids for name in side} | {place[3] for place in ran}
        named = dict.fromkeys(name for pair in self.claim.compare for side in pair for name in side)
        lacking = [rows(self.claim.family)[name] for name in named if name not in there]
        texts = [title(row.section) + suffix(row.group(None, "", "", None)) for row in lacking]
        sparsities = [short_percent(one) for one in self.claim.sparsities or () if one not in there]
        return [*texts, *sparsities] if ran else []

    @property
    def verdict(self) -> str:
        """The verdict on the paper."""
        return conclusion(self.claim, [one.difference for one in self.in_paper])

    @property
    def verdict_elsewhere(self) -> str:
        """What is found in other settings."""
        return conclusion(self.claim, [one.difference for one in self.elsewhere])


def judge(results: Results) -> list[Judged]:
    """Every claim in the light of the runs."""
    found = []
    same_protocol = [name for name in results.params.grid.datasets if not differences(results, name)]
    for claim in claims():
        settings = list(_settings(claim, results, same_protocol))
        in_paper = [one for one in settings if one.in_paper]
        found.append(Judged(claim, in_paper, [one for one in settings if not one.in_paper]))
    return found


def _settings(claim: Claim, results: Results, same_protocol: list[str]) -> Iterator[Setting]:
    """The claim in every place where both sides have runs; ``same_protocol``: data sets that are trained as in print.

    Only for a claim about both CIFARs can another data set stand in. Training FLOPs on ImageNet are counted where
    nothing has run, since the paper's schedule decides them.
    """
    grid, known, printed = results.params.grid, columns(claim.family), list(claim.places())
    stand_in = {*grid.datasets} - {*known, IMAGENET} if claim.datasets == [*columns()] else set()
    datasets = [name for name in grid.datasets if name in {*claim.datasets, *stand_in}]
    ran: list[Place] = []
    for place in product(claim.compare, grid.models, datasets, grid.sparsities):
        pair, model, dataset, sparsity = place
        sides = [side for ids in pair if (side := _runs(claim, results, ids, place)) is not None]
        if len(sides) < 2 or not claim.covers(model, sparsity):
            continue
        ran.append(place)
        (first, a, names), (second, b, others) = sides
        difference = compared(a, b) if claim.metric == ACCURACY else apart(_range(a), _range(b), claim.times)
        shown = model in models() and sparsity in known.get(dataset, ())  # in a figure
        in_paper = dataset in same_protocol and (place in printed if printed else shown)
        there: Place = ([names, others], model, dataset, sparsity)
        in_paper = in_paper and (not claim.best or _printed_rows(claim, place) <= {*names, *others})
        own = in_print(claim, there) if _printed_rows(claim, there) == {*names, *others} else None
        yield Setting(claim, _name(place), (first, second), difference, own, in_paper, there)
    if claim.metric == TRAINING and datasets:
        for place in [place for place in printed if place not in ran]:
            (name,), (other,) = place[0]
            a, b = on_schedule(name, place), on_schedule(other, place)
            difference = apart(a, b, claim.times)
            sides = _counted(name, a), _counted(other, b)
            own = in_print(claim, place)
            yield Setting(claim, _name(place), sides, difference, own, in_paper=True, ran=place)


def _name(place: Place) -> str:
    _, model, dataset, sparsity = place
    return f"{setting(dataset, model)}, {short_percent(sparsity)}"


def _printed_rows(claim: Claim, place: Place) -> set[str]:
    """The rows of a place that have a number in print: the best of a few, or their mean, is not that of all."""
    ids, model, dataset, sparsity = place
    return {
        name for side in ids for name in side if (name, dataset, model, sparsity, claim.metric) in records()
    }


def _counted(name: str, ratios: tuple[float, float]) -> Side:
    """Training FLOPs of a row on ImageNet that nothing has run for."""
    text = " to ".join(dict.fromkeys(f"{ratio:.3f}×" for ratio in ratios))
    return Side(title(rows(IMAGENET)[name].section), text, "counted")


def _range(values: Mapping[int, float]) -> tuple[float, float]:
    """FLOPs of the seeds, as wide that two sides differ by half a printed digit at least: masks are learnt."""
    return min(values.values()) - HALF / 2, max(values.values()) + HALF / 2


def _runs(
    claim: Claim, results: Results, ids: Sequence[str], place: Place
) -> tuple[Side, dict[int, float], list[str]] | None:
    """The runs of a row by seed, or of those of several rows that have runs: their mean, or those of the best one.

    With the rows that have runs: what is in print for the same ones stands beside them.
    """
    params, (_, model, dataset, sparsity), found = results.params, place, []
    for row in (rows(claim.family)[name] for name in ids):
        group = row.group(row.find(params), dataset, model, sparsity)
        if group.method and (values := results.by_seed(group, claim.metric)):
            found.append((group, values, row.id))
    names = [name for _, _, name in found]
    if claim.best and found:
        found = [max(found, key=lambda one: fmean(one[1].values()))]
    seeds = [seed for seed in params.grid.seeds if found and all(seed in values for _, values, _ in found)]
    if not seeds:
        return None
    by_seed = {seed: fmean(values[seed] for _, values, _ in found) for seed in seeds}
    stat, labels = Stat.of([*by_seed.values()]), [run_name(params, group) for group, *_ in found]
    text = spread(stat.mean, stat.std) if claim.metric == ACCURACY else f"{stat.mean:.3f}×"
    several = "best of them: " if claim.best and len(names) > 1 else "mean of " if len(found) > 1 else ""
    group = found[0][0].name if len(found) == 1 else None
    return Side(several + ", ".join(labels), text, f"n = {stat.n}", group), by_seed, names
