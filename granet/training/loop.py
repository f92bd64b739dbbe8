"""The one training loop. Dense, sparse and retraining runs all go through `fit`."""

import math
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from granet.common import distributed
from granet.common.progress import TrainingProgress
from granet.data import epoch_generator
from granet.flops import step_flops
from granet.training import checkpoint
from granet.training.evaluate import Meter, evaluate
from granet.training.history import HistoryFile, Row, describe
from granet.training.run import Run
from granet.types import DivergedError, UserError


def backward(run: Run, images_BCHW: Tensor, labels_B: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss over a batch of ``num_images``; returns the mean loss and the logits of these images.

    They are this process's share of the batch, and go through the network in parts of ``micro_batch``.
    """
    size = run.config.micro_batch or len(images_BCHW)
    parts = list(zip(images_BCHW.split(size), labels_B.split(size), strict=True))
    losses, logits = [], []
    for images, labels in parts:
        with distributed.without_averaging(run.parallel, wanted=labels is not parts[-1][1]):
            logits.append(run.forward(run.parallel, images))
            losses.append(
                cross_entropy(logits[-1].float(), labels, label_smoothing=run.config.label_smoothing)
            )
            share = len(labels) / len(labels_B) * distributed.world().weight(num_images)
            (losses[-1] if share == 1 else losses[-1] * share).backward()
    if len(parts) == 1:
        return losses[0], logits[0]
    shares = [len(labels) / len(labels_B) for _, labels in parts]
    mean = torch.stack([share * loss.detach() for share, loss in zip(shares, losses, strict=True)]).sum()
    return mean, torch.cat(logits)


def train_epoch(run: Run, epoch: int, progress: TrainingProgress) -> Row:
    """One pass over the training set. Raises DivergedError where the loss is NaN or infinite."""
    sparsifier, augment, train, world = (
        run.sparsifier,
        run.data.augment,
        run.data.train,
        distributed.world(),
    )
    run.model.train()
    meter, flops, started = Meter(run.device), 0, time.perf_counter()
    generator = epoch_generator(run.seed, epoch, run.device)
    sparse = run.dense.at(sparsifier.layer_sparsity).total
    for batch, (images, labels) in enumerate(train.epoch(epoch, world)):
        num_images = min(train.batch_size, train.num_images - batch * train.batch_size)
        for group in run.optimizer.param_groups:
            group["lr"] = run.lr(sparsifier.step)
        images = augment.train(images, generator, num_images, world)
        loss, logits = backward(run, images, labels, num_images)
        sparsifier.after_backward()
        run.optimizer.step()
        sparsifier.after_step()
        run.optimizer.zero_grad(set_to_none=True)

        if world.weight(num_images):
            meter.add(loss, logits, labels)
        dense_gradient = sparsifier.reads_gradient_at(sparsifier.step)
        flops += num_images * step_flops(sparse, run.dense.total, dense_gradient=dense_gradient)
        if sparsifier.updates_at(sparsifier.step):
            distributed.check_masks(sparsifier.masks)
            sparse = run.dense.at(sparsifier.layer_sparsity).total
        if progress.due():
            rate = world.size * meter.num_images / (time.perf_counter() - started)
            progress.show(sparsifier.step, *_check(meter.read(), run, epoch), sparsifier.sparsity, rate)
    mean_loss, accuracy = _check(meter.total(), run, epoch)
    distributed.share_buffers(run.model)
    return {
        "epoch": epoch + 1,
        "step": sparsifier.step,
        "lr": run.lr(sparsifier.step - 1),
        "train_loss": mean_loss,
        "train_accuracy": accuracy,
        "train_flops": flops,
        "images_per_s": run.data.train.num_images / (time.perf_counter() - started),
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
    leads = distributed.world().leads  # one process writes and speaks; all of them read
    own = checkpoint.load(checkpoint_path)
    history = _resume(run, own or start)
    if not distributed.same(len(history), run.device):
        raise UserError(
            f"{checkpoint_path}: the processes of this run read different states there; let all have the same folder"
        )
    steps = run.epochs * len(run.data.train)
    with (
        TrainingProgress(run.title, steps, run.sparsifier.step, silent=not leads) as progress,
        HistoryFile(history_csv if leads else Path(os.devnull)) as file,
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
                shares = loader.epoch(0, distributed.world())
                batches = ((run.data.augment.evaluate(images), labels) for images, labels in shares)
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
            if epoch + 1 in keep and leads:
                checkpoint.save(checkpoint_path.with_name(f"epoch-{epoch + 1}.pt"), _state(run, history))
            if leads:
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
