"""The pictures of the report and of a training run. matplotlib without pyplot: no global figure, no display.

Accuracies and sparsities come in as fractions and are drawn in percent.
"""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granet.history import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

DPI = 180
GREY, INK = "#6b7280", "#1f2937"
PALETTE = {  # Okabe and Ito's, told apart by readers with any colour vision
    "dense": "#1f2937",
    "static": "#cc79a7",
    "set": "#009e73",
    "rigl": "#56b4e9",
    "granet_s2s": "#0072b2",
    "gmp": "#e69f00",
    "granet": "#d55e00",
}
SPARE = (
    "#882255",
    "#999933",
    "#332288",
    "#44aa99",
    "#aa4499",
)  # Tol's muted ones, for sections of the user's own
LAYER_TICKS = (1, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0001)
STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Series:
    """One method at one final sparsity: what a figure draws of it."""

    label: str
    color: str
    sparsity: float | None
    """None for the dense model, which belongs to every sparsity."""
    group: str
    values: Sequence[float] = ()
    """Test accuracy, one per seed."""
    again: Sequence[float] = ()
    """The same after reinitialisation."""


def colors(sections: Sequence[str]) -> dict[str, str]:
    """A colour per method section; the known ones keep theirs in every report."""
    others = [name for name in sections if name not in PALETTE]
    return PALETTE | {name: SPARE[index % len(SPARE)] for index, name in enumerate(others)}


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """A figure of that size in inches, saved when the block ends. The same input gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _sparsities(series: Sequence[Series]) -> list[float]:
    """The final sparsities that have something to draw."""
    return sorted({s.sparsity for s in series if s.sparsity is not None and s.values})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> float:
    from statistics import stdev

    return stdev(values) if len(values) > 1 else 0.0


def accuracy(series: Sequence[Series], path: Path) -> None:
    """Test accuracy by method, a panel per sparsity: mean, std, and every seed as a point."""
    sparsities = _sparsities(series)
    labels = list(dict.fromkeys(s.label for s in series))
    columns = min(3, len(sparsities))
    rows = -(-len(sparsities) // columns)
    with _figure(path, 9, 0.3 + rows * (0.5 + 0.36 * len(labels))) as figure:
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
        for ax in axes[len(sparsities) :]:
            ax.set_visible(False)
        for ax, sparsity in zip(axes, sparsities, strict=False):
            for s in series:
                if s.values and s.sparsity in (None, sparsity):
                    _dots(ax, labels.index(s.label), [100 * v for v in s.values], s)
            ax.set_title(f"sparsity {_percent(sparsity)}")
            ax.set_yticks(range(len(labels)), labels)
            ax.set_ylim(len(labels) - 0.4, -0.5)
            ax.tick_params(axis="y", length=0)
            ax.grid(visible=False, axis="y")
            ax.margins(x=0.08)
        figure.supxlabel("test accuracy at the last epoch, %", fontsize=8.5)


def _dots(ax: "Axes", y: int, values: list[float], series: Series) -> None:
    mean = _mean(values)
    if series.sparsity is None:
        ax.axvline(mean, color=series.color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    ax.errorbar(mean, y, xerr=_spread(values) or None, color=series.color, linewidth=1.6, capsize=3, zorder=2)
    ax.plot(mean, y, marker="D", markersize=6.5, color=series.color, markeredgecolor="white", zorder=3)
    if len(values) > 1:
        ax.plot(values, [y + 0.33] * len(values), "o", markersize=3.5, color=series.color, alpha=0.7, mew=0)


def reinit(series: Sequence[Series], path: Path) -> None:
    """Figure 4: bars of the original and the reinitialised network, a panel per sparsity."""
    sparsities = _sparsities(series)
    every = [100 * value for s in series for value in (*s.values, *s.again)]
    low = max(0, int(min(every) - max(2.0, 0.6 * (max(every) - min(every)))))
    with _figure(
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
            ax.set_title(f"sparsity {_percent(sparsity)}")
            ax.set_ylim(low, max(every) + 0.12 * (max(every) - low))
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("test accuracy, %" + (f"\n(the axis starts at {low:g})" if low else ""))
        _bar_legend(figure)


def _bar(ax: "Axes", x: float, values: Sequence[float], color: str, *, hatched: bool) -> None:
    if not values:
        return
    mean, std = 100 * _mean(values), 100 * _spread(values)
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

    ``frame`` is `pipeline.results.curves`. A line is the mean over the seeds, its band one std to either side.
    """
    sparsities = _sparsities(series)
    titles = {
        "sparsity": "sparsity, %",
        "test_accuracy": "test accuracy, %",
        "inference_ratio": "inference FLOPs, % of dense",
    }
    with _figure(path, 9, 0.6 + 2.2 * len(sparsities)) as figure:
        axes = figure.subplots(len(sparsities), len(titles), sharex=True, squeeze=False)
        handles = {}
        for row, sparsity in zip(axes, sparsities, strict=True):
            for ax, column in zip(row, titles, strict=True):
                for s in series:
                    if s.values and s.sparsity in (None, sparsity):
                        handles[s.label] = _line(ax, s, 100 * frame.loc[s.group][column])
                ax.margins(x=0.02)
            row[0].set_ylabel(f"final sparsity {_percent(sparsity)}", fontweight="bold")
            row[0].set_ylim(-4, 104)
            row[1].set_ylim(bottom=_past_the_start(row[1]))
            row[2].set_ylim(-4, 104)
        for top, bottom, title in zip(axes[0], axes[-1], titles.values(), strict=True):
            top.set_title(title)
            bottom.set_xlabel("epoch")
            bottom.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(8, len(handles)))


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

    ``frame`` is `pipeline.results.layers`: a column per layer, in the order of the model.
    """
    from matplotlib.colors import LogNorm

    shown = [s for s in series if s.group in frame.index]
    kept = 1 - frame.loc[[s.group for s in shown]].to_numpy()
    low = max(1e-4, float(kept.min()))
    high = max(float(kept.max()), 2 * low)
    names = [name.removesuffix(".weight") for name in frame.columns]
    few = len(names) <= 30
    with _figure(path, 9, 1.3 + 0.28 * len(shown)) as figure:
        ax = figure.subplots()
        norm = LogNorm(0.5 * low, high)
        image = ax.imshow(kept.clip(low), aspect="auto", cmap="Blues", norm=norm, interpolation="nearest")
        ax.set_yticks(range(len(shown)), [f"{s.label}, {_percent(s.sparsity or 0)}" for s in shown])
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
        bar.set_ticks(ticks, labels=[_percent(round(1 - tick, 6)) for tick in ticks])
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


def run_curves(history: list[Row], title: str, path: Path) -> None:
    """One training run at a glance: loss, accuracy, sparsity and learning rate by epoch."""
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) == 1 else ""
    panels = {"loss": 1.0, "accuracy": 100.0, "sparsity": 100.0, "lr": 1.0}
    names = {"loss": "loss", "accuracy": "accuracy, %", "sparsity": "sparsity, %", "lr": "learning rate"}
    splits = {"train": "#9ca3af", "val": "#e69f00", "test": "#0072b2"}
    with _figure(path, 7.5, 4.6) as figure:
        figure.suptitle(title, fontsize=10, fontweight="bold")
        for ax, (key, scale) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
            for split, color in splits.items():
                if f"{split}_{key}" in history[0]:
                    values = [scale * row[f"{split}_{key}"] for row in history]
                    ax.plot(epochs, values, color=color, label=split, marker=marker)
            if key in history[0]:
                ax.plot(epochs, [scale * row[key] for row in history], color=INK, marker=marker)
            else:
                ax.legend()
            ax.set_title(names[key])
            if key in ("sparsity", "lr"):
                ax.set_xlabel("epoch")
                ax.xaxis.get_major_locator().set_params(integer=True)
        figure.axes[3].set_yscale("log")
