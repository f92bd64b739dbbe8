"""What docs/results.md may not be read as: a sentence or two each, with numbers of its own runs."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from statistics import fmean, variance
from typing import Any

from pipeline.params.schema import Params
from pipeline.report.evidence.tables import compared
from pipeline.report.names import labels
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.paper.protocol import protocol as protocol_of
from pipeline.report.results import Results
from pipeline.report.sections.frame import say
from pipeline.report.statistics import half_found
from pipeline.report.words import counted, listed, setting, short_percent
from pipeline.training.cell import Group

IN_PRINT = 0.002
"""About the deviation of the paper's accuracies between seeds: where there is none of ours yet."""
Values = list[list[float]]
"""Of the methods that train from scratch, a list each, with a number for each of its runs."""


def cautions(results: Results, study: Results) -> list[str]:
    """What the runs do not show, one sentence or two each."""
    grid, epochs = results.params.grid, results.params.train.total_epochs
    models = ", ".join(setting(dataset, model) for dataset in grid.datasets for model in grid.models)
    few = sum(size < MIN_SEEDS for size in results.runs.groupby("group").size())
    said = {
        "stand_in": {"models": models},
        "short": {"epochs": epochs},
        "updates": {} if results.runs.empty else update_intervals(results),
        "costs": costs(results),
        "small": losses(results),
        "few": {"few": few, "min_seeds": MIN_SEEDS} if few else {},
        "power": power(results) | {"min_seeds": MIN_SEEDS},
        "unbalanced": {"min_seeds": MIN_SEEDS},
        "times": {"epochs": epochs},
        "level": {"level": LEVEL},
        "study": {"epochs": epochs} if study.others else {},
    }
    return [say(f"results_{name}", **values) for name, values in said.items() if values]


def power(results: Results) -> dict[str, str]:
    """Which differences every second test finds, at the spread that the seeds have here."""
    found = _each(results, "last", _deviation)
    places, deviations = [*found] or ["any sparsity"], [*found.values()] or [IN_PRINT]
    tests = len(compared(results))
    alone, corrected = ([half_found(num, one) for one in deviations] for num in (1, max(tests, 1)))
    texts = {"deviations": deviations, "alone": alone, "corrected": corrected}
    listed_each = {name: listed([f"{100 * one:.1f}" for one in values]) for name, values in texts.items()}
    return {"places": listed(places), "num_tests": counted(tests, "test")} | listed_each


def costs(results: Results) -> dict[str, str]:
    """The training FLOPs of the method that takes most, as a multiple of those of the one that takes least."""
    found = _each(results, "training_ratio", lambda all_: max(map(fmean, all_)) / min(map(fmean, all_)))
    return (
        {"each": listed([f"{one:.1f}" for one in found.values()]), "places": listed([*found])}
        if found
        else {}
    )


def losses(results: Results) -> dict[str, str]:
    """How far the best and the worst mean are below the dense network's."""
    grid = results.params.grid
    dense = [
        results.values(Group("dense", dataset, model), "last")
        for dataset in grid.datasets
        for model in grid.models
    ]
    if len(dense) != 1 or not dense[0]:
        return {}
    top = fmean(dense[0])

    def below(all_: Values) -> tuple[float, float]:
        means = [*map(fmean, all_)]
        return top - max(means), top - min(means)

    found = _each(results, "last", below)
    texts = [f"{100 * least:.1f} to {100 * most:.1f}" for least, most in found.values()]
    return {"each": listed(texts), "places": listed([*found])} if found else {}


def _each(results: Results, metric: str, of: Callable[[Values], Any]) -> dict[str, Any]:
    """Something of the methods at every sparsity at which two or more have run, where there is such a thing."""
    params, found = results.params, {}
    for sparsity in params.grid.sparsities:
        for dataset in params.grid.datasets:
            for model in params.grid.models:
                groups = [Group("sparse", dataset, model, name, sparsity) for name in params.grid.methods]
                values = [one for group in groups if (one := results.values(group, metric))]
                if len(values) > 1 and (number := of(values)) is not None:
                    found[short_percent(sparsity)] = number
    return found


def _deviation(all_: Values) -> float | None:
    """The standard deviation between seeds, pooled over methods; None without a method in two seeds."""
    several = [one for one in all_ if len(one) > 1]
    freedom = sum(len(one) - 1 for one in several)
    return sqrt(sum(variance(one) * (len(one) - 1) for one in several) / freedom) if several else None


def update_intervals(results: Results) -> dict[str, str]:
    """Steps between two mask updates of the grid's methods, here and in a run as long as in print, in words."""
    params, printed = results.params, protocol_of("cifar10")
    whole = replace(params, train=replace(params.train, epochs=printed["train"]["epochs"]))

    def steps(one: Params, section: str, num_images: int) -> int:
        steps_per_epoch = -(-num_images // one.train.batch_size)
        return one.method(section, one.grid.sparsities[0], steps_per_epoch).update_interval or 0

    here, there = int(results.runs["num_train"].iloc[0]), printed["num_train"]
    pairs = {one: (steps(params, one, here), steps(whole, one, there)) for one in params.grid.methods}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    names = labels(params)
    others = [
        f"{names[name]} less often, whose own are {own} apart"
        for name, (_, own) in changed.items()
        if own < printed["update_interval"]
    ]
    return {
        "interval": listed([*dict.fromkeys(str(ours) for ours, _ in changed.values())]),
        "printed": f"{printed['update_interval']:,}",
        "others": f" ({listed(others)})" if others else "",
    }
