"""Write docs/results.md and its pictures from docs/results.csv and docs/plasticity.csv, for everybody to check.

    python -m pipeline.report results

Grids: recipe=evidence, evidence_granet and evidence_plasticity. Runs of their experiments are shown, and what is
missing is said. The same CSVs give the same bytes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from granet.common.files import atomic
from granet.types import UserError
from pipeline.params.files import compose
from pipeline.report.blocks import Heading, Picture, Section, Table, Text, by_heading, render
from pipeline.report.evidence import branches, rows
from pipeline.report.evidence.cautions import cautions
from pipeline.report.evidence.ledger import ledger
from pipeline.report.evidence.picture import against_sparsity
from pipeline.report.evidence.selection import Selection, select
from pipeline.report.evidence.short import in_short
from pipeline.report.evidence.tables import differences, kernels, places, runs
from pipeline.report.names import by_family, heading, suffix
from pipeline.report.provenance import facts
from pipeline.report.results import Results, once
from pipeline.report.sections.frame import beside_the_paper, emptied, say
from pipeline.report.sections.models import plasticity
from pipeline.report.tables.model import Tables, three_columns
from pipeline.report.tables.printed import line, ours
from pipeline.report.words import counted, short_percent
from pipeline.training.cell import Group

RECIPE, FURTHER, STUDY = "evidence", "evidence_granet", "evidence_plasticity"
PAGE = Path("docs/results.md")
PICTURE = Path("pictures/results-accuracy.svg")
AGAIN = "Masks trained again"
"""Heads the runs that train masks of others."""


def text_of(selection: Selection, study: Selection, docs: Path) -> str:
    """The page; its pictures are written below ``docs``."""
    results, listed = selection.results, [runs(one) for one in (selection, study) if one.lines]
    sections = [
        Section("short", "In short", "", in_short(results, study.results)),
        Section("not", "What may not be concluded", "", [cautions(results, study.results)]),
        Section("accuracy", "Accuracy", "", accuracy(results, docs / PICTURE)),
        Section("differences", "Which differences exceed the noise", "", differences(results)),
        Section(
            "claims", "The paper's claims", "", [Text(say("results_claims")), *ledger(results, study.results)]
        ),
        Section("three", "Beside the paper", "", beside(results, study.results)),
        plasticity(study.results, (docs / PICTURE).parent, ".svg"),
        Section("flops", "Training and inference FLOPs", "", [Text(say("results_flops")), *flops(results)]),
        Section("kernels", "Dense and sparse kernels", "", kernels(selection, study)),
        Section("protocol", "Protocol, hardware, hours, revision", "", protocols(results, study.results)),
        Section("runs", "Runs", "", [Text(say("results_runs")), *listed]),
    ]
    there = len(results.runs)
    lead = say(
        "results_lead",
        there=there,
        wanted=there + len(results.missing),
        recipe=RECIPE,
        further=FURTHER,
        file=rows.SHEET.file.name,
    )
    values = {"title": "Results", "figures": PICTURE.parent, "opening": [Text(lead)], "sections": sections}
    return render("report.md", **values)


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
        blocks += [Text(say("results_accuracy", again=AGAIN)), means(place)]
    return [*blocks, *(block for block in emptied(results.runs) if isinstance(block, Text))]


def means(place: Tables) -> Table:
    """Mean ± std and n at the last epoch: a row per method, a column per sparsity."""
    results, params, grid = place.results, place.params, place.params.grid
    dense = ours(results, Group("dense", place.dataset, place.model))
    lines = [line(results, None, [replace(dense, span=len(grid.sparsities))])]
    keys = [(params.stage_of(method), method, None) for method in by_family(params)]
    keys += [("reinit", method, None) for method in grid.reinit]
    keys += [("retrain", method, rewind) for method in grid.retrain for rewind in grid.rewinds]
    for stage, method, rewind in keys:
        groups = [Group(stage, place.dataset, place.model, method, one, rewind) for one in grid.sparsities]
        above = AGAIN if stage in ("reinit", "retrain") else heading(params, method)
        named = line(results, method, [ours(results, group) for group in groups], heading=above)
        lines.append(replace(named, label=named.label + suffix(groups[0])))
    return Table([(short_percent(one), 1) for one in grid.sparsities], [], by_heading(lines))


def beside(results: Results, study: Results) -> list[Any]:
    """The three accuracies, with the paper's where it has the same network, and what we know of the difference."""
    tables = []
    for place in places(results):
        ran = [line for line in place.accuracy_lines() if line.numbers[0].text]
        tables += [Heading(place.title), three_columns(ran)]
    how = beside_the_paper(results, "best test epoch as well, like beside like")
    lines = [line for place in places(study) for line in place.network_lines()]
    networks = [line for line in lines if line.numbers[0].text]
    pruned = (
        [Heading("Networks of the plasticity study"), three_columns(networks, "network")] if networks else []
    )
    pairs = zip(results.runs["best_val"].isna().tolist(), results.runs["num_val"].tolist(), strict=True)
    num_lost = sum(is_empty and held_out > 0 for is_empty, held_out in pairs)
    lost = [Text(say("results_lost", runs=counted(num_lost, "run")))] if num_lost else []
    return [Text(say("three")), *lost, *tables, how, Text(say("results_why")), *pruned]


def flops(results: Results) -> list[Table]:
    """Of every model on every data set."""
    return [place.flops(timed=False) for place in places(results)]


def protocols(results: Results, study: Results) -> list[Any]:
    """Of the campaign, and of the plasticity study where it has a run."""
    of_study = [Heading("Of the plasticity study"), protocol(study)] if study.others else []
    return [protocol(results), *of_study]


def protocol(results: Results) -> dict[str, str]:
    """The report's facts, and of the kernels what computed."""
    known = {"Convolutions, each by its masks": "arithmetic", "Python": "python", "granet": "granet"}
    seen = {name: once(results.runs[column].dropna().tolist()) for name, column in known.items()}
    return dict(facts(results)) | seen


def committed(docs: Path) -> tuple[Selection, Selection]:
    """What the files in ``docs`` have of both grids; of the study there may be none."""
    lines = rows.SHEET.load(docs / rows.SHEET.file.name)
    of_branches = docs / branches.SHEET.file.name
    branch_lines = branches.SHEET.load(of_branches) if of_branches.exists() else []
    params, further, study = (compose([f"recipe={name}"]) for name in (RECIPE, FURTHER, STUDY))
    return select(params, lines, further=further), select(study, lines, branch_lines)


def main(arguments: list[str]) -> None:
    """Write the page, and say how many runs are in it."""
    if arguments:
        raise UserError(
            f"{arguments[0]!r}: the results take no arguments; they show the runs of {rows.SHEET.file}"
        )
    selection, study = committed(PAGE.parent)
    atomic(PAGE, text_of(selection, study, PAGE.parent).encode())
    results = selection.results
    print(f"{PAGE}: {counted(len(results.runs), 'run')}, {len(results.missing)} to come")
