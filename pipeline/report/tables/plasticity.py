"""The plasticity study: which branches stand in which of the paper's figures; their numbers in tables and sentences.

Changes are differences of two test accuracies, as fractions. A branch that diverged has none.
"""

# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportCallIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import isnan

from pandas import DataFrame, concat

from granet.studies.plasticity import parse_network
from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.words import counted, listed, percent, setting, signed, signed_spread

FIGURES = {
    ("element", "global", "resnet20"): 2,
    ("filter", "uniform", "resnet20"): 5,
    ("filter", "uniform", "vgg19"): 7,
    ("element", "uniform", "resnet20"): 9,
    ("element", "global", "vgg19"): 11,
    ("element", "uniform", "vgg19"): 13,
}
"""The paper's figure of pruning plasticity on CIFAR-10; the final gap is in the next one."""
SPARSITIES = {"element": [0.0, 0.5, 0.9, 0.98], "filter": [0.0, 0.1, 0.5, 0.7]}
"""Of the paper's pre-trained networks (Section 3.4, Appendix A)."""
RATES = {"element": [0.2, 0.5, 0.9, 0.98]}
"""The paper's (Section 3.4); those of filters stand in no text."""
RATE_COLORS = {0.2: "#ff8c1a", 0.5: "#2f9e44", 0.9: "#d6232a", 0.98: "#7b3fb5"}
"""The paper's: orange, green, red, purple."""
OTHER_COLORS = ("#1f77b4", "#8c564b", "#e377c2", "#17a2b8", "#7f7f7f", "#9a9a00")
CONTINUED = 30
"""Epochs at the frozen learning rate (Section 3.4)."""
COLLAPSED, LINEAR = 15.0, 5.0
"""In percentage points: beyond the first one, the axis is logarithmic but for the second one around zero."""
WAYS = {False: "without", True: "with"}
OUTCOME_NAMES = {"plasticity": "Pruning plasticity", "final": "Final performance gap"}
SCOPE_NAMES = {"global": "globally", "uniform": "layer by layer"}


@dataclass(frozen=True)
class Study:
    """What one picture shows: a model pruned in one way, with one outcome.

    ``branches`` has the columns of branches.csv, and ``pretrained`` (sparsity of the network that was pruned),
    ``seed``, ``group`` (the plasticity runs of one network) and ``phase`` (how often the learning rate had dropped).
    The unpruned run has ``epochs``, its learning rate falls at ``drops``; ``continued`` epochs are at the frozen one.
    """

    dataset: str
    model: str
    granularity: str
    scope: str
    outcome: str
    branches: DataFrame
    epochs: int
    drops: list[float]
    continued: int

    @property
    def id(self) -> str:
        """Names its picture."""
        return f"{self.outcome}-{self.dataset}-{self.model}-{self.granularity}-{self.scope}"

    def entries(self, column: str) -> list:
        """The values of a column of ``branches``, each once."""
        return sorted(self.branches[column].unique().tolist())

    @property
    def colors(self) -> dict[float, str]:
        """The pruning rates, with a colour each."""
        return rate_colors(self.entries("rate"))

    @property
    def is_logarithmic(self) -> bool:
        """Whether a branch collapsed so far that a linear axis would press all others flat."""
        return bool((100 * self.means()["mean"].abs()).max() > COLLAPSED)

    @property
    def figure(self) -> int:
        """The figure of the paper that has this layout."""
        key = self.granularity, self.scope
        return FIGURES.get((*key, self.model), FIGURES[*key, "resnet20"]) + (self.outcome == "final")

    @property
    def in_paper(self) -> bool:
        """Whether the paper's figure is about this model and data set."""
        return self.dataset == "cifar10" and (self.granularity, self.scope, self.model) in FIGURES

    @property
    def title(self) -> str:
        """What it shows, and which figure of the paper that is."""
        what, units = OUTCOME_NAMES[self.outcome], "filters" if self.granularity == "filter" else "weights"
        text = f"{what}, {units} pruned {SCOPE_NAMES[self.scope]}, {setting(self.dataset, self.model)}"
        if self.in_paper:
            return f"Figure {self.figure}: {text[0].lower()}{text[1:]}"
        return f"{text} (in the layout of Figure {self.figure}; no reproduction)"

    def network(self, sparsity: float) -> str:
        """What the parts of its pictures and tables are called."""
        return f"Pre-trained {'filter ' if self.granularity == 'filter' else ''}sparsity {sparsity:g}"

    def means(self) -> DataFrame:
        """Mean change and its std over seeds, how many there are (``count``), and how many were to be (``size``).

        By (pretrained, regenerated, rate, epoch). NaN where all branches diverged; one seed has no std.
        """
        keys = ["pretrained", "regenerated", "rate", "epoch"]
        return self.branches.groupby(keys)["change"].agg(["mean", "std", "count", "size"])


def studies(results: Results) -> list[Study]:
    """Every picture that has a branch: the paper's in the order of its figures, then those in their layout."""
    runs, frames = results.finished("plasticity"), []
    for run in runs:
        cell, (granularity, sparsity) = run.cell, parse_network(run.cell.network or "")
        values = {"dataset": cell.dataset, "model": cell.model, "granularity": granularity, "seed": cell.seed}
        frames.append(run.branches.assign(**values, pretrained=sparsity, group=cell.group.name))
    if not frames:
        return []
    every, summary = concat(frames, ignore_index=True), runs[0].summary
    drops = summary["lr_drop_epochs"]
    # 0.3 of 10 epochs is 3.0000000000000004
    every["phase"] = [bisect_right(drops, epoch + 1e-6) for epoch in every["epoch"]]
    keys = ["dataset", "model", "granularity", "scope", "outcome"]
    found = [
        Study(*key, branches, summary["epochs"], drops, summary["continued_epochs"])
        for key, branches in every.groupby(keys, sort=False)
    ]
    return sorted(found, key=lambda study: (not study.in_paper, study.figure))


def caption(study: Study) -> str:
    """What a reader has to know of the picture. No points where branches diverged: their number stands here."""
    runs = "the unpruned run at its end" if study.outcome == "final" else "the moment before pruning"
    parts = [f"Change in test accuracy against {runs}, by the epoch at which the network was pruned."]
    if study.means()["count"].max() > 1:
        parts.append("Mean over the seeds, with a band of one standard deviation.")
    if study.is_logarithmic:
        parts.append(f"The axis is linear between −{LINEAR:g} and +{LINEAR:g} and logarithmic beyond.")
    if lost := study.branches["change"].isna().sum():
        verb = "is" if lost == 1 else "are"
        parts.append(f"{lost} of {len(study.branches)} branches diverged and {verb} left out.")
    return " ".join(parts)


def departures(results: Results, study: Study) -> list[str]:
    """How a study that is about a figure's model and data set departs from the paper's, one phrase each."""
    if not study.in_paper:
        return []
    phrases = differences(results, study.dataset, methods=False)
    if study.outcome == "plasticity" and study.continued != CONTINUED:
        phrases.append(f"{study.continued} instead of {CONTINUED} epochs at the frozen learning rate")
    for name, column, in_print in (
        ("pre-trained sparsities", "pretrained", SPARSITIES),
        ("pruning rates", "rate", RATES),
    ):
        values = study.entries(column)
        if values != (expected := in_print.get(study.granularity, values)):
            phrases.append(f"{name} {listed(values)} instead of {listed(expected)}")
    return phrases


def rate_colors(rates: Sequence[float]) -> dict[float, str]:
    """A colour per pruning rate; the paper's four keep theirs."""
    others = cycle(OTHER_COLORS)
    return {rate: RATE_COLORS.get(rate) or next(others) for rate in sorted(rates)}


def points(study: Study, num_seeds: int) -> Table:
    """Every mean that the figure shows, in percentage points, under the accuracy that it is compared with.

    ``num_seeds`` is how many the grid has: a network with fewer says so.
    """
    means, epochs, colors = study.means(), study.entries("epoch"), study.colors
    lines = []
    for sparsity, rows in study.branches.groupby("pretrained"):
        group, there = rows["group"].iloc[0], rows["seed"].nunique()
        few = f" (n = {there} of {num_seeds})" if there < num_seeds else ""
        lines.append(_compared(study, rows, study.network(sparsity) + few))
        for (way, rate), changes in means.loc[sparsity].groupby(["regenerated", "rate"]):
            name = f"rate {rate:g}" + (", regenerated" if way else "")
            numbers = [_number(*change, group) for change in changes.itertuples(index=False)]
            lines.append(Line(name, colors[rate], numbers))
    return Table([("pruned after epoch", len(epochs))], list(map(str, epochs)), lines, "pruning rate")


def _compared(study: Study, rows: DataFrame, heading: str) -> Line:
    """The accuracy before pruning, epoch by epoch; or that of the unpruned run at its end, which is one."""
    group = rows["group"].iloc[0]
    if study.outcome == "final":
        final = rows.drop_duplicates("seed")["before"].mean()
        whole = Number(percent(final), group=group, span=len(study.entries("epoch")))
        return Line("unpruned, final accuracy, %", "", [whole], heading)
    before = rows.drop_duplicates(["seed", "epoch"]).groupby("epoch")["before"].mean()
    return Line("accuracy before, %", "", [Number(percent(value), group=group) for value in before], heading)


def _number(mean: float, std: float, count: int, size: int, group: str) -> Number:
    """A mean change of ``size`` branches, of which ``count`` came through; std is NaN for one seed."""
    if count == 0:
        return Number("diverged", group=group)
    note = f"{size - count} of {size} diverged" if count < size else ""
    return Number(signed_spread(mean, None if isnan(std) else std), note, group)


def phases(study: Study) -> Table:
    """Mean change over the epochs of pruning at each learning rate, per network and rate; with ± over the seeds.

    The difference (with − without regeneration) is of pairs of branches of which neither diverged.
    """
    frame, colors, heads = by_phase(study), study.colors, _heads(study)
    columns = [column for column in (*WAYS.values(), "difference") if column in frame]
    lines = []
    for sparsity, network in frame.groupby("pretrained"):
        block = []
        for rate, rows in network.groupby("rate"):
            numbers = [_mean(part, column) for _, part in rows.groupby("phase") for column in columns]
            block.append(Line(f"rate {rate:g}", colors[rate], numbers))
        lines += under(study.network(sparsity), block)
    return Table(
        [(text, len(columns)) for text in heads.values()], columns * len(heads), lines, "pruning rate"
    )


def _heads(study: Study) -> dict[int, str]:
    """The phases in which networks were pruned: their epochs and learning rates."""
    heads = {}
    for phase, rows in study.branches.groupby("phase"):
        first, last = rows["epoch"].min(), rows["epoch"].max()
        span = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        heads[phase] = f"{span}, learning rate {listed(rows['lr'].map('{:g}'.format).unique().tolist())}"
    return heads


def by_phase(study: Study) -> DataFrame:
    """A row per network, rate, epoch and seed; columns without, with, difference, in fractions."""
    keys = ["group", "pretrained", "rate", "epoch", "phase", "seed"]
    wide = study.branches.pivot(index=keys, columns="regenerated", values="change").rename(columns=WAYS)
    if set(WAYS.values()) <= set(wide):
        wide["difference"] = wide["with"] - wide["without"]
    return wide.reset_index()


def _mean(rows: DataFrame, column: str) -> Number:
    """Mean over epochs, then mean ± std over the seeds."""
    group, seeds = rows["group"].iloc[0], rows.groupby("seed")[column].mean()
    if column == "difference" and seeds.isna().all():
        return Number(group=group)
    count = len(rows) if column == "difference" else rows[column].count()
    return _number(seeds.mean(), seeds.std(), count, len(rows), group)


def findings(study: Study) -> list[str]:
    """What the paper reads from its figures, as numbers of these runs: learning rate first, then regeneration."""
    frame, heads = by_phase(study), _heads(study)
    sentences = []
    for way in study.entries("regenerated"):
        parts = [
            f"{signed(changes.mean())}, recovered in {(changes >= 0).sum()} of {len(changes)} ({heads[phase]})"
            for phase, changes in frame.groupby("phase")[WAYS[way]]
            if changes.notna().any()
        ]
        if parts:
            sentences.append(f"{WAYS[way].capitalize()} regeneration: {'; '.join(parts)}.")
    if "difference" in frame and (pairs := frame.dropna(subset="difference")).size:
        gains = pairs["difference"]
        parts = [f"Regeneration changes that by {signed(gains.mean())}"]
        for along, name in (("rate", "pruning rate"), ("phase", "learning rate")):
            means = [signed(mean) for mean in pairs.groupby(along)["difference"].mean()]
            parts += [f"by {name}, in their order, {listed(means)}"] if len(means) > 1 else []
        better = f"{(gains > 0).sum()} of {counted(len(gains), 'pair')} of branches"
        sentences.append(f"{'; '.join(parts)}. It is better in {better}.")
    if study.branches["change"].isna().any():
        sentences.append("Diverged branches are in no mean, and did not recover.")
    return sentences
