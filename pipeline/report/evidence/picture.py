"""The picture of docs/results.md and README: accuracy against sparsity, with bands over the seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from pipeline.drawing import Series, drawn, sparsities_of
from pipeline.report.words import short_percent


def against_sparsity(series: Sequence[Series], path: Path) -> None:
    """A line per method, the mean over its seeds in a band of one standard deviation; dashed: the dense model.

    Sparsities stand at equal distances. A method with one sparsity so far is a point.
    """
    sparsities = sparsities_of(series)
    with drawn(path, 6.4, 3.4) as figure:
        ax = figure.subplots()
        for label, own in _by_label(series).items():
            values = [[100 * value for value in one.values] for one in own]
            means, color = [fmean(each) for each in values], own[0].color
            if own[0].sparsity is None:
                ax.axhline(means[0], color=color, linestyle=(0, (4, 3)), linewidth=1.1, label=label)
                places = [-0.3, len(sparsities) - 0.7]
                values, means = values * 2, means * 2
            else:
                places = [sparsities.index(one.sparsity) for one in own if one.sparsity is not None]
                ax.plot(places, means, marker="o", markersize=4, color=color, label=label)
            spread = [stdev(each) if len(each) > 1 else 0.0 for each in values]
            low, high = ([m + way * s for m, s in zip(means, spread, strict=True)] for way in (-1, 1))
            if any(spread):
                ax.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
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
