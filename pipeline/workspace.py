"""Where things lie: the user's workspace, the tracking database, folders for unfinished work."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_folder(parent: Path, key: str) -> Iterator[Path]:
    """The folder parent/key, which a killed process with the same work may have left.

    Two queued experiments may do the same work at once: then the second one gets a folder of its own.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / f"{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            own = parent / f"{key}-{os.getpid()}"
            try:
                yield own
            finally:
                shutil.rmtree(own, ignore_errors=True)
        else:
            yield parent / key
            Path(lock.name).unlink(missing_ok=True)


def root() -> Path:
    """The user's workspace: under a queued DVC experiment the parent repository, else the working folder."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI where set, else the workspace's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"
