"""data.root as it is written, and what is found there in place of a data set: a line that names the right level."""

import os
import re
from itertools import islice
from pathlib import Path

from granet.common.files import one_line
from granet.types import UserError

LEVELS = 3
"""How far up and down a data set is looked for."""
SHOWN = 4
"""Names of a folder that a message shows."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")


def expanded(text: str | os.PathLike[str], key: str = "data.root") -> Path:
    """A path as params.yaml has it at ``key``: ``~`` is the home folder, ``${oc.env:NAME}`` an environment variable.

    Raises UserError for one that is not set.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise UserError(
                f"{key}={text}: the variable {match[1]} is not set; write the whole path"
            ) from None

    path = Path(re.sub(r"\$\{oc\.env:(\w+)\}", value, os.fspath(text)))
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        raise UserError(
            f"{key}={text}: there is no home folder {path.parts[0]}; write the whole path"
        ) from None


def found_at(root: Path, parts: tuple[str, ...]) -> str:
    """What lies at ``root``, where a folder with one of ``parts`` was looked for, and the fix: the end of a message."""
    if not root.exists():
        if "$" in str(root):
            return (
                "there is no such folder, and a shell's variables are not expanded: write ~ or the whole path"
            )
        missing = "the link leads nowhere" if root.is_symlink() else "there is no such folder"
        above = next((folder for folder in root.parents[:-1] if folder.exists()), None)
        return f"{missing}; {above} {_holds(above)}" if above else missing
    right = None if any((root / part).is_dir() for part in parts) else _around(root, parts)
    if not root.is_dir():
        fix = "unpack it, and name the folder" if root.suffix.lower() in ARCHIVES else "name a folder"
        return f"it is a file; {f'write data.root={right}' if right else fix}"
    return f"it {_holds(root)}" + (f"; write data.root={right}" if right else "")


def _holds(folder: Path) -> str:
    """The first names in a folder, and the number of the others."""
    try:
        names = sorted(e.name + "/" * e.is_dir() for e in os.scandir(folder) if not e.name.startswith("."))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not names:
        return "is empty"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"holds {', '.join(map(one_line, names[:SHOWN]))}{more}"


def _around(root: Path, parts: tuple[str, ...]) -> Path | None:
    """The nearest folder whose part ``root`` is, or is in; else the nearest below that has one of ``parts``."""
    here = root.resolve()
    for above in islice(here.parents, LEVELS):
        there = [part for part in parts if (above / part).is_dir()]
        if here.relative_to(above).parts[0] in parts and len(there) >= min(2, len(parts)):
            return above
    for depth in range(1, LEVELS + 1):
        for part in parts:
            below = sorted(path.parent for path in here.glob("*/" * depth + part) if path.is_dir())
            if below:
                return below[0]
    return None
