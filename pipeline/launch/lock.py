"""dvc.lock, a stage at a time. DVC writes all of it anew for each stage: four seconds of a core where it has 285."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from granet.common.files import atomic

PLAIN = re.compile(r"schema: '2\.0'\nstages:\n(?:  [\w@.-]+:\n(?:    .*\n)+)+")
"""As DVC writes it, where nothing but stages is locked, and YAML takes their names as they are."""


class Stages(dict):
    """What changed among the locked stages of ``text``; `get` also has those that did not."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def get(self, name: str, default: Any = None) -> Any:
        """A stage's values, parsed alone."""
        from dvc.utils.serialize import loads_yaml

        start, end = _place(self.text, name)
        return loads_yaml(self.text[start:end])[name] if start < end else default

    def merged(self) -> str:
        """The text with the lines of what changed: in their place, and new ones at the end, as DVC does."""
        from dvc.utils.serialize import dumps_yaml

        text = self.text
        for name, values in self.items():
            start, end = _place(text, name)
            _, _, lines = dumps_yaml({"stages": {name: values}}).partition("\n")
            text = text[:start] + lines + text[end:]
        return text


def _place(text: str, name: str) -> tuple[int, int]:
    """Where a stage's lines begin and end; an empty place at the end where it has none."""
    found = re.search(rf"^  {re.escape(name)}:\n(?:    .*\n)+", text, re.MULTILINE)
    return found.span() if found else (len(text), len(text))


@cache
def write_stages_alone() -> None:
    """From now on DVC writes the lines of a stage into dvc.lock, in this process, to the same bytes as all of it."""
    from dvc import dvcfile

    plain = dvcfile.modify_yaml

    @contextmanager
    def modify(path: str, fs: Any = None) -> Iterator[dict]:
        file = Path(path)
        text = file.read_text() if file.name == dvcfile.LOCK_FILE and file.exists() else ""
        if not PLAIN.fullmatch(text):
            with plain(path, fs=fs) as data:
                yield data
            return
        stages = Stages(text)
        yield {"schema": "2.0", "stages": stages}
        if PLAIN.fullmatch(merged := stages.merged()):
            atomic(file, merged.encode())
        else:  # a name of more than 128 letters, which YAML writes otherwise
            with plain(path, fs=fs) as data:
                data["stages"].update(stages)

    dvcfile.modify_yaml = modify  # pyright: ignore[reportPrivateImportUsage]
