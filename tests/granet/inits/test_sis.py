import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from granet import UserError
from granet.inits.sis import Layer, entry, fista, sis
from granet.maskable import maskable_weights
from granet.models import build
from granet.types import InitContext


def layer(weight, inputs, relu=True):
    weight, inputs = torch.tensor(weight), torch.as_tensor(inputs)
    return Layer(weight, inputs, inputs @ weight.T, relu)


def objective(problem, weight, penalty):
    squared = problem.residual(weight).square().sum() / len(problem.inputs_SI)
    return float(squared / 2 + penalty * weight.abs().sum())


def scores(problem):
    return entry(problem, problem.largest_penalty())


INPUTS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def test_where_the_relu_is_silent_no_weight_is_needed():
    silent = layer([[-1.0, -2.0]], INPUTS[:, :2].abs())
    assert float(silent.residual(torch.zeros(1, 2)).abs().max()) == 0  # 0 <= 0: the inclusion holds
    assert (scores(silent) <= 0).all()
    loud = layer([[-1.0, -2.0]], INPUTS[:, :2].abs(), relu=False)
    assert (scores(loud) > 0).any()  # an output has to be kept


def test_the_residual_by_eye():
    problem = layer([[1.0], [-1.0]], [[2.0]])  # pre-activations 2 and -2
    assert problem.residual(torch.tensor([[0.5], [-3.0]])).tolist() == [[-1.0, 0.0]]
    assert problem.residual(torch.tensor([[1.0], [0.5]])).tolist() == [[0.0, 1.0]]


def test_the_weight_that_carries_more_enters_first_and_a_dead_input_never():
    inputs = INPUTS.clone()
    inputs[:, 2] = 0.0
    found = scores(layer([[3.0, 0.3, 9.0, 0.0]], inputs, relu=False))[0]
    assert found[0] > found[1] > 0
    assert found[2] <= 0  # a large weight on an input that is always zero


def test_fista_approaches_the_lasso_solution():
    """Orthonormal inputs: the solution is the soft-thresholded weight."""
    inputs = torch.eye(3) * 3**0.5  # x'x / S = 1
    problem = layer([[3.0, -0.5, 1.0]], inputs, relu=False)
    solution = fista(problem, torch.zeros(1, 3), 0.75, 1 / problem.lipschitz())
    assert solution[0].tolist() == pytest.approx([2.25, 0.0, 0.25], abs=1e-3)


def test_inputs_that_sum_to_zero_have_a_step_as_well():
    """The power iteration starts from ones, which are orthogonal to them."""
    problem = layer([[3.0, 0.3]], torch.tensor([[1.0, -1.0]]), relu=False)
    assert problem.lipschitz() == 2.0  # the eigenvalue of (1, -1)
    assert scores(problem).isfinite().all()


def test_the_objective_falls_along_the_iterations():
    torch.manual_seed(0)
    problem = layer(torch.randn(5, 4).tolist(), INPUTS)
    solution, values = torch.zeros(5, 4), []
    for _ in range(6):
        values.append(objective(problem, solution, 0.05))
        solution = fista(problem, solution, 0.05, 1 / problem.lipschitz())
    rounding = 1 + 4 * torch.finfo(torch.float32).eps  # at the minimum a processor's last digit decides
    assert all(after <= before * rounding for before, after in pairwise(values))
    assert values[-1] < 0.5 * values[0]


def images():
    generator = torch.Generator().manual_seed(1)
    yield torch.randn(16, 3, 16, 16, generator=generator), torch.zeros(16, dtype=torch.long)


@pytest.mark.parametrize("name", ["resnet20", "vgg19"])
def test_what_it_observes_is_what_the_network_computes(name, monkeypatch):
    """Inputs times the trained weights are the layer's outputs, and only a ReLU's input may carry a sign."""
    torch.manual_seed(0)
    model = build(name, num_classes=10)
    seen = {}
    monkeypatch.setattr(
        "granet.inits.sis.entry", lambda problem, largest: seen.setdefault(len(seen), problem).weight_OI.abs()
    )
    weights = maskable_weights(model)
    before = copy.deepcopy(model.state_dict())
    sis(InitContext(model, weights, 0, images), num_images=16, num_samples=50)
    assert len(seen) == len(weights)
    for key, problem in zip(weights, seen.values(), strict=True):
        assert problem.inputs_SI.shape[0] <= 50
        assert float(problem.residual(problem.weight_OI).abs().max()) == 0, key
        last = key == "fc.weight"
        if name == "vgg19":
            assert problem.relu is not last
            if not last:  # at initialisation BatchNorm scales by 1 / sqrt(1 + eps) and shifts by nothing
                again = problem.inputs_SI @ problem.weight_OI.T
                assert torch.allclose(again, problem.before_SO, atol=1e-4), key
        else:
            assert problem.relu is not (last or "downsample" in key), key
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_layers_it_cannot_read_are_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UserError, match=r"sis: 0\.weight"):
        sis(InitContext(model, maskable_weights(model), 0, images))


class Parts(nn.Module):
    def __init__(self, call_all):
        super().__init__()
        self.first, self.last, self.call_all = nn.Linear(12, 12), nn.Linear(12, 3), call_all

    def forward(self, x):
        return self.last(self.first(x) if self.call_all else x)


@pytest.mark.parametrize(
    ("call_all", "shape", "message"),
    [
        (False, (12,), "does not call the layer of first.weight"),
        (True, (12, 12), "first.weight belongs to a Linear"),
    ],
)
def test_what_it_does_not_see_or_sees_as_tokens_is_refused(call_all, shape, message):
    model = Parts(call_all)
    batches = [(torch.randn(4, *shape), torch.zeros(4))]
    with pytest.raises(UserError, match=message):
        sis(InitContext(model, maskable_weights(model), 0, batches))
