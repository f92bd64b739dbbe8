"""The paper's claims, and its printed tables."""

from collections.abc import Iterator
from typing import Any

from pipeline.report.blocks import Fold, Heading, Section, Text
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.paper.numbers import Layout
from pipeline.report.results import Results
from pipeline.report.sections.frame import beside_the_paper, say
from pipeline.report.tables.choice import FURTHER, shown
from pipeline.report.tables.overview import overview
from pipeline.report.tables.printed import ModelRows, table1
from pipeline.report.tables.significance import Significance, significance
from pipeline.report.words import counted


def claims(results: Results) -> Section:
    """A verdict on each claim about the CIFAR experiments."""
    front = overview(results)
    rule = say("verdicts", min_seeds=MIN_SEEDS, level=LEVEL)
    blocks: list[Any] = [Text(front.summary), Text(rule, "note")]
    if front.elsewhere:
        blocks.append(Text(say("elsewhere", places="; ".join(front.elsewhere)), "warning"))
    blocks += front.claims
    if front.untested:
        items = [f"{claim.text} *{claim.where}*" for claim in front.untested]
        blocks.append(Fold(f"{counted(len(front.untested), 'claim')} without runs in this grid", [items]))
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
    for layout in shown(results.params):
        models = [ModelRows(results, layout, model) for model in results.params.grid.models]
        in_paper = any(rows.in_paper for rows in models)
        blocks: list[Any] = [Text(say("printed"))] if in_paper else []
        blocks += [block for rows in models for block in _of_model(rows)]
        if in_paper:
            blocks += [*(Text(note, "note") for note in layout.notes), beside_the_paper(results)]
        yield Section(layout.id, layout.title, _short(layout), blocks)


def _short(layout: Layout) -> str:
    return "Further methods" if layout is FURTHER else layout.title.partition(":")[0]


def _of_model(rows: ModelRows) -> Iterator[Any]:
    """A table's part for one model."""
    yield Heading(rows.name)
    yield rows.table()
    if rows.stands_in:
        left_out = ", ".join(rows.left_out())
        names = ["stands_in", *(["left_out"] if left_out else [])]
        yield Text(say(*names, model=rows.stands_in, rows=left_out), "note")
    if tests := significance(rows):
        yield _tests(tests)


def _tests(tests: Significance) -> Text | Fold:
    if not tests.num_p:
        return Text(say("few_seeds", min_seeds=MIN_SEEDS), "note")
    values = {"against": tests.against, "num_p": tests.num_p, "by_chance": LEVEL * tests.num_p}
    text = say("tests", min_seeds=MIN_SEEDS, level=LEVEL, **values)
    summary = f"Which differences to {tests.against} exceed the noise?"
    return Fold(summary, [Text(text, "note"), tests.table])
