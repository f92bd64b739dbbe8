"""Loops, orders and states as people write them: each works, or is one clear line."""

import copy
import io
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, MultiStepLR, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from granet import METHODS, Sparsifier, UserError
from tests.helpers.loops import turn

STEPS = 24
EVERY = {"update_interval": 4}
SPARSE = {
    "rigl": {"sf": 0.8, **EVERY},
    "granet": {"sf": 0.8, "si": 0.5, **EVERY},
    "gmp": {"sf": 0.8, **EVERY},
    "set": {"sf": 0.8, **EVERY},
    "snfs": {"sf": 0.8, **EVERY},
    "deep_r": {"sf": 0.8},
    "static": {"sf": 0.8},
}
FORWARD = {name: {"sf": 0.8, **EVERY} for name in ("str", "dpf", "gmp_original")}


def mlp(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def built(model: nn.Module, optimizer, name: str, values: dict, **others) -> Sparsifier:
    return Sparsifier(model, optimizer, METHODS[name](**values), seed=0, total_steps=STEPS, **others)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(32, 16, generator=generator), torch.randint(4, (32,), generator=generator)


def train(model, optimizer, sparsifier, start: int = 0, stop: int = STEPS) -> None:
    for step in range(start, stop):
        inputs, labels = batch(step)
        turn(cross_entropy(model(inputs), labels), optimizer, sparsifier)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("order", ["mso", "moS", "Smo", "sSmo"])
@pytest.mark.parametrize("name", [*SPARSE, "imp"])
def test_states_may_be_loaded_in_any_order(name, order):
    """m, o: the states of model and optimizer; s: the Sparsifier is built; S: built, and its state loaded."""
    values = SPARSE.get(name, {"sf": 0.5})
    model = mlp(16, 32, 4)
    initial = copy.deepcopy(model.state_dict())
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, name, values, rewind_to=initial)
    train(model, optimizer, sparsifier, stop=10)
    states = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()))
    train(model, optimizer, sparsifier, start=10)

    again = mlp(16, 32, 4)
    optimizer, second = sgd(again), None
    for letter in order + ("" if "S" in order else "S"):
        if letter == "m":
            again.load_state_dict(states[0])
        elif letter == "o":
            optimizer.load_state_dict(copy.deepcopy(states[1]))
        elif second is None:
            second = built(again, optimizer, name, values, rewind_to=initial)
        if letter == "S":
            second.load_state_dict(copy.deepcopy(states[2]))
    train(again, optimizer, second, start=10)
    assert same(model, again)
    assert all(torch.equal(mask, second.masks[key]) for key, mask in sparsifier.masks.items())


def test_masks_alone_may_be_loaded_into_a_fresh_model():
    model = mlp(16, 32, 4)
    before = copy.deepcopy(model)
    sparsifier = built(model, sgd(model), "static", SPARSE["static"])
    other = mlp(16, 32, 4)
    optimizer = sgd(other)
    second = Sparsifier(other, optimizer, METHODS["static"](sf=0.8), seed=1, total_steps=STEPS)
    second.load_state_dict(sparsifier.state_dict())
    for name, mask in sparsifier.masks.items():
        assert torch.equal(other.get_parameter(name), before.get_parameter(name) * mask)


def test_a_rewind_to_the_live_tensors_is_refused():
    model = mlp(16, 32, 4)
    with pytest.raises(UserError, match="rewind_to holds the model's own tensors"):
        built(model, sgd(model), "imp", {"sf": 0.8}, rewind_to=model.state_dict())


@pytest.mark.parametrize(("name", "values"), [*SPARSE.items(), *FORWARD.items()])
def test_copies_go_on_alike_and_states_load_with_weights_only(name, values):
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, name, values)
    train(model, optimizer, sparsifier, stop=10)
    other = copy.deepcopy((model, optimizer, sparsifier))
    train(model, optimizer, sparsifier, start=10)
    sparsifier.finish()  # takes nothing from the copy
    train(*other, start=10)
    other[2].finish()
    assert same(model, other[0])
    assert type(copy.deepcopy(model)[0]) is nn.Linear
    for value in (sparsifier.state_dict(), model):
        torch.save(value, file := io.BytesIO())
        file.seek(0)
        torch.load(file, weights_only=value is not model)


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: MultiStepLR(optimizer, [5], 0.1),
        lambda optimizer: LambdaLR(optimizer, lambda step: 0.9**step),
        lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=STEPS + 1),
        lambda optimizer: CosineAnnealingWarmRestarts(optimizer, STEPS),
    ],
)
def test_learned_thresholds_follow_a_scheduler_that_was_made_first(make):
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    scheduler = make(optimizer)
    sparsifier = built(model, optimizer, "str", FORWARD["str"])
    for step in range(STEPS):
        train(model, optimizer, sparsifier, step, step + 1)
        scheduler.step()
    assert len(optimizer.param_groups) == 1
    raw = model.get_parameter("0.parametrizations.weight.0.raw")
    assert any(raw is p for p in optimizer.param_groups[0]["params"])
    assert raw.item() != 0


@pytest.mark.parametrize("name", ["static", "rigl", "deep_r"])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("osz", "optimizer.step\\(\\) without after_backward"),
        ("obsz", "optimizer.step\\(\\) without after_backward"),
        ("sboz", "after_backward\\(\\) was not called before after_step"),
        ("boz", "after_step\\(\\) was not called"),
        ("zbos", "after_backward\\(\\) finds no gradient"),
    ],
)
def test_a_call_that_is_missing_or_misplaced_is_told(name, order, message):
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, name, SPARSE[name])
    calls = {
        "b": sparsifier.after_backward,
        "o": optimizer.step,
        "s": sparsifier.after_step,
        "z": optimizer.zero_grad,
    }
    with pytest.raises(UserError, match=message):
        for step in range(2):
            inputs, labels = batch(step)
            cross_entropy(model(inputs), labels).backward()
            for letter in order:
                calls[letter]()


def test_of_two_sparsifiers_on_one_optimizer_the_newer_one_counts():
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    older = built(model, optimizer, "static", SPARSE["static"])
    train(model, optimizer, built(model, optimizer, "rigl", SPARSE["rigl"]))
    assert older.step == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["rigl", "granet", "set", "gmp"])
def test_clipping_sees_the_masked_gradient_on_update_steps_too(name, when):
    """The step that a clipped gradient makes on active weights is the same with an update after it as without."""
    moved = {}
    for interval in (10, 20):  # step 10 is an update step, or not
        model = mlp(16, 128, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        values = {"sf": 0.95, "update_interval": interval} | ({"t0": 10} if name in ("gmp", "granet") else {})
        sparsifier = Sparsifier(model, optimizer, METHODS[name](**values), seed=0, total_steps=100)
        train(model, optimizer, sparsifier, stop=9)
        inputs, labels = batch(9)
        cross_entropy(5 * model(inputs), labels).backward()
        if when == "before":
            for weight, mask in ((model.get_parameter(n), m) for n, m in sparsifier.masks.items()):
                weight.grad.mul_(mask)
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        sparsifier.after_backward()
        if when == "after":
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        old = copy.deepcopy(model)
        optimizer.step()
        moved[interval] = [a - b for a, b in zip(model.parameters(), old.parameters(), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(moved[10], moved[20], strict=True))


@pytest.mark.parametrize("after_each", [False, True])
def test_accumulated_gradients_grow_what_the_whole_gradient_grows(after_each):
    masks = []
    for parts in (1, 4):
        model = mlp(16, 32, 4).double()
        optimizer = sgd(model)
        sparsifier = built(model, optimizer, "rigl", SPARSE["rigl"])
        for step in range(STEPS):
            inputs, labels = batch(step)
            for x, y in zip(inputs.double().chunk(parts), labels.chunk(parts), strict=True):
                (cross_entropy(model(x), y) / parts).backward()
                if after_each:
                    sparsifier.after_backward()
            if not after_each:
                sparsifier.after_backward()
            optimizer.step()
            sparsifier.after_step()
            optimizer.zero_grad()
        masks.append(sparsifier.masks)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


class Branches(nn.Module):
    """One branch is used at every other step."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.at_times, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.step = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.used(inputs))
        self.step += 1
        return self.head(hidden + torch.relu(self.at_times(hidden)) if self.step % 2 else hidden)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_layer_without_a_gradient_keeps_its_mask(set_to_none):
    model = Branches()
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, "rigl", SPARSE["rigl"])  # updates at 4, 8, ... never see the branch
    before = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    for step in range(12):
        inputs, labels = batch(step)
        cross_entropy(model(inputs), labels).backward()
        sparsifier.after_backward()
        optimizer.step()
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=set_to_none)
    assert torch.equal(sparsifier.masks["at_times.weight"], before["at_times.weight"])
    assert not torch.equal(sparsifier.masks["used.weight"], before["used.weight"])


def test_weights_and_counts_follow_masks_that_are_edited():
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, "static", SPARSE["static"])
    mask = sparsifier.masks["0.weight"]
    mask.fill_(False)
    mask[0, 0] = True
    assert sparsifier.num_active["0.weight"] == 1
    train(model, optimizer, sparsifier, stop=1)
    assert model.get_parameter("0.weight").count_nonzero() <= 1


def test_an_average_of_weights_is_masked_by_one_call():
    model = mlp(16, 32, 4)
    optimizer = sgd(model)
    sparsifier = built(model, optimizer, "rigl", SPARSE["rigl"])
    average = AveragedModel(model)
    for step in range(STEPS):
        train(model, optimizer, sparsifier, step, step + 1)
        average.update_parameters(model)
    dense = sum(int(average.module.get_parameter(name).count_nonzero()) for name in sparsifier.masks)
    assert dense > sum(sparsifier.num_active.values())
    sparsifier.mask_(average.module)
    for name, mask in sparsifier.masks.items():
        assert not average.module.get_parameter(name)[~mask].any()


@pytest.mark.parametrize(("name", "values"), FORWARD.items())
def test_the_sparsity_is_the_share_of_zeros_at_every_step_and_after_finish(name, values):
    """Under weight decay that pulls weights below their threshold (STR)."""
    model = mlp(16, 64, 64, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-3)
    sparsifier = Sparsifier(model, optimizer, METHODS[name](**values), seed=0, total_steps=102)

    def zeros() -> float:
        modules: list[Any] = [model.get_submodule(name.rpartition(".")[0]) for name in sparsifier.masks]
        weights = [module.weight for module in modules]
        return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)

    for step in range(102):
        train(model, optimizer, sparsifier, step, step + 1)
        assert sparsifier.sparsity == pytest.approx(zeros(), abs=1e-9)
    sparsifier.finish()
    assert sparsifier.sparsity == pytest.approx(zeros(), abs=1e-9)
    assert sum(int((~mask).sum()) for mask in sparsifier.masks.values()) == pytest.approx(
        sparsifier.sparsity * sum(mask.numel() for mask in sparsifier.masks.values())
    )
