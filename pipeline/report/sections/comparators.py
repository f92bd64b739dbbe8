"""What other papers have in print for the networks and data sets of the grid."""

from itertools import product
from typing import Any

from pipeline.report.blocks import Fold, Heading, Section, Text
from pipeline.report.paper.comparators import our_protocol
from pipeline.report.results import Results
from pipeline.report.sections.frame import say
from pipeline.report.tables.comparators import beside_others, cited, in_words
from pipeline.report.words import setting


def comparators(results: Results) -> Section | None:
    """Each network on each data set that some paper has, too; None where none does."""
    blocks: list[Any] = []
    for place in product(results.params.grid.datasets, results.params.grid.models):
        if (table := beside_others(results, *place)) is not None:
            sources = Fold("The papers, and where each number was read", [cited(results, *place)])
            note = say("our_protocol", protocol=in_words(our_protocol(results, place[0])))
            blocks += [Heading(setting(*place)), Text(note, "note"), table, sources]
    if not blocks:
        return None
    return Section(
        "comparators", "Other papers' numbers", "Other papers", [Text(say("comparators")), *blocks]
    )
