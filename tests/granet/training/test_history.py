import os
from pathlib import Path

import pytest

from granet.training.history import HistoryFile, accuracies, describe


def row(epoch, test, val=None):
    return {"epoch": epoch, "test_accuracy": test} | ({} if val is None else {"val_accuracy": val})


def test_the_three_accuracies():
    history = [row(1, 0.95, 0.2), row(2, 0.9, 0.95), row(3, 0.8, 0.9), row(4, 0.85, 0.7), row(5, 0.7, 0.8)]
    assert accuracies(history, first_final_epoch=3) == {
        "test_accuracy_last": 0.7,
        "test_accuracy_best_val": 0.8,  # epoch 3; the network of epoch 2 had weights to lose yet
        "test_accuracy_best_test": 0.85,  # epoch 4; 0.95 came before the final sparsity
    }


def test_nothing_held_out_is_an_empty_cell():
    assert accuracies([row(1, 0.5)], 1)["test_accuracy_best_val"] is None


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path):
    path = tmp_path / "history.csv"
    with HistoryFile(path) as file:
        file.write({"epoch": 1, "loss": 0.1 + 0.2})
        assert path.read_text() == "epoch,loss\n1,0.30000000000000004\n"


def test_a_line_shows_what_matters():
    values = {"train_loss": 0.5, "train_accuracy": 0.9, "sparsity": 0.98, "images_per_s": 1234.5}
    text = describe(row(3, 0.8765) | values, epochs=20)
    assert "epoch   3/20" in text
    assert "test 87.65%" in text
    assert "sparsity 98.00%" in text


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_new_history_is_not_written_through_a_link(tmp_path, link):
    """DVC may link results into its cache."""
    cached, path = tmp_path / "cached", tmp_path / "history.csv"
    cached.write_text("old")
    link(cached, path)
    with HistoryFile(path) as file:
        file.write(row(1, 0.5))
    assert cached.read_text() == "old"
    assert path.read_text() == "epoch,test_accuracy\n1,0.5\n"


def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    """The processes of a run that do not write give /dev/null, which must outlive them."""
    os.mkfifo(path := tmp_path / "null")
    reader = os.open(path, os.O_RDWR)  # else a pipe would wait for one
    with HistoryFile(path) as file:
        file.write({"epoch": 1})
    assert path.is_fifo()
    os.close(reader)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_with_the_files_name():
    with (
        pytest.raises(OSError, match=r"No space left on device: '/dev/full'"),
        HistoryFile(Path("/dev/full")) as file,
    ):
        file.write({"epoch": 1})
