"""Optimizers as people have them: masked weights are zero after every step, whatever couples them in an update."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from granet import METHODS, Sparsifier
from granet.common.optimizers import is_element_wise, parts, same_shaped, unwrapped

STEPS = 16
METHODS_OF_ALL_KINDS = {
    "granet": {"sf": 0.75, "si": 0.5, "update_interval": 4},
    "static": {"sf": 0.75},
    "dpf": {"sf": 0.75, "update_interval": 4},
}


class Rows(torch.optim.SGD):
    """A subclass whose update of a weight looks at its row and its column: masked weights move with the others."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().step(closure)
        for p in (p for group in self.param_groups for p in group["params"] if p.dim() == 2):
            p -= 0.01 * (p.mean(0, keepdim=True) + p.grad.mean(1, keepdim=True) + 0.1)


class TwoPasses(torch.optim.Optimizer):
    """Sharpness-aware, as its authors' code: an optimizer within, a state of its own, and two passes in a step."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"rho": 0.05, "lr": 0.1})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.1, momentum=0.9)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        tensors = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in tensors]).norm()
        for p in tensors:
            self.state[p]["old_p"] = p.clone()
            p += 0.05 / norm * p.grad + 1e-3
        with torch.enable_grad():
            closure()
        for p in tensors:
            p.copy_(self.state[p]["old_p"])
        self.base_optimizer.step()


def of(module: str, name: str, **values: Any) -> Callable[[list], Any]:
    """An optimizer of a package that need not be here."""

    def make(params: list) -> Any:
        found: Any = pytest.importorskip(module, exc_type=ImportError)
        for part in name.split("."):
            found = getattr(found, part)
        return found(params, **values)

    return make


def timm(name: str, **values: Any) -> Callable[[list], Any]:
    return lambda params: pytest.importorskip("timm.optim").create_optimizer_v2(
        params, opt=name, lr=values.pop("lr", 0.01), **values
    )


def accelerated(params: list) -> Any:
    wrapper = of("accelerate.optimizer", "AcceleratedOptimizer")
    pytest.importorskip("accelerate").Accelerator(cpu=True)
    return wrapper(torch.optim.SGD(params, 0.1, momentum=0.9))


def lightning(params: list) -> Any:
    core = pytest.importorskip("pytorch_lightning.core.optimizer")
    optimizer = core.LightningOptimizer(torch.optim.AdamW(params, 0.01))
    optimizer._strategy = SimpleNamespace(optimizer_step=lambda inner, closure: inner.step(closure))
    return optimizer


OPTIMIZERS: dict[str, Callable[[list], Any]] = {
    "rows": lambda params: Rows(params, 0.1, momentum=0.9),
    "two passes": TwoPasses,
    "torch Muon": lambda params: torch.optim.Muon(params, 0.02),
    "torch Adafactor": lambda params: torch.optim.Adafactor(params, 0.05),
    "torch ASGD": lambda params: torch.optim.ASGD(params, 0.1),
    "torch Rprop": lambda params: torch.optim.Rprop(params, 0.01),
    "torch LBFGS": lambda params: torch.optim.LBFGS(params, 0.02, max_iter=3),
    "torch SGD, which is given a closure": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9),
    "timm LAMB": timm("lamb"),
    "timm LARS": timm("lars", lr=1.0),
    "timm Lion": timm("lion", lr=0.003),
    "timm Muon": timm("muon"),
    "timm MADGRAD": timm("madgrad"),
    "timm Lookahead": timm("lookahead_adamw"),
    "pytorch_optimizer SAM": of(
        "pytorch_optimizer", "SAM", base_optimizer=torch.optim.SGD, lr=0.1, momentum=0.9
    ),
    "pytorch_optimizer SOAP": of("pytorch_optimizer", "SOAP", lr=0.01),
    "pytorch_optimizer Prodigy": of("pytorch_optimizer", "Prodigy", lr=0.2, d0=1e-2),
    "pytorch_optimizer Shampoo": of("pytorch_optimizer", "Shampoo", lr=0.1),
    "schedulefree SGD": of("schedulefree", "SGDScheduleFree", lr=0.3),
    "schedulefree AdamW": of("schedulefree", "AdamWScheduleFree", lr=0.02),
    "bitsandbytes Adam8bit": of("bitsandbytes.optim", "Adam8bit", lr=0.01, min_8bit_size=16),
    "torchao AdamW8bit": of("torchao.optim", "AdamW8bit", lr=0.01),
    "accelerate": accelerated,
    "lightning": lightning,
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64, bias=False), nn.ReLU(), nn.Linear(64, 4, bias=False))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(step))
    return inputs, inputs[:, :4].argmax(1)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    inputs, labels = batch(step)
    return cross_entropy(model(inputs), labels)


def train(model: nn.Module, optimizer: Any, sparsifier: Sparsifier, steps: range) -> None:
    for step in steps:

        def closure(step: int = step) -> torch.Tensor:
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        closure()
        sparsifier.after_backward()
        optimizer.step(closure)
        sparsifier.after_step()
        optimizer.zero_grad()
        forward = sparsifier.method.projection.keeps_values
        states = same_shaped(unwrapped(optimizer), dict(model.named_parameters()))
        for name, mask in sparsifier.masks.items():
            for value in () if forward else (model.get_parameter(name), *states[name]):
                assert not value[~mask].any(), (step, name)


@pytest.mark.parametrize("method", METHODS_OF_ALL_KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::UserWarning")
def test_masked_weights_are_zero_after_every_step_of_any_optimizer(name, method):
    model = network()
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    if hasattr(optimizer, "train"):
        optimizer.train()
    sparsifier = Sparsifier(
        model, optimizer, METHODS[method](**METHODS_OF_ALL_KINDS[method]), seed=0, total_steps=STEPS
    )
    before = loss_of(model, STEPS).item()
    train(model, optimizer, sparsifier, range(STEPS))
    assert sparsifier.step == STEPS
    assert sum(sparsifier.num_active.values()) == 320
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    assert loss_of(model, STEPS) < before


@pytest.mark.parametrize("make", [OPTIMIZERS["rows"], OPTIMIZERS["two passes"]])
def test_a_run_of_any_optimizer_resumes_bit_for_bit(make):
    runs = []
    for stop in (STEPS, 6):
        model = network()
        optimizer = make(list(model.parameters()))
        method = METHODS["granet"](**METHODS_OF_ALL_KINDS["granet"])
        sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
        train(model, optimizer, sparsifier, range(stop))
        if stop < STEPS:
            states = [io.BytesIO() for _ in range(3)]
            held = getattr(optimizer, "base_optimizer", optimizer)
            for part, file in zip((model, held, sparsifier), states, strict=True):
                torch.save(part.state_dict(), file)
                file.seek(0)
            model = network()
            optimizer = make(list(model.parameters()))
            sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=STEPS)
            held = getattr(optimizer, "base_optimizer", optimizer)
            for part, file in zip((model, held, sparsifier), states, strict=True):
                part.load_state_dict(torch.load(file))
            train(model, optimizer, sparsifier, range(stop, STEPS))
        runs.append([*model.parameters(), *sparsifier.masks.values()])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_only_torchs_own_element_wise_classes_are_taken_for_such():
    """A subclass may update as it likes; what a wrapper holds is judged, and not the wrapper."""
    params = list(network().parameters())
    assert is_element_wise(torch.optim.AdamW(params))
    assert not is_element_wise(Rows(params, 0.1))
    assert is_element_wise(unwrapped(lightning(params)))
    assert [type(part) for part in parts(TwoPasses(params))] == [TwoPasses, torch.optim.SGD]


def test_state_of_other_coordinates_is_left_alone():
    """A preconditioner of a square weight has the weight's shape; zeroing its entries would break it."""
    optimizer = torch.optim.Optimizer([square := torch.ones(4, 4), wide := torch.ones(4, 2)], {})
    optimizer.state[square] = {"left": torch.eye(4), "exp_avg": torch.ones(4, 4)}
    weights = {"square": square, "wide": wide}
    assert len(same_shaped(optimizer, weights)["square"]) == 2
    optimizer.state[wide] = {"left": torch.eye(4), "exp_avg": torch.ones(4, 2)}
    assert same_shaped(optimizer, weights) == {"square": [], "wide": []}
