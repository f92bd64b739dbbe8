"""The report's tables of one model on one data set: FLOPs, reinitialisation, three accuracies, layers."""


# pyright: reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.drawing import Series, colors
from pipeline.params.files import Params
from pipeline.report.results import Results, group, layers
from pipeline.report.tables.fields import Line, Number, Table, line, ours, stat, theirs
from pipeline.report.words import (
    FAMILY_NAMES,
    by_family,
    family,
    flops,
    labels,
    network_name,
    percent,
    setting,
    short_percent,
    signed,
    stage_of,
    suffix,
)
from pipeline.training.cell import Cell


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

    def reinit(self) -> Table:
        """Figure 4 as numbers: the same masks with new random weights."""
        lines = []
        for method in self.params.grid.reinit:
            numbers = []
            for pair in zip(self._cells(method), self._cells(method, "reinit"), strict=True):
                old, new = (stat(self.results, cell) for cell in pair)
                change = (
                    Number(signed(new.mean - old.mean), group=group(pair[1])) if old and new else Number()
                )
                numbers += [*(ours(self.results, cell) for cell in pair), change]
            lines.append(line(self.results, method, numbers))
        return Table(*self._heads(["original", "reinitialised", "difference"]), lines)

    def flops(self) -> Table:
        """Training and inference FLOPs as a share of the dense model's."""
        sparsities = self.params.grid.sparsities
        lines = [line(self.results, None, [replace(self._dense_flops(), span=2 * len(sparsities))])]
        for method in by_family(self.params):
            cells = self._cells(method)
            numbers = [
                self._ratio(cell, f"{key}_ratio") for cell in cells for key in ("training", "inference")
            ]
            lines.append(line(self.results, method, numbers))
        return Table(*self._heads(["training", "inference"]), self._under_families(lines))

    def three_accuracies(self) -> Table:
        """Each of the three test accuracies by its name; the paper's stands beside its like, the best test epoch."""
        grid = self.params.grid
        lines = [self._three(self._cell("dense"))]
        for sparsity in grid.sparsities:
            cells = [self._cell(stage_of(self.params, m), m, sparsity) for m in by_family(self.params)]
            cells += [self._cell("reinit", method, sparsity) for method in grid.reinit]
            cells += [
                self._cell("retrain", m, sparsity, rewind) for m in grid.retrain for rewind in grid.rewinds
            ]
            first, *others = [self._three(cell) for cell in cells] or [None]
            lines += [replace(first, heading=f"Sparsity {short_percent(sparsity)}"), *others] if first else []
        if networks := self._pretrained():
            lines += [replace(networks[0], heading="Pruning plasticity"), *networks[1:]]
        return _three_columns(lines)

    def network_lines(self) -> list[Line]:
        """The three accuracies of the dense model and of the pre-trained networks, under the model and data set."""
        name, networks = setting(self.dataset, self.model), self._pretrained()
        dense = self._three(self._cell("dense"))
        return [replace(dense, heading=name), *networks] if networks else [replace(dense, label=name)]

    def _pretrained(self) -> list[Line]:
        """A row per network of the plasticity study."""
        return [
            replace(self._three(self._cell("pretrain", network=text)), label=network_name(text), color="")
            for text in self.params.grid.pretrain
        ]

    def layers(self) -> Table:
        """Learnt sparsity of every layer, in percent: mean over the seeds."""
        runs = self.results.of(self.dataset, self.model)
        frame = layers(runs[runs["stage"].isin(["dense", "sparse", "after"])])
        columns = [s for s in self.series() if s.sparsity is not None]
        lines = [
            Line(str(layer), "", [_share(column.get(s.group), s.group) for s in columns])
            for layer, column in frame.items()
        ]
        heads = [(text, len(columns) // len(self.params.grid.sparsities)) for text, _ in self._heads([])[0]]
        return Table(heads, [s.label for s in columns], lines)

    def series(self) -> list[Series]:
        """What the figures draw: the dense model, then at each sparsity the methods by family."""
        params, methods = self.params, by_family(self.params)
        names, palette = labels(params), colors(list(params.methods))
        cells = [self._cell("dense")]
        cells += [self._cell(stage_of(params, m), m, s) for s in params.grid.sparsities for m in methods]
        return [
            Series(
                label=names[cell.method or "dense"],
                color=palette[cell.method or "dense"],
                family=FAMILY_NAMES[family(params, cell.method or "dense")],
                sparsity=cell.sparsity,
                group=group(cell),
                values=self.results.values(group(cell), "last"),
                again=self.results.values(group(replace(cell, stage="reinit")), "last")
                if cell.method
                else (),
            )
            for cell in cells
        ]

    def granet_series(self) -> list[Series]:
        """Of these, GraNet's, by initial sparsity: what Figure 15 draws."""
        params = self.params
        sections = [m for m in by_family(params) if params.methods[m]["method"] == "granet"]
        initial = {group(cell): params.methods[m]["si"] for m in sections for cell in self._cells(m)}
        return sorted((one for one in self.series() if one.group in initial), key=lambda s: initial[s.group])

    def _cell(
        self,
        stage: str,
        method: str | None = None,
        sparsity: float | None = None,
        rewind: str | None = None,
        network: str | None = None,
    ) -> Cell:
        """A cell of this model and data set; its seed says nothing."""
        return Cell(stage, self.dataset, self.model, 0, method, sparsity, rewind, network)

    def _cells(self, method: str, stage: str | None = None) -> list[Cell]:
        """A cell per sparsity of the grid; in the stage that trains the method where none is given."""
        stage = stage or stage_of(self.params, method)
        return [self._cell(stage, method, sparsity) for sparsity in self.params.grid.sparsities]

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

    def _ratio(self, cell: Cell, metric: str) -> Number:
        if (found := stat(self.results, cell, metric)) is None:
            return Number()
        text = f"{found.mean:.3f}" if found.std is None else f"{found.mean:.3f} ± {found.std:.3f}"
        return Number(text, group=group(cell))

    def _three(self, cell: Cell) -> Line:
        numbers = [ours(self.results, cell, metric) for metric in ("last", "best_val", "best_test")]
        paper, difference = theirs(self.results, cell, "best_test")
        named = line(
            self.results,
            cell.method,
            [*numbers, Number(paper), Number(difference, group=group(cell) if difference else None)],
        )
        return replace(named, label=named.label + suffix(cell))

    def _dense_flops(self) -> Number:
        """What a ratio of 1 stands for; every run of the model knows it."""
        if (runs := self.results.of(self.dataset, self.model)).empty:
            return Number()
        run = runs.iloc[0]
        sizes = (
            f"training {flops(run['training_dense'])}, inference {flops(run['inference_dense'])} per image"
        )
        return Number("1", sizes, run["group"])


def network_accuracies(results: Results) -> Table:
    """The three accuracies of all networks in one table: dense and pre-trained, all there is without a method."""
    grid = results.params.grid
    return _three_columns(
        [
            line
            for dataset in grid.datasets
            for model in grid.models
            for line in Tables(results, dataset, model).network_lines()
        ]
    )


def _three_columns(lines: list[Line]) -> Table:
    """The three accuracies; the paper's columns where any row has its number."""
    columns = ["last epoch", "best validation epoch", "best test epoch", "paper", "best test − paper"]
    num_shown = 5 if any(line.numbers[3].text for line in lines) else 3
    shown = [replace(line, numbers=line.numbers[:num_shown]) for line in lines]
    return Table([(column, 1) for column in columns[:num_shown]], [], shown)


def _share(value: float | None, name: str) -> Number:
    return Number() if value is None else Number(percent(value), group=name)
