"""The rows of docs/plasticity.csv, one per branch of the plasticity study, and the study as these rows have it.

The networks that were pruned have their rows in docs/results.csv, with the hardware and the data.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from pandas import DataFrame

from granet.types import UserError
from pipeline.params.schema import Params
from pipeline.report.evidence.rows import digest
from pipeline.report.evidence.sheet import Row, Sheet, typed
from pipeline.report.results import OTHERS, Other
from pipeline.training.cell import cells
from pipeline.training.folder import BRANCHES, SUMMARY, RunFolder

OF_A_BRANCH = {
    **{"epoch": int, "outcome": str, "scope": str, "rate": float, "regenerated": "True".__eq__},
    **dict.fromkeys(("lr", "before", "after", "change", "sparsity"), float),
    **{"steps": int, "time_s": float},
}
"""Columns of branches.csv by what reads a field."""
COLUMNS = {
    **dict.fromkeys(("experiment", "run"), str),
    **{"epochs": int, "lr_drop_epochs": str, "continued_epochs": int},
    **OF_A_BRANCH,
    **dict.fromkeys(("git_revision", "git_dirty", "config"), str),
}
SHEET = Sheet(Path("docs/plasticity.csv"), COLUMNS, frozenset(COLUMNS) - {"time_s"})
ORDER = ("experiment", "run", "config", "epoch", "outcome", "scope", "rate", "regenerated")


def found(root: Path) -> Iterator[Row]:
    """The branches of the finished plasticity runs below a folder. Raises UserError where a file is damaged."""
    for path in sorted(root.glob(f"plasticity/*/{SUMMARY}")):
        folder = RunFolder(path.parent)
        summary = folder.json(SUMMARY, *OTHERS["plasticity"], "name", "environment", "tracking")
        of_run = {
            "experiment": summary["tracking"]["experiment"],
            "run": f"plasticity@{summary['name']}",
            "epochs": summary["epochs"],
            "lr_drop_epochs": " ".join(f"{drop:g}" for drop in summary["lr_drop_epochs"]),
            "continued_epochs": summary["continued_epochs"],
            **{name: summary["environment"].get(name) for name in ("git_revision", "git_dirty")},
            "config": digest(summary["config"]),
        }
        folder.csv(BRANCHES, (), OF_A_BRANCH)  # refuses what lacks a column
        try:
            rows = csv.DictReader(io.StringIO(folder.file(BRANCHES).read_text()))
            yield from [of_run | typed(row, OF_A_BRANCH) for row in rows]
        except ValueError as error:
            raise UserError(f"{folder.path / BRANCHES}: {error}; {folder.remedy}") from None


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """All rows in their order; a run's new branches take the place of all the old ones of the same configuration."""
    renewed = {(row["experiment"], row["run"], row["config"]) for row in new}
    kept = [row for row in old if (row["experiment"], row["run"], row["config"]) not in renewed]
    return sorted([*kept, *new], key=lambda row: [row[name] for name in ORDER])


def study_of(params: Params, rows: Sequence[Row]) -> tuple[list[Other], dict[str, str]]:
    """The plasticity runs of a grid, from rows of its experiment and length; DVC stage -> lines of the file.

    Raises UserError where one was measured with two configurations.
    """
    others, lines = [], {}
    for cell in (cell for cell in cells(params) if cell.stage == "plasticity"):
        mine = [
            (line, row)
            for line, row in enumerate(rows, start=2)
            if row["run"] == cell.dvc_stage
            and row["experiment"] == params.tracking.experiment
            and row["epochs"] == params.train.total_epochs
        ]
        if len({row["config"] for _, row in mine}) > 1:
            raise UserError(f"{SHEET.file}: {cell.dvc_stage} has two configurations; delete the rows of one")
        if mine:
            (first, row), (last, _) = mine[0], mine[-1]
            summary = {
                "epochs": row["epochs"],
                "lr_drop_epochs": [float(drop) for drop in row["lr_drop_epochs"].split()],
                "continued_epochs": row["continued_epochs"],
                "num_branches": len(mine),
                "time_s": sum(one["time_s"] or 0.0 for _, one in mine),
            }
            frame = DataFrame([row for _, row in mine], columns=[*OF_A_BRANCH])
            frame["change"] = frame["change"].astype(float)  # None where a branch diverged
            others.append(Other(cell, summary, RunFolder(cell.folder), frame))
            lines[cell.dvc_stage] = f"{first} to {last}"
    return others, lines
