"""MEST against its steps written out: what an update keeps, and how many weights there are when."""

import copy

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.sparsifier.clock import Clock
from tests.granet.test_methods import Net, batch

KEY = "b.weight"


def first_update(**values):
    """Masks before and after the update of step 1, weights and gradients at it; lr is 0."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method = METHODS["mest"](sf=0.9, update_interval=1, dense_layers="none", **values)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=160)
    before = copy.deepcopy(sparsifier.masks)
    images, labels = batch(1)
    nn.functional.cross_entropy(model(images), labels).backward()
    weight, gradient = model.b.weight.detach().clone(), model.b.weight.grad.clone()
    sparsifier.after_backward()
    optimizer.step()
    sparsifier.after_step()
    return before[KEY], sparsifier.masks[KEY], weight.abs() + values["gradient_weight"] * gradient.abs()


@pytest.mark.parametrize("gradient_weight", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("soft_bound", [0.0, 0.05])
def test_the_highest_scores_stay_and_the_rest_is_grown_anew(gradient_weight, soft_bound):
    before, after, scores = first_update(gradient_weight=gradient_weight, soft_bound=soft_bound)
    size = before.numel()
    assert before.sum() == after.sum() == pytest.approx((0.1 + soft_bound) * size, abs=1)
    left = round(0.1 * size) if soft_bound else int(before.sum()) - -(-int(before.sum()) // 5)  # a fifth goes
    threshold = scores[before].sort(descending=True).values[left - 1]
    stayed = before & (scores >= threshold)
    assert stayed.sum() == pytest.approx(left, abs=1)
    assert (after & stayed).sum() == stayed.sum()
    assert (after & ~before).sum() > 0  # at random, so some of them elsewhere


def test_mutation_halves_and_ends_where_the_released_scripts_have_it():
    """160 epochs: 0.92-0.91-0.9 and 0.85-0.875-0.9, from epochs 0, 90 and 120 on."""
    hard = Clock(METHODS["mest"](sf=0.9, update_interval=5), 160)
    assert [hard.fraction(epoch) for epoch in (5, 85, 90, 115)] == [0.2, 0.2, 0.1, 0.1]
    assert [epoch for epoch in range(1, 161) if hard.updates_at(epoch)] == list(range(5, 121, 5))
    assert hard.fraction(120) == 0.0
    soft = Clock(METHODS["mest"](sf=0.9, update_interval=5, soft_bound=0.05), 160)
    assert [soft.target(epoch) for epoch in (0, 85, 90, 115, 120)] == pytest.approx(
        [0.85, 0.85, 0.875, 0.875, 0.9]
    )
    assert not any(soft.reads_gradient_at(epoch) for epoch in range(1, 161))


def test_a_bound_above_all_weights_starts_dense():
    prune = METHODS["mest"](sf=0.02, soft_bound=0.05).prune
    assert prune is not None
    assert (prune.si, prune.sf) == (0.0, 0.02)
