"""Where things lie: the user's workspace, prepared data, the tracking database, folders for unfinished work."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

from granet.common.files import made

RAW, PREPARED = Path("data/raw"), Path("data/prepared")
LOCAL_DATABASE = "sqlite:///mlflow.db"
POLL_S = 0.1


def root() -> Path:
    """The user's workspace: under a queued DVC experiment the parent repository, else the working folder."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI where set, else the workspace's own SQLite database. A relative path counts from `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or LOCAL_DATABASE


def address() -> str:
    """`tracking_uri` as it is shown: without a user and a password."""
    return re.sub(r"//[^/@\s]+@", "//", tracking_uri())


@contextmanager
def own_folder(
    parent: Path,
    key: str,
    discard: Callable[[Path], object] = rmtree,
    is_soon_free: Callable[[Path], bool] = lambda folder: False,
) -> Iterator[Path]:
    """The folder parent/key, which a killed process with the same work may have left.

    Two queued experiments may do the same work at once: then the second one gets a folder of its own, parent/key-PID,
    which is ``discard``ed at the end. Where the folder ``is_soon_free``, it is waited for. The file of the lock stays:
    whoever takes it away while another process waits for it would let two into one folder.
    """
    folder = made(parent) / key
    lock = FileLock(f"{folder}.lock", timeout=0)
    while not _acquired(lock) and is_soon_free(folder):
        time.sleep(POLL_S)
    if not lock.is_locked:
        folder = parent / f"{key}-{os.getpid()}"
        lock = FileLock(f"{folder}.lock", timeout=0)
        lock.acquire()
    try:
        yield folder
    finally:
        if folder.name != key and folder.exists():
            discard(folder)
        lock.release()


def _acquired(lock: FileLock) -> bool:
    try:
        return lock.acquire() is not None
    except Timeout:
        return False
