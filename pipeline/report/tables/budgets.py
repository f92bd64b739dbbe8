"""Budgets of finished runs (Appendix D): by layer, mean over the seeds, for the report and its CSV."""


# pyright: reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from granet.models import build
from granet.studies.budget import Budget, Outline, outline
from pipeline.drawing import Series, sparsities_of
from pipeline.report.results import Results
from pipeline.report.tables.fields import Line, Number, Table
from pipeline.report.words import percent, short_percent

COLUMNS = ("layer", "shape", "parameters", "active", "sparsity", "dense_flops", "flops", "flops_ratio")
SIZES = (32, 224)
"""Heights of an image where a run's parameters name none: digits and CIFAR, ImageNet."""
TOTALS = {"overall": "Overall", "backbone": "Backbone (all convolutions)"}
SHOWN = ("weights kept", "sparsity, %", "MFLOPs")


@cache
def outline_of(model: str, num_classes: int, image_size: int) -> Outline:
    """The outline of a model by name, given square images. Nothing is allocated: shapes decide."""
    with torch.device("meta"):
        return outline(build(model, num_classes=num_classes), (3, image_size, image_size))


def outline_of_run(folder: Path, summary: Mapping[str, Any]) -> Outline | None:
    """The outline of a run's network; None where its folder has no weights, or their dense FLOPs are not the run's.

    The classifier's weight says how many classes there are, and the dense FLOPs how large the images.
    """
    from safetensors import safe_open

    path, config = folder / "model.safetensors", summary["config"]
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        if "fc.weight" not in file.keys():  # noqa: SIM118 (no mapping)
            return None
        num_classes = file.get_slice("fc.weight").get_shape()[0]
    own = config["data"]["image_size"]
    for size in SIZES if own is None else (own,):
        found = outline_of(config["model"], num_classes, size)
        if found.dense.total == summary["flops"]["inference_dense"]:
            return found
    return None


def budgets(results: Results, series: Sequence[Series]) -> dict[str, Budget]:
    """Group -> the budget at the mean layer sparsities of its runs; without masks or weights there is none."""
    found = {}
    for name in [one.group for one in series if one.sparsity is not None]:
        runs = results.runs[results.runs["group"] == name]
        outlines = [own for folder in runs["folder"] if (own := _outline(folder))]
        layers = [own for own in runs["layer_sparsity"] if own]
        if layers and len(layers) == len(outlines) == len(runs):
            means = {layer: fmean(own[layer] for own in layers) for layer in layers[0]}
            found[name] = outlines[0].at(means)
    return found


def _outline(folder: Path) -> Outline | None:
    return outline_of_run(folder, json.loads((folder / "summary.json").read_text()))


def budget_tables(results: Results, series: Sequence[Series]) -> Iterator[tuple[str, Table]]:
    """A title and a table per final sparsity: a row per layer below the totals, three columns per method."""
    found = budgets(results, series)
    for sparsity in sparsities_of(series):
        shown = [one for one in series if one.sparsity == sparsity and one.group in found]
        if not shown:
            continue
        rows = [list(found[one.group].rows) for one in shown]
        lines = []
        for index, layer in enumerate(rows[0]):
            own = [budget[index] for budget in rows]
            dense = [Number(f"{layer.parameters:,}"), Number(_mflops(layer.dense_flops))]
            numbers = [
                number
                for one, mine in zip(shown, own, strict=True)
                for number in (
                    Number(f"{mine.active:,}", group=one.group),
                    Number(percent(mine.sparsity) if mine.parameters else "", group=one.group),
                    Number(_mflops(mine.flops), group=one.group),
                )
            ]
            lines.append(Line(TOTALS.get(layer.name, layer.name), "", [*dense, *numbers]))
        heads = [("Dense", 2), *((one.label, len(SHOWN)) for one in shown)]
        columns = ["weights", "MFLOPs", *SHOWN * len(shown)]
        yield f"{short_percent(sparsity)} sparse", Table(heads, columns, lines)


def _mflops(flops: int) -> str:
    """
    >>> _mflops(8_178_569_216), _mflops(51_200)
    ('8,178.569', '0.051')
    """
    return f"{flops / 1e6:,.3f}"


def budget_rows(results: Results, series: Sequence[Series]) -> Iterator[list[object]]:
    """The rows of reports/budgets.csv: the group, then the fields of `COLUMNS`."""
    for name, budget in budgets(results, series).items():
        for row in rows_of(budget):
            yield [name, *row]


def rows_of(budget: Budget) -> list[list[object]]:
    """The fields of `COLUMNS`, a row per layer below the totals."""
    return [
        [
            layer.name,
            "x".join(map(str, layer.shape)),
            layer.parameters,
            layer.active,
            round(layer.sparsity, 6),
            layer.dense_flops,
            layer.flops,
            round(layer.flops_ratio, 6),
        ]
        for layer in budget.rows
    ]


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
