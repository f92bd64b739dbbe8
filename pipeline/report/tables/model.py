"""The report's tables of one model on one data set: FLOPs, reinitialisation, three accuracies, layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipeline.drawing import Series
from pipeline.params.schema import Params
from pipeline.report.blocks import Line, Number, Table, by_heading, headed
from pipeline.report.names import by_family, colors, heading, labels, network_name, suffix
from pipeline.report.results import Results, layers, mask_curves
from pipeline.report.tables.printed import beside, line, ours, record_of
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
        return runs.query("stage in ['dense', 'sparse', 'after', 'chain']")

    def reinit(self) -> Table:
        """Figure 4 as numbers: the same masks with new random weights."""
        lines = []
        for method in self.params.grid.reinit:
            numbers = []
            for original in self._groups(method):
                again, change = replace(original, stage="reinit"), Number()
                before, after = self.results.stat(original, "last"), self.results.stat(again, "last")
                if before and after:
                    change = Number(signed(after.mean - before.mean), group=again.name)
                numbers += [ours(self.results, original), ours(self.results, again), change]
            lines.append(line(self.results, method, numbers))
        return self._by_sparsity(["original", "reinitialised", "difference"], lines)

    def flops(self, *, timed: bool = True) -> Table:
        """Training and inference FLOPs as a share of the dense model's, which every run of the model knows; and time.

        The time of a whole run is measured, and a share of the mean dense run's. Not ``timed``: it is left out.
        """
        heads = ["training", "inference", *(["measured time"] if timed else [])]
        runs, dense = self.results.of(self.dataset, self.model), Number()
        if not runs.empty:
            run = runs.iloc[0]
            training, inference = flops(run["training_dense"]), flops(run["inference_dense"])
            dense = Number("1", f"training {training}, inference {inference} per image", run["group"])
        lines = [
            line(self.results, None, [replace(dense, span=len(heads) * len(self.params.grid.sparsities))])
        ]
        for method in by_family(self.params):
            numbers = []
            for group in self._groups(method):
                numbers += [self._ratio(group, f"{kind}_ratio") for kind in ("training", "inference")]
                numbers += [self._time_ratio(group)] if timed else []
            lines.append(replace(line(self.results, method, numbers), heading=heading(self.params, method)))
        return self._by_sparsity(heads, by_heading(lines))

    def three_accuracies(self) -> Table:
        """Each of the three test accuracies by its name; the paper's stands beside its like, the best test epoch."""
        return three_columns(self.accuracy_lines())

    def accuracy_lines(self) -> list[Line]:
        """Those of the dense model, and of every method and pre-trained network under its heading."""
        grid = self.params.grid
        lines = [self._three(self._group("dense"))]
        for sparsity in grid.sparsities:
            keys = [(self.params.stage_of(method), method, None) for method in by_family(self.params)]
            keys += [("soup", method, None) for method in grid.soups]
            keys += [("reinit", method, None) for method in grid.reinit]
            keys += [("retrain", method, rewind) for method in grid.retrain for rewind in grid.rewinds]
            groups = [self._group(stage, method, sparsity, rewind) for stage, method, rewind in keys]
            lines += headed(f"Sparsity {short_percent(sparsity)}", [self._three(group) for group in groups])
        return [*lines, *headed("Pruning plasticity", self._pretrained())]

    def network_lines(self) -> list[Line]:
        """The three accuracies of the dense model and of the pre-trained networks, under the model and data set."""
        networks, dense = self._pretrained(), self._three(self._group("dense"))
        return headed(self.title, [dense, *networks]) if networks else [replace(dense, label=self.title)]

    def _pretrained(self) -> list[Line]:
        return [
            replace(self._three(self._group("pretrain", network=text)), label=network_name(text), color="")
            for text in self.params.grid.pretrain
        ]

    def layers(self) -> Table:
        """Learnt sparsity of every layer, in percent: mean over the seeds."""
        shown, lines = [one for one in self.series() if one.sparsity is not None], []
        for layer, column in layers(self.trained).to_dict().items():
            groups = [one.group if one.group in column else None for one in shown]
            numbers = [Number(percent(column[name]), group=name) if name else Number() for name in groups]
            lines.append(Line(str(layer), "", numbers))
        names = [one.label for one in shown if one.sparsity == self.params.grid.sparsities[0]]
        return self._by_sparsity(names, lines, "layer")

    def masks(self) -> Table:
        """What the masks have done by the last epoch; a mean over the seeds."""
        frame, lines = mask_curves(self.trained), []
        known = {name for name, _ in frame.index} if len(frame) else set()
        for method in by_family(self.params):
            numbers = []
            for group in self._groups(method):
                if group.name not in known:
                    numbers += [Number()] * 3
                    continue
                last = frame.loc[group.name].iloc[-1]
                texts = (percent(last["ever_active"]["mean"]), percent(last["overlap_initial"]["mean"]))
                texts += (f"{last['dead_channels']['mean']:.1f}",)
                numbers += [Number(text, group=group.name) for text in texts]
            lines.append(replace(line(self.results, method, numbers), heading=heading(self.params, method)))
        return self._by_sparsity(["ever active", "overlap with step 0", "dead channels"], by_heading(lines))

    def series(self) -> list[Series]:
        """What the figures draw: the dense model, then at each sparsity the methods by family."""
        params, methods = self.params, by_family(self.params)
        names, palette = labels(params), colors(params)
        groups = [self._group("dense")]
        groups += [self._group(params.stage_of(m), m, s) for s in params.grid.sparsities for m in methods]
        return [
            Series(
                label=names[section] if len(names[section]) <= LONGEST else section,
                color=palette[section],
                family=heading(params, section),
                sparsity=group.sparsity,
                group=group.name,
                values=self.results.values(group, "last"),
                again=self.results.values(replace(group, stage="reinit"), "last"),
            )
            for group in groups
            for section in [group.method or "dense"]
        ]

    def granet_series(self) -> list[Series]:
        """Of these, GraNet's, by initial sparsity: what Figure 15 draws."""
        sections = self.params.methods
        granet = [m for m in by_family(self.params) if sections[m]["method"] == "granet"]
        initial = {group.name: sections[method]["si"] for method in granet for group in self._groups(method)}
        return sorted((s for s in self.series() if s.group in initial), key=lambda s: initial[s.group])

    def _group(self, stage: str, *keys: Any, **named: Any) -> Group:
        return Group(stage, self.dataset, self.model, *keys, **named)

    def _groups(self, method: str) -> list[Group]:
        stage = self.params.stage_of(method)
        return [self._group(stage, method, sparsity) for sparsity in self.params.grid.sparsities]

    def _by_sparsity(self, columns: list[str], lines: list[Line], corner: str = "method") -> Table:
        heads = [(f"{short_percent(s)} sparse", len(columns)) for s in self.params.grid.sparsities]
        return Table(heads, columns * len(heads), lines, corner)

    def _ratio(self, group: Group, metric: str) -> Number:
        if (stat := self.results.stat(group, metric)) is None:
            return Number()
        text = f"{stat.mean:.3f}" if stat.std is None else f"{stat.mean:.3f} ± {stat.std:.3f}"
        return Number(text, group=group.name)

    def _time_ratio(self, group: Group) -> Number:
        dense, times = (self.results.values(each, "time_s") for each in (self._group("dense"), group))
        if not dense or not times:
            return Number()
        return Number(f"{mean(times) / mean(dense):.2f}", group=group.name)

    def _three(self, group: Group) -> Line:
        numbers = [ours(self.results, group, metric) for metric in ("last", "best_val", "best_test")]
        texts = beside(self.results, group, record_of(self.results, group), "best_test")
        paper, difference = (*texts, "", "")[:2]
        numbers += [Number(paper), Number(difference, group=group.name if difference else None)]
        named = line(self.results, group.method, numbers)
        return replace(named, label=named.label + suffix(group))


def three_columns(lines: Sequence[Line], corner: str = "method") -> Table:
    """A table of the three accuracies, from lines that all name their heading; the paper's where any has its number."""
    columns = ["last epoch", "best validation epoch", "best test epoch", "paper", "best test − paper"]
    if not any(line.numbers[3].text for line in lines):
        columns = columns[:3]
    shown = [replace(line, numbers=line.numbers[: len(columns)]) for line in lines]
    return Table([(column, 1) for column in columns], [], by_heading(shown), corner)
