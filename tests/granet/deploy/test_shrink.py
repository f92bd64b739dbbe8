"""A shrunken network computes what the masked one computes, whatever was pruned."""

import copy
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from granet.deploy.packed import save_packed
from granet.deploy.shrink import shrink
from granet.maskable import maskable_weights
from granet.masks import apply_, random_masks
from granet.models import build
from granet.sparsifier.coupling import channel_groups
from granet.types import UserError
from tests.helpers.networks import (
    IMAGE,
    OF_THE_PAPER,
    assert_close,
    assert_same_outputs,
    half,
    prune_filters,
    small_net,
    trained_like,
)


def num_weights(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_half_of_the_filters_leave_a_quarter_of_the_weights(name):
    model = trained_like(name)
    masks = prune_filters(model, half(model))
    before = copy.deepcopy(model.state_dict())
    smaller: Any = shrink(model, masks)
    assert_same_outputs(model, smaller)
    assert num_weights(smaller) / num_weights(model) == pytest.approx(0.25, abs=0.01)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())  # untouched
    for group in channel_groups(smaller):
        assert group.size == half(model)[group.name]
    assert (smaller.fc.in_features, smaller.fc.out_features) == (model.fc.in_features // 2, 10)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_a_group_keeps_its_last_channel_even_where_that_is_pruned(name):
    model = trained_like(name)
    first, second, *others = (group.name for group in channel_groups(model))
    masks = prune_filters(model, {first: 1, second: 0, others[-1]: 0})
    smaller = shrink(model.double(), masks)  # of constants it makes logits of 100 and more
    sizes = {group.name: group.size for group in channel_groups(smaller)}
    assert (sizes[first], sizes[second], sizes[others[-1]]) == (1, 1, 1)
    with torch.no_grad():
        images = torch.randn(4, *IMAGE, dtype=torch.float64)
        assert_close(smaller(images), model(images))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_filters_of_resnet20(data):
    model = trained_like("resnet20")
    groups = channel_groups(model)
    counts = {g.name: data.draw(st.integers(1, g.size), label=g.name) for g in groups}
    smaller = shrink(model, prune_filters(model, counts))
    assert {group.name: group.size for group in channel_groups(smaller)} == counts
    images = torch.randn(4, *IMAGE)  # through a single channel they may well not matter
    assert_close(smaller(images), model(images))


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_single_weights_leave_nothing_to_cut_out(name):
    model = trained_like(name)
    weights = {name: weight.detach() for name, weight in maskable_weights(model).items()}
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    masks = random_masks(shapes, {name: weight.numel() // 2 for name, weight in weights.items()}, seed=0)
    apply_(weights, masks)
    masks.pop("fc.weight")  # of 10 classes, each of which may well miss the same channel
    smaller = shrink(model, masks)
    images = torch.randn(2, *IMAGE)
    assert num_weights(smaller) == num_weights(model)
    assert torch.equal(smaller(images), model(images))


def test_a_channel_that_is_a_constant_goes_where_no_zeros_are_around_the_image():
    """Its weights are zero, but its bias or the mean of its BatchNorm is not."""
    model = small_net(nn.BatchNorm2d(4))
    masks = prune_filters(model, {"0.weight": 2})
    dead = (~masks["0.weight"].flatten(1).any(1)).nonzero().flatten()
    smaller: Any = shrink(model, masks)
    assert smaller[0].out_channels == 2
    model[3].weight.data[:, dead[0]] = 1  # so that it does matter
    model[1].bias.data[dead[0]] = 0.5
    masks["3.weight"].fill_(True)
    for padding, kept in ((0, 2), (1, 3)):
        model[3].padding = (padding, padding)
        smaller = shrink(model, masks)
        assert smaller[0].out_channels == kept
        assert_same_outputs(model, smaller)

    model = small_net(nn.BatchNorm2d(4, affine=False))
    masks = prune_filters(model, {"0.weight": 2})
    model[1].running_mean.fill_(-1)
    model[3].weight.data.fill_(0.01)
    smaller = shrink(model, {"0.weight": masks["0.weight"]})
    assert smaller[0].out_channels == 2
    assert_same_outputs(model, smaller)


def test_memory_format_modes_and_shared_weights_survive():
    model = build("resnet20", num_classes=10).to(memory_format=torch.channels_last)
    smaller: Any = shrink(model, prune_filters(model, half(model)))
    assert smaller.training
    for convolution in (smaller.conv1, smaller.layer1[0].conv1):
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert not convolution.weight.is_contiguous()

    tied = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    tied[2].weight = tied[1].weight
    smaller = shrink(tied, prune_filters(tied, {"0.weight": 3}))
    assert smaller[2].weight is smaller[1].weight
    assert (smaller[1].in_channels, smaller[2].out_channels) == (3, 3)
    assert_same_outputs(tied, smaller)


def test_a_smaller_network_can_be_trained():
    model = build("resnet20", num_classes=10)
    model(torch.randn(2, *IMAGE)).sum().backward()  # gradients of the old shapes
    smaller = shrink(model, prune_filters(model, half(model)))
    smaller(torch.randn(2, *IMAGE)).sum().backward()
    assert all(value.grad.shape == value.shape for value in smaller.parameters())


ALL = torch.ones(4, 3, 3, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "masks, words",
    [
        ({"conv1.weight": ALL}, "masks: 'conv1.weight' is no weight of this model"),
        ({"0.weight": ALL[:2]}, "masks['0.weight'] is torch.bool (2, 3, 3, 3) but must be"),
        ({"0.weight": ALL.float()}, "masks['0.weight'] is torch.float32"),
        ({"0.weight": ~ALL}, "masks['0.weight']: 108 weights are not zero where it is inactive"),
    ],
)
def test_masks_of_another_network_are_refused(masks, words, tmp_path):
    model = small_net(nn.BatchNorm2d(4))
    for call in (
        lambda: shrink(model, masks),
        lambda: save_packed(tmp_path / "p", model.state_dict(), masks),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as error:
            call()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
