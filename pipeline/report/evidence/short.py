"""What docs/results.md found, in a few lines above all else: the methods in order, and the claims with a verdict."""

from collections.abc import Iterator
from statistics import fmean

from pipeline.report.blocks import Judgement, Text
from pipeline.report.evidence.tables import places
from pipeline.report.names import by_family, labels
from pipeline.report.paper.claims import claims as all_claims
from pipeline.report.results import Results
from pipeline.report.sections.frame import say
from pipeline.report.tables.overview import overview
from pipeline.report.words import listed, percent, short_percent
from pipeline.training.cell import Group

Found = list[tuple[str, list[float]]]
"""Methods and their accuracies, the best mean first."""


def in_short(results: Results, study: Results) -> list[Text | list[str]]:
    """A line per sparsity with two methods or more, and one per claim that was looked at, whichever way it points."""
    claims = overview(results, study).claims
    decided = [one for one in claims if "undecided" not in one.badge]
    counted_once = {one.id for one in all_claims() if not one.part_of}
    undecided = [one for one in claims if "undecided" in one.badge and one.id in counted_once]
    rest = f"{len(undecided)} that {'is' if len(undecided) == 1 else 'are'}"
    lines = [f"**{_verdict(one)}**: {one.text} {_number(one)}" for one in (*decided, *undecided)]
    orders = [*_orders(results)]
    verdicts = [Text(say("results_short_claims", rest=rest)), lines] if lines else []
    return [*([orders] if orders else []), *verdicts]


def _orders(results: Results) -> Iterator[str]:
    for place in places(results):
        for sparsity in results.params.grid.sparsities:
            found = _ranked(results, place.dataset, place.model, sparsity)
            if len(found) > 1:
                seeds = sorted({len(values) for _, values in found})
                alike = len(seeds) == 1
                parts = [
                    f"{name} {percent(fmean(values))}" + ("" if alike else f" ({len(values)})")
                    for name, values in found
                ]
                n = f"n = {seeds[0]}" if alike else "n in brackets"
                yield f"{place.title}, {short_percent(sparsity)}, mean accuracies in order ({n}): {listed(parts)}."


def _ranked(results: Results, dataset: str, model: str, sparsity: float) -> Found:
    params, names = results.params, labels(results.params)
    groups = [Group(params.stage_of(one), dataset, model, one, sparsity) for one in by_family(params)]
    values = [(names[group.method or ""], results.values(group, "last")) for group in groups]
    return sorted((one for one in values if one[1]), key=lambda one: -fmean(one[1]))


def _verdict(one: Judgement) -> str:
    """Without where it is: the sentence above the list says it."""
    return one.badge.removeprefix("other setting: ").capitalize()


def _number(one: Judgement) -> str:
    """The first finding, without the paper's own numbers by the rule."""
    return next((block.text for block in one.blocks if isinstance(block, Text)), "")
