"""What a person sees of long work: a live bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

REFRESH_S = 0.5
LINE_S = 60.0
"""Between two lines where there is no terminal."""

T = TypeVar("T")


def follow(
    items: Iterable[T], title: str, total: int, *, step: int = 1, console: Console | None = None
) -> Generator[T, None, None]:
    """Pass ``items`` on, and show how far they are: each is ``step`` of ``total``, the last may be less."""
    console = console or Console()
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn()
    counts = TextColumn("{task.completed:,.0f} of {task.total:,.0f}"), TimeRemainingColumn()
    said = time.monotonic()
    with Progress(
        *columns, *counts, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=total)
        for number, item in enumerate(items, start=1):
            done = min(number * step, total)
            progress.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - said >= LINE_S:
                console.print(f"{title} {done:,} of {total:,}", highlight=False, soft_wrap=True)
                said = time.monotonic()
            yield item


class TrainingProgress:
    """Shows steps, loss, accuracy, sparsity, images/s and time left.

    ``due()`` is True at most twice a second: only then does the loop read numbers back from the device.
    """

    def __init__(self, title: str, total_steps: int, done_steps: int = 0, *, silent: bool = False) -> None:
        self._console = Console()
        self._console.quiet = silent
        self._title = title
        self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if self._console.is_terminal and not silent:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[stats]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total_steps, completed=done_steps, stats="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def due(self) -> bool:
        """Whether it is time to show numbers again."""
        return time.monotonic() - self._last >= REFRESH_S

    def show(self, step: int, loss: float, accuracy: float, sparsity: float, images_per_s: float) -> None:
        """Move the bar (terminal only)."""
        self._last = time.monotonic()
        if self._bar:
            stats = (
                f"loss {loss:.3f}  accuracy {accuracy:.1%}  sparsity {sparsity:.1%}  {images_per_s:,.0f}/s"
            )
            self._bar.update(self._task, completed=step, stats=stats)

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
