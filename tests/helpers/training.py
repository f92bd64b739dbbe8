"""A small training run on prepared digits."""

import copy
from pathlib import Path
from typing import Any

import torch

from granet import METHODS
from granet.data import open_data
from granet.method import Method
from granet.models import build
from granet.training.config import TrainConfig
from granet.training.run import Run, prepare_run

CPU = torch.device("cpu")
GRANET = {"sf": 0.9, "update_interval": 2}


def make_run(
    folder: Path,
    *,
    loader: str = "resident",
    num_workers: int = 0,
    method: Method | None = None,
    seed: int = 0,
    device: torch.device = CPU,
    **config: Any,
) -> Run:
    """ResNet-20 of width 8 in batches of 64, for 3 epochs; ``config`` are other keys of TrainConfig."""
    values = {"epochs": 3, "batch_size": 64, "precision": "fp32"} | config
    data = open_data(
        folder,
        loader=loader,
        batch_size=values["batch_size"],
        seed=seed,
        num_workers=num_workers,
        device=device,
    )
    torch.manual_seed(seed)
    model = build("resnet20", num_classes=data.num_classes, width=8)
    return prepare_run(
        "test",
        model,
        method or METHODS["granet"](**GRANET),
        data,
        TrainConfig(**values),
        seed=seed,
        device=device,
        rewind_to=copy.deepcopy(model.state_dict()),
    )
