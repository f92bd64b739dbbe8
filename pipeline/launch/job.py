"""Where stages run: what an executor and a job do, a stage's command and log. Light, as each Slurm job imports it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

LOGS = Path("logs")
READ_BYTES = 8192
GRACE_S = 20.0
"""How long an interrupted run has to end by itself."""
INTERRUPT = ("--full", "--signal=INT")
"""What scancel is told for Ctrl-C: a signal to every process of the job."""


class RefusedError(Exception):
    """A stage cannot be handed over, for now or for good: the message says what refuses it, and why."""


class Job(Protocol):
    """One start of one stage. ``where``: what a person needs to find it, a device, or a job's id and state.

    ``queued``: whether it has been handed over, but does not run yet. ``poll``: the exit code of `dvc repro -s`; None
    while it has none. ``end``: interrupt it, as Ctrl-C would, or kill it.
    """

    log: Path

    @property
    def where(self) -> str: ...
    @property
    def queued(self) -> bool: ...
    def poll(self) -> int | None: ...
    def end(self, *, kill: bool) -> None: ...


class Executor(Protocol):
    """Starts `dvc repro -s` of stages, which may raise RefusedError, and ends what it has started, to be resumed."""

    def start(self, stage: str) -> Job: ...
    def stop(self) -> None: ...


def stay_nice(pid: int | str = "self") -> None:
    """Give a stage's session the launcher's niceness: Linux weighs sessions first, and `nice` within one alone."""
    if nice := os.nice(0):
        with suppress(OSError):  # another system, a kernel without such groups, or the stage has ended
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def end_all(running: Callable[[], Sequence[Job]]) -> None:
    """Interrupt what runs; kill what has not ended after GRACE_S seconds, or at a second Ctrl-C."""
    for job in running():
        job.end(kill=False)
    with suppress(KeyboardInterrupt):
        end = time.monotonic() + GRACE_S
        while running() and time.monotonic() < end:
            time.sleep(0.1)
    for job in running():
        job.end(kill=True)


def stage_command(stage: str) -> list[str]:
    """The command that runs one stage, and nothing upstream of it.

    DVC gives its lock away while the stage's command runs, and takes it again to save the outputs: a process that did
    not wait for the lock then would lose the run.
    """
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", stage]


def stage_environment(threads: int | None = None) -> dict[str, str]:
    """What a stage's environment has on top of the caller's: this Python first, and ``threads`` if nothing is set."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    extra = {"PATH": path, "PYTHONUNBUFFERED": "1"}
    if threads is not None and "OMP_NUM_THREADS" not in os.environ:
        extra["OMP_NUM_THREADS"] = str(threads)
    return extra


def run_command(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> int:
    """What a job of Slurm does; returns the exit code.

    An interruption of the job reaches the command as well, which then ends in its own time. After ``seconds``, shortly
    before the job's time is over, it is interrupted, so that it writes its state, and the job waits in the queue again.
    """
    process = subprocess.Popen(command, env={**os.environ, **environment})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    job = os.environ["SLURM_JOB_ID"]
    subprocess.run(["scancel", "--quiet", *INTERRUPT, job], check=False)
    code = process.wait()
    if code != 0 and subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0:
        os._exit(code)  # without a result, for which the launcher would take the job for ended
    return code


def log_path(stage: str) -> Path:
    """Where a stage's output goes; the folder is made."""
    LOGS.mkdir(exist_ok=True)
    return LOGS / f"{stage.replace('/', '_')}.log"


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that say something, without submitit's own; none where there is no log yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - READ_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("submitit ")][-count:]
