"""The paper's claims, and its printed tables."""

from collections.abc import Iterator
from typing import Any

from pipeline.report.blocks import Fold, Heading, Items, Section, Text
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.paper.numbers import Layout
from pipeline.report.results import Results
from pipeline.report.sections.frame import beside_the_paper
from pipeline.report.tables.choice import FURTHER, shown
from pipeline.report.tables.dense import table1
from pipeline.report.tables.overview import overview
from pipeline.report.tables.printed import ModelRows
from pipeline.report.tables.significance import Significance, significance
from pipeline.report.words import counted


def claims(results: Results) -> Section:
    """A verdict on each claim about the CIFAR experiments."""
    front = overview(results)
    blocks: list[Any] = [
        Text(front.summary),
        Text(
            "A setting is one comparison on one model, data set and sparsity. It speaks for or against a claim "
            f"where both sides have at least {MIN_SEEDS} seeds and Welch's t-test gives p < {LEVEL}; all p-values "
            "here are uncorrected for their number. Supported: at least half of the settings speak for a claim, and "
            "none against it; contradicted: the reverse; anything else is undecided. Of a claim made “as a rule”, "
            "single settings may speak against the rest. Where the claim is that something brings nothing, a "
            "difference within the noise is no gain.",
            "note",
        ),
    ]
    if front.elsewhere:
        text = (
            f"**Not the paper's settings:** {'; '.join(front.elsewhere)}. "
            "What is found there is marked as another setting; it is no verdict on the paper's own."
        )
        blocks.append(Text(text, "warning"))
    blocks += front.claims
    if front.untested:
        items = Items([f"{claim.text} *{claim.where}*" for claim in front.untested])
        blocks.append(Fold(f"{counted(len(front.untested), 'claim')} without runs in this grid", [items]))
    return Section("claims", "The paper's claims", "Claims", blocks)


def dense(results: Results) -> Section | None:
    """Table 1; None where it has nothing to show."""
    if (table := table1(results)) is None:
        return None
    text = "How they are trained, and what they reach."
    if table.compared:
        text += " Below ours: the paper's, its settings where they differ, its accuracy always."
    blocks = [Text(text), table, *([beside_the_paper(results)] if table.compared else [])]
    return Section("table1", "Table 1: the dense networks", "Table 1", blocks)


def tables(results: Results) -> Iterator[Section]:
    """The printed tables that the grid has, and what stands in none of them."""
    for layout in shown(results.params):
        models = [ModelRows(results, layout, model) for model in results.params.grid.models]
        in_paper = any(rows.in_paper for rows in models)
        blocks: list[Any] = []
        if in_paper:
            blocks.append(
                Text(
                    "Ours (mean ± std, n); below it the paper's number and the difference. What has not run is empty."
                )
            )
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
        text = f"{rows.stands_in} is not in the paper's table, so nothing stands beside these numbers."
        if left_out := rows.left_out():
            text += f" Rows of the table that this grid leaves out: {', '.join(left_out)}."
        yield Text(text, "note")
    if tests := significance(rows):
        yield _tests(tests)


def _tests(tests: Significance) -> Text | Fold:
    if not tests.num_p:
        return Text(
            "Too few seeds to say which differences exceed the noise: Welch's t-test takes at least "
            f"{MIN_SEEDS} on both sides.",
            "note",
        )
    text = (
        f"Mean accuracy minus that of {tests.against}, in percentage points, with the p-value of Welch's t-test "
        f"(two-sided, at least {MIN_SEEDS} seeds on both sides). Bold: p < {LEVEL}. The {tests.num_p} p-values are "
        f"uncorrected: about {LEVEL * tests.num_p:.1f} would fall below {LEVEL} by chance alone."
    )
    summary = f"Which differences to {tests.against} exceed the noise?"
    return Fold(summary, [Text(text, "note"), tests.table])
