import torch
from torch import nn

from granet.retrain import REWINDS, lrr, lth, reinit


def build(seed):
    torch.manual_seed(seed)
    return nn.Linear(3, 3)


def test_reinit_draws_other_weights_and_the_same_ones_every_time():
    assert not torch.equal(reinit(build, 5).weight, build(5).weight)
    assert torch.equal(reinit(build, 5).weight, reinit(build, 5).weight)
    assert not torch.equal(reinit(build, 5).weight, reinit(build, 6).weight)


def test_lth_is_the_runs_own_initialisation():
    assert torch.equal(lth(build, 5, {}).weight, build(5).weight)


def test_lrr_keeps_the_final_weights():
    final = {"weight": torch.full((3, 3), 7.0), "bias": torch.ones(3)}
    model = lrr(build, 5, final)
    assert torch.equal(model.weight, final["weight"])
    assert set(REWINDS) == {"lth", "lrr"}
