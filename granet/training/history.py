"""The record of a run: one row per epoch in history.csv, and what is read off it."""

import csv
from pathlib import Path
from types import TracebackType
from typing import Self

from granet.common.files import made, naming

Row = dict[str, float]

TIME_COLUMNS = ("time_s", "images_per_s")
"""The only columns that differ between two runs of one configuration."""


class HistoryFile:
    """Writes history.csv row by row, so that what is there survives a kill. Accuracies are fractions in [0, 1]."""

    def __init__(self, path: Path) -> None:
        made(path.parent)
        if (
            path.is_file() or path.is_symlink()
        ):  # but never /dev/null, which a process that is not to write gives
            path.unlink()  # where DVC has linked it, writing into it would change DVC's cache
        self._path = path
        self._file = path.open("w", newline="")
        self._writer: csv.DictWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
            self._file.close()

    def write(self, row: Row) -> None:
        """Append one epoch; the first row names the columns."""
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, row, lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)
        with naming(self._path):
            self._file.flush()


def accuracies(history: list[Row], first_final_epoch: int) -> dict[str, float | None]:
    """The three test accuracies of a run, each named for what it is; None where it cannot be told.

    - ``test_accuracy_last``: at the last epoch (the headline);
    - ``test_accuracy_best_val``: at the epoch of best validation accuracy, where data is held out;
    - ``test_accuracy_best_test``: at the epoch of best test accuracy. This is selection on the test set, and what
      the paper reports.

    Both choose among the epochs from ``first_final_epoch`` (counted from 1) on, when the final sparsity is reached:
    before it the network has more weights than its sparsity says.

    >>> epochs = [(1, 0.9, 0.9), (2, 0.7, 0.8), (3, 0.6, 0.2)]
    >>> rows = [{"epoch": e, "test_accuracy": t, "val_accuracy": v} for e, t, v in epochs]
    >>> accuracies(rows, 2)
    {'test_accuracy_last': 0.6, 'test_accuracy_best_val': 0.7, 'test_accuracy_best_test': 0.7}
    """
    final = [row for row in history if row["epoch"] >= first_final_epoch]
    held_out = [row for row in final if "val_accuracy" in row]
    best_val = max(held_out, key=lambda row: row["val_accuracy"], default=None)
    return {
        "test_accuracy_last": history[-1]["test_accuracy"],
        "test_accuracy_best_val": best_val["test_accuracy"] if best_val else None,
        "test_accuracy_best_test": max((row["test_accuracy"] for row in final), default=None),
    }


def describe(row: Row, epochs: int) -> str:
    """One epoch as a line of text."""
    scores = "".join(
        f"  {split} {row[f'{split}_accuracy']:6.2%}"
        for split in ("train", "val", "test")
        if f"{split}_accuracy" in row
    )
    return (
        f"epoch {int(row['epoch']):3d}/{epochs}  loss {row['train_loss']:.4f}{scores}"
        f"  sparsity {row['sparsity']:6.2%}"
        f"  {row['images_per_s']:,.0f} images/s"
    )
