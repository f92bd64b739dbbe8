"""pipeline.workspace: a folder for unfinished work belongs to one process at a time."""

import multiprocessing
from pathlib import Path

from pipeline.workspace import own_folder


def test_the_second_one_gets_a_folder_of_its_own_which_goes_with_it(tmp_path):
    with own_folder(tmp_path, "key") as first:
        first.mkdir()
        with own_folder(tmp_path, "key") as second:
            second.mkdir()
            assert second != first
        assert first.exists() and not second.exists()
    with own_folder(tmp_path, "key") as again:
        assert again == first == tmp_path / "key"


def _take(parent: Path, turns: int, clashes: "multiprocessing.Queue[str]") -> None:
    for _ in range(turns):
        with own_folder(parent, "key") as folder:
            try:
                (folder / "busy").mkdir(parents=True)
            except FileExistsError:
                clashes.put(str(folder))
            else:
                (folder / "busy").rmdir()


def test_two_processes_are_never_in_one_folder(tmp_path):
    """Whoever took the lock's file away would let a process that waits for it and one that comes into one folder."""
    context = multiprocessing.get_context("spawn")
    clashes = context.Queue()
    processes = [context.Process(target=_take, args=(tmp_path, 2000, clashes)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert clashes.empty()
