"""The one training loop. Dense, sparse and retraining runs all go through `fit`."""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from granet import checkpoint
from granet.data import Data, epoch_generator
from granet.evaluate import Meter, evaluate
from granet.flops import Flops, inference_flops, step_flops
from granet.history import HistoryFile, Row, describe
from granet.method import Method
from granet.progress import TrainingProgress
from granet.schedules import Schedule, piecewise
from granet.sparsifier import Sparsifier
from granet.types import DivergedError, Tensors, UserError


@dataclass
class TrainConfig:
    """How to train. The defaults are the paper's CIFAR settings (Tables 1 and 7)."""

    epochs: int = field(default=160, metadata={"help": "passes over the training set"})
    extend: float = field(
        default=1.0, metadata={"help": "factor, 1 or more, on epochs and all points in time, e.g. 2.5"}
    )
    batch_size: int = field(
        default=128, metadata={"help": "images per optimizer step; the last batch may be smaller"}
    )
    lr: float = field(default=0.1, metadata={"help": "initial learning rate"})
    lr_drops: list[float] = field(
        default_factory=lambda: [0.5, 0.75],
        metadata={"help": "points of the run, in [0, 1], where lr is multiplied by lr_factor"},
    )
    lr_factor: float = field(default=0.1, metadata={"help": "factor of each drop"})
    momentum: float = field(default=0.9, metadata={"help": "of SGD"})
    nesterov: bool = field(default=True, metadata={"help": "Nesterov momentum"})
    weight_decay: float = field(default=5e-4, metadata={"help": "L2, on every parameter"})
    label_smoothing: float = field(default=0.0, metadata={"help": "in [0, 1)"})
    precision: str = field(
        default="auto", metadata={"help": "auto | fp32 | bf16; auto: bf16 where the hardware has it"}
    )
    channels_last: bool = field(default=True, metadata={"help": "memory layout of images and weights"})
    device: str = field(default="auto", metadata={"help": "auto | cpu | cuda | cuda:1 | mps"})

    def __post_init__(self) -> None:
        for key, ok, rule in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("extend", 1 <= self.extend < math.inf, "at least 1: training can only be made longer"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", self.lr > 0, "above 0"),
            ("lr_factor", 0 < self.lr_factor <= 1, "in (0, 1]"),
            ("lr_drops", all(0 <= drop <= 1 for drop in self.lr_drops), "fractions of the run in [0, 1]"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("nesterov", not self.nesterov or self.momentum > 0, "false where momentum is 0"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
            ("precision", self.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
        ):
            if not ok:
                raise UserError(f"train.{key}={getattr(self, key)!r} must be {rule}")

    @property
    def total_epochs(self) -> int:
        """Epochs of the extended run."""
        return round(self.epochs * self.extend)


@dataclass(frozen=True)
class Run:
    """Everything one training run works with."""

    title: str
    model: nn.Module
    optimizer: SGD
    sparsifier: Sparsifier
    data: Data
    config: TrainConfig
    dense: Flops
    epochs: int
    lr: Schedule
    seed: int
    device: torch.device
    precision: str
    evaluate_from: int = 1
    """The first epoch, counted from 1, after which the model is evaluated."""

    def forward(self, model: nn.Module, images_BCHW: Tensor) -> Tensor:
        """Logits, under autocast where the precision asks for it."""
        if self.config.channels_last:
            images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return model(images_BCHW)

    @property
    def first_final_epoch(self) -> int:
        """The first epoch (counted from 1) that ends at the final sparsity."""
        return max(1, math.ceil(self.sparsifier.last_pruning_step / len(self.data.train)))

    @property
    def dense_train_flops(self) -> int:
        """Training FLOPs of one dense run, not extended: what ratios refer to."""
        num_images = self.data.train.num_images * self.config.epochs
        return num_images * step_flops(self.dense.total, self.dense.total, dense_gradient=False)

    @property
    def flops_before(self) -> int:
        """What the dense training that an after-training method starts from has cost."""
        return self.dense_train_flops if self.sparsifier.method.family == "after_training" else 0


def pick_device(name: str) -> torch.device:
    """The torch device for ``auto | cpu | cuda | ...``. Raises UserError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"train.device={name!r} cannot be used here; try auto or cpu") from error


def pick_precision(name: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``; ``auto`` is bf16 where the device computes in it natively."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def sgd(model: nn.Module, config: TrainConfig) -> SGD:
    """The optimizer of every run."""
    decay, nesterov = config.weight_decay, config.nesterov
    return SGD(model.parameters(), config.lr, config.momentum, weight_decay=decay, nesterov=nesterov)


def prepare_run(
    title: str,
    model: nn.Module,
    method: Method,
    data: Data,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    rewind_to: Tensors | None = None,
) -> Run:
    """Put a run together; bad values raise UserError here, before any work. ``data`` must be on ``device``.

    ``rewind_to`` is the state_dict that a method with rounds goes back to. An after-training method expects a trained
    ``model``, and its FLOPs start with those of that training.
    """
    model.to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    epochs = config.total_epochs * method.rounds
    round_steps = config.total_epochs * len(data.train)
    dense = inference_flops(model, data.image_shape)
    optimizer = sgd(model, config)
    sparsifier = Sparsifier(
        model,
        optimizer,
        method,
        seed=seed,
        total_steps=method.rounds * round_steps,
        batches=lambda: ((data.augment.evaluate(x), labels) for x, labels in data.train.epoch(0)),
        rewind_to=rewind_to,
    )
    lr = piecewise(config.lr, [round(d * round_steps) for d in config.lr_drops], config.lr_factor)
    return Run(
        title=title,
        model=model,
        optimizer=optimizer,
        sparsifier=sparsifier,
        data=data,
        config=config,
        dense=dense,
        epochs=epochs,
        lr=lambda step: lr(step % round_steps),  # every round starts from the top
        seed=seed,
        device=device,
        precision=pick_precision(config.precision, device),
    )


def train_epoch(run: Run, epoch: int, progress: TrainingProgress) -> Row:
    """One pass over the training set. Raises DivergedError where the loss is NaN or infinite."""
    sparsifier, augment = run.sparsifier, run.data.augment
    run.model.train()
    meter, flops, started = Meter(run.device), 0, time.perf_counter()
    generator = epoch_generator(run.seed, epoch, run.device)
    sparse = run.dense.at(sparsifier.layer_sparsity).total
    for images, labels in run.data.train.epoch(epoch):
        for group in run.optimizer.param_groups:
            group["lr"] = run.lr(sparsifier.step)
        logits = run.forward(run.model, augment.train(images, generator))
        loss = cross_entropy(logits.float(), labels, label_smoothing=run.config.label_smoothing)
        loss.backward()
        sparsifier.after_backward()
        run.optimizer.step()
        sparsifier.after_step()
        run.optimizer.zero_grad(set_to_none=True)

        meter.add(loss, logits, labels)
        dense_gradient = sparsifier.reads_gradient_at(sparsifier.step)
        flops += len(labels) * step_flops(sparse, run.dense.total, dense_gradient=dense_gradient)
        if sparsifier.updates_at(sparsifier.step):
            sparse = run.dense.at(sparsifier.layer_sparsity).total
        if progress.due():
            rate = meter.num_images / (time.perf_counter() - started)
            progress.show(sparsifier.step, *_check(meter.read(), run, epoch), sparsifier.sparsity, rate)
    mean_loss, accuracy = _check(meter.read(), run, epoch)
    return {
        "epoch": epoch + 1,
        "step": sparsifier.step,
        "lr": run.lr(sparsifier.step - 1),
        "train_loss": mean_loss,
        "train_accuracy": accuracy,
        "train_flops": flops,
        "images_per_s": meter.num_images / (time.perf_counter() - started),
    }


def _check(result: tuple[float, float], run: Run, epoch: int, split: str = "training") -> tuple[float, float]:
    """Mean loss and accuracy as they are, or DivergedError where the loss is NaN or infinite."""
    if not math.isfinite(result[0]):
        raise DivergedError(
            f"{run.title}: the {split} loss is {result[0]} in epoch {epoch + 1} (step {run.sparsifier.step}, "
            f"train.lr={run.config.lr}, precision {run.precision}); lower train.lr or set train.precision=fp32"
        )
    return result


def fit(
    run: Run,
    *,
    history_csv: Path,
    checkpoint_path: Path,
    on_epoch: Callable[[Row], None] = lambda row: None,
    keep: Collection[int] = (),
    start: dict | None = None,
) -> list[Row]:
    """Train ``run.model`` in place, to plain weights, and return a row per epoch, which also goes to ``history_csv``.

    Goes on from the checkpoint where there is one, to a bit-identical end (on the CPU). ``on_epoch`` sees every row,
    those from before a resumption included. After each epoch of ``keep`` the state stays as epoch-N.pt beside the
    checkpoint; where there is no checkpoint, the run goes on from ``start``, such a state, which it takes over.
    """
    own = checkpoint.load(checkpoint_path)
    history = _resume(run, own or start)
    steps = run.epochs * len(run.data.train)
    with (
        TrainingProgress(run.title, steps, run.sparsifier.step) as progress,
        HistoryFile(history_csv) as file,
    ):
        if own:
            progress.line(f"{run.title}: goes on after epoch {len(history)} of {run.epochs}")
        for row in history:
            file.write(row)
            on_epoch(row)
        for epoch in range(len(history), run.epochs):
            started = time.perf_counter()
            row = train_epoch(run, epoch, progress)
            for split, loader in run.data.evaluated.items() if epoch + 1 >= run.evaluate_from else ():
                batches = ((run.data.augment.evaluate(images), labels) for images, labels in loader.epoch(0))
                result = evaluate(run.model, batches, run.forward, run.device)
                loss, accuracy = _check(result, run, epoch, split)
                row |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
            row["sparsity"] = run.sparsifier.sparsity
            row["inference_flops"] = run.dense.at(run.sparsifier.layer_sparsity).total
            row["time_s"] = time.perf_counter() - started
            # totals since the start of the run
            row["train_flops"] += history[-1]["train_flops"] if history else run.flops_before
            row["time_s"] += history[-1]["time_s"] if history else 0.0
            history.append(row)
            if epoch + 1 in keep:
                checkpoint.save(checkpoint_path.with_name(f"epoch-{epoch + 1}.pt"), _state(run, history))
            checkpoint.save(checkpoint_path, _state(run, history))
            file.write(row)
            on_epoch(row)
            if epoch + 1 >= run.evaluate_from:
                progress.line(f"{run.title}: {describe(row, run.epochs)}")
    run.sparsifier.finish()
    return history


def _state(run: Run, history: list[Row]) -> dict:
    """All that changes in a run. Orders, augmentations and schedules are functions of (seed, step)."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "sparsifier": run.sparsifier.state_dict(),
        "history": history,
    }


def _resume(run: Run, state: dict | None) -> list[Row]:
    if state is None:
        return []
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.sparsifier.load_state_dict(state["sparsifier"])
    return state["history"]
