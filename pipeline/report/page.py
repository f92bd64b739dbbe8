"""Stage report: the paper's claims, tables and figures for the grid in params.yaml, from the runs that are there.

    python -m pipeline.report

Reads params.yaml and runs/, writes reports/report.html (one file, opens anywhere), reports/report.md with
reports/figures/, reports/metrics.json, reports/accuracy.json with the same for
`dvc exp show`, reports/budgets.csv with every network's layers, and reports/curves.csv for
`dvc plots`. A cell of the grid without a run stays empty.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from granet.common.files import atomic, made
from granet.types import UserError
from pipeline.params.files import load
from pipeline.report.blocks import Section, render
from pipeline.report.provenance import how_to_open
from pipeline.report.results import Results, headline, histories, in_short, read
from pipeline.report.sections import claims, comparators, frame, models, ranking
from pipeline.report.tables.budgets import COLUMNS, budget_rows, csv_text
from pipeline.tracking.client import Tracker, flatten
from pipeline.tracking.journal import FOLDER, clear
from pipeline.training.checkpoints import store_of
from pipeline.training.origin import made_by
from pipeline.workspace import tracking_uri

OUT = Path("reports")


def write(results: Results, out: Path) -> dict[str, dict[str, float]]:
    """All files of the report, once all is there; returns what is in metrics.json."""
    with _unfinished(out) as figures:
        parts = models.parts(results, figures)
        values = {
            "experiment": results.params.tracking.experiment,
            "title": f"GraNet: results of “{results.params.tracking.experiment}”",
            "figures": "figures",
            "opening": frame.opening(results),
            "sections": list(sections(results, parts, figures)),
        }
        columns, metrics = ["run", "epoch", "test_accuracy", "sparsity"], headline(results)
        rows = (row for part in parts for row in budget_rows(results, part.tables.series()))
        texts = {
            **{name: render(name, **values) for name in ("report.html", "report.md")},
            "curves.csv": histories(results.runs)[columns].to_csv(index=False),
            "budgets.csv": csv_text(("group", *COLUMNS), rows),
            "metrics.json": json.dumps(metrics, indent=2) + "\n",
            "accuracy.json": json.dumps({"acc": in_short(metrics, results.params.grid.sparsities)}, indent=2)
            + "\n",
        }
        _remove(out / "figures")
        figures.rename(out / "figures")
    for name, text in texts.items():
        atomic(out / name, text.encode())
    return metrics


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """An empty folder for the figures of a new report, which is gone afterwards; those of the old one stay."""
    folder = made(out) / "unfinished"  # what a killed process has left there goes first
    _remove(folder)
    try:
        yield made(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def sections(results: Results, parts: list[models.Part], folder: Path) -> Iterator[Section]:
    """The report from top to bottom, without the sections that have nothing to show."""
    ranked = ranking.ranking(results, folder)
    comes_first = ranking.leads(results)
    if ranked is not None and comes_first:
        yield ranked
    yield claims.claims(results)
    if not frame.is_study(results) and (dense := claims.dense(results)) is not None:
        yield dense
    yield from claims.tables(results)
    if ranked is not None and not comes_first:
        yield ranked
    if (others := comparators.comparators(results)) is not None:
        yield others
    yield from models.sections(results, parts, folder)
    yield from frame.closing(results)


def main(arguments: list[str]) -> None:
    """Write the report, log it to MLflow, and say where it is."""
    if arguments:
        raise UserError(f"{arguments[0]!r}: the report takes no arguments; it shows the grid of params.yaml")
    params = load()
    tags = {"dvc_stage": "report", **made_by("pipeline.report")}
    with Tracker(offline=params.tracking.offline) as tracker:
        metrics = write(read(params), OUT)
        with (
            store_of(f"report-{token_hex(6)}", "report") as store,
            tracker.opened(store / FOLDER, params.tracking.experiment, "report", params={}, tags=tags),
        ):
            tracker.metrics(flatten(metrics), step=0)
            tracker.artifacts(OUT / "report.html", OUT / "report.md")
    clear(store)
    print(f"Report   {OUT / 'report.html'}\nRuns     {how_to_open(tracking_uri())}")
