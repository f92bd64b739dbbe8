"""One training run as a picture."""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (pandas' types are wider than the values of a frame whose columns are known)

from pathlib import Path

from granet.training.history import Row
from pipeline.drawing import INK, drawn


def run_curves(history: list[Row], title: str, path: Path) -> None:
    """One training run at a glance: loss, accuracy, sparsity and learning rate by epoch."""
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) == 1 else ""
    panels = {"loss": 1.0, "accuracy": 100.0, "sparsity": 100.0, "lr": 1.0}
    names = {"loss": "loss", "accuracy": "accuracy, %", "sparsity": "sparsity, %", "lr": "learning rate"}
    splits = {"train": "#9ca3af", "val": "#e69f00", "test": "#0072b2"}
    with drawn(path, 7.5, 4.6) as figure:
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
