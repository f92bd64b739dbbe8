"""granet.training.run: the schedule and the optimizer of a run."""

import torch

from tests.helpers.training import make_run


def test_the_learning_rate_warms_up_linearly(digits):
    """200 images in batches of 64 are 4 steps an epoch; two epochs of warm-up to 0.1, no drop before the third ends."""
    run = make_run(digits, warmup_epochs=2.0, lr_drops=[])
    assert [round(run.lr(step), 6) for step in (0, 3, 7, 8, 11)] == [0.0125, 0.05, 0.1, 0.1, 0.1]


def test_weight_decay_may_leave_batchnorm_out(digits):
    run = make_run(digits, decay_norm=False)
    weights, norms = run.optimizer.param_groups
    assert (weights["weight_decay"], norms["weight_decay"]) == (5e-4, 0.0)
    names = {id(value): name for name, value in run.model.named_parameters()}
    assert {names[id(p)].split(".")[-2].strip("0123456789") for p in norms["params"]} <= {"bn", ""}
    assert len(norms["params"]) + len(weights["params"]) == len(names)
    assert len(norms["params"]) == 2 * sum(isinstance(m, torch.nn.BatchNorm2d) for m in run.model.modules())
