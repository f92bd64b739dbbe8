"""What stands around the results: the first lines, the note on the paper, the protocol and the list of runs."""

from pipeline.report.blocks import Fold, Pairs, Runs, Section, Text
from pipeline.report.paper.protocol import protocol
from pipeline.report.provenance import departures, facts, how_to_open, images, run_groups
from pipeline.report.results import Results, once
from pipeline.report.words import DATASET_NAMES, MODEL_NAMES
from pipeline.training.cell import Cell
from pipeline.workspace import tracking_uri


def is_study(results: Results) -> bool:
    """Whether the grid has nothing but the plasticity study."""
    grid = results.params.grid
    return bool(grid.pretrain) and not (grid.methods or grid.after)


def opening(results: Results, *, has_speed_up: bool) -> list[Text | Fold]:
    """What was trained, how to read the numbers, and which runs of the grid are not there."""
    params, grid, runs = results.params, results.params.grid, results.runs
    models = ", ".join(MODEL_NAMES.get(model, model) for model in grid.models)
    what = (
        f"Pruning plasticity of {models}:"
        if is_study(results)
        else f"Test accuracy of {models} at the last epoch,"
    )
    seeds = f"seed{'s' if len(grid.seeds) > 1 else ''} {', '.join(map(str, grid.seeds))}"
    where = f"{once(runs['precision'].tolist())} on {once(runs['hardware'].tolist())}"
    data = [f"{DATASET_NAMES.get(name, name)}: {images(results.on(name))}." for name in grid.datasets]
    faster = "; only [smaller networks](#smaller) are" if has_speed_up else ""
    train = f"{params.train.total_epochs} epochs at batch size {params.train.batch_size}"
    return [
        Text(f"{what} {train}, {seeds}, {where}. {' '.join(data)}", "lead"),
        Text(
            "Accuracies are in percent: mean ± sample standard deviation over n seeds; one seed has no spread. "
            "Every number links to the runs behind it. Sparsity is simulated by masks on dense tensors: all FLOPs here "
            f"are theoretical, and no run was faster for them{faster}.",
            "note",
        ),
        *_absent(results),
    ]


def _absent(results: Results) -> list[Text | Fold]:
    """A warning where runs of the grid are missing or outdated, with their names."""
    there = len(results.runs) + len(results.others)
    absent = len(results.missing) + len(results.outdated)
    if not absent:
        return []
    count = f"**{there} of {there + absent} runs of the grid are in this report**"
    warning = Text(f"{count}; the fields of the others are empty. `dvc repro` makes them.", "warning")
    reasons = {
        "not run yet": results.missing,
        "left out: made with other parameters than params.yaml holds now": results.outdated,
    }
    return [warning, *(_names(cells, why) for why, cells in reasons.items() if cells)]


def _names(cells: list[Cell], why: str) -> Fold:
    return Fold(f"{len(cells)} {why}", [Text(", ".join(f"`{cell.dvc_stage}`" for cell in cells))])


def beside_the_paper(results: Results, ours: str = "last epoch") -> Text:
    """How to read the paper's numbers, and how the runs depart from its protocol."""
    grid, phrases = results.params.grid, departures(results)
    is_beside = any(protocol(name) is not None and len(results.on(name)) for name in grid.datasets)
    text = (
        f"Paper: arXiv:2106.10404v4, the best test epoch; ours: the {ours}. Differences are ours − paper, in "
        "percentage points; *quoted* numbers are not the paper's own runs but those of other papers, with other pipelines."
    )
    if phrases:
        text += f" **Not comparable one to one:** {', '.join(phrases)}."
    elif is_beside:
        text += " The protocol is otherwise the paper's."
    return Text(text, "note")


def environment(results: Results) -> Section:
    """How, on what and from what the runs were made."""
    return Section("protocol", "Protocol and environment", "Protocol", [Pairs(facts(results))])


def list_of_runs(results: Results) -> Section:
    """Every run, by the mean that it stands behind."""
    uri = tracking_uri()
    text = (
        f"A run is a DVC stage, a folder and a run of the MLflow experiment {results.params.tracking.experiment}. "
        "`dvc repro -s STAGE@NAME` reproduces it, `runs/STAGE/NAME` holds its files, and MLflow its parameters and "
        f"curves: `{how_to_open(uri)}`"
    )
    return Section("runs", "Runs", "Runs", [Text(text), Runs(run_groups(results, uri))])
