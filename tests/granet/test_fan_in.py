"""Constant fan-in and ablated neurons: SRigL."""

import hashlib
from math import ceil, prod
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from granet import METHODS, Sparsifier, UserError
from granet.distributions import budget, erk, uniform
from granet.methods.fan_in import FanIn, of_rows
from granet.types import InitContext
from granet.update import drop
from tests.helpers.loops import turn

RELEASED = {  # github.com/calgaryml/condensed-sparsity: one update by its own functions of `layer`, half of which goes
    0.0: ([], 9, "94cca89ea6b4"),
    0.3: ([0, 1, 2, 3], 13, "c09f8c6a6885"),
    0.6: ([0, 1, 2, 3], 13, "c09f8c6a6885"),
}
SHAPES = {"a": (12, 3, 3, 3), "b": (16, 12, 3, 3), "fc": (10, 16)}


def by_formula(phase):
    places = torch.arange(12 * 45, dtype=torch.float64).view(12, 5, 3, 3)
    return torch.sin(places * (1.7 + phase) + 0.3)


def layer():
    """A mask of fan-in 9 of 45, weights and gradients, which grow from neuron to neuron."""
    size = (1 + torch.arange(12, dtype=torch.float64).view(-1, 1, 1, 1)) ** 1.5
    mask = by_formula(2.0).flatten(1).argsort(dim=1).argsort(dim=1) < 9
    mask = mask.view(12, 5, 3, 3)
    return mask, by_formula(0.0) * size * mask, by_formula(1.0) * size


def updated(gamma, mask, weight, gradient, name="w", share=0.5):
    """One update of a layer whose budget is that of fan-in 9."""
    fan_in = FanIn(uniform, 0.8, gamma)
    num = {name: int(share * int(mask.sum()))}
    left = drop({name: mask}, {name: weight.abs()}, num)
    return left[name], fan_in.growth(left, {name: weight.abs()}, {name: gradient.abs()}, num)[name]


def active_rows(mask):
    return [row for row, count in enumerate(mask.flatten(1).sum(1).tolist()) if count]


@pytest.mark.parametrize("gamma", RELEASED)
def test_an_update_is_that_of_the_released_code(gamma):
    _, active = updated(gamma, *layer())
    ablated, fan_in, digest = RELEASED[gamma]
    assert active_rows(active) == [row for row in range(12) if row not in ablated]
    assert set(active.flatten(1).sum(1).tolist()) - {0} == {fan_in}
    assert hashlib.sha256(active.to(torch.uint8).numpy().tobytes()).hexdigest()[:12] == digest


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.6, 0.8, 1.0])
def test_an_update_by_loops_over_the_neurons(gamma):
    mask, weight, gradient = layer()
    left, active = updated(gamma, mask, weight, gradient)
    weights, slopes = weight.abs().flatten(1).tolist(), gradient.abs().flatten(1).tolist()
    stays = left.flatten(1).tolist()
    num_dropped = int(mask.sum() - left.sum())
    top = sorted((-slope, row, i) for row, values in enumerate(slopes) for i, slope in enumerate(values))
    salient = {(row, i) for _, row, i in top[:num_dropped]}
    salient |= {(row, i) for row, values in enumerate(stays) for i, there in enumerate(values) if there}
    counts = [sum(row == place for place, _ in salient) for row in range(12)]
    alive = [row for row in range(12) if counts[row] >= max(1, int(gamma * 9)) or gamma == 0]
    first = sorted(range(12), key=lambda row: -counts[row])[: ceil(9 * 12 / 45)]
    alive = sorted({*alive, *first})
    expected = torch.zeros(12, 45, dtype=torch.bool)
    for row in alive:
        kept = sorted((i for i in range(45) if stays[row][i]), key=lambda i: -weights[row][i])[
            : 108 // len(alive)
        ]
        free = sorted((i for i in range(45) if i not in kept), key=lambda i: -slopes[row][i])
        expected[row, [*kept, *free[: 108 // len(alive) - len(kept)]]] = True
    assert torch.equal(active.flatten(1), expected)


def test_neurons_of_the_classifier_are_not_ablated():
    mask, weight, gradient = (tensor.flatten(1) for tensor in layer())
    assert len(active_rows(updated(0.3, mask, weight, gradient)[1])) == 12


def test_an_ablated_neuron_comes_back_by_its_gradient_and_the_others_give_way():
    mask, weight, gradient = layer()
    _, ablated = updated(0.3, mask, weight, gradient)
    assert active_rows(ablated) == list(range(4, 12))
    _, again = updated(0.3, ablated, weight * ablated, gradient.flip(0))
    assert set(active_rows(again)) & set(range(4))
    assert set(again.flatten(1).sum(1).tolist()) - {0} == {108 // len(active_rows(again))}


def test_a_layer_that_drops_nothing_stays_as_it_is():
    mask, weight, gradient = layer()
    assert torch.equal(updated(0.3, mask, weight, gradient, share=0.0)[1], mask)


@pytest.mark.parametrize("rule", [erk, uniform])
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9])
def test_fan_ins_follow_the_rule_and_stay_within_the_budget(rule, sparsity):
    counts = FanIn(rule, sparsity, 0.0).of(SHAPES)
    layers = rule(SHAPES, sparsity)
    for name, shape in SHAPES.items():
        assert abs(counts[name] - (1 - layers[name]) * prod(shape[1:])) < 1
    total = sum(counts[name] * shape[0] for name, shape in SHAPES.items())
    assert 0 <= budget(SHAPES, sparsity) - total < max(shape[0] for shape in SHAPES.values())


def test_a_layer_has_a_fan_in_of_one_at_least():
    assert FanIn(uniform, 0.99, 0.0).of(SHAPES) == {"a": 1, "b": 1, "fc": 1}


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
def test_every_active_neuron_has_the_same_fan_in_throughout_a_training(gamma):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(16 * 4, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    method = METHODS["srigl"](sf=0.9, update_interval=2, gamma_sal=gamma)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=24)
    first = sparsifier.num_active
    changed = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    for step in range(24):
        images = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(step))
        turn(F.cross_entropy(model(images), torch.arange(8) % 10), optimizer, sparsifier)
        for name, mask in sparsifier.masks.items():
            rows = mask.flatten(1).sum(1)
            num_alive = int((rows > 0).sum())
            assert set(rows.tolist()) - {0} == {first[name] // num_alive}
            assert num_alive == len(mask) or (gamma > 0 and name != "5.weight")
            assert sparsifier.num_active[name] == int(rows.sum()) <= first[name]
    assert all(not torch.equal(mask, changed[name]) for name, mask in sparsifier.masks.items())
    ablated = [len(mask) - len(active_rows(mask)) for mask in sparsifier.masks.values()]
    assert (sum(ablated) > 0) == (gamma == 0.9) or gamma == 0.3


def test_the_highest_of_every_row_in_ties_the_first():
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    candidates = torch.tensor([[True, True, True, True], [False, True, False, True]])
    assert of_rows(scores, candidates, torch.tensor([2, 3])).int().tolist() == [[0, 1, 1, 0], [0, 1, 0, 1]]


def test_a_transposed_convolution_is_refused():
    model: Any = nn.ConvTranspose2d(8, 4, 3)
    with pytest.raises(UserError, match="fan-in: weight is of a transposed convolution"):
        FanIn(uniform, 0.5, 0.0).initial(InitContext(model, {"weight": model.weight}, seed=0))
