"""The state of runs in .checkpoints: a folder each, named by all that decides the result (`origin.key_of`)."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from granet.common.files import atomic
from pipeline.tracking.journal import STAGE, clear, is_being_sent
from pipeline.workspace import own_folder, root

FINISHED = "finished"


def stores() -> list[Path]:
    """All folders with the state of a run."""
    return sorted(path.parent for path in (root() / ".checkpoints").glob(f"*/{STAGE}"))


@contextmanager
def store_of(key: str, dvc_stage: str, *, persists: bool = False) -> Iterator[Path]:
    """The folder of a run, until the block ends for it alone. First, what DVC has recorded since is removed.

    The state of a finished run goes at the end of the block, but not where DVC runs the stage: it has yet to record the
    results, and deletes them if it is killed before. So the stage, started again, ends at once. ``persists``: it does
    not delete them.
    """
    for recorded in stores():
        if is_recorded(recorded):
            with suppress(Timeout), FileLock(f"{recorded}.lock", timeout=0):
                clear(recorded)
    with own_folder(root() / ".checkpoints", key, clear, is_being_sent) as store:
        atomic(store / STAGE, dvc_stage.encode())
        try:
            yield store
        finally:
            if (store / FINISHED).exists() and (persists or "DVC_STAGE" not in os.environ):
                clear(store)


def finish(store: Path, summary: Path) -> None:
    """Say that a run's results are written, ``summary`` last."""
    atomic(store / FINISHED, hashlib.md5(summary.read_bytes(), usedforsecurity=False).hexdigest().encode())


def is_recorded(store: Path) -> bool:
    """Whether DVC has recorded the results of a run: dvc.lock, here or in the workspace, has the md5 of its summary."""
    if not (store / FINISHED).exists():
        return False
    md5, locks = (store / FINISHED).read_text(), {Path("dvc.lock").resolve(), root() / "dvc.lock"}
    return any(md5 in lock.read_text() for lock in locks if lock.exists())


def remove(store: Path) -> bool:
    """Delete a run's state, and what MLflow has not got of it; False where a process uses it."""
    with suppress(Timeout), FileLock(f"{store}.lock", timeout=0):
        shutil.rmtree(store)
        return True
    return False
