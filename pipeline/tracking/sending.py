"""When a journal is sent: by the process beside its run, as it grows, and later where that did not go.

`channel` starts the process, for one run, or for all of a launch, which connect to a socket that listens:

    python -m pipeline.tracking.sending [SOCKET'S DESCRIPTOR]
"""

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from socket import socket
from threading import Thread

from filelock import FileLock, Timeout

from granet.types import UserError
from pipeline.cli import FailedError
from pipeline.drawing import import_matplotlib
from pipeline.tracking.channel import fork_for_each
from pipeline.tracking.journal import FOLDER, HANGS, LATER, REFUSES, Journal, is_cleared, sending_lock, unsent
from pipeline.tracking.server import Sender, first_line, import_mlflow, warn
from pipeline.workspace import address

RETRY_S = 30.0
HANGS_S = 5.0
"""A call that took longer and then failed will take as long again."""

Lines = SimpleQueue[str | None]
"""What comes on standard input, and None at its end."""


def send_others(is_enough: Callable[[], object] = lambda: False) -> int:
    """Send the journals that no process works on; returns how many. Stops between two of them if it ``is_enough``.

    One that MLflow refuses holds up no other: what it says is raised at the end.
    """
    count, refused = 0, []
    for store in unsent():
        if is_enough():
            break
        try:
            with sending_lock(store), FileLock(f"{store}.lock", timeout=0):
                sender = Sender(Journal(store / FOLDER))
                sender.send()
                sender.abandon()
                if is_cleared(store):
                    shutil.rmtree(store)
                count += 1
        except Timeout:
            continue
        except Exception as error:
            if not is_refusal(error):
                raise
            refused.append(error)
    if refused:
        raise refused[0]
    return count


def sync() -> None:
    """Send all there is, and say how many journals that were. Raises FailedError where MLflow does not take it."""
    if not unsent():
        print("MLflow has everything")
        return
    try:
        count = send_others()
    except Exception as error:
        raise FailedError(f"MLflow at {address()} failed: {first_line(error)}; all is kept") from error
    print(f"sent what was left of {count} {'run' if count == 1 else 'runs'}")


def is_refusal(error: Exception) -> bool:
    """Whether MLflow is there, and will not have this: of another journal it may take all."""
    refused = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, UserError) or getattr(error, "error_code", "") in refused


class Sending:
    """Sends the journal of a run that is going on; where that fails, again after RETRY_S, and at the run's end."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sender: Sender | None = None
        self._retry_at = 0.0
        self._has_warned = self._has_sent_others = False

    @property
    def patience(self) -> float | None:
        """Seconds until the next try; None where all is well."""
        return max(0.0, self._retry_at - time.monotonic()) if self._retry_at else None

    def step(self, lines: Lines, *, is_over: bool) -> None:
        """Send what there is, unless a failure is too recent. A server that hung is not tried again at the end."""
        if self.patience and not (is_over and self._journal.trouble.read_text() == REFUSES):
            return
        began = time.monotonic()
        try:
            self._send(lines, is_over)
        except Exception as error:  # whatever a tracking server does, the training run goes on
            hangs = time.monotonic() - began > HANGS_S
            self._journal.trouble.write_text(HANGS if hangs else REFUSES)
            self._retry_at = time.monotonic() + RETRY_S
            if not self._has_warned:
                warn(f"MLflow at {address()} failed; {LATER} ({first_line(error)})")
            self._has_warned = True
        else:
            self._journal.trouble.unlink(missing_ok=True)
            self._retry_at = 0.0

    def _send(self, lines: Lines, is_over: bool) -> None:
        self._sender = self._sender or Sender(self._journal)
        self._sender.send()
        if is_over:
            self._sender.abandon()
        elif not self._has_sent_others:
            self._has_sent_others = True  # once: what one of them is refused for must not hold up this run
            try:
                send_others(lambda: not lines.empty())
            except Exception as error:
                if not is_refusal(error):
                    raise
                warn(f"MLflow at {address()} refuses what another run has left: {first_line(error)}")


def serve() -> None:
    """Send the journal whose folder the first line on standard input names; every other line says that it has grown."""
    sys.stdout = sys.stderr  # MLflow may print
    lines: Lines = SimpleQueue()
    Thread(target=_listen, args=(lines,), daemon=True).start()
    import_mlflow()
    folder = lines.get()
    if folder is None:
        return
    sending, is_over = Sending(Journal(Path(folder))), False
    while not is_over:
        is_over = _end_of(lines, sending.patience)
        sending.step(lines, is_over=is_over)


def _listen(lines: Lines) -> None:
    for line in sys.stdin:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _end_of(lines: Lines, timeout: float | None) -> bool:
    """Wait for a line, at most ``timeout`` seconds; returns whether standard input has ended."""
    try:
        line = lines.get(timeout=timeout)
        while line is not None and not lines.empty():
            line = lines.get()
        return line is None
    except Empty:
        return False


if __name__ == "__main__":
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGUSR1,
    ):  # they reach the run, too, which says how it ends
        signal.signal(number, signal.SIG_IGN)
    if sys.argv[1:]:
        import_mlflow()
        import_matplotlib()  # for all forks
        with socket(fileno=int(sys.argv[1])) as server:
            fork_for_each(server, serve)
    else:
        serve()
