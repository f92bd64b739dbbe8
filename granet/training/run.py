"""What one training run works with, put together before any work: model, optimizer, Sparsifier, data, schedule."""

import math
import os
import shutil
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import SGD

from granet.common import distributed
from granet.data import Data
from granet.flops import Flops, inference_flops, step_flops
from granet.method import Method
from granet.schedules import Schedule, piecewise, warmed_up
from granet.sparsifier import Sparsifier
from granet.training.config import TrainConfig
from granet.types import Tensors, UserError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Run:
    """Everything one training run works with."""

    title: str
    model: nn.Module
    parallel: nn.Module
    """What the forward of training calls: the model, or what spreads it over processes."""
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
    if name in ("auto", "cuda") and distributed.num_started() > 1 and torch.cuda.is_available():
        name = f"cuda:{torch.cuda.current_device()}"
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
    groups: list[dict] = [{"params": list(model.parameters())}]
    if not config.decay_norm:
        norms = [p for m in model.modules() if isinstance(m, NORMS) for p in m.parameters(recurse=False)]
        known = {id(p) for p in norms}
        groups = [
            {"params": [p for p in model.parameters() if id(p) not in known]},
            {"params": norms, "weight_decay": 0.0},
        ]
    return SGD(groups, config.lr, config.momentum, weight_decay=decay, nesterov=nesterov)


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
    if config.sync_bn and distributed.world().size > 1 and device.type != "cuda":
        raise UserError(f"train.sync_bn=true needs GPUs, and this run is on {device}; write sync_bn: false")
    if method.init is not None:
        method = replace(method, init=distributed.agreed(method.init))
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
    parallel = distributed.spread(model, sync_bn=config.sync_bn)
    if config.compile:  # in place; a graph for each size of batch, and masks change within it
        _check_compiler()
        model.compile(dynamic=False)  # what DDP wraps: of DDP itself nothing can be compiled
    lr = piecewise(config.lr, [round(d * round_steps) for d in config.lr_drops], config.lr_factor)
    return Run(
        title=title,
        model=model,
        parallel=parallel,
        optimizer=optimizer,
        sparsifier=sparsifier,
        data=data,
        config=config,
        dense=dense,
        epochs=epochs,
        lr=warmed_up(
            lambda step: lr(step % round_steps),  # every round starts from the top
            round(config.warmup_epochs * len(data.train)),
        ),
        seed=seed,
        device=device,
        precision=pick_precision(config.precision, device),
    )


def _check_compiler() -> None:
    """Raises UserError where torch.compile finds no C++ compiler for what it generates."""
    names = [os.environ.get("CXX", "g++"), "c++", "clang++"]
    if not any(map(shutil.which, names)):
        raise UserError(
            f"train.compile=true needs a C++ compiler, and none of {', '.join(names)} is there; "
            "install g++, or write compile: false"
        )
