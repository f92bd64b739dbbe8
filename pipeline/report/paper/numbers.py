"""What paper.yaml and numbers.csv have in print: one record per number, and the tables, of which a grid shows some.

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
from pipeline.report.names import by_family, resolved, variant
from pipeline.training.cell import Group

CIFAR, IMAGENET = "cifar", "imagenet"
ACCURACY, TRAINING, INFERENCE = "last", "training_ratio", "inference_ratio"


@dataclass(frozen=True)
class PrintedRow:
    """A row of a printed table, or a bar of a figure: a stage and the values of its method section, own or quoted."""

    id: str
    family: str
    section: Mapping[str, Any]
    stage: str = "sparse"
    rewind: str | None = None
    quoted: bool = False

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
    """One number in print. Accuracies lie in [0, 1]."""

    row: PrintedRow
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
    for name, dataset, model, sparsity, metric, mean, std in lines:
        row, unit = rows(family_of(dataset))[name], 100 if metric == ACCURACY else 1
        key = name, dataset, model, float(sparsity) if sparsity else None, metric
        found[key] = Record(row, float(mean) / unit, float(std) / unit if std else None)
    return found


@cache
def table10(column: str) -> dict[str, float]:
    """The layer sparsities of one of Table 10's quoted columns: ResNet-50 on ImageNet at 90 %, rounded as published.

    str, erk, snfs, vd or gs, as published with STR (Kusupati et al. 2020). GraNet's own two columns are not here.
    """
    with Path(__file__).with_name("table10.csv").open(newline="") as file:
        return {line["layer"]: float(line[column]) / 100 for line in csv.DictReader(file)}


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
    found = [
        model for _, dataset, model, sparsity, _ in records() if sparsity and family_of(dataset) == family
    ]
    return list(dict.fromkeys(found))


def columns(family: str = CIFAR) -> dict[str, list[float]]:
    """The columns of a family's tables: data set -> sparsities."""
    found: dict[str, list[float]] = {}
    for layout in layouts(family):
        for dataset, sparsities in layout.columns.items():
            found[dataset] = sorted({*found.get(dataset, []), *sparsities})
    return found


FURTHER = Layout("further", CIFAR, "Methods and settings outside the paper's tables", {}, {})


def _rows_of_grid(family: str, params: Params) -> dict[str, set[str]]:
    """Table -> its rows that the grid has."""
    return {layout.id: {row.id for row in layout.rows if row.find(params)} for layout in layouts(family)}


def of_cifar(params: Params) -> list[Layout]:
    """Those on CIFAR with rows in the grid, but for one whose rows in the grid all stand in another one."""
    if set(params.grid.datasets) == {IMAGENET}:
        return []
    in_grid, found = _rows_of_grid(CIFAR, params), {}
    for layout in layouts(CIFAR):
        own = in_grid[layout.id]
        if own and not any(own < other for other in in_grid.values()):
            found.setdefault(frozenset(own), layout)  # the first of those with the same rows
    return list(found.values())


def of_imagenet(params: Params) -> list[Layout]:
    """Those on ImageNet with all rows in the grid.

    Not so a table whose rows all stand in another one that is shown, at all sparsities of the grid. Where some table
    has more rows of the grid than those, though not all of its rows: that one alone; of several the one with more of
    the grid's sparsities, then the shortest.
    """
    if IMAGENET not in params.grid.datasets:
        return []
    sparsities, in_grid = set(params.grid.sparsities), _rows_of_grid(IMAGENET, params)
    complete = [layout for layout in layouts(IMAGENET) if in_grid[layout.id] == set(layout.row_ids)]

    def worth(layout: Layout) -> tuple[int, int, int]:
        num_shared = len(sparsities.intersection(layout.columns[IMAGENET]))
        return len(in_grid[layout.id]), num_shared, -len(layout.row_ids)

    most = max(layouts(IMAGENET), key=worth)
    if len(in_grid[most.id]) > len(set().union(*(layout.row_ids for layout in complete))):
        return [most]
    wide = [in_grid[layout.id] for layout in complete if sparsities <= set(layout.columns[IMAGENET])]
    return [layout for layout in complete if not any(in_grid[layout.id] < other for other in wide)]


def further(params: Params) -> list[tuple[str, str | None, str | None]]:
    """(stage, section, rewind) that the grid has and no table that is shown, in the order of Table 2."""
    grid, places = params.grid, []
    shown = [of_imagenet(params)] if IMAGENET in grid.datasets else []
    shown += [of_cifar(params)] if set(grid.datasets) != {IMAGENET} else []
    for tables in shown:
        places.append({(row.stage, row.find(params), row.rewind) for one in tables for row in one.rows})
    wanted = [(params.stage_of(section), section, None) for section in by_family(params)]
    wanted += [("retrain", section, rewind) for section in grid.retrain for rewind in grid.rewinds]
    return [place for place in wanted if place not in set.intersection(*places)]
