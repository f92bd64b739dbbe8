"""Networks like trained ones, and like pruned ones, without training."""

from typing import Any

import torch
from torch import Tensor, nn

from granet.maskable import maskable_weights
from granet.masks import apply_
from granet.models import build
from granet.sparsifier.coupling import channel_groups
from granet.types import Masks

IMAGE = (3, 32, 32)
OF_THE_PAPER = ("resnet20", "vgg19", "resnet50_cifar", "resnet50")
"""The rows of MODELS that GraNet's tables have: their classifier is ``fc``, and they can be shrunk."""


def trained_like(name: str) -> Any:
    """A network in eval mode with running statistics and BatchNorm parameters that no fresh one has."""
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    settle(model.eval())
    return model


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Give BatchNorm statistics near those of its inputs: else images would hardly matter after twenty layers."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    mode, momenta = model.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # nothing is left of the old ones
    model.train()(torch.randn(8, *IMAGE))
    model.train(mode)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var += 0.1 * torch.rand_like(norm.running_var)


def prune_filters(model: nn.Module, num_active: dict[str, int]) -> Masks:
    """Prune random channels of these groups: rows, columns and vectors become zero. Returns all masks."""
    weights = maskable_weights(model)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for group in channel_groups(model):
        pruned = torch.randperm(group.size)[num_active.get(group.name, group.size) :]
        for name in group.outputs:
            masks[name][pruned] = False
        for name in group.inputs:
            masks[name][:, pruned] = False
        for name in group.vectors:
            model.get_parameter(name).data[pruned] = 0
    apply_({name: weight.detach() for name, weight in weights.items()}, masks)
    settle(model)
    return masks


def half(model: nn.Module) -> dict[str, int]:
    return {group.name: group.size // 2 for group in channel_groups(model)}


def assert_same_outputs(model: nn.Module, smaller: nn.Module) -> None:
    images = torch.randn(4, *IMAGE)
    with torch.no_grad():
        expected, outputs = model(images), smaller(images)
    assert expected.std(0).max() > 0.01 * expected.abs().max()  # the images do matter
    assert_close(outputs, expected)


def assert_close(outputs: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest logit, none of which is large here."""
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(outputs, expected, atol=1e-5 * min(1, largest), rtol=0)


def small_net(norm: nn.Module) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
