"""Drop criteria as values: their scores by hand, what an update drops, and what they cost."""

import math

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.criteria import MagnitudeAndGradient, gradient, magnitude, reads
from granet.methods.drop_criteria import DROP_CRITERIA
from granet.sparsifier.clock import Clock
from granet.types import Snapshot
from tests.helpers.loops import turn

WEIGHTS, GRADIENTS = [0.1, -0.2, 0.4, -0.8], [8.0, -1.0, 0.6, 1.0]
SCORES = {
    "magnitude": [0.1, 0.2, 0.4, 0.8],
    "snip": [0.8, 0.2, 0.24, 0.8],
    "sensitivity": [80.0, 5.0, 1.5, 1.25],
    "reciprocal": [0.0125, 0.2, 2 / 3, 0.8],
    "mest": [8.1, 1.2, 1.0, 1.8],
}
LOWEST = {"magnitude": 0, "snip": 1, "sensitivity": 3, "reciprocal": 0, "mest": 2}


@pytest.mark.parametrize("name", DROP_CRITERIA)
def test_scores_are_those_worked_out_by_hand(name):
    snapshot = Snapshot({"w": torch.tensor(WEIGHTS)}, {"w": torch.tensor(GRADIENTS)}, step=1, seed=0)
    assert DROP_CRITERIA[name](snapshot)["w"].tolist() == pytest.approx(SCORES[name], rel=1e-6)


@pytest.mark.parametrize("method", ["set", "rigl"])
@pytest.mark.parametrize("name", DROP_CRITERIA)
def test_an_update_drops_the_weight_of_the_lowest_score(name, method):
    """All weights are active, so the one that is dropped grows again, from zero. The loss is w times the gradient."""
    model = nn.Linear(4, 1, bias=False)
    model.weight.data = torch.tensor([WEIGHTS])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    share = {"drop_fraction": 0.25, "drop_fraction_final": 0.25}
    row = METHODS[method](sf=0.0, update_interval=1, drop_criterion=name, **share)
    sparsifier = Sparsifier(model, optimizer, row, seed=0, total_steps=2)
    turn(model(torch.tensor([GRADIENTS])).sum(), optimizer, sparsifier)
    assert (model.weight == 0).nonzero()[:, 1].tolist() == [LOWEST[name]]


@pytest.mark.parametrize("name", DROP_CRITERIA)
def test_the_gradient_of_active_weights_costs_nothing_more(name):
    by_random = Clock(METHODS["set"](sf=0.9, update_interval=2, drop_criterion=name), 8)
    assert not any(by_random.reads_gradient_at(step) for step in range(1, 9))
    assert by_random.keeps_gradient_at(2) == (name != "magnitude")
    assert not by_random.keeps_gradient_at(1)
    by_gradient = Clock(METHODS["rigl"](sf=0.9, update_interval=2, drop_criterion=name), 8)
    assert [by_gradient.inactive_gradients_at(step) for step in (1, 2)] == [0.0, math.inf]


def test_what_a_criterion_reads():
    assert (reads(gradient), reads(magnitude), reads(MagnitudeAndGradient(0.5))) == (math.inf, None, 0.0)


@pytest.mark.parametrize("name", list(DROP_CRITERIA))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_finite_scores(name, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 5)).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    method = METHODS["rigl"](sf=0.5, update_interval=2, drop_criterion=name)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20)
    before = {key: mask.clone() for key, mask in sparsifier.masks.items()}
    for _ in range(4):
        turn(model(torch.randn(8, 20, dtype=dtype)).float().square().mean(), optimizer, sparsifier)
    assert sparsifier.num_skipped == 0
    assert any(not torch.equal(mask, before[key]) for key, mask in sparsifier.masks.items())
