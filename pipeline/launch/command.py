"""Run all stages that are out of date, several at a time.

    python -m pipeline.launch [-j N] [--minutes N] [--executor local|slurm] [TARGET ...]

A TARGET is a stage as `dvc stage list --name-only` shows it, or its beginning: sparse, sparse@cifar10-vgg19-granet.
What it needs is run as well. Each stage is a `dvc repro -s` of its own, and goes to logs/<stage>.log. A stage that
fails stops only what depends on it; the exit code is then 1. Ctrl-C ends all runs; the same command goes on with them.

-j N          stages at a time; without it as many as GPUs (each run has train.num_processes of them) times
              launch.runs_per_gpu, and all that can with Slurm; more than that share the GPUs. On the CPU one, or as
              many as there are cores for train.num_threads
--minutes N   how long this may take: then runs are interrupted, as by Ctrl-C, and the same command goes on with them
--executor    local: processes of this machine (default); slurm: jobs, with the resources of launch in params.yaml
"""

import argparse
import math
import signal
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext
from typing import NoReturn

from granet.common.distributed import own_threads
from granet.common.files import made
from granet.types import UserError
from pipeline.launch.job import GRACE_S, LOGS, Executor, last_lines
from pipeline.launch.local import LocalExecutor, visible_devices
from pipeline.launch.loop import TAIL_LINES, Launch
from pipeline.launch.plan import Needs, Schedule, State, no_report, plan, read_pipeline, select, uses_device
from pipeline.launch.stale import NOTHING, Pipeline
from pipeline.launch.view import clock, summary
from pipeline.params.files import load_grid
from pipeline.params.schema import Params
from pipeline.tracking.channel import at_hand

MANY = 2
"""Of more stages the imports are shared."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every command here."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see: python -m pipeline.launch --help")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line: at_once, minutes, executor, targets."""
    parser = _Parser(add_help=False)
    parser.add_argument("-j", dest="at_once", metavar="N", type=int)
    parser.add_argument("--minutes", metavar="N", type=float, default=math.inf)
    parser.add_argument("--executor", choices=["local", "slurm"], default="local")
    parser.add_argument("targets", nargs="*")
    parsed = parser.parse_args(arguments)
    if parsed.at_once is not None and parsed.at_once < 1:
        parser.error(f"argument -j: {parsed.at_once} must be at least 1")
    if not parsed.minutes > 0:
        parser.error(f"argument --minutes: {parsed.minutes:g} must be above 0")
    return parsed


def choose_executor(
    name: str, at_once: int | None, params: Params, planned: Collection[str]
) -> tuple[Executor, int]:
    """The executor, and how many stages it gets at a time.

    Raises UserError where a stage that trains has more processes than there are GPUs.
    """
    per_run = params.train.num_processes
    if name == "slurm":
        from pipeline.launch.slurm import SlurmExecutor

        on_gpus = params.train.device != "cpu"
        return SlurmExecutor(params.launch, per_run, on_gpus=on_gpus), at_once or len(planned)
    devices = visible_devices() if params.train.device in ("auto", "cuda") else []
    if devices and per_run > len(devices) and any(map(uses_device, planned)):
        raise UserError(
            f"train.num_processes={per_run} needs as many GPUs, and this machine has {len(devices)}; lower it, or use "
            "--executor slurm"
        )
    if devices:
        most = len(devices) // per_run * params.launch.runs_per_gpu
    else:
        most = own_threads() // (per_run * (params.train.num_threads or own_threads()))
    at_once = at_once or max(1, most)
    return LocalExecutor(at_once, devices, per_run, many=len(planned) > MANY), at_once


def work(planned: Needs, num_stages: int, executor: Executor, at_once: int, minutes: float) -> None:
    """Work off a plan, in its order where that is open; exits with 1 where a stage failed.

    Runs have to have ended after ``minutes``, which they are told `GRACE_S` seconds before.
    """
    print(f"{len(planned)} of {num_stages} stages to run, {min(at_once, len(planned))} at a time", flush=True)
    schedule = Schedule(planned)
    launch = Launch(schedule, executor, at_once, max(0.0, 60 * minutes - GRACE_S))
    began = time.monotonic()
    # A closed terminal and a polite kill end a launch as Ctrl-C does: its runs are in groups of their own.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    launch.run()
    for stage, job in launch.failed.items():
        print(f"\n{stage} failed; the end of {job.log}:")
        print("\n".join(f"    {line}" for line in last_lines(job.log, TAIL_LINES)) or "    (it is empty)")
    print(f"\n{summary(schedule)} in {clock(time.monotonic() - began)}")
    if not schedule.over:
        print("the time is over; run the same command again to go on")
    print(no_report(schedule.of(State.SKIPPED)), end="")
    if launch.failed:
        sys.exit(1)


def main(arguments: list[str], found: Pipeline | None = None) -> None:
    """Launch; exits with 1 where a stage failed. ``found``: what is out of date, where that is known."""
    parsed = parse(arguments)
    params = load_grid()
    made(LOGS)
    needs, stale = read_pipeline(found)
    planned = plan(needs, stale, select(needs, parsed.targets))
    if not planned:
        print(NOTHING)
        return
    executor, at_once = choose_executor(parsed.executor, parsed.at_once, params, planned)
    is_sent = parsed.executor == "local" and not params.tracking.offline
    with at_hand() if is_sent else nullcontext():
        work(planned, len(needs), executor, at_once, parsed.minutes)
