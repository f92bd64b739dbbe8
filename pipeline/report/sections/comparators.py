"""What other papers have in print for the networks and data sets of the grid."""

from itertools import product
from typing import Any

from pipeline.report.blocks import Fold, Heading, Section, Text
from pipeline.report.results import Results
from pipeline.report.sections.frame import say
from pipeline.report.tables.comparators import beside_others, cited
from pipeline.report.words import setting


def comparators(results: Results) -> Section | None:
    """Each network on each data set that some paper has, too; None where none does."""
    blocks: list[Any] = []
    for place in product(results.params.grid.datasets, results.params.grid.models):
        if (table := beside_others(results, *place)) is not None:
            sources = Fold("The papers, and where each number was read", [cited(results, *place)])
            blocks += [Heading(setting(*place)), table, sources]
    if not blocks:
        return None
    return Section(
        "comparators", "Other papers' numbers", "Other papers", [Text(say("comparators")), *blocks]
    )
