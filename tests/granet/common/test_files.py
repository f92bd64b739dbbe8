"""granet.common.files: a file is the old one or the new one, and nothing is left beside it."""

import errno
import os
from pathlib import Path

import pytest

from granet.common.files import atomic, made, naming
from granet.types import UserError


def writer(path):
    path.write_text("new")


@pytest.mark.parametrize("content", [b"new", writer], ids=["bytes", "function"])
def test_a_new_file_takes_the_place_of_the_old_one(tmp_path, content):
    path = tmp_path / "deep" / "file.txt"
    atomic(path, content)
    assert path.read_text() == "new"
    path.write_text("old, and longer")
    atomic(path, content)
    assert path.read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_an_error_half_way_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half of the n")
        raise error

    with pytest.raises(error):
        atomic(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_function_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic(tmp_path / "file.txt", lambda temporary: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_nothing_is_written_through_a_link(tmp_path, link):
    """DVC may link results into its cache."""
    cached, path = tmp_path / "cached", tmp_path / "file.txt"
    cached.write_text("old")
    link(cached, path)
    atomic(path, b"new")
    assert (cached.read_text(), path.read_text()) == ("old", "new")
    assert not path.is_symlink()


@pytest.mark.parametrize(
    ("path", "reason"), [("a", "a is a file"), ("a/b/c", "a is a file"), ("/proc/x", "No such")]
)
def test_where_no_folder_can_be_is_told(path, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").touch()
    with pytest.raises(
        UserError, match=f"^{path} cannot be a folder: {reason}.*; move what is there, or name"
    ):
        made(Path(path))
    with pytest.raises(UserError, match=f"^{path} cannot be a folder"):
        atomic(Path(path, "x"), b"")


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=r"x is a folder, and a file is to be there; move it"):
        atomic(tmp_path / "x", b"")


def test_an_error_of_the_system_names_the_file_that_was_to_be_written(tmp_path):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'x'}'"):
        atomic(tmp_path / "x", full)
    with pytest.raises(OSError, match=r"other'$"), naming(tmp_path / "x"):
        raise OSError(errno.EIO, "Input/output error", "other")
