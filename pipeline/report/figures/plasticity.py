"""Figures 2, 3 and 5 to 14 in the paper's layout: the change in accuracy by the epoch at which a network was pruned."""


# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.drawing import GREY, INK, drawn
from pipeline.report.plasticity import Study, rate_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


DROP = "#e0323a"
WAYS = {False: "without regeneration", True: "with regeneration"}
COLLAPSED, LINEAR = 15.0, 5.0
"""In percentage points: beyond the first one, the axis is logarithmic but for the second one around zero."""
TICKS = (2, 5, 10, 20, 40, 80)


def picture(study: Study, path: Path) -> None:
    """Write a study's figure."""
    columns, rows = len(study.sparsities), len(study.ways)
    with drawn(path, max(5.2, 1.2 + 1.95 * columns), 0.75 + 2.1 * rows + 0.2 * (columns < 3)) as figure:
        draw(study, figure)


def draw(study: Study, figure: "Figure") -> None:
    """A column per pre-trained sparsity, a row without and one with regeneration, a line per pruning rate.

    All panels share their axes: the rows are to be compared.
    """
    from matplotlib.lines import Line2D

    frame, palette = study.means(), rate_colors(study.rates)
    axes = figure.subplots(len(study.ways), len(study.sparsities), sharex=True, sharey=True, squeeze=False)
    noun = "filter sparsity" if study.granularity == "filter" else "sparsity"
    for row, way in zip(axes, study.ways, strict=True):
        for ax, sparsity in zip(row, study.sparsities, strict=True):
            _panel(ax, study, {rate: _line(frame, sparsity, way, rate) for rate in study.rates}, palette)
        row[0].set_ylabel(WAYS[way], fontweight="bold", fontsize=8.5)
    for ax, sparsity in zip(axes[0], study.sparsities, strict=True):
        ax.set_title(f"Pre-trained {noun} {sparsity:g}", fontsize=8.5)
    axes[0][0].set_xlim(0, study.epochs)
    _scale(axes[0][0], frame)
    figure.supylabel("change in test accuracy, percentage points", fontsize=8.5)
    for ax in axes[-1]:
        ax.set_xlabel("pruned after epoch", fontsize=8)
    handles = [
        Line2D([], [], color=palette[rate], marker="o", markersize=3.5, label=f"pruning rate {rate:g}")
        for rate in study.rates
    ]
    if study.drops:
        handles.append(Line2D([], [], color=DROP, linewidth=1, linestyle="--", label="learning-rate drop"))
    columns = len(handles) if len(study.sparsities) > 2 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=min(7, columns), handlelength=1.8)


def caption(study: Study) -> str:
    """What a reader has to know of the picture. No points where branches diverged: their number stands here."""
    runs = "the unpruned run at its end" if study.outcome == "final" else "the moment before pruning"
    parts = [f"Change in test accuracy against {runs}, by the epoch at which the network was pruned."]
    if study.means()["count"].max() > 1:
        parts.append("Mean over the seeds, with a band of one standard deviation.")
    if is_logarithmic(study.means()):
        parts.append(f"The axis is linear between −{LINEAR:g} and +{LINEAR:g} and logarithmic beyond.")
    if study.num_diverged:
        verb = "is" if study.num_diverged == 1 else "are"
        parts.append(f"{study.num_diverged} of {len(study.branches)} branches diverged and {verb} left out.")
    return " ".join(parts)


def _line(frame: "DataFrame", sparsity: float, way: bool, rate: float) -> "DataFrame":
    """Means by epoch; empty where nothing ran."""
    rows = frame.reset_index()
    wanted = (rows["pretrained"] == sparsity) & (rows["regenerated"] == way) & (rows["rate"] == rate)
    return rows[wanted].set_index("epoch")


def _panel(ax: "Axes", study: Study, lines: dict[float, "DataFrame"], palette: dict[float, str]) -> None:
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for drop in study.drops:
        ax.axvline(drop, color=DROP, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    for rate, line in lines.items():
        mean, std = 100 * line["mean"], 100 * line["std"]
        epochs = line.index.to_numpy()
        ax.plot(epochs, mean, color=palette[rate], marker="o", markersize=3, linewidth=1.4, zorder=3)
        if std.notna().any():
            ax.fill_between(
                epochs, mean - std, mean + std, color=palette[rate], alpha=0.18, linewidth=0, zorder=2
            )
    ax.locator_params(axis="x", integer=True, nbins=5)
    ax.tick_params(labelsize=7.5)


def is_logarithmic(frame: "DataFrame") -> bool:
    """Whether a branch collapsed so far that a linear axis would press all others flat."""
    return bool((100 * frame["mean"].abs()).max() > COLLAPSED)


def _scale(ax: "Axes", frame: "DataFrame") -> None:
    """The axis of all panels, with a little room around the highest and the lowest value."""
    mean, std = 100 * frame["mean"], 100 * frame["std"].fillna(0)
    low, high = min(0.0, (mean - std).min()), max(0.0, (mean + std).max())
    if not is_logarithmic(frame):
        if low == high:  # nothing changed, or nothing came through
            ax.set_ylim(-1, 1)
        return
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=1.5)
    low, high = min(1.25 * low, -1.0), max(1.25 * high, 1.0)
    ax.set_ylim(low, high)
    ticks = [0, *(sign * tick for tick in TICKS for sign in (-1, 1) if low <= sign * tick <= high)]
    ax.set_yticks(ticks, [f"{tick:+g}".replace("-", "−") if tick else "0" for tick in ticks], color=INK)
    ax.yaxis.minorticks_off()
