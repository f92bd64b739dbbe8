"""The journal of a run: all that is to be logged, in order. `client` writes it, `server` sends it to MLflow.

A folder beside the run's state. So nothing is lost that a tracking server does not take: it is sent later, and a line
that may have arrived already can be sent again, since it says when it was written and in which run.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock, Timeout

from pipeline.workspace import root

FOLDER, STAGE = "mlflow", "stage"
"""In the folder of a run's state: the journal, and the file that has the name of the stage."""
WRITING = Lock()
"""Training and the sampler of system metrics write side by side."""
REFUSES, HANGS = "refuses", "hangs"
LATER = "what it has not got is sent later: by the next run, or python -m pipeline.tracking sync"


@dataclass
class Sent:
    """How much of a journal MLflow has, at which address, and what it calls the runs."""

    address: str = ""
    offset: int = 0
    runs: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Journal:
    """``folder`` has calls.jsonl, a call each line; sent.json; artifacts/; and ``trouble`` while sending fails."""

    folder: Path

    @property
    def calls(self) -> Path:
        """The calls, in order."""
        return self.folder / "calls.jsonl"

    @property
    def trouble(self) -> Path:
        """Is there while sending fails; says whether the server refuses or hangs."""
        return self.folder / "trouble"

    def begin(self) -> None:
        """Make the folder, or go on where another process has stopped: in the middle of a line, perhaps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trouble.unlink(missing_ok=True)
        content = self.calls.read_bytes() if self.calls.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.calls, whole)

    def append(self, call: str, run: str, **arguments: Any) -> None:
        """Write a call down, in one piece or not at all. Raises OSError where the disk is full."""
        line = (json.dumps({"call": call, "run": run, **arguments}, default=str) + "\n").encode()
        with WRITING, self.calls.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if (file.write(line) or 0) < len(line):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.calls))

    def after(self, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The calls that begin at or after a place in the file, and the place behind each."""
        if not self.calls.exists():
            return
        with self.calls.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                offset += len(line)
                yield json.loads(line), offset

    @property
    def sent(self) -> Sent:
        """How far sending is."""
        file = self.folder / "sent.json"
        return Sent(**json.loads(file.read_text())) if file.exists() else Sent()

    def mark(self, sent: Sent) -> None:
        """Note how far sending is."""
        temporary = self.folder / "sent.json.tmp"
        temporary.write_text(json.dumps(asdict(sent)))
        temporary.replace(self.folder / "sent.json")

    @property
    def is_sent(self) -> bool:
        """Whether MLflow has all of it."""
        return not self.calls.exists() or self.sent.offset == self.calls.stat().st_size


def clear(store: Path) -> None:
    """Delete the state of a run, but not what MLflow has yet to get."""
    if Journal(store / FOLDER).is_sent:
        shutil.rmtree(store, ignore_errors=True)
        return
    for path in store.iterdir():
        if path.is_dir() and path.name != FOLDER:
            shutil.rmtree(path)
        elif path.name not in (FOLDER, STAGE):
            path.unlink()


def is_cleared(store: Path) -> bool:
    """Whether nothing is left of a run's state but what MLflow has yet to get."""
    return {path.name for path in store.iterdir()} <= {FOLDER, STAGE}


def sending_lock(store: Path) -> FileLock:
    """Held, beside the folder's own lock, by a process that sends what another has left."""
    return FileLock(f"{store}.sending.lock", timeout=0)


def is_being_sent(store: Path) -> bool:
    """Whether the process that has the folder is such a one: it will not take long."""
    try:
        with sending_lock(store):
            return False
    except Timeout:
        return True


def unsent() -> list[Path]:
    """The folders of runs whose journals MLflow has not got whole; some may be of runs that are going on."""
    folders = (path.parents[1] for path in (root() / ".checkpoints").glob(f"*/{FOLDER}/calls.jsonl"))
    return sorted(store for store in folders if not Journal(store / FOLDER).is_sent)
