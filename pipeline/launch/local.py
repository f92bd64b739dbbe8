"""Runs stages as processes of this machine, each pinned to its devices."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pipeline.launch.job import GRACE_S, log_path, stage_command, stage_environment
from pipeline.launch.plan import uses_device


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def least_used(devices: Sequence[str], in_use: Sequence[str], number: int) -> list[str]:
    """The ``number`` devices with the fewest runs on them; of equal ones the first.

    >>> least_used(["0", "1", "2"], in_use=["0", "1", "0"], number=2)
    ['1', '2']
    """
    chosen = sorted(devices, key=in_use.count)[:number]
    return [device for device in devices if device in chosen]


class LocalJob:
    """A process group on this machine."""

    queued = False

    def __init__(self, stage: str, environment: Mapping[str, str], devices: Sequence[str]) -> None:
        self.log = log_path(stage)
        self.devices = devices
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                stage_command(stage),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def where(self) -> str:
        """The devices that it is pinned to."""
        return f"GPU {','.join(self.devices)}" if self.devices else ""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group: DVC, its shell, the run, and what that has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class LocalExecutor:
    """Runs stages as processes, each pinned to ``per_run`` of the ``devices``, if there are any.

    On the CPU, ``at_once`` runs of ``per_run`` processes share the cores: two with all threads each are several times
    slower than in turn.
    """

    def __init__(self, at_once: int, devices: Sequence[str], per_run: int = 1) -> None:
        cores, processes = len(os.sched_getaffinity(0)), at_once * per_run
        share = processes > 1 and not devices
        self.environment = stage_environment(max(1, cores // processes) if share else None)
        self._devices, self._per_run = devices, per_run
        self._jobs: list[LocalJob] = []

    def start(self, stage: str) -> LocalJob:
        """Start a stage, on the devices with the fewest runs; a stage without a cell gets none."""
        self._jobs = self._running()
        environment, devices = self.environment, []
        if self._devices and uses_device(stage):
            in_use = [device for job in self._jobs for device in job.devices]
            devices = least_used(self._devices, in_use, self._per_run)
            environment = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(devices)}
        job = LocalJob(stage, environment, devices)
        self._jobs.append(job)
        return job

    def _running(self) -> list[LocalJob]:
        return [job for job in self._jobs if job.poll() is None]

    def stop(self) -> None:
        """Interrupt all runs, as Ctrl-C would; kill what has not ended after GRACE_S seconds, or at a second Ctrl-C."""
        for job in self._running():
            job.signal(signal.SIGINT)
        with suppress(KeyboardInterrupt):
            end = time.monotonic() + GRACE_S
            while self._running() and time.monotonic() < end:
                time.sleep(0.1)
        for job in self._running():
            job.signal(signal.SIGKILL)
