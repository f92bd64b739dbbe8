"""What the report shows of each model on each data set: figures and tables, method by method."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.report import figures
from pipeline.report.blocks import Fold, Heading, Picture, Section, Text
from pipeline.report.paper.numbers import IMAGENET
from pipeline.report.results import Results, curves, layers
from pipeline.report.sections import say
from pipeline.report.sections.frame import beside_the_paper
from pipeline.report.tables.budgets import budget_tables
from pipeline.report.tables.model import Tables, network_accuracies

MANY_LINES, MANY_MODELS = 30, 2
"""More than these are folded."""


@dataclass(frozen=True)
class Part:
    """One model on one data set. ``figures``: kind -> its file, for those with something to draw."""

    tables: Tables
    figures: dict[str, Path]

    @property
    def title(self) -> str:
        """The model on the data set."""
        return self.tables.title

    def picture(self, kind: str) -> list[Picture]:
        """The figure of that kind, if there is one."""
        path = self.figures.get(kind)
        return [Picture(path, say(f"{kind}_caption"), self.title)] if path else []


def parts(results: Results, folder: Path) -> list[Part]:
    """All models on all data sets of the grid. Figures are written to ``folder``."""
    grid = results.params.grid
    every = [Tables(results, dataset, model) for dataset in grid.datasets for model in grid.models]
    return [Part(tables, _draw(tables, folder)) for tables in every]


def _draw(tables: Tables, folder: Path) -> dict[str, Path]:
    """The figures of one model on one data set, as far as there are runs for them."""
    series, runs = tables.series(), tables.trained
    sparse = [one for one in series if one.sparsity is not None and one.values]
    drawn: dict[str, Path] = {}

    def path(kind: str) -> Path:
        drawn[kind] = folder / f"{kind}-{tables.dataset}-{tables.model}.png"
        return drawn[kind]

    if sparse:
        frame = curves(runs)
        figures.accuracy(series, path("accuracy"))
        figures.curves(series, frame, path("curves"))
        figures.layers(sparse, layers(runs), path("layers"))
        granet = [one for one in tables.granet_series() if one.values]
        if granet and tables.dataset == IMAGENET:
            figures.dynamics(granet, frame, int(runs["inference_dense"].iloc[0]), path("dynamics"))
    if pairs := [one for one in sparse if one.again]:
        figures.reinit(pairs, path("reinit"))
    return drawn


def reinitialised(every: list[Part]) -> Section:
    """Figure 4."""
    blocks: list[Any] = [Text(say("reinit"))]
    for part in every:
        blocks += [Heading(part.title), part.tables.reinit(), *part.picture("reinit")]
    return Section("figure4", "Figure 4: reinitialisation", "Figure 4", blocks)


def dynamics(every: list[Part]) -> Section:
    """Figure 15."""
    blocks = [Text(say("dynamics")), *_pictures(every, "dynamics")]
    return Section("figure15", "Figure 15: FLOPs over training", "Figure 15", blocks)


def _pictures(every: list[Part], kind: str, *, foldable: bool = False) -> Iterator[Any]:
    """The pictures of a kind under their models; those of many models may be folded."""
    for part in every:
        if pictures := part.picture(kind):
            yield from _under_title(part, pictures, is_folded=foldable and len(every) > MANY_MODELS)


def _under_title(part: Part, blocks: list[Any], *, is_folded: bool) -> list[Any]:
    return [Fold(part.title, blocks)] if is_folded else [Heading(part.title), *blocks]


def sparse(every: list[Part]) -> Iterator[Section]:
    """What is shown of sparse runs beyond the printed tables."""
    yield Section("accuracy", "Accuracy at a glance", "Accuracy", list(_pictures(every, "accuracy")))
    flops = [block for part in every for block in (Heading(part.title), part.tables.flops())]
    yield Section("flops", "Training and inference FLOPs", "FLOPs", [Text(say("flops")), *flops])
    pictures = _pictures(every, "curves", foldable=True)
    yield Section("curves", "Over training", "Training curves", [Text(say("curves")), *pictures])
    blocks: list[Any] = [Text(say("layers"))]
    for part in every:
        if pictures := part.picture("layers"):
            blocks += _under_title(part, pictures, is_folded=len(every) > MANY_MODELS)
            blocks += _numbers_of_layers(part)
    yield Section("layers", "Learnt sparsity by layer", "Layers", blocks)


def _numbers_of_layers(part: Part) -> Iterator[Fold]:
    """The picture's numbers, and the budgets (Appendix D)."""
    if (table := part.tables.layers()).lines:
        yield Fold(f"{part.title}: the numbers, in percent", [table])
    for sparsity, budget in budget_tables(part.tables.results, part.tables.series()):
        summary = f"{part.title}, {sparsity}: the budget of every layer"
        yield Fold(summary, [Text(say("budget"), "note"), budget])


def three_accuracies(results: Results, every: list[Part]) -> Section:
    """The last, the best validation and the best test epoch."""
    blocks: list[Any] = [Text(say("three"))]
    tables = [part.tables.three_accuracies() for part in every]
    if results.params.grid.methods or results.params.grid.after:
        for part, table in zip(every, tables, strict=True):
            blocks += _under_title(part, [table], is_folded=len(table.lines) > MANY_LINES)
    else:
        blocks.append(network_accuracies(results))
    if any(len(table.heads) > 3 for table in tables):  # the paper's number stands beside one
        blocks.append(beside_the_paper(results, "best test epoch as well, like beside like"))
    return Section("three", "Three test accuracies", "Three accuracies", blocks)
