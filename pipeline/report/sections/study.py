"""The plasticity study, and the smaller networks that its export makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from granet.studies.plasticity import OUTCOMES
from pipeline.report import figures
from pipeline.report.blocks import Fold, Heading, Items, Picture, Section, Text
from pipeline.report.results import Results
from pipeline.report.sections import say
from pipeline.report.tables.plasticity import Study, caption, departures, findings, phases, points, studies
from pipeline.report.tables.smaller import Smaller
from pipeline.report.words import counted

MANY, FEW = 4, 2
"""More figures than MANY are folded; the tables of no more than FEW are open."""


def plasticity(results: Results, folder: Path) -> Section:
    """Every figure of the study that has a branch, written to ``folder``, with its numbers."""
    every = studies(results)
    blocks: list[Any] = list(_definitions(results))
    if not every:
        blocks.append(Text("No branch has run yet."))
    for index, study in enumerate(every):
        path = folder / f"{study.id}.png"
        figures.plasticity(study, path)
        shown = [
            Picture(path, caption(study), study.title),
            *_of_study(results, study, len(every) <= FEW),
        ]
        if len(every) > MANY:
            blocks.append(Fold(study.title, shown, is_open=index == 0, id=study.id))
        else:
            blocks += [Heading(study.title, study.id), *shown]
    return Section("plasticity", "Pruning plasticity", "Pruning plasticity", blocks)


def _definitions(results: Results) -> Iterator[Text]:
    """What was done, and what the words mean."""
    study, grid = results.params.plasticity, results.params.grid
    num_epochs = study.continued(results.params.train)
    outcomes = [f"study_{outcome}" for outcome in OUTCOMES if outcome in study.outcomes]
    yield Text(say("study", *outcomes, epochs=counted(num_epochs, "more epoch")))
    has_filters = any(network.startswith("filter") for network in grid.pretrain)
    yield Text(say("study_rate", *(["study_filters"] if has_filters else [])))
    spread = ", mean ± standard deviation over the seeds" if len(grid.seeds) > 1 else ""
    yield Text(say("study_note", spread=spread), "note")


def _of_study(results: Results, study: Study, is_open: bool) -> Iterator[Any]:
    """What stands below a picture."""
    if phrases := departures(results, study):
        yield Text(say("study_departs", phrases="; ".join(phrases)), "note")
    yield Heading("By learning rate and by regeneration", level=4)
    before = "the unpruned run" if study.outcome == "final" else "before pruning"
    yield Text(say("study_means", before=before))
    yield Items(findings(study))
    summary = "Each network and rate: mean over the epochs of pruning, without and with regeneration"
    yield Fold(summary, [phases(study)], is_open)
    yield Fold("Every point of the figure", [points(study, len(results.params.grid.seeds))])


def smaller_networks(exported: Smaller) -> Section:
    """Networks whose pruned filters are cut out."""
    uncut = ["uncut"] if exported.uncut else []
    values = {"networks": "; ".join(exported.uncut), "difference": exported.max_difference}
    note = say("packed", *uncut, "outputs", **values)
    blocks = [Text(say("smaller", hardware=exported.hardware)), Text(note, "note"), exported.table]
    return Section("smaller", "Smaller networks", "Smaller networks", blocks)
