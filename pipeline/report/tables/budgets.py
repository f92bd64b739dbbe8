"""Budgets of finished runs (Appendix D): by layer, mean over the seeds, for the report and its CSV."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from granet.studies.budget import Budget
from pipeline.drawing import Series, sparsities_of
from pipeline.report.blocks import Line, Number, Table
from pipeline.report.paper.costs import outline_of
from pipeline.report.paper.numbers import IMAGENET, table10
from pipeline.report.results import Results
from pipeline.report.words import percent, short_percent

COLUMNS = ("layer", "shape", "parameters", "active", "sparsity", "dense_flops", "flops", "flops_ratio")
TOTALS = {"overall": "Overall", "backbone": "Backbone (all convolutions)"}
TABLE10 = {"str": "str", "snfs": "snfs", "rigl": "erk", "static": "erk"}
"""Methods that have a column there; SNFS that preserves its layers has ERK's, as RigL."""
SHOWN = ("weights kept", "sparsity, %", "MFLOPs")


def budgets(results: Results, series: Sequence[Series]) -> dict[str, Budget]:
    """Group -> the budget at the mean layer sparsities of its runs.

    Without masks there is none, and for layers or FLOPs that are not those of the model by that name.
    """
    by_group = {}
    for name in [one.group for one in series if one.sparsity is not None]:
        runs = results.runs[results.runs["group"] == name]
        if runs.empty or not all(runs["layer_sparsity"]):
            continue
        run, layers = runs.iloc[0], runs["layer_sparsity"].tolist()
        means = {layer: fmean(one[layer] for one in layers) for layer in layers[0]}
        network = outline_of(run["model"], run["num_classes"], run["image_shape"])
        if set(means) <= set(network.shapes) and set(runs["inference_dense"]) == {network.dense.total}:
            by_group[name] = network.at(means)
    return by_group


def budget_tables(results: Results, series: Sequence[Series]) -> Iterator[tuple[str, Table]]:
    """A title and a table per final sparsity: a row per layer below the totals, three columns per method.

    Below a sparsity stands that of Table 10, where it has one.
    """
    by_group = budgets(results, series)
    for sparsity in sparsities_of(series):
        shown = [one for one in series if one.sparsity == sparsity and one.group in by_group]
        lines, in_print = [], [in_table10(results, one.group) for one in shown]
        for parts in zip(*(by_group[one.group].rows for one in shown), strict=True):
            layer = parts[0]
            numbers = [Number(f"{layer.parameters:,}"), Number(_mflops(layer.dense_flops))]
            for one, part, printed in zip(shown, parts, in_print, strict=True):
                share = percent(part.sparsity) if part.parameters else ""
                below = (percent(printed[part.name]),) if part.name in printed else ()
                texts = ((f"{part.active:,}", ()), (share, below), (_mflops(part.flops), ()))
                numbers += [Number(text, group=one.group, below=under) for text, under in texts]
            lines.append(Line(TOTALS.get(layer.name) or layer.name, "", numbers))
        if shown:
            heads = [("Dense", 2), *((one.label, len(SHOWN)) for one in shown)]
            columns = ["weights", "MFLOPs", *SHOWN * len(shown)]
            yield f"{short_percent(sparsity)} sparse", Table(heads, columns, lines, "layer")


def in_table10(results: Results, group: str) -> dict[str, float]:
    """The layer sparsities in print for a group of runs; empty where Table 10 has none."""
    cell = results.runs[results.runs["group"] == group].iloc[0]["cell"]
    values = results.params.methods.get(cell.method or "", {})
    column = "erk" if values.get("reallocate") == "preserve" else TABLE10.get(values.get("method", ""))
    there = (cell.dataset, cell.model, cell.sparsity) == (IMAGENET, "resnet50", 0.9)
    return table10(column) if there and column else {}


def _mflops(flops: int) -> str:
    return f"{flops / 1e6:,.3f}"


def budget_rows(results: Results, series: Sequence[Series]) -> Iterator[list[object]]:
    """The rows of reports/budgets.csv: the group, then the fields of `COLUMNS`."""
    for name, budget in budgets(results, series).items():
        yield from ([name, *row] for row in rows_of(budget))


def rows_of(budget: Budget) -> Iterator[list[object]]:
    """The fields of `COLUMNS`, a row per layer below the totals."""
    for layer in budget.rows:
        weights = (layer.parameters, layer.active, round(layer.sparsity, 6))
        flops = (layer.dense_flops, layer.flops, round(layer.flops_ratio, 6))
        yield [layer.name, "x".join(map(str, layer.shape)), *weights, *flops]


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file."""
    from pandas import DataFrame

    return DataFrame(list(rows), columns=list(columns)).to_csv(index=False, lineterminator="\n")
