"""The paper's claims as docs/results.md lists them: a verdict and what was found, or why there is none."""

from collections.abc import Iterator

from pipeline.report.blocks import Heading, Judgement, Text
from pipeline.report.names import suffix, title
from pipeline.report.paper.claims import Claim, apart, conclusion, on_schedule
from pipeline.report.paper.numbers import TRAINING, rows
from pipeline.report.results import Results
from pipeline.report.tables.overview import overview
from pipeline.report.words import DATASET_NAMES, MODEL_NAMES, listed, short_percent


def ledger(results: Results, study: Results) -> Iterator[Text | Heading | list[str]]:
    """First those that the runs say something of, then all others with their reason; both in the order of the paper.

    ``study``: of pruning plasticity, which has a grid of its own.
    """
    front = overview(results, study)
    yield Text(front.summary)
    if front.claims:
        yield Heading("Looked at")
        yield [f"**{one.badge}**: {one.text} *{one.where}* {_found(one)}" for one in front.claims]
    if front.untested:
        yield Heading("Not tested")
        yield [f"{one.text} *{one.place}*: {why_not(one, results, study)}." for one in front.untested]


def _found(one: Judgement) -> str:
    return " ".join(block.text for block in one.blocks if isinstance(block, Text))


def why_not(claim: Claim, results: Results, study: Results) -> str:
    """Why the runs say nothing of a claim: what has not run of what it compares, or that no run decides it."""
    if claim.not_tested:
        return claim.not_tested.removesuffix(".")
    return _lacks(claim, results, study) + (
        f"; counted along the paper's schedule: {on_paper(claim)}" if claim.metric == TRAINING else ""
    )


def _lacks(claim: Claim, results: Results, study: Results) -> str:
    grid = results.params.grid
    if claim.study:
        if study.finished("plasticity"):
            return f"the study has run without the outcome {claim.study[0]}"
        return "no run of the plasticity study"
    if not {*claim.datasets} & {*grid.datasets}:
        return f"no run on {listed([DATASET_NAMES.get(name, name) for name in claim.datasets])}"
    if claim.models and not {*claim.models} & {*grid.models}:
        return f"no run of {listed([MODEL_NAMES.get(name, name) for name in claim.models])}"
    if claim.sparsities and not {*claim.sparsities} & {*grid.sparsities}:
        return f"no run at {listed([short_percent(one) for one in claim.sparsities])}"
    if absent := dict.fromkeys(_absent(claim, results)):
        return f"no run of {listed([*absent])}"
    return "no run of both sides in one place yet"


def _absent(claim: Claim, results: Results) -> Iterator[str]:
    """The rows of a claim's sides of which no row has run."""
    ran = {(cell.stage, cell.method, cell.rewind) for cell in results.runs["cell"]}
    for side in (side for pair in claim.compare for side in pair):
        found = [rows(claim.family)[name] for name in side]
        if not any((row.stage, row.find(results.params), row.rewind) in ran for row in found):
            for row in found:
                yield title(row.section) + suffix(row.group(None, "", "", None))


def on_paper(claim: Claim) -> str:
    """The verdict on a claim of training FLOPs without any run: counted step by step, see `on_schedule`."""
    found = []
    for place in claim.places():
        first, second = (on_schedule(name, place) for (name,) in place[0])
        found.append(apart(first, second, claim.times))
    return conclusion(claim, found)
