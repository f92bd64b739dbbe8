"""Stage report: the paper's claims, tables and figures for the grid in params.yaml, from the runs that are there.

    python -m pipeline.report

Reads params.yaml and runs/, writes reports/report.html (one file, opens anywhere), reports/report.md with
reports/figures/, reports/metrics.json, reports/budgets.csv with every network's layers, and reports/curves.csv for
`dvc plots`. A cell of the grid without a run stays empty.
"""


# pyright: reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

import base64
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granet.types import UserError
from pipeline.drawing import DPI
from pipeline.params.files import load
from pipeline.report import paper
from pipeline.report.figures import plasticity as plasticity_figures
from pipeline.report.figures import runs as figures
from pipeline.report.noise import LEVEL, MIN_SEEDS
from pipeline.report.plasticity import departures as study_departures
from pipeline.report.plasticity import studies
from pipeline.report.provenance import departures, facts, how_to_open, images, run_groups
from pipeline.report.results import Results, curves, headline, histories, layers, once, read
from pipeline.report.tables import plasticity as plasticity_tables
from pipeline.report.tables import printed_imagenet
from pipeline.report.tables.budgets import COLUMNS, budget_rows, budget_tables, csv_text
from pipeline.report.tables.dense import table1
from pipeline.report.tables.fields import Table
from pipeline.report.tables.model import Tables, network_accuracies
from pipeline.report.tables.overview import overview
from pipeline.report.tables.printed import FURTHER, ModelRows, asked, further
from pipeline.report.tables.significance import Significance, significance
from pipeline.report.tables.smaller import smaller
from pipeline.report.words import DATASET_NAMES, MODEL_NAMES, setting
from pipeline.tracking.client import Tracker, flatten
from pipeline.workspace import tracking_uri

OUT = Path("reports")
TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("accuracy", "curves", "layers")
"""Figures of every model with a sparse run."""


@dataclass(frozen=True)
class Printed:
    """A table of the paper in its own layout, or the one of what no table of the paper has."""

    id: str
    title: str
    models: list["OfModel"]
    in_paper: bool
    notes: Sequence[str] = ()
    """What has to be said of the paper's numbers."""


@dataclass(frozen=True)
class OfModel:
    """Such a table's part for one model."""

    name: str
    table: Table
    stands_in: str
    left_out: list[str]
    tests: Significance | None


@dataclass(frozen=True)
class Block:
    """What the report shows of one model on one data set."""

    id: str
    title: str
    flops: Table
    reinit: Table
    three: Table
    layers: Table
    budgets: list[tuple[str, Table]]
    """Appendix D's budgets, by final sparsity."""
    in_paper: bool
    """Whether the paper's number stands beside any of its accuracies."""
    figures: dict[str, Path]
    """Kind of figure -> its file, for those with something to draw."""


@dataclass(frozen=True)
class Plasticity:
    """One figure of the plasticity study."""

    id: str
    title: str
    outcome: str
    figures: dict[str, Path]
    caption: str
    departures: list[str]
    findings: list[str]
    phases: Table
    points: Table


def printed(results: Results) -> Iterator[Printed]:
    """The tables to show, with the rows of every model of the grid."""
    params = results.params
    for layout in printed_imagenet.asked(params):
        own = [printed_imagenet.FlopsRows(results, layout, model) for model in params.grid.models]
        parts = [
            OfModel(rows.name, rows.table(), "" if rows.in_paper else rows.name, rows.left_out(), tests=None)
            for rows in own
        ]
        in_paper = any(rows.in_paper for rows in own)
        yield Printed(layout.id, layout.title, parts, in_paper, layout.notes if in_paper else ())
    for layout in [*asked(params), *([FURTHER] if further(params) else [])]:
        models = [ModelRows(results, layout, model) for model in params.grid.models]
        parts = [
            OfModel(rows.name, rows.table(), rows.stands_in, rows.left_out(), significance(rows))
            for rows in models
        ]
        yield Printed(layout.id, layout.title, parts, in_paper=any(rows.in_paper for rows in models))


def blocks(results: Results, folder: Path) -> Iterator[Block]:
    """Tables and figures of every model on every data set of the grid. Figures are written to ``folder``."""
    for dataset in results.params.grid.datasets:
        for model in results.params.grid.models:
            name, tables = f"{dataset}-{model}", Tables(results, dataset, model)
            three = tables.three_accuracies()
            yield Block(
                id=name,
                title=setting(dataset, model),
                flops=tables.flops(),
                reinit=tables.reinit(),
                three=three,
                layers=tables.layers(),
                budgets=list(budget_tables(results, tables.series())),
                in_paper=len(three.heads) > 3,
                figures=_draw(tables, name, folder),
            )


def _draw(tables: Tables, name: str, folder: Path) -> dict[str, Path]:
    """The figures of one model on one data set, as far as there are runs for them."""
    series, runs = tables.series(), tables.results.of(tables.dataset, tables.model)
    sparse = [s for s in series if s.sparsity is not None and s.values]
    paths = {kind: folder / f"{kind}-{name}.png" for kind in (*KINDS, "reinit", "dynamics")}
    shown = []
    if sparse:
        own = runs[runs["stage"].isin(["dense", "sparse", "after"])]
        figures.accuracy(series, paths["accuracy"])
        figures.curves(series, curves(own), paths["curves"])
        figures.layers(sparse, layers(own), paths["layers"])
        shown += KINDS
        granet = [s for s in tables.granet_series() if s.values]
        if granet and tables.dataset == paper.IMAGENET:
            figures.dynamics(granet, curves(own), int(runs["inference_dense"].iloc[0]), paths["dynamics"])
            shown.append("dynamics")
    if pairs := [s for s in sparse if s.again]:
        figures.reinit(pairs, paths["reinit"])
        shown.append("reinit")
    return {kind: paths[kind] for kind in shown}


def plasticity(results: Results, folder: Path) -> Iterator[Plasticity]:
    """The figures of the plasticity study that have a branch, written to ``folder``, with their numbers."""
    for study in studies(results):
        path = folder / f"{study.id}.png"
        plasticity_figures.picture(study, path)
        yield Plasticity(
            id=study.id,
            title=study.title,
            outcome=study.outcome,
            figures={"plasticity": path},
            caption=plasticity_figures.caption(study),
            departures=study_departures(results, study),
            findings=plasticity_tables.findings(study),
            phases=plasticity_tables.phases(study),
            points=plasticity_tables.points(study, len(results.params.grid.seeds)),
        )


def write(results: Results, out: Path) -> dict[str, dict[str, float]]:
    """All files of the report; returns what is in metrics.json."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shutil.rmtree(out / "figures", ignore_errors=True)
    (out / "figures").mkdir(parents=True)  # an output of the stage, also where nothing is drawn
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"base64": _base64, "width": _width}
    context = _context(results, out / "figures")
    for name in ("report.html", "report.md"):
        (out / name).write_text(environment.get_template(f"{name}.j2").render(context), encoding="utf-8")
    columns = ["run", "epoch", "test_accuracy", "sparsity"]
    histories(results.runs)[columns].to_csv(out / "curves.csv", index=False)  # for dvc plots
    (out / "budgets.csv").write_text(csv_text(("group", *COLUMNS), _budget_rows(results)))
    metrics = headline(results)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def _budget_rows(results: Results) -> Iterator[list[object]]:
    """The budgets of all models on all data sets."""
    for dataset in results.params.grid.datasets:
        for model in results.params.grid.models:
            yield from budget_rows(results, Tables(results, dataset, model).series())


def _context(results: Results, folder: Path) -> dict[str, Any]:
    """What the templates show."""
    params, grid, shown = results.params, results.params.grid, list(blocks(results, folder))
    no_method = not (grid.methods or grid.after)
    only_study = no_method and bool(grid.pretrain)
    cifar_claims = not only_study and grid.datasets != [paper.IMAGENET]
    return {
        "overview": overview(results) if cifar_claims else None,
        "table1": None if only_study else table1(results),
        "only_study": only_study,
        "plasticity": list(plasticity(results, folder)),
        "continued": params.plasticity.continued(params.train),
        "outcomes": params.plasticity.outcomes,
        "filters": any(text.startswith("filter") for text in grid.pretrain),
        "smaller": smaller(results),
        "printed": list(printed(results)),
        "blocks": shown,
        "network_accuracies": network_accuracies(results) if no_method else None,
        "dynamics": [block for block in shown if "dynamics" in block.figures],
        "sparse": any("accuracy" in block.figures for block in shown),
        "departures": departures(results),
        "beside_paper": any(
            paper.protocol(dataset) is not None and len(results.on(dataset)) for dataset in grid.datasets
        ),
        "models": [MODEL_NAMES.get(model, model) for model in grid.models],
        "images": [(DATASET_NAMES.get(name, name), images(results.on(name))) for name in grid.datasets],
        "level": LEVEL,
        "min_seeds": MIN_SEEDS,
        "facts": facts(results),
        "groups": run_groups(results, tracking_uri()),
        "grid": grid,
        "epochs": params.train.total_epochs,
        "batch_size": params.train.batch_size,
        "missing": [f"{cell.stage}@{cell.name}" for cell in results.missing],
        "outdated": [f"{cell.stage}@{cell.name}" for cell in results.outdated],
        "num_runs": len(results.runs) + len(results.others),
        "hardware": once(results.runs["hardware"].tolist()),
        "precision": once(results.runs["precision"].tolist()),
        "experiment": params.tracking.experiment,
        "open_mlflow": how_to_open(tracking_uri()),
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _width(path: Path) -> int:
    """The width of a PNG in CSS pixels, with room for sharp screens: 9 inches fill the page."""
    return round(int.from_bytes(path.read_bytes()[16:20]) / DPI * 122)


def main(arguments: list[str]) -> None:
    """Write the report, log it to MLflow, and say where it is."""
    if arguments:
        raise UserError(f"{arguments[0]!r}: the report takes no arguments; it shows the grid of params.yaml")
    params = load()
    metrics = write(read(params), OUT)
    with Tracker() as tracker:
        tracker.start(params.tracking.experiment, "report", params={}, tags={"dvc_stage": "report"})
        tracker.metrics(flatten(metrics), step=0)
        tracker.artifacts(OUT / "report.html", OUT / "report.md")
    print(f"Report   {OUT / 'report.html'}\nRuns     {how_to_open(tracking_uri())}")
