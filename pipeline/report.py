"""Stage report: the tables and figures of the grid in params.yaml, from the runs that are there.

    python -m pipeline.report

Reads params.yaml and runs/, writes reports/report.html (one file, opens anywhere), reports/report.md with
reports/figures/, reports/metrics.json, and reports/curves.csv for `dvc plots`. A cell of the grid without a run
stays empty.
"""

# pyright: reportArgumentType=false
# (pandas' types are wider than the values of a frame whose columns are known)

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from granet.types import UserError
from pipeline import figures
from pipeline.cli import run_main
from pipeline.paper import differences
from pipeline.params import load
from pipeline.provenance import facts, how_to_open, images, run_groups
from pipeline.results import Results, curves, headline, histories, layers, once, read
from pipeline.tables import Table, Tables
from pipeline.tracking import Tracker, flatten, tracking_uri
from pipeline.wording import setting

OUT = Path("reports")
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Block:
    """What the report shows of one model on one data set."""

    id: str
    title: str
    accuracy: Table
    flops: Table
    reinit: Table
    retrain: Table
    three: Table
    layers: Table
    images: str
    in_paper: bool
    """Whether the paper has the experiment; ``departures`` are then the differences in protocol."""
    departures: list[str]
    figures: dict[str, Path]
    """Kind of figure -> its file, for those with something to draw."""


def blocks(results: Results, folder: Path) -> Iterator[Block]:
    """Tables and figures of every model on every data set of the grid. Figures are written to ``folder``."""
    for dataset in results.params.grid.datasets:
        for model in results.params.grid.models:
            name, tables, runs = (
                f"{dataset}-{model}",
                Tables(results, dataset, model),
                results.of(dataset, model),
            )
            yield Block(
                id=name,
                title=setting(dataset, model),
                accuracy=tables.accuracy(),
                flops=tables.flops(),
                reinit=tables.reinit(),
                retrain=tables.retrain(),
                three=tables.three_accuracies(),
                layers=tables.layers(),
                images=images(runs) if len(runs) else "no run yet",
                in_paper=tables.in_paper,
                departures=differences(dataset, results.params, runs)
                if tables.in_paper and len(runs)
                else [],
                figures=_draw(tables, name, folder),
            )


def _draw(tables: Tables, name: str, folder: Path) -> dict[str, Path]:
    """The figures of one model on one data set, as far as there are runs for them."""
    series, runs = tables.series(), tables.results.of(tables.dataset, tables.model)
    sparse = [s for s in series if s.sparsity is not None and s.values]
    paths = {kind: folder / f"{kind}-{name}.png" for kind in ("accuracy", "curves", "reinit", "layers")}
    drawn = []
    if sparse:
        figures.accuracy(series, paths["accuracy"])
        figures.curves(series, curves(runs[runs["stage"].isin(["dense", "sparse"])]), paths["curves"])
        figures.layers(sparse, layers(runs[runs["stage"] == "sparse"]), paths["layers"])
        drawn += ["accuracy", "curves", "layers"]
    if pairs := [s for s in sparse if s.again]:
        figures.reinit(pairs, paths["reinit"])
        drawn.append("reinit")
    return {kind: paths[kind] for kind in drawn}


def write(results: Results, out: Path) -> dict[str, dict[str, float]]:
    """All files of the report; returns what is in metrics.json."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "figures", ignore_errors=True)
    shown = list(blocks(results, out / "figures"))
    context = {
        "blocks": shown,
        "facts": facts(results),
        "groups": run_groups(results, tracking_uri()),
        "grid": results.params.grid,
        "train": results.params.train,
        "missing": [f"{cell.stage}@{cell.name}" for cell in results.missing],
        "outdated": [f"{cell.stage}@{cell.name}" for cell in results.outdated],
        "num_runs": len(results.runs),
        "hardware": once(results.runs["hardware"].tolist()),
        "precision": once(results.runs["precision"].tolist()),
        "experiment": results.params.tracking.experiment,
        "open_mlflow": how_to_open(tracking_uri()),
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"base64": _base64, "width": _width}
    for name in ("report.html", "report.md"):
        (out / name).write_text(environment.get_template(f"{name}.j2").render(context), encoding="utf-8")
    columns = ["run", "epoch", "test_accuracy", "sparsity"]
    histories(results.runs)[columns].to_csv(out / "curves.csv", index=False)  # for dvc plots
    metrics = headline(results)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _width(path: Path) -> int:
    """The width of a PNG in CSS pixels, with room for sharp screens: 9 inches fill the page."""
    return round(int.from_bytes(path.read_bytes()[16:20]) / figures.DPI * 122)


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


if __name__ == "__main__":
    run_main(main, __doc__, sys.argv[1:])
