"""The one training loop. Dense, sparse and retraining runs all go through `fit`."""

import math
import time
from collections.abc import Callable
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
from granet.methods import Method
from granet.progress import TrainingProgress
from granet.schedules import Schedule, piecewise
from granet.sparsifier import Sparsifier
from granet.types import UserError


@dataclass
class TrainConfig:
    """How to train. The defaults are the paper's CIFAR settings (Tables 1 and 7)."""

    epochs: int = field(default=160, metadata={"help": "passes over the training set"})
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
    lr: Schedule
    seed: int
    device: torch.device
    precision: str

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
        """Training FLOPs of the same run without sparsity."""
        num_images = self.data.train.num_images * self.config.epochs
        return num_images * step_flops(self.dense.total, self.dense.total, dense_gradient=False)


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


def prepare_run(
    title: str,
    model: nn.Module,
    method: Method,
    data: Data,
    config: TrainConfig,
    *,
    seed: int,
    device: torch.device,
) -> Run:
    """Put a run together; bad values raise UserError here, before any work. ``data`` must be on ``device``."""
    model.to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    total_steps = config.epochs * len(data.train)
    optimizer = SGD(
        model.parameters(),
        config.lr,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
    )
    return Run(
        title=title,
        model=model,
        optimizer=optimizer,
        sparsifier=Sparsifier(model, optimizer, method, seed=seed, total_steps=total_steps),
        data=data,
        config=config,
        dense=inference_flops(model, data.image_shape),
        lr=piecewise(config.lr, [round(d * total_steps) for d in config.lr_drops], config.lr_factor),
        seed=seed,
        device=device,
        precision=pick_precision(config.precision, device),
    )


def train_epoch(run: Run, epoch: int, progress: TrainingProgress) -> Row:
    """One pass over the training set. Raises UserError where the loss is NaN or infinite."""
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
    """Mean loss and accuracy as they are, or UserError where the loss is NaN or infinite."""
    if not math.isfinite(result[0]):
        raise UserError(
            f"{run.title}: the {split} loss is {result[0]} in epoch {epoch + 1} (step {run.sparsifier.step}, "
            f"train.lr={run.config.lr}, precision {run.precision}); lower train.lr or set train.precision=fp32"
        )
    return result


def fit(
    run: Run, *, history_csv: Path, checkpoint_path: Path, on_epoch: Callable[[Row], None] = lambda row: None
) -> list[Row]:
    """Train ``run.model`` in place and return a row per epoch, which also goes to ``history_csv``.

    Goes on from the checkpoint where there is one, to a bit-identical end (on the CPU). ``on_epoch`` sees every row,
    those from before a resumption included.
    """
    history = _resume(run, checkpoint_path)
    steps = run.config.epochs * len(run.data.train)
    with (
        TrainingProgress(run.title, steps, run.sparsifier.step) as progress,
        HistoryFile(history_csv) as file,
    ):
        if history:
            progress.line(f"{run.title}: goes on after epoch {len(history)} of {run.config.epochs}")
        for row in history:
            file.write(row)
            on_epoch(row)
        for epoch in range(len(history), run.config.epochs):
            started = time.perf_counter()
            row = train_epoch(run, epoch, progress)
            for split, loader in run.data.evaluated.items():
                batches = ((run.data.augment.evaluate(images), labels) for images, labels in loader.epoch(0))
                result = evaluate(run.model, batches, run.forward, run.device)
                loss, accuracy = _check(result, run, epoch, split)
                row |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
            row["sparsity"] = run.sparsifier.sparsity
            row["inference_flops"] = run.dense.at(run.sparsifier.layer_sparsity).total
            row["time_s"] = time.perf_counter() - started
            if history:  # totals since the start of the run
                row["train_flops"] += history[-1]["train_flops"]
                row["time_s"] += history[-1]["time_s"]
            history.append(row)
            checkpoint.save(checkpoint_path, _state(run, history))
            file.write(row)
            on_epoch(row)
            progress.line(f"{run.title}: {describe(row, run.config.epochs)}")
    return history


def _state(run: Run, history: list[Row]) -> dict:
    """All that changes in a run. Orders, augmentations and schedules are functions of (seed, step)."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "sparsifier": run.sparsifier.state_dict(),
        "history": history,
    }


def _resume(run: Run, path: Path) -> list[Row]:
    if (state := checkpoint.load(path)) is None:
        return []
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.sparsifier.load_state_dict(state["sparsifier"])
    return state["history"]
