"""Rows of docs/results.csv as the results of a grid: what the report's tables, claims and figures are made of."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pandas import DataFrame

from granet.types import UserError
from pipeline.params.schema import Params
from pipeline.report.evidence.branches import study_of
from pipeline.report.evidence.rows import SHEET
from pipeline.report.evidence.sheet import Row
from pipeline.report.results import OTHERS, Results
from pipeline.training.cell import Cell, cells

NAMED = {
    "last": "test_accuracy_last",
    "best_val": "test_accuracy_best_val",
    "best_test": "test_accuracy_selected_on_test",
    "final_sparsity": "sparsity_reached",
    "training_dense": "training_flops_dense",
    "inference_dense": "inference_flops_dense",
}
"""Columns of results by those of the CSV that they are called there."""
KEPT = ("num_train", "num_val", "num_test", "num_classes", "time_s", "hardware", "precision", "torch")
KEPT += ("git_revision", "git_dirty", "code", "data_md5", "experiment", "arithmetic", "python", "granet")
MADE = ("cell", "group", "dvc_stage", "training_ratio", "inference_ratio", "empty_layers", "image_shape")
COLUMNS = [*(field.name for field in fields(Cell)), *NAMED, *KEPT, *MADE]
OTHER_KERNELS = {"auto": "dense", "sparse": "dense", "dense": "auto"}
"""What runs with some kernels are compared with."""


@dataclass(frozen=True)
class Selection:
    """A grid's results, from rows of the CSVs; ``lines``: DVC stage -> line of the file, whose first is its head.

    ``others``: the rows of those runs that have other kernels, by cell, and their lines.
    """

    results: Results
    lines: dict[str, str]
    others: dict[Cell, tuple[Row, str]]


def select(
    params: Params, rows: Sequence[Row], branches: Sequence[Row] = (), further: Params | None = None
) -> Selection:
    """The rows of an experiment that are cells of its grid, trained for as many epochs; there may be none yet.

    ``branches`` are those of the plasticity study, ``further`` another grid of the same experiment, which
    goes on from this one: its cells are shown as well. Raises UserError where two rows are one cell.
    """
    both = [*cells(params), *(cells(further) if further else [])]
    wanted = {cell.dvc_stage: cell for cell in both if cell.stage not in OTHERS}
    params = united(params, further) if further else params
    runs: dict[str, dict[str, Any]] = {}
    lines: dict[str, str] = {}
    others: dict[Cell, tuple[Row, str]] = {}
    for line, row in enumerate(rows, start=2):
        cell = wanted.get(row["run"])
        if cell is None or row["experiment"] != params.tracking.experiment:
            continue
        if row["epochs"] != params.train_config(cell.schedule).total_epochs:
            continue
        is_other = row["kernels"] == OTHER_KERNELS[params.train.kernels]
        if cell in others if is_other else row["run"] in runs:
            raise UserError(
                f"{SHEET.file}, line {line}: {row['run']} comes twice; delete the row that is not wanted"
            )
        if is_other:
            others[cell] = row, str(line)
        else:
            runs[row["run"]], lines[row["run"]] = _run(cell, row), str(line)
    frame = DataFrame([runs[name] for name in wanted if name in runs], columns=COLUMNS)
    missing = [wanted[name] for name in wanted if name not in runs]
    studies, branch_lines = study_of(params, branches)
    return Selection(Results(params, frame, missing, others=studies), lines | branch_lines, others)


def united(params: Params, further: Params) -> Params:
    """The further parameters, with the methods of both grids, at the first one's sparsities."""
    methods = [*dict.fromkeys((*params.grid.methods, *further.grid.methods))]
    return replace(further, grid=replace(further.grid, methods=methods, sparsities=params.grid.sparsities))


def _run(cell: Cell, row: Row) -> dict[str, Any]:
    """One run as `pipeline.report.results` has it, but for its folder, its layers and MLflow's run."""
    return {
        **asdict(cell),
        **{ours: row[theirs] for ours, theirs in NAMED.items()},
        **{name: row[name] for name in KEPT},
        "cell": cell,
        "group": cell.group.name,
        "dvc_stage": cell.dvc_stage,
        "training_ratio": row["training_flops"] / row["training_flops_dense"],
        "inference_ratio": row["inference_flops"] / row["inference_flops_dense"],
        "empty_layers": (row["empty_layers"] or "").split(),
        "image_shape": tuple(map(int, row["image_shape"].split("x"))),
    }
