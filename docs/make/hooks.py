"""mkdocs: links to files of the repository that are no pages become their names; a link to nothing is an error."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """[words](../granet/x.py) -> words (`granet/x.py`), where that file is there."""

    def name(match: re.Match[str]) -> str:
        words, target = match[1], match[2].partition("#")[0]
        if not (ROOT / target).exists():
            return match[0]
        return words if words.strip("`") in target else f"{words} (`{target}`)"

    return re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", name, markdown)
