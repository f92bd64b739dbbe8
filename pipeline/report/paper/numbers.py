"""What paper.yaml and numbers.csv have in print, in the long form of our own results: one record per number.

Rows and tables come in two families, that of the CIFAR experiments and that of ImageNet. A metric bears the name of
its column in `pipeline.report.results`.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.params.files import read_yaml
from pipeline.params.schema import Params
from pipeline.report.names import resolved, variant
from pipeline.training.cell import Group

CIFAR, IMAGENET = "cifar", "imagenet"
ACCURACY, TRAINING, INFERENCE = "last", "training_ratio", "inference_ratio"


@dataclass(frozen=True)
class PrintedRow:
    """A row of a printed table, or a bar of a figure: a stage and the values of its method section."""

    id: str
    family: str
    section: Mapping[str, Any]
    stage: str = "sparse"
    rewind: str | None = None
    quoted: bool = False
    """Whether the paper quotes it from elsewhere."""

    def is_section(self, values: Mapping[str, Any]) -> bool:
        """Whether a method section is this row: all its resolved values are the row's, but for its family's free ones.

        A section whose values have a name of their own (RigL-ITOP) is not the row of the plain method.
        """
        return self._decisive(values) == self._decisive(self.section)

    def _decisive(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        free = in_print()[self.family]["free"]
        named = values if self.family == CIFAR else {k: v for k, v in values.items() if k not in free}
        return {key: value for key, value in resolved(values).items() if key not in free}, variant(named)

    def find(self, params: Params) -> str | None:
        """The section of the grid that is this row; None where the grid does not ask for it."""
        grid = params.grid
        if self.rewind is not None and self.rewind not in grid.rewinds:
            return None
        sections = grid.methods if self.stage == "sparse" else getattr(grid, self.stage)
        equal = [name for name in sections if self.is_section(params.methods[name])]
        return self.id if self.id in equal else next(iter(equal), None)

    def group(self, section: str | None, dataset: str, model: str, sparsity: float | None) -> Group:
        """The runs of a section that stand in this row."""
        return Group(self.stage, dataset, model, section, sparsity, self.rewind)


@dataclass(frozen=True)
class Record:
    """One number in print: of a row, for a model on a data set at a final sparsity. Accuracies lie in [0, 1]."""

    row: PrintedRow
    dataset: str
    model: str
    sparsity: float | None
    metric: str
    mean: float
    std: float | None


@dataclass(frozen=True)
class Layout:
    """A printed table: its groups of rows under their headings, and its columns, data set -> sparsities.

    ``metrics``: accuracy alone, or with FLOPs. ``stacked``: a block of rows per sparsity instead of columns.
    ``against``: the row that the others are tested against. ``notes``: what has to be said of its numbers.
    """

    id: str
    family: str
    title: str
    groups: Mapping[str, list[str]]
    columns: Mapping[str, list[float]]
    metrics: Sequence[str] = (ACCURACY,)
    stacked: bool = False
    against: str = ""
    notes: Sequence[str] = ()

    @property
    def row_ids(self) -> list[str]:
        """The ids of all its rows, in the order of print."""
        return [row for group in self.groups.values() for row in group]

    @property
    def rows(self) -> list[PrintedRow]:
        """All its rows."""
        return [rows(self.family)[name] for name in self.row_ids]


@cache
def in_print() -> dict[str, Any]:
    """All of paper.yaml."""
    return read_yaml(Path(__file__).with_name("paper.yaml"))


def family_of(dataset: str) -> str:
    """Where results on a data set stand."""
    return IMAGENET if dataset == IMAGENET else CIFAR


@cache
def rows(family: str) -> dict[str, PrintedRow]:
    """Every row of a family by its id, the dense model's first."""
    return {name: PrintedRow(name, family, **row) for name, row in in_print()[family]["rows"].items()}


@cache
def layouts(family: str) -> list[Layout]:
    """The printed tables of a family: 2, 6 and 9, or 3, 4, 5 and 8."""
    return [Layout(name, family, **values) for name, values in in_print()[family]["tables"].items()]


@cache
def records() -> dict[tuple[str, str, str, float | None, str], Record]:
    """Every number in print, by (row's id, data set, model, sparsity, metric)."""
    with Path(__file__).with_name("numbers.csv").open(newline="") as file:
        _, *lines = csv.reader(file)
    found = {}
    for name, dataset, model, text, metric, mean, std in lines:
        row, sparsity = rows(family_of(dataset))[name], float(text) if text else None
        unit = 100 if metric == ACCURACY else 1
        numbers = float(mean) / unit, float(std) / unit if std else None
        found[name, dataset, model, sparsity, metric] = Record(
            row, dataset, model, sparsity, metric, *numbers
        )
    return found


def printed(row: PrintedRow, group: Group, metric: str = ACCURACY) -> Record | None:
    """What the paper has in a row for a group's data set, model and sparsity; None where nothing."""
    if row.family != family_of(group.dataset):
        return None
    return records().get((row.id, group.dataset, group.model, group.sparsity, metric))


def published(group: Group, values: Mapping[str, Any]) -> Record | None:
    """The accuracy in print for a group whose method section has these values; None where there is none.

    The reinitialised networks are in print as a figure only.
    """
    for row in rows(family_of(group.dataset)).values():
        same_stage = (row.stage, row.rewind) == (group.stage, group.rewind)
        if same_stage and (row.stage == "dense" or row.is_section(values)):
            return printed(row, group)
    return None


def models(family: str = CIFAR) -> list[str]:
    """The models of a family's tables but the first: Table 1 has one more."""
    found = [one.model for one in records().values() if one.row.family == family and one.sparsity]
    return list(dict.fromkeys(found))


def columns() -> dict[str, list[float]]:
    """The columns of the CIFAR tables: data set -> sparsities."""
    return dict(layouts(CIFAR)[0].columns)
