"""The paper's claims, its printed tables, and which differences in these exceed the noise of the seeds."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline.report.blocks import Fold, Heading, Number, Section, Table, Text
from pipeline.report.noise import LEVEL, MARGIN, MIN_SEEDS
from pipeline.report.paper.numbers import FURTHER, further, of_cifar, of_imagenet
from pipeline.report.paper.numbers import rows as rows_of
from pipeline.report.results import Results
from pipeline.report.sections.frame import beside_the_paper, say
from pipeline.report.statistics import Comparison, comparisons
from pipeline.report.tables.overview import overview
from pipeline.report.tables.printed import ModelRows, line, row_label, table1
from pipeline.report.words import counted, p_value, signed
from pipeline.training.cell import Group


def claims(results: Results) -> Section:
    """A verdict on each claim; those that these runs, or no runs here, can judge stand behind one line each."""
    front = overview(results)
    rule = say("verdicts", min_seeds=MIN_SEEDS, level=LEVEL, margin=100 * MARGIN)
    blocks: list[Any] = [Text(front.summary), Text(rule, "note")]
    if front.elsewhere:
        blocks.append(Text(say("elsewhere", places="; ".join(front.elsewhere)), "warning"))
    blocks += front.claims
    without, never = (
        [claim for claim in front.untested if bool(claim.not_tested) == is_never]
        for is_never in (False, True)
    )
    for several, what in ((without, "without runs in this grid"), (never, "not tested by this pipeline")):
        if several:
            reasons = [f": {claim.not_tested}" if claim.not_tested else "" for claim in several]
            items = [f"{one.text} *{one.where}*{why}" for one, why in zip(several, reasons, strict=True)]
            blocks.append(Fold(f"{counted(len(several), 'claim')} {what}", [items]))
    return Section("claims", "The paper's claims", "Claims", blocks)


def dense(results: Results) -> Section | None:
    """Table 1; None where it has nothing to show."""
    if (table := table1(results)) is None:
        return None
    text = say("table1", *(["table1_compared"] if table.compared else []))
    blocks = [Text(text), table, *([beside_the_paper(results)] if table.compared else [])]
    return Section("table1", "Table 1: the dense networks", "Table 1", blocks)


def tables(results: Results) -> Iterator[Section]:
    """The printed tables that the grid has, and what stands in none of them."""
    params = results.params
    further_rows = [FURTHER] if further(params) else []
    for layout in [*of_imagenet(params), *of_cifar(params), *further_rows]:
        models = [ModelRows(results, layout, model) for model in params.grid.models]
        in_paper = any(rows.in_paper for rows in models)
        blocks: list[Any] = [Text(say("printed"))] if in_paper else []
        blocks += [block for rows in models for block in _of_model(rows)]
        if in_paper:
            blocks += [*(Text(note, "note") for note in layout.notes), beside_the_paper(results)]
        short = "Further methods" if layout is FURTHER else layout.title.partition(":")[0]
        yield Section(layout.id, layout.title, short, blocks)


def _of_model(rows: ModelRows) -> Iterator[Any]:
    """A table's part for one model."""
    yield Heading(rows.name)
    yield rows.table()
    if rows.stands_in:
        left_out = ", ".join(rows.left_out())
        names = ["stands_in", *(["left_out"] if left_out else [])]
        yield Text(say(*names, model=rows.stands_in, rows=left_out), "note")
    if (tests := significance(rows)) is None:
        return
    against, table, num_p = tests
    if not num_p:
        yield Text(say("few_seeds", min_seeds=MIN_SEEDS), "note")
        return
    text = say("tests", min_seeds=MIN_SEEDS, level=LEVEL, against=against, tests=counted(num_p, "test"))
    yield Fold(f"Which differences to {against} exceed the noise?", [Text(text, "note"), table])


def significance(shown: ModelRows) -> tuple[str, Table, int] | None:
    """One model's rows minus the row they are tested against: its name, the differences, the number of p-values.

    None where the grid has nothing to compare.
    """
    results, layout, params = shown.results, shown.layout, shown.results.params
    reference = rows_of(layout.family).get(layout.against)
    if reference is None or (base := reference.find(params)) is None:
        return None
    bases = [results.by_seed(group, "last") for group in shown.groups(reference.stage, base)]
    rows = [(row, section) for row in layout.rows if row is not reference and (section := row.find(params))]
    groups = [[*shown.groups(row.stage, section, row.rewind)] for row, section in rows]
    pairs = {
        group: (values, others)
        for several in groups
        for group, others in zip(several, bases, strict=True)
        if (values := results.by_seed(group, "last")) and others
    }
    tested = dict(zip(pairs, comparisons([*pairs.values()]), strict=True))
    lines = []
    for (row, section), several in zip(rows, groups, strict=True):
        numbers = [_difference(group, tested.get(group)) for group in several]
        lines.append(replace(line(results, section, numbers), label=row_label(params, row)))
    table = replace(shown.with_heads(lines), kind="")
    num_p = sum(one.p is not None for one in tested.values())
    return (row_label(params, reference), table, num_p) if tested else None


def _difference(group: Group, one: Comparison | None) -> Number:
    """A difference with its p-value and effect size, in bold where it exceeds the noise of the whole table."""
    if one is None:
        return Number()
    notes = [one.difference.untested if one.p is None else p_value(one.p)]
    if one.p is not None and one.effect is not None:
        notes.append(f"g = {one.effect:.1f}".replace("-", "−"))
    return Number(signed(one.difference.mean), ", ".join(notes), group.name, strong=one.holds)
