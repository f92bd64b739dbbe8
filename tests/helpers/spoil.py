"""Ways to break a file of the working folder. Each gives a function that does it, for the tables of tests."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from granet.data import beton

Spoil = Callable[[], object]


def nothing() -> None:
    """The files are good, and the command is not."""


def text(path: str, content: str | bytes) -> Spoil:
    return lambda: Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def swap(path: str, old: str, new: str) -> Spoil:
    """One text in it by another."""

    def spoil() -> None:
        before = Path(path).read_text()
        assert old in before
        Path(path).write_text(before.replace(old, new))

    return spoil


def cut(path: str) -> Spoil:
    """The second half is missing."""
    return lambda: os.truncate(path, Path(path).stat().st_size // 2)


def flip(path: str) -> Spoil:
    """A byte in the middle is another."""

    def spoil() -> None:
        content = bytearray(Path(path).read_bytes())
        content[len(content) // 2] ^= 255
        Path(path).write_bytes(content)

    return spoil


def gone(path: str) -> Spoil:
    return lambda: Path(path).unlink()


def folder(path: str) -> Spoil:
    """A folder stands where the file was."""

    def spoil() -> None:
        Path(path).unlink(missing_ok=True)
        Path(path).mkdir()

    return spoil


def link(path: str, target: str) -> Spoil:
    def spoil() -> None:
        Path(path).unlink(missing_ok=True)
        Path(path).symlink_to(target)

    return spoil


READERS: dict[str, tuple[Callable[[str], Any], Callable[[Any, str], object]]] = {
    ".json": (
        lambda path: json.loads(Path(path).read_text()),
        lambda values, path: Path(path).write_text(json.dumps(values)),
    ),
    ".safetensors": (load_file, save_file),
    ".pt": (torch.load, torch.save),
    "": (
        lambda path: pickle.loads(Path(path).read_bytes()),
        lambda values, path: Path(path).write_bytes(pickle.dumps(values, protocol=2)),
    ),
}
"""How a kind of file is read and written; one of another ending is a pickle."""


def change(path: str, of: Callable[[Any], Any]) -> Spoil:
    """The content is what ``of`` makes of it."""
    read, write = READERS.get(Path(path).suffix, READERS[""])
    return lambda: write(of(read(path)), path)


def lacks(path: str, *keys: Any) -> Spoil:
    """The last of ``keys``, which lead down from dict to dict, is missing."""

    def of(values: Any) -> Any:
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return values

    return change(path, of)


def has(path: str, **values: Any) -> Spoil:
    """The dict has other values at these keys."""
    return change(path, lambda old: old | values)


def number(path: str, offset: int, form: str, value: int) -> Spoil:
    """A number is another: at ``offset``, in struct's ``form``."""

    def spoil() -> None:
        content = bytearray(Path(path).read_bytes())
        struct.pack_into(form, content, offset, value)
        Path(path).write_bytes(content)

    return spoil


RECORD = beton.HEADER.itemsize + 2 * beton.FIELD.itemsize
"""Where the first image's record begins in a .beton file; its label is 16 bytes behind."""


class Call:
    """Pickled, it is a call that makes a folder, by whoever unpickles it without care."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("executed",)
