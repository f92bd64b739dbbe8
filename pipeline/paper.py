"""The paper's rows, numbers and tables (paper.yaml): which runs stand beside which, and where our protocol departs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.cells import Cell
from pipeline.params import Params, read_yaml
from pipeline.results import Results, once
from pipeline.wording import title

FILE = Path(__file__).with_name("paper.yaml")
NAMES = {
    "epochs": "epochs",
    "batch_size": "batch size",
    "lr": "learning rate",
    "lr_drops": "learning-rate drops",
    "lr_factor": "factor of a drop",
    "momentum": "momentum",
    "weight_decay": "weight decay",
}


@dataclass(frozen=True)
class Published:
    """A number in print: test accuracy in [0, 1]. ``std`` is None where the paper quotes it from elsewhere."""

    mean: float
    std: float | None


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
        columns = _paper()["columns"]
        if cell.model not in self.numbers or column not in columns:
            return None
        return _number(self.numbers[cell.model][columns.index(column)])

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


@cache
def _paper() -> dict[str, Any]:
    return read_yaml(FILE)


@cache
def rows() -> dict[str, Row]:
    """Every row by its id."""
    found = {}
    for name, values in _paper()["rows"].items():
        own = dict(values)
        stage, section, rewind = own.pop("stage", "sparse"), own.pop("section"), own.pop("rewind", None)
        found[name] = Row(name, stage, section, rewind, own)
    return found


@cache
def layouts() -> list[Layout]:
    """The tables that share their columns: 2, 6 and 9."""
    return [Layout(name, **values) for name, values in _paper()["tables"].items()]


def columns() -> dict[str, list[float]]:
    """The columns of those tables: data set -> sparsities."""
    found: dict[str, list[float]] = {}
    for dataset, sparsity in _paper()["columns"]:
        found.setdefault(dataset, []).append(sparsity)
    return found


def models() -> list[str]:
    """The models of those tables."""
    return list(dict.fromkeys(model for row in rows().values() for model in row.numbers))


def settings() -> list[tuple[str, str]]:
    """The rows of Table 1: (model, data set)."""
    return [(model, dataset) for model, own in _paper()["dense"].items() for dataset in own]


def training() -> dict[str, Any]:
    """The values of the train section in print (Table 1)."""
    return _paper()["protocol"]["train"]


def published(cell: Cell, section: Mapping[str, Any]) -> Published | None:
    """What the paper has for a cell (its seed aside) whose method section has these values; None where nothing.

    The reinitialised networks are in print as a figure only.
    """
    if cell.stage == "dense":
        return _number(_paper()["dense"].get(cell.model, {}).get(cell.dataset))
    for row in rows().values():
        if (row.stage, row.rewind) == (cell.stage, cell.rewind) and row.is_section(section):
            return row.published(cell)
    return None


def _number(value: float | list[float] | None) -> Published | None:
    """From percent, as printed, to a fraction."""
    if value is None:
        return None
    mean, std = value if isinstance(value, list) else (value, None)
    return Published(mean / 100, None if std is None else std / 100)


def differences(results: Results, dataset: str) -> list[str]:
    """How the runs on a data set depart from the paper's protocol, one phrase each; the number of seeds aside."""
    protocol, params, runs = _paper()["protocol"], results.params, results.on(dataset)
    if runs.empty:
        return []
    found = []
    for key, theirs in protocol["train"].items():
        ours = params.train.total_epochs if key == "epochs" else getattr(params.train, key)
        if ours != theirs:
            fewer = key == "epochs" and ours < theirs
            found.append(
                f"{ours} of {theirs} epochs" if fewer else f"{NAMES[key]} {ours} instead of {theirs}"
            )
    for split, full in (("train", protocol["num_train"].get(dataset)), ("test", protocol["num_test"])):
        ours = once(runs[f"num_{split}"].tolist(), "{:,}".format)
        if full is not None and ours != f"{full:,}":
            found.append(f"{ours} of {full:,} {'training' if split == 'train' else split} images")
    steps_per_epoch = -(-int(runs["num_train"].iloc[0]) // params.train.batch_size)
    intervals = list(dict.fromkeys(_intervals(params, steps_per_epoch)))
    if intervals and intervals != [protocol["update_interval"]]:
        ours = " or ".join(f"{interval:,}" for interval in intervals)
        steps = "step" if intervals == [1] else f"{ours} steps"
        found.append(f"masks updated every {steps} instead of {protocol['update_interval']:,}")
    return found


def _intervals(params: Params, steps_per_epoch: int) -> list[int]:
    """Steps between mask updates of those of the paper's own rows that the grid asks for."""
    found = []
    for row in rows().values():
        section = row.find(params)
        if row.numbers and not row.quoted and section is not None:
            method = params.method(section, params.grid.sparsities[0], steps_per_epoch)
            found += [method.update_interval] if method.update_interval else []
    return found


def seeds_missing(params: Params) -> list[str]:
    """The same for the number of seeds."""
    asked, theirs = len(params.grid.seeds), _paper()["protocol"]["seeds"]
    return [f"{asked} of {theirs} seeds"] if asked < theirs else []
