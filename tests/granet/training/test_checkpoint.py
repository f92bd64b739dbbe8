import pytest
import torch

from granet.training import checkpoint


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "deep" / "last.pt"
    state = {"w": torch.arange(3.0), "history": [{"epoch": 1, "loss": 0.1 + 0.2}], "step": 7}
    checkpoint.save(path, state)
    again = checkpoint.load(path)
    assert again is not None
    assert torch.equal(again["w"], state["w"])
    assert (again["history"], again["step"]) == (state["history"], 7)


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "last.pt") is None


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    with pytest.raises((AttributeError, TypeError)):
        checkpoint.save(path, {"step": lambda: None})  # cannot be pickled
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
