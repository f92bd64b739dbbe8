"""The paper's rows, numbers and tables, as paper.yaml has them: on CIFAR, and with FLOPs on ImageNet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.params.files import Params, read_yaml
from pipeline.report.words import title
from pipeline.training.cell import Cell

IMAGENET = "imagenet"
FILE = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True)
class Published:
    """A number in print: test accuracy in [0, 1]. ``std`` is None where there is none in print."""

    mean: float
    std: float | None
    quoted: bool = False
    """Whether the paper quotes it from elsewhere."""


@dataclass(frozen=True)
class Row:
    """A row of a printed table, or a bar of Figure 4: a stage and the values of its method section."""

    id: str
    stage: str
    section: Mapping[str, Any]
    rewind: str | None
    numbers: Mapping[str, list[Any]]
    """Model -> percent by column of the table; empty for a figure."""

    def published(self, cell: Cell) -> Published | None:
        """The row's number for a cell's model, data set and sparsity."""
        column = [cell.dataset, cell.sparsity]
        columns = in_print()["columns"]
        if cell.model not in self.numbers or column not in columns:
            return None
        return number(self.numbers[cell.model][columns.index(column)])

    @property
    def quoted(self) -> bool:
        """Whether the paper quotes it from elsewhere."""
        return any(not isinstance(value, list) for values in self.numbers.values() for value in values)

    def is_section(self, section: Mapping[str, Any]) -> bool:
        """Whether a method section is this row: the same values, the update interval aside."""
        return title(section) == title(self.section)

    def find(self, params: Params) -> str | None:
        """The section of the grid that is this row; None where the grid does not ask for it."""
        grid = params.grid
        if self.rewind is not None and self.rewind not in grid.rewinds:
            return None
        asked = getattr(grid, {"sparse": "methods"}.get(self.stage, self.stage))
        found = [name for name in asked if self.is_section(params.methods[name])]
        return self.id if self.id in found else next(iter(found), None)

    def cell(self, section: str, dataset: str, model: str, sparsity: float) -> Cell:
        """The runs of a section that stand in this row; the seed says nothing."""
        return Cell(self.stage, dataset, model, 0, section, sparsity, self.rewind)


@dataclass(frozen=True)
class FlopsRow(Row):
    """A row of Tables 3, 4, 5 and 8. ``printed``: sparsity -> top-1 in percent, training and test FLOPs as ratios."""

    printed: Mapping[float, list[Any]]
    own: bool

    @property
    def quoted(self) -> bool:
        """Whether the paper quotes it from elsewhere."""
        return not self.own

    def is_section(self, section: Mapping[str, Any]) -> bool:
        """Whether a method section is this row, wherever its interval and the end of its pruning are."""
        times = ("update_interval", "tf")
        mine, other = (
            {key: value for key, value in values.items() if key not in times}
            for values in (self.section, section)
        )
        return title(mine) == title(other)

    def published(self, cell: Cell) -> Published | None:
        """The row's accuracy for a cell's model, data set and sparsity."""
        return number(self._fields(cell)[0], quoted=self.quoted)

    def flops(self, cell: Cell) -> tuple[float | None, float | None]:
        """Its training and test FLOPs in print, as ratios to the dense network's."""
        _, training, inference = self._fields(cell)
        return training, inference

    def _fields(self, cell: Cell) -> list[Any]:
        in_print = is_imagenet(cell) and cell.sparsity in self.printed
        return self.printed[cell.sparsity] if in_print and cell.sparsity else [None] * 3


@dataclass(frozen=True)
class Layout:
    """A printed table: its groups of rows under their headings."""

    id: str
    title: str
    against: str
    groups: Mapping[str, list[str]]

    @property
    def rows(self) -> list[str]:
        """The ids of all its rows."""
        return [row for group in self.groups.values() for row in group]


@dataclass(frozen=True)
class FlopsLayout:
    """A printed table with FLOPs: three columns per sparsity, or a block of rows per sparsity where it is stacked."""

    id: str
    title: str
    sparsities: list[float]
    groups: Mapping[str, list[str]]
    stacked: bool = False
    notes: Sequence[str] = ()
    """What has to be said of its numbers."""

    @property
    def rows(self) -> list[str]:
        """The ids of all its rows."""
        return [row for group in self.groups.values() for row in group]


@cache
def in_print() -> dict[str, Any]:
    """All of paper.yaml."""
    return read_yaml(FILE)


@cache
def rows() -> dict[str, Row]:
    """Every row by its id."""
    found = {}
    for name, values in in_print()["rows"].items():
        own = dict(values)
        stage, section, rewind = own.pop("stage", "sparse"), own.pop("section"), own.pop("rewind", None)
        found[name] = Row(name, stage, section, rewind, own)
    return found


@cache
def layouts() -> list[Layout]:
    """The tables that share their columns: 2, 6 and 9."""
    return [Layout(name, **values) for name, values in in_print()["tables"].items()]


@cache
def flops_rows() -> dict[str, FlopsRow]:
    """Every row of the ImageNet tables by its id."""
    return {
        name: FlopsRow(
            name, "sparse", own["section"], None, {}, printed=own["numbers"], own=own.get("own", False)
        )
        for name, own in in_print()[IMAGENET]["rows"].items()
    }


@cache
def flops_layouts() -> list[FlopsLayout]:
    """The ImageNet tables: 3, 4, 5 and 8."""
    return [FlopsLayout(name, **values) for name, values in in_print()[IMAGENET]["tables"].items()]


def is_imagenet(cell: Cell) -> bool:
    """Whether a cell is of the network and the data set of those tables."""
    own = in_print()[IMAGENET]
    return (cell.dataset, cell.model) == (own["dataset"], own["model"])


def columns() -> dict[str, list[float]]:
    """The columns of those tables: data set -> sparsities."""
    found: dict[str, list[float]] = {}
    for dataset, sparsity in in_print()["columns"]:
        found.setdefault(dataset, []).append(sparsity)
    return found


def number(value: float | list[float] | None, quoted: bool | None = None) -> Published | None:
    """From percent, as printed, to a fraction. On CIFAR, what has no spread is quoted."""
    if value is None:
        return None
    mean, std = value if isinstance(value, list) else (value, None)
    is_quoted = std is None if quoted is None else quoted
    return Published(mean / 100, None if std is None else std / 100, is_quoted)
