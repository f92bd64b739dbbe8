"""Works off a plan: starts stages as they become ready, looks after what runs, and tells what has become of it."""

import time

from rich.console import Console

from granet.types import UserError
from pipeline.launch.job import Executor, Job, RefusedError, last_lines
from pipeline.launch.plan import Schedule, State
from pipeline.launch.view import LaunchView, clock

TICK_S = 0.2
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
"""What DVC says where another DVC process uses the same files."""
MAX_RETRIES = 10
RETRY_S = 5.0
LATER_S = 60.0
"""How long nothing is handed over after a refusal, unless a job ends before that; and how long an end may count."""
TAIL_LINES = 10


class Launch:
    """Works off a schedule."""

    def __init__(
        self, schedule: Schedule, executor: Executor, at_once: int, time_s: float = float("inf")
    ) -> None:
        self._schedule = schedule
        self._end = time.monotonic() + time_s
        self._executor = executor
        self._at_once = at_once
        self._view = LaunchView(schedule, at_once, time.monotonic, Console(highlight=False, soft_wrap=True))
        self._jobs: dict[str, Job] = {}
        self._retries = dict.fromkeys(schedule.needs, 0)
        self._not_before = self._last_end = float("-inf")
        self._refusal = ""
        self.failed: dict[str, Job] = {}

    def run(self) -> None:
        """Start what may start and look after what runs, until nothing is left or the time is over.

        Whatever happens, no job is left: those that run then are interrupted, and keep their place.
        """
        try:
            with self._view.live():
                while not self._schedule.over and time.monotonic() < self._end:
                    self._step(time.monotonic())
                    time.sleep(TICK_S)
        finally:
            self._executor.stop()

    def _step(self, now: float) -> None:
        if now >= self._not_before:
            for stage in self._schedule.ready(now)[: self._at_once - len(self._jobs)]:
                if not self._start(stage, now):
                    break
        for stage, job in list(self._jobs.items()):
            if (code := job.poll()) is not None:
                del self._jobs[stage]
                self._settle(stage, job, code, now)
            elif job.queued:
                self._schedule.start(stage, now)
        self._view.jobs = dict(self._jobs)

    def _start(self, stage: str, now: float) -> bool:
        """Hand a stage over. False: it is refused while others run or end, as by a limit on jobs, and so has to wait.

        Raises UserError where nothing has run for a while: then waiting would not help.
        """
        try:
            job = self._executor.start(stage)
        except RefusedError as error:
            if not self._jobs and now - self._last_end > LATER_S:
                raise UserError(str(error)) from None
            self._not_before = now + LATER_S
            if str(error) != self._refusal:
                self._view.line("later", stage, str(error))
            self._refusal = str(error)
            return False
        self._jobs[stage], self._refusal = job, ""
        self._schedule.start(stage, now)
        self._view.started(stage, job)
        return True

    def _settle(self, stage: str, job: Job, code: int, now: float) -> None:
        """What follows from the end of a job, by its exit code and its log."""
        self._not_before = self._last_end = now
        took = clock(self._schedule.elapsed(stage, now))
        end = "\n".join(last_lines(job.log, TAIL_LINES))
        if code == 0:
            ran = job.log.exists() and f"Running stage '{stage}'" in job.log.read_text(errors="replace")
            self._schedule.done(stage, now, ran=ran)
            self._view.line("done", stage, took if ran else f"{took}  nothing to run", State.DONE)
        elif any(words in end for words in BUSY) and self._retries[stage] < MAX_RETRIES:
            self._retries[stage] += 1
            self._schedule.postpone(stage, now + RETRY_S)
            self._view.line("again", stage, f"another DVC process uses its files; in {RETRY_S:.0f} s")
        else:
            self.failed[stage] = job
            where = f"  {job.where}" if job.where else ""
            self._view.line("failed", stage, f"{took}{where}  log {job.log}", State.FAILED)
            for other in self._schedule.failed(stage):
                self._view.line("skipped", other, f"needs {stage}", State.SKIPPED)
