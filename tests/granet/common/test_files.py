"""granet.common.files: a file is the old one or the new one, and nothing is left beside it."""

import os

import pytest

from granet.common.files import atomic


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
