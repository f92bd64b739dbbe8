"""The paper's Tables 3, 4, 5 and 8 in its own layout: accuracy, training and test FLOPs, ours beside theirs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.params.files import Params
from pipeline.report import paper
from pipeline.report.paper.protocol import IMAGENET, FlopsLayout, FlopsRow, Published
from pipeline.report.results import Results, group
from pipeline.report.tables.fields import Line, Number, Table, line, ours, stat
from pipeline.report.words import MODEL_NAMES, short_percent, signed, spread, title
from pipeline.training.cell import Cell

COLUMNS = ["top-1, %", "training FLOPs", "test FLOPs"]


def asked(params: Params) -> list[FlopsLayout]:
    """The printed tables to show where the grid has ImageNet: those with all rows in the grid.

    Not so a table whose rows all stand in another one that is shown, at all sparsities of the grid. Where some table
    has more rows of the grid than those, though not all of its own: that one alone; of several the one with more of
    the grid's sparsities, then the shortest.
    """
    if IMAGENET not in params.grid.datasets:
        return []
    layouts, sparsities = paper.flops_layouts(), set(params.grid.sparsities)
    own = {
        layout.id: {row for row in layout.rows if paper.flops_rows()[row].find(params)} for layout in layouts
    }
    complete = [layout for layout in layouts if own[layout.id] == set(layout.rows)]
    most = max(
        layouts,
        key=lambda layout: (
            len(own[layout.id]),
            len(sparsities.intersection(layout.sparsities)),
            -len(layout.rows),
        ),
    )
    if len(own[most.id]) > len(set().union(*(own[layout.id] for layout in complete))):
        return [most]
    return [
        layout
        for layout in complete
        if not any(
            own[layout.id] < own[other.id] and sparsities <= set(other.sparsities) for other in complete
        )
    ]


@dataclass(frozen=True)
class FlopsRows:
    """The rows of such a table for one model."""

    results: Results
    layout: FlopsLayout
    model: str

    @property
    def name(self) -> str:
        """The model as a reader knows it."""
        return MODEL_NAMES.get(self.model, self.model)

    @property
    def in_paper(self) -> bool:
        """Whether the table is in print for this model."""
        return paper.is_imagenet(self._dense_cell)

    @property
    def sparsities(self) -> list[float]:
        """As printed where the paper has them, and what the grid has beyond that."""
        printed = self.layout.sparsities if self.in_paper else []
        return sorted({*printed, *self.results.params.grid.sparsities})

    @property
    def _dense_cell(self) -> Cell:
        return Cell("dense", IMAGENET, self.model, 0)

    def table(self) -> Table:
        """Below the dense model the printed rows, in the form of the printed table."""
        return self._stacked() if self.layout.stacked else self._side_by_side()

    def left_out(self) -> list[str]:
        """Printed rows without a number here, neither ours nor the paper's."""
        return [title(row.section) for row in self._rows(self.layout.rows) if not self._has(row)]

    def _side_by_side(self) -> Table:
        """Tables 3 and 8: three columns per sparsity."""
        sparsities = self.sparsities
        lines = [self._dense(len(sparsities))]
        for heading, ids in self.layout.groups.items():
            shown = [row for row in self._rows(ids) if self._has(row)]
            for index, row in enumerate(shown):
                numbers = [number for s in sparsities for number in self._numbers(row, s)]
                lines.append(self._line(row, numbers, "" if index else heading))
        heads = [(f"{short_percent(s)} sparse", len(COLUMNS)) for s in sparsities]
        return Table(heads, COLUMNS * len(sparsities), lines)

    def _stacked(self) -> Table:
        """Tables 4 and 5: a block of rows per sparsity, with the initial and the final one as columns."""
        dense = self._dense(1)
        lines = [replace(dense, numbers=[Number(), Number(), *dense.numbers])]
        rows = [row for row in self._rows(self.layout.rows) if self._has(row)]
        for sparsity in self.sparsities:
            for index, row in enumerate(rows):
                si = row.section.get("si", 0.0 if row.section["method"] == "granet" else sparsity)
                numbers = [Number(f"{si:g}"), Number(f"{sparsity:g}"), *self._numbers(row, sparsity)]
                lines.append(self._line(row, numbers, "" if index else f"{short_percent(sparsity)} sparse"))
        return Table([(head, 1) for head in ("si", "sf", *COLUMNS)], [], lines)

    def _rows(self, ids: list[str]) -> Iterator[FlopsRow]:
        return (paper.flops_rows()[name] for name in ids)

    def _has(self, row: FlopsRow) -> bool:
        """Whether the grid or the paper has a row for this model."""
        return self.in_paper or row.find(self.results.params) is not None

    def _line(self, row: FlopsRow, numbers: list[Number], heading: str) -> Line:
        section = row.find(self.results.params)
        made = line(self.results, section, numbers) if section else Line("", "", numbers)
        return replace(made, label=title(row.section), heading=heading)

    def _dense(self, width: int) -> Line:
        """The dense model: the same for every sparsity. Its FLOPs are what the ratios refer to."""
        cell, runs = self._dense_cell, self.results.of(IMAGENET, self.model)
        top1 = self._top1(cell, paper.published(cell, {}))
        counts = ["", ""]
        if len(runs):
            counts = [f"{runs.iloc[0][key]:.1e}" for key in ("training_dense", "inference_dense")]
        printed = paper.dense_flops() if self.in_paper else None
        flops = [
            Number(
                "1×" if text else "",
                text,
                runs.iloc[0]["group"] if text else None,
                below=(f"{printed[index]:.1e}",) if printed else (),
            )
            for index, text in enumerate(counts)
        ]
        return replace(line(self.results, None, [top1, *flops] * width), label=f"{self.name} (Dense)")

    def _numbers(self, row: FlopsRow, sparsity: float) -> list[Number]:
        """Accuracy, training and test FLOPs."""
        section = row.find(self.results.params)
        cell = row.cell(section or "", IMAGENET, self.model, sparsity)
        top1 = self._top1(cell, row.published(cell))
        return [
            top1,
            *(
                self._ratio(cell, key, printed)
                for key, printed in zip(("training_ratio", "inference_ratio"), row.flops(cell), strict=True)
            ),
        ]

    def _top1(self, cell: Cell, printed: Published | None) -> Number:
        number = ours(self.results, cell)
        if printed is None:
            return number
        text = spread(printed.mean, printed.std) + (" quoted" if printed.quoted else "")
        found = stat(self.results, cell)
        difference = (signed(found.mean - printed.mean),) if found else ()
        return replace(number, below=(text, *difference))

    def _ratio(self, cell: Cell, metric: str, printed: float | None) -> Number:
        found = stat(self.results, cell, metric)
        below = () if printed is None else (f"{printed:.2f}×",)
        if found is None:
            return Number(below=below)
        return Number(f"{found.mean:.2f}×", group=group(cell), below=below)
