"""Masks of single weights: what they leave unread, zero or constant goes, and the outputs are the same."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from granet.deploy.compiled import compile_sparse
from granet.deploy.norms import fold_norms
from granet.deploy.shrink import Cut, check_masks, shrunk
from granet.kernels import why_not
from granet.maskable import maskable_weights
from granet.models import build
from granet.models.resnet_cifar import BasicBlock
from granet.types import Masks, UserError
from tests.helpers.networks import settle


def layer(i: int, o: int, size: int, **kw: Any) -> list[nn.Module]:
    return [nn.Conv2d(i, o, size, bias=False, **kw), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def bottleneck(i: int, planes: int) -> Bottleneck:
    last = nn.Sequential(nn.Conv2d(i, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes))
    return Bottleneck(i, planes, downsample=None if i == 4 * planes else last)


NETS = {
    "vgg": lambda: [
        *layer(3, 8, 3, padding=1),
        nn.MaxPool2d(2),
        *layer(8, 12, 3, padding=1),
        *layer(12, 9, 1),
        *head(9),
    ],
    "resnet": lambda: [
        *layer(3, 8, 3, padding=1),
        BasicBlock(8, 8),
        BasicBlock(8, 12, 2),
        BasicBlock(12, 12),
        *head(12),
    ],
    "bottleneck": lambda: [*layer(3, 8, 3), bottleneck(8, 4), bottleneck(16, 4), *head(16)],
    "biases": lambda: [
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.AvgPool2d(3, 2, padding=1),
        nn.Conv2d(8, 12, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(12, 6, 3, padding="same"),
        nn.Flatten(),
        nn.Linear(6, 8),
        nn.BatchNorm1d(8, affine=False),
        nn.Linear(8, 5),
    ],
}


def network(name: str, seed: int) -> Any:
    """One whose BatchNorm has seen anything, in float64: then equal outputs are equal but for 1e-15."""
    torch.manual_seed(seed)
    model = nn.Sequential(*NETS[name]())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    tensor.data.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.double().eval()


def random_masks_of(model: nn.Module, sparsity: float) -> Masks:
    """Zeroes what they mask, and returns them."""
    masks = {name: torch.rand(weight.shape) >= sparsity for name, weight in maskable_weights(model).items()}
    for name, mask in masks.items():
        model.get_parameter(name).data.mul_(mask)
    return masks


def images(name: str) -> Tensor:
    return torch.randn(3, 3, *((4, 4) if name == "biases" else (9, 9)), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(NETS)),
    st.integers(0, 10**6),
    st.floats(0.5, 0.995),
    st.sampled_from([1, 4]),
    st.booleans(),
)
def test_any_masks_leave_the_outputs_as_they_are(name, seed, sparsity, round_to, fold):
    model = network(name, seed)
    masks = random_masks_of(model, sparsity)
    before = copy.deepcopy(model.state_dict())
    smaller = shrunk(model, masks, round_to=round_to, fold=fold)
    x = images(name)
    with torch.no_grad():
        torch.testing.assert_close(smaller.model(x), model(x), rtol=1e-9, atol=1e-9)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert smaller.masks.keys() == masks.keys()
    check_masks(maskable_weights(smaller.model), smaller.masks)
    for cut in smaller.cuts:
        assert cut.size - cut.kept == sum(cut.reasons.values())
        assert cut.kept % round_to == 0 or cut.kept == cut.size
    again = shrunk(smaller.model, smaller.masks, round_to=round_to)
    assert all(cut.kept == cut.size for cut in again.cuts)  # nothing was left to go


def test_the_networks_of_this_test_lose_channels_for_every_reason():
    lost: Counter[str] = Counter()
    for name in NETS:
        for seed in range(3):
            model = network(name, seed)
            for cut in shrunk(model, random_masks_of(model, 0.95)).cuts:
                lost.update(cut.reasons)
    assert lost.keys() == {"zero", "unread", "constant"}


@pytest.mark.parametrize("name", ["vgg19", "resnet20", "resnet50_cifar"])
def test_empty_filters_go_and_what_is_left_is_folded_and_compiled(name):
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    masks = {key: torch.rand(weight.shape) < 0.3 for key, weight in maskable_weights(model).items()}
    for mask in masks.values():
        mask[torch.rand(len(mask)) < 0.3] = False  # empty filters
    for key, mask in masks.items():
        model.get_parameter(key).data.mul_(mask)
    settle(model.eval())
    smaller = shrunk(model, masks)
    assert sum(cut.kept for cut in smaller.cuts) < 0.95 * sum(cut.size for cut in smaller.cuts)
    x = torch.randn(2, 3, 32, 32)
    nets = [smaller.model, fold_norms(smaller.model)]
    if name == "resnet20" and why_not() is None:
        nets.append(compile_sparse(smaller.model, smaller.masks))
    with torch.no_grad():
        expected = model(x)
        for net in nets:
            assert (net(x) - expected).abs().max() < 1e-5 * expected.abs().max()


def chain(padding: int = 0) -> tuple[Any, Masks]:
    """Three convolutions of four channels and a last one, with biases and ReLU; all weights are one, and active."""
    layers = [nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=padding) for i in range(3)] + [nn.Conv2d(4, 2, 3)]
    model = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU()))).double().eval()
    for value in model.parameters():
        value.data.fill_(1)
    return model, {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in maskable_weights(model).items()
    }


def prune(model: Any, masks: Masks, name: str, where: Any) -> None:
    masks[name][where] = False
    model.get_parameter(name).data[where] = 0


def same(model: Any, smaller: Any, size: int = 9) -> bool:
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    return torch.allclose(model(x), smaller(x), rtol=1e-12)


def test_what_only_spare_filters_read_is_spare():
    model, masks = chain()
    prune(model, masks, "6.weight", (slice(None), [1, 2]))  # nobody reads 1 and 2 of the third
    prune(model, masks, "4.weight", ([0, 3], 0))  # and those alone read 0 of the second
    prune(model, masks, "2.weight", ([1, 2, 3], 3))  # and that alone reads 3 of the first
    smaller = shrunk(model, masks)
    assert smaller.cuts == [
        Cut("0.weight", 4, 3, {"unread": 1}),
        Cut("2.weight", 4, 3, {"unread": 1}),
        Cut("4.weight", 4, 2, {"unread": 2}),
    ]
    assert same(model, smaller.model)
    assert [tuple(mask.shape[:2]) for mask in smaller.masks.values()] == [(3, 3), (3, 3), (2, 3), (2, 2)]


def test_what_is_made_of_constants_alone_is_a_constant():
    model, masks = chain()
    prune(model, masks, "0.weight", [0, 1])
    model[0].bias.data[:2] = torch.tensor([-1, 2])  # the ReLU makes 0 of the first
    prune(model, masks, "2.weight", (1, [2, 3]))  # reads these two alone: 9 x (0 + 2) + 1
    smaller = shrunk(model, masks)
    assert smaller.cuts == [
        Cut("0.weight", 4, 2, {"zero": 1, "constant": 1}),
        Cut("2.weight", 4, 3, {"constant": 1}),
        Cut("4.weight", 4, 4, {}),
    ]
    net: Any = smaller.model
    assert net[2].bias.tolist() == [1 + 9 * 2] * 3
    assert net[4].bias.tolist() == [1 + 9 * 19] * 4
    assert same(model, net)


def test_a_constant_shows_where_zeros_are_around_the_image():
    for mode, kept in (("zeros", 4), ("reflect", 3)):
        model, masks = chain(padding=1)
        model[2].padding_mode = mode
        prune(model, masks, "0.weight", 0)
        smaller = shrunk(model, masks)
        assert smaller.cuts[0].kept == kept
        assert same(model, smaller.model)


@pytest.mark.parametrize(
    "pool, kept",
    [
        (nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), 3),
        (nn.AvgPool2d(2, ceil_mode=True), 3),
        (nn.AvgPool2d(3, padding=1), 4),
        (nn.AvgPool2d(2, divisor_override=3), 4),
        (nn.AdaptiveAvgPool2d(3), 3),
    ],
)
def test_pools_pass_a_constant_on_unless_they_change_it(pool, kept):
    layers, masks = chain()
    model: Any = nn.Sequential(*layers[:2], pool, *layers[2:4])
    prune(model, masks, "0.weight", 0)
    smaller = shrunk(model, {"0.weight": masks["0.weight"]})
    assert smaller.cuts == [Cut("0.weight", 4, kept, {"constant": 1} if kept == 3 else {})]
    assert same(model, smaller.model, 14)


class Residual(nn.Module):
    """What is done in place is seen by all that hold the tensor; the last layer is called on two constants."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.same, self.relu, self.last = nn.Identity(), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x += self.stem(x)
        x = self.a(x)
        kept = self.same(x)
        y = self.relu(x) + kept  # twice the ReLU
        y += self.norm(self.b(y))
        return self.last(y) + self.last(torch.add(F.relu(y), kept, alpha=2))


@pytest.mark.parametrize("bias, kept", [(-1.0, 3), (1.0, 4)])
def test_calls_in_place_and_on_two_constants(bias, kept):
    torch.manual_seed(0)
    model: Any = Residual().double().eval()
    masks = {
        name: torch.ones_like(weight, dtype=torch.bool) for name, weight in maskable_weights(model).items()
    }
    prune(model, masks, "a.weight", 0)
    prune(model, masks, "b.weight", 0)
    model.a.bias.data[0] = bias  # after ReLU: zero everywhere, or 2 and 4
    smaller = shrunk(model, masks)
    assert [cut.kept for cut in smaller.cuts] == [kept]
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    assert torch.allclose(model(x.clone()), smaller.model(x), rtol=1e-12)  # it changes x


def test_a_layer_without_a_bias_gets_one_where_a_constant_needs_it():
    model, masks = chain()
    model[2].bias = None
    prune(model, masks, "0.weight", 0)
    net: Any = shrunk(model, masks).model
    assert net[2].bias.tolist() == [9.0] * 4
    assert same(model, net)
    model[0].bias.data[0] = 0
    net = shrunk(model, masks).model
    assert net[2].bias is None

    model[0].bias.data[0] = 1
    prune(model, masks, "2.weight", (slice(1, 4), 0))
    prune(model, masks, "4.weight", (slice(None), 0))  # nobody reads the one that reads it
    net = shrunk(model, masks).model
    assert net[2].bias is None


def test_a_network_that_reads_nothing_of_the_image_keeps_a_channel_of_each_group():
    model, masks = chain()
    prune(model, masks, "2.weight", slice(None))
    smaller = shrunk(model, masks)
    assert [cut.kept for cut in smaller.cuts] == [1, 1, 1]
    assert same(model, smaller.model)
    assert not any(mask[:, 0].any() for mask in list(smaller.masks.values())[1:])


@pytest.mark.parametrize("round_to, kept", [(1, 5), (2, 6), (4, 8), (8, 8), (16, 11), (100, 11)])
def test_channels_are_kept_up_to_a_multiple(round_to, kept):
    model: Any = nn.Sequential(nn.Conv2d(3, 11, 1), nn.ReLU(), nn.Conv2d(11, 2, 1)).double().eval()
    masks = {"0.weight": torch.ones(11, 3, 1, 1, dtype=torch.bool)}
    model[0].bias.data.fill_(-1)
    prune(model, masks, "0.weight", slice(0, 11, 2))
    smaller: Any = shrunk(model, masks, round_to=round_to)
    assert (smaller.model[0].out_channels, smaller.model[2].in_channels) == (kept, kept)
    assert smaller.cuts == [Cut("0.weight", 11, kept, {"zero": 11 - kept} if kept < 11 else {})]
    assert same(model, smaller.model)
    assert smaller.masks["0.weight"].flatten(1).any(1).sum() == 5
    with pytest.raises(UserError, match="round_to=0 must be at least 1"):
        shrunk(model, masks, round_to=0)
