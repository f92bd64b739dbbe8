"""Run all stages that are out of date, several at a time.

    python -m pipeline.launch [-j N] [--executor local|slurm] [TARGET ...]

A TARGET is a stage as `dvc stage list --name-only` shows it, or its beginning: sparse, sparse@cifar10-vgg19-granet.
What it needs is run as well. Each stage is a `dvc repro -s` of its own, and goes to logs/<stage>.log. A stage that
fails stops only what depends on it; the exit code is then 1. Ctrl-C ends all runs; the same command goes on with them.

-j N          stages at a time; without it one, with GPUs launch.runs_per_gpu on each of them, with Slurm all that can
--executor    local: processes of this machine (default); slurm: jobs, with the resources of launch in params.yaml
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from granet.types import UserError
from pipeline.executors import Executor, Job, LocalExecutor, visible_devices
from pipeline.launch_plan import Needs, Schedule, State, plan, select
from pipeline.launch_view import LaunchView, clock, last_lines, summary
from pipeline.params import Params, load

TICK_S = 0.2
BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
"""What DVC says where another DVC process uses the same files."""
MAX_RETRIES = 10
RETRY_S = 5.0
TAIL_LINES = 10


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every command here."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see: python -m pipeline.launch --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line: at_once, executor, targets."""
    parser = _Parser(add_help=False)
    parser.add_argument("-j", dest="at_once", metavar="N", type=int)
    parser.add_argument("--executor", choices=["local", "slurm"], default="local")
    parser.add_argument("targets", nargs="*")
    parsed = parser.parse_args(arguments)
    if parsed.at_once is not None and parsed.at_once < 1:
        parser.error(f"argument -j: {parsed.at_once} must be at least 1")
    return parsed


def read_pipeline() -> tuple[Needs, set[str]]:
    """All stages with what each needs, and those that are out of date by themselves, as DVC sees them.

    Raises UserError with DVC's own first line, also where another DVC process is writing what must be compared.
    """
    import logging

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(
        logging.ERROR
    )  # it warns when it tidies up after a process that was killed
    try:
        with Repo(_wait_for_lock=True) as repo:
            graph = repo.index.graph  # edges lead from a stage to what it needs
            needs = {
                stage.addressing: frozenset(needed.addressing for needed in graph.successors(stage))
                for stage in graph
            }
            return needs, set(repo.status())
    except DvcException as error:
        raise UserError(f"DVC: {str(error).splitlines()[0]}") from None


def choose_executor(name: str, at_once: int | None, params: Params, num_stages: int) -> tuple[Executor, int]:
    """The executor, and how many stages it gets at a time."""
    if name == "slurm":
        from pipeline.slurm import SlurmExecutor

        return SlurmExecutor(params.launch), at_once or num_stages
    devices = visible_devices() if params.train.device in ("auto", "cuda") else []
    at_once = at_once or max(1, len(devices) * params.launch.runs_per_gpu)
    return LocalExecutor(at_once, devices), at_once


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
        for stage in self._schedule.ready(now)[: self._at_once - len(self._jobs)]:
            job = self._jobs[stage] = self._executor.start(stage)
            self._schedule.start(stage, now)
            self._view.started(stage, job)
        for stage, job in list(self._jobs.items()):
            if (code := job.poll()) is not None:
                del self._jobs[stage]
                self._settle(stage, job, code, now)
            elif job.queued:
                self._schedule.start(stage, now)
        self._view.running(self._jobs)

    def _settle(self, stage: str, job: Job, code: int, now: float) -> None:
        """What follows from the end of a job."""
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


@contextmanager
def interruptible() -> Iterator[None]:
    """A closed terminal and a polite kill end a launch as Ctrl-C does: its runs are in groups of their own."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str]) -> None:
    """Launch; exits with 1 where a stage failed."""
    parsed = parse(arguments)
    params = load()
    needs, stale = read_pipeline()
    planned = plan(needs, stale, select(needs, parsed.targets))
    if not planned:
        print("nothing to do: all stages are up to date")
        return
    executor, at_once = choose_executor(parsed.executor, parsed.at_once, params, len(planned))
    print(f"{len(planned)} of {len(needs)} stages to run, {min(at_once, len(planned))} at a time", flush=True)
    schedule = Schedule(planned)
    launch = Launch(schedule, executor, at_once)
    began = time.monotonic()
    with interruptible():
        launch.run()
    for stage, job in launch.failed.items():
        print(f"\n{stage} failed; the end of {job.log}:")
        print("\n".join(f"    {line}" for line in last_lines(job.log, TAIL_LINES)) or "    (it is empty)")
    print(f"\n{summary(schedule)} in {clock(time.monotonic() - began)}")
    if launch.failed:
        sys.exit(1)


if __name__ == "__main__":
    from pipeline.cli import run_main

    run_main(main, __doc__, sys.argv[1:])
