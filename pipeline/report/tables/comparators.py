"""Numbers of other papers beside ours, one row each: marked where their settings differ, and averaged with nothing."""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.names import by_family, colors, labels
from pipeline.report.paper.comparators import Comparator, of, our_protocol
from pipeline.report.results import Results
from pipeline.report.tables.printed import ours
from pipeline.report.words import short_percent
from pipeline.training.cell import Group

HEADS = ("paper", "sparsity, %", "top-1, %", "training FLOPs", "differs from ours")
PHRASES = {
    "split": "{} images",
    "padding": "padding {}",
    "epochs": "{} epochs",
    "batch": "batch {}",
    "schedule": "{}",
    "label_smoothing": "smoothing {}",
    "selection": "{}",
    "seeds": "seeds: {}",
}
"""How a field of the protocol reads."""


def beside_others(results: Results, dataset: str, model: str) -> Table | None:
    """Ours and theirs at each sparsity of the grid, and of the dense network; None where no paper has any."""
    others, lines = of(dataset, model), []
    if not others or results.of(dataset, model).empty:
        return None
    protocol = our_protocol(results, dataset)
    for sparsity in (0.0, *sorted(results.params.grid.sparsities)):
        published = [_theirs(one, protocol, sparsity) for one in others if one.stands_at(sparsity)]
        if published:
            heading = f"{short_percent(sparsity)} sparse" if sparsity else "Dense"
            lines += under(heading, [*_ours(results, dataset, model, sparsity), *published])
    return Table([(head, 1) for head in HEADS], [], lines, kind="wide") if lines else None


def in_words(protocol: Mapping[str, str]) -> str:
    """The fields of a protocol that are known.

    >>> in_words({"epochs": "100", "batch": "", "schedule": "cosine"})
    '100 epochs, cosine'
    """
    return ", ".join(PHRASES[key].format(value) for key, value in protocol.items() if value)


def cited(results: Results, dataset: str, model: str) -> list[str]:
    """The papers in such a table: where they are, and where each number was read."""
    sparsities = (0.0, *results.params.grid.sparsities)
    shown = [one for one in of(dataset, model) if any(one.stands_at(s) for s in sparsities)]
    return list(dict.fromkeys(f"{one.paper}, {one.source}; read in {one.read}" for one in shown))


def _ours(results: Results, dataset: str, model: str, sparsity: float) -> list[Line]:
    """A row for each of our methods that has run."""
    params, lines = results.params, []
    for section in by_family(params) if sparsity else ["dense"]:
        group = Group("dense", dataset, model)
        if sparsity:
            group = Group(params.stage_of(section), dataset, model, section, sparsity)
        accuracy = ours(results, group)
        if accuracy.text:
            stats = [results.stat(group, f"{kind}_ratio") for kind in ("training", "inference")]
            flops = [f"{stat.mean:.3f}x" if stat and sparsity else "1x" for stat in stats]
            epochs = params.train_config(section).total_epochs if sparsity else params.train.total_epochs
            longer = Number("" if epochs == params.train.total_epochs else f"{epochs} epochs")
            numbers = [
                Number("ours"),
                Number(_percent(sparsity)),
                replace(accuracy, strong=True),
                _flops(*flops),
                longer,
            ]
            lines.append(Line(labels(params)[section], colors(params)[section], numbers))
    return lines


def _theirs(one: Comparator, protocol: Mapping[str, str], sparsity: float) -> Line:
    """A row in print; ≠ before its name where something differs from ours, ? where something is not known."""
    differs = one.differs(protocol)
    other = in_words({key: getattr(one, key) for key, is_other in differs.items() if is_other})
    unknown = [key.replace("label_", "") for key, is_other in differs.items() if is_other is None]
    if len(unknown) == len(differs):
        other = "its protocol is not known"
    is_near = float(one.sparsity) != sparsity
    numbers = [
        Number(one.paper.replace(" et al.", "")),  # in full below the table
        Number("≠ " * is_near + _percent(float(one.sparsity)), one.distribution),
        Number(one.accuracy + (f" ± {one.std}" if one.std else "")),
        _flops(one.training_flops, one.inference_flops),
        Number(other, f"not known: {', '.join(unknown)}" if 0 < len(unknown) < len(differs) else ""),
    ]
    mark = "≠ " if any(differs.values()) or is_near else "? " if unknown else ""
    return Line(f"{mark}{one.method}", "", numbers)


def _flops(training: str, inference: str) -> Number:
    return Number(training, f"test {inference}" if inference else "")


def _percent(sparsity: float) -> str:
    return f"{round(100 * sparsity, 2):g}"
