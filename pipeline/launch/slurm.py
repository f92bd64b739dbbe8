"""Runs stages as Slurm jobs, through submitit."""

import shutil
import subprocess
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from granet.types import UserError
from pipeline.launch.job import (
    INTERRUPT,
    LOGS,
    RefusedError,
    end_all,
    log_path,
    run_command,
    stage_command,
    stage_environment,
)
from pipeline.launch.plan import uses_device
from pipeline.params.schema import LaunchConfig

if TYPE_CHECKING:
    import submitit

POLL_S = 5.0
"""Between two questions to Slurm: its controller serves the whole cluster."""
PATIENCE_S = 10.0
"""How long the exit code of a job that has left the queue may be on its way through a shared file system."""
MARGIN_S = 120.0
"""How long before the end of its time a job is interrupted, to go on in another; at most a fifth of that time."""
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD")
NORMAL = ("RUNNING", "COMPLETING", "COMPLETED")
ALIVE = (*WAITING, "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")


class Queue:
    """What Slurm knows of the user's jobs, asked at most every POLL_S seconds."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.answered = float("-inf")

    def refresh(self) -> None:
        """Ask again, if the last answer is old; Slurm may be too busy to answer."""
        if (now := time.monotonic()) - self.answered < POLL_S:
            return
        command = ["squeue", "--me", "--noheader", "--states=all", "--format=%i %T"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            lines = filter(None, answer.stdout.splitlines())
            self.states, self.answered = dict(line.split() for line in lines), now


class SlurmJob:
    """A job, and what Slurm last said about it."""

    def __init__(self, job: "submitit.Job[int]", log: Path, queue: Queue) -> None:
        self.log = log
        self.job_id = job.job_id
        self._job = job
        self._queue = queue
        self._submitted = time.monotonic()
        self.gone_since: float | None = None

    @property
    def state(self) -> str:
        """In Slurm's words; GONE where it does not know the job."""
        unknown = "GONE" if self._queue.answered > self._submitted else "PENDING"
        return self._queue.states.get(self.job_id, unknown)

    @property
    def where(self) -> str:
        """Its id, and its state unless it simply runs."""
        return f"job {self.job_id}" + ("" if self.state in NORMAL else f" {self.state}")

    @property
    def queued(self) -> bool:
        """Whether it still waits for a node."""
        return self.state in WAITING

    def poll(self) -> int | None:
        """The exit code; 1 for a job that ended without any: cancelled, out of time or memory, or lost."""
        if self._job.paths.result_pickle.exists():
            return 1 if self._job.exception() else self._job.result()
        self._queue.refresh()
        if self.state in ALIVE:
            self.gone_since = None
            return None
        self.gone_since = self.gone_since or time.monotonic()
        return 1 if time.monotonic() - self.gone_since > PATIENCE_S else None

    def end(self, *, kill: bool) -> None:
        """Cancel it, or have Slurm signal it where it runs; it may have ended meanwhile."""
        options = () if kill or self.queued else INTERRUPT
        subprocess.run(["scancel", "--quiet", *options, self.job_id], check=False)


class SlurmExecutor:
    """Submits each stage as a job of its own, with the resources of ``launch`` in params.yaml.

    A run has ``num_processes`` processes, ``on_gpus`` with one each unless launch.gpus says otherwise. Raises UserError
    where submitit or Slurm is missing, or there are fewer GPUs than processes.
    """

    def __init__(self, config: LaunchConfig, num_processes: int = 1, *, on_gpus: bool = True) -> None:
        self._gpus = num_processes * on_gpus if config.gpus is None else config.gpus
        if 0 < self._gpus < num_processes:
            raise UserError(
                f"launch.gpus={self._gpus} is less than train.num_processes={num_processes}, which need one each; "
                "write gpus: null"
            )
        try:
            import submitit
        except ImportError:
            raise UserError(
                "--executor slurm needs the package submitit; run: pip install -c constraints.txt submitit"
            ) from None
        if missing := [name for name in ("sbatch", "srun", "squeue", "scancel") if not shutil.which(name)]:
            raise UserError(
                f"--executor slurm needs Slurm's command {missing[0]}; run it on a login node, or leave --executor out"
            )
        LOGS.mkdir(exist_ok=True)
        # Job ids come again, on another cluster or after a reset: an old exit code must not be found under a new id.
        self._folder = Path(mkdtemp(prefix="slurm-", dir=LOGS))
        self._executor = submitit.SlurmExecutor(self._folder)
        self._parameters = job_parameters(config)
        self._environment = stage_environment(None if self._gpus else max(1, config.cpus // num_processes))
        self._seconds = max(0.8 * 60 * config.minutes, 60 * config.minutes - MARGIN_S)
        self._queue = Queue()
        self._jobs: list[SlurmJob] = []

    def start(self, stage: str) -> SlurmJob:
        """Submit a stage. Raises RefusedError with sbatch's own words where it refuses."""
        from submitit.core.utils import FailedJobError

        log = log_path(stage)
        log.unlink(missing_ok=True)
        self._executor.update_parameters(
            **self._parameters,
            gpus_per_node=self._gpus or None if uses_device(stage) else None,
            job_name=stage,
            additional_parameters={"output": str(log.resolve())},
        )
        try:
            with redirect_stderr(StringIO()):  # submitit repeats there what sbatch says
                submitted = self._executor.submit(
                    run_command, stage_command(stage), self._environment, self._seconds
                )
        except FailedJobError as error:
            reason = " ".join(str(error).split())
            raise RefusedError(
                f"sbatch refuses the job of {stage}: {reason}; see launch in params.yaml"
            ) from None
        job = SlurmJob(submitted, log, self._queue)
        self._jobs.append(job)
        return job

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would; cancel what waits, and what does not end.

        A process that Slurm kills leaves its entries in DVC's list of files in use.
        """
        self._queue.answered = float("-inf")
        end_all(self._running)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> list[SlurmJob]:
        return [job for job in self._jobs if job.poll() is None and job.gone_since is None]


def job_parameters(config: LaunchConfig) -> dict[str, Any]:
    """What every job takes, in submitit's names for sbatch's options.

    One task without srun: srun would give it a single core.
    """
    options = {
        "use_srun": False,
        "stderr_to_stdout": True,
        "partition": config.partition,
        "time": config.minutes,
        "cpus_per_task": config.cpus,
        "mem": f"{config.memory_gb}GB" if config.memory_gb else None,
    }
    return {key: value for key, value in options.items() if value is not None}
