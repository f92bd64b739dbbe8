"""Numbers of other papers beside ours, one row each: marked where their settings differ, and averaged with nothing."""

from dataclasses import replace

from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.names import by_family, colors, labels
from pipeline.report.paper.comparators import PROTOCOL, Comparator, of, our_protocol
from pipeline.report.results import Results
from pipeline.report.tables.printed import ours
from pipeline.report.words import short_percent
from pipeline.training.cell import Group

HEADS = (
    "sparsity, %",
    "top-1, %",
    "training FLOPs",
    "test FLOPs",
    *(key.replace("_", " ") for key in PROTOCOL),
)


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
            lines += under(heading, [*_ours(results, dataset, model, sparsity, protocol), *published])
    return Table([(head, 1) for head in HEADS], [], lines, "method, paper", "wide") if lines else None


def cited(results: Results, dataset: str, model: str) -> list[str]:
    """The papers in such a table: where they are, and where each number was read."""
    sparsities = (0.0, *results.params.grid.sparsities)
    shown = [one for one in of(dataset, model) if any(one.stands_at(s) for s in sparsities)]
    return list(dict.fromkeys(f"{one.paper}, {one.source}; read in {one.read}" for one in shown))


def _ours(
    results: Results, dataset: str, model: str, sparsity: float, protocol: dict[str, str]
) -> list[Line]:
    """A row for each of our methods that has run."""
    params, lines = results.params, []
    for section in by_family(params) if sparsity else [None]:
        stage = params.stage_of(section) if section else "dense"
        group = Group(stage, dataset, model, section, sparsity or None)
        accuracy = ours(results, group)
        if not accuracy.text:
            continue
        stats = [results.stat(group, f"{kind}_ratio") for kind in ("training", "inference")]
        flops = [Number(f"{stat.mean:.3f}x" if stat and section else "1x") for stat in stats]
        epochs = str(params.train_config(section).total_epochs)
        fields = protocol | {"epochs": epochs}
        numbers = [Number(_percent(sparsity)), replace(accuracy, strong=True), *flops]
        numbers += [Number(fields[key]) for key in PROTOCOL]
        name = section or "dense"
        lines.append(Line(f"{labels(params)[name]}, ours", colors(params)[name], numbers))
    return lines


def _theirs(one: Comparator, protocol: dict[str, str], sparsity: float) -> Line:
    """A row in print; ≠ before what differs from ours, ? for what is not known."""
    differs = one.differs(protocol)
    accuracy = one.accuracy + (f" ± {one.std}" if one.std else "")
    marked = "≠ " * (float(one.sparsity) != sparsity)
    numbers = [
        Number(marked + _percent(float(one.sparsity))),
        Number(accuracy),
        Number(one.training_flops),
        Number(one.inference_flops),
        *(Number(_marked(getattr(one, key), differs[key])) for key in PROTOCOL),
    ]
    mark = "≠ " if any(differs.values()) or marked else "? " if None in differs.values() else ""
    return Line(f"{mark}{one.name}, {one.paper}", "", numbers)


def _marked(text: str, differs: bool | None) -> str:
    return "?" if differs is None else f"≠ {text}" if differs else text


def _percent(sparsity: float) -> str:
    return f"{round(100 * sparsity, 2):g}"
