"""Signals that ask a run to end: Ctrl-C, SIGTERM (Slurm, a shutdown, `timeout`), SIGUSR1 (Slurm's warning).

The first one is a request, which the training loop follows after its next step: it writes its state, then ends. Where
no step comes within GRACE_S seconds, and at a second signal, the program ends as by Ctrl-C. Writing may take longer.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from granet.common.distributed import world

GRACE_S = 7.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_asked = threading.Event()


def asked() -> bool:
    """Whether a signal has asked this process to end."""
    return _asked.is_set()


def followed() -> None:
    """A request is being followed: what that takes is not counted."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def requests() -> Iterator[None]:
    """Until the block ends, the first signal is a request, which `asked` tells; the second raises KeyboardInterrupt.

    Only in a program's main thread, as Python's signals are, and in a run of one process: one of several would wait
    for those that have followed the request. Elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread() or world().size > 1:
        yield
        return

    def request(number: int, frame: Any) -> None:
        if asked() or number == signal.SIGALRM:
            raise KeyboardInterrupt
        _asked.set()
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    before = {number: signal.signal(number, request) for number in (*SIGNALS, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()
