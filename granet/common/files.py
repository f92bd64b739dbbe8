"""Files that are whole or not there, whatever happens: an error, a kill, a power cut."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def one_line(name: object) -> str:
    """A path, or another name, as a message shows it: whatever it holds, on one line.

    >>> one_line("a/b c.png"), one_line("a\\nb.png")
    ('a/b c.png', "'a\\\\nb.png'")
    """
    text = str(name)
    return text if text.isprintable() else ascii(text)


def atomic(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file whole, or leave the old one untouched; its folder is made where it is missing.

    ``content`` is what the file holds, or a function that writes it to the path that it is called with: a temporary
    file beside ``path``, which is gone afterwards, whatever happens. The file is on the disk before it has its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(temporary)
        to_disk(temporary)
        temporary.replace(path)
        with suppress(OSError):  # some file systems do not do this for folders
            to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name where the file system can do that, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
