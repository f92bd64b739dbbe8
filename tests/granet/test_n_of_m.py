"""N:M sparsity: RigL within blocks, and SR-STE."""

import hashlib
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from granet import METHODS, Sparsifier, UserError
from granet.methods.dense_layers import none
from granet.methods.n_of_m import Pattern
from tests.helpers.loops import turn

RELEASED = {  # github.com/aojunzz/NM-sparsity, its autograd functions with their own decay, in the loop below
    1: ("1e392d1e16e1", [74.410728125, 49.899849185, 10.047546364]),
    2: ("328bd1845b18", [74.638717307, 50.16009392, 10.036120737]),
}


class Net(nn.Module):
    """A convolution of 8 inputs, a linear layer of 32, and a classifier of 12; weights by a formula, in float64."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, bias=False, dtype=torch.float64)
        self.body = nn.Linear(32, 12, bias=False, dtype=torch.float64)
        self.fc = nn.Linear(12, 4, bias=False, dtype=torch.float64)
        for phase, weight in enumerate(self.parameters()):
            places = torch.arange(weight.numel(), dtype=torch.float64).view_as(weight)
            weight.data = torch.sin(places * (1.7 + phase) + 0.3) * (0.2, 0.2, 0.3)[phase]

    def forward(self, x):
        return self.fc(self.body(self.conv(x).relu().flatten(1)).relu())


def batch(step):
    places = torch.arange(6 * 8 * 16, dtype=torch.float64).view(6, 8, 4, 4)
    return torch.sin(places * 0.9137 + step * 2.31), (torch.arange(6) * 7 + step) % 4


def made(name, total_steps=12, model: Any = None, **values) -> tuple[Any, Any, Sparsifier]:
    model = model or Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
    method = METHODS[name](**values)
    return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=total_steps)


def train_step(model, optimizer, sparsifier, step):
    inputs, labels = batch(step)
    turn(F.cross_entropy(model(inputs), labels), optimizer, sparsifier)


def blocks(tensor, m):
    """Every block as the indices of its weights: consecutive inputs at one position of one filter."""
    for output, *place in product(*(range(tensor.shape[axis]) for axis in (0, *range(2, tensor.dim())))):
        for start in range(0, tensor.shape[1], m):
            yield [(output, start + i, *place) for i in range(m)]


@pytest.mark.parametrize(("sf", "m", "n"), [(0.75, 4, 1), (0.5, 4, 2), (0.875, 8, 1), (0.5, 2, 1)])
@pytest.mark.parametrize("name", ["rigl_nm", "sr_ste"])
def test_every_block_has_n_active_weights_after_every_step(name, sf, m, n):
    model, optimizer, sparsifier = made(name, sf=sf, m=m, update_interval=2, dense_layers="classifier")
    for step in range(13):
        if step:
            train_step(model, optimizer, sparsifier, step)
        for key in ("conv.weight", "body.weight"):
            mask = sparsifier.masks[key]
            assert {sum(bool(mask[place]) for place in block) for block in blocks(mask, m)} == {n}
        assert sparsifier.masks["fc.weight"].all()
        assert sparsifier.layer_sparsity == {"conv.weight": sf, "body.weight": sf, "fc.weight": 0.0}


def test_the_lowest_weights_of_a_layer_go_and_their_blocks_grow_by_gradient():
    """One update, by loops over the blocks. Half of the active weights go; what has just gone may come back."""
    model, optimizer, sparsifier = made("rigl_nm", sf=0.5, update_interval=1, drop_fraction=0.5)
    optimizer.param_groups[0]["lr"] = 0.0
    before = {key: mask.clone() for key, mask in sparsifier.masks.items()}
    inputs, labels = batch(1)
    F.cross_entropy(model(inputs), labels).backward()
    slopes = {key: weight.grad.abs().clone() for key, weight in model.named_parameters()}
    sparsifier.after_backward()
    optimizer.step()
    sizes = {key: weight.detach().abs().clone() for key, weight in model.named_parameters()}
    sparsifier.after_step()
    share = sparsifier._clock.fraction(1)
    for key, mask in sparsifier.masks.items():
        left = before[key].clone()
        active = sorted(map(tuple, left.nonzero().tolist()), key=lambda place: float(sizes[key][place]))
        for place in active[: int(-(-share * len(active) // 1))]:
            left[place] = False
        expected = left.clone()
        for block in blocks(mask, 4):
            lost = 2 - sum(bool(left[place]) for place in block)
            free = sorted((p for p in block if not left[p]), key=lambda place: -float(slopes[key][place]))
            for place in free[:lost]:
                expected[place] = True
        assert torch.equal(mask, expected), key
        assert (expected & ~before[key]).any()
        assert (model.get_parameter(key)[mask & ~left] == 0).all()


@pytest.mark.parametrize("n", [1, 2])
def test_sr_ste_trains_as_its_released_code(n):
    model, optimizer, sparsifier = made("sr_ste", sf=1 - n / 4)
    for step in range(1, 13):
        train_step(model, optimizer, sparsifier, step)
    masks = [sparsifier.masks[key] for key in ("conv.weight", "body.weight")]
    digest = hashlib.sha256(b"".join(mask.contiguous().to(torch.uint8).numpy().tobytes() for mask in masks))
    sums = [
        float(weight.detach().abs().sum()) for weight in (conv_of(model), body_of(model), model.fc.weight)
    ]
    assert digest.hexdigest()[:12] == RELEASED[n][0]
    assert sums == pytest.approx(RELEASED[n][1], abs=1e-7)  # its decay is rounded to float32
    sparsifier.finish()
    assert (model.conv.weight[~masks[0]] == 0).all()


def conv_of(model):
    return model.conv.parametrizations.weight.original


def body_of(model):
    return model.body.parametrizations.weight.original


def test_the_gradient_of_sr_ste_has_a_pull_on_masked_weights():
    model, _, sparsifier = made("sr_ste", sf=0.75, decay=0.1)
    weight, mask = conv_of(model), sparsifier.masks["conv.weight"]
    inputs, labels = batch(1)
    F.cross_entropy(model(inputs), labels).backward()
    sparsifier.after_backward()
    plain: Any = Net()
    plain.conv.weight.data *= mask
    plain.body.weight.data *= sparsifier.masks["body.weight"]
    F.cross_entropy(plain(inputs), labels).backward()
    assert torch.allclose(weight.grad, plain.conv.weight.grad + 0.1 * weight * ~mask, rtol=0, atol=1e-12)


def test_layers_that_m_does_not_divide_stay_dense():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1)
    )
    _, _, sparsifier = made("rigl_nm", model=model, sf=0.75, update_interval=2)
    assert list(sparsifier.layer_sparsity.values()) == [0.0, 0.0, 0.75, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"sf": 0.9},
            r"sf=0.9, m=4: 0.4 of 4 weights is no pattern; set the sparsity to 0.75 \(1:4\), or m to 10",
        ),
        ({"sf": 0.7}, r"sf=0.7, m=4: 1.2 .* set the sparsity to 0.75 \(1:4\), or m to 10"),
        ({"sf": 0.75, "m": 3}, "m=3 must be even"),
        ({"sf": 0.75, "m": 0}, "m=0 must be at least 2"),
    ],
)
@pytest.mark.parametrize("name", ["rigl_nm", "sr_ste"])
def test_a_sparsity_that_is_no_pattern_is_refused(name, values, message):
    with pytest.raises(UserError, match=message) as error:
        METHODS[name](**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(6, 4), r"m=4 divides the inputs of no layer \(6\)"),
        (nn.ConvTranspose2d(8, 4, 3), "weight is of a transposed convolution, whose inputs are axis 0"),
    ],
)
def test_a_model_that_cannot_have_the_pattern_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        made("rigl_nm", model=model, sf=0.75, update_interval=2)


def test_what_is_not_finite_has_no_rank():
    pattern = Pattern.of(0.5, 2, none)
    weight = torch.tensor([[1.0, torch.nan, 2.0, torch.inf]])
    ranks = pattern.ranked(lambda snapshot: {"w": weight})(None)["w"]
    assert ranks.isfinite().tolist() == [[True, False, True, False]]
