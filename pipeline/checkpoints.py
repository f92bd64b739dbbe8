"""The state of runs in .checkpoints: where interrupted ones go on from, and finished ones until DVC has recorded them.

    python -m pipeline.checkpoints                       list them, with their sizes
    python -m pipeline.checkpoints delete STAGE|all      delete those of a stage, or of the stages that begin like it

A run whose state is deleted starts anew. Nothing is deleted that a process uses. What MLflow has not got, because it
could not be reached, lies there too: python -m pipeline.tracking sync sends it.
"""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from granet.types import UserError
from pipeline import cli
from pipeline.tracking.journal import STAGE, is_cleared
from pipeline.training.checkpoints import FINISHED, remove, stores


def main(arguments: list[str]) -> None:
    """List, or delete."""
    if not arguments:
        show(stores())
        return
    if len(arguments) != 2 or arguments[0] != "delete":
        raise UserError(
            f"{' '.join(arguments)!r} is no argument of checkpoints; write nothing, or: delete STAGE|all"
        )
    wanted = "" if arguments[1] == "all" else arguments[1]
    chosen = [store for store in stores() if stage_of(store).startswith(wanted)]
    if not chosen:
        raise UserError(
            f"no run of {arguments[1]!r} has left its state; python -m pipeline.checkpoints lists them"
        )
    for store in chosen:
        print(f"{stage_of(store)}: {'deleted' if remove(store) else 'is in use, and stays'}")


def stage_of(store: Path) -> str:
    """What DVC calls the run, e.g. dense@digits-resnet20-0."""
    return (store / STAGE).read_text()


def show(found: list[Path]) -> None:
    """A row per run, and what all of them take."""
    table = Table("stage", "state", Column("MB", justify="right"), Column("last written", justify="right"))
    total = 0.0
    for store in found:
        files = [path.stat() for path in store.rglob("*") if path.is_file()]
        size = sum(file.st_size for file in files) / 1e6
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(file.st_mtime for file in files)))
        state = "finished" if (store / FINISHED).exists() else "unfinished"
        state = "not sent to MLflow" if is_cleared(store) else state
        table.add_row(stage_of(store), state, f"{size:,.1f}", when)
        total += size
    Console().print(table)
    print(f"{len(found)} runs, {total:,.1f} MB; to delete them: python -m pipeline.checkpoints delete all")


if __name__ == "__main__":
    cli.run_main(main, __doc__, sys.argv[1:])
