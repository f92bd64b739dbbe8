"""The picture of docs/results.md: accuracy against sparsity, with bars over the seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pipeline.drawing import Series, drawn, sparsities_of
from pipeline.report.words import short_percent

MARKS: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linewidth": 1.2, "elinewidth": 1, "capsize": 2}
BESIDE = 0.025
"""Methods stand so far beside each other, so that no bar hides another."""


def against_sparsity(series: Sequence[Series], path: Path) -> None:
    """A line per method, the mean over its seeds with a bar of one standard deviation; dashed: the dense model.

    Sparsities stand at equal distances. A method with one sparsity so far is a point.
    """
    sparsities = sparsities_of(series)
    with drawn(path, 6.4, 3.4) as figure:
        ax = figure.subplots()
        found = _by_label(series)
        for index, (label, own) in enumerate(found.items()):
            values = [[100 * value for value in one.values] for one in own]
            means, color = [fmean(each) for each in values], own[0].color
            spread = [stdev(each) if len(each) > 1 else 0.0 for each in values]
            if own[0].sparsity is None:
                ax.axhline(means[0], color=color, linestyle=(0, (4, 3)), linewidth=1.1, label=label)
                ax.axhspan(means[0] - spread[0], means[0] + spread[0], color=color, alpha=0.15, linewidth=0)
                continue
            aside = BESIDE * (index - len(found) / 2)
            places = [sparsities.index(one.sparsity) + aside for one in own if one.sparsity is not None]
            ax.errorbar(places, means, spread, color=color, label=label, **MARKS)
        ax.set(xticks=range(len(sparsities)), xlim=(-0.3, len(sparsities) - 0.7))
        ax.set_xticklabels([short_percent(sparsity) for sparsity in sparsities])
        ax.set(xlabel="sparsity", ylabel="test accuracy at the last epoch, %")
        figure.legend(loc="outside right upper")


def _by_label(series: Sequence[Series]) -> dict[str, list[Series]]:
    """Those that have runs, by method, in the order of their sparsities."""
    found: dict[str, list[Series]] = {}
    for one in series:
        if one.values:
            found.setdefault(one.label, []).append(one)
    return found
