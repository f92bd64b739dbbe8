"""Two ways of doing one thing, in turn: the median of the pairs' ratios, its quartiles, and where it was measured.

Whatever else the machine does meets both alike. A time by itself says little; it stands beside, as a median.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
from rich.console import Console
from rich.table import Table

from granet.common.processor import model_name

Way = Callable[[], float]
"""Does it once; returns the seconds that count."""


@dataclass(frozen=True)
class Row:
    """Seconds of two ways, and ``ratio``, first / second over pairs, between its ``quartiles``."""

    what: str
    ratio: float
    quartiles: tuple[float, float]
    first_s: float
    second_s: float
    pairs: int


def timed(call: Callable[[], object]) -> Way:
    """``call``, of which everything counts."""

    def way() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    return way


def compare(what: str, first: Way, second: Way, pairs: int) -> Row:
    """``first`` / ``second`` over pairs of calls in turn, after one that does not count."""
    times = [(first(), second()) for _ in range(pairs + 1)][1:]
    low, middle, high = quantiles([a / b for a, b in times], n=4)
    first_s, second_s = (median(column) for column in zip(*times, strict=True))
    return Row(what, middle, (low, high), first_s, second_s, pairs)


def hardware() -> dict[str, object]:
    """What the numbers are of."""
    return {
        "processor": model_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def show(rows: list[Row]) -> None:
    """Print a table of the rows."""
    title = ", ".join(f"{key} {value}" for key, value in hardware().items())
    table = Table("first / second", title=title)
    for heading in ("first, ms", "second, ms", "ratio", "quartiles", "pairs"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = row.quartiles
        times = (f"{1e3 * row.first_s:,.4g}", f"{1e3 * row.second_s:,.4g}")
        table.add_row(row.what, *times, f"{row.ratio:.3f}", f"{low:.3f} to {high:.3f}", str(row.pairs))
    Console(width=140).print(table)


def write(path: Path, rows: list[Row], **others: object) -> None:
    """Write the rows, the hardware and ``others`` as JSON."""
    path.parent.mkdir(exist_ok=True)
    content = {"hardware": hardware(), "rows": [asdict(row) for row in rows]} | others
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
