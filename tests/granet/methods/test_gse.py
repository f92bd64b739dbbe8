"""GSE: what grows is the best of the subset that is drawn, and no more gradients are paid for."""

import copy

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, criteria
from granet.flops import step_flops
from granet.methods.gse import SubsetGradient
from granet.types import Snapshot
from tests.granet.test_methods import Net, batch
from tests.helpers.loops import turn

MASK = torch.arange(200) < 40


def scores_of(share):
    gradient = torch.linspace(-1, 1, 200)
    snapshot = Snapshot({"w": torch.ones(200)}, {"w": gradient}, step=3, seed=0, masks={"w": MASK})
    noise = criteria.random(snapshot)["w"].masked_fill(MASK, -1.0)
    return SubsetGradient(share)(snapshot)["w"], noise.sort(descending=True).indices, gradient.abs()


@pytest.mark.parametrize(("share", "number"), [(0.5, 20), (1.0, 40), (9.0, 160)])
def test_a_random_subset_has_its_gradients_and_the_rest_none(share, number):
    scores, order, size = scores_of(share)
    assert torch.equal(scores[order[:number]], size[order[:number]])
    others = order[number:160]
    assert (scores[others] < 0).all()
    assert scores[MASK].max() < scores[~MASK].min()  # what was active comes last


def test_an_update_grows_the_highest_gradients_of_the_subset():
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method = METHODS["gse"](sf=0.9, update_interval=1, drop_fraction=0.5)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=100)
    before = copy.deepcopy(sparsifier.masks)
    images, labels = batch(1)
    nn.functional.cross_entropy(model(images), labels).backward()
    gradients = {name: model.get_parameter(name).grad.clone() for name in before}
    weights = {name: model.get_parameter(name).detach() for name in before}
    snapshot = Snapshot(weights, gradients, step=1, seed=0, masks=before)
    noise = criteria.random(snapshot)
    sparsifier.after_backward()
    optimizer.step()
    sparsifier.after_step()
    for name, mask in before.items():
        free = noise[name].masked_fill(mask, -1.0).flatten()
        subset = free.sort(descending=True).indices[: int(mask.sum())]
        grown = (sparsifier.masks[name] & ~mask).flatten()
        best = subset[
            gradients[name].abs().flatten()[subset].sort(descending=True).indices[: int(grown.sum())]
        ]
        assert set(grown.nonzero().flatten().tolist()) == set(best.tolist())
        assert grown.sum() == (mask & ~sparsifier.masks[name]).sum() > 0


def test_an_update_pays_for_the_subset_alone():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = METHODS["gse"](sf=0.9, update_interval=2, subset=1.5)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=10)
    assert [sparsifier.inactive_gradients_at(step) for step in (1, 2, 3, 4, 8)] == [0.0, 1.5, 0.0, 1.5, 0.0]
    assert sparsifier.reads_gradient_at(2)  # kernels have to make it
    assert step_flops(100, 1000, inactive=1.5) == 450
    assert step_flops(100, 210, inactive=1.5) == 410  # a dense gradient is the most


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.unused, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 5)

    def forward(self, x):
        return self.head(self.body(x).relu())


@pytest.mark.parametrize("name", ["gse", "rigl", "granet", "snfs"])
def test_a_layer_without_a_gradient_grows_nothing(name):
    model = Unused()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    values = {"si": 0.5} if name == "granet" else {}
    method = METHODS[name](sf=0.5, update_interval=2, **values)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20)
    before = sparsifier.masks["unused.weight"].clone()
    for _ in range(4):
        turn(model(torch.randn(8, 20)).square().mean(), optimizer, sparsifier)
    after = sparsifier.masks["unused.weight"]
    assert not (after & ~before).any()
    assert name == "snfs" or torch.equal(after, before)  # SNFS moves weights to where the momentum is
