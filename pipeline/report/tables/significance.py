"""Which differences within a table exceed the noise of the seeds."""

from dataclasses import dataclass, replace

from pipeline.report import paper
from pipeline.report.noise import exceeds, welch
from pipeline.report.results import group
from pipeline.report.tables.fields import Number, Table, line
from pipeline.report.tables.printed import ModelRows, row_label
from pipeline.report.words import p_value, signed


@dataclass(frozen=True)
class Significance:
    """Each row of a table minus the one it is tested against."""

    against: str
    table: Table
    num_p: int
    """p-values in the table; 0: too few seeds everywhere."""


def significance(rows: ModelRows) -> Significance | None:
    """The differences of one model's rows, with Welch's p-values; None where the grid has nothing to compare."""
    params, results = rows.results.params, rows.results
    if not rows.layout.against:
        return None
    reference = paper.rows()[rows.layout.against]
    if (base := reference.find(params)) is None:
        return None
    lines, num_p = [], 0
    for row in (paper.rows()[name] for name in rows.layout.rows if name != rows.layout.against):
        if (section := row.find(params)) is None:
            continue
        numbers = []
        pairs = zip(
            rows.cells(row.stage, section, row.rewind), rows.cells(reference.stage, base), strict=True
        )
        for cell, other in pairs:
            mine, others = (results.values(group(c), "last") for c in (cell, other))
            p = welch(mine, others)
            num_p += p is not None
            numbers.append(_number(mine, others, p, group(cell)))
        lines.append(replace(line(results, section, numbers), label=row_label(params, row)))
    if not any(number.text for made in lines for number in made.numbers):
        return None
    return Significance(row_label(params, reference), rows.with_heads(lines), num_p)


def _number(mine: list[float], others: list[float], p: float | None, name: str) -> Number:
    """A difference and its p-value."""
    if not mine or not others:
        return Number()
    difference = signed(sum(mine) / len(mine) - sum(others) / len(others))
    return Number(difference, "too few seeds" if p is None else p_value(p), name, strong=exceeds(p))
