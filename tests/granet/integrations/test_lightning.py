"""SparsifierCallback in the real Lightning: the same training as a loop of one's own, and one that can be resumed."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.nn.functional import cross_entropy

from granet import METHODS, Method, Sparsifier, UserError
from granet.integrations.attached import Attached

with warnings.catch_warnings():  # its own imports use what other packages have deprecated
    warnings.simplefilter("ignore")
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from granet.integrations.lightning import SparsifierCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),  # the run that saves nothing
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),  # Slurm's tests have it installed
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # of its use of torch.utils._pytree
]
NUM_BATCHES, EPOCHS = 6, 4


def method(name: str = "granet") -> Method:
    return METHODS[name](sf=0.9, update_interval=2)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


class Loader:
    """The batches of an epoch, and where in it one is: Lightning saves that, and does not go on without it."""

    def __init__(self, batches: list) -> None:
        self.batches, self.position = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        for position in range(self.position, len(self)):
            self.position = (position + 1) % len(self)
            yield self.batches[position]

    def state_dict(self) -> dict:
        return {"position": self.position}

    def load_state_dict(self, state: dict) -> None:
        self.position = state["position"]


def loader() -> Loader:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8 * NUM_BATCHES, 16, generator=generator)
    labels = torch.randint(4, (len(inputs),), generator=generator)
    return Loader(list(zip(inputs.split(8), labels.split(8), strict=True)))


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 0.01)


class Module(LightningModule):
    def __init__(self, *, manual: bool = False) -> None:
        super().__init__()
        self.net = net()
        self.automatic_optimization = not manual

    def training_step(self, batch):
        loss = cross_entropy(self.net(batch[0]), batch[1])
        if not self.automatic_optimization:
            optimizer: Any = self.optimizers()
            self.manual_backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        return make_optimizer(self.net)


def trainer(folder: Path, *callbacks, epochs: int = EPOCHS, **keys) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **{"enable_checkpointing": False} | keys,
    )


def by_hand(*, accumulate: int, clip: float | None) -> tuple[nn.Module, Sparsifier]:
    model = net()
    optimizer = make_optimizer(model)
    steps = EPOCHS * NUM_BATCHES // accumulate
    sparsifier = Sparsifier(model, optimizer, method(), seed=3, total_steps=steps)
    for number, (inputs, labels) in enumerate(loader().batches * EPOCHS, 1):
        (cross_entropy(model(inputs), labels) / accumulate).backward()
        if number % accumulate == 0:
            sparsifier.after_backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            sparsifier.after_step()
            optimizer.zero_grad(set_to_none=True)
    return model, sparsifier


@pytest.mark.parametrize(
    ("accumulate", "clip", "manual"), [(1, None, False), (1, None, True), (1, 0.1, False), (2, 0.1, False)]
)
def test_it_trains_what_a_loop_of_ones_own_trains(tmp_path, accumulate, clip, manual):
    callback, module = SparsifierCallback(method(), seed=3), Module(manual=manual)
    keys = {"accumulate_grad_batches": accumulate, "gradient_clip_val": clip}
    trainer(tmp_path, callback, **keys).fit(module, loader())
    model, sparsifier = by_hand(accumulate=accumulate, clip=clip)
    assert callback.sparsifier.step == EPOCHS * NUM_BATCHES // accumulate
    assert callback.sparsifier.sparsity == sparsifier.sparsity == pytest.approx(0.9, abs=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(module.net.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["granet", "rigl", "dsr"])
def test_a_run_that_is_resumed_from_any_checkpoint_ends_bit_for_bit(tmp_path, name, precision):
    """Also within an epoch, between two mask updates, and with accumulated gradients."""
    keys = {"precision": precision, "accumulate_grad_batches": 2, "enable_checkpointing": True}
    straight, callback = Module(), SparsifierCallback(method(name), seed=3)
    every = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, callback, every, **keys).fit(straight, loader())
    for step in (2, 5):
        module, resumed = Module(), SparsifierCallback(method(name), seed=3)
        torch.nn.init.ones_(module.net[0].weight)  # what it starts from does not matter
        trainer(tmp_path, resumed, **keys | {"enable_checkpointing": False}).fit(
            module, loader(), ckpt_path=tmp_path / f"step={step}.ckpt", weights_only=True
        )
        masks = callback.sparsifier.masks
        assert resumed.sparsifier.step == callback.sparsifier.step == EPOCHS * NUM_BATCHES // 2
        assert all(torch.equal(resumed.sparsifier.masks[key], mask) for key, mask in masks.items())
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), straight.parameters(), strict=True))
        assert all((module.get_parameter(key)[~mask] == 0).all() for key, mask in masks.items())


def test_the_optimizer_is_free_after_the_training(tmp_path):
    callback, module = SparsifierCallback(method()), Module()
    run = trainer(tmp_path, callback, epochs=1)
    run.fit(module, loader())
    step = callback.sparsifier.step
    run.fit_loop.max_epochs = 2
    run.fit(module, loader())  # a second training has a Sparsifier of its own
    assert callback.sparsifier.step == NUM_BATCHES and step == NUM_BATCHES


def test_a_callback_that_was_resumed_once_starts_the_next_training_anew(tmp_path):
    saved = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4, save_top_k=-1)
    first = SparsifierCallback(method(), seed=3)
    trainer(tmp_path, first, saved, enable_checkpointing=True).fit(Module(), loader())
    callback = SparsifierCallback(method(), seed=3)
    trainer(tmp_path, callback).fit(Module(), loader(), ckpt_path=tmp_path / "step=4.ckpt", weights_only=True)
    again = Module()
    trainer(tmp_path, callback, epochs=2).fit(again, loader())
    assert callback.sparsifier.step == 2 * NUM_BATCHES


class Lookahead(torch.optim.Optimizer):
    """k steps of another optimizer, then a step of slow weights to where they led (Zhang et al. 2019)."""

    def __init__(self, optimizer: torch.optim.Optimizer, k: int = 2) -> None:
        self.optimizer, self.k, self.count = optimizer, k, 0
        super().__init__(optimizer.param_groups, {})
        self.slow = {p: p.detach().clone() for group in self.param_groups for p in group["params"]}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = self.optimizer.step(closure)
        self.count += 1
        if self.count % self.k == 0:
            for p, slow in self.slow.items():
                p.copy_(slow.lerp_(p, 0.5))
        return loss


class Slow(Module):
    def configure_optimizers(self) -> Any:
        return Lookahead(torch.optim.SGD(self.net.parameters(), 0.1))


def test_an_optimizer_with_another_within_is_the_whole_one(tmp_path):
    callback, module = SparsifierCallback(method(), seed=3), Slow()
    trainer(tmp_path, callback).fit(module, loader())
    masks = callback.sparsifier.masks
    assert not any(module.get_parameter(name)[~mask].any() for name, mask in masks.items())


class TwoOptimizers(Module):
    def __init__(self) -> None:
        super().__init__(manual=True)

    def configure_optimizers(self):
        return [make_optimizer(self.net[0]), make_optimizer(self.net[2])]


@pytest.mark.parametrize(
    ("module", "callback", "keys", "words"),
    [
        (TwoOptimizers, lambda: SparsifierCallback(method()), {}, "this module has 2; give their parameters"),
        (
            Module,
            lambda: SparsifierCallback(method()),
            {"epochs": -1, "max_steps": -1},
            "give the trainer max_steps or max_epochs",
        ),
        (Module, lambda: SparsifierCallback(METHODS["dpf"](sf=0.5)), {}, "rename the model's weights"),
    ],
)
def test_what_does_not_go_is_one_line(tmp_path, module, callback, keys, words):
    with pytest.raises(UserError, match=re.escape(words)) as error:
        trainer(tmp_path, callback(), **keys).fit(module(), loader())
    assert "\n" not in str(error.value)


def test_the_sparsifier_is_not_there_before_the_training():
    with pytest.raises(UserError, match="is made when training begins"):
        _ = SparsifierCallback(method()).sparsifier


@pytest.mark.parametrize(
    ("module", "package"), [("lightning", "lightning"), ("transformers", "transformers")]
)
def test_a_package_that_is_missing_is_named_with_the_command(module, package):
    code = f"import sys\nsys.modules[{package!r}] = None\nimport granet.integrations.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: granet.integrations.{module} needs the package {package}, which is not installed; run: "
        f"pip install {package}"
    )


def test_a_step_that_a_gradscaler_skips_does_not_count():
    model = net()
    optimizer = make_optimizer(model)
    attached, scaler = (
        Attached(model, optimizer, method(), 10, {"seed": 0}),
        GradScaler("cpu", init_scale=4.0),
    )
    for number, (inputs, labels) in enumerate(loader()):
        scaler.scale(cross_entropy(model(inputs), labels)).backward()
        if number == 2:
            model.get_parameter("0.weight").grad[0, 0] = float("inf")
        scaler.unscale_(optimizer)
        attached.sparsifier.after_backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    assert attached.sparsifier.step == NUM_BATCHES - 1
    assert all(value.isfinite().all() for value in model.parameters())
