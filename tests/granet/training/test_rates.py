"""granet.training.rates: every schedule beside torch's own, step by step, and through rounds, warm-up and extension."""

import pytest
import torch
from torch.optim import lr_scheduler

from granet import METHODS
from granet.training.config import TrainConfig
from granet.training.rates import learning_rate
from tests.helpers.training import make_run

EPOCH, STEPS, WARM = 10, 40, 5
"""Steps of an epoch, of the run, and of half an epoch of warm-up."""


def rising(optimizer):
    return lr_scheduler.LinearLR(optimizer, 1 / WARM, 1.0, total_iters=WARM - 1)


def then(falling):
    return lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [rising(optimizer), falling(optimizer)], [WARM]
    )


def line(num_steps):
    return lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.1, num_steps)


def half_cosine(num_steps):
    return lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, num_steps, eta_min=0.02)


def cycle(optimizer):
    return lr_scheduler.OneCycleLR(
        optimizer,
        0.2,
        STEPS,
        pct_start=WARM / STEPS,
        cycle_momentum=False,
        div_factor=25,
        final_div_factor=0.4,
    )


@pytest.mark.filterwarnings(
    "ignore:Detected call of `lr_scheduler.step()` before `optimizer.step()`:UserWarning"
)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step()`:UserWarning")
@pytest.mark.parametrize(
    ("schedule", "warmup", "theirs"),
    [
        ("cosine", 0.0, half_cosine(STEPS)),
        ("cosine", 0.5, then(half_cosine(STEPS - WARM))),
        ("linear", 0.0, line(STEPS)),
        ("linear", 0.5, then(line(STEPS - WARM))),
        ("onecycle", 0.5, cycle),  # 0.2 / 25 is where it starts, and 0.4 of it where it ends: 0.02
    ],
)
def test_every_step_has_the_rate_of_torchs_scheduler(schedule, warmup, theirs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.2)
    scheduler = theirs(optimizer)
    config = TrainConfig(epochs=4, lr=0.2, lr_final=0.02, lr_schedule=schedule, warmup_epochs=warmup)
    lr = learning_rate(config, EPOCH)
    for step in range(STEPS):
        assert lr(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6), step
        optimizer.step()
        if step < STEPS - 1:
            scheduler.step()


def test_an_extended_run_stretches_the_curve_and_keeps_its_warm_up():
    config = TrainConfig(epochs=4, extend=2.0, lr=0.2, lr_schedule="linear", warmup_epochs=0.5)
    lr = learning_rate(config, EPOCH)
    assert [round(lr(step), 6) for step in (0, 4, 5, 5 + 75 // 3, 79)] == [0.04, 0.2, 0.2, 0.133333, 0.002667]


def test_every_round_has_the_whole_curve(digits):
    """Two rounds of two epochs, four steps each."""
    method = METHODS["imp"](sf=0.9, prune_fraction=0.7)
    run = make_run(digits, method=method, epochs=2, lr_schedule="cosine", lr_final=0.01, warmup_epochs=0.5)
    first, second = ([round(run.lr(step), 6) for step in steps] for steps in (range(8), range(8, 16)))
    assert first == second and first[:3] == [0.05, 0.1, 0.1] and first[-1] < 0.02


@pytest.mark.parametrize("num_epochs", [1, 3])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "onecycle"])
def test_a_run_may_be_all_warm_up(schedule, num_epochs):
    lr = learning_rate(
        TrainConfig(epochs=num_epochs, lr_schedule=schedule, warmup_epochs=float(num_epochs)), 1
    )
    assert lr(num_epochs - 1) == pytest.approx(0.1)
