"""Rounds that rewind late or retrain on a budget: what they train, at which rates, and how they resume."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.training.bookkeeping import Bookkeeping
from granet.training.loop import fit
from granet.training.rounds import Rounds
from tests.granet.training.test_loop import StopError, rows, same_weights
from tests.helpers.training import make_run

LATE = {"sf": 0.9, "prune_fraction": 0.7, "rewind": 3}
"""Rounds of 8, 5 and 5 steps, where an epoch has 4."""


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3, bias=False))


def highest(model: nn.Module, masks: dict, share: float) -> dict:
    """Global magnitude pruning, by a sort."""
    scores = {name: model.get_parameter(name).detach().abs() * mask for name, mask in masks.items()}
    values = torch.cat([score.flatten() for score in scores.values()])
    threshold = values.sort(descending=True).values[round(share * len(values)) - 1]
    return {name: score >= threshold for name, score in scores.items()}


@pytest.mark.parametrize("late", [0, 3])
def test_late_rewinding_is_the_papers_algorithm(late):
    """Written out: dense to step 8, keeping step ``late``; then two rounds from there, of the steps that are left."""
    model = network()
    optimizer = sgd(model)
    method = METHODS["imp"](sf=0.75, prune_fraction=0.5, rewind=late)
    rounds = Rounds.of(method, 8, 4)
    assert (method.family, rounds.total_steps) == ("dense_to_sparse", 24 - 2 * late)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=rounds.total_steps)
    for step in range(rounds.total_steps):
        inputs, labels = batch(step)
        nn.functional.cross_entropy(model(inputs), labels).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad()

    plain = network()
    masks = {name: torch.ones_like(plain.get_parameter(name), dtype=torch.bool) for name in sparsifier.masks}
    kept, step = copy.deepcopy(plain.state_dict()), 0
    for length, share in ((8, 0.5), (8 - late, 0.25), (8 - late, None)):
        optimizer = sgd(plain)
        for _ in range(length):
            inputs, labels = batch(step)
            nn.functional.cross_entropy(plain(inputs), labels).backward()
            for name, mask in masks.items():
                plain.get_parameter(name).grad *= mask
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step == late:
                kept = copy.deepcopy(plain.state_dict())
        if share is not None:
            masks = highest(plain, masks, share)
            plain.load_state_dict(kept)
            with torch.no_grad():
                for name, mask in masks.items():
                    plain.get_parameter(name).mul_(mask)
    assert all(torch.equal(mask, masks[name]) for name, mask in sparsifier.masks.items())
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_rewound_round_goes_on_at_its_place_in_the_learning_rates(digits, tmp_path):
    """Of 8 steps, the rate drops at 4 and 6. Later rounds begin at step 3, the last batch of an epoch."""
    run = make_run(digits, method=METHODS["imp"](**LATE), epochs=2, warmup_epochs=0.5)
    rates = [round(run.lr(step), 4) for step in range(18)]
    whole = [0.05, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert rates == whole + whole[3:] + whole[3:]
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    assert [row["step"] for row in history] == [4, 8, 9, 13, 14, 18]
    assert [round(row["sparsity"], 2) for row in history] == [0, 0, 0.68, 0.68, 0.9, 0.9]
    assert run.first_final_epoch == 5
    assert history[0]["train_flops"] * 2 == history[1]["train_flops"] == run.dense_train_flops
    assert history[2]["train_flops"] - history[1]["train_flops"] < history[0]["train_flops"] * 8 / 200


METHOD = {
    "imp": METHODS["imp"](**LATE),
    "bimp": METHODS["bimp"](sf=0.9, rounds=2, budget=6),
}


@pytest.mark.parametrize(
    ("name", "step"),
    [("imp", 3), ("imp", 9), ("bimp", 7)],  # the step to go back to, and the first of rounds
)
def test_rounds_resume_at_any_step_to_a_bit_identical_end(digits, tmp_path, monkeypatch, name, step):
    def make():
        return replace(make_run(digits, method=METHOD[name], epochs=2, checkpoint_s=0), evaluate_from=99)

    whole = make()
    fit(whole, history_csv=tmp_path / "whole.csv", checkpoint_path=tmp_path / "whole.pt")
    after_update = Bookkeeping.after_update

    def killed(book):
        after_update(book)
        if book._step == step:
            raise StopError

    paths = {"history_csv": tmp_path / "history.csv", "checkpoint_path": tmp_path / "last.pt"}
    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(Bookkeeping, "after_update", killed)
        fit(make(), **paths)
    resumed = make()
    fit(resumed, **paths)
    assert resumed.sparsifier.step == whole.total_steps
    assert rows(tmp_path / "history.csv") == rows(tmp_path / "whole.csv")
    assert same_weights(resumed, whole)


def test_damage_is_the_norm_that_pruning_takes_over_what_it_could_take():
    """Of 1, 2, 3, 4 and a bias of 5 (not pruned), 1 and 2 go: sqrt(5 / 55 / 0.5)."""
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
        model.bias.fill_(5.0)
    method = METHODS["bimp"](sf=0.75, rounds=2, budget=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=2)
    assert sparsifier.restarts.damage == pytest.approx(math.sqrt(5 / 55 / 0.5))
    model(torch.ones(1, 4)).sum().backward()
    sparsifier.after_backward()
    optimizer.step()
    sparsifier.after_step()  # 3 of 3, 4
    assert model.weight.tolist() == [[0.0, 0.0, 0.0, 4.0]]
    assert sparsifier.restarts.damage == pytest.approx(math.sqrt(9 / 50 / 0.5))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [  # 20 steps after 40 at 0.1, 0.01 from 20 and 0.001 from 30; a warm-up of 4
        ("ft", {0: 0.001, 19: 0.001}),
        ("lrw", {0: 0.01, 9: 0.01, 10: 0.001, 19: 0.001}),
        ("slr", {0: 0.0, 1: 0.05, 2: 0.1, 10: 0.1, 11: 0.01, 15: 0.01, 16: 0.001, 19: 0.001}),
        ("clr", {0: 0.0, 1: 0.05, 2: 0.1, 11: 0.0505, 19: 0.001 + 0.099 * (1 - math.cos(math.pi / 18)) / 2}),
        ("llr", {0: 0.0, 1: 0.05, 2: 0.1, 11: 0.05, 19: 0.1 / 18}),
        ("allr", {0: 0.0, 1: 0.025, 2: 0.05, 11: 0.025, 19: 0.05 / 18}),  # 20 of 40 steps; damage below
    ],
)
def test_the_schedules_of_retraining(digits, schedule, expected):
    method = METHODS["bimp"](sf=0.5, rounds=1, budget=20, schedule=schedule)
    run = make_run(digits, method=method, epochs=10, warmup_epochs=1)
    assert run.sparsifier.restarts.damage < 0.5
    assert (run.total_steps, run.epochs) == (20, 5)
    assert {step: run.lr(step) for step in expected} == pytest.approx(expected)


def test_allr_follows_the_damage_of_every_pruning(digits):
    run = make_run(digits, method=METHODS["bimp"](sf=0.9, rounds=2, budget=8), epochs=20)
    damage = run.sparsifier.restarts.damage
    assert 0.1 < damage < 1  # 8 of 80 steps are less
    assert run.lr(4) == pytest.approx(0.1 * damage * (1 - 4 / 8))
    run.sparsifier.restarts.damage = 0.05
    assert run.lr(12) == pytest.approx(0.1 * 0.1 * (1 - 4 / 8))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (METHODS["imp"](sf=0.9, rewind=8), "rewind=8 steps is not before the end of a round"),
        (METHODS["imp"](sf=0.9, rewind=20), "rewind=20 steps is not before the end of a round"),
    ],
)
def test_a_rewind_behind_the_round_is_refused(digits, method, message):
    with pytest.raises(UserError, match=message):
        make_run(digits, method=method, epochs=2)


def test_a_budget_that_is_not_said_is_a_tenth_of_the_schedule():
    assert Rounds.of(METHODS["bimp"](sf=0.9), 100, 10) == Rounds(3, 10, 10, 10)
    assert Rounds.of(METHODS["bimp"](sf=0.9, budget=7), 100, 10).total_steps == 21
