"""What a network draws while it is trained, as dropout does, depends on seed and step alone."""

import pytest
import torch
from torch import nn

from granet import METHODS
from granet.data import open_data
from granet.training.config import TrainConfig
from granet.training.loop import fit
from granet.training.run import Run, prepare_run
from tests.helpers.training import CPU


class StopError(Exception):
    """Stands for Ctrl-C."""


def dropping(digits, seed: int = 0) -> Run:
    data = open_data(digits, loader="resident", batch_size=64, seed=0, device=CPU)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16), nn.Dropout(0.5), nn.Linear(16, 10))
    config = TrainConfig(epochs=3, batch_size=64, precision="fp32")
    run = prepare_run("test", model, METHODS["dense"](), data, config, seed=seed, device=CPU)
    torch.seed()  # whatever was drawn before
    return run


def weights(run: Run) -> torch.Tensor:
    return torch.cat([value.flatten() for value in run.model.state_dict().values()])


def test_a_run_with_dropout_is_repeated_and_goes_on_bit_for_bit(digits, tmp_path):
    def trained(name: str, seed: int = 0) -> torch.Tensor:
        run = dropping(digits, seed)
        fit(run, history_csv=tmp_path / f"{name}.csv", checkpoint_path=tmp_path / f"{name}.pt")
        return weights(run)

    whole = trained("whole")
    assert torch.equal(whole, trained("again"))
    assert not torch.equal(whole, trained("other", seed=1))

    def interrupt(row):
        if row["epoch"] == 1:
            raise StopError

    paths = {"history_csv": tmp_path / "cut.csv", "checkpoint_path": tmp_path / "cut.pt"}
    with pytest.raises(StopError):
        fit(dropping(digits), on_epoch=interrupt, **paths)
    resumed = dropping(digits)
    fit(resumed, **paths)
    assert torch.equal(whole, weights(resumed))
