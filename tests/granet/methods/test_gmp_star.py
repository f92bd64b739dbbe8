"""GMP*: the jump, and the cubic after it."""

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.sparsifier.clock import Clock
from tests.helpers.loops import turn


def test_the_curve_jumps_and_goes_on_as_a_cubic():
    clock = Clock(METHODS["gmp_star"](sf=0.9, update_interval=1), 30)
    assert [step for step in range(1, 31) if clock.updates_at(step)] == list(range(2, 27))
    by_hand = [0.9 - 0.2 * (1 - (step - 2) / 24) ** 3 for step in range(2, 27)]
    assert [clock.target(step) for step in range(2, 27)] == pytest.approx(by_hand)
    assert (clock.target(1), clock.target(2), clock.target(26)) == pytest.approx((0.0, 0.7, 0.9))


def test_a_jump_is_no_higher_than_the_final_sparsity():
    clock = Clock(METHODS["gmp_star"](sf=0.5, update_interval=1), 30)
    assert {clock.target(step) for step in range(2, 31)} == {0.5}


def test_the_first_update_keeps_the_highest_magnitudes_of_all_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Linear(20, 5, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(
        model, optimizer, METHODS["gmp_star"](sf=0.9, update_interval=1), seed=0, total_steps=30
    )
    sizes = torch.cat([p.detach().abs().flatten() for p in model.parameters()])
    wanted = sizes >= sizes.sort(descending=True).values[89]  # 0.3 * 300
    for step in (1, 2):
        assert sparsifier.sparsity == 0.0, step
        turn(model(torch.ones(1, 10)).sum(), optimizer, sparsifier)
    masks = torch.cat([mask.flatten() for mask in sparsifier.masks.values()])
    assert torch.equal(masks, wanted)
