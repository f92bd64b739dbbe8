"""What a run says to the process that sends its journal: a process of its own, or one that a launcher has at hand.

MLflow takes four seconds of a core to import. So a launcher has it imported once, in a process that forks itself for
every run that connects to its socket. The fork then does what a process of the run's own would do.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

SOCKET = "GRANET_SENDER"
"""The environment variable that names a launcher's socket."""
SERVED = "pipeline.tracking.sending"
PACKAGE = Path(__file__).parents[2]


class Channel(Protocol):
    """Lines to a process, which ends some time after the last one."""

    def say(self, line: str) -> None: ...
    def hang_up(self) -> None: ...
    def is_over(self) -> bool: ...
    def kill(self) -> None: ...


class Process:
    """A process of the run's own."""

    def __init__(self) -> None:
        command, environment = [sys.executable, "-m", SERVED], os.environ | {"PYTHONPATH": str(PACKAGE)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdin is not None
        self._stdin = self._process.stdin

    def say(self, line: str) -> None:
        with suppress(BrokenPipeError):  # the process has gone; the journal is there
            print(line, file=self._stdin, flush=True)

    def hang_up(self) -> None:
        with suppress(BrokenPipeError):
            self._stdin.close()

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Fork:
    """A fork of the launcher's process, whose warnings go to this run's standard error. Raises OSError without one."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
            socket.send_fds(self._socket, [b"\n"], [sys.stderr.fileno()])
        except OSError:
            self._socket.close()
            raise
        self._pid = b""  # it comes as soon as there is a fork

    def say(self, line: str) -> None:
        with suppress(OSError):
            # one that is full says already that there is more
            self._socket.send(f"{line}\n".encode(), socket.MSG_DONTWAIT)

    def hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def is_over(self) -> bool:
        try:
            said = self._socket.recv(32, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._pid += said
        return not said

    def kill(self) -> None:
        if not self.is_over() and self._pid:
            with suppress(ProcessLookupError):
                os.kill(int(self._pid), signal.SIGKILL)
        self._socket.close()


def open_channel() -> Channel:
    """To a fork of the launcher's process where there is one, else to a new process."""
    if path := os.environ.get(SOCKET):
        with suppress(OSError):  # the launcher has gone
            return Fork(path)
    return Process()


@contextmanager
def at_hand() -> Iterator[None]:
    """Until the block ends, have MLflow imported once for all runs that this process starts."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's name must be short
        path = str(Path(folder) / "socket")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            descriptor = server.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", SERVED, str(descriptor)],
                stdin=subprocess.PIPE,
                pass_fds=[descriptor],
                env=os.environ | {"PYTHONPATH": str(PACKAGE)},
                start_new_session=True,  # it outlives a terminal, as its runs do
            )
        # here the socket is closed: were the process to die, nobody would wait for it
        os.environ[SOCKET] = path
        try:
            yield
        finally:
            del os.environ[SOCKET]
            process.communicate()  # its forks outlive it


def fork_for_each(server: socket.socket, serve: Callable[[], None]) -> None:
    """Until standard input ends, ``serve`` in a fork whoever connects, with what it says on standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while server in select.select([server, sys.stdin], [], [])[0]:
        connection, _ = server.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server.close()
            _speak_through(connection)
            serve()
            os._exit(0)
        connection.close()


def _speak_through(connection: socket.socket) -> None:
    """Standard input is what comes through the connection, standard error what came with its first byte."""
    _, (stderr,), _, _ = socket.recv_fds(connection, 1, 1)
    connection.sendall(str(os.getpid()).encode())
    os.dup2(stderr, 2)
    os.dup2(connection.fileno(), 0)
    connection.detach()
    sys.stdin = os.fdopen(0)
