"""CHTs: paths counted one by one, draws by their frequencies, and an update put together by hand."""

import copy
from dataclasses import replace
from math import ceil, cos, pi

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.common.selection import highest
from granet.methods.cht import SoftMagnitude, Topological, drawn, topology
from granet.types import Snapshot
from granet.update import drop
from tests.helpers.loops import turn


def one_by_one(mask, automaton):
    """The definition, node by node: every k that shares a neighbour with one end and is linked to the other."""
    links = {
        0: [set(row.nonzero().flatten().tolist()) for row in mask],
        1: [set(c.nonzero().flatten().tolist()) for c in mask.T],
    }
    score = torch.zeros(mask.shape)
    for o in range(mask.shape[0]):
        for i in range(mask.shape[1]):
            for side, start, end in ((0, o, i), (1, i, o)):
                for k in links[1 - side][end]:
                    shared = len(links[side][start] & links[side][k])
                    if shared and not mask[o, i]:
                        leading_out = max(1, len(links[side][k]) - shared)
                        score[o, i] += (1 + shared if automaton == "ch2" else 1) / leading_out
    return score


@pytest.mark.parametrize("automaton", ["ch2", "ch3"])
@pytest.mark.parametrize("density", [0.1, 0.3, 0.9])
def test_the_topology_is_that_of_all_paths_counted_one_by_one(automaton, density):
    mask = torch.rand(9, 13, generator=torch.Generator().manual_seed(0)) < density
    assert torch.allclose(topology(mask, automaton), one_by_one(mask, automaton))


RELEASED = {  # the node-based scores of the code for CHTs (biomedical-cybernetics), by its own expressions
    "ch2": [[0, 0, 0, 11.5, 4.5], [0, 0, 10.5, 0, 7.5], [12, 0, 0, 0, 0], [2, 7.5, 4.5, 0, 0]],
    "ch3": [[0, 0, 0, 4.5, 2], [0, 0, 4, 0, 3], [4.5, 0, 0, 0, 0], [1, 3, 2, 0, 0]],
}


@pytest.mark.parametrize("automaton", RELEASED)
def test_the_topology_is_that_of_the_released_code(automaton):
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]) > 0
    assert topology(mask, automaton).tolist() == RELEASED[automaton]


def test_draws_come_in_proportion_to_their_chances():
    chances = torch.tensor([1.0, 2.0, 5.0, 0.0])
    first = torch.stack([drawn(chances, "test", number).argmax() for number in range(4000)])
    shares = first.bincount(minlength=4) / 4000
    assert shares.tolist() == pytest.approx([0.125, 0.25, 0.625, 0.0], abs=0.03)


def test_what_stays_is_drawn_ever_less_softly():
    weights = {"w": torch.tensor([1.0, 2.0])}

    def share(progress):
        snapshots = (Snapshot(weights, {}, step=step, seed=0, progress=progress) for step in range(2000))
        return sum(int(SoftMagnitude(0.75)(snapshot)["w"].argmax()) for snapshot in snapshots) / 2000

    assert share(0.0) == pytest.approx(2 / 3, abs=0.04)
    assert share(0.375) == pytest.approx(4 / 5, abs=0.03)  # |w| squared
    assert share(0.75) == share(1.0) == pytest.approx(8 / 9, abs=0.03)  # |w| to the third


@pytest.mark.parametrize("layer", [nn.Linear(20, 30, bias=False), nn.Conv1d(5, 12, 3, bias=False)])
def test_an_update_is_a_drop_and_a_growth_that_sees_it(layer):
    model = nn.Sequential(copy.deepcopy(layer))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    method = METHODS["cht"](sf=0.7, update_interval=1)
    sparsifier = Sparsifier(model, optimizer, method, seed=3, total_steps=10)
    before = copy.deepcopy(sparsifier.masks)
    weights = {"0.weight": model.get_parameter("0.weight").detach().clone()}
    turn(
        model(torch.ones(2, 20) if layer.weight.dim() == 2 else torch.ones(2, 5, 4)).sum(),
        optimizer,
        sparsifier,
    )
    snapshot = Snapshot(weights, {}, step=1, seed=3, masks=before, progress=0.1)
    fraction = 0.3 * (1 + cos(pi / 8)) / 2  # to the end of step 8, three quarters of ten
    number = ceil(fraction * int(before["0.weight"].sum()))
    left = drop(before, SoftMagnitude(0.75)(snapshot), {"0.weight": number})
    scores = Topological("ch2")(replace(snapshot, masks=left))["0.weight"]
    grown = highest(scores, ~left["0.weight"], number)
    assert torch.equal(sparsifier.masks["0.weight"], left["0.weight"] | grown)
    if layer.weight.dim() == 2:
        assert (topology(left["0.weight"], "ch2")[grown] > 0).all()


def test_no_step_reads_a_gradient():
    model = nn.Linear(20, 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(
        model, optimizer, METHODS["cht"](sf=0.7, update_interval=1), seed=0, total_steps=10
    )
    assert not any(sparsifier.reads_gradient_at(step) for step in range(1, 11))
