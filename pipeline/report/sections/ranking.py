"""The methods of the grid ranked: who is first, how far the others are behind, and what accuracy costs."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pipeline.report import figures_ranked
from pipeline.report.blocks import Fold, Heading, Picture, Section, Text
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.paper.numbers import columns, family_of, models
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.sections.frame import say
from pipeline.report.tables.ranking import Contest, at, reordered, summary
from pipeline.report.words import listed, short_percent

MANY = 7
"""A grid of more methods is a comparison of methods."""
FEW = 2
"""Of no more methods a table says as much as a picture."""
COSTS = {
    "training": "training FLOPs, % of dense",
    "time": "measured time, % of dense",
}


def ranking(results: Results, folder: Path) -> Section | None:
    """Each model on each data set, with pictures written to ``folder``; None where there are no two methods to rank."""
    places = product(results.params.grid.datasets, results.params.grid.models)
    contests = [one for one in (Contest(results, *place) for place in places) if len(one.overall) > 1]
    if not contests:
        return None
    rule = say("ranking", min_seeds=MIN_SEEDS, level=LEVEL)
    blocks: list[Any] = [Text(rule, "note")]
    for contest in contests:
        blocks += [Heading(contest.title), *_of(contest, folder)]
    return Section("ranking", "Methods ranked", "Ranking", blocks)


def leads(results: Results) -> bool:
    """Whether a report begins with the ranking: many methods, and no setting of the paper's to judge its claims by."""
    grid = results.params.grid
    in_paper = any(
        dataset in columns(family_of(dataset))
        and model in models(family_of(dataset))
        and not differences(results, dataset)
        for dataset, model in product(grid.datasets, grid.models)
    )
    return len(grid.methods) + len(grid.after) > MANY and not in_paper


def _of(contest: Contest, folder: Path) -> Iterator[Any]:
    """One model on one data set."""
    overall, several = contest.overall, len(contest.sparsities) > 1
    first, behind = summary(overall)
    sparsities = listed([short_percent(one) for one in contest.sparsities])
    accuracy, over = ("mean accuracy", "over") if several else ("accuracy", "at")
    yield Text(
        say("ranked", first=first, behind=behind, accuracy=accuracy, sparsities=f"{over} {sparsities}")
    )
    if contest.left_out:
        yield Text(say("unranked", names=", ".join(contest.left_out)), "note")
    single = {at(one): contest.ranking([one]) for one in contest.sparsities}
    shown = {"All sparsities": overall} if several else {}
    shown |= {title: reordered(ranked, overall) for title, ranked in single.items()}
    place = f"{contest.dataset}-{contest.model}"
    if is_drawn := len(overall) > FEW:
        path = folder / f"ranking-{place}.png"
        figures_ranked.forest(shown, path)
        yield Picture(path, say("ranking_caption"), contest.title)
    yield contest.table(overall)
    for title, ranked in single.items() if several else ():
        yield Fold(f"{title}: {say('at', first=ranked[0].label)}", [contest.table(ranked)])
    shown.pop("All sparsities", None)
    for cost, label in COSTS.items():
        if is_drawn and any(getattr(one, cost) for one in overall):
            path = folder / f"{cost}-{place}.png"
            figures_ranked.costs(shown, cost, label, contest.dense("last"), path)
            yield Picture(path, say(f"{cost}_caption"), contest.title)
