"""Published numbers of other papers, with the protocol behind each (comparators.csv), and where it differs from ours.

A field that nobody has read in a source is empty. Numbers stand as they were read: accuracies in percent, FLOPs as the
source counts them. Protocols are those of the public configurations.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from granet.data import DATASETS
from pipeline.report.results import Results

NEAR = 0.015
"""So far from a sparsity of the grid, a number still stands beside it, marked."""
PROTOCOL = ("split", "padding", "epochs", "batch", "schedule", "label_smoothing", "selection", "seeds")


@dataclass(frozen=True)
class Comparator:
    """A line of comparators.csv; ``sparsity`` 0: the dense network. ``read``: where its numbers were read.

    ``selection`` of the epoch: last, best test or best validation. ``std``: over the seeds.
    """

    paper: str
    method: str
    network: str
    dataset: str
    split: str
    padding: str
    epochs: str
    batch: str
    schedule: str
    label_smoothing: str
    selection: str
    seeds: str
    sparsity: str
    distribution: str
    accuracy: str
    std: str
    training_flops: str
    inference_flops: str
    source: str
    read: str
    note: str

    @property
    def name(self) -> str:
        """RigL (ERK)."""
        return f"{self.method} ({self.distribution})" if self.distribution else self.method

    def stands_at(self, sparsity: float) -> bool:
        """Whether it is to be seen beside ours at a sparsity of the grid."""
        return abs(float(self.sparsity) - sparsity) <= NEAR

    def differs(self, ours: Mapping[str, str]) -> dict[str, bool | None]:
        """For each field of the protocol that ours has whether it differs; None: it is not known."""
        fields = {key: getattr(self, key) for key in PROTOCOL if ours[key]}
        return {key: (value != ours[key]) if value else None for key, value in fields.items()}


@cache
def comparators() -> list[Comparator]:
    """All of them, in the order of the file."""
    with Path(__file__).with_name("comparators.csv").open(newline="") as file:
        return [Comparator(**line) for line in csv.DictReader(file)]


def of(dataset: str, model: str) -> list[Comparator]:
    """Those of a network on a data set."""
    return [one for one in comparators() if (one.dataset, one.network) == (dataset, model)]


def our_protocol(results: Results, dataset: str) -> dict[str, str]:
    """The fields of the protocol as our runs on a data set have them; empty: it has none (padding)."""
    train, run = results.params.train, results.on(dataset).iloc[0]
    data = DATASETS[dataset]
    return {
        "split": f"{run['num_train']}/{run['num_val']}",
        "padding": f"{data.mode} {data.padding}" if data.padding else "",
        "epochs": str(train.total_epochs),
        "batch": str(train.batch_size),
        "schedule": train.lr_schedule,
        "label_smoothing": f"{train.label_smoothing:g}",
        "selection": "last",
        "seeds": str(len(results.params.grid.seeds)),
    }
