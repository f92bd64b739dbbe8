"""From blocks to a file: one template per format, with a macro for each kind of block."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.drawing import DPI
from pipeline.report.blocks import Section

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {
    r"`(.+?)`": r"<code>\1</code>",
    r"\*\*(.+?)\*\*": r"<strong>\1</strong>",
    r"\*(.+?)\*": r"<em>\1</em>",
    r"\[([^]]+)\]\((#[\w-]+)\)": r'<a href="\2">\1</a>',
}
"""Markdown's marks in sentences, and what they are in HTML."""


def render(name: str, experiment: str, opening: Sequence[Any], sections: Sequence[Section]) -> str:
    """The text of report.html or report.md."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "base64": _base64,
        "width": _width,
        "inline": inline,
        "kind": kind,
        "field": field,
    }
    template = environment.get_template(f"{name}.j2")
    return template.render(experiment=experiment, opening=opening, sections=sections)


def inline(text: str) -> Any:
    """A sentence with Markdown's marks as HTML; everything else in it is escaped.

    >>> str(inline("**a < b** in `c`, [there](#d)"))
    '<strong>a &lt; b</strong> in <code>c</code>, <a href="#d">there</a>'
    """
    from markupsafe import Markup

    html = escape(text, quote=False)
    for mark, tag in MARKS.items():
        html = re.sub(mark, tag, html)
    return Markup(html)


def kind(block: Any) -> str:
    """The name of a block's macro."""
    return type(block).__name__.lower()


def field(text: str) -> str:
    """A text within a Markdown table.

    >>> field("a | b")
    'a \\\\| b'
    """
    return text.replace("|", "\\|")


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _width(path: Path) -> int:
    """The width of a PNG in CSS pixels, with room for sharp screens: 9 inches fill the page."""
    return round(int.from_bytes(path.read_bytes()[16:20]) / DPI * 122)
