"""The plasticity study as frames: which branches stand in which of the paper's figures, and their means over seeds.

Changes are differences of two test accuracies, as fractions. A branch that diverged has none.
"""


# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from granet.studies.plasticity import GRANULARITIES, OUTCOMES, SCOPES, parse_network
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.words import listed, setting

if TYPE_CHECKING:
    from pandas import DataFrame


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
OUTCOME_NAMES = {"plasticity": "Pruning plasticity", "final": "Final performance gap"}
PRUNED = {
    ("element", "global"): "weights pruned globally",
    ("element", "uniform"): "weights pruned layer by layer",
    ("filter", "uniform"): "filters pruned layer by layer",
}


@dataclass(frozen=True)
class Study:
    """What one picture shows: a model pruned in one way, with one outcome. ``branches`` has a row per branch.

    Its columns are those of branches.csv, and ``pretrained`` (sparsity of the network that was pruned), ``seed`` and
    ``group`` (the plasticity runs of one network).
    """

    dataset: str
    model: str
    granularity: str
    scope: str
    outcome: str
    branches: "DataFrame"
    epochs: int
    """Of the unpruned run."""
    drops: list[float]
    """Epochs at which its learning rate drops."""
    continued: int
    """Epochs at the frozen learning rate."""

    @property
    def id(self) -> str:
        """Names its picture."""
        return f"{self.outcome}-{self.dataset}-{self.model}-{self.granularity}-{self.scope}"

    @property
    def sparsities(self) -> list[float]:
        """Of the pre-trained networks."""
        return sorted(self.branches["pretrained"].unique().tolist())

    @property
    def rates(self) -> list[float]:
        """Pruning rates."""
        return sorted(self.branches["rate"].unique().tolist())

    @property
    def ways(self) -> list[bool]:
        """Without regeneration (False), with it (True), or both."""
        return sorted(self.branches["regenerated"].unique().tolist())

    @property
    def pruned_at(self) -> list[int]:
        """Epochs after which a network was pruned."""
        return sorted(self.branches["epoch"].unique().tolist())

    @property
    def num_diverged(self) -> int:
        """Branches without an accuracy."""
        return int(self.branches["change"].isna().sum())

    @property
    def figure(self) -> int:
        """The figure of the paper that has this layout."""
        model = self.model if (self.granularity, self.scope, self.model) in FIGURES else "resnet20"
        return FIGURES[self.granularity, self.scope, model] + (self.outcome == "final")

    @property
    def in_paper(self) -> bool:
        """Whether the paper's figure is about this model and data set."""
        return self.dataset == "cifar10" and (self.granularity, self.scope, self.model) in FIGURES

    @property
    def title(self) -> str:
        """What it shows, and which figure of the paper that is."""
        what, how = OUTCOME_NAMES[self.outcome], PRUNED[self.granularity, self.scope]
        text = f"{how}, {setting(self.dataset, self.model)}"
        if self.in_paper:
            return f"Figure {self.figure}: {what[0].lower()}{what[1:]}, {text}"
        return f"{what}, {text} (in the layout of Figure {self.figure}; no reproduction)"

    def means(self) -> "DataFrame":
        """Mean change and its std over seeds, how many there are (``count``), and how many were to be (``size``).

        By (pretrained, regenerated, rate, epoch). NaN where all branches diverged; one seed has no std.
        """
        keys = ["pretrained", "regenerated", "rate", "epoch"]
        return self.branches.groupby(keys)["change"].agg(["mean", "std", "count", "size"])

    def phase(self, epoch: int) -> int:
        """How many times the learning rate has dropped when a network is pruned after ``epoch`` epochs."""
        return bisect_right(self.drops, epoch + 1e-6)  # 0.3 of 10 epochs is 3.0000000000000004


def studies(results: Results) -> Iterator[Study]:
    """Every picture that has a branch: the paper's in the order of its figures, then those in their layout."""
    yield from sorted(_studies(results), key=lambda study: (not study.in_paper, study.figure))


def _studies(results: Results) -> Iterator[Study]:
    from pandas import concat, read_csv

    runs, grid = results.finished("plasticity"), results.params.grid
    frames = []
    for run in runs:
        cell, branches = run.cell, read_csv(run.folder.file("branches.csv"))
        granularity, sparsity = parse_network(cell.network or "")
        network = {"dataset": cell.dataset, "model": cell.model, "granularity": granularity}
        frames.append(branches.assign(**network, pretrained=sparsity, seed=cell.seed, group=cell.group.name))
    if not frames:
        return
    every, summary = concat(frames, ignore_index=True), runs[0].summary
    for key in product(grid.datasets, grid.models, GRANULARITIES, SCOPES, OUTCOMES):
        names = ["dataset", "model", "granularity", "scope", "outcome"]
        branches = every[(every[names] == list(key)).all(axis=1)]
        if len(branches):
            yield Study(
                *key,
                branches=branches,
                epochs=summary["epochs"],
                drops=summary["lr_drop_epochs"],
                continued=summary["continued_epochs"],
            )


def departures(results: Results, study: Study) -> list[str]:
    """How a study that is about a figure's model and data set departs from the paper's, one phrase each."""
    if not study.in_paper:
        return []
    phrases = differences(results, study.dataset, methods=False)
    if study.outcome == "plasticity" and study.continued != CONTINUED:
        phrases.append(f"{study.continued} instead of {CONTINUED} epochs at the frozen learning rate")
    for name, values, in_print in (
        ("pre-trained sparsities", study.sparsities, SPARSITIES[study.granularity]),
        ("pruning rates", study.rates, RATES.get(study.granularity, study.rates)),
    ):
        if values != in_print:
            phrases.append(f"{name} {listed(values)} instead of {listed(in_print)}")
    return phrases


def rate_colors(rates: Sequence[float]) -> dict[float, str]:
    """A colour per pruning rate; the paper's four keep theirs."""
    others = sorted(rate for rate in rates if rate not in RATE_COLORS)
    known = {rate: RATE_COLORS[rate] for rate in rates if rate in RATE_COLORS}
    return known | {rate: OTHER_COLORS[index % len(OTHER_COLORS)] for index, rate in enumerate(others)}
