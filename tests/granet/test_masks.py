from math import prod

import torch
from hypothesis import given
from hypothesis import strategies as st

from granet import masks
from granet.maskable import maskable_weights
from granet.masks import num_active, thin_masks
from granet.models import build

SHAPES = {"conv": (4, 3, 3, 3), "fc": (5, 7)}


def test_random_masks_have_exact_counts():
    drawn = masks.random_masks(SHAPES, {"conv": 10, "fc": 35}, seed=0)
    assert masks.num_active(drawn) == {"conv": 10, "fc": 35}


def test_random_masks_depend_on_seed_and_layer_name_only():
    counts = {"conv": 50, "fc": 12}
    both = masks.random_masks(SHAPES, counts, seed=3)
    reordered = masks.random_masks(dict(reversed(SHAPES.items())), counts, seed=3)
    torch.manual_seed(99)  # the global generator plays no part
    alone = masks.random_masks({"fc": SHAPES["fc"]}, counts, seed=3)
    assert torch.equal(both["fc"], reordered["fc"])
    assert torch.equal(both["fc"], alone["fc"])
    assert not torch.equal(both["conv"], masks.random_masks(SHAPES, counts, seed=4)["conv"])


@given(st.integers(0, 108), st.integers(0, 35), st.integers(0, 1000))
def test_unpack_inverts_pack(conv, fc, seed):
    drawn = masks.random_masks(SHAPES, {"conv": conv, "fc": fc}, seed)
    again = masks.unpack(masks.pack(drawn), SHAPES)
    assert all(torch.equal(drawn[name], again[name]) for name in SHAPES)


def test_packed_masks_take_an_eighth():
    packed = masks.pack(masks.random_masks(SHAPES, {"conv": 1, "fc": 1}, 0))
    assert {name: value.numel() for name, value in packed.items()} == {"conv": 14, "fc": 5}


def test_apply_zeroes_what_is_inactive_in_place():
    tensor = torch.tensor([1.0, -2.0, 3.0])
    masks.apply_({"w": tensor}, {"w": torch.tensor([True, False, True])})
    assert tensor.tolist() == [1.0, 0.0, 3.0]
    masks.apply_({}, {})  # a dense model has nothing to project


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
