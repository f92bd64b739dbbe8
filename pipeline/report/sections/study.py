"""The plasticity study, and the smaller networks that its export makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.report.blocks import Fold, Heading, Items, Picture, Section, Text
from pipeline.report.figures.plasticity import caption, picture
from pipeline.report.plasticity import Study, departures, studies
from pipeline.report.results import Results
from pipeline.report.tables.plasticity import findings, phases, points
from pipeline.report.tables.smaller import Smaller

MANY, FEW = 4, 2
"""More figures than MANY are folded; the tables of no more than FEW are open."""


def plasticity(results: Results, folder: Path) -> Section:
    """Every figure of the study that has a branch, written to ``folder``, with its numbers."""
    every = list(studies(results))
    blocks: list[Any] = list(_definitions(results))
    if not every:
        blocks.append(Text("No branch has run yet."))
    for index, study in enumerate(every):
        path = folder / f"{study.id}.png"
        picture(study, path)
        shown = [Picture(path, caption(study), study.title), *_of_study(results, study, len(every) <= FEW)]
        if len(every) > MANY:
            blocks.append(Fold(study.title, shown, is_open=index == 0, id=study.id))
        else:
            blocks += [Heading(study.title, study.id), *shown]
    return Section("plasticity", "Pruning plasticity", "Pruning plasticity", blocks)


def _definitions(results: Results) -> Iterator[Text]:
    """What was done, and what the words mean."""
    params, grid = results.params, results.params.grid
    text = "How well does a network recover from being pruned once, in the middle of its training?"
    if "plasticity" in params.plasticity.outcomes:
        epochs = params.plasticity.continued(params.train)
        text += (
            f" **Pruning plasticity** is the test accuracy after {epochs} more epoch{'s' if epochs > 1 else ''} at the "
            "learning rate of the epoch of pruning, frozen, minus that just before pruning."
        )
    if "final" in params.plasticity.outcomes:
        text += (
            " **The final performance gap** is the test accuracy at the end of the remaining schedule, minus that of the "
            "unpruned run at its end."
        )
    yield Text(text)
    text = (
        "A **pruning rate** is the share of the active weights, or filters, that goes at once: those of the smallest "
        "magnitude. With **regeneration**, as many connections are grown as were pruned, where the gradient is largest, "
        "so that the sparsity is as before; without, the network stays sparser."
    )
    if any(network.startswith("filter") for network in grid.pretrain):
        text += " Filters that are added up by residual connections are coupled: they go together."
    yield Text(text)
    spread = ", mean ± standard deviation over the seeds" if len(grid.seeds) > 1 else ""
    yield Text(
        "The networks are [pre-trained](#three) under random masks, the same share of every layer. Accuracies are test "
        "accuracies at a branch's last epoch: nothing was selected on the test set. Changes are in percentage "
        f"points{spread}; they are not tested for significance. The paper prints no numbers for its figures, so none "
        "stand here beside ours.",
        "note",
    )


def _of_study(results: Results, study: Study, is_open: bool) -> Iterator[Any]:
    """What stands below a picture."""
    if phrases := departures(results, study):
        why = "**Not comparable one to one with the paper's figure:**"
        yield Text(f"{why} {'; '.join(phrases)}.", "note")
    yield Heading("By learning rate and by regeneration", level=4)
    before = "the unpruned run" if study.outcome == "final" else "before pruning"
    yield Text(
        "Mean over all networks, rates and epochs of pruning, and how many branches recovered: ended no lower than "
        f"{before}."
    )
    yield Items(findings(study))
    summary = "Each network and rate: mean over the epochs of pruning, without and with regeneration"
    yield Fold(summary, [phases(study)], is_open)
    yield Fold("Every point of the figure", [points(study, len(results.params.grid.seeds))])


def smaller_networks(exported: Smaller) -> Section:
    """Networks whose pruned filters are cut out."""
    text = (
        "Where whole filters are pruned, they can be cut out: the shrunk network has fewer channels, and the same "
        "outputs. Here, and only here, a speed-up is real: latencies were measured, for the masked network and the "
        f"shrunk one in turn, on {exported.hardware}."
    )
    note = "A packed file holds bit masks and the active weights, and loads without loss."
    if exported.uncut:
        names = "; ".join(exported.uncut)
        note += f" Nothing can be cut where only single weights are pruned, so these have no second latency: {names}."
    note += (
        " Outputs in fp32, shrunk against masked and ONNX against shrunk, differ by at most "
        f"{exported.max_difference}."
    )
    return Section(
        "smaller", "Smaller networks", "Smaller networks", [Text(text), Text(note, "note"), exported.table]
    )
