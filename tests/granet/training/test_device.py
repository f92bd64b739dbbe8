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
