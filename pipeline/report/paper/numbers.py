"""What paper.yaml has in print, in the long form of our own results: one record per number.

Rows, records and tables come in two families, that of the CIFAR experiments and that of ImageNet. A metric bears the
name of its column in `pipeline.report.results`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.params.files import read_yaml
from pipeline.params.schema import Params
from pipeline.report.names import resolved, variant
from pipeline.training.cell import Group

CIFAR, IMAGENET = "cifar", "imagenet"
FAMILIES = (CIFAR, IMAGENET)
FILE = Path(__file__).with_name("paper.yaml")
ACCURACY, TRAINING, INFERENCE = "last", "training_ratio", "inference_ratio"
FREE = {CIFAR: ("update_interval",), IMAGENET: ("update_interval", "tf")}
"""Values of a section that do not decide whether it is a row: the report says how they depart from the protocol."""


@dataclass(frozen=True)
class PrintedRow:
    """A row of a printed table, or a bar of a figure: a stage and the values of its method section."""

    id: str
    family: str
    stage: str
    section: Mapping[str, Any]
    rewind: str | None
    quoted: bool
    """Whether the paper quotes it from elsewhere."""

    def is_section(self, values: Mapping[str, Any]) -> bool:
        """Whether a method section is this row: all its resolved values are the row's, but for those of `FREE`.

        A section whose values have a name of their own (RigL-ITOP) is not the row of the plain method.
        """
        return self._decisive(values) == self._decisive(self.section)

    def _decisive(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        free = FREE[self.family]
        named = values if self.family == CIFAR else {k: v for k, v in values.items() if k not in free}
        return {key: value for key, value in resolved(values).items() if key not in free}, variant(named)

    def find(self, params: Params) -> str | None:
        """The section of the grid that is this row; None where the grid does not ask for it."""
        grid = params.grid
        if self.rewind is not None and self.rewind not in grid.rewinds:
            return None
        sections = getattr(grid, {"sparse": "methods"}.get(self.stage, self.stage))
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
    std: float | None = None


@dataclass(frozen=True)
class Layout:
    """A printed table: its groups of rows under their headings, and its columns.

    ``columns``: data set -> sparsities. ``metrics``: accuracy alone, or with FLOPs. ``stacked``: a block of rows per
    sparsity instead of columns. ``against``: the row that the others are tested against.
    """

    id: str
    title: str
    family: str
    groups: Mapping[str, list[str]]
    columns: Mapping[str, list[float]]
    metrics: tuple[str, ...] = (ACCURACY,)
    stacked: bool = False
    against: str = ""
    notes: Sequence[str] = ()
    """What has to be said of its numbers."""

    @property
    def row_ids(self) -> list[str]:
        """The ids of all its rows."""
        return [row for group in self.groups.values() for row in group]

    @property
    def rows(self) -> list[PrintedRow]:
        """All its rows, in the order of print."""
        return [rows(self.family)[name] for name in self.row_ids]


@cache
def in_print() -> dict[str, Any]:
    """All of paper.yaml."""
    return read_yaml(FILE)


def family_of(dataset: str) -> str:
    """Where results on a data set stand."""
    return IMAGENET if dataset == IMAGENET else CIFAR


@cache
def rows(family: str) -> dict[str, PrintedRow]:
    """Every row of a family by its id, the dense model's first."""
    dense = PrintedRow("dense", family, "dense", {"method": "dense"}, rewind=None, quoted=False)
    printed = in_print() if family == CIFAR else in_print()[IMAGENET]
    return {"dense": dense} | {
        name: PrintedRow(
            name,
            family,
            row.get("stage", "sparse"),
            row["section"],
            row.get("rewind"),
            not row.get("own", False),
        )
        for name, row in printed["rows"].items()
    }


@cache
def records() -> dict[tuple[str, str, str, float | None, str], Record]:
    """Every number in print, by (row's id, data set, model, sparsity, metric)."""
    every = [*_of_cifar(), *_of_imagenet()]
    return {(one.row.id, one.dataset, one.model, one.sparsity, one.metric): one for one in every}


def _of_cifar() -> Iterator[Record]:
    """Tables 1, 2, 6 and 9."""
    by_id = rows(CIFAR)
    for model, datasets in in_print()["dense"].items():
        for dataset, value in datasets.items():
            yield _accuracy(by_id["dense"], dataset, model, None, value)
    for name, row in in_print()["rows"].items():
        for model, values in row.get("numbers", {}).items():
            for (dataset, sparsity), value in zip(in_print()["columns"], values, strict=True):
                yield _accuracy(by_id[name], dataset, model, sparsity, value)


def _of_imagenet() -> Iterator[Record]:
    """Tables 3, 4, 5 and 8. FLOPs are ratios to the dense network's, but for its own."""
    printed, by_id = in_print()[IMAGENET], rows(IMAGENET)
    dataset, model, dense = printed["dataset"], printed["model"], printed["dense"]
    yield _accuracy(by_id["dense"], dataset, model, None, dense["top1"])
    for metric in ("training_dense", "inference_dense"):
        yield Record(by_id["dense"], dataset, model, None, metric, dense[metric])
    for name, row in printed["rows"].items():
        for sparsity, (top1, training, inference) in row["numbers"].items():
            yield _accuracy(by_id[name], dataset, model, sparsity, top1)
            for metric, value in ((TRAINING, training), (INFERENCE, inference)):
                if value is not None:
                    yield Record(by_id[name], dataset, model, sparsity, metric, value)


def _accuracy(
    row: PrintedRow, dataset: str, model: str, sparsity: float | None, value: float | list[float]
) -> Record:
    """From percent, as printed: [mean, std], or the mean alone."""
    mean, std = value if isinstance(value, list) else (value, None)
    return Record(row, dataset, model, sparsity, ACCURACY, mean / 100, None if std is None else std / 100)


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


@cache
def layouts(family: str) -> list[Layout]:
    """The printed tables of a family: 2, 6 and 9, or 3, 4, 5 and 8."""
    if family == CIFAR:
        return [
            Layout(name, family=family, columns=columns(), **values)
            for name, values in in_print()["tables"].items()
        ]
    metrics = (ACCURACY, TRAINING, INFERENCE)
    return [
        Layout(
            name,
            family=family,
            columns={IMAGENET: values["sparsities"]},
            metrics=metrics,
            **{key: value for key, value in values.items() if key != "sparsities"},
        )
        for name, values in in_print()[IMAGENET]["tables"].items()
    ]


def models(family: str = CIFAR) -> list[str]:
    """The models of a family's tables but the first: Table 1 has one more."""
    return list(
        dict.fromkeys(one.model for one in records().values() if one.row.family == family and one.sparsity)
    )


def columns() -> dict[str, list[float]]:
    """The columns of the CIFAR tables: data set -> sparsities."""
    pairs = in_print()["columns"]
    return {dataset: [s for name, s in pairs if name == dataset] for dataset, _ in pairs}
