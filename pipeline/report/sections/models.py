"""What the report shows of each model on each data set: figures and tables, method by method."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.report.blocks import Fold, Heading, Picture, Section, Table, Text
from pipeline.report.figures import runs as figures
from pipeline.report.paper.numbers import IMAGENET
from pipeline.report.results import Results, curves, layers
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

    def picture(self, kind: str, caption: str) -> list[Picture]:
        """The figure of that kind, if there is one."""
        return [Picture(self.figures[kind], caption, self.title)] if kind in self.figures else []


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
    text = (
        "The final mask kept, new random weights, the full schedule again. A network that falls short shows that the "
        "mask alone does not carry the accuracy. The paper prints no numbers for it. The difference is reinitialised − "
        "original."
    )
    caption = "Original and reinitialised networks: mean, with one standard deviation where there are several seeds."
    blocks: list[Any] = [Text(text)]
    for part in every:
        blocks += [Heading(part.title), part.tables.reinit(), *part.picture("reinit", caption)]
    return Section("figure4", "Figure 4: reinitialisation", "Figure 4", blocks)


def dynamics(every: list[Part]) -> Section:
    """Figure 15."""
    text = (
        "What one inference of GraNet costs after every epoch, from several initial sparsities. The lower the initial "
        "sparsity, the more it costs at first. The paper prints no numbers for it."
    )
    caption = (
        "FLOPs of one inference after every epoch: mean, with a band of one standard deviation where there are several "
        "seeds; dashed: the dense model."
    )
    pictures = _pictures(every, "dynamics", caption)
    return Section("figure15", "Figure 15: FLOPs over training", "Figure 15", [Text(text), *pictures])


def _pictures(every: list[Part], kind: str, caption: str, *, many: int | None = None) -> Iterator[Any]:
    """The pictures of a kind under their models; with more than ``many`` models each is folded."""
    for part in every:
        if pictures := part.picture(kind, caption):
            yield from _foldable(part.title, pictures, is_folded=many is not None and len(every) > many)


def _foldable(title: str, blocks: list[Any], *, is_folded: bool) -> list[Any]:
    return [Fold(title, blocks)] if is_folded else [Heading(title), *blocks]


def sparse(every: list[Part]) -> Iterator[Section]:
    """What is shown of sparse runs beyond the printed tables."""
    caption = (
        "Mean (diamond), standard deviation (bar) and single seeds (dots, where there are several); dashed: the dense "
        "model."
    )
    glance = list(_pictures(every, "accuracy", caption))
    yield Section("accuracy", "Accuracy at a glance", "Accuracy", glance)
    yield _flops(every)
    text = (
        "Sparsity, test accuracy and the FLOPs of one inference (as in the paper's Figure 15) after every epoch. The "
        "accuracy axis starts where the first tenth of the run ends."
    )
    caption = "Mean over the seeds, with a band of one standard deviation where there are several; dashed: the dense model."
    over = [Text(text), *_pictures(every, "curves", caption, many=MANY_MODELS)]
    yield Section("curves", "Over training", "Training curves", over)
    yield _layers(every)


def _flops(every: list[Part]) -> Section:
    text = (
        "As a share of the dense model's. A multiply-add is 2 FLOPs and a masked weight costs nothing: this is what "
        "hardware that skips zeros could save. Masks only simulate sparsity, so these FLOPs are theoretical, not "
        "measured. Training counts every step at its own sparsity, and the dense gradient where a mask "
        "update reads it; "
        "a method that starts from the trained dense network pays for that, too."
    )
    blocks = [block for part in every for block in (Heading(part.title), part.tables.flops())]
    return Section("flops", "Training and inference FLOPs", "FLOPs", [Text(text), *blocks])


def _layers(every: list[Part]) -> Section:
    text = (
        "Which layers give up their weights, from input to output. Dark layers keep more; the scale is logarithmic in "
        "the share of weights kept. Weights, sparsity and FLOPs of every layer: `reports/budgets.csv`."
    )
    blocks: list[Any] = [Text(text)]
    for part in every:
        caption = "Sparsity of each layer in percent, mean over the seeds."
        if pictures := part.picture("layers", caption):
            blocks += _foldable(part.title, pictures, is_folded=len(every) > MANY_MODELS)
            blocks += _numbers_of_layers(part)
    return Section("layers", "Learnt sparsity by layer", "Layers", blocks)


def _numbers_of_layers(part: Part) -> Iterator[Fold]:
    """The picture's numbers, and the budgets (Appendix D)."""
    if (table := part.tables.layers()).lines:
        yield Fold(f"{part.title}: the numbers, in percent", [table])
    note = "At the mean sparsity over the seeds: weights that are kept, and FLOPs of one inference."
    for sparsity, budget in budget_tables(part.tables.results, part.tables.series()):
        summary = f"{part.title}, {sparsity}: the budget of every layer"
        yield Fold(summary, [Text(note, "note"), budget])


def three_accuracies(results: Results, every: list[Part]) -> Section:
    """The last, the best validation and the best test epoch."""
    blocks: list[Any] = [
        Text(
            "**Last epoch** is the headline of this report. **Best validation epoch** is the test accuracy where "
            "held-out images score best, and is empty where none are held out. **Best test epoch** is the best of the "
            "epochs at the final sparsity: this selects on the test set, is too high for that, and is what the paper "
            "reports."
        )
    ]
    tables = [part.tables.three_accuracies() for part in every]
    if results.params.grid.methods or results.params.grid.after:
        for part, table in zip(every, tables, strict=True):
            blocks += _foldable(part.title, [table], is_folded=len(table.lines) > MANY_LINES)
    else:
        blocks.append(network_accuracies(results))
    if any(_has_paper(table) for table in tables):
        blocks.append(beside_the_paper(results, "best test epoch as well, like beside like"))
    return Section("three", "Three test accuracies", "Three accuracies", blocks)


def _has_paper(table: Table) -> bool:
    """Whether the paper's number stands beside any of the three accuracies."""
    return len(table.heads) > 3
