"""granet.inits.random: everything, at random, a thinner network, and the highest of some scores."""

from math import prod

import torch
from torch import nn

from granet.distributions import by_layer, erk, uniform
from granet.inits.random import Highest, everything, random, thin_masks, trained_magnitude
from granet.maskable import maskable_weights
from granet.masks import num_active
from granet.models import build
from granet.types import InitContext


def context(model: nn.Module, seed: int = 0) -> InitContext:
    return InitContext(model, maskable_weights(model), seed)


def test_everything_is_what_erk_gives_at_sparsity_0():
    model = build("resnet20", num_classes=10)
    dense, drawn = everything(context(model)), random(erk, 0.0)(context(model))
    assert dense.keys() == drawn.keys()
    assert all(mask.all() and torch.equal(mask, drawn[name]) for name, mask in dense.items())


def test_random_masks_meet_the_overall_sparsity_exactly():
    model = build("resnet20", num_classes=10)
    masks = random(erk, 0.9)(context(model, seed=3))
    size = sum(mask.numel() for mask in masks.values())
    assert sum(num_active(masks).values()) == round(0.1 * size)
    again = random(erk, 0.9)(context(model, seed=3))
    assert all(torch.equal(mask, again[name]) for name, mask in masks.items())


def test_the_highest_scores_of_all_tensors_together_stay():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[6.0, -5.0], [0.1, 0.2]]))
        model.get_parameter("1.weight").copy_(torch.tensor([[0.3, -4.0]]))
    masks = Highest(trained_magnitude, 0.5)(context(model))
    assert masks["0.weight"].tolist() == [[True, True], [False, False]]
    assert masks["1.weight"].tolist() == [[False, True]]
    by_tensor = Highest(trained_magnitude, 0.5, by_layer(uniform))(context(model))
    assert by_tensor["0.weight"].tolist() == [[True, True], [False, False]]
    assert by_tensor["1.weight"].tolist() == [[False, True]]


def test_a_thin_mask_is_a_thinner_network():
    """ResNet-20 with 10 % of its weights: computing with the blocks alone gives the same outputs."""
    torch.manual_seed(0)
    model = build("resnet20", num_classes=10)
    weights = maskable_weights(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    masks = thin_masks(shapes, 0.9)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    widths = {name: int(mask.flatten(1).any(1).sum()) for name, mask in masks.items()}
    assert {width for name, width in widths.items() if name != "fc.weight"} == {5, 10, 20}  # of 16, 32, 64
    thin = build("resnet20", num_classes=10, width=5)
    with torch.no_grad():
        for name, value in thin.state_dict().items():
            whole = model.state_dict()[name]
            value.copy_(whole[tuple(slice(size) for size in value.shape)])
    images = torch.randn(4, 3, 32, 32)
    assert torch.allclose(model.eval()(images), thin.eval()(images), atol=1e-5)


def test_a_thin_network_is_the_widest_that_fits():
    shapes = {"a": (64, 3, 3, 3), "b": (64, 64, 3, 3), "fc": (10, 64)}
    size = sum(prod(shape) for shape in shapes.values())
    for sparsity in (0.0, 0.5, 0.9, 0.98):
        active = sum(num_active(thin_masks(shapes, sparsity)).values())
        assert active <= (1 - sparsity) * size
        width = num_active(thin_masks(shapes, sparsity))["fc"] // 10 + 1
        wider = width * 27 + width * width * 9 + width * 10
        assert wider > (1 - sparsity) * size
