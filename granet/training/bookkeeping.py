"""What is counted, checked and shown of one epoch of training, beside the training itself."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from granet.common import distributed, signals
from granet.common.progress import TrainingProgress
from granet.common.seeds import stable_seed
from granet.flops import step_flops
from granet.masks import empty_layers
from granet.training.evaluate import Meter, evaluate
from granet.training.finite import Fault, FiniteCheck, not_finite
from granet.training.history import Row
from granet.training.recalibration import recalibrate
from granet.training.run import Run
from granet.types import DivergedError, Masks


class Bookkeeping:
    """Hands out the batches of an epoch (counted from 0), and makes the epoch's row of the history of what it is told.

    It sets the learning rate of every step, counts loss, accuracy and FLOPs, moves the progress bar, evaluates, and
    sees to it that all processes have the same masks. Raises DivergedError where something is NaN or infinite: no mask
    is updated and no state kept after that.

    Between two steps it has its state kept by ``keep``, every train.checkpoint_s seconds and where a signal has asked
    the run to end, which raises KeyboardInterrupt. ``within`` is such a state, of this epoch: it goes on there. Masks
    that have changed are shown to ``watch``.
    """

    def __init__(
        self,
        run: Run,
        epoch: int,
        progress: TrainingProgress,
        within: dict | None = None,
        keep: Callable[[dict], object] = lambda state: None,
        watch: Callable[[Masks], object] = lambda masks: None,
    ) -> None:
        self._run, self._epoch, self._progress = run, epoch, progress
        self._keep, self._kept, self._watch = keep, time.monotonic(), watch
        # of (seed, epoch) alone, so that a resumed run draws what a straight one does
        self._generator = run.generator.manual_seed(stable_seed("augment", run.seed, epoch))
        self._batches = run.rounds.first_batch(epoch)
        self._world = distributed.world()
        self._meter = Meter(run.device)
        self._check = FiniteCheck(run.model, run.device)
        self._step = run.sparsifier.step
        self._forward_flops = run.inference_flops
        self._train_flops = 0
        self._row: Row | None = None
        self._started = time.perf_counter()
        if within is not None:
            self._meter.load_state_dict(within["meter"])
            self._generator.set_state(within["generator"])
            self._batches, self._train_flops = within["batches"], within["train_flops"]
            self._forward_flops = within.get("forward_flops", self._forward_flops)
            self._row = within["row"]
            self._started -= within["time_s"]

    def _state(self) -> dict:
        """How far the epoch is."""
        return {
            "meter": self._meter.state_dict(),
            "generator": self._generator.get_state(),
            "batches": self._batches,
            "train_flops": self._train_flops,
            "forward_flops": self._forward_flops,
            "row": self._row,
            "time_s": time.perf_counter() - self._started,
        }

    def batches(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """(images_BCHW, augmented; labels; size of the whole batch, of which the process has its share).

        Labels are (B,), or shares of the classes (B, classes) where images are mixed.
        """
        run, train = self._run, self._run.data.train
        first = self._batches
        for number, (images, labels) in enumerate(train.epoch(self._epoch, self._world, first), first):
            num_images = min(train.batch_size, train.num_images - number * train.batch_size)
            for group in run.optimizer.param_groups:
                group["lr"] = run.lr(self._step)
            place = (self._step, num_images, self._world.seen(num_images))
            images = run.distortion.pixels(images, *place)
            (augmented,) = run.replays("augment", partial(self._augmented, num_images), images)
            yield *run.distortion.batch(augmented, labels, *place), num_images

    def _augmented(self, num_images: int, images_BCHW: Tensor) -> tuple[Tensor]:
        augment = self._run.data.augment
        return (augment.train(images_BCHW, self._generator, num_images, self._world),)

    def check_finite(self, numbers: Tensor) -> None:
        """Raise DivergedError where the loss or a gradient is not finite, before the optimizer takes this step.

        On a GPU one step later, unless the masks are updated after this one.
        """
        step = self._step + 1
        self._stop_at(self._check.look(step, numbers, now=self._run.sparsifier.updates_at(step)))

    def before_update(self, loss: Tensor, logits_BC: Tensor, labels: Tensor, num_images: int) -> None:
        """Count an optimizer step. Where a round ends, the row is made here: the update leaves another network."""
        self._step += 1
        self._batches += 1
        if self._world.weight(num_images):
            self._meter.add(loss, logits_BC, labels)
        inactive = self._run.sparsifier.inactive_gradients_at(self._step)
        self._train_flops += num_images * step_flops(
            self._forward_flops, self._run.dense.total, inactive=inactive
        )
        if self._run.ends_round_at(self._step):
            self._run.average.follow()
            self._row = self._closed()

    def after_update(self) -> None:
        """Follow the masks where they have changed, show how far the run is, and have it kept."""
        sparsifier = self._run.sparsifier
        self._run.average.after_step(sparsifier, restarts=self._run.ends_round_at(self._step))
        if sparsifier.updates_at(self._step):
            distributed.check_masks(sparsifier.masks)
            self._watch(sparsifier.masks)
            if self._run.shrinks:
                sparsifier.shrink()
            self._forward_flops = self._run.inference_flops
        if self._progress.due():
            rate = self._world.size * self._meter.num_images / (time.perf_counter() - self._started)
            self._progress.show(self._step, *self._meter.read(), sparsifier.sparsity, rate)
        is_late = time.monotonic() - self._kept >= self._run.config.checkpoint_s
        if self._world.size == 1 and (is_late or signals.asked()):
            if signals.asked():
                signals.followed()
            self._check_state()
            self._keep(self._state())
            self._kept = time.monotonic()
        if signals.asked():
            raise KeyboardInterrupt

    def row(self) -> Row:
        """The epoch's row: FLOPs and time are of this epoch alone. To be called once, after the last step."""
        return self._row or self._closed()

    def _closed(self) -> Row:
        run = self._run
        self._stop_at(self._check.settle())
        loss, accuracy = self._meter.total()
        if run.config.recalibrate and run.is_evaluated_after(self._epoch + 1):
            recalibrate(run.model, run.unaugmented(run.config.recalibrate), forward=run.forward)
        distributed.share_buffers(run.model)
        train = run.data.train
        num_images = train.num_images - run.rounds.first_batch(self._epoch) * train.batch_size
        row: Row = {
            "epoch": self._epoch + 1,
            "step": self._step,
            "lr": run.lr(self._step - 1),
            "train_loss": loss,
            "train_accuracy": accuracy,
            "train_flops": self._train_flops,
            "images_per_s": num_images / (time.perf_counter() - self._started),
        }
        if run.is_evaluated_after(self._epoch + 1):
            with run.average.shown():
                row |= self._evaluated()
        self._check_state()
        return row | {
            "sparsity": run.sparsifier.sparsity,
            "empty_layers": len(empty_layers(run.sparsifier.layer_sparsity)),
            "inference_flops": run.inference_flops,
            "time_s": time.perf_counter() - self._started,
        }

    def _evaluated(self) -> Row:
        """Loss and accuracy of every split that is held out or tested."""
        run, row = self._run, {}
        for split, loader in run.data.evaluated.items():
            batches = (
                (run.data.augment.evaluate(images), labels) for images, labels in loader.epoch(0, self._world)
            )
            loss, accuracy = evaluate(run.model, batches, self._logits, run.device)
            if not math.isfinite(loss):
                self._stop_at(Fault(f"the {split} loss is {loss}", self._step))
            row |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        return row

    def _logits(self, model: nn.Module, images_BCHW: Tensor) -> Tensor:
        (logits,) = self._run.replays(
            "evaluate", lambda images: (self._run.forward(model, images),), images_BCHW
        )
        return logits

    def _check_state(self) -> None:
        """Raise DivergedError where what would be kept is not finite."""
        self._stop_at(self._check.settle())
        if (name := not_finite(self._run.model.state_dict())) is not None:
            self._stop_at(Fault(f"{name} is not finite", self._step))

    def _stop_at(self, fault: Fault | None) -> None:
        """Raise DivergedError where there is a fault."""
        if fault is not None:
            run = self._run
            remedy = "" if run.precision == "fp32" else " or set train.precision=fp32"
            raise DivergedError(
                f"{run.title}: {fault.what} in epoch {self._epoch + 1} (step {fault.step}, "
                f"train.lr={run.config.lr}, precision {run.precision}); lower train.lr{remedy}"
            )
