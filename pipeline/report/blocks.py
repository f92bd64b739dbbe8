"""What the report is made of, as plain values: the same for HTML and Markdown.

Sentences are written once, with Markdown's marks in them: **strong**, *emphasis*, `code` and [text](#anchor).
Each kind of block has a macro of its name in every template.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Number:
    """One field of a table. ``group`` names the runs behind it; ``span`` is how many columns it takes.

    ``below`` is a second line: what the paper has, and the difference to it.
    """

    text: str = ""
    note: str = ""
    group: str | None = None
    span: int = 1
    below: tuple[str, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Line:
    """One row of a table. ``heading`` stands above it, where it opens a part of the table."""

    label: str
    color: str
    numbers: list[Number]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """Heads (text and width in columns), below them the columns' own heads if any, and the rows.

    ``corner`` stands above the labels of the rows; ``kind`` "printed": a table of the paper, dense and read downwards.
    """

    heads: list[tuple[str, int]]
    columns: list[str]
    lines: list[Line]
    corner: str = "method"
    kind: str = ""

    @property
    def compared(self) -> bool:
        """Whether the paper's number stands in any field."""
        return any(number.below for line in self.lines for number in line.numbers)

    @property
    def firsts(self) -> list[bool]:
        """For every column, whether it is the first one below its head."""
        return [index == 0 for _, width in self.heads for index in range(width)]

    @property
    def full_heads(self) -> list[str]:
        """For every column its head and its own, in one text."""
        heads = [head for head, width in self.heads for _ in range(width)]
        pairs = zip(heads, self.columns, strict=True) if self.columns else ((head, "") for head in heads)
        return [f"{head}: {column}" if column else head for head, column in pairs]


@dataclass(frozen=True)
class Text:
    """A paragraph; ``kind`` "note": smaller, "warning": in a frame, "lead": larger."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Heading:
    """A heading within a section; ``level`` 3, or 4 below it."""

    text: str
    id: str = ""
    level: int = 3


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption; ``title``: what it is of."""

    path: Path
    caption: str
    title: str


@dataclass(frozen=True)
class Fold:
    """Blocks behind one line, that a reader opens."""

    summary: str
    blocks: Sequence[Any]
    is_open: bool = False
    id: str = ""


@dataclass(frozen=True)
class Pairs:
    """Facts: (name, value)."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Judgement:
    """A claim under its badge, with what was observed; ``kind`` is the badge's colour."""

    id: str
    text: str
    where: str
    kind: str
    badge: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Runs:
    """Runs by group, as `provenance.run_groups` lists them."""

    groups: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """A part of the report. ``nav``: its short name in the navigation."""

    id: str
    title: str
    nav: str
    blocks: Sequence[Any] = field(default_factory=list)


def under(heading: str, lines: Sequence[Line]) -> list[Line]:
    """The lines, with the heading above the first one."""
    return [
        Line(line.label, line.color, line.numbers, "" if index else heading)
        for index, line in enumerate(lines)
    ]
