"""The report's tables as plain values, the same for HTML and Markdown. Fractions become percent here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from granet.methods import METHODS
from pipeline.figures import colors
from pipeline.paper import Published, published
from pipeline.params import Params
from pipeline.results import Results, Stat, group
from pipeline.runs import Cell

METHOD_NAMES = {
    "dense": "Dense",
    "static": "Static",
    "set": "SET",
    "rigl": "RigL",
    "gmp": "GMP",
    "granet": "GraNet",
}
MODEL_NAMES = {
    "resnet20": "ResNet-20",
    "vgg19": "VGG-19",
    "resnet50_cifar": "ResNet-50 (CIFAR)",
    "resnet50": "ResNet-50",
}
DATASET_NAMES = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagefolder": "image folder"}
FAMILY_NAMES = {
    "dense": "Dense",
    "before_training": "Sparse from before training",
    "sparse_to_sparse": "Sparse to sparse",
    "dense_to_sparse": "Dense to sparse",
}
REWIND_NAMES = {"lth": "+ lottery ticket (LTH)", "lrr": "+ learning-rate rewinding (LRR)"}


@dataclass(frozen=True)
class Number:
    """One field of a table. ``group`` names the runs behind it; ``span`` is how many columns it takes."""

    text: str = ""
    note: str = ""
    group: str | None = None
    span: int = 1


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    color: str
    numbers: list[Number]
    first_of: str = ""
    """The heading above this row, where it opens a part of the table."""


@dataclass(frozen=True)
class Table:
    """Column heads in one or two rows (``heads``: text and width), and the rows."""

    heads: list[tuple[str, int]]
    columns: list[str]
    """One per column; empty where ``heads`` says it all."""
    lines: list[Line]


def labels(params: Params) -> dict[str, str]:
    """What a reader sees for each method section: the method, with s_i where it has one.

    A section of the user's own keeps its name beside it, and a method without a display name shows the section only.
    """
    found = {}
    for section, values in params.methods.items():
        name = METHOD_NAMES.get(values["method"])
        if name is None:
            found[section] = section
            continue
        name += f" (si = {values['si']:g})" if "si" in values else ""
        known = section in METHOD_NAMES or section == "granet_s2s"
        found[section] = name if known and name not in found.values() else f"{name}, {section}"
    return found


def family(params: Params, section: str) -> str:
    """A section's family, which may depend on its values: GraNet starts dense or sparse."""
    sparsity = params.grid.sparsities[0]
    return (METHODS["dense"]() if section == "dense" else params.method(section, sparsity, 1)).family


def by_family(params: Params) -> list[str]:
    """The grid's methods in the order of the paper's Table 2."""
    order = list(FAMILY_NAMES)
    return sorted(params.grid.methods, key=lambda section: order.index(family(params, section)))


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a number in percent.

    >>> percent(0.9385)
    '93.85'
    """
    return f"{100 * value:.{digits}f}"


def sparsity_text(value: float) -> str:
    """
    >>> sparsity_text(0.965)
    '96.5 %'
    """
    return f"{100 * value:g} %"


def spread(mean: float, std: float | None) -> str:
    """Mean ± std of fractions, in percent.

    >>> spread(0.92, 0.02), spread(0.92, None)
    ('92.00 ± 2.00', '92.00')
    """
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def signed(value: float) -> str:
    """A difference of two fractions, in percentage points.

    >>> signed(0.0015), signed(-0.0185), signed(0.00001)
    ('+0.15', '−1.85', '0.00')
    """
    text = f"{100 * value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def flops(value: float) -> str:
    """
    >>> flops(81_600_000), flops(3.45e15)
    ('81.6 MFLOPs', '3.45 PFLOPs')
    """
    prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"]
    while value >= 999.5 and len(prefixes) > 1:
        value, prefixes = value / 1000, prefixes[1:]
    return f"{value:.3g} {prefixes[0]}FLOPs"


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

    def cell(self, stage: str, method: str | None = None, sparsity: float | None = None, rewind: str | None = None) -> Cell:
        """A cell of this model and data set; its seed says nothing."""
        return Cell(stage, self.dataset, self.model, 0, method, sparsity, rewind)

    def stat(self, cell: Cell, metric: str = "last") -> Stat | None:
        """Mean over the seeds of a cell."""
        return self.results.stat(group(cell), metric)

    def paper(self, cell: Cell) -> Published | None:
        """The paper's number for a cell."""
        return published(cell, self.params.methods[cell.method or "dense"])

    def accuracy(self) -> Table:
        """Table 2: accuracy by method and sparsity, beside the paper's where it has one."""
        cells = {m: [self.cell("sparse", m, s) for s in self.params.grid.sparsities] for m in by_family(self.params)}
        wide = any(self.paper(cell) for row in cells.values() for cell in row)
        dense = self.cell("dense")
        lines = [self._line("dense", [self._dense(dense, len(self.params.grid.sparsities) * (3 if wide else 1))])]
        lines += [self._line(method, self._compared(row, wide)) for method, row in cells.items()]
        return Table(*self._heads(["ours", "paper", "difference"] if wide else []), list(self._headed(lines)))

    def retrain(self) -> Table:
        """Table 6: what LTH and LRR make of a method's masks."""
        grid = self.params.grid
        rows = {
            (method, rewind): [self.cell("retrain" if rewind else "sparse", method, s, rewind) for s in grid.sparsities]
            for method in grid.retrain
            for rewind in (None, *grid.rewinds)
        }
        wide = any(self.paper(cell) for row in rows.values() for cell in row)
        lines = []
        for (method, rewind), row in rows.items():
            line = self._line(method, self._compared(row, wide))
            lines.append(line if rewind is None else replace(line, label=REWIND_NAMES.get(rewind, f"+ {rewind}")))
        return Table(*self._heads(["ours", "paper", "difference"] if wide else []), lines)

    def reinit(self) -> Table:
        """Figure 4 as numbers: the same masks with new random weights."""
        lines = []
        for method in self.params.grid.reinit:
            numbers = []
            for sparsity in self.params.grid.sparsities:
                cells = [self.cell(stage, method, sparsity) for stage in ("sparse", "reinit")]
                old, new = (self.stat(cell) for cell in cells)
                change = Number(signed(new.mean - old.mean), group=group(cells[1])) if old and new else Number()
                numbers += [self._ours(cells[0]), self._ours(cells[1]), change]
            lines.append(self._line(method, numbers))
        return Table(*self._heads(["original", "reinitialised", "difference"]), lines)

    def flops(self) -> Table:
        """Training and inference FLOPs as a share of the dense model's."""
        dense = self.results.of(self.dataset, self.model)
        sizes = Number()
        if len(dense):
            per_image, run = flops(dense["inference_dense"].iloc[0]), flops(dense["training_dense"].iloc[0])
            name = group(self.cell("dense"))
            known = name in set(self.results.runs["group"])
            sizes = Number(f"training {run}, inference {per_image} per image", "= 1", name if known else None)
        span = 2 * len(self.params.grid.sparsities)
        lines = [self._line("dense", [replace(sizes, span=span)])]
        for method in by_family(self.params):
            cells = [self.cell("sparse", method, s) for s in self.params.grid.sparsities]
            lines.append(
                self._line(method, [self._ratio(c, key) for c in cells for key in ("training_ratio", "inference_ratio")])
            )
        return Table(*self._heads(["training", "inference"]), list(self._headed(lines)))

    def three_accuracies(self) -> Table:
        """Each of the three test accuracies by its name, and like beside like: best test epoch and the paper's."""
        grid = self.params.grid
        lines = [replace(self._three(self.cell("dense")), first_of="Dense")]
        for sparsity in grid.sparsities:
            cells = [self.cell("sparse", method, sparsity) for method in by_family(self.params)]
            cells += [self.cell("reinit", method, sparsity) for method in grid.reinit]
            cells += [self.cell("retrain", m, sparsity, rewind) for m in grid.retrain for rewind in grid.rewinds]
            first, *others = (self._three(cell) for cell in cells)
            lines += [replace(first, first_of=f"Sparsity {sparsity_text(sparsity)}"), *others]
        columns = ["last epoch", "at best validation epoch", "best test epoch", "paper", "best test − paper"]
        if not any(line.numbers[3].text for line in lines):
            columns = columns[:3]
            lines = [replace(line, numbers=line.numbers[:3]) for line in lines]
        return Table([(column, 1) for column in columns], [], lines)

    def _three(self, cell: Cell) -> Line:
        numbers = [self._ours(cell, metric) for metric in ("last", "best_val", "best_test")]
        line = self._line(cell.method or "dense", [*numbers, *self._against(cell, "best_test")])
        suffix = {"reinit": ", reinitialised", "retrain": f" {REWIND_NAMES.get(cell.rewind or '', f'+ {cell.rewind}')}"}
        return replace(line, label=line.label + suffix.get(cell.stage, ""))

    def _line(self, section: str, numbers: list[Number]) -> Line:
        return Line(labels(self.params).get(section, section), colors(list(self.params.methods))[section], numbers)

    def _headed(self, lines: Sequence[Line]) -> Iterator[Line]:
        """The dense line, then the methods of the grid under their families."""
        sections = ["dense", *by_family(self.params)]
        title: Callable[[tuple[str, Line]], str] = lambda pair: FAMILY_NAMES[family(self.params, pair[0])]  # noqa: E731
        for name, pairs in groupby(zip(sections, lines, strict=True), title):
            for index, (_, line) in enumerate(pairs):
                yield line if index or name == "Dense" else replace(line, first_of=name)

    def _heads(self, columns: list[str]) -> tuple[list[tuple[str, int]], list[str]]:
        sparsities = self.params.grid.sparsities
        heads = [(f"sparsity {sparsity_text(s)}", max(1, len(columns))) for s in sparsities]
        return heads, columns * len(sparsities)

    def _ours(self, cell: Cell, metric: str = "last") -> Number:
        """Mean ± std with n; empty where no run has it."""
        if (stat := self.stat(cell, metric)) is None:
            return Number()
        asked = len(self.params.grid.seeds)
        return Number(
            spread(stat.mean, stat.std), f"n = {stat.n}" + (f" of {asked}" if stat.n < asked else ""), group(cell)
        )

    def _ratio(self, cell: Cell, metric: str) -> Number:
        if (stat := self.stat(cell, metric)) is None:
            return Number()
        text = f"{stat.mean:.3f}" if stat.std is None else f"{stat.mean:.3f} ± {stat.std:.3f}"
        return Number(text, group=group(cell))

    def _against(self, cell: Cell, metric: str = "last") -> list[Number]:
        """The paper's number and the difference to ours."""
        if (paper := self.paper(cell)) is None:
            return [Number(), Number()]
        theirs = Number(spread(paper.mean, paper.std), "" if paper.std is not None else "quoted")
        stat = self.stat(cell, metric)
        return [theirs, Number(signed(stat.mean - paper.mean), group=group(cell)) if stat else Number()]

    def _compared(self, cells: Sequence[Cell], wide: bool) -> list[Number]:
        return [number for c in cells for number in (self._ours(c), *(self._against(c) if wide else ()))]

    def _dense(self, cell: Cell, span: int) -> Number:
        """The dense model belongs to no sparsity: one field over all of them."""
        ours, (paper, difference) = self._ours(cell), self._against(cell)
        notes = [ours.note, f"paper {paper.text}" if paper.text else "", f"difference {difference.text}" if difference.text else ""]
        return replace(ours, note=", ".join(filter(None, notes)), span=span)
