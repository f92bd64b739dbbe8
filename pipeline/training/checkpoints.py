"""The state of runs in .checkpoints: a folder each, named by all that decides the result (`origin.key_of`)."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from granet.common.files import atomic
from pipeline.workspace import own_folder, root

FINISHED, STAGE = "finished", "stage"


def stores() -> list[Path]:
    """All folders with the state of a run."""
    return sorted(path.parent for path in (root() / ".checkpoints").glob(f"*/{STAGE}"))


@contextmanager
def store_of(key: str, dvc_stage: str) -> Iterator[Path]:
    """The folder of a run, until the block ends for it alone. First, what DVC has recorded since is removed."""
    for store in stores():
        if is_recorded(store):
            remove(store)
    with own_folder(root() / ".checkpoints", key) as store:
        atomic(store / STAGE, dvc_stage.encode())
        yield store


def finish(store: Path, summary: Path) -> None:
    """What becomes of a run's state once its results are written, ``summary`` last.

    Where DVC runs the stage it has yet to record them, and deletes them if it is killed before: the state stays until
    then, so that the stage, started again, ends at once.
    """
    if "DVC_STAGE" in os.environ:
        atomic(store / FINISHED, hashlib.md5(summary.read_bytes()).hexdigest().encode())
    else:
        shutil.rmtree(store, ignore_errors=True)


def is_recorded(store: Path) -> bool:
    """Whether DVC has recorded the results of a run: dvc.lock, here or in the workspace, has the md5 of its summary."""
    if not (store / FINISHED).exists():
        return False
    md5, locks = (store / FINISHED).read_text(), {Path("dvc.lock").resolve(), root() / "dvc.lock"}
    return any(md5 in lock.read_text() for lock in locks if lock.exists())


def remove(store: Path) -> bool:
    """Delete a run's state; False where a process uses it."""
    with suppress(Timeout), FileLock(f"{store}.lock", timeout=0):
        shutil.rmtree(store)
        return True
    return False
