"""Which stages are to run, as DVC sees it, in what order, and how long that may take. No clock of its own."""

import os
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from graphlib import TopologicalSorter
from statistics import mean

from granet.types import UserError
from pipeline.launch.job import last_lines, log_path, stage_command, stage_environment
from pipeline.launch.stale import Needs, Pipeline, look
from pipeline.training.stages import STAGES

CODE = "code"
"""The stage that every other one needs: its digests tell whether a change of the code changes anything for them."""

REPORT = "report"
"""The stage that needs all others."""


def read_pipeline(found: Pipeline | None = None) -> Pipeline:
    """All stages with what each needs, and those that are out of date by themselves, after `CODE` has been run.

    ``found``: the same from before. Raises UserError with DVC's own first line, also where another DVC process is
    writing what must be compared.
    """
    from dvc.exceptions import DvcException

    try:
        needs, stale = found or look()
        if CODE in stale:
            update_code()
            return look()
        return needs, stale
    except DvcException as error:
        # those of a lock name who holds it, once per file
        lines = str(error).partition("\n\n")[0].splitlines()
        words = " ".join(dict.fromkeys(line.strip() for line in lines))
        raise UserError(f"DVC: {words}; dvc status says more") from None


def update_code() -> None:
    """Run the stage `CODE` here and now. Raises UserError with the last line of its log where it fails."""
    log, command, environment = log_path(CODE), stage_command(CODE), {**os.environ, **stage_environment()}
    with log.open("wb") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        reason = " ".join(last_lines(log, 1)) or f"exit code {done.returncode}"
        raise UserError(f"the stage {CODE} failed: {reason.removeprefix('ERROR: ')}; see {log}")
    print(f"{CODE}: brought up to date", flush=True)


def kind(stage: str) -> str:
    """The part of a stage's name before its cell."""
    return stage.partition("@")[0]


def uses_device(stage: str) -> bool:
    """Whether a stage runs a cell of the grid, and so may use a device; preparing and reporting do not."""
    return kind(stage) in STAGES


def select(needs: Needs, targets: Iterable[str]) -> set[str]:
    """The stages that the targets name, by name or by its beginning, and all that they need; no targets: every stage.

    Raises UserError where a target names no stage.
    """
    chosen: set[str] = set()
    for target in targets:
        matching = {name for name in needs if name == target or name.startswith((f"{target}@", f"{target}-"))}
        if not matching:
            kinds = ", ".join(dict.fromkeys(map(kind, needs)))
            raise UserError(
                f"{target!r} is no stage, nor the beginning of one ({kinds}); see: dvc stage list --name-only"
            )
        chosen |= matching
    for stage in reversed(list(TopologicalSorter(needs).static_order())):
        if stage in chosen:
            chosen |= needs[stage]
    return chosen or set(needs)


def plan(needs: Needs, stale: set[str], wanted: set[str]) -> Needs:
    """The wanted stages that are stale, or need one that will run; with what they need among these."""
    planned: set[str] = set()
    for stage in TopologicalSorter(needs).static_order():
        if stage in wanted and (stage in stale or planned & needs[stage]):
            planned.add(stage)
    return {stage: needs[stage] & planned for stage in needs if stage in planned}


def no_report(skipped: Collection[str]) -> str:
    """A line where the report is among the stages that were skipped because others failed; else nothing."""
    why = "Report   not made, as it needs all stages; of the runs that are there: dvc repro -s report\n"
    return why if REPORT in skipped else ""


class State(Enum):
    """Where a planned stage stands, in the order in which a person is told."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass
class Schedule:
    """What may start now, and what follows from an end. Times are seconds of the caller's clock."""

    needs: Needs
    state: dict[str, State] = field(init=False)
    _since: dict[str, float] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _durations: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.state = dict.fromkeys(self.needs, State.WAITING)

    def of(self, state: State) -> list[str]:
        """The stages in a state."""
        return [stage for stage, its in self.state.items() if its is state]

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing can start any more."""
        return not {State.WAITING, State.RUNNING} & set(self.state.values())

    def ready(self, now: float) -> list[str]:
        """The stages that may start: all that they need is done."""
        return [
            stage
            for stage in self.of(State.WAITING)
            if self._not_before.get(stage, now) <= now
            and all(self.state[needed] is State.DONE for needed in self.needs[stage])
        ]

    def start(self, stage: str, now: float) -> None:
        """The stage runs. Called again while it waits in a queue, it moves the begin of its time."""
        self.state[stage] = State.RUNNING
        self._since[stage] = now

    def postpone(self, stage: str, until: float) -> None:
        """The stage could not begin; it may start again at ``until``."""
        self.state[stage] = State.WAITING
        self._not_before[stage] = until

    def done(self, stage: str, now: float, *, ran: bool) -> None:
        """The stage ended well. Not ``ran``: nothing of it had changed, so its time says nothing about others."""
        self.state[stage] = State.DONE
        if ran:
            self._durations[kind(stage)].append(self.elapsed(stage, now))

    def failed(self, stage: str) -> list[str]:
        """The stage failed; returns what is skipped because of it."""
        self.state[stage] = State.FAILED
        skipped: list[str] = []
        for other in TopologicalSorter(self.needs).static_order():
            if self.state[other] is State.WAITING and self.needs[other] & {stage, *skipped}:
                self.state[other] = State.SKIPPED
                skipped.append(other)
        return skipped

    def elapsed(self, stage: str, now: float) -> float:
        """Seconds since the stage was started."""
        return now - self._since[stage]

    def left(self, stage: str, now: float) -> float | None:
        """Seconds a stage may still take, by the mean of the finished ones of its kind; None: none has finished."""
        if not (known := self._durations.get(kind(stage))):
            return None
        gone = self.elapsed(stage, now) if self.state[stage] is State.RUNNING else 0.0
        return max(0.0, mean(known) - gone)

    def time_left(self, now: float, at_once: int) -> tuple[float, bool]:
        """Seconds until all is done with ``at_once`` stages at a time, and whether every kind's duration is known.

        No less than the work that is left, shared out evenly, and than the longest single stage.
        """
        known = [self.left(stage, now) for stage in (*self.of(State.RUNNING), *self.of(State.WAITING))]
        seconds = [value for value in known if value is not None]
        return max([sum(seconds) / at_once, *seconds], default=0.0), None not in known
