"""The pictures of a training run that lie beside its numbers in MLflow."""

import csv
from pathlib import Path

from granet.training.diagnostics import ALL
from pipeline.drawing import INK, drawn


def draw(history_csv: Path, title: str, path: Path) -> None:
    """One training run at a glance: loss, accuracy, sparsity and learning rate by epoch."""
    with history_csv.open() as file:
        rows = [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(epochs) == 1 else ""
    panels = {"loss": "loss", "accuracy": "accuracy, %", "sparsity": "sparsity, %", "lr": "learning rate"}
    splits = {"train": "#9ca3af", "val": "#e69f00", "test": "#0072b2"}
    with drawn(path, 7.5, 4.6) as figure:
        figure.suptitle(title, fontsize=10, fontweight="bold")
        for ax, (key, name) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
            scale = 100.0 if "%" in name else 1.0
            for split, color in splits.items():
                if f"{split}_{key}" in rows[0]:
                    values = [scale * row[f"{split}_{key}"] for row in rows]
                    ax.plot(epochs, values, color=color, label=split, marker=marker)
            if key in rows[0]:
                ax.plot(epochs, [scale * row[key] for row in rows], color=INK, marker=marker)
                ax.set_xlabel("epoch")
                ax.xaxis.get_major_locator().set_params(integer=True)
            else:
                ax.legend()
            ax.set_title(name)
        figure.axes[3].set_yscale("log")


def draw_layers(diagnostics_csv: Path, title: str, path: Path) -> bool:
    """Sparsity of every layer after every epoch, layers from input to output; whether the run has any such row.

    The colour is logarithmic in the share of weights kept.
    """
    with diagnostics_csv.open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] != ALL]
    if not rows:
        return False
    layers, epochs = (list(dict.fromkeys(row[key] for row in rows)) for key in ("layer", "epoch"))
    kept = [[1.0] * len(epochs) for _ in layers]
    for row in rows:
        kept[layers.index(row["layer"])][epochs.index(row["epoch"])] = max(1e-4, 1 - float(row["sparsity"]))
    low = min(0.5, *map(min, kept))
    with drawn(path, 7.5, 1.3 + 0.16 * len(layers)) as figure:
        figure.suptitle(title, fontsize=10, fontweight="bold")
        ax = figure.subplots()
        image = ax.imshow(
            kept, aspect="auto", cmap="Blues", norm="log", vmin=low, vmax=1, interpolation="nearest"
        )
        image.set_extent((0.5, len(epochs) + 0.5, len(layers) - 0.5, -0.5))
        ax.set_yticks(
            range(len(layers)), [name.removesuffix(".weight").replace("$", r"\$") for name in layers]
        )
        ax.tick_params(axis="y", length=0, labelsize=6.5)
        ax.locator_params(axis="x", integer=True)
        ax.set_xlabel("epoch")
        ax.grid(visible=False)
        bar = figure.colorbar(image, ax=ax, pad=0.01)
        ticks = [tick for tick in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001) if tick >= low]
        bar.set_ticks(ticks, labels=[f"{100 * (1 - tick):.4g} %" for tick in ticks])
        bar.minorticks_off()
        bar.set_label("sparsity", fontsize=8)
    return True
