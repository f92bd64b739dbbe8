"""Runs stages as processes of this machine, each pinned to its devices."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from granet.common.distributed import num_cores
from pipeline.launch.job import end_all, log_path, stage_command, stage_environment, stay_nice
from pipeline.launch.plan import uses_device
from pipeline.launch.warm import Adopted, Warm


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


class LocalJob:
    """A process group on this machine."""

    queued = False

    def __init__(
        self, stage: str, environment: Mapping[str, str], devices: Sequence[str], warm: Warm | None
    ) -> None:
        self.log = log_path(stage)
        self.devices = devices
        self.where = f"GPU {','.join(devices)}" if devices else ""
        command, environment = stage_command(stage), {**os.environ, **environment}
        with self.log.open("wb") as log:
            fork = warm and warm.start(command, environment, log.fileno())
            self._process: Adopted | subprocess.Popen = fork or subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        if fork is None:  # which has done so itself
            stay_nice(self.pid)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def end(self, *, kill: bool) -> None:
        """Signal the whole group: DVC, its shell, the run, and what that has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL if kill else signal.SIGINT)


class LocalExecutor:
    """Runs stages as processes, each pinned to ``per_run`` of the ``devices``, if there are any.

    ``many``: so many that it pays to have one process import for all of them, which takes as long as a stage's start.
    """

    def __init__(self, at_once: int, devices: Sequence[str], per_run: int = 1, *, many: bool = False) -> None:
        cores, processes = num_cores(), at_once * per_run
        share = (
            processes > 1 and not devices
        )  # two with all threads each are several times slower than in turn
        self.environment = stage_environment(max(1, cores // processes) if share else None)
        self._devices, self._per_run = devices, per_run
        self._jobs: list[LocalJob] = []
        self.warm = Warm(self.environment) if many and sys.platform == "linux" else None

    def start(self, stage: str) -> LocalJob:
        """Start a stage, on the devices with the fewest runs, of equal ones the first; without a cell on none."""
        environment, devices = self.environment, []
        if self._devices and uses_device(stage):
            in_use = [device for job in self._running() for device in job.devices]
            least_used = sorted(self._devices, key=in_use.count)[: self._per_run]
            devices = [device for device in self._devices if device in least_used]
            environment = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(devices)}
        job = LocalJob(stage, environment, devices, self.warm)
        self._jobs.append(job)
        return job

    def _running(self) -> list[LocalJob]:
        return [job for job in self._jobs if job.poll() is None]

    def stop(self) -> None:
        """Interrupt all runs, as Ctrl-C would; kill what does not end."""
        if self.warm is not None:
            self.warm.close()
        end_all(self._running)
