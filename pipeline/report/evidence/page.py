"""Write docs/results.md and its picture from docs/results.csv: what our own runs say, for everybody to check.

    python -m pipeline.report results

The grid is that of recipe=evidence. Runs of its experiment are shown, and what is missing is said. The same CSV gives
the same bytes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from granet.common.files import atomic
from granet.types import UserError
from pipeline.params.files import compose
from pipeline.report.blocks import Heading, Picture, Section, Table, Text, by_heading, render
from pipeline.report.evidence.ledger import ledger
from pipeline.report.evidence.picture import against_sparsity
from pipeline.report.evidence.rows import FILE, load
from pipeline.report.evidence.selection import Selection, select
from pipeline.report.evidence.tables import differences, kernels, places, runs
from pipeline.report.names import by_family, heading
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.provenance import facts
from pipeline.report.results import Results, once
from pipeline.report.sections.frame import beside_the_paper, emptied, say
from pipeline.report.tables.model import Tables
from pipeline.report.tables.printed import line, ours
from pipeline.report.words import counted, setting, short_percent
from pipeline.training.cell import Group

RECIPE, PAGE = "evidence", Path("docs/results.md")
PICTURE = Path("pictures/results-accuracy.svg")


def text_of(selection: Selection, docs: Path) -> str:
    """The page; its picture is written below ``docs``."""
    results = selection.results
    sections = [
        Section("not", "What may not be concluded", "", [cautions(results)]),
        Section("accuracy", "Accuracy", "", accuracy(results, docs / PICTURE)),
        Section("differences", "Which differences exceed the noise", "", differences(results)),
        Section("claims", "The paper's claims", "", [Text(say("results_claims")), *ledger(results)]),
        Section("three", "Beside the paper", "", beside(results)),
        Section("flops", "Training and inference FLOPs", "", [Text(say("results_flops")), *flops(results)]),
        Section("kernels", "Dense and sparse kernels", "", kernels(selection)),
        Section("protocol", "Protocol, hardware, hours, revision", "", [protocol(results)]),
        Section("runs", "Runs", "", [Text(say("results_runs")), runs(selection)]),
    ]
    there = len(results.runs)
    lead = say("results_lead", there=there, wanted=there + len(results.missing), recipe=RECIPE, file=FILE)
    values = {"title": "Results", "figures": PICTURE.parent, "opening": [Text(lead)], "sections": sections}
    return render("report.md", **values)


def cautions(results: Results) -> list[str]:
    """What the runs do not show, one sentence or two each."""
    grid, epochs = results.params.grid, results.params.train.total_epochs
    models = ", ".join(setting(dataset, model) for dataset in grid.datasets for model in grid.models)
    few = sum(size < MIN_SEEDS for size in results.runs.groupby("group").size())
    names = ["stand_in", "short", *(["few"] if few else []), "power", "unbalanced", "times", "level"]
    values = {"models": models, "epochs": epochs, "few": counted(few, "mean"), "min_seeds": MIN_SEEDS}
    return [say(f"results_{name}", level=LEVEL, **values) for name in names]


def accuracy(results: Results, picture: Path) -> list[Any]:
    """The picture, where there is something to draw, and the means behind it."""
    blocks: list[Any] = []
    for place in places(results):
        series = place.series()
        if any(one.values and one.sparsity is not None for one in series):
            against_sparsity(series, picture)
            blocks.append(
                Picture(picture, say("results_picture"), f"Accuracy against sparsity, {place.title}")
            )
        blocks += [Text(say("results_accuracy")), means(place)]
    return [*blocks, *(block for block in emptied(results.runs) if isinstance(block, Text))]


def means(place: Tables) -> Table:
    """Mean ± std and n at the last epoch: a row per method, a column per sparsity."""
    results, params = place.results, place.params
    dense = ours(results, Group("dense", place.dataset, place.model))
    lines = [line(results, None, [replace(dense, span=len(params.grid.sparsities))])]
    for method in by_family(params):
        key = params.stage_of(method), place.dataset, place.model, method
        numbers = [ours(results, Group(*key, sparsity)) for sparsity in params.grid.sparsities]
        lines.append(line(results, method, numbers, heading=heading(params, method)))
    return Table([(short_percent(one), 1) for one in params.grid.sparsities], [], by_heading(lines))


def beside(results: Results) -> list[Any]:
    """The three accuracies, with the paper's where it has the same network, and what we know of the difference."""
    tables = [
        block for place in places(results) for block in (Heading(place.title), place.three_accuracies())
    ]
    how = beside_the_paper(results, "best test epoch as well, like beside like")
    return [Text(say("three")), *tables, how, Text(say("results_why"))]


def flops(results: Results) -> list[Table]:
    """Of every model on every data set."""
    return [place.flops() for place in places(results)]


def protocol(results: Results) -> dict[str, str]:
    """The report's facts, and of the kernels what computed."""
    known = {"Convolutions": "arithmetic", "Python": "python", "granet": "granet"}
    seen = {name: once(results.runs[column].dropna().tolist()) for name, column in known.items()}
    return dict(facts(results)) | seen


def main(arguments: list[str]) -> None:
    """Write the page, and say how many runs are in it."""
    if arguments:
        raise UserError(f"{arguments[0]!r}: the results take no arguments; they show the runs of {FILE}")
    selection = select(compose([f"recipe={RECIPE}"]), load())
    atomic(PAGE, text_of(selection, PAGE.parent).encode())
    results = selection.results
    print(f"{PAGE}: {counted(len(results.runs), 'run')}, {len(results.missing)} to come")
