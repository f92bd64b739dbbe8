"""granet.training.device: what is there is taken, and what is not is one line."""

import pytest
import torch

from granet import UserError
from granet.training.device import pick_device, pick_precision

CPU = torch.device("cpu")


def test_devices_and_precisions_that_are_not_there():
    assert pick_device("cpu") == CPU
    assert pick_precision("fp32", CPU) == "fp32"
    assert pick_precision("auto", CPU) in ("fp32", "bf16")
    with pytest.raises(UserError, match=r"train\.device='tpu'"):
        pick_device("tpu")


def test_a_gpu_that_is_named_is_the_current_one(monkeypatch):
    """A CUDA graph is recorded on the current device, and would be empty where the work is another's."""
    chosen, zeros = [], torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert pick_device("cuda:1") == torch.device("cuda", 1) == chosen[0]
    assert pick_device("cuda") == torch.device("cuda") and len(chosen) == 1
