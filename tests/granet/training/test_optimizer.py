"""granet.training.optimizer: groups of weight decay, AdamW under masks, and clipping, beside torch itself."""

import copy

import pytest
import torch
from torch import nn

from granet import METHODS
from granet.common.optimizers import same_shaped
from granet.training.config import TrainConfig
from granet.training.loop import backward, fit
from granet.training.optimizer import build_optimizer, clip_, without_decay
from tests.helpers.training import GRANET, make_run


class Small(nn.Module):
    """A layer of every kind, and a token that it wants no decay of, as timm's models say it."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.conv, self.batch, self.layer = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm((4, 2))
        self.group, self.scale = nn.GroupNorm(2, 4), nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 2)

    def no_weight_decay(self):
        return {"token"}


NORMS = {"batch.weight", "batch.bias", "layer.weight", "layer.bias", "group.weight", "group.bias"}
BIASES = {"token", "scale", "conv.bias", "fc.bias"} | NORMS - {"layer.weight", "layer.bias"}


@pytest.mark.parametrize(
    ("decay_norm", "decay_bias", "left"),
    [
        (True, True, set()),
        (False, True, NORMS),
        (True, False, BIASES),
        (False, False, NORMS | BIASES),  # what a recipe of timm leaves out
    ],
)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_weight_decay_leaves_alone_what_it_is_told(kind, decay_norm, decay_bias, left):
    model = Small()
    assert without_decay(model, norms=not decay_norm, biases=not decay_bias) == left
    config = TrainConfig(optimizer=kind, decay_norm=decay_norm, decay_bias=decay_bias, weight_decay=0.05)
    groups = build_optimizer(model, config).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {n for n, p in model.named_parameters() if decays[id(p)] == 0} == left
    assert set(decays.values()) <= {0.0, 0.05} and len(decays) == len(list(model.parameters()))


def test_the_groups_are_the_same_on_every_device(monkeypatch):
    """So that a state of the one is loaded on the other."""
    here = build_optimizer(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), TrainConfig())
    monkeypatch.setattr("granet.training.optimizer.fuses", lambda device: True)
    there = build_optimizer(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), TrainConfig())
    assert [group["fused"] for group in here.param_groups] == [True, None]
    assert [group["fused"] for group in there.param_groups] == [True, True]
    there.load_state_dict(here.state_dict())


@pytest.mark.parametrize(("kind", "theirs"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_is_torchs(kind, theirs):
    model = Small()
    plain = copy.deepcopy(model)
    config = TrainConfig(
        optimizer=kind, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.05, lr=0.01, momentum=0.0
    )
    ours = build_optimizer(model, config)
    expected = theirs(plain.parameters(), 0.01, (0.8, 0.95), 1e-6, weight_decay=0.05)
    for step in range(3):
        for a, b in zip(model.parameters(), plain.parameters(), strict=True):
            a.grad = torch.full_like(a, 0.5 - step)
            b.grad = a.grad.clone()
        ours.step()
        expected.step()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("method", ["granet", "snfs", pytest.param("imp", marks=pytest.mark.soak)])
def test_masked_weights_and_their_means_are_zero_under_adamw(digits, tmp_path, method):
    """SNFS grows by the mean of the gradient, which stays dense; rounds of IMP begin with a new optimizer."""
    row = METHODS[method](**({"sf": 0.9, "prune_fraction": 0.7} if method == "imp" else GRANET))
    run = make_run(digits, method=row, epochs=2, optimizer="adamw", lr=1e-3, weight_decay=0.05, momentum=0.0)
    fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    weights = {name: run.model.get_parameter(name) for name in run.sparsifier.masks}
    states = same_shaped(run.optimizer, weights)
    assert run.sparsifier.sparsity == pytest.approx(0.9, abs=1e-3)
    for name, mask in run.sparsifier.masks.items():
        assert len(states[name]) == 2
        assert not weights[name][~mask].any(), name
        assert method == "snfs" or not any(state[~mask].any() for state in states[name]), name


@pytest.mark.parametrize("micro_batch", [None, 24])
def test_clipping_scales_the_masked_gradient_of_the_whole_batch(digits, micro_batch):
    run = make_run(digits, micro_batch=micro_batch)
    images, labels = next(run.data.train.epoch(0))
    images = run.data.augment.evaluate(images)
    gradients = []
    for norm in (None, 1e6, 0.125):
        backward(run, images, labels, len(labels))
        run.sparsifier.after_backward()
        clip_(run.model, norm)
        gradients.append([p.grad.clone() for p in run.model.parameters()])
        run.model.zero_grad()
    whole, loose, clipped = gradients
    assert all(torch.equal(a, b) for a, b in zip(whole, loose, strict=True))
    for p, gradient in zip(run.model.parameters(), whole, strict=True):
        p.grad = gradient
    assert nn.utils.clip_grad_norm_(run.model.parameters(), 0.125) > 0.25
    for p, b in zip(run.model.parameters(), clipped, strict=True):
        assert torch.equal(p.grad, b)
