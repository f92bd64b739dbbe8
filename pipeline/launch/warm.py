"""A process that has DVC and torch imported, and forks itself for every stage: each is spared three seconds of a core.

    python -m pipeline.launch.warm SOCKET'S DESCRIPTOR

What a fork does is `dvc repro -s`, and where the stage's command is `python -m pipeline...`, that is a fork again. The
process touches no GPU and computes nothing. It serves on Linux, and where imports have started no thread, of which a
fork would know nothing. A launcher that gets no fork starts the stage as a new process, which comes to the same.
"""

import ctypes
import gc
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from pipeline.launch.job import stay_nice
from pipeline.launch.lock import write_stages_alone
from pipeline.launch.stale import parse_once

READY = b"ready"
MODULE = "pipeline.launch.warm"
ADOPTS = 36
"""PR_SET_CHILD_SUBREAPER of Linux: who set it is the parent of grandchildren whose parent has ended."""


class Adopted:
    """A fork that was made for this process, with as much of subprocess.Popen as a job asks for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative where a signal ended it; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


class Warm:
    """The process, which gets ready beside its maker and ends with it. ``environment``: on top of the maker's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_ready = False
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(other.fileno())],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C is the launcher's
            )
        ctypes.CDLL(None).prctl(ADOPTS, 1)

    def is_ready(self, *, wait: bool = False) -> bool:
        """Whether it serves by now. ``wait``: until that is known."""
        if not self._is_ready:
            with suppress(OSError):  # too early, or it has gone
                self._is_ready = self._socket.recv(64, 0 if wait else socket.MSG_DONTWAIT) == READY
        return self._is_ready

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: int) -> Adopted | None:
        """A fork as `python -m` with its arguments, in a session of its own, its output in the file ``log``.

        None where there is none, or ``command`` is another one.
        """
        python, *words = command
        if python != sys.executable or words[0] != "-m" or not self.is_ready():
            return None
        request = json.dumps({"words": words[1:], "environment": dict(environment)})
        with suppress(OSError):  # it has gone, or there is more than fits into a message
            socket.send_fds(self._socket, [request.encode()], [log])
            if pid := self._socket.recv(64):
                return Adopted(int(pid))
        self._is_ready = False
        return None

    def close(self) -> None:
        """End it; its forks go on."""
        self._socket.close()
        self._process.kill()  # it may still be importing
        self._process.wait()


def get_ready() -> None:
    """Import what stages need, and look at their code once."""
    import dvc.cli
    import dvc.commands.repro
    import dvc.repo
    import dvc.stage.run

    from granet import kernels
    from pipeline import code
    from pipeline.training import run  # noqa: F401

    parse_once()
    write_stages_alone()
    dvc.stage.run.subprocess = _Commands  # pyright: ignore[reportPrivateImportUsage]
    kernels.why_not()
    code.digest("dense", "dense")  # most modules: what is looked at here, no fork looks at again
    gc.collect()
    gc.freeze()  # forks share it


def serve(server: socket.socket) -> None:
    """Until the other side has gone, fork for whoever asks. Returns at once where this process has several threads."""
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return
    server.send(READY)
    while True:
        message, files, _, _ = socket.recv_fds(server, 1 << 20, 1)
        if not message:
            return
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:  # it ends at once, so that the stage becomes the launcher's child
            if (pid := os.fork()) == 0:
                for descriptor in (server.fileno(), reading, writing):
                    os.close(descriptor)
                _begin(files[0], **json.loads(message))
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)
        server.send(os.read(reading, 64))
        for descriptor in (*files, reading, writing):
            os.close(descriptor)


def _begin(log: int, words: list[str], environment: Mapping[str, str]) -> NoReturn:
    os.setsid()
    stay_nice()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
        stream.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    os.close(log)
    _set_environment(environment)
    _leave(lambda: _run_module(words))


def _set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _run_module(words: list[str]) -> None:
    """`python -m` in this process."""
    sys.argv, module = words, words[0]
    if not hasattr(sys.modules.get(module), "__path__"):
        sys.modules.pop(module, None)  # as it is here, it is no __main__
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class _Commands:
    """What dvc.stage.run has of the module subprocess."""

    check_output = staticmethod(subprocess.check_output)

    @staticmethod
    def Popen(command: Sequence[str], **options: Any) -> Any:  # noqa: N802
        text = command[-1]
        words = shlex.split(text)
        is_ours = text.startswith("python -m pipeline.") and text == shlex.join(words)  # nothing for a shell
        return _Fork(words[2:], **options) if is_ours else subprocess.Popen(command, **options)


class _Fork:
    """A fork of this process as `python -m`. It has as much of subprocess.Popen as dvc.stage.run asks for."""

    def __init__(self, words: list[str], *, cwd: str | Path, env: Mapping[str, str], **_: Any) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.chdir(cwd)
            _set_environment(env)
            _leave(lambda: _run_module(words))

    def communicate(self) -> None:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)


def _leave(work: Callable[[], object]) -> NoReturn:
    """Work, then end this process as Python ends one."""
    code: Any = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=int(sys.argv[1])) as server:
        get_ready()
        serve(server)
