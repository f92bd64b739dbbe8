"""The paper's tables in its own layout, ours beside the paper's; and what the grid has beyond all its tables.

A table has one metric or several: accuracy alone, or with training and test FLOPs. Sparsities stand side by side, or
stacked as blocks of rows.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from pipeline.params.schema import Params
from pipeline.report import words
from pipeline.report.blocks import Line, Number, Table, by_heading, under
from pipeline.report.names import colors, heading, labels, suffix, title
from pipeline.report.paper import numbers as paper
from pipeline.report.paper.numbers import ACCURACY, INFERENCE, TRAINING, Layout, PrintedRow, Record, further
from pipeline.report.paper.protocol import protocol, settings
from pipeline.report.results import Results
from pipeline.training.cell import Group

METRIC_NAMES = {ACCURACY: "top-1, %", TRAINING: "training FLOPs", INFERENCE: "test FLOPs"}
OF_DENSE = {TRAINING: "training_dense", INFERENCE: "inference_dense"}
"""What a ratio refers to."""
SETTINGS = ("epochs", "batch size", "learning rate", "momentum", "drops at epoch", "weight decay")


def ours(results: Results, group: Group, metric: str = ACCURACY) -> Number:
    """Mean ± std with n, in percent; empty where no run has it."""
    if (stat := results.stat(group, metric)) is None:
        return Number()
    num_seeds = len(results.params.grid.seeds)
    note = f"n = {stat.n}" if stat.n == num_seeds else f"n = {stat.n} of {num_seeds}"
    return Number(words.spread(stat.mean, stat.std), note, group.name)


def record_of(results: Results, group: Group) -> Record | None:
    """The accuracy in print for a group of the grid; None where there is none."""
    return paper.published(group, results.params.methods.get(group.method or "dense", {"method": "dense"}))


def beside(results: Results, group: Group, record: Record | None, metric: str = ACCURACY) -> tuple[str, ...]:
    """The paper's number (or one it quotes), and the difference, ours − paper, where both are there."""
    if record is None:
        return ()
    text = words.spread(record.mean, record.std) + (" quoted" if record.row.quoted else "")
    stat = results.stat(group, metric)
    return (text, words.signed(stat.mean - record.mean)) if stat else (text,)


def line(results: Results, section: str | None, numbers: list[Number], **changes: str) -> Line:
    """A row under the name and colour of a method section (None: the dense model), with ``changes`` to it."""
    params, name = results.params, section or "dense"
    return replace(Line(labels(params)[name], colors(params)[name], numbers), **changes)


def row_label(params: Params, row: PrintedRow) -> str:
    """A row's name: that of its section where the grid has one of the very same values."""
    if row.rewind:
        return words.REWIND_NAMES[row.rewind]
    section, name = row.find(params), title(row.section)
    return labels(params)[section] if section and title(params.methods[section]) == name else name


@dataclass(frozen=True)
class ModelRows:
    """The rows of a table for one model."""

    results: Results
    layout: Layout
    model: str

    @property
    def name(self) -> str:
        """The model as a reader knows it."""
        return words.MODEL_NAMES.get(self.model, self.model)

    @property
    def datasets(self) -> list[str]:
        """Those of the grid that may stand in the table: ImageNet has tables of its own."""
        datasets, layout = self.results.params.grid.datasets, self.layout
        return [name for name in datasets if not layout.groups or paper.family_of(name) == layout.family]

    @property
    def in_paper(self) -> bool:
        """Whether the table is in print for this model and a data set of the grid."""
        ids, datasets = set(self.layout.row_ids), set(self.layout.columns) & set(self.datasets)
        return any(
            row in ids and dataset in datasets and model == self.model
            for row, dataset, model, *_ in paper.records()
        )

    @property
    def stands_in(self) -> str:
        """What the printed table does not have; empty where it has it, or where there is no such table."""
        if self.in_paper or not self.layout.groups:
            return ""
        datasets = ", ".join(
            words.DATASET_NAMES.get(name, name) for name in self.results.params.grid.datasets
        )
        return f"{self.name} on {datasets}" if self.model in paper.models(self.layout.family) else self.name

    @property
    def columns(self) -> dict[str, list[float]]:
        """Data set -> sparsities: as printed where the paper has them, then what the grid has beyond that."""
        columns = dict(self.layout.columns) if self.in_paper else {}
        for dataset in self.datasets:
            columns[dataset] = sorted({*columns.get(dataset, ()), *self.results.params.grid.sparsities})
        return columns

    @property
    def places(self) -> list[tuple[str, float]]:
        """(data set, sparsity) of every column, or of every block of rows."""
        return [(dataset, s) for dataset, sparsities in self.columns.items() for s in sparsities]

    def groups(self, stage: str, section: str | None, rewind: str | None = None) -> Iterator[Group]:
        """The runs of a section in every place."""
        for dataset, sparsity in self.places:
            yield Group(stage, dataset, self.model, section, sparsity, rewind)

    def table(self) -> Table:
        """Below the dense model, the printed rows, or those that no table has."""
        if self.layout.stacked:
            return self._stacked()
        lines = [self._dense(), *([] if self.layout.groups else self._further())]
        for name, ids in self.layout.groups.items():
            shown = [self._line(paper.rows(self.layout.family)[row], self.places) for row in ids]
            lines += under(name, [one for one in shown if one is not None])
        return self.with_heads(lines)

    def with_heads(self, lines: list[Line]) -> Table:
        """A table under these columns: data sets with their sparsities, or sparsities with their metrics."""
        metrics = [METRIC_NAMES[metric] for metric in self.layout.metrics]
        if len(metrics) > 1:
            heads = [(f"{words.short_percent(s)} sparse", len(metrics)) for _, s in self.places]
            return Table(heads, metrics * len(heads), lines, kind="printed")
        heads = [(words.DATASET_NAMES.get(name, name), len(own)) for name, own in self.columns.items()]
        return Table(heads, [words.short_percent(s) for _, s in self.places], lines, kind="printed")

    def left_out(self) -> list[str]:
        """Printed rows without a number here, neither ours nor the paper's."""
        left_out = [row for row in self.layout.rows if self._line(row, self.places) is None]
        return [row_label(self.results.params, row) for row in left_out]

    def _stacked(self) -> Table:
        """Tables 4 and 5: a block of rows per sparsity, with the initial and the final one as columns."""
        dense = self._dense()
        lines = [replace(dense, numbers=[Number(), Number(), *dense.numbers[: len(self.layout.metrics)]])]
        for dataset, sf in self.places:
            block = []
            for row in self.layout.rows:
                if (shown := self._line(row, [(dataset, sf)])) is not None:
                    si = row.section.get("si", 0.0 if row.section["method"] == "granet" else sf)
                    sparsities = [Number(f"{si:g}"), Number(f"{sf:g}")]
                    block.append(replace(shown, numbers=[*sparsities, *shown.numbers]))
            lines += under(f"{words.short_percent(sf)} sparse", block)
        heads = ["si", "sf", *(METRIC_NAMES[metric] for metric in self.layout.metrics)]
        return Table([(head, 1) for head in heads], [], lines, kind="printed")

    def _line(self, row: PrintedRow, places: list[tuple[str, float]]) -> Line | None:
        """A printed row; None where neither the grid nor the paper has it for this model."""
        section = row.find(self.results.params)
        if section is None:
            anywhere = [row.group(None, dataset, self.model, sparsity) for dataset, sparsity in self.places]
            if not any(paper.printed(row, group) for group in anywhere):
                return None
        groups = [row.group(section, dataset, self.model, sparsity) for dataset, sparsity in places]
        numbers = [self._number(row, group, metric) for group in groups for metric in self.layout.metrics]
        label = row_label(self.results.params, row)
        return line(self.results, section, numbers, label=label) if section else Line(label, "", numbers)

    def _number(self, row: PrintedRow, group: Group, metric: str) -> Number:
        """Ours with the paper's below it: an accuracy, or FLOPs as a ratio to the dense network's."""
        if metric == ACCURACY:
            below = beside(self.results, group, paper.printed(row, group))
            return replace(ours(self.results, group), below=below)
        if row.stage == "dense":
            return self._dense_flops(row, group, OF_DENSE[metric])
        record, stat = paper.printed(row, group, metric), self.results.stat(group, metric)
        below = () if record is None else (f"{record.mean:.2f}×",)
        return Number(f"{stat.mean:.2f}×", group=group.name, below=below) if stat else Number(below=below)

    def _dense(self) -> Line:
        """The dense model belongs to no sparsity: one accuracy for a data set, and what the ratios refer to."""
        numbers = []
        for dataset, sparsities in self.columns.items():
            group, row = Group("dense", dataset, self.model), paper.rows(paper.family_of(dataset))["dense"]
            accuracy, *flops = [self._number(row, group, metric) for metric in self.layout.metrics]
            several = [accuracy, *flops] * len(sparsities)
            numbers += several if flops else [replace(accuracy, span=len(sparsities))]
        return line(self.results, None, numbers, label=f"{self.name.removesuffix(' (CIFAR)')} (Dense)")

    def _dense_flops(self, row: PrintedRow, group: Group, metric: str) -> Number:
        """The FLOPs that a ratio refers to; every run of the model knows them."""
        runs, record = self.results.of(group.dataset, self.model), paper.printed(row, group, metric)
        below = () if record is None else (f"{record.mean:.1e}",)
        if runs.empty:
            return Number(below=below)
        run = runs.iloc[0]
        return Number("1×", f"{run[metric]:.1e}", run["group"], below=below)

    def _further(self) -> list[Line]:
        """What no table has, under its families."""
        params, lines = self.results.params, []
        for stage, section, rewind in further(params):
            numbers = [ours(self.results, group) for group in self.groups(stage, section, rewind)]
            name = "Retrained" if rewind else heading(params, section or "dense")
            shown = line(self.results, section, numbers, heading=name)
            lines.append(replace(shown, label=shown.label + suffix(Group(stage, "", "", rewind=rewind))))
        return by_heading(lines)


def table1(results: Results) -> Table | None:
    """A row per dense network, in the paper's order; the paper's values stand below ours, settings where they differ.

    None where the grid has methods, and none of its dense networks is in print.
    """
    grid, in_print = results.params.grid, settings()
    networks = list(product(grid.models, grid.datasets))
    if not set(networks) & set(in_print):
        if grid.methods or grid.after or grid.chains:
            return None
        in_print = []
    train = asdict(results.params.train) | {"epochs": results.params.train.total_epochs}
    lines = []
    for model, dataset in dict.fromkeys([*in_print, *networks]):
        group = Group("dense", dataset, model)
        here = _texts(train if (model, dataset) in networks else None)
        there = _texts(protocol("cifar10")["train"] if (model, dataset) in in_print else None)
        numbers = [
            Number(text, below=(other,) if other not in ("", text) else ())
            for text, other in zip(here, there, strict=True)
        ]
        below = beside(results, group, record_of(results, group))
        numbers.append(replace(ours(results, group), below=below))
        lines.append(Line(words.setting(dataset, model), "", numbers))
    return Table([(head, 1) for head in (*SETTINGS, "accuracy")], [], lines, "network", "printed")


def _texts(train: dict[str, Any] | None) -> list[str]:
    """The values of `SETTINGS`, or an empty text for each."""
    if train is None:
        return [""] * len(SETTINGS)
    drops = ", ".join(f"{drop * train['epochs']:g}" for drop in train["lr_drops"])
    falls = f"{drops} (× {train['lr_factor']:g})" if drops else "none"
    if (schedule := train.get("lr_schedule", "steps")) != "steps":
        falls = schedule
    plain = [f"{train[key]:g}" for key in ("epochs", "batch_size", "lr", "momentum", "weight_decay")]
    return [*plain[:4], falls, plain[4]]
