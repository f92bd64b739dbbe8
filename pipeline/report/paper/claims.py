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
from pipeline.report.names import labels, suffix
from pipeline.report.noise import exceeds, welch
from pipeline.report.paper.numbers import CIFAR, columns, models, printed, rows
from pipeline.report.paper.protocol import is_papers
from pipeline.report.results import Results, Stat
from pipeline.report.words import setting, short_percent

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
    datasets: list[str] = field(default_factory=lambda: list(columns()))
    sparsities: list[float] | None = None
    as_a_rule: bool = False

    @property
    def num_settings(self) -> int:
        """Comparisons that the paper's tables hold for it: two models, VGG-19 and ResNet-50."""
        sparsities = [s for name in self.datasets for s in columns()[name] if self.covers(s)]
        return len(self.compare) * len(models()) * len(sparsities)

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
    def stat(self) -> Stat:
        """Mean and spread over the seeds."""
        std = stdev(self.values) if len(self.values) > 1 else None
        return Stat(fmean(self.values), std, len(self.values))


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
    outcomes = [setting.outcome for setting in settings]
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
    judged, grid = [], results.params.grid
    papers = {place for place in product(grid.datasets, grid.models) if is_papers(results, *place)}
    for claim in claims():
        settings = list(_settings(claim, results, papers))
        in_paper = [setting for setting in settings if setting.in_paper]
        judged.append(Judged(claim, in_paper, [setting for setting in settings if not setting.in_paper]))
    return judged


def _settings(claim: Claim, results: Results, papers: set[tuple[str, str]]) -> Iterator[Setting]:
    """The claim in every place where both sides have runs; ``papers``: (data set, model) as the paper has them.

    Only for a claim about both of the paper's data sets can another one stand in.
    """
    grid = results.params.grid
    about_all = claim.datasets == list(columns())
    datasets = [
        name for name in grid.datasets if name in claim.datasets or (about_all and name not in columns())
    ]
    sparsities = [sparsity for sparsity in grid.sparsities if claim.covers(sparsity)]
    for pair, model, dataset, sparsity in product(claim.compare, grid.models, datasets, sparsities):
        better = _side(results, pair[0], dataset, model, sparsity)
        than = _side(results, pair[1], dataset, model, sparsity)
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
            in_paper=(dataset, model) in papers and sparsity in columns()[dataset],
        )


def _side(results: Results, ids: str | list[str], dataset: str, model: str, sparsity: float) -> Side | None:
    """The runs of a row, or of those of several rows that have runs; None where there are none."""
    params, names, by_seed, means, groups = results.params, [], [], [], []
    for row in (rows(CIFAR)[name] for name in ([ids] if isinstance(ids, str) else ids)):
        if (section := row.find(params)) is None:
            continue
        group = row.group(section, dataset, model, sparsity)
        if values := results.by_seed(group, "last"):
            names.append(labels(params)[section] + suffix(group))
            groups.append(group.name)
            by_seed.append(values)
            record = printed(row, group)
            means.append(None if record is None else record.mean)
    seeds = [seed for seed in params.grid.seeds if by_seed and all(seed in values for values in by_seed)]
    if not seeds:
        return None
    return Side(
        name=names[0] if isinstance(ids, str) else f"mean of {', '.join(names)}",
        values=[fmean(values[seed] for values in by_seed) for seed in seeds],
        printed=None if None in means else fmean(means),
        group=groups[0] if isinstance(ids, str) else None,
    )
