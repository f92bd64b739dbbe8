"""What the paper claims (claims.yaml), and what our runs say of it: supported, contradicted, undecided, not tested.

A setting is one model, data set and sparsity. It is the paper's where the protocol is, too; what was run elsewhere
(another model or data set, fewer epochs or images) is judged apart, and never counts for or against the paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

from pipeline.params.files import read_yaml
from pipeline.report import paper
from pipeline.report.noise import exceeds, welch
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results, group
from pipeline.report.tables.fields import Number
from pipeline.report.words import labels, setting, short_percent, spread, suffix

FILE = Path(__file__).with_name("claims.yaml")
Outcome = Literal["for", "against", "noise", "few"]
Verdict = Literal["supported", "contradicted", "undecided", "not tested"]


@dataclass(frozen=True)
class Claim:
    """One claim: for each pair in ``compare``, the first is more accurate than the second (or brings no gain on it)."""

    id: str
    text: str
    where: str
    compare: list[list[str | list[str]]]
    claim: Literal["above", "no_gain"] = "above"
    datasets: list[str] = field(default_factory=lambda: list(paper.columns()))
    sparsities: list[float] | None = None
    as_a_rule: bool = False

    @property
    def num_settings(self) -> int:
        """Comparisons that the paper's tables hold for it: two models, VGG-19 and ResNet-50."""
        columns = [s for name in self.datasets for s in paper.columns()[name] if self.covers(s)]
        return len(self.compare) * len(paper.models()) * len(columns)

    def covers(self, sparsity: float) -> bool:
        """Whether the claim is made at a sparsity."""
        return self.sparsities is None or sparsity in self.sparsities

    def outcome(self, difference: float, p: float | None) -> Outcome:
        """What a difference says. Without a p-value the seeds are too few."""
        if p is None:
            return "few"
        if self.claim == "no_gain":
            return "against" if exceeds(p) and difference > 0 else "for"
        if not exceeds(p):
            return "noise"
        return "for" if difference > 0 else "against"

    def leans(self, difference: float) -> bool:
        """Whether a difference points the claim's way, whatever the noise."""
        return difference <= 0 if self.claim == "no_gain" else difference > 0


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a row, or the mean over several rows, seed by seed."""

    name: str
    values: list[float]
    printed: float | None
    group: str | None

    @property
    def number(self) -> Number:
        """Mean ± std with n."""
        std = stdev(self.values) if len(self.values) > 1 else None
        return Number(spread(fmean(self.values), std), f"n = {len(self.values)}", self.group)


@dataclass(frozen=True)
class Setting:
    """A claim looked at in one place. ``in_paper``: its model, data set, sparsity and protocol are the paper's."""

    place: str
    better: Side
    than: Side
    p: float | None
    outcome: Outcome
    leans: bool
    in_paper: bool

    @property
    def difference(self) -> float:
        """Ours, in fractions."""
        return fmean(self.better.values) - fmean(self.than.values)

    @property
    def printed(self) -> float | None:
        """The paper's difference; None where it prints no number for a side."""
        if self.better.printed is None or self.than.printed is None:
            return None
        return self.better.printed - self.than.printed


@dataclass(frozen=True)
class Judged:
    """A claim with what the runs say of it, in the paper's settings and elsewhere."""

    claim: Claim
    in_paper: list[Setting]
    elsewhere: list[Setting]

    @property
    def verdict(self) -> Verdict:
        """In the paper's settings."""
        return verdict(self.claim, self.in_paper)

    @property
    def verdict_elsewhere(self) -> Verdict:
        """In all other settings."""
        return verdict(self.claim, self.elsewhere)


def verdict(claim: Claim, settings: Sequence[Setting]) -> Verdict:
    """Supported: at least half of the settings speak for the claim and none against it; contradicted: the reverse.

    Settings speak where they have a p-value. Of a claim made "as a rule", some may speak against the others.
    """
    outcomes = [found.outcome for found in settings]
    tested = sum(outcome != "few" for outcome in outcomes)
    if not outcomes:
        return "not tested"
    in_favour, against = outcomes.count("for"), outcomes.count("against")
    if tested and 2 * in_favour >= tested and (not against or (claim.as_a_rule and in_favour > against)):
        return "supported"
    if tested and 2 * against >= tested and (not in_favour or (claim.as_a_rule and against > in_favour)):
        return "contradicted"
    return "undecided"


@cache
def claims() -> list[Claim]:
    """Every claim, in the order of the paper."""
    return [Claim(**values) for values in read_yaml(FILE)]  # type: ignore[arg-type]


def judge(results: Results) -> list[Judged]:
    """Every claim in the light of the runs."""
    grid, found = results.params.grid, []
    away = {name: differences(results, name) for name in grid.datasets}
    for claim in claims():
        settings = list(_settings(claim, results, away))
        found.append(
            Judged(claim, [s for s in settings if s.in_paper], [s for s in settings if not s.in_paper])
        )
    return found


def _settings(claim: Claim, results: Results, away: dict[str, list[str]]) -> Iterator[Setting]:
    """The claim in every place where both sides have runs.

    Only for a claim about both of the paper's data sets can another one stand in.
    """
    grid = results.params.grid
    about_all = claim.datasets == list(paper.columns())
    datasets = [
        name
        for name in grid.datasets
        if name in claim.datasets or (about_all and name not in paper.columns())
    ]
    sparsities = [sparsity for sparsity in grid.sparsities if claim.covers(sparsity)]
    for pair, model, dataset, sparsity in product(claim.compare, grid.models, datasets, sparsities):
        better, than = (_side(results, rows, dataset, model, sparsity) for rows in pair)
        if better is None or than is None:
            continue
        difference = fmean(better.values) - fmean(than.values)
        p = welch(better.values, than.values)
        yield Setting(
            place=f"{setting(dataset, model)}, {short_percent(sparsity)}",
            better=better,
            than=than,
            p=p,
            outcome=claim.outcome(difference, p),
            leans=claim.leans(difference),
            in_paper=model in paper.models()
            and sparsity in paper.columns().get(dataset, ())
            and not away[dataset],
        )


def _side(results: Results, ids: str | list[str], dataset: str, model: str, sparsity: float) -> Side | None:
    """The runs of a row, or of those of several rows that have runs; None where there are none."""
    params, names, by_seed, printed, groups = results.params, [], [], [], []
    for row in (paper.rows()[name] for name in ([ids] if isinstance(ids, str) else ids)):
        if (section := row.find(params)) is None:
            continue
        cell = row.cell(section, dataset, model, sparsity)
        if values := results.by_seed(group(cell), "last"):
            names.append(labels(params)[section] + suffix(cell))
            groups.append(group(cell))
            by_seed.append(values)
            printed.append(row.published(cell))
    seeds = [seed for seed in params.grid.seeds if by_seed and all(seed in values for values in by_seed)]
    if not seeds:
        return None
    known = [number.mean for number in printed if number is not None]
    return Side(
        name=names[0] if isinstance(ids, str) else f"mean of {', '.join(names)}",
        values=[fmean(values[seed] for values in by_seed) for seed in seeds],
        printed=fmean(known) if len(known) == len(printed) else None,
        group=groups[0] if isinstance(ids, str) else None,
    )
