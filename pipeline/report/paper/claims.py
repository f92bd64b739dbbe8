"""What the paper claims (claims.yaml), and what our runs say of it: supported, contradicted, undecided, not tested.

A setting is one model, data set and sparsity. It is the paper's where the protocol is, too; what was run elsewhere
(another model or data set, fewer epochs or images) is judged apart, and never counts for or against the paper.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Literal

from pipeline.params.files import read_yaml
from pipeline.report.names import run_name
from pipeline.report.paper.numbers import CIFAR, columns, models, printed, rows
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results, Stat, exceeds, welch
from pipeline.report.words import setting, short_percent


@dataclass(frozen=True)
class Claim:
    """One claim: for each pair in ``compare``, the first is more accurate than the second (or brings no gain on it)."""

    id: str
    text: str
    where: str
    compare: list[list[list[str]]]
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


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a row, or the mean over several rows, seed by seed; ``group`` links to a row's runs."""

    name: str
    values: list[float]
    stat: Stat
    printed: float | None
    group: str | None


@dataclass(frozen=True)
class Setting:
    """A claim looked at in one place; differences are fractions, ``printed`` is None where a side is in no table.

    ``outcome``: for, against, noise (within it), few (seeds: no ``p``). ``leans``: the difference points the claim's
    way, whatever the noise. ``in_paper``: its model, data set, sparsity and protocol are the paper's.
    """

    place: str
    better: Side
    than: Side
    difference: float
    printed: float | None
    p: float | None
    outcome: str
    leans: bool
    in_paper: bool


@dataclass(frozen=True)
class Judged:
    """A claim with what the runs say of it, in the paper's settings and in all others."""

    claim: Claim
    in_paper: list[Setting]
    elsewhere: list[Setting]
    verdict: str
    verdict_elsewhere: str


def verdict(claim: Claim, settings: Sequence[Setting]) -> str:
    """Supported: at least half of the settings speak for the claim and none against it; contradicted: the reverse.

    Settings speak where they have a p-value. Of a claim made "as a rule", some may speak against the others.
    """
    counts = Counter(setting.outcome for setting in settings)
    tested = counts.total() - counts["few"]
    for name, side, other in (("supported", "for", "against"), ("contradicted", "against", "for")):
        mine, others = counts[side], counts[other]
        if tested and 2 * mine >= tested and (not others or (claim.as_a_rule and mine > others)):
            return name
    return "undecided" if settings else "not tested"


@cache
def claims() -> list[Claim]:
    """Every claim, in the order of the paper."""
    return [Claim(**values) for values in read_yaml(Path(__file__).with_name("claims.yaml"))]


def judge(results: Results) -> list[Judged]:
    """Every claim in the light of the runs."""
    judged, same_protocol = [], [name for name in columns() if not differences(results, name)]
    for claim in claims():
        settings = list(_settings(claim, results, same_protocol))
        in_paper = [setting for setting in settings if setting.in_paper]
        elsewhere = [setting for setting in settings if not setting.in_paper]
        judged.append(Judged(claim, in_paper, elsewhere, verdict(claim, in_paper), verdict(claim, elsewhere)))
    return judged


def _settings(claim: Claim, results: Results, same_protocol: list[str]) -> Iterator[Setting]:
    """The claim in every place where both sides have runs; ``same_protocol``: data sets that are trained as in print.

    Only for a claim about both of the paper's data sets can another one stand in.
    """
    grid, known = results.params.grid, columns()
    stand_in = set(grid.datasets) - set(known) if claim.datasets == list(known) else set()
    datasets = [name for name in grid.datasets if name in {*claim.datasets, *stand_in}]
    sparsities = [sparsity for sparsity in grid.sparsities if claim.covers(sparsity)]
    for pair, model, dataset, sparsity in product(claim.compare, grid.models, datasets, sparsities):
        better, than = (_side(results, ids, dataset, model, sparsity) for ids in pair)
        if better is None or than is None:
            continue
        place = f"{setting(dataset, model)}, {short_percent(sparsity)}"
        in_print = None
        if better.printed is not None and than.printed is not None:
            in_print = better.printed - than.printed
        difference, p = better.stat.mean - than.stat.mean, welch(better.values, than.values)
        leans = (difference > 0) == (claim.claim == "above")
        outcome = "for" if leans else "against"
        if not exceeds(p):
            outcome = "few" if p is None else "for" if claim.claim == "no_gain" else "noise"
        in_paper = dataset in same_protocol and model in models() and sparsity in known[dataset]
        yield Setting(place, better, than, difference, in_print, p, outcome, leans, in_paper)


def _side(results: Results, ids: list[str], dataset: str, model: str, sparsity: float) -> Side | None:
    """The runs of a row, or of those of several rows that have runs; None where there are none."""
    params, groups, by_seed, means = results.params, [], [], []
    for row in (rows(CIFAR)[name] for name in ids):
        group = row.group(row.find(params), dataset, model, sparsity)
        if group.method and (values := results.by_seed(group, "last")):
            groups.append(group)
            by_seed.append(values)
            means.append(record.mean if (record := printed(row, group)) else None)
    seeds = [seed for seed in params.grid.seeds if by_seed and all(seed in values for values in by_seed)]
    if not seeds:
        return None
    names, is_row = ", ".join(run_name(params, group) for group in groups), len(ids) == 1
    values = [fmean(values[seed] for values in by_seed) for seed in seeds]
    in_print = None if None in means else fmean(means)
    name, group = (names, groups[0].name) if is_row else (f"mean of {names}", None)
    return Side(name, values, Stat.of(values), in_print, group)
