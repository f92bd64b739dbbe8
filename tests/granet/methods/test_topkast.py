"""Top-KAST: one step written out, what is ranked when, and what a step costs."""

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier
from granet.flops import training_flops
from granet.training.loop import fit
from tests.helpers.loops import turn
from tests.helpers.training import make_run

LR, DECAY = 0.1, 0.01
X = torch.tensor([[1.0, -2.0, 3.0, -4.0, 5.0]])


def made(momentum=0.0, exploration=1.0, **values):
    """Two outputs of five inputs: two of ten weights compute (D = 0.2), two more learn."""
    model = nn.Linear(5, 2, bias=False)
    model.weight.data = torch.tensor([[0.9, 0.1, -0.8, 0.2, 0.7], [0.05, -0.6, 0.3, -0.04, 0.01]])
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=momentum, weight_decay=DECAY)
    method = METHODS["topkast"](
        sf=0.8, exploration=exploration, dense_layers="none", update_interval=2, **values
    )
    return model, optimizer, Sparsifier(model, optimizer, method, seed=0, total_steps=8)


def original(model):
    return dict(model.named_parameters())["parametrizations.weight.original"]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_is_the_papers(parts):
    """Of weights by rank: two compute and decay, two learn and decay five times as much, six do not move at all."""
    model, optimizer, sparsifier = made()
    start = original(model).detach().clone()
    computing = start.abs() >= 0.8
    learning = (start.abs() >= 0.6) & ~computing
    (mask,) = sparsifier.masks.values()
    assert torch.equal(mask, computing)
    assert torch.equal(model(X), X @ (start * computing).T)
    for _ in range(parts):  # accumulated: the decay counts once
        (model(X).sum() / parts).backward()
        sparsifier.after_backward()
    optimizer.step()
    sparsifier.after_step()
    gradient = X.expand(2, 5)
    expected = start.clone()
    expected[computing] -= LR * (gradient + DECAY * start)[computing]
    expected[learning] -= LR * (gradient + DECAY / 0.2 * start)[learning]
    assert torch.allclose(original(model), expected, atol=1e-7)
    assert torch.equal(original(model)[~computing & ~learning], start[~computing & ~learning])


def test_what_learns_may_come_in_at_an_update_and_what_rests_may_learn():
    model, optimizer, sparsifier = made(momentum=0.9)
    for _ in range(2):
        assert int(next(iter(sparsifier.masks.values())).sum()) == 2
        turn(model(X).sum(), optimizer, sparsifier)
    sizes = original(model).detach().abs().flatten()
    order = sizes.argsort(descending=True)
    (mask,) = sparsifier.masks.values()
    assert set(mask.flatten().nonzero().flatten().tolist()) == set(order[:2].tolist()) != {0, 2}
    explored = model.get_buffer("parametrizations.weight.0.explored")
    assert set(explored.flatten().nonzero().flatten().tolist()) == set(order[:4].tolist())
    sparsifier.finish()
    assert torch.equal(model.weight != 0, mask)


def test_without_exploration_what_is_masked_never_moves():
    model, optimizer, sparsifier = made(exploration=0.0)
    start = original(model).detach().clone()
    (mask,) = sparsifier.masks.values()
    ever = mask.clone()
    for _ in range(8):
        turn(model(X).sum(), optimizer, sparsifier)
        ever |= mask
    assert ever.sum() < 10
    assert torch.equal(original(model)[~ever], start[~ever])
    assert not sparsifier.reads_gradient_at(1)


def test_forward_and_backward_are_counted_each_at_its_own_sparsity(digits, tmp_path):
    """Gradients of activations at the forward's, of weights at the backward's: two and a half times as many here."""
    run = make_run(digits, method=METHODS["topkast"](sf=0.9, exploration=1.5, update_interval=2), epochs=1)
    history = fit(run, history_csv=tmp_path / "history.csv", checkpoint_path=tmp_path / "last.pt")
    sparse, dense = run.dense.at(run.sparsifier.layer_sparsity).total, run.dense.total
    assert history[-1]["train_flops"] == 200 * (2 * sparse + round(2.5 * sparse))
    assert 200 * 3 * sparse < history[-1]["train_flops"] < training_flops([(200, dense, False)], dense)
