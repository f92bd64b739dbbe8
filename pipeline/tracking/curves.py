"""The picture of a training run that lies beside its numbers in MLflow."""

import csv
from pathlib import Path

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
