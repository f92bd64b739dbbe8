"""train.compile: the same training but for rounding, with graphs that outlive mask updates."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from granet import METHODS, UserError
from granet.common import distributed
from granet.data import open_data
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import prepare_run

CPU = torch.device("cpu")


def trained(digits: Path, folder: Path, *, compile: bool, device: torch.device = CPU):
    """Two epochs of 200 images in batches of 64, the last one of 8. Softplus, because ReLU is not continuous backward:

    there a value that is 0 but for rounding flips a whole gradient.
    """
    torch.compiler.reset()  # graphs of another network with the same shapes would do
    counters.clear()
    data = open_data(digits, loader="resident", batch_size=64, seed=0, device=device)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.Softplus(), nn.Flatten(), nn.Linear(512, 10)
    )
    config = TrainConfig(epochs=2, batch_size=64, lr=0.05, precision="fp32", compile=compile)
    method = METHODS["granet"](sf=0.9, update_interval=2)
    run = prepare_run("test", model, method, data, config, seed=0, device=device)
    return run, fit(run, history_csv=folder / "history.csv", checkpoint_path=folder / "last.pt")


def test_compiled_training_is_eager_training_but_for_rounding(digits, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    eager, rows = trained(digits, tmp_path / "a", compile=False)
    compiled, same_rows = trained(digits, tmp_path / "b", compile=True)
    # Batches of 64 and 8 in training, of 40 for validation, of 64 and 36 for testing; none more for a mask update.
    assert counters["stats"]["unique_graphs"] == 5
    assert list(eager.model.state_dict()) == list(compiled.model.state_dict())
    for name, mask in eager.sparsifier.masks.items():
        assert torch.equal(mask, compiled.sparsifier.masks[name]), name
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=0, atol=1e-5, msg=name)
    assert [row["sparsity"] for row in rows] == [row["sparsity"] for row in same_rows]
    assert json.dumps(rows[-1]["test_accuracy"]) == json.dumps(same_rows[-1]["test_accuracy"])


def test_several_processes_compile_the_network_that_they_share(digits, tmp_path, monkeypatch):
    """A group of one, so that there is a DistributedDataParallel in this process."""
    monkeypatch.setattr(distributed, "spread", lambda model, *, sync_bn: DistributedDataParallel(model))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        eager, _ = trained(digits, tmp_path / "a", compile=False)
        compiled, _ = trained(digits, tmp_path / "b", compile=True)
    finally:
        torch.distributed.destroy_process_group()
    assert counters["stats"]["unique_graphs"] == 5 and not counters["graph_break"]
    for name, value in eager.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=0, atol=1e-5, msg=name)


def test_without_a_compiler_one_line_says_so(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"train.compile=true needs a C\+\+ compiler"):
        trained(digits, tmp_path, compile=True)
