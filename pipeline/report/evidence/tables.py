"""The tables of docs/results.md that no other report has: tests of differences, kernels, and the lines of the CSV."""

# pyright: reportAttributeAccessIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from pipeline.params.schema import Params
from pipeline.report.blocks import Line, Number, Table, Text, by_heading
from pipeline.report.evidence.selection import OTHER_KERNELS, Selection
from pipeline.report.names import run_name
from pipeline.report.noise import LEVEL, MIN_SEEDS, Stat
from pipeline.report.paper.claims import claims
from pipeline.report.paper.numbers import ACCURACY, CIFAR, rows
from pipeline.report.results import Results, once
from pipeline.report.sections.frame import say
from pipeline.report.statistics import BySeed, Comparison, comparisons
from pipeline.report.tables.model import Tables
from pipeline.report.words import counted, duration, p_value, percent, short_percent, signed, spread
from pipeline.training.cell import Cell, Group

Pair = tuple[BySeed, BySeed]
ASIDE = [("rigl", "static"), ("set", "static"), ("static", "snip")]
ASIDE += [("granet_1000_steps", "granet"), ("granet_1000_steps", "gmp_1000_steps")]
"""Sections compared beyond the paper's claims: what a search gains on a mask that stays, and what mask updates do to
GraNet that are as far apart as in print."""
OTHERS = "-other-kernels"
"""Ends the anchor of the runs that were made once more with other kernels."""


def places(results: Results) -> list[Tables]:
    """Every model on every data set of the grid."""
    grid = results.params.grid
    return [Tables(results, dataset, model) for dataset in grid.datasets for model in grid.models]


def differences(results: Results) -> list[Any]:
    """The comparisons of the paper's claims, and `ASIDE`, that the grid has runs of, tested together."""
    pairs = compared(results)
    if not pairs:
        return [Text(say("results_no_pair"))]
    tested = comparisons([*pairs.values()])
    lines = [_tested(*name, one) for name, one in zip(pairs, tested, strict=True)]
    heads = ("difference", "95 % interval", "Hedges' g", "test", "p", "p, Holm")
    num_tests = counted(sum(one.p is not None for one in tested), "test")
    text = say("results_tests", num_tests=num_tests, level=LEVEL, min_seeds=MIN_SEEDS)
    return [Text(text), Table([(head, 1) for head in heads], [], by_heading(lines), "comparison")]


def compared(results: Results) -> dict[tuple[str, str], Pair]:
    """The accuracies of both sides by seed, by the place and the names of both."""
    return {(at, names): pair for place in places(results) for at, names, pair in _compared(place)}


def _compared(place: Tables) -> Iterator[tuple[str, str, Pair]]:
    """Where two methods have run: the place, the names of both, and their accuracies by seed."""
    results, params = place.results, place.params
    of_accuracy = [claim for claim in claims() if claim.metric == ACCURACY and claim.family == CIFAR]
    for sparsity in params.grid.sparsities:
        at = f"{place.title}, {short_percent(sparsity)}"
        for sides in (pair for claim in of_accuracy for pair in claim.compare):
            found = [rows(CIFAR)[name] for side in sides for name in side]
            groups = [row.group(row.find(params), place.dataset, place.model, sparsity) for row in found]
            values = [results.by_seed(group, "last") if group.method else {} for group in groups]
            if len(groups) == 2 and all(values):
                yield at, _minus(params, groups), (values[0], values[1])
        for pair in (pair for pair in ASIDE if {*pair} <= {*params.grid.methods}):
            groups = [Group("sparse", place.dataset, place.model, name, sparsity) for name in pair]
            first, second = (results.by_seed(group, "last") for group in groups)
            if first and second:
                yield at, _minus(params, groups), (first, second)


def _minus(params: Params, groups: Sequence[Group]) -> str:
    return " − ".join(run_name(params, group) for group in groups)


def _tested(place: str, names: str, one: Comparison) -> Line:
    numbers = [
        Number(signed(one.difference.mean), strong=one.holds),
        Number(_range(one)),
        Number("" if one.effect is None else f"{one.effect:.1f}".replace("-", "−")),
        Number(one.test),
        *(Number("" if p is None else p_value(p)) for p in (one.p, one.p_holm)),
    ]
    return Line(names, "", numbers, place)


def _range(one: Comparison) -> str:
    return "" if one.interval is None else " to ".join(map(signed, one.interval))


def kernels(*selections: Selection) -> list[Any]:
    """The same cells with other kernels, seed by seed; a sentence where there are none."""
    own = selections[0].results.params.train.kernels
    pairs = [(one.results, group, pair) for one in selections for group, pair in _of_kernels(one).items()]
    text = Text(say("results_kernels", kernels=own))
    if not pairs:
        return [text, Text(say("results_no_kernels"))]
    lines = []
    for (results, group, pair), one in zip(pairs, comparisons([pair for *_, pair in pairs]), strict=True):
        largest = max(abs(pair[0][seed] - pair[1][seed]) for seed in pair[0])
        sides = [Stat.of([*side.values()]) for side in pair]
        links = (group.name, group.name + OTHERS)
        numbers = [
            Number(spread(side.mean, side.std), f"n = {side.n}", link)
            for side, link in zip(sides, links, strict=True)
        ]
        numbers += [Number(signed(one.difference.mean), strong=one.holds), Number(_range(one))]
        numbers += [Number(percent(largest)), Number("" if one.p is None else p_value(one.p))]
        lines.append(Line(_name(results, group), "", numbers))
    heads = (
        f"kernels: {own}",
        f"kernels: {OTHER_KERNELS[own]}",
        "difference",
        "95 % interval",
        "largest, one seed",
        "p",
    )
    return [text, Table([(head, 1) for head in heads], [], lines, "runs"), [*_made(selections)]]


def _made(selections: Sequence[Selection]) -> Iterator[str]:
    """The revisions and the hardware of the runs on either side."""
    pairs = [
        (run._asdict(), one.others[run.cell][0])
        for one in selections
        for run in one.results.runs.itertuples()
        if run.cell in one.others
    ]
    own = selections[0].results.params.train.kernels
    for side, name in enumerate((own, OTHER_KERNELS[own])):
        revision, hardware = (
            once([pair[side][key] for pair in pairs], text)
            for key, text in (("git_revision", lambda one: one[:10]), ("hardware", str))
        )
        yield say("results_kernels_of", kernels=name, revision=revision, hardware=hardware)


def _of_kernels(selection: Selection) -> dict[Group, Pair]:
    """Accuracies by seed with the grid's kernels and with other ones, of the cells that have both."""
    found: dict[Group, tuple[dict[int, float], dict[int, float]]] = {}
    for run in selection.results.runs.itertuples():
        cell: Cell = run.cell
        if cell in selection.others:
            first, second = found.setdefault(cell.group, ({}, {}))
            other, _ = selection.others[cell]
            first[cell.seed], second[cell.seed] = run.last, other["test_accuracy_last"]
    return dict(found)


def _name(results: Results, group: Group) -> str:
    name = run_name(results.params, group)
    return name if group.sparsity is None else f"{name}, {short_percent(group.sparsity)}"


def runs(selection: Selection) -> Table:
    """Every run with its line of the CSV, or those of its branches, under the mean that it stands behind."""
    results, lines, seen = selection.results, [], set()
    for suffix, cell, texts in _listed(selection):
        anchor, label = cell.group.name + suffix, Markup("`{}`").format(cell.dvc_stage)
        if anchor not in seen:
            label = Markup('<a id="{}"></a>').format(anchor) + label
            seen.add(anchor)
        heading = _name(results, cell.group) + (", other kernels" if suffix else "")
        lines.append(Line(label, "", [Number(text) for text in texts], heading))
    heads = ("line", "accuracy, last epoch, %", "sparsity, %", "time", "revision")
    return Table([(head, 1) for head in heads], [], by_heading(lines), "DVC stage")


def _listed(selection: Selection) -> Iterator[tuple[str, Cell, tuple[str, ...]]]:
    """What its group's anchor ends with, the cell, and the texts of the run's line."""
    results, lines = selection.results, selection.lines
    for run in results.runs.itertuples():
        texts = percent(run.last), percent(run.final_sparsity), duration(run.time_s), run.git_revision[:7]
        yield "", run.cell, (lines[run.dvc_stage], *texts)
    for other in results.others:
        yield "", other.cell, (lines[other.cell.dvc_stage], "", "", duration(other.summary["time_s"]), "")
    for cell, (row, line) in selection.others.items():
        texts = percent(row["test_accuracy_last"]), percent(row["sparsity_reached"]), duration(row["time_s"])
        texts = (*texts, row["git_revision"][:7])
        yield OTHERS, cell, (line, *texts)
