"""Rows of docs/results.csv as the results of a grid: what the report's tables, claims and figures are made of."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pandas import DataFrame

from granet.types import UserError
from pipeline.params.schema import Params
from pipeline.report.evidence.rows import FILE, Row
from pipeline.report.results import OTHERS, Results
from pipeline.training.cell import Cell, cells

ENVIRONMENT = ("hardware", "precision", "torch", "git_revision", "git_dirty", "code", "data_md5")
OTHER_KERNELS = {"auto": "dense", "sparse": "dense", "dense": "auto"}
"""What runs with some kernels are compared with."""


@dataclass(frozen=True)
class Selection:
    """A grid's results, from rows of the CSV; ``lines``: DVC stage -> line of the file, whose first is its head.

    ``others``: accuracy at the last epoch of the runs that differ in their kernels alone, by cell.
    """

    results: Results
    lines: dict[str, int]
    others: dict[Cell, float]


def select(params: Params, rows: Sequence[Row]) -> Selection:
    """The rows of an experiment that are cells of its grid, trained for as many epochs.

    Raises UserError where there is none, or where two rows are one cell.
    """
    wanted = {cell.dvc_stage: cell for cell in cells(params) if cell.stage not in OTHERS}
    runs: dict[str, dict] = {}
    others: dict[Cell, float] = {}
    for line, row in enumerate(rows, start=2):
        cell = wanted.get(row["run"])
        if cell is None or row["experiment"] != params.tracking.experiment:
            continue
        if row["epochs"] != params.train_config(cell.schedule).total_epochs:
            continue
        if row["kernels"] == OTHER_KERNELS.get(params.train.kernels):
            others[cell] = row["test_accuracy_last"]
        elif row["kernels"] == params.train.kernels:
            if row["run"] in runs:
                raise UserError(
                    f"{FILE}, line {line}: {row['run']} comes twice; delete the row that is not wanted"
                )
            runs[row["run"]] = {"line": line, **_run(cell, row)}
    if not runs:
        raise UserError(
            f"{FILE} has no run of experiment {params.tracking.experiment}; add some: python -m pipeline.report csv"
        )
    in_order = [runs[name] for name in wanted if name in runs]
    missing = [cell for name, cell in wanted.items() if name not in runs]
    lines = {name: run["line"] for name, run in runs.items()}
    return Selection(Results(params, DataFrame(in_order), missing), lines, others)


def _run(cell: Cell, row: Row) -> dict:
    """One run as `pipeline.report.results` has it, but for its folder, its layers and MLflow's run."""
    return {
        **asdict(cell),
        "cell": cell,
        "group": cell.group.name,
        "dvc_stage": cell.dvc_stage,
        "last": row["test_accuracy_last"],
        "best_val": row["test_accuracy_best_val"],
        "best_test": row["test_accuracy_selected_on_test"],
        "final_sparsity": row["sparsity_reached"],
        **{f"{name}_dense": row[f"{name}_flops_dense"] for name in ("training", "inference")},
        **{
            f"{name}_ratio": row[f"{name}_flops"] / row[f"{name}_flops_dense"]
            for name in ("training", "inference")
        },
        **{
            name: row[name]
            for name in ("num_train", "num_val", "num_test", "num_classes", "time_s", *ENVIRONMENT)
        },
        "empty_layers": (row["empty_layers"] or "").split(),
        "image_shape": tuple(map(int, row["image_shape"].split("x"))),
        "layer_sparsity": {},
        "experiment": row["experiment"],
        "experiment_id": "",
        "run_id": "",
    }
