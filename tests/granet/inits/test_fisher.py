"""Optimal Brain Damage, by the diagonal of the empirical Fisher matrix."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from granet import METHODS, Sparsifier
from granet.inits.fisher import diagonal_fisher, obd
from granet.maskable import maskable_weights
from granet.types import InitContext
from tests.granet.inits.test_saliency import Net, close, given_of, images


def test_by_hand():
    """y = 2 a - b on (1, 0) -> 1 and (1, 2) -> 3: errors 1 and -3, and each gradient is 2 * error * input."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[2.0, -1.0]])
    data = [(torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[1.0], [3.0]]))]
    given = InitContext(model, {"weight": model.weight}, seed=0, batches=data, loss=mse_loss)
    assert diagonal_fisher(given, 2)["weight"].tolist() == [[(2**2 + 6**2) / 2, (0**2 + 12**2) / 2]]
    assert obd(given, 2)["weight"].tolist() == [[20 * 4 / 2, 72 * 1 / 2]]
    assert obd(given, 1)["weight"].tolist() == [[4 * 4 / 2, 0.0]]


def test_of_a_softmax_in_closed_form():
    """The gradient of an image's cross-entropy is (p - y) x', so the Fisher diagonal is (p - y)^2 x^2."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3, dtype=torch.float64)
    x, y = torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 3
    error = model(x).softmax(1) - one_hot(y, 3)
    expected = error.square().T @ x.square() / 20 * model.weight.square() / 2
    given = InitContext(model, {"weight": model.weight}, seed=0, batches=[(x[:12], y[:12]), (x[12:], y[12:])])
    assert torch.allclose(obd(given, 20)["weight"], expected.detach(), rtol=1e-12)


def test_of_a_network_by_gradients_of_every_image():
    torch.manual_seed(0)
    model = Net().double()
    with torch.no_grad():
        model(torch.randn(64, 3, 7, 7, dtype=torch.float64))  # BatchNorm has seen something
    pure = copy.deepcopy(model).eval()
    weights = {name: weight.detach() for name, weight in maskable_weights(model).items()}
    batches = list(images())
    x, y = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    slope = grad(lambda w, x, y: cross_entropy(functional_call(pure, w, (x[None],)), y[None]))
    slopes = vmap(slope, in_dims=(None, 0, 0))(weights, x[:9], y[:9])
    close(
        obd(given_of(model), 9), {n: slopes[n].square().mean(0) * w.square() / 2 for n, w in weights.items()}
    )


def test_the_model_is_left_as_it_was():
    model = Net().double().train()
    before = copy.deepcopy(model.state_dict())
    obd(given_of(model), 4)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_tells_the_rise_of_a_converged_loss_where_the_magnitude_does_not():
    """A small weight of a large input matters more than a large weight of a small input."""
    torch.manual_seed(0)
    x = torch.randn(400, 2, dtype=torch.float64) * torch.tensor([10.0, 0.1], dtype=torch.float64)
    y = x @ torch.tensor([[0.5], [2.0]], dtype=torch.float64) + torch.randn(400, 1, dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    model.weight.data = torch.linalg.lstsq(x, y).solution.T

    def pruned(name):
        one = copy.deepcopy(model)
        optimizer = torch.optim.SGD(one.parameters(), 0.1)
        Sparsifier(
            one, optimizer, METHODS[name](sf=0.5), seed=0, total_steps=1, batches=[(x, y)], loss=mse_loss
        )
        return mse_loss(one(x), y).item()

    assert pruned("obd") == pytest.approx(1.0, abs=0.2)
    assert pruned("one_shot") > 10
