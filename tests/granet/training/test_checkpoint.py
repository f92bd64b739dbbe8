import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from granet import METHODS, Sparsifier
from granet.training import checkpoint
from granet.training.average import Average
from granet.types import UserError


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


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "a bit": flipped,
    "zeros": lambda content: bytes(len(content)),
    "another file": lambda content: b"PK" + b"not what it was",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_noticed_and_the_one_before_is_used(tmp_path, damage):
    path = tmp_path / "last.pt"
    for step in (1, 2, 3):
        checkpoint.save(path, {"step": step, "w": torch.full((1000,), step)}, keep=True)
    assert checkpoint.newest(path)[0]["step"] == 3
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"last\.pt is damaged: .") as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
    state, faults = checkpoint.newest(path)
    assert state["step"] == 2
    assert faults == [str(error.value)]
    checkpoint.before(path).write_bytes(b"")
    state, faults = checkpoint.newest(path)
    assert (state, len(faults)) == (None, 2)


def test_a_kill_between_the_two_renames_loses_one_epoch_at_most(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1}, keep=True)
    path.rename(checkpoint.before(path))
    assert checkpoint.newest(path) == ({"step": 1}, [])


def test_the_state_of_another_run_is_refused_in_one_line():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = METHODS["static"](sf=0.5)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=4)
    average = Average(model, 0.9)
    run = SimpleNamespace(
        title="mine", model=model, optimizer=optimizer, sparsifier=sparsifier, average=average
    )
    state = checkpoint.state_of(run, [{"epoch": 1}])
    assert checkpoint.restore(run, state) == [{"epoch": 1}]
    other = torch.nn.Linear(5, 2).state_dict()
    for wrong in ({"model": other}, {"optimizer": {}}, {"sparsifier": {"shapes": {}}}, {"average": {}}):
        with pytest.raises(
            UserError, match=r"^mine: the checkpoint to go on from is of another run \("
        ) as error:
            checkpoint.restore(run, state | wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"of another run \('history'\); move it away"):
        checkpoint.restore(run, {key: state[key] for key in ("model", "optimizer", "sparsifier", "average")})


FULL = """
import resource, sys, torch
from pathlib import Path
from granet import METHODS, Sparsifier
from granet.training import checkpoint
path = Path(sys.argv[1])
checkpoint.save(path, {"step": 1}, keep=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as where the disk is full
try:
    checkpoint.save(path, {"step": 2, "w": torch.zeros(100_000)}, keep=True)
except OSError as error:
    print(error)
print(checkpoint.load(path), [file.name for file in path.parent.iterdir()])
"""


def test_a_full_disk_leaves_the_old_file_and_is_an_error_of_the_system(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "last.pt")]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True)
    told = f"[Errno 27] File too large: '{tmp_path / 'last.pt'}'"
    assert done.stdout.splitlines() == [told, "{'step': 1} ['last.pt']"]
