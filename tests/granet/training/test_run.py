"""granet.training.run: the schedule and the optimizer of a run."""

import copy

import pytest
import torch

from granet.training.optimizer import build_optimizer
from tests.helpers.training import make_run


def test_the_learning_rate_warms_up_linearly(digits):
    """200 images in batches of 64 are 4 steps an epoch; two epochs of warm-up to 0.1, no drop before the third ends."""
    run = make_run(digits, warmup_epochs=2.0, lr_drops=[])
    assert [round(run.lr(step), 6) for step in (0, 3, 7, 8, 11)] == [0.0125, 0.05, 0.1, 0.1, 0.1]


def test_weight_decay_may_leave_batchnorm_out(digits):
    run = make_run(digits, decay_norm=False)
    decays = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    names = {id(value): name for name, value in run.model.named_parameters()}
    assert decays.keys() == names.keys() and set(decays.values()) == {5e-4, 0.0}
    norms = [names[p] for p, decay in decays.items() if decay == 0]
    assert {name.split(".")[-2].strip("0123456789") for name in norms} <= {"bn", ""}
    assert len(norms) == 2 * sum(isinstance(m, torch.nn.BatchNorm2d) for m in run.model.modules())


@pytest.mark.parametrize("settings", [{"nesterov": True}, {"nesterov": False}, {"weight_decay": 0.0}])
def test_the_optimizer_computes_the_bits_of_torchs_plain_loop(digits, settings):
    """30 steps of a network with tensors that fill the processor's registers, and some that do not."""
    run = make_run(digits, **settings)
    model, plain = copy.deepcopy(run.model), copy.deepcopy(run.model)
    optimizer = build_optimizer(model, run.config)
    loop = torch.optim.SGD(
        plain.parameters(), 0.1, 0.9, foreach=False, **{"weight_decay": 5e-4, "nesterov": True} | settings
    )
    assert len({bool(group["fused"]) for group in optimizer.param_groups}) == 2
    generator = torch.Generator().manual_seed(0)
    for step in range(30):
        for group in (*optimizer.param_groups, *loop.param_groups):
            group["lr"] = 0.1 * 0.95**step
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            gradient = torch.randn(ours.shape, generator=generator)
            ours.grad, theirs.grad = (torch.empty_like(ours).copy_(gradient) for _ in range(2))
        optimizer.step()
        loop.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
