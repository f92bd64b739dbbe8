"""Works off a plan: starts stages as they become ready, looks after what runs, and tells what has become of it."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from granet.types import UserError
from pipeline.launch.job import Executor, Job, RefusedError
from pipeline.launch.plan import Schedule, State
from pipeline.launch.view import LaunchView, clock, last_lines

TICK_S = 0.2
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
"""What DVC says where another DVC process uses the same files."""
MAX_RETRIES = 10
RETRY_S = 5.0
LATER_S = 60.0
"""How long nothing is handed over after a refusal, unless a job ends before that; and how long an end may count."""
TAIL_LINES = 10


@dataclass(frozen=True)
class Ended:
    """What the log of an ended stage tells beside the exit code."""

    ran: bool
    busy: bool


def read_end(stage: str, log: Path) -> Ended:
    """Whether DVC ran the stage's command at all, and whether it gave up because of another DVC process."""
    text = log.read_text(errors="replace") if log.exists() else ""
    last = "\n".join(last_lines(log, TAIL_LINES))
    return Ended(ran=f"Running stage '{stage}'" in text, busy=any(words in last for words in BUSY))


class Launch:
    """Works off a schedule."""

    def __init__(self, schedule: Schedule, executor: Executor, at_once: int) -> None:
        self._schedule = schedule
        self._executor = executor
        self._at_once = at_once
        self._view = LaunchView(schedule, at_once, time.monotonic, Console(highlight=False, soft_wrap=True))
        self._jobs: dict[str, Job] = {}
        self._retries: dict[str, int] = {}
        self._not_before = self._last_end = float("-inf")
        self._refusal = ""
        self.failed: dict[str, Job] = {}

    def run(self) -> None:
        """Start what may start and look after what runs, until nothing is left; whatever happens, leave no job."""
        try:
            with self._view:
                while not self._schedule.over:
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
        self._view.running(self._jobs)

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
        """What follows from the end of a job."""
        self._not_before = self._last_end = now
        end = read_end(stage, job.log)
        took = clock(self._schedule.elapsed(stage, now))
        if code == 0:
            self._schedule.done(stage, now, ran=end.ran)
            self._view.line("done", stage, took if end.ran else f"{took}  nothing to run", State.DONE)
        elif end.busy and self._retries.get(stage, 0) < MAX_RETRIES:
            self._retries[stage] = self._retries.get(stage, 0) + 1
            self._schedule.postpone(stage, now + RETRY_S)
            self._view.line("again", stage, f"another DVC process uses its files; in {RETRY_S:.0f} s")
        else:
            self.failed[stage] = job
            skipped = self._schedule.failed(stage)
            where = f"  {job.where}" if job.where else ""
            self._view.line("failed", stage, f"{took}{where}  log {job.log}", State.FAILED)
            for other in skipped:
                self._view.line("skipped", other, f"needs {stage}", State.SKIPPED)
