"""Files that are whole or not there, whatever happens: an error, a kill, a power cut."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EFBIG, EIO, EMFILE, ENFILE, ENODEV, ENOSPC, EPERM, EROFS, ESTALE
from pathlib import Path

from granet.types import UserError

FULL, DENIED = {ENOSPC, EDQUOT, EFBIG}, {EACCES, EPERM, EROFS}
HANDLES, HARDWARE = {EMFILE, ENFILE}, {EIO, ESTALE, ENODEV}
MACHINE = FULL | DENIED | HANDLES | HARDWARE
"""Errors of the system, by number, that say nothing of what is in a file."""


def one_line(name: object) -> str:
    """A path, or another name, as a message shows it: whatever it holds, on one line.

    >>> one_line("a/b c.png"), one_line("a\\nb.png")
    ('a/b c.png', "'a\\\\nb.png'")
    """
    text = str(name)
    return text if text.isprintable() else ascii(text)


@contextmanager
def naming(path: Path, *, instead_of: Path | None = None) -> Iterator[None]:
    """In this block an error of the system that names no file, or ``instead_of``, names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(instead_of)):
            error.filename = str(path)
        raise


def made(folder: Path) -> Path:
    """A folder, made where it is missing. Raises UserError where a file is in its way, or nothing can be there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in MACHINE:
            raise
        files = (path for path in (folder, *folder.parents) if path.exists() and not path.is_dir())
        reason = next((f"{path} is a file" for path in files), error.strerror)
        raise UserError(
            f"{folder} cannot be a folder: {reason}; move what is there, or name another"
        ) from None
    return folder


def atomic(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file whole, or leave the old one untouched; its folder is made where it is missing.

    ``content`` is what the file holds, or a function that writes it to the path that it is called with: a temporary
    file beside ``path``, which is gone afterwards, whatever happens. The file is on the disk before it has its name.
    Raises UserError where a folder is in its way, or a file in the way of its folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file is to be there; move it, or name another")
    temporary = made(path.parent) / f"{path.name}.{os.getpid()}.tmp"
    try:
        with naming(path, instead_of=temporary):
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
