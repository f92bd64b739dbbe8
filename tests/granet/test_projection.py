import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.common.optimizers import same_shaped
from granet.flops import layer_flops
from granet.maskable import maskable_weights
from granet.projection import (
    GRADIENT,
    WEIGHT,
    Feedback,
    Forward,
    Masked,
    SoftThreshold,
    attach,
    bake,
)
from tests.helpers.loops import turn

VALUES = torch.tensor([[3.0, -2.0, 1.0, -0.5]])
MASK = torch.tensor([[True, True, False, False]])


def layer(parametrization):
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(VALUES)
    parameter = model.weight
    module = attach(model, {"weight": parameter}, {"weight": MASK.clone()}, parametrization)["weight"]
    return model, parameter, module


@pytest.mark.parametrize(
    ("parametrization", "gradient"), [(Masked, [[1.0, 1.0, 0.0, 0.0]]), (Feedback, [[1.0, 1.0, 1.0, 1.0]])]
)
def test_the_forward_sees_the_mask_and_feedback_sees_all_of_the_gradient(parametrization, gradient):
    model, parameter, _ = layer(parametrization)
    assert model.weight.tolist() == [[3.0, -2.0, 0.0, 0.0]]
    model(torch.ones(1, 4)).sum().backward()
    assert parameter.grad.tolist() == gradient
    assert torch.equal(parameter, VALUES)


def test_the_soft_threshold_is_the_largest_masked_magnitude_and_is_learned():
    model, parameter, module = layer(SoftThreshold)
    assert model.weight.tolist() == [[3.0, -2.0, 0.0, 0.0]]  # no threshold before the first update
    module.refresh(parameter.detach())
    assert model.weight.tolist() == [[2.0, -1.0, 0.0, 0.0]]  # |w| - 1.0
    model(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).sum().backward()
    assert parameter.grad.tolist() == [[1.0, 2.0, 0.0, 0.0]]
    # d/draw of sum x * sign(w) * (|w| - c sigmoid(raw)) = -(1 - 2) * c * sigmoid' = 2 * 0.25, as c = 1 / sigmoid(0)
    assert float(module.raw.grad) == pytest.approx(0.5)


@pytest.mark.parametrize("parametrization", [Masked, Feedback, SoftThreshold])
def test_baking_leaves_an_ordinary_model_with_the_weights_of_the_forward(parametrization):
    model, parameter, module = layer(parametrization)
    module.refresh(parameter.detach())
    seen = model.weight.clone()
    bake(model, ["weight"])
    assert list(model.state_dict()) == ["weight"]
    assert torch.equal(model.weight, seen)
    assert type(model) is nn.Linear


def test_the_mask_is_the_sparsifiers_own_tensor():
    model = nn.Linear(4, 4)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, opt, METHODS["dpf"](sf=0.5), seed=0, total_steps=1000)
    sparsifier.masks["weight"].zero_()
    assert (model.weight == 0).all()


def test_str_hands_its_thresholds_to_the_optimizer():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5e-4)
    Sparsifier(model, opt, METHODS["str"](sf=0.5), seed=0, total_steps=1000)
    assert len(opt.param_groups) == 1  # with the weights' own weight decay
    assert [p.shape for p in opt.param_groups[0]["params"][-2:]] == [(), ()]


def test_shared_weights_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(UserError, match=r"0\.weight is shared by 2 layers"):
        attach(model, maskable_weights(model), {"0.weight": torch.ones(4, 4, dtype=torch.bool)}, Masked)


def test_values_that_were_masked_come_back_when_others_shrink():
    """The original GMP ranks all values at every update; a weight masked once is no exception."""
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
    kept = model.weight
    opt = torch.optim.SGD(model.parameters(), lr=0.0)
    method = METHODS["gmp_original"](sf=0.5, update_interval=1, tf=2, distribution="global")
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=4)
    seen = []
    for step in range(2):
        if step == 1:
            with torch.no_grad():
                kept[0, 1] = 0.5
        model(torch.ones(1, 4)).sum().backward()
        sparsifier.after_backward()
        opt.step()
        sparsifier.after_step()
        seen.append(sparsifier.masks["weight"].tolist()[0])
    assert seen == [[True, True, False, False], [True, False, True, False]]


def test_state_of_the_shape_of_its_tensor_is_told_from_counters():
    model = nn.Linear(4, 1, bias=False)
    opt = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    opt.step()
    states = same_shaped(opt, {"weight": model.weight})
    assert len(states["weight"]) == 2  # both moments, and not the step


@pytest.mark.parametrize(
    ("projection", "gradient", "stepped", "cleared", "state"),
    [
        (GRADIENT, [1.0, 0.0], [2.0, 3.0], [2.0, 0.0], [5.0, 0.0]),
        (WEIGHT, [1.0, 1.0], [2.0, 0.0], [2.0, 0.0], [5.0, 5.0]),
        (Forward(Masked), [1.0, 1.0], [2.0, 3.0], [2.0, 3.0], [5.0, 5.0]),
    ],
)
def test_where_each_projection_acts(projection, gradient, stepped, cleared, state):
    """One active weight and one masked one: after the backward pass, after a step, and after an update."""
    masks = {"w": torch.tensor([True, False])}
    grad, weight, moment = torch.ones(2), torch.tensor([2.0, 3.0]), torch.tensor([5.0, 5.0])
    projection.backward_({"w": grad}, masks)
    assert grad.tolist() == gradient
    projection.step_({"w": weight}, masks)
    assert weight.tolist() == stepped
    projection.clear_({"w": weight}, {"w": [moment]}, masks)
    assert (weight.tolist(), moment.tolist()) == (cleared, state)


@pytest.mark.parametrize("name", ["gmp_original", "dpf", "str"])
def test_a_layer_of_several_masked_matrices_is_an_ordinary_one_in_the_end(name):
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"cell": nn.GRUCell(8, 8), "attention": nn.MultiheadAttention(8, 2, kdim=4, vdim=6)}
    )
    fresh = {key: value.shape for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, optimizer, METHODS[name](sf=0.5, update_interval=2), seed=0, total_steps=8)

    def outputs():
        queries, keys, values = (torch.ones(3, 2, size) for size in (8, 4, 6))
        return model["cell"](model["attention"](queries, keys, values)[0].flatten(0, 1))

    for _ in range(8):
        turn(outputs().square().mean(), optimizer, sparsifier)
    before = outputs().detach()
    sparsifier.finish()
    assert {key: value.shape for key, value in model.state_dict().items()} == fresh
    assert [type(module) for module in model.values()] == [nn.GRUCell, nn.MultiheadAttention]
    torch.testing.assert_close(outputs().detach(), before)


def test_a_pattern_of_names_and_flops_know_a_layer_that_masks_in_its_forward():
    model = nn.ModuleDict({"cell": nn.GRUCell(8, 8), "head": nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = METHODS["dpf"](sf=0.5, update_interval=2)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=8, include=["cell.*"])
    turn(model["head"](model["cell"](torch.ones(2, 8))).sum(), optimizer, sparsifier)
    assert [*sparsifier.masks] == ["cell.weight_ih", "cell.weight_hh"]
    assert [*maskable_weights(model)] == ["cell.weight_ih", "cell.weight_hh", "head.weight"]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            return self.parts["head"](self.parts["cell"](x))

    dense = layer_flops(Net(), (8,))
    assert dense == {"parts.cell.weight_ih": 384, "parts.cell.weight_hh": 384, "parts.head.weight": 32}
