"""What a person sees of a launch: one live table on a terminal, a line per event elsewhere, and logs' last lines."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.launch.job import LOGS, Job
from pipeline.launch.plan import Schedule, State

READ_BYTES = 8192
STYLES = {State.DONE: "green", State.FAILED: "bold red", State.SKIPPED: "yellow"}


def clock(seconds: float) -> str:
    """Hours, minutes, seconds.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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


def summary(schedule: Schedule) -> str:
    """How many stages are in which state; those with none are left out but for what is done.

    >>> summary(Schedule({"a": frozenset(), "b": frozenset({"a"})}))
    '0 done, 2 waiting'
    """
    counts = schedule.counts()
    shown = (State.DONE, State.FAILED, State.SKIPPED, State.RUNNING, State.WAITING)
    return ", ".join(
        f"{counts[state]} {state.value}" for state in shown if counts[state] or state is State.DONE
    )


class LaunchView:
    """Shows a schedule as it is worked off. ``now`` is the clock that the schedule's times are of."""

    def __init__(self, schedule: Schedule, at_once: int, now: Callable[[], float], console: Console) -> None:
        self._schedule = schedule
        self._at_once = at_once
        self._now = now
        self._began = now()
        self._jobs: Mapping[str, Job] = {}
        self._console = console
        self._width = max(map(len, schedule.needs), default=0)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self.table, console=self._console, refresh_per_second=2, transient=True
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def running(self, jobs: Mapping[str, Job]) -> None:
        """The jobs of the stages that run, for the table."""
        self._jobs = dict(jobs)

    def started(self, stage: str, job: Job) -> None:
        """A stage has been handed to the executor. On a terminal the table shows it."""
        if self._live is None:
            self.line("started", stage, f"{job.where}  log {job.log}".strip())

    def line(self, event: str, stage: str, text: str, state: State | None = None) -> None:
        """Print an event; it stays above the table."""
        line = Text(f"{event:<9}", style=STYLES.get(state, "") if state else "")
        line.append(f"{stage:<{self._width}}  {text}".rstrip(), style="default")
        self._console.print(line)

    def table(self) -> Group:
        """The stages that run, each with its log's last line, under one line on all of them."""
        now = self._now()
        left, complete = self._schedule.time_left(now, self._at_once)
        ahead = f", {'about' if complete else 'at least'} {clock(left)} left" if left else ""
        head = Text(f"{summary(self._schedule)} - {clock(now - self._began)}{ahead}", style="bold")
        head.append(f"  {LOGS}/STAGE.log", style="not bold dim")
        lines: list[RenderableType] = [head]
        for stage, job in self._jobs.items():
            row = Table.grid(padding=(0, 2), expand=True)
            row.add_column(no_wrap=True, ratio=1)
            row.add_column(no_wrap=True, justify="right")
            row.add_row(Text(stage, style="cyan"), "  ".join(self._standing(stage, job, now)))
            lines.append(row)
            for line in last_lines(job.log, 1):
                progress = line.strip().removeprefix(f"{stage.partition('@')[2]}: ")
                lines.append(Text(f"  {progress}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _standing(self, stage: str, job: Job, now: float) -> list[str]:
        """Where a job runs, for how long, and for how much longer."""
        if job.queued:
            return [job.where]
        remaining = self._schedule.left(stage, now)
        shown = [job.where, clock(self._schedule.elapsed(stage, now))]
        return [text for text in shown if text] + (
            [f"{clock(remaining)} left"] if remaining is not None else []
        )
