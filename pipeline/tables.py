"""The report's tables as plain values, the same for HTML and Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.figures import Series, colors
from pipeline.paper import Published, published
from pipeline.params import Params
from pipeline.results import Results, Stat, group, layers
from pipeline.runs import Cell
from pipeline.wording import (
    FAMILY_NAMES,
    REWIND_NAMES,
    by_family,
    family,
    flops,
    labels,
    percent,
    short_percent,
    signed,
    spread,
    suffix,
)

COMPARED = ["ours", "paper", "difference"]


@dataclass(frozen=True)
class Number:
    """One field of a table. ``group`` names the runs behind it; ``span`` is how many columns it takes."""

    text: str = ""
    note: str = ""
    group: str | None = None
    span: int = 1


@dataclass(frozen=True)
class Line:
    """One row of a table. ``heading`` stands above it, where it opens a part of the table."""

    label: str
    color: str
    numbers: list[Number]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """Heads (text and width in columns), below them the columns' own heads if any, and the rows."""

    heads: list[tuple[str, int]]
    columns: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Tables:
    """The tables of one model on one data set."""

    results: Results
    dataset: str
    model: str

    @property
    def params(self) -> Params:
        """The parameters of the report."""
        return self.results.params

    def accuracy(self) -> Table:
        """Table 2: accuracy by method and sparsity, beside the paper's where it has one."""
        rows = [self._cells("sparse", method) for method in by_family(self.params)]
        wide = self._in_print(rows)
        dense = self._dense(self._cell("dense"), wide)
        lines = [
            self._line("dense", [dense]),
            *(self._line(r[0].method, self._compared(r, wide)) for r in rows),
        ]
        return Table(*self._heads(COMPARED if wide else []), self._under_families(lines))

    def retrain(self) -> Table:
        """Table 6: what LTH and LRR make of a method's masks."""
        grid = self.params.grid
        rows = [
            self._cells("retrain" if rewind else "sparse", method, rewind)
            for method in grid.retrain
            for rewind in (None, *grid.rewinds)
        ]
        wide = self._in_print(rows)
        lines = [self._line(row[0].method, self._compared(row, wide)) for row in rows]
        named = [
            replace(line, label=REWIND_NAMES.get(row[0].rewind, f"+ {row[0].rewind}"))
            if row[0].rewind
            else line
            for line, row in zip(lines, rows, strict=True)
        ]
        return Table(*self._heads(COMPARED if wide else []), named)

    def reinit(self) -> Table:
        """Figure 4 as numbers: the same masks with new random weights."""
        lines = []
        for method in self.params.grid.reinit:
            numbers = []
            for pair in zip(self._cells("sparse", method), self._cells("reinit", method), strict=True):
                old, new = (self._stat(cell) for cell in pair)
                change = (
                    Number(signed(new.mean - old.mean), group=group(pair[1])) if old and new else Number()
                )
                numbers += [*map(self._ours, pair), change]
            lines.append(self._line(method, numbers))
        return Table(*self._heads(["original", "reinitialised", "difference"]), lines)

    def flops(self) -> Table:
        """Training and inference FLOPs as a share of the dense model's."""
        sparsities = self.params.grid.sparsities
        lines = [self._line("dense", [replace(self._dense_flops(), span=2 * len(sparsities))])]
        for method in by_family(self.params):
            cells = self._cells("sparse", method)
            numbers = [
                self._ratio(cell, f"{key}_ratio") for cell in cells for key in ("training", "inference")
            ]
            lines.append(self._line(method, numbers))
        return Table(*self._heads(["training", "inference"]), self._under_families(lines))

    def three_accuracies(self) -> Table:
        """Each of the three test accuracies by its name; the paper's stands beside its like, the best test epoch."""
        grid = self.params.grid
        lines = [self._three(self._cell("dense"))]
        for sparsity in grid.sparsities:
            cells = [self._cell("sparse", method, sparsity) for method in by_family(self.params)]
            cells += [self._cell("reinit", method, sparsity) for method in grid.reinit]
            cells += [
                self._cell("retrain", m, sparsity, rewind) for m in grid.retrain for rewind in grid.rewinds
            ]
            first, *others = map(self._three, cells)
            lines += [replace(first, heading=f"Sparsity {short_percent(sparsity)}"), *others]
        columns = ["last epoch", "best validation epoch", "best test epoch", "paper", "best test − paper"]
        num_shown = 5 if any(line.numbers[3].text for line in lines) else 3
        lines = [replace(line, numbers=line.numbers[:num_shown]) for line in lines]
        return Table([(column, 1) for column in columns[:num_shown]], [], lines)

    def layers(self) -> Table:
        """Learnt sparsity of every layer, in percent: mean over the seeds."""
        frame = layers(self.results.of(self.dataset, self.model))
        columns = [s for s in self.series() if s.sparsity is not None]
        lines = [
            Line(str(layer), "", [_share(column.get(s.group), s.group) for s in columns])
            for layer, column in frame.items()
        ]
        heads = [(text, len(columns) // len(self.params.grid.sparsities)) for text, _ in self._heads([])[0]]
        return Table(heads, [s.label for s in columns], lines)

    def series(self) -> list[Series]:
        """What the figures draw: the dense model, then at each sparsity the methods by family."""
        methods, sparsities = by_family(self.params), self.params.grid.sparsities
        cells = [self._cell("dense"), *(self._cell("sparse", m, s) for s in sparsities for m in methods)]
        return [
            Series(
                label=labels(self.params)[cell.method or "dense"],
                color=colors(list(self.params.methods))[cell.method or "dense"],
                sparsity=cell.sparsity,
                group=group(cell),
                values=self.results.values(group(cell), "last"),
                again=self.results.values(group(replace(cell, stage="reinit")), "last")
                if cell.method
                else (),
            )
            for cell in cells
        ]

    def _cell(
        self, stage: str, method: str | None = None, sparsity: float | None = None, rewind: str | None = None
    ) -> Cell:
        """A cell of this model and data set; its seed says nothing."""
        return Cell(stage, self.dataset, self.model, 0, method, sparsity, rewind)

    def _cells(self, stage: str, method: str, rewind: str | None = None) -> list[Cell]:
        """A cell per sparsity of the grid."""
        return [self._cell(stage, method, sparsity, rewind) for sparsity in self.params.grid.sparsities]

    def _stat(self, cell: Cell, metric: str = "last") -> Stat | None:
        return self.results.stat(group(cell), metric)

    def _paper(self, cell: Cell) -> Published | None:
        return published(cell, self.params.methods.get(cell.method or "dense", {}))

    @property
    def in_paper(self) -> bool:
        """Whether the paper has any number for this model on this data set."""
        methods = by_family(self.params)
        return self._in_print([[self._cell("dense")], *(self._cells("sparse", method) for method in methods)])

    def _in_print(self, rows: Sequence[Sequence[Cell]]) -> bool:
        """Whether the paper has a number for any of these cells."""
        return any(self._paper(cell) for row in rows for cell in row)

    def _line(self, section: str | None, numbers: list[Number]) -> Line:
        name = section or "dense"
        return Line(labels(self.params)[name], colors(list(self.params.methods))[name], numbers)

    def _under_families(self, lines: Sequence[Line]) -> list[Line]:
        """The dense line, then the methods' lines, each family's first one under its heading."""
        names = [FAMILY_NAMES[family(self.params, section)] for section in by_family(self.params)]
        firsts = [name if name not in names[:index] else "" for index, name in enumerate(names)]
        return [replace(line, heading=first) for line, first in zip(lines, ["", *firsts], strict=True)]

    def _heads(self, columns: list[str]) -> tuple[list[tuple[str, int]], list[str]]:
        sparsities = self.params.grid.sparsities
        return [(f"{short_percent(s)} sparse", max(1, len(columns))) for s in sparsities], columns * len(
            sparsities
        )

    def _ours(self, cell: Cell, metric: str = "last") -> Number:
        """Mean ± std with n; empty where no run has it."""
        if (stat := self._stat(cell, metric)) is None:
            return Number()
        asked = len(self.params.grid.seeds)
        note = f"n = {stat.n}" if stat.n == asked else f"n = {stat.n} of {asked}"
        return Number(spread(stat.mean, stat.std), note, group(cell))

    def _ratio(self, cell: Cell, metric: str) -> Number:
        if (stat := self._stat(cell, metric)) is None:
            return Number()
        text = f"{stat.mean:.3f}" if stat.std is None else f"{stat.mean:.3f} ± {stat.std:.3f}"
        return Number(text, group=group(cell))

    def _against(self, cell: Cell, metric: str = "last") -> list[Number]:
        """The paper's number and the difference to ours."""
        if (paper := self._paper(cell)) is None:
            return [Number(), Number()]
        theirs = Number(spread(paper.mean, paper.std), "quoted" if paper.std is None else "")
        stat = self._stat(cell, metric)
        return [theirs, Number(signed(stat.mean - paper.mean), group=group(cell)) if stat else Number()]

    def _compared(self, cells: Sequence[Cell], wide: bool) -> list[Number]:
        return [
            number for cell in cells for number in (self._ours(cell), *(self._against(cell) if wide else ()))
        ]

    def _three(self, cell: Cell) -> Line:
        numbers = [self._ours(cell, metric) for metric in ("last", "best_val", "best_test")]
        line = self._line(cell.method, [*numbers, *self._against(cell, "best_test")])
        return replace(line, label=line.label + suffix(cell))

    def _dense(self, cell: Cell, wide: bool) -> Number:
        """The dense model belongs to no sparsity: one field over all of them."""
        ours, (paper, difference) = self._ours(cell), self._against(cell)
        named = [("", ours.note), ("paper ", paper.text), ("difference ", difference.text)]
        note = ", ".join(name + text for name, text in named if text)
        return replace(ours, note=note, span=len(self.params.grid.sparsities) * (3 if wide else 1))

    def _dense_flops(self) -> Number:
        """What a ratio of 1 stands for; every run of the model knows it."""
        if (runs := self.results.of(self.dataset, self.model)).empty:
            return Number()
        run = runs.iloc[0]
        sizes = (
            f"training {flops(run['training_dense'])}, inference {flops(run['inference_dense'])} per image"
        )
        return Number("1", sizes, run["group"])


def _share(value: float | None, name: str) -> Number:
    return Number() if value is None else Number(percent(value), group=name)
