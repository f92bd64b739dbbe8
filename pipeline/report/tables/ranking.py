"""Methods ranked on one model and data set: at each sparsity, and over all of them by the mean accuracy of a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from textwrap import shorten

from pipeline.report.blocks import Line, Number, Table
from pipeline.report.names import by_family, heading, labels
from pipeline.report.noise import Stat, compared
from pipeline.report.results import Results
from pipeline.report.statistics import BySeed, Comparison, comparisons, interval
from pipeline.report.words import p_value, setting, short_percent, signed, spread
from pipeline.training.cell import Group

FAMILY_COLORS = {
    "Dense": "#1f2937",
    "Sparse before training": "#cc79a7",
    "Sparse to sparse": "#0072b2",
    "Dense to sparse": "#d55e00",
    "After training": "#6a3d9a",
}
COLUMNS = ("place", "family", "accuracy, %", "behind the first", "training FLOPs", "measured time")
"""Costs are those of the dense network's training."""


@dataclass(frozen=True)
class Ranked:
    """A method with its place. Accuracies lie in [0, 1]; costs are shares of the dense network's, None: not known.

    ``places``: those that other seeds may give it, where a test is possible: it is behind all methods of which the
    interval of the paired difference says so, and ahead of all of which it says so. ``behind``: minus the first; None
    for the first itself.
    """

    section: str
    label: str
    family: str
    values: BySeed
    place: int
    places: tuple[int, int] | None
    behind: Comparison | None
    training: float | None
    time: float | None
    group: str | None
    """The runs behind it; None: those of several sparsities."""

    @property
    def color(self) -> str:
        """That of its family."""
        return FAMILY_COLORS[self.family]

    @property
    def stat(self) -> Stat:
        """Mean and deviation over its seeds."""
        return Stat.of([*self.values.values()])


@dataclass(frozen=True)
class Contest:
    """The methods of the grid on one model and data set."""

    results: Results
    dataset: str
    model: str

    @property
    def title(self) -> str:
        """The model on the data set, as a reader knows them."""
        return setting(self.dataset, self.model)

    @cached_property
    def sparsities(self) -> list[float]:
        """Those at which there are two methods or more to compare."""
        return [one for one in sorted(self.results.params.grid.sparsities) if len(self._there([one])) > 1]

    @cached_property
    def overall(self) -> list[Ranked]:
        """The ranking over all sparsities; without the methods that have not run at each of them."""
        return self.ranking(self.sparsities) if self.sparsities else []

    @property
    def left_out(self) -> list[str]:
        """Names of the methods that are in no ranking over all sparsities."""
        shown = {one.section for one in self.overall}
        return [
            labels(self.results.params)[one] for one in by_family(self.results.params) if one not in shown
        ]

    def dense(self, metric: str) -> float | None:
        """The dense network's mean; None where it has not run."""
        stat = self.results.stat(Group("dense", self.dataset, self.model), metric)
        return stat.mean if stat else None

    def ranking(self, sparsities: Sequence[float]) -> list[Ranked]:
        """The methods from the most accurate down, by their mean over these sparsities and the seeds."""
        params, there = self.results.params, self._there(sparsities)
        order = sorted(there, key=lambda section: -fmean(there[section].values()))
        first, *others = order or [""]
        behind = dict(zip(others, comparisons([(there[one], there[first]) for one in others]), strict=True))
        return [
            Ranked(
                section,
                labels(params)[section],
                heading(params, section),
                there[section],
                place,
                _places(there[section], [there[one] for one in order if one != section]),
                behind.get(section),
                self._cost(section, sparsities, "training_ratio"),
                self._time(section, sparsities),
                self._group(section, sparsities[0]).name if len(sparsities) == 1 else None,
            )
            for place, section in enumerate(order, start=1)
        ]

    def table(self, ranked: Sequence[Ranked]) -> Table:
        """A ranking with its statistics, the dense network above it."""
        lines = [self._line(one) for one in ranked]
        if (stat := self.results.stat(group := Group("dense", self.dataset, self.model), "last")) is not None:
            accuracy = Number(spread(stat.mean, stat.std), group=group.name)
            numbers = [Number(), Number("dense"), accuracy, Number(), Number("1"), Number("1")]
            lines.insert(0, Line("Dense", FAMILY_COLORS["Dense"], numbers))
        return Table([(head, 1) for head in COLUMNS], [], lines, kind="wide")

    def _line(self, one: Ranked) -> Line:
        places = "" if one.places is None else f"{one.places[0]} to {one.places[1]}"
        numbers = [
            Number(str(one.place), places, strong=True),
            Number(one.family[0].lower() + one.family[1:]),
            Number(spread(one.stat.mean, one.stat.std), f"n = {one.stat.n}", one.group),
            _behind(one.behind),
            Number("" if one.training is None else f"{one.training:.3f}"),
            Number("" if one.time is None else f"{one.time:.2f}"),
        ]
        return Line(one.label, one.color, numbers)

    def _group(self, section: str, sparsity: float) -> Group:
        return Group(self.results.params.stage_of(section), self.dataset, self.model, section, sparsity)

    def _there(self, sparsities: Sequence[float]) -> dict[str, BySeed]:
        """Of each method the mean accuracy by seed; without the methods that have no seed at all the sparsities."""
        found: dict[str, BySeed] = {}
        for section in by_family(self.results.params):
            columns = [self.results.by_seed(self._group(section, one), "last") for one in sparsities]
            seeds = [seed for seed in columns[0] if all(seed in column for column in columns)]
            if seeds:
                found[section] = {seed: fmean(column[seed] for column in columns) for seed in seeds}
        return found

    def _cost(self, section: str, sparsities: Sequence[float], metric: str) -> float | None:
        stats = [self.results.stat(self._group(section, one), metric) for one in sparsities]
        return fmean(stat.mean for stat in stats if stat) if all(stats) else None

    def _time(self, section: str, sparsities: Sequence[float]) -> float | None:
        """Seconds of a run as a share of the dense network's, which a method that starts from it takes, too.

        So does one that starts from the network of the next lower sparsity, and all runs before it.
        """
        params, dense = self.results.params, self.dense("time_s")
        stage, seconds = params.stage_of(section), []
        for sparsity in sparsities:
            lower = [one for one in params.grid.sparsities if one < sparsity] if stage == "chain" else []
            costs = [self._cost(section, [one], "time_s") for one in (*lower, sparsity)]
            if not dense or not all(costs):
                return None
            seconds.append(sum(cost or 0.0 for cost in costs) / dense)
        return fmean(seconds) + (stage in ("after", "chain"))


def _behind(comparison: Comparison | None) -> Number:
    """A difference in percentage points with its interval, bold where it exceeds the noise; below it the p-value."""
    if comparison is None:
        return Number()
    text, note = signed(comparison.difference.mean), comparison.difference.untested
    if (ends := comparison.interval) is not None and comparison.p_holm is not None:
        text += f" [{signed(ends[0])}, {signed(ends[1])}]"
        note = p_value(comparison.p_holm)
    return Number(text, note, strong=comparison.holds)


def _places(values: BySeed, others: Sequence[BySeed]) -> tuple[int, int] | None:
    """The first and the last place that the intervals of the paired differences leave open; None: too few seeds."""
    ends = [interval(compared(values, other)) for other in others]
    if not ends or any(end is None for end in ends):
        return None
    known = [end for end in ends if end is not None]
    return 1 + sum(high < 0 for _, high in known), len(known) + 1 - sum(low > 0 for low, _ in known)


def summary(ranked: Sequence[Ranked]) -> tuple[str, str]:
    """The first one's name, and what can be said of how far the others are behind it."""
    first, *others = ranked
    tested = [one for one in others if one.behind is not None and one.behind.p_holm is not None]
    firm = [one for one in tested if one.behind is not None and one.behind.holds]
    if not tested:
        return first.label, "too few seeds to say which differences exceed the noise"
    if not firm:
        return first.label, f"no other of the {len(ranked)} methods is firmly behind it"
    few = f"{len(firm)} of the {len(others)}" if len(firm) < len(others) else "all"
    return first.label, f"{few} others are firmly behind it"


def numbered(one: Ranked) -> str:
    """A method as pictures name it: 3 GraNet (si = 0). Of many values the first ones; the table has them all."""
    return f"{one.place} {shorten(one.label, 40, placeholder=' ...')}"


def at(sparsity: float) -> str:
    """The title of a ranking at one sparsity."""
    return f"At {short_percent(sparsity)}"


def reordered(ranked: Sequence[Ranked], overall: Sequence[Ranked]) -> list[Ranked]:
    """The methods of a ranking in the order, and with the place, of the one over all sparsities."""
    by_section = {one.section: one for one in ranked}
    return [replace(by_section[one.section], place=one.place) for one in overall if one.section in by_section]
