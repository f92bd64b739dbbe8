from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from granet import METHODS, Sparsifier, UserError
from granet.common.granularity import ELEMENT, Granularity
from granet.criteria import gradient, magnitude
from granet.drops import Drop
from granet.maskable import maskable_weights
from granet.method import Method, Regenerate
from granet.methods import fixed
from granet.models import build
from granet.projection import GRADIENT, WEIGHT


def test_every_conv_and_linear_weight_is_maskable_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert list(maskable_weights(model)) == ["0.weight", "3.weight"]


@pytest.mark.parametrize(
    ("name", "tensors", "weights"), [("vgg19", 17, 20_024_000), ("resnet50_cifar", 54, 23_467_712)]
)
def test_maskable_counts_of_the_paper(name, tensors, weights):
    with torch.device("meta"):
        maskable = maskable_weights(build(name, num_classes=10))
    assert (len(maskable), sum(weight.numel() for weight in maskable.values())) == (tensors, weights)


def test_an_optimizer_of_other_parameters_is_refused():
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    opt = torch.optim.SGD(other.parameters(), lr=0.1)
    with pytest.raises(UserError, match="does not hold weight"):
        Sparsifier(model, opt, METHODS["static"](sf=0.5), seed=0, total_steps=10)


def test_masks_are_updated_in_place():
    model = nn.Linear(8, 8)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, opt, METHODS["set"](sf=0.5, update_interval=1), seed=0, total_steps=10)
    mask = sparsifier.masks["weight"]
    before = mask.clone()
    model(torch.ones(1, 8)).sum().backward()
    sparsifier.after_backward()
    opt.step()
    sparsifier.after_step()
    assert mask is sparsifier.masks["weight"]
    assert not torch.equal(mask, before)


def test_dense_training_has_no_masks():
    model = nn.Linear(8, 8)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, opt, METHODS["dense"](), seed=0, total_steps=10)
    assert (sparsifier.masks, sparsifier.sparsity, sparsifier.layer_sparsity) == ({}, 0.0, {})


def test_fixed_masks_are_copied_and_kept():
    model = nn.Linear(2, 2, bias=False)
    given = {"weight": torch.tensor([[True, False], [False, True]])}
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, opt, fixed(given), seed=0, total_steps=10)
    assert sparsifier.sparsity == 0.5
    assert sparsifier.masks["weight"] is not given["weight"]
    assert (model.weight[~given["weight"]] == 0).all()


def test_state_of_another_model_is_refused():
    small, large = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))
    states = [
        Sparsifier(m, torch.optim.SGD(m.parameters(), 0.1), METHODS["static"](sf=0.5), seed=0, total_steps=1)
        for m in (small, large)
    ]
    with pytest.raises(UserError, match=r"0\.weight"):
        states[0].load_state_dict(states[1].state_dict())


def test_the_gradient_is_projected_at_every_step_and_growth_reads_the_dense_one():
    model = nn.Linear(8, 8, bias=False)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, opt, METHODS["rigl"](sf=0.5, update_interval=2), seed=0, total_steps=4)
    nonzero = []
    for _ in range(2):
        model(torch.ones(1, 8)).sum().backward()
        sparsifier.after_backward()
        nonzero.append(int((model.weight.grad != 0).sum()))
        opt.step()
        sparsifier.after_step()
        opt.zero_grad(set_to_none=True)
    assert nonzero == [32, 32]
    assert sparsifier.step == 2
    assert [sparsifier.reads_gradient_at(step) for step in (1, 2, 3, 4)] == [False, True, False, True]


def test_structured_pruning_is_nothing_but_a_granularity():
    """Rows of a linear layer as groups: whole rows are dropped and grown, through the same two verbs."""
    rows = Granularity(
        pool=lambda scores: {name: score.sum(1) for name, score in scores.items()},
        group=lambda masks: {name: mask.any(1) for name, mask in masks.items()},
        expand=lambda own, read, weights: {
            name: own[name][:, None].expand_as(weight) for name, weight in weights.items()
        },
    )
    keep_two = {"weight": torch.tensor([True, True, False, False])[:, None].expand(4, 3)}
    method = Method(
        "sparse_to_sparse",
        lambda given: keep_two,
        update_interval=1,
        regenerate=Regenerate(Drop(magnitude), gradient, 0.5, 0.5),
        granularity=rows,
    )
    model = nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0], [1.0], [9.0], [9.0]]).expand(4, 3))
    opt = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=1)
    (model(torch.ones(1, 3)) * torch.tensor([1.0, 1.0, 2.0, 5.0])).sum().backward()
    sparsifier.after_backward()
    opt.step()
    sparsifier.after_step()
    # row 1 (smallest) is dropped, row 3 (largest gradient) is grown
    assert sparsifier.masks["weight"].all(1).tolist() == [True, False, False, True]
    assert method.granularity is not ELEMENT


@pytest.mark.parametrize("form", ["single", "foreach", "fused"])
def test_growth_sees_the_gradient_and_not_what_the_optimizer_made_of_it(form):
    """Nesterov without weight decay: the foreach form adds momentum to .grad in place."""
    torch.manual_seed(0)
    model = nn.Linear(16, 16, bias=False)
    flags = {"foreach": form == "foreach", "fused": form == "fused"}
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, **flags)
    sparsifier = Sparsifier(model, opt, METHODS["rigl"](sf=0.5, update_interval=3), seed=0, total_steps=30)
    seen = []
    for step in range(3):
        (model(torch.randn(4, 16, generator=torch.Generator().manual_seed(step))) ** 2).sum().backward()
        if step == 2:
            seen.append(model.weight.grad.clone())
        sparsifier.after_backward()
        opt.step()
        sparsifier.after_step()
        opt.zero_grad(set_to_none=True)
    after = sparsifier.masks["weight"]
    grown, passed_over = after & (model.weight == 0), ~after  # the candidates: inactive or just dropped
    assert grown.any()
    assert seen[0][grown].abs().min() >= seen[0][passed_over].abs().max()


def test_state_of_other_shapes_is_refused():
    def make(rows):
        model = nn.Linear(8, rows)
        opt = torch.optim.SGD(model.parameters(), 0.1)
        return Sparsifier(model, opt, METHODS["static"](sf=0.5), seed=0, total_steps=1)

    with pytest.raises(UserError, match="weight"):
        make(9).load_state_dict(make(8).state_dict())


def test_a_shared_weight_is_masked_once():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    opt = torch.optim.SGD(model.parameters(), 0.1)
    sparsifier = Sparsifier(model, opt, METHODS["static"](sf=0.5), seed=0, total_steps=1)
    assert list(sparsifier.masks) == ["0.weight"]
    assert int(model.state_dict()["1.weight"].count_nonzero()) == 32


def test_dense_training_goes_with_any_optimizer():
    class LARS(torch.optim.SGD):
        pass

    model = nn.Linear(4, 4)
    sparsifier = Sparsifier(model, LARS(model.parameters(), 0.1), METHODS["dense"](), seed=0, total_steps=1)
    assert (sparsifier.sparsity, sparsifier.masks) == (0.0, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["granet", "rigl", "gmp", "set", "snfs"])
def test_an_update_with_a_gradient_that_is_not_finite_is_skipped_said_once_and_counted(name, value):
    torch.manual_seed(0)
    model = nn.Linear(16, 8, bias=False)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    si = {"si": 0.5} if name == "granet" else {}
    tf = {"tf": 8} if name in ("granet", "gmp") else {}
    method = METHODS[name](sf=0.75, update_interval=2, **si, **tf)
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=20)
    with pytest.warns(UserWarning, match="not finite, so this mask update is skipped") as told:
        for step in range(1, 9):
            before = sparsifier.masks["weight"].clone()
            model(torch.randn(4, 16)).square().sum().backward()
            broken = step in (4, 6)
            if broken:
                model.weight.grad[0, 0] = value
            sparsifier.after_backward()
            opt.step()
            sparsifier.after_step()
            opt.zero_grad(set_to_none=True)
            if broken:
                assert torch.equal(sparsifier.masks["weight"], before)
                assert (model.weight.detach()[~before] == 0).all()
                with torch.no_grad():  # a user who goes on has to mend the weights
                    model.weight.nan_to_num_(0.0, 0.0, 0.0)
                    for state in opt.state.values():
                        state["momentum_buffer"].nan_to_num_(0.0, 0.0, 0.0)
    assert len(told) == 1
    assert sparsifier.num_skipped == 2
    assert sparsifier.num_active["weight"] == int(sparsifier.masks["weight"].sum())
    assert sparsifier.state_dict()["num_skipped"] == 2


def test_a_state_of_before_skips_were_counted_is_read():
    model = nn.Linear(8, 8)
    opt = torch.optim.SGD(model.parameters(), 0.1)
    sparsifier = Sparsifier(model, opt, METHODS["static"](sf=0.5), seed=0, total_steps=1)
    state = sparsifier.state_dict()
    del state["num_skipped"]
    sparsifier.load_state_dict(state)
    assert sparsifier.num_skipped == 0


def test_deep_rs_noise_takes_the_learning_rate_of_each_weights_group():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    groups = [{"params": list(model[0].parameters())}, {"params": list(model[1].parameters()), "lr": 0.0}]
    opt = torch.optim.SGD(groups, lr=0.1)
    method = METHODS["deep_r"](sf=0.5, update_interval=1000, l1=0.0, noise=1.0)
    sparsifier = Sparsifier(model, opt, method, seed=0, total_steps=2000)
    slow, still = model.get_parameter("0.weight"), model.get_parameter("1.weight")
    before = [weight.detach().clone() for weight in (slow, still)]
    model(torch.ones(1, 64)).mul(0).sum().backward()
    sparsifier.after_backward()
    opt.step()
    sparsifier.after_step()
    assert not torch.equal(slow, before[0])
    assert torch.equal(still, before[1])


def test_the_last_pruning_is_made_up_for_where_only_growth_is_not_finite():
    torch.manual_seed(0)
    model = nn.Linear(16, 8, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    method = METHODS["granet"](sf=0.75, si=0.5, tf=8, update_interval=2)
    sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=20)
    for step in range(1, 11):
        model(torch.randn(4, 16)).square().mean().backward()
        if step == 8:
            model.weight.grad[~sparsifier.masks["weight"]] = float("inf")
        sparsifier.after_backward()
        optimizer.step()
        with pytest.warns(UserWarning, match="skipped") if step == 8 else nullcontext():
            sparsifier.after_step()
        optimizer.zero_grad()
    assert (sparsifier.sparsity, sparsifier.num_skipped) == (0.75, 1)
    assert model.weight.isfinite().all()


def test_state_of_another_method_is_refused_before_anything_changes():
    model = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dsr, own = (
        Sparsifier(model, optimizer, METHODS[name](sf=0.5, update_interval=2), seed=seed, total_steps=10)
        for seed, name in enumerate(("dsr", "set"))
    )
    before = own.masks["weight"].clone()
    with pytest.raises(UserError, match=r"memory: this state is of another method; .* threshold"):
        own.load_state_dict(dsr.state_dict())
    assert torch.equal(own.masks["weight"], before)


@pytest.mark.parametrize("projection", [GRADIENT, WEIGHT])
def test_accumulated_gradients_count_once_wherever_the_mask_acts(projection):
    masks = []
    for num_parts in (1, 4):
        torch.manual_seed(0)
        model = nn.Linear(16, 8)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        method = replace(METHODS["rigl"](sf=0.5, update_interval=1), projection=projection)
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=4)
        for part in torch.randn(8, 16).chunk(num_parts):
            (model(part).square().sum() / 8).backward()
            sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        masks.append(sparsifier.masks["weight"])
    assert torch.equal(*masks)
