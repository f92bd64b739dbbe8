"""The report's tables of one model on one data set: FLOPs, reinitialisation, three accuracies, layers."""


# pyright: reportArgumentType=false, reportReturnType=false
# (pandas' types are wider than the values of a frame whose columns are known)

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.drawing import Series
from pipeline.params.schema import Params
from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.names import by_family, colors, heading, labels, network_name, suffix
from pipeline.report.results import Results, layers
from pipeline.report.tables.numbers import beside, line, ours, record_of
from pipeline.report.words import flops, percent, setting, short_percent, signed
from pipeline.training.cell import Group

if TYPE_CHECKING:
    from pandas import DataFrame

LONGEST = 48
"""Letters of a name that a picture has room for; a longer one gives way to that of its section, also unique."""


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

    @property
    def title(self) -> str:
        """The model on the data set, as a reader knows them."""
        return setting(self.dataset, self.model)

    @property
    def trained(self) -> "DataFrame":
        """The runs of the dense model and of the methods, without those that train a mask of theirs again."""
        runs = self.results.of(self.dataset, self.model)
        return runs[runs["stage"].isin(["dense", "sparse", "after"])]

    def reinit(self) -> Table:
        """Figure 4 as numbers: the same masks with new random weights."""
        lines = []
        for method in self.params.grid.reinit:
            numbers = []
            pairs = zip(self._groups(method), self._groups(method, "reinit"), strict=True)
            for original, again in pairs:
                before, after = self.results.stat(original, "last"), self.results.stat(again, "last")
                change = Number()
                if before and after:
                    change = Number(signed(after.mean - before.mean), group=again.name)
                numbers += [ours(self.results, original), ours(self.results, again), change]
            lines.append(line(self.results, method, numbers))
        return self._by_sparsity(["original", "reinitialised", "difference"], lines)

    def flops(self) -> Table:
        """Training and inference FLOPs as a share of the dense model's."""
        dense = replace(self._dense_flops(), span=2 * len(self.params.grid.sparsities))
        lines, by_heading = [line(self.results, None, [dense])], {}
        for method in by_family(self.params):
            numbers = [
                self._ratio(group, metric)
                for group in self._groups(method)
                for metric in ("training_ratio", "inference_ratio")
            ]
            by_heading.setdefault(heading(self.params, method), []).append(
                line(self.results, method, numbers)
            )
        lines += [one for name, block in by_heading.items() for one in under(name, block)]
        return self._by_sparsity(["training", "inference"], lines)

    def three_accuracies(self) -> Table:
        """Each of the three test accuracies by its name; the paper's stands beside its like, the best test epoch."""
        grid = self.params.grid
        lines = [self._three(self._group("dense"))]
        for sparsity in grid.sparsities:
            groups = [self._group(self.params.stage_of(m), m, sparsity) for m in by_family(self.params)]
            groups += [self._group("reinit", method, sparsity) for method in grid.reinit]
            groups += [
                self._group("retrain", m, sparsity, rewind) for m in grid.retrain for rewind in grid.rewinds
            ]
            lines += under(f"Sparsity {short_percent(sparsity)}", [self._three(group) for group in groups])
        return _three_columns([*lines, *under("Pruning plasticity", self._pretrained())])

    def network_lines(self) -> list[Line]:
        """The three accuracies of the dense model and of the pre-trained networks, under the model and data set."""
        networks, dense = self._pretrained(), self._three(self._group("dense"))
        return under(self.title, [dense, *networks]) if networks else [replace(dense, label=self.title)]

    def _pretrained(self) -> list[Line]:
        """A row per network of the plasticity study."""
        return [
            replace(self._three(self._group("pretrain", network=text)), label=network_name(text), color="")
            for text in self.params.grid.pretrain
        ]

    def layers(self) -> Table:
        """Learnt sparsity of every layer, in percent: mean over the seeds."""
        frame = layers(self.trained)
        columns = [one for one in self.series() if one.sparsity is not None]
        lines = [
            Line(str(layer), "", [_share(column.get(one.group), one.group) for one in columns])
            for layer, column in frame.items()
        ]
        sparsities = self.params.grid.sparsities
        heads = [(f"{short_percent(s)} sparse", len(columns) // len(sparsities)) for s in sparsities]
        return Table(heads, [one.label for one in columns], lines, "layer")

    def series(self) -> list[Series]:
        """What the figures draw: the dense model, then at each sparsity the methods by family."""
        params, methods = self.params, by_family(self.params)
        names, palette = labels(params), colors(params)
        groups = [self._group("dense")]
        groups += [self._group(params.stage_of(m), m, s) for s in params.grid.sparsities for m in methods]
        series = []
        for group in groups:
            section = group.method or "dense"
            again = self.results.values(replace(group, stage="reinit"), "last") if group.method else ()
            series.append(
                Series(
                    label=names[section] if len(names[section]) <= LONGEST else section,
                    color=palette[section],
                    family=heading(params, section),
                    sparsity=group.sparsity,
                    group=group.name,
                    values=self.results.values(group, "last"),
                    again=again,
                )
            )
        return series

    def granet_series(self) -> list[Series]:
        """Of these, GraNet's, by initial sparsity: what Figure 15 draws."""
        params = self.params
        sections = [m for m in by_family(params) if params.methods[m]["method"] == "granet"]
        initial = {group.name: params.methods[m]["si"] for m in sections for group in self._groups(m)}
        of_granet = [one for one in self.series() if one.group in initial]
        return sorted(of_granet, key=lambda one: initial[one.group])

    def _group(
        self,
        stage: str,
        method: str | None = None,
        sparsity: float | None = None,
        rewind: str | None = None,
        network: str | None = None,
    ) -> Group:
        """A group of this model and data set."""
        return Group(stage, self.dataset, self.model, method, sparsity, rewind, network)

    def _groups(self, method: str, stage: str | None = None) -> list[Group]:
        """A group per sparsity of the grid; without ``stage`` in the one that trains the method."""
        stage = stage or self.params.stage_of(method)
        return [self._group(stage, method, sparsity) for sparsity in self.params.grid.sparsities]

    def _by_sparsity(self, columns: list[str], lines: list[Line]) -> Table:
        """A table with these columns under every sparsity of the grid."""
        sparsities = self.params.grid.sparsities
        heads = [(f"{short_percent(sparsity)} sparse", len(columns)) for sparsity in sparsities]
        return Table(heads, columns * len(sparsities), lines)

    def _ratio(self, group: Group, metric: str) -> Number:
        if (stat := self.results.stat(group, metric)) is None:
            return Number()
        text = f"{stat.mean:.3f}" if stat.std is None else f"{stat.mean:.3f} ± {stat.std:.3f}"
        return Number(text, group=group.name)

    def _three(self, group: Group) -> Line:
        numbers = [ours(self.results, group, metric) for metric in ("last", "best_val", "best_test")]
        texts = beside(self.results, group, record_of(self.results, group), "best_test")
        paper, difference = (*texts, "", "")[:2]
        numbers += [Number(paper), Number(difference, group=group.name if difference else None)]
        named = line(self.results, group.method, numbers)
        return replace(named, label=named.label + suffix(group))

    def _dense_flops(self) -> Number:
        """What a ratio of 1 stands for; every run of the model knows it."""
        if (runs := self.results.of(self.dataset, self.model)).empty:
            return Number()
        run = runs.iloc[0]
        training, inference = flops(run["training_dense"]), flops(run["inference_dense"])
        return Number("1", f"training {training}, inference {inference} per image", run["group"])


def network_accuracies(results: Results) -> Table:
    """The three accuracies of all networks in one table: dense and pre-trained, all there is without a method."""
    grid = results.params.grid
    every = [Tables(results, dataset, model) for dataset in grid.datasets for model in grid.models]
    lines = [line for tables in every for line in tables.network_lines()]
    return replace(_three_columns(lines), corner="network")


def _three_columns(lines: list[Line]) -> Table:
    """The three accuracies; the paper's columns where any row has its number."""
    columns = ["last epoch", "best validation epoch", "best test epoch", "paper", "best test − paper"]
    num_shown = 5 if any(line.numbers[3].text for line in lines) else 3
    shown = [replace(line, numbers=line.numbers[:num_shown]) for line in lines]
    return Table([(column, 1) for column in columns[:num_shown]], [], shown)


def _share(value: float | None, name: str) -> Number:
    return Number() if value is None else Number(percent(value), group=name)
