"""Single fields and rows of a table, from the runs and from the paper."""

from pipeline.report.blocks import Line, Number
from pipeline.report.names import colors, labels
from pipeline.report.paper.numbers import ACCURACY, Record, published
from pipeline.report.results import Results
from pipeline.report.words import signed, spread
from pipeline.training.cell import Group


def ours(results: Results, group: Group, metric: str = ACCURACY) -> Number:
    """Mean ± std with n, in percent; empty where no run has it."""
    if (stat := results.stat(group, metric)) is None:
        return Number()
    num_seeds = len(results.params.grid.seeds)
    note = f"n = {stat.n}" if stat.n == num_seeds else f"n = {stat.n} of {num_seeds}"
    return Number(spread(stat.mean, stat.std), note, group.name)


def record_of(results: Results, group: Group) -> Record | None:
    """The accuracy in print for a group of the grid; None where there is none."""
    return published(group, results.params.methods.get(group.method or "dense", {"method": "dense"}))


def beside(results: Results, group: Group, record: Record | None, metric: str = ACCURACY) -> tuple[str, ...]:
    """The paper's number, and the difference, ours − paper, where both are there."""
    if record is None:
        return ()
    stat = results.stat(group, metric)
    return (printed_text(record), *([signed(stat.mean - record.mean)] if stat else []))


def printed_text(record: Record) -> str:
    """An accuracy in print, and whether it is quoted from elsewhere."""
    return spread(record.mean, record.std) + (" quoted" if record.row.quoted else "")


def line(results: Results, section: str | None, numbers: list[Number]) -> Line:
    """A row under the name and colour of a method section; None: the dense model."""
    params, name = results.params, section or "dense"
    return Line(labels(params)[name], colors(params)[name], numbers)
