"""What one training run works with, put together before any work: model, optimizer, Sparsifier, data, schedule."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet.common import distributed
from granet.data import Data
from granet.data.distortion import Distortion
from granet.flops import Flops, inference_flops, step_flops
from granet.maskable import EVERY_LAYER, Choice
from granet.method import Method
from granet.sparsifier import Sparsifier
from granet.training.arithmetic import choose_arithmetic
from granet.training.average import Average
from granet.training.batches import check_sizes
from granet.training.config import TrainConfig
from granet.training.device import check_compiler, compile_, pick_precision
from granet.training.optimizer import build_optimizer
from granet.training.rates import rate_by_round
from granet.training.replay import Replays, can_replay
from granet.training.rounds import Rounds
from granet.types import Schedule, Tensors, UserError


@dataclass(frozen=True)
class Run:
    """Everything one training run works with."""

    title: str
    model: nn.Module
    parallel: nn.Module
    """What the forward of training calls: the model, or what spreads it over processes."""
    optimizer: Optimizer
    sparsifier: Sparsifier
    data: Data
    config: TrainConfig
    dense: Flops
    rounds: Rounds
    epochs: int
    lr: Schedule
    seed: int
    device: torch.device
    precision: str
    arithmetic: str
    """Of its convolutions, in words."""
    generator: torch.Generator
    """Of augmentation, seeded anew in every epoch; on ``device``."""
    replays: Replays
    average: Average
    """What is evaluated and saved; the weights themselves, unless train.ema_decay is set."""
    distortion: Distortion
    """Of images, beyond the data set's crop and flip."""
    flops_before: int = 0
    """What the training of the network that this run starts from has cost."""
    evaluate_from: int = 1
    """The first epoch, counted from 1, after which the model is evaluated."""

    def is_evaluated_after(self, epoch: int) -> bool:
        """Whether the model is evaluated after an epoch, counted from 1."""
        return epoch >= self.evaluate_from

    def ends_round_at(self, step: int) -> bool:
        """Whether the mask update after optimizer step ``step`` ends a round: then it leaves another network."""
        return self.sparsifier.method.restart is not None and self.sparsifier.updates_at(step)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * len(self.data.train) - self.rounds.skipped

    @property
    def shrinks(self) -> bool:
        """Whether channels that are removed are cut out at once: not where DDP, a graph, an average know shapes."""
        return distributed.world().size == 1 and not self.config.compile and not self.average.is_kept

    def unaugmented(self, num_batches: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of the first batches, as in evaluation, in parts of a size that training has too."""
        for images, labels in islice(self.data.train.epoch(0), num_batches):
            parts = -(-len(labels) // self.config.images_per_norm)
            yield from zip(self.data.augment.evaluate(images).chunk(parts), labels.chunk(parts), strict=True)

    def forward(self, model: nn.Module, images_BCHW: Tensor) -> Tensor:
        """Logits, under autocast where the precision asks for it."""
        if self.config.channels_last:
            images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return model(images_BCHW)

    @property
    def first_final_epoch(self) -> int:
        """The first epoch (counted from 1) whose row is that of a network of the final sparsity."""
        step = self.sparsifier.last_pruning_step
        epoch = max(1, self.rounds.epoch_of(step))
        return epoch + 1 if self.ends_round_at(step) else epoch  # a round's last row comes before its update

    @property
    def inference_flops(self) -> int:
        """FLOPs of one image's forward at the present sparsity."""
        return self.dense.at(self.sparsifier.layer_sparsity).total

    @property
    def dense_train_flops(self) -> int:
        """Training FLOPs of one dense run, not extended: what ratios refer to."""
        return _dense_flops(self.dense, self.data, self.config)


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
    choice: Choice = EVERY_LAYER,
    flops_before: int | None = None,
) -> Run:
    """Put a run together; bad values raise UserError here, before any work. ``data`` must be on ``device``.

    ``rewind_to`` is the state_dict that a method with rounds goes back to. An after-training method expects a trained
    ``model``, and its FLOPs start with those of that training: ``flops_before``, or those of a dense run.
    """
    model.to(device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if config.sync_bn and distributed.world().size > 1 and device.type != "cuda":
        raise UserError(f"train.sync_bn=true needs GPUs, and this run is on {device}; write sync_bn: false")
    check_sizes(model, data.image_shape, data.train.num_images, config, distributed.world().size)
    if method.init is not None:
        method = replace(method, init=distributed.agreed(method.init))
    rounds = Rounds.of(method, config.total_epochs * len(data.train), len(data.train))
    dense = inference_flops(model, data.image_shape)
    optimizer = build_optimizer(model, config, method.projection)
    sparsifier = Sparsifier(
        model,
        optimizer,
        method,
        seed=seed,
        total_steps=rounds.total_steps,
        batches=lambda: ((data.augment.evaluate(x), labels) for x, labels in data.train.epoch(0)),
        rewind_to=rewind_to,
        include=choice.include,
        exclude=choice.exclude,
        dense=choice.dense,
    )
    if flops_before is None:
        flops_before = _dense_flops(dense, data, config) if method.family == "after_training" else 0
    precision = pick_precision(config.precision, device)
    arithmetic = choose_arithmetic(model, sparsifier, dense, config.kernels, precision)
    parallel = distributed.spread(model, sync_bn=config.sync_bn)
    if config.compile:  # in place; a graph for each size of batch, and masks change within it
        check_compiler()
        compile_(model)  # what DDP wraps: of DDP itself nothing can be compiled
    # DDP launches in its own way, and channels that are cut out leave other parameters
    alone = distributed.world().size == 1
    replays = config.cuda_graphs and alone and can_replay(device) and method.channels is None
    return Run(
        title=title,
        model=model,
        parallel=parallel,
        optimizer=optimizer,
        sparsifier=sparsifier,
        data=data,
        config=config,
        dense=dense,
        rounds=rounds,
        epochs=rounds.epochs,
        lr=rate_by_round(config, rounds, sparsifier),
        seed=seed,
        device=device,
        precision=precision,
        arithmetic=arithmetic,
        generator=(generator := torch.Generator(device)),
        replays=Replays(generator, enabled=replays),
        average=Average(model, config.ema_decay),
        distortion=Distortion(
            seed,
            data.num_classes,
            config.randaugment,
            config.randaugment_magnitude,
            config.erasing,
            config.mixup,
            config.cutmix,
            config.micro_batch,
        ),
        flops_before=flops_before,
    )


def _dense_flops(dense: Flops, data: Data, config: TrainConfig) -> int:
    """Training FLOPs of one dense run, not extended."""
    return data.train.num_images * config.epochs * step_flops(dense.total, dense.total, dense_gradient=False)
