"""Which differences within a table exceed the noise of the seeds."""

from dataclasses import dataclass, replace
from statistics import fmean

from pipeline.report.blocks import Number, Table
from pipeline.report.noise import exceeds, welch
from pipeline.report.paper.numbers import rows
from pipeline.report.tables.printed import ModelRows, line, row_label
from pipeline.report.words import p_value, signed


@dataclass(frozen=True)
class Significance:
    """Each row of a table minus the one it is tested against."""

    against: str
    table: Table
    num_p: int
    """p-values in the table; 0: too few seeds everywhere."""


def significance(model_rows: ModelRows) -> Significance | None:
    """The differences of one model's rows, with Welch's p-values; None where the grid has nothing to compare."""
    results, layout = model_rows.results, model_rows.layout
    params = results.params
    if not layout.against:
        return None
    reference = rows(layout.family)[layout.against]
    if (base := reference.find(params)) is None:
        return None
    bases = [results.values(group, "last") for group in model_rows.groups(reference.stage, base)]
    lines, num_p = [], 0
    for row in layout.rows:
        if row.id == layout.against or (section := row.find(params)) is None:
            continue
        numbers = []
        groups = model_rows.groups(row.stage, section, row.rewind)
        for group, others in zip(groups, bases, strict=True):
            values = results.values(group, "last")
            p = welch(values, others)
            num_p += p is not None
            numbers.append(_number(values, others, p, group.name))
        lines.append(replace(line(results, section, numbers), label=row_label(params, row)))
    if not any(number.text for one in lines for number in one.numbers):
        return None
    return Significance(row_label(params, reference), replace(model_rows.with_heads(lines), kind=""), num_p)


def _number(values: list[float], others: list[float], p: float | None, name: str) -> Number:
    """A difference and its p-value."""
    if not values or not others:
        return Number()
    difference = signed(fmean(values) - fmean(others))
    return Number(difference, "too few seeds" if p is None else p_value(p), name, strong=exceeds(p))
