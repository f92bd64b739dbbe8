"""The one training loop. Dense, sparse and retraining runs all go through `fit`."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from granet.common import distributed
from granet.common.progress import TrainingProgress
from granet.common.seeds import stable_seed
from granet.training import checkpoint
from granet.training.bookkeeping import Bookkeeping
from granet.training.diagnostics import Diagnostics
from granet.training.finite import measured
from granet.training.history import HistoryFile, Row, describe
from granet.training.optimizer import clip_
from granet.training.run import Run
from granet.types import DivergedError, Masks, UserError


def train_epoch(
    run: Run,
    epoch: int,
    progress: TrainingProgress,
    within: dict | None = None,
    keep: Callable[[dict], object] = lambda state: None,
    watch: Callable[[Masks], object] = lambda masks: None,
) -> Row:
    """One pass over the training set; returns its row of the history, whose FLOPs and time are of this epoch alone.

    Epochs count from 0. ``within``, ``keep`` and ``watch`` are `Bookkeeping`'s: where in the epoch to go on, who keeps
    that, and who sees masks that have changed.
    Raises DivergedError where a loss, a gradient or what comes of them is NaN or infinite.
    """
    sparsifier, optimizer = run.sparsifier, run.optimizer
    book = Bookkeeping(run, epoch, progress, within, keep, watch)
    run.model.train()
    for images, labels, num_images in book.batches():
        loss, logits, numbers = computed(run, images, labels, num_images)
        book.check_finite(numbers)
        sparsifier.after_backward()
        clip_(run.model, run.config.clip_norm)
        optimizer.step()
        book.before_update(loss, logits, labels, num_images)
        sparsifier.after_step()
        optimizer.zero_grad(set_to_none=True)
        book.after_update()
    return book.row()


def computed(
    run: Run, images_BCHW: Tensor, labels_B: Tensor, num_images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What `backward` returns, and what is `measured` of it; where masks stay as they are, a GPU may replay it."""

    def compute(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, logits = backward(run, images, labels, num_images)
        return loss, logits, measured(run.model, loss)

    seed_step(run)
    if run.sparsifier.updates_at(run.sparsifier.step + 1):  # whose gradients are kept
        return compute(images_BCHW, labels_B)
    return run.replays("step", compute, images_BCHW, labels_B, leaves=run.model.parameters())


def seed_step(run: Run) -> None:
    """Make what a network draws (dropout, stochastic depth) a function of seed, process and step."""
    torch.manual_seed(stable_seed("draws", run.seed, distributed.world().rank, run.sparsifier.step))


def backward(run: Run, images_BCHW: Tensor, labels_B: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss over a batch of ``num_images``; returns the mean loss and the logits of these images.

    They are this process's share of the batch, and go through the network in parts of ``micro_batch``.
    """
    size = run.config.micro_batch or len(images_BCHW)
    parts = list(zip(images_BCHW.split(size), labels_B.split(size), strict=True))
    losses, logits = [], []
    for images, labels in parts:
        with distributed.averaging(run.parallel, now=labels is parts[-1][1]):
            logits.append(run.forward(run.parallel, images))
            losses.append(
                cross_entropy(logits[-1].float(), labels, label_smoothing=run.config.label_smoothing)
            )
            share = len(labels) / len(labels_B) * distributed.world().weight(num_images)
            (losses[-1] if share == 1 else losses[-1] * share).backward()
    if len(parts) == 1:
        return losses[0].detach(), logits[0].detach()
    shares = [len(labels) / len(labels_B) for _, labels in parts]
    mean = torch.stack([share * loss.detach() for share, loss in zip(shares, losses, strict=True)]).sum()
    return mean, torch.cat(logits).detach()


def fit(
    run: Run,
    *,
    history_csv: Path,
    checkpoint_path: Path,
    on_epoch: Callable[[Row], None] = lambda row: None,
    keep: Collection[int] = (),
    start: dict | None = None,
    diagnostics: Diagnostics | None = None,
) -> list[Row]:
    """Train ``run.model`` in place, to plain weights, and return a row per epoch, which also goes to ``history_csv``.

    Goes on from the checkpoint where there is one, or from the one before where it is damaged, to a bit-identical end
    (on the CPU). It has the run's state after every epoch, and, of a single process, its place within one.
    ``on_epoch`` sees every row, those from before a resumption included. After each epoch of ``keep`` the state stays
    as epoch-N.pt beside the checkpoint; where there is no checkpoint, the run goes on from ``start``, such a state,
    which it takes over. ``diagnostics``: what follows the masks, and writes a file of its own.
    Raises UserError where the processes of a run read different states. Raises DivergedError where a loss, a gradient
    or what comes of them is not finite: what is on the disk then is from before that.
    """
    leads = distributed.world().leads  # one process writes and speaks; all of them read
    alone = distributed.world().size == 1  # several do not keep their places within an epoch
    interrupted, faults = checkpoint.newest(checkpoint_path)
    history = checkpoint.restore(run, interrupted or start)
    if not distributed.same(len(history), run.device):
        raise UserError(
            f"{checkpoint_path}: the processes of this run read different states there; let all have the same folder"
        )
    follower = diagnostics or Diagnostics()
    follower.begin(run.sparsifier, (interrupted or {}).get("diagnostics"), writes=leads)
    with (
        TrainingProgress(run.title, run.total_steps, run.sparsifier.step, silent=not leads) as progress,
        HistoryFile(history_csv if leads else Path(os.devnull)) as file,
        _naming(checkpoint_path),
    ):
        for fault in faults:
            progress.line(
                f"{run.title}: {fault}; {'the one before is used' if interrupted else 'it is not used'}"
            )
        within = (interrupted or {}).get("within")
        if interrupted:
            place = f", batch {within['batches']} of the next" if within else ""
            progress.line(f"{run.title}: goes on after epoch {len(history)} of {run.epochs}{place}")
        for row in history:
            file.write(row)
            on_epoch(row)

        def keep_place(place: dict) -> None:
            if alone:
                state = checkpoint.state_of(run, history) | {"within": place}
                state["diagnostics"] = follower.state_dict()
                checkpoint.save(checkpoint_path, state, keep=True)

        for epoch in range(len(history), run.epochs):
            row = train_epoch(run, epoch, progress, within, keep_place, follower.after_update)
            within = None
            # totals since the start of the run
            row["train_flops"] += history[-1]["train_flops"] if history else run.flops_before
            row["time_s"] += history[-1]["time_s"] if history else 0.0
            history.append(row)
            follower.after_epoch(epoch + 1, run.sparsifier)
            if leads:
                state = checkpoint.state_of(run, history)
                if epoch + 1 in keep:
                    checkpoint.save(checkpoint_path.with_name(f"epoch-{epoch + 1}.pt"), state)
                state["diagnostics"] = follower.state_dict()
                checkpoint.save(checkpoint_path, state, keep=True)
            file.write(row)
            on_epoch(row)
            if run.is_evaluated_after(epoch + 1):
                progress.line(f"{run.title}: {describe(row, run.epochs)}")
    run.average.settle()
    run.sparsifier.finish()
    return history


@contextmanager
def _naming(checkpoint_path: Path) -> Iterator[None]:
    """A DivergedError of the block says at its end which state is left."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error}; {checkpoint.last_good(checkpoint_path)}") from error
