"""granet.training.batches: what BatchNorm cannot train on is refused before work, and nothing else is."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from granet.common.distributed import World
from granet.data.order import shares
from granet.training.batches import check_sizes, forward_sizes
from granet.training.config import TrainConfig
from granet.training.loop import backward
from granet.types import UserError

SHAPE = (3, 8, 8)


def network(stride: int) -> nn.Module:
    """Its BatchNorm sees (8 / stride)^2 values per channel of an image."""
    return nn.Sequential(
        nn.Conv2d(3, 4, stride, stride), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * (8 // stride) ** 2, 2)
    )


def trains(model: nn.Module, num_images: int, config: TrainConfig) -> bool:
    """Whether an epoch of the loop's own forwards ends without torch's error."""
    run: Any = SimpleNamespace(config=config, parallel=model, forward=lambda model, images: model(images))
    for part in shares(num_images, config.batch_size, World(), training=True):
        size = part.stop - part.start
        try:
            backward(run, torch.randn(size, *SHAPE), torch.zeros(size, dtype=torch.int64), size)
        except ValueError:  # Expected more than 1 value per channel when training
            return False
    return True


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("num_images", [1, 8, 9])
@pytest.mark.parametrize(
    "batch_size, micro_batch", [(1, None), (2, None), (4, None), (4, 3), (4, 1), (9, 4), (20, None), (20, 5)]
)
def test_refused_is_what_cannot_train(
    stride: int, num_images: int, batch_size: int, micro_batch: int | None
) -> None:
    model, config = network(stride), TrainConfig(batch_size=batch_size, micro_batch=micro_batch)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        check_sizes(model, SHAPE, num_images, config, 1)
    except UserError as error:
        refused = str(error)
    else:
        refused = ""
    assert (
        all(torch.equal(before[name], value) for name, value in model.state_dict().items()) and model.training
    )
    assert bool(refused) != trains(model, num_images, config)
    if fix := re.search(r"of: train.batch_size=(\d+)", refused):
        assert trains(model, num_images, TrainConfig(batch_size=int(fix[1]), micro_batch=micro_batch))


@pytest.mark.parametrize("num_images", range(1, 14))
@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_sizes_are_those_of_the_loaders_shares(num_images: int, num_processes: int) -> None:
    for batch_size in range(num_processes, 8):
        seen = {
            part.stop - part.start
            for rank in range(num_processes)
            for part in shares(num_images, batch_size, World(rank, num_processes), training=True)
        }
        assert forward_sizes(num_images, batch_size, None, num_processes) == seen


def test_the_message() -> None:
    with pytest.raises(UserError) as error:
        check_sizes(network(8), SHAPE, 9, TrainConfig(batch_size=4), 1)
    assert str(error.value) == (
        "train.batch_size=4: with 9 training images a forward gets one image alone, and BatchNorm 1 one value per "
        "channel, where it needs two; set one of: train.batch_size=5, another data.train_size"
    )


def test_batchnorm_over_all_processes_may_see_one_image_of_each() -> None:
    config = TrainConfig(batch_size=2, num_processes=2, sync_bn=True)
    check_sizes(network(8), SHAPE, 8, config, 2)
    with pytest.raises(UserError):
        check_sizes(network(8), SHAPE, 8, TrainConfig(batch_size=2, num_processes=2), 2)
