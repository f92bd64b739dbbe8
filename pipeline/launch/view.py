"""What a person sees of a launch: one live table on a terminal, a line per event elsewhere."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.launch.job import LOGS, Job, last_lines
from pipeline.launch.plan import Schedule, State

STYLES = {State.DONE: "green", State.FAILED: "bold red", State.SKIPPED: "yellow"}


def clock(seconds: float) -> str:
    """Hours, minutes, seconds.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(schedule: Schedule) -> str:
    """How many stages are in which state, e.g. "0 done, 2 waiting"; only what is done may be none."""
    counts = Counter(schedule.state.values())
    return ", ".join(
        f"{counts[state]} {state.value}" for state in State if counts[state] or state is State.DONE
    )


class LaunchView:
    """Shows a schedule as it is worked off. ``now`` is the clock that the schedule's times are of."""

    def __init__(self, schedule: Schedule, at_once: int, now: Callable[[], float], console: Console) -> None:
        self._schedule = schedule
        self._at_once = at_once
        self._now = now
        self._began = now()
        self._console = console
        self._width = max(map(len, schedule.needs), default=0)
        self.jobs: Mapping[str, Job] = {}
        """Of the stages that run, for the table."""

    def live(self) -> AbstractContextManager:
        """Shows the table until the block ends, where there is a terminal."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(get_renderable=self.table, console=self._console, refresh_per_second=2, transient=True)

    def started(self, stage: str, job: Job) -> None:
        """A stage has been handed to the executor. On a terminal the table shows it."""
        if not self._console.is_terminal:
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
        for stage, job in self.jobs.items():
            standing = [job.where]
            if not job.queued:
                standing.append(clock(self._schedule.elapsed(stage, now)))
                if (remaining := self._schedule.left(stage, now)) is not None:
                    standing.append(f"{clock(remaining)} left")
            row = Table.grid(padding=(0, 2), expand=True)
            row.add_column(no_wrap=True, ratio=1)
            row.add_column(no_wrap=True, justify="right")
            row.add_row(Text(stage, style="cyan"), "  ".join(filter(None, standing)))
            lines.append(row)
            for line in last_lines(job.log, 1):
                progress = line.strip().removeprefix(f"{stage.partition('@')[2]}: ")
                lines.append(Text(f"  {progress}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)
