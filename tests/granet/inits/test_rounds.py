"""Pruning at initialisation in rounds: Iterative SNIP and FORCE."""

import copy
import hashlib
from itertools import islice

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy

from granet import METHODS, Sparsifier, UserError
from granet.distributions import global_
from granet.inits.rounds import images_in_turn, in_rounds
from granet.maskable import maskable_weights
from granet.types import InitContext
from tests.granet.test_released import batch, network

RELEASED = {  # github.com/naver/force, prune_method 1 and 3: ten steps to 0.1, network and batch of test_released
    False: ([191, 115, 39], "17138d77cdef"),
    True: ([248, 83, 14], "f3a09e9085d0"),
}


def given(batches, model=None):
    model = network() if model is None else model
    return InitContext(model, maskable_weights(model), seed=0, batches=batches)


def data(num_batches=3):
    return [batch(step) for step in range(num_batches)]


def directly(sparsity, rounds, recover):
    """The masks after every round, from the gradient of a pure function and a sort of all scores."""
    model = network()
    weights = {name: weight.detach().clone() for name, weight in maskable_weights(model).items()}
    sizes = [weight.numel() for weight in weights.values()]
    kept = torch.ones(sum(sizes), dtype=torch.bool)
    for number in range(1, rounds + 1):
        inputs, labels = data()[(number - 1) % 3]
        parts = kept.split(sizes)
        sparse = {n: w * m.view_as(w) for (n, w), m in zip(weights.items(), parts, strict=True)}
        slope = grad(lambda w: cross_entropy(functional_call(model, w, (inputs,)), labels))(sparse)  # noqa: B023
        scores = torch.cat([(w * slope[name]).abs().flatten() for name, w in weights.items()])
        if not recover:
            scores[~kept] = -1
        count = round((1 - sparsity) ** (number / rounds) * sum(sizes))
        kept = torch.zeros_like(kept).index_fill_(0, scores.argsort(descending=True)[:count], True)
        yield kept


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize("rounds", [1, 4, 5])  # more than there are batches: from the first one again
def test_every_round_prunes_by_the_sensitivity_of_what_the_last_one_left(recover, rounds):
    masks = in_rounds(given(data()), 0.9, rounds, 48, recover=recover)
    *before, expected = directly(0.9, rounds, recover)
    assert torch.equal(torch.cat([mask.flatten() for mask in masks.values()]), expected)
    assert int(expected.sum()) == round(0.1 * 3456)
    if rounds > 1:
        comes_back = [
            bool((after & ~kept).any()) for kept, after in zip(before, [*before[1:], expected], strict=True)
        ]
        assert all(comes_back) if recover else not any(comes_back)


@pytest.mark.parametrize("recover", [False, True])
def test_masks_are_those_of_the_released_code(recover, monkeypatch):
    """Its counts are rounded down, which the test takes over."""

    def floored(scores, masks, sparsity):
        return global_(scores, masks, 1 - int((1 - sparsity) * 3456 + 1e-9) / 3456)

    monkeypatch.setattr("granet.inits.rounds.global_", floored)
    masks = in_rounds(given(data(1)), 0.9, 10, 48, recover=recover).values()
    digest = hashlib.sha256(b"".join(mask.to(torch.uint8).numpy().tobytes() for mask in masks)).hexdigest()
    assert ([int(mask.sum()) for mask in masks], digest[:12]) == RELEASED[recover]


def test_one_round_is_snip():
    def sparsifier(name, **keys):
        model = network()
        method = METHODS[name](sf=0.9, num_images=48, **keys)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return Sparsifier(model, optimizer, method, seed=0, total_steps=1, batches=data())

    snip = sparsifier("snip").masks
    for name in ("iter_snip", "force"):
        masks = sparsifier(name, rounds=1).masks
        assert all(torch.equal(masks[key], mask) for key, mask in snip.items())


@pytest.mark.parametrize("recover", [False, True])
def test_the_model_is_left_as_it_was(recover):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    before = copy.deepcopy(model.state_dict())
    images = [(torch.randn(6, 3, 8, 8), torch.arange(6) % 3)]
    in_rounds(given(images, model), 0.8, 3, 6, recover=recover)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("num_images", "labels"),
    [
        (4, [[0, 1, 2, 3], [4, 5, 6, 7]] * 2),
        (3, [[0, 1, 2], [3, 4, 5], [6, 7, 8]] * 2),
        (20, [list(range(10))] * 2),
    ],
)
def test_images_come_in_turn_and_again_from_the_first(num_images, labels):
    numbers = torch.arange(10)
    batches = [(part.float(), part) for part in numbers.split(5)]
    parts = list(islice(images_in_turn(given(batches), num_images), len(labels)))
    assert [part.tolist() for _, part in parts] == labels
    assert all(torch.equal(images, part.float()) for images, part in parts)


def test_batches_that_can_be_read_only_once_are_refused_where_they_do_not_suffice():
    assert in_rounds(given(iter(data(2))), 0.5, 2, 48)
    with pytest.raises(UserError, match="batches: they end before the last round"):
        in_rounds(given(iter(data(2))), 0.5, 3, 48)
