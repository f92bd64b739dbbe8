"""The paper's Tables 2, 6 and 9 in its own layout, ours beside theirs; and what the grid has beyond all its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.params.files import Params
from pipeline.report import paper
from pipeline.report.paper.protocol import IMAGENET, Layout, Row
from pipeline.report.results import Results
from pipeline.report.tables.fields import Line, Number, Table, line, ours, printed_text, theirs
from pipeline.report.tables.printed_imagenet import asked as asked_of_imagenet
from pipeline.report.words import (
    DATASET_NAMES,
    FAMILY_NAMES,
    MODEL_NAMES,
    REWIND_NAMES,
    by_family,
    family,
    labels,
    short_percent,
    stage_of,
    title,
)
from pipeline.training.cell import Cell

FURTHER = Layout("further", "Methods and settings outside the paper's tables", "", {})


def asked(params: Params) -> list[Layout]:
    """The printed tables with rows in the grid, without those whose rows in the grid all stand in another one.

    ImageNet has tables of its own.
    """
    if not _datasets(params):
        return []
    layouts = paper.layouts()
    own = [{row for row in layout.rows if paper.rows()[row].find(params)} for layout in layouts]
    return [
        layout
        for index, layout in enumerate(layouts)
        if own[index] and own[index] not in own[:index] and not any(own[index] < other for other in own)
    ]


def further(params: Params) -> list[tuple[str, str, str | None]]:
    """(stage, section, rewind) of what the grid asks for and no table that is shown has, in the order of Table 2."""
    rows = [paper.rows()[row] for layout in asked(params) for row in layout.rows]
    others = [paper.flops_rows()[row] for layout in asked_of_imagenet(params) for row in layout.rows]
    taken, also = ({(row.stage, row.find(params), row.rewind) for row in own} for own in (rows, others))
    if IMAGENET in params.grid.datasets:
        taken = taken & also if _datasets(params) else also
    wanted = [(stage_of(params, section), section, None) for section in by_family(params)]
    wanted += [("retrain", m, rewind) for m in params.grid.retrain for rewind in params.grid.rewinds]
    return [cell for cell in wanted if cell not in taken]


def _datasets(params: Params) -> list[str]:
    """The data sets of the grid that may stand in these tables."""
    return [dataset for dataset in params.grid.datasets if dataset != IMAGENET]


def row_label(params: Params, row: Row) -> str:
    """A row's name: that of its section where the grid has one."""
    if row.rewind:
        return REWIND_NAMES[row.rewind]
    section = row.find(params)
    return labels(params)[section] if section else title(row.section)


@dataclass(frozen=True)
class ModelRows:
    """The rows of a table for one model."""

    results: Results
    layout: Layout
    model: str

    @property
    def name(self) -> str:
        """The model as a reader knows it."""
        return MODEL_NAMES.get(self.model, self.model)

    @property
    def in_paper(self) -> bool:
        """Whether the table is in print for this model and a data set of the grid."""
        rows = [paper.rows()[row] for row in self.layout.rows]
        shared = set(paper.columns()) & set(self.results.params.grid.datasets)
        return bool(shared) and any(self.model in row.numbers for row in rows)

    @property
    def stands_in(self) -> str:
        """What the printed table does not have; empty where it has it, or where there is no such table."""
        if self.in_paper or not self.layout.groups:
            return ""
        datasets = ", ".join(DATASET_NAMES.get(name, name) for name in self.results.params.grid.datasets)
        return f"{self.name} on {datasets}" if self.model in paper.models() else self.name

    @property
    def columns(self) -> dict[str, list[float]]:
        """Data set -> sparsities: as printed where the paper has them, then what the grid has beyond that."""
        grid, found = self.results.params.grid, paper.columns() if self.in_paper else {}
        for dataset in _datasets(self.results.params) if self.layout.groups else grid.datasets:
            found[dataset] = sorted({*found.get(dataset, ()), *grid.sparsities})
        return found

    def cells(self, stage: str, section: str | None, rewind: str | None = None) -> Iterator[Cell]:
        """A cell per column; the seed says nothing."""
        for dataset, sparsities in self.columns.items():
            for sparsity in sparsities:
                yield Cell(stage, dataset, self.model, 0, section, sparsity, rewind)

    def table(self) -> Table:
        """Below the dense model, the printed rows, or those that no table has."""
        lines = [self._dense()]
        for heading, ids in self.layout.groups.items():
            made = [self._row(paper.rows()[row]) for row in ids]
            lines += _under(heading, [found for found in made if found is not None])
        return self.with_heads(lines if self.layout.groups else [*lines, *self._further()])

    def with_heads(self, lines: list[Line]) -> Table:
        """A table under these columns."""
        heads = [(DATASET_NAMES.get(name, name), len(own)) for name, own in self.columns.items()]
        return Table(heads, [short_percent(s) for own in self.columns.values() for s in own], lines)

    def left_out(self) -> list[str]:
        """Printed rows without a number here, neither ours nor the paper's."""
        rows = [paper.rows()[row] for row in self.layout.rows]
        return [row_label(self.results.params, row) for row in rows if self._row(row) is None]

    def _dense(self) -> Line:
        """The dense model belongs to no sparsity: one field over those of a data set."""
        numbers = []
        for dataset, sparsities in self.columns.items():
            cell = Cell("dense", dataset, self.model, 0)
            numbers.append(replace(self._number(cell), span=len(sparsities)))
        return replace(
            line(self.results, None, numbers), label=f"{self.name.removesuffix(' (CIFAR)')} (Dense)"
        )

    def _number(self, cell: Cell) -> Number:
        below = tuple(text for text in theirs(self.results, cell) if text)
        return replace(ours(self.results, cell), below=below)

    def _row(self, row: Row) -> Line | None:
        """A printed row; None where neither the grid nor the paper has it for this model."""
        label, section = row_label(self.results.params, row), row.find(self.results.params)
        if section is not None:
            numbers = [self._number(cell) for cell in self.cells(row.stage, section, row.rewind)]
            return replace(line(self.results, section, numbers), label=label)
        found = [row.published(cell) for cell in self.cells(row.stage, None)]
        if not self.in_paper or not any(found):
            return None
        return Line(label, "", [Number(below=(printed_text(n),)) if n else Number() for n in found])

    def _further(self) -> list[Line]:
        params, groups = self.results.params, {}
        for stage, section, rewind in further(params):
            numbers = [ours(self.results, cell) for cell in self.cells(stage, section, rewind)]
            made = line(self.results, section, numbers)
            if rewind:
                made = replace(made, label=f"{made.label} {REWIND_NAMES.get(rewind, f'+ {rewind}')}")
            heading = "Retrained" if rewind else FAMILY_NAMES[family(params, section)]
            groups.setdefault(heading, []).append(made)
        return [made for heading, own in groups.items() for made in _under(heading, own)]


def _under(heading: str, lines: list[Line]) -> list[Line]:
    """The heading stands above the first line."""
    return [replace(made, heading="" if index else heading) for index, made in enumerate(lines)]
