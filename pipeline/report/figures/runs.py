"""The pictures of the report and of a training run. Accuracies and sparsities come in as fractions."""


# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.drawing import GREY, INK, Series, deviation, drawn, sparsities_of
from pipeline.report.words import short_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


MANY = 7
"""Methods that one panel of curves can hold."""
LAYER_TICKS = (1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001)


def accuracy(series: Sequence[Series], path: Path) -> None:
    """Test accuracy by method, a panel per sparsity: mean, std, and every seed as a point."""
    sparsities = sparsities_of(series)
    labels = list(dict.fromkeys(s.label for s in series))
    columns = min(3, len(sparsities))
    rows = -(-len(sparsities) // columns)
    with drawn(path, 9, 0.3 + rows * (0.5 + 0.36 * len(labels))) as figure:
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
        for ax in axes[len(sparsities) :]:
            ax.set_visible(False)
        for ax, sparsity in zip(axes, sparsities, strict=False):
            for s in series:
                if s.values and s.sparsity in (None, sparsity):
                    _dots(ax, labels.index(s.label), [100 * v for v in s.values], s)
            ax.set_title(f"sparsity {short_percent(sparsity)}")
            ax.set_yticks(range(len(labels)), labels)
            ax.set_ylim(len(labels) - 0.4, -0.5)
            ax.tick_params(axis="y", length=0)
            ax.grid(visible=False, axis="y")
            ax.margins(x=0.08)
        figure.supxlabel("test accuracy at the last epoch, %", fontsize=8.5)


def _dots(ax: "Axes", y: int, values: list[float], series: Series) -> None:
    mean = fmean(values)
    if series.sparsity is None:
        ax.axvline(mean, color=series.color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    ax.errorbar(
        mean, y, xerr=deviation(values) or None, color=series.color, linewidth=1.6, capsize=3, zorder=2
    )
    ax.plot(mean, y, marker="D", markersize=6.5, color=series.color, markeredgecolor="white", zorder=3)
    if len(values) > 1:
        ax.plot(values, [y + 0.33] * len(values), "o", markersize=3.5, color=series.color, alpha=0.7, mew=0)


def reinit(series: Sequence[Series], path: Path) -> None:
    """Figure 4: bars of the original and the reinitialised network, a panel per sparsity."""
    sparsities = sparsities_of(series)
    every = [100 * value for s in series for value in (*s.values, *s.again)]
    low = max(0, int(min(every) - max(2.0, 0.6 * (max(every) - min(every)))))
    with drawn(
        path, min(9.0, 1.2 + len(sparsities) * (0.6 + 1.25 * len(series) / len(sparsities))), 3
    ) as figure:
        axes = figure.subplots(1, len(sparsities), sharey=True, squeeze=False).flat
        for ax, sparsity in zip(axes, sparsities, strict=True):
            shown = [s for s in series if s.sparsity == sparsity]
            for x, s in enumerate(shown):
                _bar(ax, x - 0.2, s.values, s.color, hatched=False)
                _bar(ax, x + 0.2, s.again, s.color, hatched=True)
            ax.set_xticks(range(len(shown)), [s.label for s in shown])
            ax.set_xlim(-0.6, len(shown) - 0.4)
            ax.tick_params(axis="x", length=0)
            ax.grid(visible=False, axis="x")
            ax.set_title(f"sparsity {short_percent(sparsity)}")
            ax.set_ylim(low, max(every) + 0.12 * (max(every) - low))
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("test accuracy, %" + (f"\n(the axis starts at {low:g})" if low else ""))
        _bar_legend(figure)


def _bar(ax: "Axes", x: float, values: Sequence[float], color: str, *, hatched: bool) -> None:
    if not values:
        return
    mean, std = 100 * fmean(values), 100 * deviation(values)
    face, hatch = ("white", "////") if hatched else (color, None)
    ax.bar(x, mean, 0.36, color=face, edgecolor=color, hatch=hatch, linewidth=1.2)
    ax.errorbar(x, mean, yerr=std or None, color=INK, linewidth=1.2, capsize=3)
    ax.annotate(f"{mean:.2f}", (x, mean + std), (0, 3), textcoords="offset points", ha="center", fontsize=8)


def _bar_legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    original = Patch(facecolor=GREY, edgecolor=GREY, label="original")
    again = Patch(facecolor="white", edgecolor=GREY, hatch="////", label="same mask, new random weights")
    figure.legend(handles=[original, again], loc="outside lower center", ncols=2)


def curves(series: Sequence[Series], frame: "DataFrame", path: Path) -> None:
    """Figure 15 and more: sparsity, test accuracy and inference FLOPs over training, a row per final sparsity.

    With more than MANY methods a row holds those of one family, beside the dense model. ``frame`` is
    `pipeline.report.results.curves`. A line is the mean over the seeds, its band one std to either side.
    """
    titles = {
        "sparsity": "sparsity, %",
        "test_accuracy": "test accuracy, %",
        "inference_ratio": "inference FLOPs, % of dense",
    }
    rows = rows_of_curves(series)
    crowded = len(rows) > len(sparsities_of(series))
    height = 1.75 if crowded else 2.2
    with drawn(path, 9, 0.6 + height * len(rows)) as figure:
        share: Any = "row" if crowded else True  # a family may train longer than the others
        axes = figure.subplots(len(rows), len(titles), sharex=share, squeeze=False)
        handles = {}
        for row, (name, shown) in zip(axes, rows.items(), strict=True):
            lines = {}
            for ax, column in zip(row, titles, strict=True):
                lines |= {s.label: _line(ax, s, 100 * frame.loc[s.group][column]) for s in shown}
                ax.margins(x=0.02)
                ax.xaxis.get_major_locator().set_params(integer=True)
            row[0].set_ylabel(name, fontweight="bold", fontsize=7.5 if crowded else None)
            row[0].set_ylim(-4, 104)
            row[1].set_ylim(bottom=_past_the_start(row[1]))
            row[2].set_ylim(-4, 104)
            if crowded:
                row[2].legend(
                    lines.values(), lines, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7
                )
            handles |= lines
        for top, bottom, title in zip(axes[0], axes[-1], titles.values(), strict=True):
            top.set_title(title)
            bottom.set_xlabel("epoch")
        if not crowded:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(8, len(handles)))


def dynamics(series: Sequence[Series], frame: "DataFrame", dense_flops: int, path: Path) -> None:
    """Figure 15: FLOPs of one inference over training, a panel per final sparsity and a line per initial one.

    ``frame`` is `pipeline.report.results.curves`, ``dense_flops`` what its ratios refer to. Means, with a band.
    """
    sparsities = sparsities_of(series)
    with drawn(path, max(5.4, 3.6 * len(sparsities)), 3.4) as figure:
        axes = figure.subplots(1, len(sparsities), sharey=True, squeeze=False).flat
        handles = {}
        for ax, sparsity in zip(axes, sparsities, strict=True):
            for s in series:
                if s.sparsity == sparsity and s.values:
                    values = dense_flops / 1e9 * frame.loc[s.group]["inference_ratio"]
                    handles[s.label] = _line(ax, s, values)
            ax.axhline(dense_flops / 1e9, color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
            ax.set_title(f"final sparsity {short_percent(sparsity)}")
            ax.set_xlabel("epoch")
            ax.set_ylim(bottom=0)
            ax.xaxis.get_major_locator().set_params(integer=True)
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("FLOPs of one inference, × 10⁹")
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(3, len(handles)))


def rows_of_curves(series: Sequence[Series]) -> dict[str, list[Series]]:
    """What stands in each row, by its name; families apart where one panel would be too full."""
    rows: dict[str, list[Series]] = {}
    dense = [s for s in series if s.sparsity is None and s.values]
    crowded = len({s.label for s in series if s.values and s.sparsity is not None}) > MANY
    for sparsity in sparsities_of(series):
        sparse = [s for s in series if s.sparsity == sparsity and s.values]
        for family in dict.fromkeys(s.family if crowded else "" for s in sparse):
            name = (
                f"{short_percent(sparsity)}, {family}"
                if family
                else f"final sparsity {short_percent(sparsity)}"
            )
            rows[name] = [*dense, *(s for s in sparse if family in ("", s.family))]
    return rows


def _past_the_start(ax: "Axes") -> float:
    """The lowest value of any line after the first tenth of its points: the climb from chance would hide the rest."""
    return min(min(y[len(y) // 10 :]) for line in ax.lines if len(y := list(line.get_ydata()))) - 1


def _line(ax: "Axes", series: Series, values: "DataFrame") -> Any:
    mean, std, epochs = values["mean"], values["std"], values.index.to_numpy()
    style: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.3} if series.sparsity is None else {}
    (line,) = ax.plot(epochs, mean, color=series.color, marker="o" if len(epochs) == 1 else "", **style)
    if std.notna().any():
        ax.fill_between(epochs, mean - std, mean + std, color=series.color, alpha=0.15, linewidth=0)
    return line


def layers(series: Sequence[Series], frame: "DataFrame", path: Path) -> None:
    """Learnt sparsity by layer, a row per method and sparsity; the colour is logarithmic in the share kept.

    ``frame`` is `pipeline.report.results.layers`: a column per layer, in the order of the model.
    """
    from matplotlib.colors import LogNorm

    shown = [s for s in series if s.group in frame.index]
    kept = 1 - frame.loc[[s.group for s in shown]].to_numpy()
    low = max(1e-4, float(kept.min()))
    high = max(float(kept.max()), 2 * low)
    names = [name.removesuffix(".weight") for name in frame.columns]
    few = len(names) <= 30
    with drawn(path, 9, 1.3 + 0.28 * len(shown)) as figure:
        ax = figure.subplots()
        norm = LogNorm(0.5 * low, high)
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
        if few:
            _annotate(ax, kept, norm)
        bar = figure.colorbar(image, ax=ax, pad=0.01, aspect=max(8, 3 * len(shown)))
        ticks = [tick for tick in LAYER_TICKS if low <= tick <= high]
        bar.set_ticks(ticks, labels=[short_percent(round(1 - tick, 6)) for tick in ticks])
        bar.minorticks_off()
        bar.outline.set_visible(False)
        bar.ax.set_ylim(low, high)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("sparsity", fontsize=8)


def _annotate(ax: "Axes", kept: Any, norm: Any) -> None:
    """Write each layer's sparsity in percent into its field."""
    for y, row in enumerate(kept):
        for x, value in enumerate(row):
            ink = "white" if norm(value) > 0.6 else INK
            ax.text(x, y, f"{100 * (1 - value):.1f}", ha="center", va="center", fontsize=6, color=ink)
