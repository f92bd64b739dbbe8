"""What the report shows of each model on each data set, method by method, and of networks that the study pruned."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from granet.studies.plasticity import OUTCOMES
from pipeline.report import figures
from pipeline.report.blocks import Fold, Heading, Picture, Section, Text
from pipeline.report.paper.numbers import IMAGENET
from pipeline.report.results import Results, curves, layers, mask_curves
from pipeline.report.sections.frame import beside_the_paper, say
from pipeline.report.tables.budgets import budget_tables
from pipeline.report.tables.latency import by_layer, latency
from pipeline.report.tables.model import Tables, three_columns
from pipeline.report.tables.plasticity import Study, caption, departures, findings, phases, points, studies
from pipeline.report.tables.smaller import smaller
from pipeline.report.words import counted

MANY_LINES, MANY_MODELS, MANY_STUDIES = 30, 2, 4
"""More than these are folded."""
FEW_STUDIES = 2
"""The tables of no more than these are open."""


@dataclass(frozen=True)
class Part:
    """One model on one data set. ``figures``: kind -> its file, for those with something to draw."""

    tables: Tables
    figures: dict[str, Path]

    def under_title(self, blocks: list[Any], *, is_folded: bool = False) -> list[Any]:
        """The blocks under the model and data set, or behind them."""
        title = self.tables.title
        return [Fold(title, blocks)] if is_folded else [Heading(title), *blocks]

    def picture(self, kind: str) -> list[Picture]:
        """The figure of that kind, if there is one."""
        path = self.figures.get(kind)
        return [Picture(path, say(f"{kind}_caption"), self.tables.title)] if path else []


def parts(results: Results, folder: Path) -> list[Part]:
    """All models on all data sets of the grid. Figures are written to ``folder``."""
    places = product(results.params.grid.datasets, results.params.grid.models)
    every = [Tables(results, *place) for place in places]
    return [Part(tables, _draw(tables, folder)) for tables in every]


def _draw(tables: Tables, folder: Path) -> dict[str, Path]:
    """The figures of one model on one data set, as far as there are runs for them."""
    series, runs = tables.series(), tables.trained
    sparse = [one for one in series if one.sparsity is not None and one.values]
    drawn: dict[str, Path] = {}

    def path(kind: str) -> Path:
        return drawn.setdefault(kind, folder / f"{kind}-{tables.dataset}-{tables.model}.png")

    if sparse:
        frame = curves(runs)
        figures.accuracy(series, path("accuracy"))
        figures.curves(series, frame, path("curves"))
        figures.layers(sparse, layers(runs), path("layers"))
        frame_of_masks = mask_curves(runs)
        known = {name for name, _ in frame_of_masks.index} if len(frame_of_masks) else set()
        if followed := [one for one in sparse if one.group in known]:
            figures.masks(followed, frame_of_masks, path("masks"))
        granet = [one for one in tables.granet_series() if one.values]
        if granet and tables.dataset == IMAGENET:
            figures.dynamics(granet, frame, int(runs["inference_dense"].iloc[0]), path("dynamics"))
    if pairs := [one for one in sparse if one.again]:
        figures.reinit(pairs, path("reinit"))
    return drawn


def sections(results: Results, parts: list[Part], folder: Path) -> Iterator[Section]:
    """What is shown beyond the printed tables, as far as the grid has it."""
    grid, many = results.params.grid, len(parts) > MANY_MODELS
    if grid.reinit:
        blocks = _each(parts, lambda part: [part.tables.reinit(), *part.picture("reinit")])
        yield Section("figure4", "Figure 4: reinitialisation", "Figure 4", [Text(say("reinit")), *blocks])
    if blocks := _each(parts, lambda part: part.picture("dynamics")):
        yield Section(
            "figure15", "Figure 15: FLOPs over training", "Figure 15", [Text(say("dynamics")), *blocks]
        )
    if grid.pretrain:
        yield plasticity(results, folder)
    if results.finished("export"):
        yield smaller_networks(results)
    if blocks := _each(parts, lambda part: part.picture("accuracy")):
        yield Section("accuracy", "Accuracy at a glance", "Accuracy", blocks)
        blocks = _each(parts, lambda part: [part.tables.flops()])
        yield Section("flops", "Training and inference FLOPs", "FLOPs", [Text(say("flops")), *blocks])
        blocks = _each(parts, lambda part: part.picture("curves"), is_folded=many)
        yield Section("curves", "Over training", "Training curves", [Text(say("curves")), *blocks])
        blocks = _each(
            parts,
            lambda part: [*pictures, part.tables.masks()] if (pictures := part.picture("masks")) else [],
            is_folded=many,
        )
        if blocks:
            yield Section("masks", "What the masks did", "Masks", [Text(say("masks")), *blocks])
        blocks = [
            block
            for part in parts
            if (pictures := part.picture("layers"))
            for block in (*part.under_title(pictures, is_folded=many), *_numbers_of_layers(part))
        ]
        yield Section("layers", "Learnt sparsity by layer", "Layers", [Text(say("layers")), *blocks])
    yield three_accuracies(results, parts)


def _each(parts: list[Part], blocks: Callable[[Part], list[Any]], *, is_folded: bool = False) -> list[Any]:
    """What each part has to show, under its title."""
    shown = [(part, blocks(part)) for part in parts]
    return [one for part, own in shown if own for one in part.under_title(own, is_folded=is_folded)]


def _numbers_of_layers(part: Part) -> Iterator[Fold]:
    """The picture's numbers, and the budgets (Appendix D)."""
    tables = part.tables
    if (table := tables.layers()).lines:
        yield Fold(f"{tables.title}: the numbers, in percent", [table])
    for sparsity, budget in budget_tables(tables.results, tables.series()):
        summary = f"{tables.title}, {sparsity}: the budget of every layer"
        yield Fold(summary, [Text(say("budget"), "note"), budget])


def three_accuracies(results: Results, parts: list[Part]) -> Section:
    """The last, the best validation and the best test epoch; without a method all networks in one table."""
    tables = [part.tables.three_accuracies() for part in parts]
    blocks: list[Any] = [Text(say("three"))]
    if any((grid := results.params.grid).methods + grid.after + grid.chains):
        for part, table in zip(parts, tables, strict=True):
            blocks += part.under_title([table], is_folded=len(table.lines) > MANY_LINES)
    else:
        lines = [line for part in parts for line in part.tables.network_lines()]
        blocks.append(three_columns(lines, "network"))
    if any(len(table.heads) > 3 for table in tables):  # the paper's number stands beside one
        blocks.append(beside_the_paper(results, "best test epoch as well, like beside like"))
    return Section("three", "Three test accuracies", "Three accuracies", blocks)


def plasticity(results: Results, folder: Path, suffix: str = ".png") -> Section:
    """What was done, and every figure of the study that has a branch, written to ``folder``, with its numbers."""
    params, grid, every = results.params, results.params.grid, studies(results)
    outcomes = [f"study_{outcome}" for outcome in OUTCOMES if outcome in params.plasticity.outcomes]
    epochs = counted(params.plasticity.continued(params.train), "more epoch")
    has_filters = any(network.startswith("filter") for network in grid.pretrain)
    spread = ", mean ± standard deviation over the seeds" if len(grid.seeds) > 1 else ""
    blocks: list[Any] = [
        Text(say("study", *outcomes, epochs=epochs)),
        Text(say("study_rate", *(["study_filters"] if has_filters else []))),
        Text(say("study_note", spread=spread), "note"),
    ]
    if not every:
        blocks.append(Text("No branch has run yet."))
    for index, one in enumerate(every):
        path = folder / f"{one.id}{suffix}"
        figures.plasticity(one, path)
        shown = [Picture(path, caption(one), one.title), *_numbers_of_study(results, one, len(every))]
        if len(every) > MANY_STUDIES:
            blocks.append(Fold(one.title, shown, is_open=index == 0, id=one.id))
        else:
            blocks += [Heading(one.title, one.id), *shown]
    return Section("plasticity", "Pruning plasticity", "Pruning plasticity", blocks)


def _numbers_of_study(results: Results, one: Study, num_studies: int) -> list[Any]:
    phrases = "; ".join(departures(results, one))
    before = "the unpruned run" if one.outcome == "final" else "before pruning"
    summary = "Each network and rate: mean over the epochs of pruning, without and with regeneration"
    return [
        *([Text(say("study_departs", phrases=phrases), "note")] if phrases else []),
        Heading("By learning rate and by regeneration", level=4),
        Text(say("study_means", before=before)),
        findings(one),
        Fold(summary, [phases(one)], is_open=num_studies <= FEW_STUDIES),
        Fold("Every point of the figure", [points(one, len(results.params.grid.seeds))]),
    ]


def smaller_networks(results: Results) -> Section:
    """Networks whose needless channels are cut out, and what runs the masked ones."""
    table, facts = smaller(results)
    note = say("channels", "packed", *(["uncut"] if facts["networks"] else []), "outputs", **facts)
    blocks = [Text(say("smaller", **facts)), Text(note, "note"), table]
    if times := latency(results):
        blocks += [
            Heading("Latency of the masked networks"),
            Text(say("latency", **facts)),
            times,
            *by_layer(results),
        ]
    return Section("smaller", "Smaller networks", "Smaller networks", blocks)
