"""What the report is made of, as plain values, and how they become HTML and Markdown.

Sentences are written once, with Markdown's marks in them: **strong**, *emphasis*, `code` and [text](#anchor).
Each kind of block has a macro of its name in every template. A plain list is a list of sentences, a plain dict one of
facts by their names.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.drawing import DPI

MARKS = {
    r"`(.+?)`": r"<code>\1</code>",
    r"\*\*(.+?)\*\*": r"<strong>\1</strong>",
    r"\*(.+?)\*": r"<em>\1</em>",
    r"\[([^]]+)\]\((#[\w-]+)\)": r'<a href="\2">\1</a>',
}
"""Markdown's marks in sentences, and what they are in HTML."""


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
    def heads_of_columns(self) -> list[tuple[str, bool]]:
        """For every column the head that it stands below, and whether it is the first one there."""
        return [(head, index == 0) for head, width in self.heads for index in range(width)]


class Text(NamedTuple):
    """A paragraph; ``kind`` "note": smaller, "warning": in a frame, "lead": larger."""

    text: str
    kind: str = ""


class Heading(NamedTuple):
    """A heading within a section; ``level`` 3, or 4 below it."""

    text: str
    id: str = ""
    level: int = 3


class Picture(NamedTuple):
    """A PNG with its caption; ``title``: what it is of."""

    path: Path
    caption: str
    title: str


class Fold(NamedTuple):
    """Blocks behind one line, that a reader opens."""

    summary: str
    blocks: Sequence[Any]
    is_open: bool = False
    id: str = ""


class Judgement(NamedTuple):
    """A claim under its badge, with what was observed; ``kind`` is the badge's colour."""

    id: str
    text: str
    where: str
    kind: str
    badge: str
    blocks: Sequence[Any]


class Runs(NamedTuple):
    """Runs by group, as `provenance.run_groups` lists them."""

    groups: Sequence[dict[str, Any]]


class Section(NamedTuple):
    """A part of the report. ``nav``: its short name in the navigation."""

    id: str
    title: str
    nav: str
    blocks: Sequence[Any]


def headed(heading: str, lines: Sequence[Line]) -> list[Line]:
    """The lines, each with the heading: for those of which a table may leave some out."""
    return [replace(line, heading=heading) for line in lines]


def under(heading: str, lines: Sequence[Line]) -> list[Line]:
    """The lines, with the heading above the first one."""
    return [replace(line, heading="" if index else heading) for index, line in enumerate(lines)]


def by_heading(lines: Iterable[Line]) -> list[Line]:
    """Lines that all name their heading, which stays above the first of several under the same one."""
    return [one for name, block in groupby(lines, lambda line: line.heading) for one in under(name, [*block])]


def render(name: str, **values: Any) -> str:
    """The text of report.html or report.md. Names in it are texts, whatever they hold: no HTML, no links."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        finalize=None if name.endswith(".html") else markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "base64": lambda path: b64encode(path.read_bytes()).decode(),
        "width": _width,
        "inline": inline,
        "kind": lambda block: type(block).__name__.lower(),
    }
    return environment.get_template(f"{name}.j2").render(values)


def inline(text: str) -> Markup:
    """A sentence with Markdown's marks as HTML; everything else in it is escaped.

    >>> str(inline("**a < b** in `c`, [there](#d)"))
    '<strong>a &lt; b</strong> in <code>c</code>, <a href="#d">there</a>'
    """
    html = escape(text, quote=False)
    for mark, tag in MARKS.items():
        html = re.sub(mark, tag, html)
    return Markup(html)


def markdown(value: object) -> Markup:
    """What a template fills in, as Markdown: its marks work, and links within the report and to a file beside it.

    HTML and other links do not.

    >>> str(markdown("**p < 0.05**, [there](#d), [rows](d.csv), <b>, [x](javascript:y)"))
    '**p < 0.05**, [there](#d), [rows](d.csv), &lt;b>, [x]\\\\(javascript:y)'
    """
    if isinstance(value, Markup):  # a part of the template
        return value
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", str(value).replace("\n", " "))
    return Markup(re.sub(r"\]\((?!#|[\w-]+\.(?:csv|md)\))", r"]\\(", text))


def _width(path: Path) -> int:
    """The width of a PNG in CSS pixels, with room for sharp screens: 9 inches fill the page."""
    return round(int.from_bytes(path.read_bytes()[16:20]) / DPI * 122)
