"""Write docs/results.csv, a row per finished run, and docs/plasticity.csv, a row per branch of the plasticity study.

    python -m pipeline.report csv [FOLDER ...]

They have all that redoing the statistics takes. FOLDER holds runs as runs/ does (scratch/, say, or the runs/ of another
clone); without one it is runs/. Rows of these runs are added to those that are there, or take the place of the same
run's with the same configuration. Accuracies and sparsities are fractions, times seconds; an empty field says that a
run has no such thing.
"""

from pathlib import Path

from granet.common.files import atomic
from granet.types import UserError
from pipeline.report.evidence import branches, rows
from pipeline.report.words import counted
from pipeline.training.cell import RUNS


def main(arguments: list[str]) -> None:
    """Add the runs of these folders, and say how many there are. Without a branch there is no file of branches."""
    roots = [Path(argument) for argument in arguments] or [RUNS]
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is no folder; name one like runs/, or run: dvc repro")
    for module in (rows, branches):
        sheet, new = module.SHEET, [row for root in roots for row in module.found(root)]
        old = sheet.load() if sheet.file.exists() else []
        if new or old or module is rows:
            merged = module.merged(old, new)
            atomic(sheet.file, sheet.text_of(merged).encode())
            print(f"{sheet.file}: {counted(len(merged), 'row')}, {len(merged) - len(old)} more than before")
