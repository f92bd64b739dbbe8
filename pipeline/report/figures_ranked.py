"""The pictures of the ranking: how far each method is behind the first, and what its accuracy costs.

Families are told apart by shape and colour, methods by their place in the ranking over all sparsities. Accuracies and
costs come in as fractions.
"""

# pyright: reportArgumentType=false
# (matplotlib's types are narrower than what it takes)

from collections.abc import Mapping, Sequence
from itertools import product
from math import hypot, log
from pathlib import Path
from statistics import quantiles

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from pipeline.drawing import GREY, INK, drawn
from pipeline.report.tables.ranking import Ranked, numbered

MARKERS = {
    "Sparse before training": "s",
    "Sparse to sparse": "o",
    "Dense to sparse": "^",
    "After training": "D",
}
FRONT = "#b6bcc6"
COST_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
ASIDE = (0.022, 0.026)
"""How far a number stands from its point, as shares of a panel's width and height."""


def forest(rankings: Mapping[str, Sequence[Ranked]], path: Path) -> None:
    """Accuracy minus that of the first, a panel per ranking, with the interval of the paired difference.

    All rankings are in the order of the first one. What lies far below the others is an arrow at the edge.
    """
    overall = next(iter(rankings.values()))
    rows = {one.section: row for row, one in enumerate(overall)}
    with drawn(path, 9, max(2.4, 1.2 + 0.2 * len(overall))) as figure:
        axes = figure.subplots(1, len(rankings), sharey=True, squeeze=False).flat
        for ax, (title, ranked) in zip(axes, rankings.items(), strict=True):
            shifts = {one.section: 100 * one.behind.difference.mean if one.behind else 0.0 for one in ranked}
            low = floor([*shifts.values()])
            for one in ranked:
                _row(ax, rows[one.section], one, shifts[one.section], low)
            ax.axvline(0, color=GREY, linewidth=0.9, zorder=1)
            ax.set(title=title, xlabel="minus the first, points")
            ax.set_xlim(low - 0.06 * (0.5 - low), 0.5 + 0.06 * (0.5 - low))
            ax.grid(visible=False, axis="y")
        axes[0].set_yticks(range(len(overall)), [numbered(one) for one in overall])
        axes[0].set_ylim(len(overall) - 0.4, -0.6)
        axes[0].tick_params(axis="y", length=0)
        _legend(figure, overall)


def _row(ax: Axes, row: int, one: Ranked, shift: float, low: float) -> None:
    if shift < low:
        ax.plot(low, row, marker="<", markersize=5, color=one.color, zorder=3)
        ax.annotate(
            f"{shift:.0f}".replace("-", "−"), (low, row), (6, -3), textcoords="offset points", fontsize=7
        )
        return
    if one.behind is not None and one.behind.interval is not None:
        ends = [100 * end for end in one.behind.interval]
        ax.plot(ends, [row, row], color=one.color, linewidth=1.3, alpha=0.75)
    ax.plot(shift, row, marker=MARKERS[one.family], markersize=5, color=one.color, mec="white", zorder=3)


def costs(
    rankings: Mapping[str, Sequence[Ranked]], cost: str, label: str, dense: float | None, path: Path
) -> None:
    """Accuracy against a cost, ``training`` or ``time``, on a logarithmic axis, a panel per ranking.

    The grey line joins the methods that none beats in both; ``dense`` is the dense network's accuracy, dashed.
    """
    families = _families(next(iter(rankings.values())))
    height = 1 + max(len(own) for own in families.values())
    with drawn(path, 9, 3.3 + 0.16 * height) as figure:
        grid = figure.add_gridspec(2, len(rankings), height_ratios=(3.3, 0.16 * height))
        axes = [figure.add_subplot(grid[0, column]) for column in range(len(rankings))]
        _key(figure.add_subplot(grid[1, :]), families, height)
        for ax, (title, ranked) in zip(axes, rankings.items(), strict=True):
            ax.set_title(title)
            ax.set_xlabel(label)
            _scatter(
                ax, [(getattr(one, cost), 100 * one.stat.mean, one) for one in ranked if getattr(one, cost)]
            )
            if dense is not None:
                ax.axhline(100 * dense, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes[0].set_ylabel("test accuracy, %")


def _scatter(ax: Axes, points: Sequence[tuple[float, float, Ranked]]) -> None:
    if not points:
        return
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    low, high = floor(ys), max(ys)
    room = 0.08 * max(high - low, 0.5)
    bottom = low - room  # where those stand that are far below
    shown = [(x, y if y >= low else bottom) for x, y in zip(xs, ys, strict=True)]
    left, right = min(xs) / 1.25, max(xs) * 1.25
    ends = bottom - room * (bottom in [y for _, y in shown]), high + room
    ax.set(xscale="log", xlim=(left, right), ylim=ends)
    ticks = [tick for tick in COST_TICKS if left <= tick <= right]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{100 * tick:g}" for tick in ticks])
    front = undominated(list(zip(xs, ys, strict=True)))
    steps = [*front, (right, front[-1][1])]
    ax.step([x for x, _ in steps], [y for _, y in steps], where="post", color=FRONT, linewidth=1.2, zorder=1)
    shares = [(log(x / left) / log(right / left), (y - ends[0]) / (ends[1] - ends[0])) for x, y in shown]
    for (x, y), aside, (*_, one) in zip(shown, beside(shares), points, strict=True):
        marker = "v" if y == bottom else MARKERS[one.family]
        ax.plot(x, y, marker=marker, markersize=5, color=one.color, mec="white", zorder=3)
        look = {"ha": "center", "va": "center", "fontsize": 6.5, "color": INK, "zorder": 4}
        ax.text(*aside, str(one.place), transform=ax.transAxes, **look)


def floor(values: Sequence[float]) -> float:
    """Where an axis begins so that a few values far below do not hide the rest: Tukey's fence, or the lowest value."""
    if len(values) < 4:
        return min(values)
    first, _, third = quantiles(values, n=4, method="inclusive")
    fence = first - 1.5 * (third - first)
    return min(value for value in values if value >= fence)


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, accuracy) that none beats in both, from cheap to costly.

    >>> undominated([(1.0, 5.0), (2.0, 4.0), (3.0, 7.0), (0.5, 1.0)])
    [(0.5, 1.0), (1.0, 5.0), (3.0, 7.0)]
    """
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def beside(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """For each point, in shares of a panel, a place beside it that is far from other points and their numbers."""
    taken = list(points)
    for x, y in points:
        ways = [(i, j) for i, j in product((-1, 0, 1), repeat=2) if i or j]
        places = [(x + i * ASIDE[0] * 1.2, y + j * ASIDE[1] * 1.2) for i, j in ways]
        taken.append(max(places, key=lambda place: min(hypot(place[0] - a, place[1] - b) for a, b in taken)))
    return taken[len(points) :]


def _families(ranked: Sequence[Ranked]) -> dict[str, list[Ranked]]:
    """The methods of each family that has one."""
    found = {family: [one for one in ranked if one.family == family] for family in MARKERS}
    return {family: own for family, own in found.items() if own}


def _legend(figure: Figure, ranked: Sequence[Ranked]) -> None:
    """The families."""
    handles = [
        Line2D([], [], label=family, marker=MARKERS[family], color=own[0].color, linestyle="", markersize=5)
        for family, own in _families(ranked).items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def _key(ax: Axes, families: dict[str, list[Ranked]], height: int) -> None:
    """What the numbers mean: a column for each family."""
    ax.set(xlim=(0, len(families)), ylim=(height + 0.5, -0.5))
    ax.set_axis_off()
    for column, (family, own) in enumerate(families.items()):
        ax.plot(column + 0.03, 0, marker=MARKERS[family], markersize=5, color=own[0].color, clip_on=False)
        ax.text(column + 0.08, 0, family, va="center", fontsize=7.5, fontweight="bold")
        for row, one in enumerate(own, start=1):
            ax.text(column + 0.08, row, numbered(one), va="center", fontsize=7.5)
