"""What a table of the report is made of, as plain values: the same for HTML and Markdown."""

from dataclasses import dataclass

from pipeline.drawing import colors
from pipeline.report.paper.protocol import Published, published
from pipeline.report.results import Results, Stat, group
from pipeline.report.words import labels, signed, spread
from pipeline.training.cell import Cell


@dataclass(frozen=True)
class Number:
    """One field of a table. ``group`` names the runs behind it; ``span`` is how many columns it takes.

    ``below`` is a second line: what the paper has, and the difference to it.
    """

    text: str = ""
    note: str = ""
    group: str | None = None
    span: int = 1
    below: tuple[str, ...] = ()
    strong: bool = False


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

    @property
    def compared(self) -> bool:
        """Whether the paper's number stands in any field."""
        return any(number.below for line in self.lines for number in line.numbers)

    @property
    def firsts(self) -> list[bool]:
        """For every column, whether it is the first one below its head."""
        return [index == 0 for _, width in self.heads for index in range(width)]


def stat(results: Results, cell: Cell, metric: str = "last") -> Stat | None:
    """Mean over the seeds of a cell's runs."""
    return results.stat(group(cell), metric)


def ours(results: Results, cell: Cell, metric: str = "last") -> Number:
    """Mean ± std with n; empty where no run has it."""
    if (found := stat(results, cell, metric)) is None:
        return Number()
    asked = len(results.params.grid.seeds)
    note = f"n = {found.n}" if found.n == asked else f"n = {found.n} of {asked}"
    return Number(spread(found.mean, found.std), note, group(cell))


def theirs(results: Results, cell: Cell, metric: str = "last") -> tuple[str, str]:
    """The paper's number and the difference, ours − paper; empty texts where there is none."""
    paper = published(cell, results.params.methods.get(cell.method or "dense", {}))
    if paper is None:
        return "", ""
    found = stat(results, cell, metric)
    return printed_text(paper), signed(found.mean - paper.mean) if found else ""


def printed_text(number: Published) -> str:
    """The paper's number, and whether it is quoted from elsewhere."""
    return spread(number.mean, number.std) + (" quoted" if number.quoted else "")


def line(results: Results, section: str | None, numbers: list[Number]) -> Line:
    """A row under the name and colour of a method section; None: the dense model."""
    params, name = results.params, section or "dense"
    return Line(labels(params)[name], colors(list(params.methods))[name], numbers)
