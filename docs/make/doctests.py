"""mkdocstrings: a docstring's doctest is code, which Markdown would take for a quotation."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?:^>>>.*\n?(?:^(?!\s*$).*\n?)*)+", re.MULTILINE)
"""From a prompt to the next empty line."""


def fenced(text: str) -> str:
    """A docstring whose doctests are blocks of code.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2"))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    return DOCTEST.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text).rstrip("\n")


class Doctests(griffe.Extension):
    """Applies `fenced` to every object that is documented."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for each."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
