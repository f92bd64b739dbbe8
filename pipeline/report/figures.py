"""The pictures of the report. Accuracies and sparsities come in as fractions."""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false, reportCallIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas import DataFrame

from pipeline.drawing import GREY, INK, Series, drawn, sparsities_of
from pipeline.report.results import MASK_CURVES
from pipeline.report.tables.plasticity import LINEAR, Study
from pipeline.report.words import short_percent

MANY = 7
"""Methods that one panel of curves can hold."""
LAYER_TICKS = (1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001)
CURVES = {
    "sparsity": "sparsity, %",
    "test_accuracy": "test accuracy, %",
    "inference_ratio": "inference FLOPs, % of dense",
}
DASHED = (0, (4, 2))
DROP = "#e0323a"
CHANGE_TICKS = (2, 5, 10, 20, 40, 80)


def accuracy(series: Sequence[Series], path: Path) -> None:
    """Test accuracy by method, a panel per sparsity: mean, std, and every seed as a point."""
    sparsities, labels = sparsities_of(series), list(dict.fromkeys(s.label for s in series))
    columns = min(3, len(sparsities))
    rows = -(-len(sparsities) // columns)
    with drawn(path, 9, 0.3 + rows * (0.5 + 0.36 * len(labels))) as figure:
        for ax, sparsity in _panels(figure, sparsities, rows, columns, gridspec_kw={"wspace": 0.08}):
            for s in series:
                if s.values and s.sparsity in (None, sparsity):
                    _dots(ax, labels.index(s.label), [100 * v for v in s.values], s)
            ax.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.4, -0.5))
            ax.tick_params(axis="y", length=0)
            ax.grid(visible=False, axis="y")
            ax.margins(x=0.08)
        figure.supxlabel("test accuracy at the last epoch, %", fontsize=8.5)


def _panels(
    figure: Figure, sparsities: list[float], rows: int = 1, columns: int = 0, title: str = "", **layout: Any
) -> Iterator[tuple[Axes, float]]:
    """A panel per sparsity under its title, in one row unless told otherwise; they share the vertical axis."""
    axes = figure.subplots(rows, columns or len(sparsities), sharey=True, squeeze=False, **layout).flat
    for ax in axes[len(sparsities) :]:
        ax.set_visible(False)
    for ax, sparsity in zip(axes, sparsities, strict=False):
        ax.set_title(f"{title}sparsity {short_percent(sparsity)}")
        yield ax, sparsity


def _dots(ax: Axes, y: int, values: list[float], series: Series) -> None:
    mean, std, color = fmean(values), stdev(values) if len(values) > 1 else 0.0, series.color
    if series.sparsity is None:
        ax.axvline(mean, color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    ax.errorbar(mean, y, xerr=std or None, color=color, linewidth=1.6, capsize=3, zorder=2)
    ax.plot(mean, y, marker="D", markersize=6.5, color=color, markeredgecolor="white", zorder=3)
    if len(values) > 1:
        ax.plot(values, [y + 0.33] * len(values), "o", markersize=3.5, color=color, alpha=0.7, mew=0)


def masks(series: Sequence[Series], frame: DataFrame, path: Path) -> None:
    """How far masks wander, a row per final sparsity. ``frame`` is `pipeline.report.results.mask_curves`."""
    sparsities = sparsities_of(series)
    with drawn(path, 9, 0.6 + 2.2 * len(sparsities)) as figure:
        axes = figure.subplots(len(sparsities), len(MASK_CURVES), sharex=True, squeeze=False)
        handles = {}
        for panels, sparsity in zip(axes, sparsities, strict=True):
            for ax, column in zip(panels, MASK_CURVES, strict=True):
                for s in (one for one in series if one.sparsity == sparsity):
                    handles[s.label] = _line(ax, 100 * frame.loc[s.group][column], s.color)
                ax.set_ylim(-4, 104)
                ax.xaxis.get_major_locator().set_params(integer=True)
            panels[0].set_ylabel(f"sparsity {short_percent(sparsity)}", fontweight="bold")
        for ax, name in zip(axes[0], MASK_CURVES.values(), strict=True):
            ax.set_title(name)
        figure.supxlabel("epoch", fontsize=8.5)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)


def reinit(series: Sequence[Series], path: Path) -> None:
    """Figure 4: bars of the original and the reinitialised network, a panel per sparsity."""
    sparsities = sparsities_of(series)
    every = [100 * value for s in series for value in (*s.values, *s.again)]
    low = max(0, int(min(every) - max(2.0, 0.6 * (max(every) - min(every)))))
    width = min(9.0, 1.2 + len(sparsities) * (0.6 + 1.25 * len(series) / len(sparsities)))
    with drawn(path, width, 3) as figure:
        for ax, sparsity in _panels(figure, sparsities):
            shown = [s for s in series if s.sparsity == sparsity]
            for x, s in enumerate(shown):
                _bar(ax, x - 0.2, s.values, color=s.color, edgecolor=s.color)
                _bar(ax, x + 0.2, s.again, color="white", edgecolor=s.color, hatch="////")
            ax.set(
                xticks=range(len(shown)), xticklabels=[s.label for s in shown], xlim=(-0.6, len(shown) - 0.4)
            )
            ax.tick_params(axis="x", length=0)
            ax.grid(visible=False, axis="x")
            ax.set_ylim(low, max(every) + 0.12 * (max(every) - low))
        start = f"\n(the axis starts at {low:g})" if low else ""
        figure.axes[0].set_ylabel(f"test accuracy, %{start}")
        original = Patch(facecolor=GREY, edgecolor=GREY, label="original")
        again = Patch(facecolor="white", edgecolor=GREY, hatch="////", label="same mask, new random weights")
        figure.legend(handles=[original, again], loc="outside lower center", ncols=2)


def _bar(ax: Axes, x: float, values: Sequence[float], **look: str) -> None:
    mean, std = 100 * fmean(values), 100 * stdev(values) if len(values) > 1 else 0.0
    ax.bar(x, mean, 0.36, linewidth=1.2, **look)
    ax.errorbar(x, mean, yerr=std or None, color=INK, linewidth=1.2, capsize=3)
    ax.annotate(f"{mean:.2f}", (x, mean + std), (0, 3), textcoords="offset points", ha="center", fontsize=8)


def curves(series: Sequence[Series], frame: DataFrame, path: Path) -> None:
    """Figure 15 and more: sparsity, test accuracy and inference FLOPs over training, a row per final sparsity.

    With more than MANY methods a row holds those of one family, beside the dense model. ``frame`` is
    `pipeline.report.results.curves`. A line is the mean over the seeds, its band one std to either side.
    """
    rows = rows_of_curves(series)
    crowded = len(rows) > len(sparsities_of(series))
    with drawn(path, 9, 0.6 + (1.75 if crowded else 2.2) * len(rows)) as figure:
        # a family may train longer than the others
        axes = figure.subplots(len(rows), len(CURVES), sharex="row" if crowded else "all", squeeze=False)
        handles = {}
        for panels, (name, shown) in zip(axes, rows.items(), strict=True):
            lines, (left, middle, right) = {}, panels
            for ax, column in zip(panels, CURVES, strict=True):
                for s in shown:
                    look = {"linestyle": DASHED, "linewidth": 1.3} if s.sparsity is None else {}
                    lines[s.label] = _line(ax, 100 * frame.loc[s.group][column], s.color, **look)
                ax.margins(x=0.02)
                ax.xaxis.get_major_locator().set_params(integer=True)
            left.set_ylabel(name, fontweight="bold", fontsize=7.5 if crowded else None)
            left.set_ylim(-4, 104)
            # below the lowest value after the first tenth: the climb from chance would hide the rest
            points = [list(line.get_ydata()) for line in middle.lines]
            middle.set_ylim(bottom=min(min(y[len(y) // 10 :]) for y in points if y) - 1)
            right.set_ylim(-4, 104)
            if crowded:
                right.legend(lines.values(), lines, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7)
            handles |= lines
        for top, bottom, title in zip(axes[0], axes[-1], CURVES.values(), strict=True):
            top.set_title(title)
            bottom.set_xlabel("epoch")
        if not crowded:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(8, len(handles)))


def dynamics(series: Sequence[Series], frame: DataFrame, dense_flops: int, path: Path) -> None:
    """Figure 15: FLOPs of one inference over training, a panel per final sparsity and a line per initial one.

    ``frame`` is `pipeline.report.results.curves`, ``dense_flops`` what its ratios refer to. Means, with a band.
    """
    sparsities, dense = sparsities_of(series), dense_flops / 1e9
    with drawn(path, max(5.4, 3.6 * len(sparsities)), 3.4) as figure:
        handles = {}
        for ax, sparsity in _panels(figure, sparsities, title="final "):
            for s in series:
                if s.sparsity == sparsity and s.values:
                    handles[s.label] = _line(ax, dense * frame.loc[s.group]["inference_ratio"], s.color)
            ax.axhline(dense, color=GREY, linewidth=1, linestyle=DASHED, zorder=1)
            ax.set(xlabel="epoch", ylim=(0, None))
            ax.xaxis.get_major_locator().set_params(integer=True)
        figure.axes[0].set_ylabel("FLOPs of one inference, × 10⁹")
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(3, len(handles)))


def rows_of_curves(series: Sequence[Series]) -> dict[str, list[Series]]:
    """What stands in each row, by its name; families apart where one panel would be too full."""
    rows: dict[str, list[Series]] = {}
    dense = [s for s in series if s.sparsity is None and s.values]
    sparse = [s for s in series if s.sparsity is not None and s.values]
    crowded = len({s.label for s in sparse}) > MANY
    for s in sorted(sparse, key=lambda s: s.sparsity):
        final = short_percent(s.sparsity)
        name = f"{final}, {s.family}" if crowded and s.family else f"final sparsity {final}"
        rows.setdefault(name, list(dense)).append(s)
    return rows


def _line(ax: Axes, values: DataFrame, color: str, alpha: float = 0.15, **look: Any) -> Any:
    """The mean over the seeds, in a band of one std to either side."""
    mean, std, epochs = values["mean"], values["std"], values.index.to_numpy()
    (line,) = ax.plot(epochs, mean, color=color, **{"marker": "o" if len(epochs) == 1 else "", **look})
    if std.notna().any():
        ax.fill_between(epochs, mean - std, mean + std, color=color, alpha=alpha, linewidth=0)
    return line


def layers(series: Sequence[Series], frame: DataFrame, path: Path) -> None:
    """Learnt sparsity by layer, a row per method and sparsity; the colour is logarithmic in the share kept.

    ``frame`` is `pipeline.report.results.layers`: a column per layer, in the order of the model.
    """
    shown = [s for s in series if s.group in frame.index]
    kept = 1 - frame.loc[[s.group for s in shown]].to_numpy()
    low = max(1e-4, float(kept.min()))
    high = max(float(kept.max()), 2 * low)
    norm = LogNorm(0.5 * low, high)
    names = [name.removesuffix(".weight").replace("$", r"\$") for name in frame.columns]  # no formula
    few = len(names) <= 30
    with drawn(path, 9, 1.3 + 0.28 * len(shown)) as figure:
        ax = figure.subplots()
        image = ax.imshow(kept.clip(low), aspect="auto", cmap="Blues", norm=norm, interpolation="nearest")
        ax.set_yticks(range(len(shown)), [f"{s.label}, {short_percent(s.sparsity or 0)}" for s in shown])
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.tick_params(length=0)
        ax.tick_params(axis="x", labelsize=7 if few else 5.5)
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        for row in range(1, len(shown)):
            same = shown[row].sparsity == shown[row - 1].sparsity
            ax.axhline(row - 0.5, color="white", linewidth=1 if same else 5)
        for y, row in enumerate(kept if few else ()):
            for x, value in enumerate(row):
                ink, text = "white" if norm(value) > 0.6 else INK, f"{100 * (1 - value):.1f}"
                ax.text(x, y, text, ha="center", va="center", fontsize=6, color=ink)
        bar = figure.colorbar(image, ax=ax, pad=0.01, aspect=max(8, 3 * len(shown)))
        ticks = [tick for tick in LAYER_TICKS if low <= tick <= high]
        bar.set_ticks(ticks, labels=[short_percent(round(1 - tick, 6)) for tick in ticks])
        bar.minorticks_off()
        bar.outline.set_visible(False)
        bar.ax.set_ylim(low, high)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("sparsity", fontsize=8)


def plasticity(study: Study, path: Path) -> None:
    """Figures 2, 3 and 5 to 14: the change in accuracy by the epoch at which a network was pruned."""
    columns, rows = len(study.entries("pretrained")), len(study.entries("regenerated"))
    with drawn(path, max(5.2, 1.2 + 1.95 * columns), 0.75 + 2.1 * rows + 0.2 * (columns < 3)) as figure:
        draw_plasticity(study, figure)


def draw_plasticity(study: Study, figure: Figure) -> None:
    """A column per pre-trained sparsity, a row without and one with regeneration, a line per pruning rate.

    All panels share their axes: the rows are to be compared.
    """
    means, sparsities, ways = study.means(), study.entries("pretrained"), study.entries("regenerated")
    axes = figure.subplots(len(ways), len(sparsities), sharex=True, sharey=True, squeeze=False)
    for row, way in zip(axes, ways, strict=True):
        for ax, sparsity in zip(row, sparsities, strict=True):
            ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
            for drop in study.drops:
                ax.axvline(drop, color=DROP, linewidth=0.9, linestyle=DASHED, zorder=1)
            for rate, color in study.colors.items():
                look = {"marker": "o", "markersize": 3, "linewidth": 1.4, "zorder": 3}
                _line(ax, 100 * means.loc[(sparsity, way, rate), :], color, alpha=0.18, **look)
            ax.locator_params(axis="x", integer=True, nbins=5)
            ax.tick_params(labelsize=7.5)
        row[0].set_ylabel(f"{'with' if way else 'without'} regeneration", fontweight="bold", fontsize=8.5)
    for top, bottom, sparsity in zip(axes[0], axes[-1], sparsities, strict=True):
        top.set_title(study.network(sparsity), fontsize=8.5)
        bottom.set_xlabel("pruned after epoch", fontsize=8)
    axes[0][0].set_xlim(0, study.epochs)
    _scale(axes[0][0], study)
    figure.supylabel("change in test accuracy, percentage points", fontsize=8.5)
    handles = [
        Line2D([], [], color=color, marker="o", markersize=3.5, label=f"pruning rate {rate:g}")
        for rate, color in study.colors.items()
    ]
    if study.drops:
        handles.append(Line2D([], [], color=DROP, linewidth=1, linestyle="--", label="learning-rate drop"))
    columns = min(7, len(handles)) if len(sparsities) > 2 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.8)


def _scale(ax: Axes, study: Study) -> None:
    """The axis of all panels, with a little room around the highest and the lowest value."""
    mean, std = 100 * study.means()["mean"], 100 * study.means()["std"].fillna(0)
    low, high = min(0.0, (mean - std).min()), max(0.0, (mean + std).max())
    if not study.is_logarithmic:
        if low == high:  # nothing changed, or nothing came through
            ax.set_ylim(-1, 1)
        return
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=1.5)
    low, high = min(1.25 * low, -1.0), max(1.25 * high, 1.0)
    ax.set_ylim(low, high)
    ticks = [0, *(sign * tick for tick in CHANGE_TICKS for sign in (-1, 1) if low <= sign * tick <= high)]
    ax.set_yticks(ticks, [f"{tick:+g}".replace("-", "−") if tick else "0" for tick in ticks], color=INK)
    ax.yaxis.minorticks_off()
